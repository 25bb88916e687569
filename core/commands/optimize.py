"""Merge small partitions into larger ones."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from core.commands.command import (
    bytes_from,
    local_settings_from,
    prepare_data_root,
    status_line,
    tell_not_stored,
)
from core.commands.names import as_called
from core.commands.stored import add_local_options, add_priority_option, wanted_from
from core.download.tracker import DownloadTracker
from core.errors import ConfigError
from core.jobs.optimize import Merge, Optimizer, Outcome
from core.layout import Layout
from core.storage.manager import StorageManager

DEFAULT_MAX_SIZE = "256MB"
"""Files of this size are few, and each is still quick to work with: DuckDB finds a day in one by the times of its row
groups (a hundred or so), and what comes late for a merged month or year makes no more than this be written again. A day
of a busy symbol's trades has tens of megabytes and stays as it is; a year of a quiet one becomes one file."""
EXAMPLES = f"""examples:
  python scripts/pipeline.py optimize --dry-run
  python scripts/pipeline.py optimize --max-size 10GB
  python scripts/pipeline.py optimize --market um --data-types trades,agg_trades --symbols @majors

All partitions of a year become one file if together they are no larger than --max-size (default {DEFAULT_MAX_SIZE}),
else all of a month; only years and months that are over. Each merged file is proved row for row before its parts go,
and the command can be killed at any moment. What is published later for such a time is stored as always.
exit codes: 0 all well, 1 something could not be merged (it stays as it is) or is not stored, 2 wrong usage,
3 nothing stored, 130 interrupted
"""
_SHOWN = 20


def optimize(options: argparse.Namespace) -> int:
    """Merge small partitions into larger ones."""
    began = time.monotonic()
    most_bytes = most_bytes_from(options.max_size)
    settings = local_settings_from(options)
    layout = Layout(settings.data_root)
    storage = StorageManager(layout, settings.storage, settings.quality)
    today = datetime.now(UTC).date()
    optimizer = Optimizer(storage, layout, settings.storage.row_group_rows, most_bytes, today)
    wanted, missing = wanted_from(options, storage)
    if options.dry_run:
        return _report(options, optimizer.look(wanted), missing, time.monotonic() - began)
    prepare_data_root(layout.root)
    storage.sweep()
    outcome = Outcome()
    with DownloadTracker(layout.database) as tracker, status_line(options, "looking at what is stored") as says:
        for series in wanted:
            says(f"{len(outcome.merges)} files merged; now {series}")
            optimizer.run(series, tracker, outcome)
    return _report(options, outcome, missing, time.monotonic() - began)


def most_bytes_from(text: str) -> int:
    """What `--max-size` says. Raises ConfigError."""
    size = bytes_from(text)
    if size <= 0:
        raise ConfigError(f"--max-size: {text!r} is not a size; write for example 500MB, 10GB or 1.5GiB")
    return size


def _report(options: argparse.Namespace, outcome: Outcome, missing: Sequence[str], seconds: float) -> int:
    tell_not_stored(missing)
    for error in outcome.failures:
        print(as_called(f"failed: {error}"), file=sys.stderr)
    if options.json:
        print(json.dumps(_as_json(options, outcome, missing, seconds)))
    elif not options.quiet:
        console = Console()
        if outcome.merges:
            console.print(_table(options, outcome.merges))
        console.print(_summary(options, outcome, seconds))
    return 1 if outcome.failures or missing else 0


def _as_json(
    options: argparse.Namespace, outcome: Outcome, missing: Sequence[str], seconds: float
) -> dict[str, object]:
    merges = [
        {
            "series": str(merge.series),
            "period": merge.period.label,
            "files": merge.files,
            "rows": merge.rows,
            "bytes_before": merge.bytes_before,
        }
        | ({} if options.dry_run else {"bytes_after": merge.bytes_after, "seconds": merge.seconds})
        for merge in outcome.merges
    ]
    return {
        "dry_run": options.dry_run,
        "merges": merges,
        "files_before": outcome.files_before,
        "files_after": outcome.files_after,
        "bytes_before": outcome.bytes_before,
        "bytes_after": None if options.dry_run else outcome.bytes_after,
        "failures": [{"series": str(series), "error": error} for error, series in outcome.failures.items()],
        "missing": list(missing),
        "seconds": round(seconds, 3),
    }


def _table(options: argparse.Namespace, merges: Sequence[Merge]) -> Table:
    table = Table(title="Would be merged" if options.dry_run else "Merged", title_justify="left")
    table.add_column("series", overflow="fold")
    table.add_column("into")
    for name in ("files", "rows", "size before", *(() if options.dry_run else ("size after",))):
        table.add_column(name, justify="right")
    for merge in merges[:_SHOWN]:
        sizes = (merge.bytes_before,) if options.dry_run else (merge.bytes_before, merge.bytes_after)
        cells = (f"{merge.files:,}", f"{merge.rows:,}", *map(decimal, sizes))
        table.add_row(str(merge.series), merge.period.label, *cells)
    rest = merges[_SHOWN:]
    if rest:
        files, rows = (f"{sum(counts):,}" for counts in zip(*((m.files, m.rows) for m in rest), strict=True))
        table.add_row(f"and {len(rest)} more", "", files, rows)
    return table


def _summary(options: argparse.Namespace, outcome: Outcome, seconds: float) -> str:
    if not outcome.merges:
        return f"Nothing to merge in {outcome.files_before:,} files, {decimal(outcome.bytes_before)}."
    files = f"{outcome.files_before:,} files before, {outcome.files_after:,} after"
    if options.dry_run:
        return f"{files}; {decimal(outcome.bytes_before)}; nothing was changed"
    sizes = f"{decimal(outcome.bytes_before)} before, {decimal(outcome.bytes_after)} after"
    return f"{files}; {sizes}; {seconds:.1f} seconds"


def add_options(command: argparse.ArgumentParser) -> None:
    """What `optimize` is told."""
    mine = command.add_argument_group("this command")
    mine.add_argument(
        "--max-size", default=DEFAULT_MAX_SIZE, metavar="SIZE", help=f"of a merged file (default {DEFAULT_MAX_SIZE})"
    )
    mine.add_argument("--dry-run", action="store_true", help="say what would be merged")
    add_priority_option(mine)
    add_local_options(command)
