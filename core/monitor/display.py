"""`Display`: a run on the terminal, once every interval and at each key, until it ends or somebody has seen enough."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from io import StringIO
from types import FrameType
from typing import Final, TextIO

from rich.console import Console
from rich.text import Text

from core.monitor.panels import ASCII, UNICODE, Page, Size, dashboard, failure_lines, symbol_lines
from core.monitor.terminal import Terminal
from core.monitor.view import Problem, View

SECONDS: Final = 1.0
KEYS: Final = " q quit this view   p pause or resume the run   f failures   s symbols "
PAGE_KEYS: Final = " up, down, page up, page down, home, end   esc back   q quit this view "


class Screen(Enum):
    """What is shown."""

    DASHBOARD = "dashboard"
    FAILURES = "failures"
    SYMBOLS = "symbols"


class Display:
    """`feed` gives the view to show, or words where there is none; None ends the display. `toggle` pauses or resumes
    the run. `failures` gives all that failed, where more is known than the view says."""

    def __init__(
        self,
        stream: TextIO,
        feed: Callable[[], View | str | None],
        toggle: Callable[[View], None],
        failures: Callable[[View], Sequence[Problem]] = lambda view: view.problems,
        interval: float = SECONDS,
        has_colour: bool = True,
    ) -> None:
        self._stream = stream
        self._feed = feed
        self._toggle = toggle
        self._failures = failures
        self._interval = interval
        self._painter = _Painter(stream, has_colour)
        self._terminal = Terminal(stream)
        self._is_stopped = threading.Event()
        self._is_showing = False
        self._screen = Screen.DASHBOARD
        self._first = 0
        self._listed: tuple[float, Sequence[Problem]] = (0.0, ())

    def run(self) -> bool:
        """Show until the feed ends, `stop` is called or q is pressed; whether it was q. Leaves the terminal as it
        was, whatever happens."""
        with self._terminal:
            self._is_showing = True
            try:
                return self._show()
            finally:
                self._is_showing = False

    def _show(self) -> bool:
        while not self._is_stopped.is_set():
            view = self._feed()
            if view is None:
                return False
            until = time.monotonic() + self._interval
            while not self._is_stopped.is_set():
                self._draw(view)
                key = self._terminal.key(until - time.monotonic())
                if key == "q":
                    return True
                if key is not None:
                    self._press(key, view)
                if time.monotonic() >= until:
                    break
        return False

    def stop(self) -> None:
        """End the display, from any thread."""
        self._is_stopped.set()
        self._terminal.wake()

    @contextlib.contextmanager
    def suspends(self) -> Iterator[None]:
        """In the main thread: while in here, Ctrl-Z gives the shell its terminal back before it stops this process."""
        if not hasattr(signal, "SIGTSTP"):
            yield
            return

        def suspend(number: int, frame: FrameType | None) -> None:
            self._terminal.leave()
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, suspend)
            if self._is_showing:
                self._terminal.enter()
                self._terminal.wake()

        before = signal.signal(signal.SIGTSTP, suspend)
        try:
            yield
        finally:
            signal.signal(signal.SIGTSTP, before)

    def _press(self, key: str, view: View | str) -> None:
        if isinstance(view, str):
            return
        pages = {"f": Screen.FAILURES, "s": Screen.SYMBOLS}
        if key == "p":
            self._toggle(view)
        elif key in pages:
            self._screen = Screen.DASHBOARD if self._screen is pages[key] else pages[key]
            self._first, self._listed = 0, (0.0, ())
        elif key in ("back", "d"):
            self._screen = Screen.DASHBOARD
        elif self._screen is not Screen.DASHBOARD:
            size = self._painter.size()
            page = self._page(view, size)
            steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -page.room(size), "b": -page.room(size)}
            steps |= {
                "page down": page.room(size),
                " ": page.room(size),
                "home": -len(page.lines),
                "g": -len(page.lines),
            }
            steps |= {"end": len(page.lines), "G": len(page.lines)}
            self._first = page.moved(steps.get(key, 0), size)

    def _draw(self, view: View | str) -> None:
        size = self._painter.size()
        marks = self._painter.marks
        if isinstance(view, str):
            lines = [Text(line) for line in view.splitlines()]
            text = Page("Tapevault", lines).shown(size, " q quit ", marks)
        elif self._screen is Screen.DASHBOARD:
            text = dashboard(view, size, KEYS, marks)
        else:
            page = self._page(view, size)
            self._first = page.moved(0, size)
            text = page.shown(size, PAGE_KEYS, marks)
        self._terminal.draw(self._painter.painted(text, size))

    def _page(self, view: View, size: Size) -> Page:
        if self._screen is Screen.SYMBOLS:
            return Page("Data types and symbols", symbol_lines(view, size.width, self._painter.marks), self._first)
        problems = self._all_failures(view)
        lines = failure_lines(problems, size.width) or [Text("nothing has failed")]
        return Page(f"Failures and what was tried again: {len(problems):,}", lines, self._first)

    def _all_failures(self, view: View) -> Sequence[Problem]:
        """Asked for once every few seconds at most: it may mean a look into the database."""
        at, problems = self._listed
        if time.monotonic() - at > 5 * self._interval:
            problems = self._failures(view)
            self._listed = (time.monotonic(), problems)
        return problems


class _Painter:
    """Text with its styles as what a terminal understands."""

    def __init__(self, stream: TextIO, has_colour: bool) -> None:
        self._out = StringIO()
        self._stream = stream
        self._screen = Console(file=stream)
        self.marks = ASCII if self._screen.options.ascii_only else UNICODE
        colours = self._screen.color_system if has_colour else None
        self._console = Console(
            file=self._out,
            force_terminal=True,
            color_system=colours,  # type: ignore[arg-type]  # one of the words that it takes
            legacy_windows=False,
            highlight=False,
            emoji=False,
            markup=False,
        )

    def size(self) -> Size:
        """Of the terminal as it is now, whatever it was when the environment's COLUMNS and LINES were set."""
        try:
            width, height = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            width = height = 0
        return Size(width, height) if width and height else Size(*self._screen.size)

    def painted(self, text: Text, size: Size) -> str:
        """The text on lines that are erased first: what stands in the last column would be erased behind it."""
        self._out.seek(0)
        self._out.truncate()
        self._console.width = size.width
        self._console.print(text, end="", soft_wrap=True)
        lines = self._out.getvalue().split("\n")[: size.height]
        return "\r\n".join(f"\x1b[K{line}" for line in [*lines, *[""] * (size.height - len(lines))])
