"""Record pictures of the terminal from real runs, as docs/pictures/terminal-<name>.svg.

    python docs/terminals.py [NAME ...]

Every picture is of a command that works on the sample exchange, served on this machine: it runs in a terminal of its
own (a pty), whose screen is drawn as it is once it shows what the picture is of.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

from core.sample.archive import DEMO_SHELVES, write_archive
from core.sample.market import demo_market
from core.sample.rest import SampleApi
from core.sample.server import running_server

PICTURES: Final = Path(__file__).resolve().with_name("pictures")
CHECKOUT: Final = PICTURES.parent.parent
_DEADLINE_SECONDS: Final = 240.0
_NAMES: Final = {"brown": "yellow", "brightbrown": "bright_yellow"}
"""What pyte calls colours otherwise than Rich."""
_LEAVES_ALTERNATE: Final = b"\x1b[?1049l"
_FORMAT: Final = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px;
        line-height: {line_height}px; font-variant-east-asian: full-width; }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""
"""Rich's, without the font that it would fetch from elsewhere."""


@dataclass
class Place:
    """Where pictures are taken: a checkout's scripts, a source, a data root."""

    source: str
    data: Path

    @property
    def options(self) -> list[str]:
        return ["--data-dir", str(self.data)]

    @property
    def where(self) -> list[str]:
        return ["--source", self.source, "--rest", self.source]

    @property
    def download(self) -> list[str]:
        return [*self.options, *self.where]

    @property
    def other(self) -> list[str]:
        """An empty data root."""
        return ["--data-dir", str(self.data.with_name("watched"))]


@dataclass
class Shot:
    """One picture: the command, what is typed, until the screen shows `until` (a regular expression)."""

    command: Callable[[Place], list[str]]
    shown: str
    until: str
    keys: str = ""
    columns: int = 100
    rows: int = 30
    before: tuple[Callable[[Place], list[str]], ...] = field(default=())
    """Commands that run beside it, and are ended with it."""


def shots() -> dict[str, Shot]:
    limited = ["--limit-rate", "500K"]
    trades = ["--data-types", "trades,agg_trades", "--symbols", "BTCUSDT", "--start", "2025-02-16"]
    return {
        "download": Shot(
            lambda place: ["scripts/download_all.py", *place.download, *limited],
            "python scripts/download_all.py",
            r"[1-9]\d\d stored[\s\S]*in flight: [1-9][\s\S]*\.zip",
        ),
        "live": Shot(
            lambda place: ["scripts/monitor.py", "live", "--follow", *place.other],
            "python scripts/monitor.py live",
            r"[1-9]\d\d stored[\s\S]*in flight: [1-9][\s\S]*\.zip",
            columns=80,
            rows=24,
            before=(lambda place: ["scripts/download_all.py", *place.other, *place.where, *limited, "--quiet"],),
        ),
        "downloaded": Shot(
            lambda place: ["scripts/download_all.py", *place.download],
            "python scripts/download_all.py",
            r"data folder",
            rows=34,
        ),
        "trades": Shot(
            lambda place: ["scripts/download_all.py", *place.download, *trades],
            "python scripts/download_all.py --data-types trades,agg_trades --symbols BTCUSDT --start 2025-02-16",
            r"data folder",
            rows=34,
        ),
        "summary": Shot(
            lambda place: ["scripts/monitor.py", "summary", *place.options],
            "python scripts/monitor.py summary",
            r"BTCUSDT",
            columns=120,
            rows=40,
        ),
        "integrity": Shot(
            lambda place: ["scripts/monitor.py", "integrity", *place.options],
            "python scripts/monitor.py integrity",
            r"series, .* rows",
            rows=24,
        ),
        "menu": Shot(
            lambda place: ["scripts/pipeline.py", *place.options],
            "python scripts/pipeline.py",
            r"9 +quit[\s\S]*number or name",
            rows=24,
        ),
        "doctor": Shot(
            lambda place: ["scripts/doctor.py", *place.download],
            "tapevault doctor",
            r"looks",
            rows=24,
        ),
    }


def take(shot: Shot, place: Place) -> pyte.Screen:
    """The screen of the command, as it is when it shows what is waited for."""
    beside = [subprocess.Popen([sys.executable, *command(place)], cwd=CHECKOUT) for command in shot.before]  # noqa: S603
    screen = pyte.Screen(shot.columns, shot.rows)
    stream = pyte.ByteStream(screen)
    process, terminal = _in_terminal(shot.command(place), shot.columns, shot.rows)
    deadline = time.monotonic() + _DEADLINE_SECONDS
    try:
        while not re.search(shot.until, "\n".join(screen.display)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{shot.shown} never showed {shot.until!r}:\n" + "\n".join(screen.display))
            if not _fed(stream, terminal, 0.5) and process.poll() is not None:
                break
        for _ in range(6):  # what is drawn in several writes
            _fed(stream, terminal, 0.3)
    finally:
        for each in (process, *beside):
            if each.poll() is None:
                each.send_signal(signal.SIGINT)
        for each in (process, *beside):
            _ended(each, stream, terminal)
        os.close(terminal)
    return screen


def _ended(process: "subprocess.Popen[bytes]", stream: Any, terminal: int) -> None:
    """Wait for the end; a terminal that nobody reads would keep it."""
    nothing = pyte.ByteStream(pyte.Screen(10, 10))
    while process.poll() is None:
        _fed(nothing, terminal, 0.1)


def _in_terminal(command: list[str], columns: int, rows: int) -> "tuple[subprocess.Popen[bytes], int]":
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(  # noqa: S603 (our own scripts)
        [sys.executable, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=CHECKOUT,
        env=env | {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


def _fed(stream: Any, terminal: int, seconds: float) -> bool:
    """Whether something came, and was drawn."""
    if not select.select([terminal], [], [], seconds)[0]:
        return False
    try:
        came = os.read(terminal, 65536)
    except OSError:  # the other side is closed
        return False
    *_, last = parts = came.split(_LEAVES_ALTERNATE)
    if len(parts) > 1:  # pyte has one screen only: what was shown before the dashboard was empty
        stream.listener.reset()
    stream.feed(last)
    return True


def drawn(screen: pyte.Screen, shown: str, paths: Mapping[str, str]) -> str:
    """The screen as SVG."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(
            record=True,
            width=screen.columns,
            file=nowhere,
            force_terminal=True,
            color_system="truecolor",
            legacy_windows=False,
        )
        lines = [_line(screen, row, paths) for row in range(screen.lines)]
        while lines and not lines[-1].plain.strip():
            lines.pop()
        for line in lines:
            console.print(line, no_wrap=True, overflow="crop", highlight=False)
        return console.export_svg(title=shown, theme=MONOKAI, code_format=_FORMAT, unique_id="terminal")


def _line(screen: pyte.Screen, row: int, paths: Mapping[str, str]) -> Text:
    """A row, with paths of this machine as others would see theirs."""
    text = Text()
    cells = [screen.buffer[row][column] for column in range(screen.columns)]
    for style, run in groupby(cells, _style):
        said = "".join(cell.data for cell in run)
        for here, there in paths.items():
            said = said.replace(here, there)
        text.append(said, style)
    text.rstrip()
    return text


def _style(cell: Any) -> Style:
    return Style(
        color=_colour(cell.fg),
        bgcolor=_colour(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    name = _NAMES.get(name, name)
    return name.replace("bright", "bright_") if name.startswith("bright") and "_" not in name else name


@contextmanager
def _place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        market = demo_market()
        write_archive(market, root / "archive", DEMO_SHELVES)
        with running_server(root / "archive", api=SampleApi(market)) as server:
            yield Place(server.url, root / "data")


def main(names: list[str]) -> None:
    PICTURES.mkdir(exist_ok=True)
    with _place() as place:
        for name, shot in shots().items():
            if names and name not in names and name != "downloaded":  # what the others are of
                continue
            screen = take(shot, place)
            if not names or name in names:
                paths = {str(place.data.parent): "/home/you/tapevault", str(CHECKOUT): "/home/you/tapevault"}
                svg = drawn(screen, shot.shown, paths)
                (PICTURES / f"terminal-{name}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
