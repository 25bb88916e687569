"""`monitor.py summary`, `failures` and `history`: what the status database says of all that was done."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from core.commands.command import (
    add_command,
    add_data_options,
    add_run_options,
    local_settings_from,
    positive,
)
from core.commands.names import as_called
from core.commands.stored import add_stored_options, selection_from
from core.dates import format_us
from core.download.looking import look
from core.download.overview import Failed, PastRun, SeriesOverview, failures, history, known_series, overview
from core.download.tracker import DownloadTracker, is_alive
from core.errors import NoData
from core.jobs.selection import Selection
from core.layout import Layout
from core.monitor.panels import clock, printable
from core.types import Ending, Series, State

SUMMARY_EXAMPLES: Final = """examples:
  python scripts/monitor.py summary
  python scripts/monitor.py summary --market um --data-types klines,funding_rate
  python scripts/monitor.py summary --symbols BTCUSDT --json

One line for each series: archives that are stored of those that the exchange lists, rows (each once), the first and the
last time, the size of the Parquet files, and gaps in which rows are missing that there should be. "-": nobody has
looked for gaps there yet; daily_update.py --fill-gaps does, and monitor.py integrity looks at the rows themselves.
exit codes: 0 all well, 1 nothing is known of some of the named symbols, 2 wrong usage, 3 nothing is known of that
"""
FAILURES_EXAMPLES: Final = """examples:
  python scripts/monitor.py failures
  python scripts/monitor.py failures --retry              plan them again, and say which command continues
  python scripts/monitor.py failures --symbols BTCUSDT --json

What failed is tried again by every download of it. What has a fault at the source (unverified, corrupt-upstream,
mismatch-upstream) is asked for again by a schedule, or stored as it is with --accept: docs/daily-updates.md.
exit codes: 0 nothing has failed, or it is planned again, 1 something has failed, or nothing is known of some of the
named symbols, 2 wrong usage, 3 nothing is known of that
"""
HISTORY_EXAMPLES: Final = """examples:
  python scripts/monitor.py history
  python scripts/monitor.py history --most 100
  python scripts/monitor.py history --json                with each command as it was typed

ended: running, finished (whatever failed in it), stopped (by an error: a full disk, a source that is down), interrupted
(Ctrl-C), killed (its process was gone), over (by a version that did not note how).
exit codes: 0 all well, 2 wrong usage, 3 there was no run yet
"""
_STYLES: Final = {Ending.KILLED: "red", Ending.STOPPED: "red", Ending.INTERRUPTED: "yellow"}
T = TypeVar("T")


def summary(options: argparse.Namespace) -> int:
    """A line for each series."""
    chosen = selection_from(options)
    known = _looked(options, overview)
    found = [one for one in known if one.series in chosen]
    missing = _missing(chosen, [one.series for one in known])
    if options.json:
        series = [_series_json(one) for one in found]
        print(json.dumps({"series": series, "total": _total_json(found), "missing": missing}))
    elif not options.quiet:
        console = Console()
        console.print(_summary_table(found))
        total = _total_json(found)
        console.print(
            f"{len(found):,} series, {total['stored']:,} of {total['archives']:,} archives stored, "
            f"{total['rows']:,} rows, {decimal(total['stored_bytes'])}",
            soft_wrap=True,
        )
    return 1 if missing else 0


def failed(options: argparse.Namespace) -> int:
    """What failed, why and when; with `--retry` it is planned again."""
    chosen = selection_from(options)
    known, every = _looked(options, lambda connection: (known_series(connection), failures(connection, None)))
    missing = _missing(chosen, known)
    found = [one for one in every if one.download.file.series in chosen]
    if options.retry:
        _retry(options, found, missing)
        return 1 if missing else 0
    if options.json:
        print(json.dumps({"failures": [_failed_json(one) for one in found], "missing": missing}))
    elif not options.quiet:
        console = Console()
        for one in found[: options.most]:
            row = one.download
            says = f"{format_us(one.at_us)}  {row.state}  {printable(row.file.key)}"
            console.print(Text(says, style="red"), soft_wrap=True)
            console.print(Text(f"    {printable(row.error or 'no reason is known')}"), soft_wrap=True)
        if len(found) > options.most:
            console.print(f"and {len(found) - options.most:,} more; --most {len(found)} or --json shows them")
        again = sum(one.download.state is State.FAILED for one in found)
        faulty = len(found) - again
        console.print(f"{again:,} failed, {faulty:,} faulty at the source", soft_wrap=True)
        if again:
            console.print(as_called("plan them again: python scripts/monitor.py failures --retry"), soft_wrap=True)
    return 1 if found or missing else 0


def past(options: argparse.Namespace) -> int:
    """Past runs, the newest first."""
    found = _looked(options, partial(history, most=options.most, is_alive=is_alive))
    if not found:
        raise NoData("no run has begun here yet")
    if options.json:
        print(json.dumps({"runs": [_run_json(one) for one in found]}))
    elif not options.quiet:
        console = Console()
        heading = " run  began (UTC)            took  ended         files     bytes      rows failed"
        console.print(Text(heading, style="bold"), soft_wrap=True)
        for one in found:
            for line in _run_lines(one):
                console.print(line, soft_wrap=True)
    return 0


def _looked(options: argparse.Namespace, read: Callable[[Connection], T]) -> T:
    """What the database says, read without writing to it. Raises NoData, TrackerError."""
    return look(Layout(local_settings_from(options).data_root).database, read)


def _missing(chosen: Selection, known: Sequence[Series]) -> list[str]:
    """The named symbols of which nothing is known, each told. Raises NoData where nothing is known of all of it."""
    missing = chosen.missing(known)
    if not any(one in chosen for one in known):
        near = chosen.near(missing[0], known) if missing else ""
        raise NoData(f"nothing of that is known here{near or '; get it with download_all.py'}")
    for symbol in missing:
        near = chosen.near(symbol, known)
        print(as_called(f"not known here: {symbol}{near or '; get it with download_all.py'}"), file=sys.stderr)
    return missing


def _retry(options: argparse.Namespace, found: Sequence[Failed], missing: Sequence[str]) -> None:
    keys = [one.download.file.key for one in found if one.download.state is State.FAILED]
    layout = Layout(local_settings_from(options).data_root)
    planned = 0
    if keys:
        with DownloadTracker(layout.database) as tracker:
            planned = tracker.plan_failed(keys)
    where = [word for name in ("data_dir", "settings") for word in _told(options, name)]
    line = f"{as_called('python scripts/download_all.py')} {shlex.join(['--unfinished', *where])}"
    if options.json:
        print(json.dumps({"planned": planned, "continue": line if planned else None, "missing": missing}))
    elif not options.quiet:
        print(f"{planned:,} archives are planned again; continue with: {line}" if planned else "nothing has failed")


def _told(options: argparse.Namespace, name: str) -> list[str]:
    """An option as it is typed, if it was given."""
    value = getattr(options, name)
    return [] if value is None else [f"--{name.replace('_', '-')}", str(value)]


def _series_json(one: SeriesOverview) -> dict[str, Any]:
    series = one.series
    return {
        "series": str(series),
        "market": series.market.value,
        "data_type": series.dataset,
        "symbol": series.symbol,
        "interval": series.interval,
        "archives": {state.value: count for state, count in sorted(one.archives.items())},
        "archive_bytes": one.archive_bytes,
        "files": one.partitions,
        "rows": one.rows,
        "first": None if one.first_us is None else format_us(one.first_us),
        "last": None if one.last_us is None else format_us(one.last_us),
        "stored_bytes": one.stored_bytes,
        "gaps": None if one.gaps is None else {status.value: count for status, count in sorted(one.gaps.items())},
        "holes": one.holes,
        "missing_rows": one.gap_rows if one.gaps is not None else None,
        "revisions": one.revisions,
    }


def _total_json(found: Sequence[SeriesOverview]) -> dict[str, int]:
    return {
        "series": len(found),
        "archives": sum(one.files for one in found),
        "stored": sum(one.archives.get(State.STORED, 0) for one in found),
        "archive_bytes": sum(one.archive_bytes for one in found),
        "rows": sum(one.rows for one in found),
        "stored_bytes": sum(one.stored_bytes for one in found),
    }


def _summary_table(found: Sequence[SeriesOverview]) -> Table:
    """A line for each symbol under its data type."""
    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="bold")
    table.add_column("symbol", overflow="fold")
    for name in ("stored", "rows", "first", "last", "size", "gaps"):
        table.add_column(name, justify="right", no_wrap=True)
    for kind, group in groupby(sorted(found, key=lambda one: (_kind_of(one.series), one.series.symbol)), key=_kind):
        table.add_row(Text(kind, style="bold cyan"))
        for one in group:
            stored = one.archives.get(State.STORED, 0)
            files = f"{stored:,}" if stored == one.files else f"{stored:,}/{one.files:,}"
            times = ["-" if at is None else format_us(at)[:10] for at in (one.first_us, one.last_us)]
            holes = "-" if one.holes is None else f"{one.holes:,}"
            table.add_row(f"  {one.series.symbol}", files, f"{one.rows:,}", *times, decimal(one.stored_bytes), holes)
    return table


def _kind(one: SeriesOverview) -> str:
    return _kind_of(one.series)


def _kind_of(series: Series) -> str:
    return "/".join(part for part in (series.market, series.dataset, series.interval) if part)


def _failed_json(one: Failed) -> dict[str, Any]:
    row = one.download
    return {
        "key": row.file.key,
        "series": str(row.file.series),
        "state": row.state.value,
        "reason": row.error,
        "since": format_us(one.at_us),
        "attempts": row.attempts,
    }


def _run_json(one: PastRun) -> dict[str, Any]:
    return {
        "run": one.run,
        "command": one.command,
        "line": one.line or None,
        "host": one.process.host,
        "pid": one.process.pid,
        "started": format_us(one.started_us),
        "finished": None if one.finished_us is None else format_us(one.finished_us),
        "ended": one.ended.value,
        "files": one.files,
        "bytes": one.bytes,
        "rows": one.rows,
        "failures": one.failures,
        "seconds": one.seconds,
    }


def _run_lines(one: PastRun) -> list[Text]:
    """A run, and what was typed on a line of its own: it may be copied."""
    took = "" if one.seconds is None else clock(one.seconds)
    files, rows, failed = ("-" if count is None else f"{count:,}" for count in (one.files, one.rows, one.failures))
    size = "-" if one.bytes is None else decimal(one.bytes)
    began = format_us(one.started_us)[:16]
    line = Text(f"{one.run:>4}  {began}  {took:>9}  ")
    line.append(f"{one.ended.value:<11}", style=_STYLES.get(one.ended, ""))
    line.append(f" {files:>7} {size:>9} {rows:>9} {failed:>6}")
    return [line, Text(f"      {one.line or one.command}", style="dim")]


def add_records(commands: Any) -> None:
    """The subcommands of this module."""
    says = "what is stored of each data type and symbol: files, rows, times, size, gaps"
    command = add_command(commands, "summary", summary, says, f"{says.capitalize()}.", SUMMARY_EXAMPLES)
    add_stored_options(command.add_argument_group("what; all that is known by default"))
    _add_common(command)
    says = "what failed, why and when; plan it again"
    command = add_command(commands, "failures", failed, says, f"{says.capitalize()}.", FAILURES_EXAMPLES)
    mine = command.add_argument_group("this command")
    mine.add_argument("--retry", action="store_true", help="plan what failed again, and say which command continues")
    mine.add_argument("--most", type=positive, default=50, metavar="N", help="show so many at most (default 50)")
    add_stored_options(command.add_argument_group("what; all that failed by default"))
    _add_common(command)
    says = "past runs: when, what came, how they ended"
    command = add_command(commands, "history", past, says, f"{says.capitalize()}.", HISTORY_EXAMPLES)
    mine = command.add_argument_group("this command")
    mine.add_argument("--most", type=positive, default=20, metavar="N", help="the newest N (default 20)")
    _add_common(command)


def _add_common(command: argparse.ArgumentParser) -> None:
    add_data_options(command.add_argument_group("where"))
    add_run_options(command.add_argument_group("how"))
