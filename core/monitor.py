"""A `Snapshot` as something Rich can show: while a run goes on, and as plain lines where there is no terminal."""

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from core.events import ActiveFile, Snapshot

ACTIVE_LINES = 8


def render(snapshot: Snapshot) -> RenderableType:
    """The dashboard of a run: one overall bar, the files in flight, the last trouble. Fits 80 columns."""
    parts: list[RenderableType] = [_overall(snapshot), _active(snapshot)]
    if not snapshot.is_planned:
        parts.append(Text("the exchange is still being asked what it publishes", style="dim"))
    if snapshot.waiting:
        parts.append(Text(f"waiting: {snapshot.waiting}", style="yellow", overflow="ellipsis", no_wrap=True))
    parts += [
        Text(f"failed {failure.key}: {failure.error}", style="red", overflow="ellipsis", no_wrap=True)
        for failure in snapshot.failures[-3:]
    ]
    return Group(*parts)


def status_line(snapshot: Snapshot) -> str:
    """The same in one line of plain text."""
    done = snapshot.finished_files
    parts = [
        f"{done}/{snapshot.files} files",
        f"{decimal(snapshot.bytes_done + snapshot.partial_bytes)} of {decimal(snapshot.size_bytes)}",
        f"{decimal(int(snapshot.rate_bytes))}/s",
        f"{snapshot.counts['stored']} stored",
    ]
    if snapshot.counts["failed"]:
        parts.append(f"{snapshot.counts['failed']} failed")
    return ", ".join(parts)


def _overall(snapshot: Snapshot) -> Table:
    done, files = snapshot.finished_files + snapshot.skipped, snapshot.files + snapshot.skipped
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    grid.expand = True
    bar = ProgressBar(total=max(1, files), completed=done)
    grid.add_row(Text("archives", style="bold"), bar, f"{done}/{files}")
    words = [
        f"{decimal(snapshot.bytes_done + snapshot.partial_bytes)} of {decimal(snapshot.size_bytes)}",
        f"{decimal(int(snapshot.rate_bytes))}/s",
        f"{snapshot.counts['stored']} stored",
        f"{snapshot.skipped} already here",
    ]
    if snapshot.counts["failed"]:
        words.append(f"[red]{snapshot.counts['failed']} failed[/red]")
    grid.add_row("", " · ".join(words), _eta(snapshot))
    return grid


def _active(snapshot: Snapshot) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
    grid.add_column(ratio=2)
    grid.add_column(no_wrap=True, justify="right", min_width=9)
    grid.add_column(no_wrap=True, justify="right")
    grid.expand = True
    files = sorted(snapshot.active.copy().items())
    for key, file in files[:ACTIVE_LINES]:
        bar = ProgressBar(total=max(1, file.size_bytes), completed=file.bytes_done)
        grid.add_row(Text(key.rsplit("/", 1)[-1], style="cyan"), bar, decimal(file.bytes_done), _attempt(file))
    if len(files) > ACTIVE_LINES:
        grid.add_row(Text(f"and {len(files) - ACTIVE_LINES} more", style="dim"), "", "", "")
    return grid


def _attempt(file: ActiveFile) -> Text:
    return Text(f"try {file.attempt}" if file.attempt > 1 else "", style="yellow")


def _eta(snapshot: Snapshot) -> str:
    left = snapshot.size_bytes - snapshot.bytes_done - snapshot.partial_bytes
    rate = snapshot.average_bytes
    if left <= 0 or rate <= 0:
        return ""
    minutes, seconds = divmod(int(left / rate), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d} left"
