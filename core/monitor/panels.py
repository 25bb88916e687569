"""A `View` as lines of a terminal: exactly as wide and as high as that is, and as one plain line where there is none.

Lines are laid out by hand, not as tables: a frame is drawn every second for days, and this takes a fifth of the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.cells import cell_len
from rich.filesize import decimal
from rich.text import Text

from core.monitor.view import Active, Group, Problem, Source, View
from core.types import Ending

WIDE: Final = 120
"""From so many columns on there are two of panels."""
LEAST_WIDTH: Final = 20
_NAME_WIDTH: Final = 30


@dataclass(frozen=True, slots=True)
class Marks:
    """What is drawn with: told apart without colour."""

    full: str
    empty: str
    sparks: str
    rule: str
    dot: str
    more: str


UNICODE: Final = Marks("█", "░", "▁▂▃▄▅▆▇█", "─", "·", "…")
ASCII: Final = Marks("#", "-", "_.:-=+*#", "-", "|", "~")


@dataclass(frozen=True, slots=True)
class Size:
    """Columns and lines of a terminal."""

    width: int
    height: int


def dashboard(view: View, size: Size, keys: str = "", marks: Marks = UNICODE) -> Text:
    """The whole run on one screen."""
    width = max(LEAST_WIDTH, size.width)
    top = [*_head(view, width, marks), *_notices(view, width, marks)]
    bottom = _foot(view, width, marks)
    room = size.height - len(top) - len(bottom) - bool(keys)
    if width >= WIDE:
        left, right = (width - 3) // 2, width - 3 - (width - 3) // 2
        middle = _beside(
            _sections([_kinds(view, marks), _symbols(view, marks)], left, room, marks),
            _sections([_flying(view, marks), _troubles(view, marks)], right, room, marks),
            left,
        )
    else:
        parts = [_kinds(view, marks), _symbols(view, marks), _flying(view, marks), _troubles(view, marks)]
        middle = _sections(parts, width, room, marks)
    lines = [*top, *middle[: max(0, room)]]
    lines += [Text()] * max(0, size.height - len(lines) - len(bottom) - bool(keys))
    lines += bottom
    if keys:
        lines.append(_fitted(Text(keys, style="reverse"), width, marks))
    return _joined([_fitted(line, width, marks) for line in lines[: size.height]])


@dataclass(frozen=True, slots=True)
class Page:
    """Lines that are longer than a screen: what is shown of them begins with line `first`."""

    title: str
    lines: Sequence[Text]
    first: int = 0

    def shown(self, size: Size, keys: str, marks: Marks = UNICODE) -> Text:
        room = self.room(size)
        some = self.lines[self.first : self.first + room]
        last = min(len(self.lines), self.first + room)
        where = f"{self.first + 1} to {last} of {len(self.lines)} lines" if len(self.lines) > room else ""
        head = _ends(Text(self.title, style="bold"), Text(where, style="dim"), size.width, marks)
        lines = [head, *some, *[Text()] * (room - len(some)), _fitted(Text(keys, style="reverse"), size.width, marks)]
        return _joined([_fitted(line, size.width, marks) for line in lines[: size.height]])

    def room(self, size: Size) -> int:
        return max(1, size.height - 2)

    def moved(self, by: int, size: Size) -> int:
        """The first line after moving by so many."""
        return max(0, min(self.first + by, len(self.lines) - self.room(size)))


def failure_lines(problems: Sequence[Problem], width: int) -> list[Text]:
    """Each with its whole reason, folded to the width."""
    lines: list[Text] = []
    for problem in problems:
        style = "red" if problem.is_final else "yellow"
        again = "" if problem.is_final else " (tried again)"
        lines.append(Text(f"{_stamp(problem.at)}  {printable(problem.key)}", style=style))
        lines += _folded(printable(problem.reason) + again, width)
    return lines


def symbol_lines(view: View, width: int, marks: Marks = UNICODE) -> list[Text]:
    """Every data type and every symbol."""
    groups = [*view.kinds, *_ordered(view.symbols)]
    return [_group(group, width, marks) for group in groups]


def plain_line(view: View) -> str:
    """The run in one line of plain text."""
    parts = [
        f"{view.done_files:,}/{view.files:,} files",
        f"{decimal(view.here_bytes)} of {decimal(view.size_bytes)}",
        f"{decimal(int(view.speed_bytes))}/s",
        f"{view.stored:,} stored",
    ]
    if view.failed:
        parts.append(f"{view.failed:,} failed")
    if view.at_fault:
        parts.append(f"{view.at_fault:,} faulty at the source")
    if view.left_seconds is not None:
        parts.append(f"{clock(view.left_seconds)} left")
    if view.ended is not None:
        parts.append(view.ended)
    elif view.is_paused or view.is_pause_wanted:
        parts.append(f"PAUSED {clock(view.paused_seconds)}" if view.is_paused else "PAUSING")
    elif view.waiting:
        parts.append(f"waiting: {view.waiting}")
    elif not view.is_listed:
        parts.append("still listing")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """`1:02:03`; days apart."""
    days, rest = divmod(int(max(0, seconds)), 86_400)
    hours, rest = divmod(rest, 3600)
    return f"{f'{days} d ' if days else ''}{hours}:{rest // 60:02d}:{rest % 60:02d}"


def sparkline(values: Sequence[int], width: int, marks: Marks = UNICODE) -> str:
    """The last values, each as high as it is of the highest; nothing that came is the lowest mark."""
    some = values[-width:] if width > 0 else []
    most = max(some, default=0)
    steps = len(marks.sparks) - 1
    return "".join(marks.sparks[round(value / most * steps) if most else 0] for value in some).rjust(width)


def bar(width: int, done: float, total: float, marks: Marks = UNICODE, style: str = "green") -> Text:
    """How much of a whole is done. Full only when nothing is left, and begun as soon as anything is done."""
    share = min(1.0, max(0.0, done / total)) if total > 0 else 0.0
    full = int(share * width)
    if share > 0 and full == 0:
        full = min(1, width)
    return Text(marks.full * full, style=style).append(marks.empty * (width - full), style="dim")


# the head: what the run is, and how far


def _head(view: View, width: int, marks: Marks) -> list[Text]:
    dot = f" {marks.dot} "
    process = view.frame.process
    name = Text(f"{view.frame.command}{dot}run {view.run}{dot}process {process.pid} on {process.host}", style="bold")
    lines = [_ends(name, _state(view), width, marks)]
    lines.append(
        _measured("files", view.done_files, view.files, f"{view.done_files:,} of {view.files:,}", width, marks)
    )
    if view.size_bytes:
        says = f"{decimal(view.here_bytes)} of {decimal(view.size_bytes)}"
        lines.append(_measured("bytes", view.here_bytes, view.size_bytes, says, width, marks))
    left = "" if view.left_seconds is None else f", {clock(view.left_seconds)} left"
    now = f"{decimal(int(view.speed_bytes))}/s now, {decimal(int(view.average_bytes))}/s average{left}"
    room = max(0, width - 7 - cell_len(now) - 1)
    spark = Text("speed  ").append(sparkline(view.speeds, room, marks), style="cyan")
    lines.append(_ends(spark, Text(now), width, marks))
    said = [
        (f"{view.stored:,} stored", ""),
        (f"{view.failed:,} failed" if view.failed else "", "bold red"),
        (f"{view.at_fault:,} faulty" if view.at_fault else "", "red"),
        (f"{view.retries:,} tried again" if view.retries else "", "yellow"),
        (f"{view.missing:,} missing" if view.missing else "", ""),
        (f"{view.skipped:,} already here", ""),
        (f"{view.rows:,} rows", ""),
        (f"{view.findings:,} findings" if view.findings else "", "yellow"),
    ]
    counts = Text(dot).join(Text(words, style=style) for words, style in said if words)
    lines.append(_fitted(counts, width, marks))
    return lines


def _state(view: View) -> Text:
    if view.ended is not None:
        code = "" if view.exit_code is None else f", exit code {view.exit_code}"
        good = view.ended == Ending.FINISHED and not view.exit_code
        return Text(f"{view.ended}{code} after {clock(view.seconds)}", style="bold green" if good else "bold red")
    if view.is_paused:
        return Text(f"PAUSED {clock(view.paused_seconds)}", style="bold yellow")
    if view.is_pause_wanted:
        return Text("pausing", style="bold yellow")
    return Text(f"running {clock(view.seconds)}", style="bold green")


def _measured(name: str, done: float, total: float, says: str, width: int, marks: Marks) -> Text:
    share = f"{100 * done / total:5.1f} %" if total else "    - %"
    tail = f" {share}  {says}"
    return Text(f"{name:<7}").append_text(bar(max(4, width - 7 - cell_len(tail)), done, total, marks)).append(tail)


def _notices(view: View, width: int, marks: Marks) -> list[Text]:
    says = []
    if view.ended is None and (view.is_paused or view.is_pause_wanted):
        says.append("paused: nothing is asked for; p has it go on, and so does `monitor resume`")
    if view.ended is None and not view.is_listed:
        says.append("the exchange is still being asked what it publishes; totals grow")
    if view.waiting:
        says.append(f"waiting: {view.waiting}")
    for source in view.sources:
        if source.pause_seconds > 0:
            says.append(f"{source.host} wants to be left alone for {source.pause_seconds:.0f} s more")
    return [_fitted(Text(text, style="yellow"), width, marks) for text in says]


# the foot: what it works with


def _foot(view: View, width: int, marks: Marks) -> list[Text]:
    dot = f" {marks.dot} "
    rate = view.frame.limit_rate_bytes
    words = [f"{view.frame.workers} workers", f"at most {decimal(rate)}/s" if rate else "no rate limit"]
    if view.paused_seconds >= 1:
        words.append(f"paused {clock(view.paused_seconds)} in all")
    lines = [_fitted(Text("limits ", style="bold").append(dot.join(words)), width, marks)]
    hosts = dot.join(_source(source) for source in view.sources)
    if hosts:
        lines.append(_fitted(Text("hosts  ", style="bold").append(hosts), width, marks))
    if view.free_bytes is not None:
        says = f"{decimal(view.free_bytes)} free"
        style = ""
        if view.room_bytes is not None and view.ended is None:
            left = view.free_bytes - view.room_bytes
            lack = f"{decimal(-left)} too little" if left < 0 else f"{decimal(left)} free at the end"
            says += f"{dot}about {decimal(view.room_bytes)} still needed{dot}{lack}"
            style = "bold red" if left < 0 else ""
        lines.append(_fitted(Text("disk   ", style="bold").append(says, style=style), width, marks))
    lines.append(_fitted(Text("status ", style="bold").append(view.frame.database), width, marks, from_left=True))
    return lines


def _source(source: Source) -> str:
    if source.failing >= source.dead_after:
        well = "circuit open"
    elif source.failing:
        well = f"failing {source.failing} of {source.dead_after}"
    else:
        well = "well"
    return f"{source.host} {source.busy} of {source.limit} at once (most {source.most}), {well}"


# panels: a heading and rows, of which as many are shown as there is room


@dataclass(frozen=True, slots=True)
class _Panel:
    heading: str
    rows: Sequence[object]
    marks: Marks

    def row(self, number: int, width: int) -> Text:
        item = self.rows[number]
        if isinstance(item, Group):
            return _group(item, width, self.marks)
        if isinstance(item, Active):
            return _active(item, width, self.marks)
        assert isinstance(item, Problem)
        return _problem(item, width, self.marks)


def _kinds(view: View, marks: Marks) -> _Panel:
    return _Panel("data types", view.kinds, marks)


def _symbols(view: View, marks: Marks) -> _Panel:
    done = sum(group.is_done for group in view.symbols)
    return _Panel(f"symbols: {done:,} of {len(view.symbols):,} done", _ordered(view.symbols), marks)


def _flying(view: View, marks: Marks) -> _Panel:
    files = sorted(view.active, key=_by_progress)
    return _Panel(f"in flight: {len(files):,}", files, marks)


def _by_progress(file: Active) -> tuple[bool, str]:
    """Those of which bytes have come first: a small screen shows few, and the others may still wait for their turn."""
    return not file.bytes_done, file.name


def _troubles(view: View, marks: Marks) -> _Panel:
    failures = len(view.failures)
    heading = "last failures" if failures else "no failures; tried again lately" if view.problems else "no failures"
    return _Panel(heading, view.problems, marks)


def _ordered(groups: Sequence[Group]) -> list[Group]:
    """What is being worked on, what comes, what is over."""
    return sorted(groups, key=lambda group: (group.is_done, not group.done, group.name))


def _sections(panels: Sequence[_Panel], width: int, room: int, marks: Marks) -> list[Text]:
    """All panels below each other in so many lines: each its heading, and rows by turns until there is no room."""
    shown = [0] * len(panels)
    left = room - len(panels)
    while left > 0 and any(count < len(panel.rows) for count, panel in zip(shown, panels, strict=True)):
        for place, panel in enumerate(panels):
            if left > 0 and shown[place] < len(panel.rows):
                shown[place] += 1
                left -= 1
    lines: list[Text] = []
    for count, panel in zip(shown, panels, strict=True):
        hidden = len(panel.rows) - count
        heading = panel.heading + (f" ({hidden:,} more)" if hidden else "")
        rule = marks.rule * max(0, width - cell_len(heading) - 1)
        lines.append(_fitted(Text(f"{heading} ", style="bold").append(rule, style="dim"), width, marks))
        lines += [panel.row(number, width) for number in range(count)]
    return lines


def _group(group: Group, width: int, marks: Marks) -> Text:
    counts = f"{group.done:,}/{group.files:,}" if group.files else f"{group.skipped:,} here"
    failed = f" {group.failed:,} failed" if group.failed else ""
    name_width = min(_NAME_WIDTH, max(8, width // 3))
    bar_width = max(4, width - name_width - 2 - max(11, cell_len(counts)) - cell_len(failed))
    line = _fitted(Text(f" {group.name}", style="cyan"), name_width, marks, pads=True)
    done, files = (group.done, group.files) if group.files else (1, 1)
    line.append(" ").append_text(bar(bar_width, done, files, marks)).append(f" {counts:>11}")
    return _fitted(line.append(failed, style="red"), width, marks)


def _active(file: Active, width: int, marks: Marks) -> Text:
    of = f" of {decimal(file.size_bytes)}" if file.size_bytes else ""
    says = f"{decimal(file.bytes_done)}{of}"
    tail = f" {says:>20} {decimal(int(file.rate_bytes)) + '/s':>11}"
    attempt = f" try {file.attempt}" if file.attempt > 1 else ""
    name_width = max(8, min(width // 2, width - cell_len(tail) - cell_len(attempt) - 6))
    line = _fitted(Text(f" {file.name}", style="cyan"), name_width, marks, pads=True)
    bar_width = max(4, width - name_width - 1 - cell_len(tail) - cell_len(attempt))
    line.append(" ").append_text(bar(bar_width, file.bytes_done, file.size_bytes, marks, "blue")).append(tail)
    return _fitted(line.append(attempt, style="yellow"), width, marks)


def _problem(problem: Problem, width: int, marks: Marks) -> Text:
    name = problem.key.rsplit("/", 1)[-1]
    again = "" if problem.is_final else "again: "
    text = f" {_stamp(problem.at)} {again}{printable(name)}: {printable(problem.reason)}"
    return _fitted(Text(text, style="red" if problem.is_final else "yellow"), width, marks)


# words on lines


def _stamp(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def printable(text: str) -> str:
    """What a source has said may be anything, also what would move the cursor."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _fitted(text: Text, width: int, marks: Marks, pads: bool = False, from_left: bool = False) -> Text:
    """The text in so many columns; `from_left` leaves out its beginning, not its end."""
    over = cell_len(text.plain) - width
    if over > 0:
        if from_left:
            return _fitted(Text(marks.more).append_text(text[over + 1 :]), width, marks, pads)
        text = text.copy()
        text.truncate(width - 1, overflow="crop")
        text.append(marks.more)
    if pads:
        text.append(" " * (width - cell_len(text.plain)))
    return text


def _ends(left: Text, right: Text, width: int, marks: Marks) -> Text:
    """One text at each end of a line; the left one gives way."""
    room = width - cell_len(right.plain) - 1
    if room < 4:
        return _fitted(right, width, marks)
    return _fitted(left, room, marks, pads=True).append(" ").append_text(right)


def _beside(left: Sequence[Text], right: Sequence[Text], width: int) -> list[Text]:
    lines = []
    for number in range(max(len(left), len(right))):
        line = left[number].copy() if number < len(left) else Text()
        line.append(" " * (width - cell_len(line.plain) + 3))
        lines.append(line.append_text(right[number]) if number < len(right) else line)
    return lines


def _folded(text: str, width: int) -> list[Text]:
    words, lines, line = text.split(), [], "   "
    for word in words:
        if len(line) > 3 and cell_len(line) + 1 + cell_len(word) > width:
            lines.append(Text(line))
            line = "   "
        line += f" {word}"
    return [*lines, Text(line)]


def _joined(lines: Sequence[Text]) -> Text:
    return Text("\n", no_wrap=True, overflow="crop", end="").join(lines)
