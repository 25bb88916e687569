"""Bring what is here up to date: yesterday's archives of every known series, finished months, newly listed symbols."""

import argparse
import asyncio
import functools
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict

from rich.filesize import decimal

from core.commands.command import (
    INTERRUPTED,
    Parser,
    add_download_options,
    add_source_options,
    prepare_data_root,
    run_async,
    settings_from,
)
from core.commands.logs import log_to_file, log_to_stderr
from core.commands.names import command_line
from core.commands.notify import notified
from core.commands.running import Running, running
from core.commands.stored import selection_from
from core.commands.watching import watched
from core.datasets import DATASETS
from core.dates import DAY_US
from core.download.asking import Asking
from core.download.database import now_us
from core.download.known import known_partitions
from core.download.tracker import DownloadTracker
from core.errors import NoData
from core.events import LOGGER
from core.exchanges.apis import APIS
from core.integrity.checker import IntegrityChecker
from core.jobs.alone import alone
from core.jobs.gaps import GapFiller
from core.jobs.selection import Selection
from core.jobs.store import CHECK_ROWS
from core.jobs.sync import SyncSummary
from core.jobs.update import COMMAND, DAYS_BACK, UpdateSummary, update
from core.layout import Layout, is_there
from core.settings import Settings, load_known_gaps, load_symbols
from core.storage.manager import StorageManager
from core.types import ArchiveFile

MAX_GAP_DAYS = 30
MOST_DAYS = 10_000

EXAMPLES = """examples:
  python scripts/daily_update.py                          everything that is here, and symbols listed since
  python scripts/daily_update.py --days-back 30           look at a month again, also for what came late
  python scripts/daily_update.py --market um --data-types klines,funding_rate
  15 9 * * *  cd /path/to/tapevault && .venv/bin/python scripts/daily_update.py    for cron, by the machine's clock

Says nothing where there is no terminal and nothing is wrong, so that cron sends no mail.

exit codes: 0 all well (also if archives are late), 1 something failed, or is missing, faulty or a hole at the source
since this night, or a symbol of --symbols is not known here, 2 wrong usage, 3 nothing is here yet (run download_all.py
first), 4 another update is at work, 130 interrupted
"""


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    log_to_stderr(options, None if sys.stderr.isatty() else "warning")
    settings = settings_from(options)
    selection = selection_from(options)
    layout = Layout(settings.data_root)
    return notified(settings.notify, arguments, lambda: _update(options, arguments, settings, layout, selection))


def _update(
    options: argparse.Namespace, arguments: Sequence[str], settings: Settings, layout: Layout, selection: Selection
) -> int:
    if not is_there(layout.database):
        raise NoData(f"nothing is here yet, under {layout.root}; run download_all.py first, with what you want to keep")
    prepare_data_root(layout.root)
    with alone(layout, COMMAND):
        log_to_file(layout.logs, options)
        return run_async(_run(options, arguments, settings, layout, selection))


async def _run(
    options: argparse.Namespace, arguments: Sequence[str], settings: Settings, layout: Layout, selection: Selection
) -> int:
    async with running(settings, command_line(arguments)) as work:
        catalog = functools.partial(known_partitions, layout)
        storage = StorageManager(layout, settings.storage, settings.quality, catalog, CHECK_ROWS)
        asking = Asking(now_us(), settings.quality.accepted)
        with DownloadTracker(layout.database) as tracker:
            filler = _filler(options, work, tracker, storage, asking)
            try:
                async with watched(options, work, tracker, COMMAND, says_lines=False) as watch:
                    summary = await update(
                        selection,
                        work.sync(tracker, storage, asking),
                        symbols=load_symbols(),
                        listing=settings.download.listing,
                        days_back=options.days_back,
                        new_listings=not options.known_only,
                        fill_gaps=filler.fill if options.fill_gaps else None,
                    )
                    watch.exit_code = 0 if summary.is_well else 1
            except asyncio.CancelledError:
                return INTERRUPTED
    _report(options, summary)
    return 0 if summary.is_well else 1


def _filler(
    options: argparse.Namespace, work: Running, tracker: DownloadTracker, storage: StorageManager, asking: Asking
) -> GapFiller:
    """What fills gaps of what is updated."""
    settings = work.settings

    async def bring(batches: AsyncIterator[Sequence[ArchiveFile]]) -> SyncSummary:
        return await work.sync(tracker, storage, asking).run(batches, f"{COMMAND} --fill-gaps")

    return GapFiller(
        work.archive,
        APIS["binance"](settings.download, work.smart),
        tracker,
        storage,
        IntegrityChecker(work.layout, storage, tracker, settings.quality, load_known_gaps()),
        bring,
        asking.now_us,
        options.max_gap_days * DAY_US,
        work.emit,
    )


def _report(options: argparse.Namespace, summary: UpdateSummary) -> None:
    """On a terminal always; elsewhere only what went wrong, and JSON where it is asked for."""
    for failure in summary.sync.failures[:10]:
        print(f"failed {failure.key}: {failure.error}", file=sys.stderr)
    for text in summary.gaps.failures[:10]:
        print(f"gap not filled: {text}", file=sys.stderr)
    for name in summary.unknown:
        LOGGER.warning("not known here: %s; download_all.py begins it", name)
    if options.json:
        sync = asdict(summary.sync)
        print(
            json.dumps(sync | {name: value for name, value in asdict(summary).items() if name != "sync"}, default=str)
        )
    elif not options.quiet and (sys.stdout.isatty() or not summary.is_well):
        print(_line(summary))


def _line(summary: UpdateSummary) -> str:
    """One line that says what the night came to."""
    sync = summary.sync
    parts = [
        f"{summary.series} series up to {summary.last}",
        f"{sync.downloaded} archives downloaded ({decimal(sync.bytes_downloaded)}), {sync.stored} stored",
    ]
    faults = sync.unverified + sync.corrupt + sync.mismatched
    counted = {
        "of newly listed symbols": summary.new_series,
        "replaced by the exchange": sync.replaced,
        "late": summary.late,
        "newly missing": len(summary.missing_new),
        "behind, with a hole before": len(summary.behind),
        "faulty at the source": faults,
        "waiting for the source": summary.waiting,
        "failed": sync.failed,
    }
    parts += [f"{count} {name}" for name, count in counted.items() if count]
    if summary.gaps.looked_at:
        ends = ", ".join(f"{count} {status}" for status, count in sorted(summary.gaps.status.items()))
        parts.append(f"{summary.gaps.looked_at} gaps: {ends}; {summary.gaps.rows} rows from the API")
    parts.append(f"{summary.asked} questions to the listing, {summary.probed} probes, {summary.seconds:.1f} s")
    return "; ".join(parts)


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 1 to {MOST_DAYS}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=EXAMPLES)
    add_source_options(made.add_argument_group("where from and where to"))
    what = made.add_argument_group("what (default: all that is here)")
    what.add_argument("--market", metavar="a,b", help="only of um, cm or spot")
    what.add_argument("--symbols", metavar="A,B", help="only these, or @majors for a category; no new listings then")
    what.add_argument("--data-types", metavar="a,b", help=f"only of {', '.join(DATASETS)}")
    what.add_argument("--interval", metavar="a,b", help="only candles of these intervals")
    what.add_argument("--known-only", action="store_true", help="leave newly listed symbols alone")
    what.add_argument(
        "--days-back",
        type=_days,
        default=DAYS_BACK,
        metavar="N",
        help=f"days looked at, and all since the last update (default {DAYS_BACK})",
    )
    what.add_argument("--fill-gaps", action="store_true", help="also fill the gaps of what is updated")
    what.add_argument(
        "--max-gap-days",
        type=_days,
        default=MAX_GAP_DAYS,
        metavar="N",
        help=f"with --fill-gaps: leave longer ones alone (default {MAX_GAP_DAYS})",
    )
    add_download_options(made.add_argument_group("how"))
    return made
