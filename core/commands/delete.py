"""Delete data, after its name has been typed."""

import argparse
import json
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.prompt import Prompt
from rich.table import Table

from core.commands.command import (
    add_data_options,
    add_run_options,
    local_settings_from,
    shown,
    status_line,
)
from core.commands.stored import add_stored_options, selection_from
from core.download.tracker import DownloadTracker
from core.errors import ConfigError, NoData, storage_error
from core.jobs.deletion import Deletion, Extent
from core.jobs.holdings import series_held
from core.jobs.selection import Selection
from core.layout import Layout
from core.types import Series

EXAMPLES = """examples:
  python scripts/pipeline.py delete --dry-run                         what would go, and how large it is
  python scripts/pipeline.py delete                                   all data: asks for the name of the data folder
  python scripts/pipeline.py delete --symbols DOGEUSDT --dry-run
  python scripts/pipeline.py delete --symbols DOGEUSDT --market um --confirm um/DOGEUSDT

The name says all that was chosen: market/data types/symbols/interval, those that were given; the folder's for all data.
Archives, rows, bars, logs and what the status database knows of them are deleted; only files of Tapevault's own, and
none behind a link: what stays is listed with the reason. Killed in the middle, the same command goes on.
exit codes: 0 all well, 1 something could not be deleted, 2 wrong usage or another name, 3 nothing is here,
4 a run is at work, 130 interrupted
"""
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class _Choice:
    """What is to go: series, None for all data; and the name that has to be typed for it."""

    series: list[Series] | None
    name: str


def delete(options: argparse.Namespace) -> int:
    """Show what would go, and delete it when its name is typed."""
    began = time.monotonic()
    layout = Layout(local_settings_from(options).data_root)
    _refuse_foreign(layout)
    choice = _choice(options, layout)
    deletion = Deletion(layout, choice.series)
    with status_line(options, "looking at what is here"):
        extent = deletion.look()
    if options.dry_run:
        _report(options, layout, extent, choice, time.monotonic() - began)
        return 0
    _confirm(options, layout, extent, choice)
    with status_line(options, "deleting") as says:
        done = deletion.run(says)
    _report(options, layout, done, choice, time.monotonic() - began)
    return 1 if done.failures else 0


def _refuse_foreign(layout: Layout) -> None:
    """Raises NoData, ConfigError for a folder that is not a data root of ours, StorageError for one that is closed."""
    try:
        is_empty = not layout.root.is_dir() or not any(layout.root.iterdir())
        is_behind_a_link = layout.database.parent.is_symlink() or layout.database.is_symlink()
        is_ours = not is_behind_a_link and layout.database.is_file()
    except OSError as error:
        raise storage_error(error, layout.root) from error
    if is_empty:
        raise NoData(f"nothing is here, under {layout.root}")
    if not is_ours:
        raise ConfigError(
            f"{layout.root} is no data folder of Tapevault's: {layout.database} is not there; nothing was deleted"
        )


def _choice(options: argparse.Namespace, layout: Layout) -> _Choice:
    """Raises ConfigError, NoData for a word that is wrong or that nothing here belongs to."""
    asked = selection_from(options)
    if asked == Selection():
        return _Choice(None, layout.root.name)
    with DownloadTracker(layout.database) as tracker:
        known = sorted({*series_held(layout), *(one.series for one in tracker.followed())}, key=str)
    # What has no interval is of every interval where it is looked at; who names one here means candles, and no more.
    known = [one for one in known if asked.intervals is None or one.interval is not None]
    for symbol in asked.missing(known):
        raise NoData(f"nothing of {symbol} is here{asked.near(symbol, known)}")
    chosen = [one for one in known if one in asked]
    if not chosen:
        raise NoData("nothing of that is here")
    words = (asked.markets, asked.datasets, asked.symbols, asked.intervals)
    name = "/".join(",".join(each) for each in words if each)
    # No folder's name has a slash: where one is called like a part of what it has, that part is named otherwise.
    return _Choice(chosen, f"{layout.root.name}/{name}" if name == layout.root.name else name)


def _confirm(options: argparse.Namespace, layout: Layout, extent: Extent, choice: _Choice) -> None:
    """Raises ConfigError unless the name has been typed."""
    typed = options.confirm
    if typed is None:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfigError(f"deleting wants the name of what goes: {_confirming(choice)}; --dry-run shows it")
        console = Console(stderr=True)
        console.print(_table(layout, extent, "Goes"))
        _print_stays(console, layout, extent)
        try:
            typed = Prompt.ask(f"Type [bold]{escape(choice.name)}[/bold] to delete this for ever", console=console)
        except EOFError:
            raise ConfigError("no name was typed; nothing was deleted") from None
    if typed != choice.name:
        raise ConfigError(f"{typed!r} is not {choice.name!r}; nothing was deleted")


def _confirming(choice: _Choice) -> str:
    """The option that stands for the name being typed."""
    return shlex.join(["--confirm", choice.name])


def _report(options: argparse.Namespace, layout: Layout, extent: Extent, choice: _Choice, seconds: float) -> None:
    for path, why in list(extent.failures.items())[:_SHOWN]:
        print(f"failed: {shown(path)}: {why}", file=sys.stderr)
    files, size = extent.files.total(), extent.bytes.total()
    if options.json:
        said = {
            "dry_run": options.dry_run,
            "confirm": choice.name,
            "series": None if choice.series is None else [str(one) for one in choice.series],
            "files": files,
            "bytes": size,
            "archives_forgotten": extent.forgotten,
            "stays": [{"path": str(path), "why": why} for path, why in extent.stays.items()],
            "failures": [{"path": str(path), "why": why} for path, why in extent.failures.items()],
            "seconds": round(seconds, 3),
        }
        print(json.dumps(said))
    elif not options.quiet:
        console = Console()
        console.print(_table(layout, extent, "Would go" if options.dry_run else "Deleted"))
        _print_stays(console, layout, extent)
        done = f"would go; nothing was changed, {_confirming(choice)} deletes it" if options.dry_run else "deleted"
        console.print(f"{files:,} files, {decimal(size)} {done}; {seconds:.1f} seconds", markup=False, soft_wrap=True)


def _table(layout: Layout, extent: Extent, title: str) -> Table:
    table = Table(title=f"{title}, under {shown(layout.root)}", title_justify="left")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("files", justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    for what, size in extent.bytes.most_common():
        table.add_row(decimal(size), f"{extent.files[what]:,}", what.value)
    return table


def _print_stays(console: Console, layout: Layout, extent: Extent) -> None:
    """What stays, and why, in a line each."""
    lines = [f"stays: {_under(layout, path)}: {why}" for path, why in list(extent.stays.items())[:_SHOWN]]
    more = len(extent.stays) - _SHOWN
    for line in [*lines, *([f"and {more:,} more; --json has all of them"] if more > 0 else [])]:
        console.print(line, markup=False, soft_wrap=True)


def _under(layout: Layout, path: Path) -> str:
    return str(path.relative_to(layout.root))


def add_options(command: argparse.ArgumentParser) -> None:
    """What `delete` is told."""
    mine = command.add_argument_group("this command")
    mine.add_argument("--dry-run", action="store_true", help="show what would go and what would stay")
    mine.add_argument("--confirm", metavar="NAME", help="the name that is asked for otherwise")
    add_stored_options(command.add_argument_group("what; all data by default"))
    add_data_options(command.add_argument_group("where"))
    add_run_options(command.add_argument_group("how"))
