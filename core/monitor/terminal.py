"""The terminal while a display has it: its other screen, no cursor, keys as they are pressed; and all that undone.

Whatever happens, the terminal is given back: leaving is safe twice and from any thread, and `restore` undoes everything
for whoever ends the process at once. Where there is no POSIX terminal, there are no keys.
"""

import contextlib
import os
import select
import sys
import threading
from typing import Any, Final, TextIO

try:
    import termios
except ImportError:  # not POSIX
    termios = None  # type: ignore[assignment]

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_ESCAPE_SECONDS: Final = 0.05
"""The rest of a key that begins with ESC comes at once, if there is any."""
_NAMED: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b": "back",
}
_entered: "list[Terminal]" = []


def restore() -> None:
    """Give every terminal back that a display of this process has."""
    for terminal in list(_entered):
        terminal.leave()


def is_usable(stream: TextIO) -> bool:
    """Whether a display can have it: a terminal that can be drawn on."""
    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")
    except ValueError:  # closed
        return False


class Terminal:
    """`stream` for drawing, this process's standard input for keys, if that is a terminal too."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._input = _input_descriptor()
        self._modes: list[Any] | None = None
        self._is_in = False
        self._turn = threading.RLock()
        self._wake_read, self._wake_write = os.pipe()

    def __enter__(self) -> "Terminal":
        self.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def enter(self) -> None:
        """Take the terminal."""
        with self._turn:
            if not self._is_in:
                self._is_in = True
                _entered.append(self)
                self.write(_ENTER)

    def leave(self) -> None:
        """Give it back as it was."""
        with self._turn:
            if not self._is_in:
                return
            self._is_in = False
            with contextlib.suppress(ValueError):
                _entered.remove(self)
            self.write(_LEAVE)
            if self._modes is not None and self._is_foreground:
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(self._input or 0, termios.TCSADRAIN, self._modes)
            self._modes = None

    def write(self, text: str) -> None:
        """Put text on the terminal; that it has gone is nobody's concern here."""
        with self._turn, contextlib.suppress(OSError, ValueError):
            self.stream.write(text)
            self.stream.flush()

    def draw(self, text: str) -> None:
        """One frame, from the upper left corner, unless the terminal was given back meanwhile."""
        with self._turn:
            if self._is_in:
                self.write(f"\x1b[H{text}")

    def key(self, seconds: float) -> str | None:
        """The next key within so many seconds, None if there is none, or `wake` was called."""
        readers = [self._wake_read]
        if self._input is not None and self._is_foreground and self._has_modes():
            readers.append(self._input)
        ready, _, _ = select.select(readers, [], [], max(0.0, seconds))
        if self._wake_read in ready:
            os.read(self._wake_read, 1024)
            return None
        return self._read() if self._input in ready else None

    def wake(self) -> None:
        """End the wait for a key."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"!")

    def _read(self) -> str | None:
        assert self._input is not None
        try:
            first = os.read(self._input, 1)
            if not first:
                self._input = None  # the other end has gone
                return None
            if first == b"\x1b":
                while select.select([self._input], [], [], _ESCAPE_SECONDS)[0] and len(first) < 8:
                    first += os.read(self._input, 1)
                    if first[-1:].isalpha() or first[-1:] == b"~":
                        break
        except OSError:
            self._input = None
            return None
        text = first.decode("utf-8", "ignore")
        return _NAMED.get(text, text)

    @property
    def _is_foreground(self) -> bool:
        """Whether reading or setting would not stop this process, as it does in the background of a shell."""
        try:
            return self._input is not None and os.tcgetpgrp(self._input) == os.getpgrp()
        except OSError:
            return False

    def _has_modes(self) -> bool:
        """Keys as they are pressed, unseen; set again where a shell has set them back."""
        assert self._input is not None
        try:
            modes = termios.tcgetattr(self._input)
            if modes[3] & (termios.ICANON | termios.ECHO):
                with self._turn:
                    if not self._is_in:
                        return False
                    self._modes = [*modes[:6], list(modes[6])] if self._modes is None else self._modes
                    modes[3] &= ~(termios.ICANON | termios.ECHO)
                    modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
                    termios.tcsetattr(self._input, termios.TCSADRAIN, modes)
        except termios.error:
            return False
        return True


def _input_descriptor() -> int | None:
    """Standard input, if keys can be read from it."""
    try:
        return sys.stdin.fileno() if termios is not None and sys.stdin.isatty() else None
    except (ValueError, OSError, AttributeError):
        return None
