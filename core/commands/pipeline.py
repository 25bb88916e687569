"""Everything that is done with data, from download to deletion; each job is a subcommand. Without one, a menu."""

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from core.bars.spec import BarSpec
from core.commands import cleanup, delete, download_all
from core.commands.command import (
    Parser,
    add_command,
    add_data_options,
    add_run_options,
    add_source_options,
    bytes_from,
    local_settings_from,
    positive,
    prepare_data_root,
    status_line,
    tell_not_stored,
)
from core.commands.logs import log_to_stderr
from core.commands.menu import menu
from core.commands.names import as_called
from core.commands.notify import notified
from core.commands.steps import by_itself, steps_of, typed
from core.commands.stored import add_stored_options, examined, wanted_from
from core.download.tracker import DownloadTracker
from core.errors import ConfigError, DiskFull, MarketDataError, StorageError
from core.integrity.checker import ALWAYS, Examined
from core.integrity.days import DayGap, days_of
from core.jobs.alone import alone
from core.jobs.optimize import Merge, Optimizer, Outcome
from core.jobs.sync import Scope
from core.layout import Layout
from core.nearest import did_you_mean
from core.storage.cross_sections import CrossSections, groups_of, is_current, make, periods_of, remove_all
from core.storage.manager import StorageManager

if TYPE_CHECKING:
    from core.jobs.bars import BarTask, Built

DEFAULT_MAX_SIZE = "256MB"
"""Files of this size are few, and each is still quick to work with: DuckDB finds a day in one by the times of its row
groups (a hundred or so), and what comes late for a merged month or year makes no more than this be written again. A day
of a busy symbol's trades has tens of megabytes and stays as it is; a year of a quiet one becomes one file."""

EVERY_EXAMPLE = """examples:
  python scripts/pipeline.py                                  questions instead of options, on a terminal
  python scripts/pipeline.py --data-dir /big/tapevault        the same for another data folder
  python scripts/pipeline.py run --symbols BTCUSDT --start 2024-01-01
  python scripts/pipeline.py cleanup --explain
  python scripts/pipeline.py optimize --help
"""
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
VALIDATE_EXAMPLES = """examples:
  python scripts/pipeline.py validate
  python scripts/pipeline.py validate --check-daily-gaps --market um --data-types klines

A gap lies between the first and the last row of a series. It is open (nothing was tried yet), late (it may still be
published), halt (nothing was traded), confirmed-hole (every source lacks it) or type-ended: docs/integrity.md.
exit codes: 0 nothing unexplained, 1 something unexplained was found or a symbol is not stored, 2 wrong usage,
3 nothing stored, 130 interrupted
"""
FEATURES_EXAMPLES = """examples:
  python scripts/pipeline.py features --type standard --symbols BTCUSDT
  python scripts/pipeline.py features --type imbalance --symbols @majors --data-types agg_trades
  python scripts/pipeline.py features --bars dollar-1000000,tick_run-500-unclamped --market spot
  python scripts/pipeline.py features --type grid --symbols BTCUSDT --scheduler tcp://10.0.0.5:8786

Bars lie under data/processed/bars/<spec>. What is right is left alone: the trades of a new day extend them, and where
the exchange has replaced trades they are made again from there. load_bars(..., stored=True) reads them; docs/bars.md
has the kinds and their numbers.
exit codes: 0 all well, 1 something could not be made (the rest is) or is not stored, 2 wrong usage, 3 nothing stored,
4 the same command is at work already, 130 interrupted
"""
DOWNLOAD_EXAMPLES = """examples:
  python scripts/pipeline.py download --priority-only
  python scripts/pipeline.py download --symbols BTCUSDT,ETHUSDT --start 2024-01-01 --end 2024-12-31

The same as download_all.py, which has more examples.
exit codes: 0 all well, 1 some files failed (run again to continue), 2 wrong usage, 3 nothing published, 130 interrupted
"""
CONVERT_EXAMPLES = """examples:
  python scripts/pipeline.py convert
  python scripts/pipeline.py convert --market spot --symbols BTCUSDT --data-types trades --salvage

The same as download_all.py --process-only: nobody is asked for anything.
exit codes: 0 all well, 1 some files failed, 2 wrong usage, 3 nothing is downloaded, 130 interrupted
"""
RUN_EXAMPLES = """examples:
  python scripts/pipeline.py run --symbols BTCUSDT,ETHUSDT --start 2024-01-01
  python scripts/pipeline.py run --symbols BTCUSDT --data-types klines,trades --bars time-1h,dollar-1000000

Each step is told as the command that it is; one that has nothing to do says so. Bars are made where trades are asked
for. The first step that does not end with 0 ends it all, with its exit code, and the command that goes on is said.
exit codes: 0 all well, else that of the step that failed, 130 interrupted
"""
BAR_TYPES = {
    "standard": ("time-1h", "tick-1000", "dollar-40000000"),
    "imbalance": (
        "dollar_imbalance-5000000",
        "tick_imbalance-1000",
        "volume_imbalance-1000",
        "afml_dollar_imbalance-1000",
    ),
    "run": ("tick_run-1000", "volume_run-1000", "dollar_run-1000"),
    "grid": (),
}
"""What `--type` stands for; of `grid`, 72 sets of numbers of dollar imbalance bars."""
CROSS_EXAMPLES = """examples:
  python scripts/pipeline.py cross-sections                     # candles of all markets and intervals that are stored
  python scripts/pipeline.py cross-sections --market um --interval 1h --data-types klines,mark_price
  python scripts/pipeline.py cross-sections --remove

A cross-section has the rows of all symbols of a month (of candles shorter than five minutes, of a day), by time: the
loader reads a day of hundreds of symbols from it instead of from as many files. It takes as much room again as the
partitions. One that was made before something else was stored for its time is not used, and made again here; what lies
under data/cache may be deleted at any time.
exit codes: 0 all well, 1 something could not be made, 2 wrong usage, 3 nothing stored, 130 interrupted
"""
_SHOWN = 20
_DAYS_SHOWN = 200


def main(arguments: Sequence[str]) -> int:
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        return _menu(arguments)
    options = parser().parse_args(arguments, argparse.Namespace(arguments=tuple(arguments)))
    log_to_stderr(options)
    code: int = options.run(options)
    return code


def _menu(arguments: Sequence[str]) -> int:
    """Questions and answers, on a terminal."""
    asked = Parser(description="A menu: questions, and what is done with the answers.")
    add_source_options(asked.add_argument_group("where from and where to, for all that is done"))
    options = asked.parse_args(arguments)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        parser().print_usage(sys.stderr)
        print("error: which command? Without one there is a menu, on a terminal only", file=sys.stderr)
        return ConfigError.exit_code
    return menu(options, main, list(BAR_TYPES))


def download(options: argparse.Namespace) -> int:
    """As `download_all.py`."""
    return download_all.download(options, options.arguments)


def run(options: argparse.Namespace) -> int:
    """Everything in turn, until something fails."""
    steps, said = steps_of(options), list[str]()
    return notified(local_settings_from(options).notify, options.arguments, lambda: _run(options, steps, said), said)


def _run(options: argparse.Namespace, steps: Sequence[list[str]], told: list[str]) -> int:
    """The steps; `told` gets what is said of the one that failed."""
    began = time.monotonic()
    results: list[dict[str, object]] = []
    code = 0
    for words in steps:
        name = words[0]
        said = io.StringIO()
        if not (options.quiet or options.json):
            print(f"\n$ {typed(words)}", flush=True)
        with contextlib.redirect_stdout(said) if options.json else contextlib.nullcontext():
            chosen = parser().parse_args(words, argparse.Namespace(arguments=tuple(words)))
            try:
                with by_itself():
                    code = chosen.run(chosen)
            except MarketDataError as error:
                told.append(str(error))
                print(as_called(f"error: {error}"), file=sys.stderr)
                code = error.exit_code
        results.append({"step": name, "code": code, "result": json.loads(said.getvalue() or "null")})
        if code:
            left = ", ".join(other[0] for other in steps[len(results) :])
            after = f"; left: {left}" if left else ""
            told.append(f"{name} ended with exit code {code}{after}; again: {typed(words)}")
            print(f"stopped: {told[-1]}", file=sys.stderr)
            break
    _say(
        options, {"steps": results, "code": code, "seconds": round(time.monotonic() - began, 3)}, _done(results, began)
    )
    return code


def _done(results: Sequence[dict[str, object]], began: float) -> str:
    well = [str(one["step"]) for one in results if not one["code"]]
    return f"\ndone: {', '.join(well) or 'nothing'}; {time.monotonic() - began:.1f} seconds"


def optimize(options: argparse.Namespace) -> int:
    """Merge small partitions into larger ones."""
    began = time.monotonic()
    most_bytes = _max_size(options.max_size)
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


def cross_sections(options: argparse.Namespace) -> int:
    """Make what is missing or no longer right of the loader's cross-sections."""
    began = time.monotonic()
    if options.symbols:
        raise ConfigError("--symbols: a cross-section has all symbols that are stored; leave it out")
    settings = local_settings_from(options)
    layout = Layout(settings.data_root)
    if options.remove:
        removed = remove_all(layout)
        _say(options, {"removed": removed}, f"{removed:,} cross-sections removed")
        return 0
    storage = StorageManager(layout, settings.storage, settings.quality)
    options.data_types = options.data_types or "klines"
    wanted, _ = wanted_from(options, storage)
    sections = CrossSections(layout)
    counts: dict[str, int] = {"made": 0, "right": 0, "rows": 0, "failed": 0}
    with status_line(options, "looking at what is stored") as says:
        for group in groups_of(wanted):
            for period in periods_of(storage, group):
                if is_current(sections, storage, group, period):
                    counts["right"] += 1
                    continue
                like = group[0]
                says(f"{counts['made']:,} made; now {like.market} {like.dataset} {like.interval} {period.label}")
                if options.dry_run:
                    counts["made"] += 1
                    continue
                try:
                    _, rows = make(layout, storage, group, period)
                except DiskFull:
                    raise
                except StorageError as error:
                    print(as_called(f"failed: {error}"), file=sys.stderr)
                    counts["failed"] += 1
                    continue
                counts["made"] += 1
                counts["rows"] += rows
    seconds = time.monotonic() - began
    done = "would be made" if options.dry_run else f"made of {counts['rows']:,} rows"
    text = f"{counts['made']:,} cross-sections {done}, {counts['right']:,} were right; {seconds:.1f} seconds"
    _say(options, {**counts, "dry_run": options.dry_run, "seconds": round(seconds, 3)}, text)
    return 1 if counts["failed"] else 0


def features(options: argparse.Namespace) -> int:
    """Bring stored bars up to date."""
    from core.jobs.bars import TRADES, BarTask, Built  # numba, which no other command needs

    began = time.monotonic()
    specs = _specs(options)
    if options.scheduler and (options.processes is not None or options.sequential):
        given = "--sequential" if options.sequential else "--processes"
        raise ConfigError(f"{given} is for this machine, and --scheduler gives the work to others; leave one out")
    settings = local_settings_from(options)
    layout = Layout(settings.data_root)
    storage = StorageManager(layout, settings.storage, settings.quality)
    options.data_types = options.data_types or "trades"
    if odd := [name for name in options.data_types.split(",") if name not in TRADES]:
        raise ConfigError(
            f"--data-types: bars are made of {' or '.join(TRADES)}, not of {odd[0]!r}{did_you_mean(odd[0], TRADES)}"
        )
    wanted, missing = wanted_from(options, storage)
    tasks = [BarTask(settings, series, specs, not options.sequential) for series in wanted]
    prepare_data_root(layout.root)
    found: list[Built] = []
    with alone(layout, "features"), status_line(options, f"{len(specs)} kinds of bars of {len(wanted)} series") as says:
        storage.sweep()
        for built in _built(tasks, options):
            found.append(built)
            says(f"{len(found):,} of {len(wanted) * len(specs):,}; {built.series} {built.spec}")
    tell_not_stored(missing)
    for built in found:
        if built.error:
            print(as_called(f"failed: {built.series} {built.spec}: {built.error}"), file=sys.stderr)
        elif built.drift and built.months:
            print(f"drift: {built.series} {built.drift}", file=sys.stderr)
    seconds = time.monotonic() - began
    if options.json:
        rows = [asdict(built) | {"series": str(built.series)} for built in found]
        print(json.dumps({"bars": rows, "missing": missing, "seconds": round(seconds, 3)}))
    elif not options.quiet:
        Console().print(_bars_table(found))
        trades = sum({built.series: built.trades for built in found}.values())
        Console().print(f"{sum(built.bars for built in found):,} bars; {trades:,} trades read; {seconds:.1f} seconds")
    return 1 if missing or any(built.error for built in found) else 0


def _built(tasks: "Sequence[BarTask]", options: argparse.Namespace) -> "Iterator[Built]":
    from core.jobs.bars import build_all

    if not options.scheduler:
        yield from build_all(tasks, options.processes)
        return
    try:
        from core.jobs.bars_cluster import build_on, cluster
    except ImportError as error:
        raise ConfigError(f"--scheduler needs Dask ({error}): pip install -r requirements-distributed.txt") from error
    with cluster(options.scheduler) as client:
        yield from build_on(client, tasks)


def _specs(options: argparse.Namespace) -> tuple[BarSpec, ...]:
    if options.bars and options.type:
        raise ConfigError("--type and --bars both say which bars; leave one of them out")
    if options.type == "grid":
        from core.bars.grid import grid_of

        return tuple(grid_of())
    texts = options.bars.split(",") if options.bars else BAR_TYPES[options.type or "standard"]
    return tuple(dict.fromkeys(BarSpec.parse(text) for text in texts))


def _bars_table(found: "Sequence[Built]") -> Table:
    table = Table(title="Bars", title_justify="left")
    table.add_column("bars", overflow="fold")
    for name in ("series", "bars of all", "months written"):
        table.add_column(name, justify="right")
    for spec in dict.fromkeys(built.spec for built in found):
        own = [built for built in found if built.spec == spec]
        bars, months = sum(built.bars for built in own), sum(built.months for built in own)
        table.add_row(spec, f"{len(own):,}", f"{bars:,}", f"{months:,}")
        if table.row_count == _SHOWN and len({built.spec for built in found}) > _SHOWN:
            table.add_row("and more; --json has all of them")
            break
    return table


def _say(options: argparse.Namespace, result: dict[str, object], text: str) -> None:
    if options.json:
        print(json.dumps(result))
    elif not options.quiet:
        Console().print(text)


def _max_size(text: str) -> int:
    size = bytes_from(text)
    if size <= 0:
        raise ConfigError(f"--max-size: {text!r} is not a size; write for example 500MB, 10GB or 1.5GiB")
    return size


def validate(options: argparse.Namespace) -> int:
    """Look at what is stored: whether it can be read, is in order, and has no gaps."""
    began = time.monotonic()
    settings = local_settings_from(options)
    storage = StorageManager(Layout(settings.data_root), settings.storage, settings.quality)
    wanted, missing = wanted_from(options, storage)
    with status_line(options, f"looking at {len(wanted)} series") as says:
        found = examined(settings, wanted, ALWAYS, False, says)
    tell_not_stored(missing)
    days = days_of(gap for each in found for gap in each.gaps) if options.check_daily_gaps else []
    open_findings = [finding for each in found for finding in each.findings if finding.cause is None]
    seconds = time.monotonic() - began
    if options.json:
        print(json.dumps(_validated(options, found, days, missing, seconds)))
    elif not options.quiet:
        console = Console()
        if days:
            console.print(_days_table(days))
        for finding in open_findings[:_SHOWN]:
            line = as_called(f"{finding.series}: {finding.kind}: {finding.detail}")
            console.print(line, markup=False, soft_wrap=True)
        if len(open_findings) > _SHOWN:
            console.print(as_called(f"and {len(open_findings) - _SHOWN:,} more; monitor.py integrity shows all"))
        looked_at = sum(1 for each in found if each.rows)
        rows = sum(each.rows for each in found)
        counts = f"{looked_at:,} series, {rows:,} rows, {len(open_findings):,} unexplained"
        gaps = f"; {len(days):,} days with gaps" if options.check_daily_gaps else ""
        console.print(f"{counts}{gaps}; {seconds:.1f} seconds")
    return 1 if open_findings or missing else 0


def _validated(
    options: argparse.Namespace,
    found: Sequence[Examined],
    days: Sequence[DayGap],
    missing: Sequence[str],
    seconds: float,
) -> dict[str, object]:
    return {
        "series": [
            {
                "series": str(each.series),
                "rows": each.rows,
                "gaps": len(each.gaps),
                "unexplained": sum(finding.cause is None for finding in each.findings),
            }
            for each in found
        ],
        "unexplained": sum(finding.cause is None for each in found for finding in each.findings),
        "days": [
            {
                "series": str(day.series),
                "day": day.day.isoformat(),
                "missing": "all" if day.is_whole else "part",
                "rows": day.rows,
                "status": day.status.value,
                "detail": day.detail,
            }
            for day in days
        ]
        if options.check_daily_gaps
        else None,
        "missing": list(missing),
        "seconds": round(seconds, 3),
    }


def _days_table(days: Sequence[DayGap]) -> Table:
    table = Table(title="Days with gaps", title_justify="left")
    table.add_column("series", overflow="fold")
    table.add_column("day", no_wrap=True)
    table.add_column("missing")
    table.add_column("rows", justify="right")
    table.add_column("status", no_wrap=True)
    table.add_column("what", overflow="fold")
    for day in days[:_DAYS_SHOWN]:
        rows = f"{day.rows:,}" if day.rows else ""
        what = "all" if day.is_whole else "part"
        table.add_row(str(day.series), day.day.isoformat(), what, rows, day.status, day.detail.replace("[", "\\["))
    if len(days) > _DAYS_SHOWN:
        table.add_row(f"and {len(days) - _DAYS_SHOWN:,} more; --json has all of them")
    return table


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


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=EVERY_EXAMPLE)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    says = "list, fetch, verify and store what the exchange publishes"
    command = add_command(commands, "download", download, says, download_all.__doc__ or "", DOWNLOAD_EXAMPLES)
    download_all.add_options(command)
    says = "store archives that are downloaded"
    command = add_command(commands, "convert", download, says, f"{says.capitalize()}.", CONVERT_EXAMPLES)
    download_all.add_options(command, Scope.PROCESS)
    says = "download, convert, optimize, validate and features in turn"
    command = add_command(commands, "run", run, says, f"{says.capitalize()}; the first failure ends it.", RUN_EXAMPLES)
    download_all.add_options(command, Scope.ALL)
    mine = command.add_argument_group("of optimize and features")
    mine.add_argument("--max-size", default=DEFAULT_MAX_SIZE, metavar="SIZE", help="of a merged file")
    mine.add_argument("--bars", metavar="a,b", help="bars to make of trades (default: the standard ones)")
    says = "merge small partitions into larger ones"
    command = add_command(commands, "optimize", optimize, says, f"{says.capitalize()}.", EXAMPLES)
    mine = command.add_argument_group("this command")
    mine.add_argument(
        "--max-size", default=DEFAULT_MAX_SIZE, metavar="SIZE", help=f"of a merged file (default {DEFAULT_MAX_SIZE})"
    )
    mine.add_argument("--dry-run", action="store_true", help="say what would be merged")
    _add_shared_options(command)
    says = "make the loader's cross-sections: a day of all symbols in one read"
    crossing = add_command(commands, "cross-sections", cross_sections, says, f"{says.capitalize()}.", CROSS_EXAMPLES)
    mine = crossing.add_argument_group("this command")
    mine.add_argument("--dry-run", action="store_true", help="say how many would be made")
    mine.add_argument("--remove", action="store_true", help="delete all cross-sections")
    _add_shared_options(crossing)
    says = "make bars of stored trades, or bring them up to date"
    making = add_command(commands, "features", features, says, f"{says.capitalize()}.", FEATURES_EXAMPLES)
    mine = making.add_argument_group("this command")
    mine.add_argument("--type", choices=BAR_TYPES, help="a usual set of bars (default standard)")
    mine.add_argument("--bars", metavar="a,b", help="these bars instead, as dollar-40000000")
    mine.add_argument("--processes", type=positive, metavar="N", help="series at once (default: as many as processors)")
    mine.add_argument(
        "--scheduler", metavar="URL", help="on a Dask cluster, as tcp://host:8786; it has to see the data"
    )
    mine.add_argument("--sequential", action="store_true", help="decode and build in turn, not at once")
    _add_shared_options(making)
    says = "Look at what is stored: whether it can be read, is in order, and has no gaps. Nothing is changed."
    shortly = "look at what is stored: order, sanity, gaps"
    looking = add_command(commands, "validate", validate, shortly, says, VALIDATE_EXAMPLES)
    mine = looking.add_argument_group("this command")
    mine.add_argument(
        "--check-daily-gaps", action="store_true", help="also list the days that lack rows, and how each gap ended"
    )
    _add_shared_options(looking)
    says = "find files that are not needed any more, and remove them"
    command = add_command(commands, "cleanup", cleanup.cleanup, says, f"{says.capitalize()}.", cleanup.examples())
    cleanup.add_options(command)
    says = "delete data; the name has to be typed"
    command = add_command(commands, "delete", delete.delete, says, f"{says.capitalize()}.", delete.EXAMPLES)
    delete.add_options(command)
    return made


def _add_shared_options(command: argparse.ArgumentParser) -> None:
    add_stored_options(command.add_argument_group("what; all that is stored by default"))
    add_data_options(command.add_argument_group("where"))
    add_run_options(command.add_argument_group("how"))
