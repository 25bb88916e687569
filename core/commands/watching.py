"""What a run shows of itself: panels on a terminal, a line now and then elsewhere, and its view for other processes."""

import argparse
import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from io import TextIOBase
from typing import Final, TextIO

from core.commands.running import Running
from core.download.process import ProcessIdentity
from core.download.tracker import DownloadTracker
from core.errors import ConfigError, MarketDataError, NoData
from core.monitor.display import Display
from core.monitor.panels import plain_line
from core.monitor.terminal import is_usable
from core.monitor.view import Frame
from core.monitor.watch import Watch

LINE_SECONDS: Final = 10.0
_LINES_KEPT: Final = 20
_REDRAW_SECONDS: Final = 0.5


def has_colour(options: argparse.Namespace) -> bool:
    """Whether colours are wanted: not with `--no-color`, nor where NO_COLOR is set to anything."""
    return not (getattr(options, "no_color", False) or os.environ.get("NO_COLOR"))


@contextlib.asynccontextmanager
async def watched(
    options: argparse.Namespace, work: Running, tracker: DownloadTracker, command: str, says_lines: bool = True
) -> AsyncIterator[Watch]:
    """While a run goes on: others can look at it and pause it, and it shows itself as `options` say.

    Where there is no terminal, `says_lines` has a line said every few seconds. Whoever leaves with an error or an
    interrupt is told the one command that continues.
    """
    download, line = work.settings.download, work.line
    me = ProcessIdentity.current()
    frame = Frame(me, command, line, str(tracker.path), download.workers, download.limit_rate_bytes)
    try:
        watching = Watch(work.layout, tracker, work.smart, work.snapshot, work.emit, frame)
        async with watching as watch, _shown(options, watch, says_lines):
            yield watch
    except (ConfigError, NoData):
        raise  # the same again would end the same
    except MarketDataError:
        _tell(options, f"continue with: {line}")
        raise
    except asyncio.CancelledError:
        _tell(options, f"\ninterrupted: what is here is kept; the same command goes on from there:\n  {line}")
        raise


def _tell(options: argparse.Namespace, text: str) -> None:
    if not options.quiet:
        print(text, file=sys.stderr)


@contextlib.asynccontextmanager
async def _shown(options: argparse.Namespace, watch: Watch, says_lines: bool) -> AsyncIterator[None]:
    if options.quiet:
        yield
        return
    is_screen = is_usable(sys.stderr)
    lines = asyncio.create_task(_say(watch)) if says_lines and not is_screen else None
    try:
        with _panels(options, watch) if is_screen else contextlib.nullcontext():
            yield
    finally:
        if lines is not None:
            lines.cancel()


async def _say(watch: Watch) -> None:
    while True:
        await asyncio.sleep(LINE_SECONDS)
        print(plain_line(watch.latest), file=sys.stderr)


@contextlib.contextmanager
def _panels(options: argparse.Namespace, watch: Watch) -> Iterator[None]:
    """The display, in a thread of its own. What is said meanwhile comes out when it has ended, the last of it."""
    stream = sys.stderr
    over = threading.Event()
    held = _Held(stream)

    display = Display(
        stream,
        lambda: None if over.is_set() else watch.latest,
        watch.pause,
        interval=_REDRAW_SECONDS,
        has_colour=has_colour(options),
    )

    def show() -> None:
        with contextlib.suppress(Exception):  # the run goes on, whatever happens to its picture
            display.run()
        held.release()
        while not over.wait(LINE_SECONDS):
            print(plain_line(watch.latest), file=stream, flush=True)

    thread = threading.Thread(target=show, name="display", daemon=True)
    sys.stderr = held
    thread.start()
    try:
        with display.suspends():
            yield
    finally:
        over.set()
        display.stop()
        thread.join(timeout=5)
        sys.stderr = stream
        held.release()


class _Held(TextIOBase):
    """Stands for a stream while a display has the terminal: the last lines are kept for when it has ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._rest = ""
        self._left_out = 0
        self._is_open = False
        self._turn = threading.Lock()

    def write(self, text: str) -> int:
        with self._turn:
            if self._is_open:
                return self._stream.write(text)
            *lines, self._rest = (self._rest + text).split("\n")
            self._lines += lines
            self._left_out += max(0, len(self._lines) - _LINES_KEPT)
            self._lines = self._lines[-_LINES_KEPT:]
            return len(text)

    def flush(self) -> None:
        if self._is_open:
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def release(self) -> None:
        """Say what was held back; from now on everything is said at once."""
        with self._turn:
            if self._is_open:
                return
            self._is_open = True
            with contextlib.suppress(OSError, ValueError):
                if self._left_out:
                    self._stream.write(f"{self._left_out:,} earlier lines are in data/logs\n")
                self._stream.write("".join(f"{line}\n" for line in self._lines) + self._rest)
                self._stream.flush()
