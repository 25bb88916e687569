"""Download what the exchange publishes, verify it and store it, ready for `loader.BacktestDataLoader`."""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from core.commands.command import (
    INTERRUPTED,
    Parser,
    add_common_options,
    bytes_from,
    prepare_data_root,
    request_from,
    run_async,
    settings_from,
    shown,
    status_line,
)
from core.commands.logs import log_to_file, log_to_stderr
from core.commands.names import command_line
from core.commands.notify import notified
from core.commands.running import running
from core.commands.watching import watched
from core.download.asking import Asking
from core.download.database import now_us
from core.download.tracker import DownloadTracker
from core.errors import ConfigError, NoData
from core.events import Snapshot
from core.exchanges.archive import Archive
from core.jobs.rebuild import rebuilding
from core.jobs.request import Request, find_files, find_on_disk, with_all, with_priority
from core.jobs.store import CHECK_ROWS
from core.jobs.symbols_info import Coverage, cover, record_symbols
from core.jobs.sync import Scope, SyncSummary
from core.layout import Layout, is_there
from core.settings import Settings, load_symbols
from core.storage.pool import StoragePool, free_cores
from core.types import ArchiveFile, Market, State

EXAMPLES = """examples:
  python scripts/download_all.py --priority-only
      the 35 most important symbols: candles, mark, index and premium prices, funding
  python scripts/download_all.py --symbols BTCUSDT,ETHUSDT --start 2024-01-01 --end 2024-12-31
  python scripts/download_all.py --symbols BTCUSDT --data-types trades --start 2024-08-01 --end 2024-08-03
  python scripts/download_all.py --market spot --symbols BTCUSDT --interval 1m --dry-run
  python scripts/download_all.py --source http://127.0.0.1:8000      an archive served by serve_archive.py

exit codes: 0 all well, 1 some files failed (run again to continue), 2 wrong usage, 3 nothing published, 4 somebody
deletes data or rebuilds the status, or for --rebuild-status anybody is at work, 130 interrupted
"""


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    log_to_stderr(options)
    return download(options, arguments)


def download(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Bring what is asked for to where the scope says; `arguments` are the words that ask, for whoever is told."""
    settings = settings_from(options)
    if options.limit_rate:
        settings = settings.replace(download={"limit_rate_bytes": rate_from(options.limit_rate)})
    _check_scope(options)
    request = request_from(options)
    if options.priority_only and request.symbols:
        raise ConfigError("--priority-only and --symbols exclude each other")
    return notified(settings.notify, arguments, lambda: run_async(_run(options, arguments, settings, request)))


async def _run(options: argparse.Namespace, arguments: Sequence[str], settings: Settings, request: Request) -> int:
    began = time.monotonic()
    async with running(settings, command_line(arguments), adopts=not options.no_resume) as work:
        layout = work.layout
        if options.dry_run:
            return await _report_dry_run(options, settings, _listed(options, request, work.archive), layout)
        prepare_data_root(layout.root)
        log_to_file(layout.logs, options)
        is_rebuilt = options.scope is Scope.REBUILD
        tracking = rebuilding(layout, work.line, _complain) if is_rebuilt else _tracking(layout)
        asking = Asking(now_us(), settings.quality.accepted)
        try:
            async with tracking as tracker:
                with _storage(options, settings, layout) as storage:
                    sync = work.sync(tracker, storage, asking, options.scope, options.no_resume)
                    wanted = _wanted(options, settings, request, work.archive, tracker, storage)
                    async with watched(options, work, tracker, "download_all") as watch:
                        summary = await sync.run(wanted, "download_all")
                        watch.exit_code = _exit_code(summary)
        except asyncio.CancelledError:
            return INTERRUPTED
        summary = replace(summary, seconds=round(time.monotonic() - began, 3))
        _report(options, arguments, summary, work.snapshot, layout)
        return _exit_code(summary)


@contextlib.asynccontextmanager
async def _tracking(layout: Layout) -> AsyncIterator[DownloadTracker]:
    with DownloadTracker(layout.database) as tracker:
        yield tracker


def _complain(text: str) -> None:
    print(text, file=sys.stderr)


def _exit_code(summary: SyncSummary) -> int:
    return 1 if summary.failed or any(fault.state is not State.MISSING for fault in summary.faults) else 0


def _storage(
    options: argparse.Namespace, settings: Settings, layout: Layout
) -> contextlib.AbstractContextManager[StoragePool | None]:
    """Who stores, unless nothing is stored. Downloading takes about one processor."""
    if options.scope is Scope.DOWNLOAD:
        return contextlib.nullcontext()
    cores = free_cores()
    processes = cores if options.scope in (Scope.PROCESS, Scope.REBUILD) else max(1, cores - 1)
    return StoragePool(layout, settings.storage, settings.quality, processes, CHECK_ROWS)


async def _wanted(
    options: argparse.Namespace,
    settings: Settings,
    request: Request,
    archive: Archive,
    tracker: DownloadTracker,
    storage: StoragePool | None,
) -> AsyncIterator[Sequence[ArchiveFile]]:
    """The archives to work on; what a listing shows of their symbols is recorded."""
    layout = Layout(settings.data_root)
    if options.scope is Scope.PROCESS:
        if options.priority_only:
            request = replace(request, symbols=load_symbols().priority.get(request.market, ()))
        yield _known_files(tracker, layout, request)
    elif options.scope is Scope.REBUILD:
        assert storage is not None
        async for files in find_on_disk(layout, archive, await asyncio.to_thread(storage.archives)):
            yield files
    elif options.unfinished:
        yield _unfinished_files(tracker)
    else:
        covered: Coverage = {}
        async for files in _listed(options, request, archive):
            cover(covered, files)
            yield files
        record_symbols(layout.symbols_info, covered, settings.download.listing)


async def _listed(
    options: argparse.Namespace, request: Request, archive: Archive
) -> AsyncIterator[tuple[ArchiveFile, ...]]:
    """The archives of the request, a series at a time, after its symbols are settled."""
    symbols = load_symbols()
    if options.priority_only:
        request, absent = await with_priority(request, archive, symbols)
        if absent and not options.quiet:
            print(f"not at this source: {', '.join(absent)}", file=sys.stderr)
    elif request.symbols is None:
        request = await with_all(request, archive, symbols)
    async for files in find_files(request, archive):
        yield files


def _known_files(tracker: DownloadTracker, layout: Layout, request: Request) -> tuple[ArchiveFile, ...]:
    """Archives that are here already and belong to the request."""
    failed = tracker.known(request.market, [State.FAILED, State.CORRUPT, State.UNVERIFIED])
    here = tracker.known(request.market, [State.FETCHED, State.STORED])
    here += [file for file in failed if layout.raw(file.series, file.period).exists()]
    files = tuple(file for file in here if request.wants(file))
    if not files:
        raise NoData("no downloaded archive belongs to this request; download it first")
    return files


def _check_scope(options: argparse.Namespace) -> None:
    """Nothing that is asked for is ignored: what a scope has no use for is refused."""
    if options.salvage and options.scope in (Scope.DOWNLOAD, Scope.REBUILD):
        raise ConfigError("--salvage is about storing rows, which --download-only and --rebuild-status do not do")
    is_rebuilt, is_only_stored = options.scope is Scope.REBUILD, options.scope is Scope.PROCESS
    if options.dry_run and (is_rebuilt or is_only_stored):
        scope = "--rebuild-status" if is_rebuilt else "--process-only"
        raise ConfigError(f"--dry-run says what would be fetched, and {scope} fetches nothing; leave one of them out")
    chosen = {
        "--symbols": options.symbols,
        "--data-types": options.data_types,
        "--start": options.start,
        "--end": options.end,
        "--priority-only": options.priority_only,
    }
    given = [name for name, value in chosen.items() if value]
    if options.unfinished:
        others = {"--dry-run": options.dry_run, "--process-only": is_only_stored, "--rebuild-status": is_rebuilt}
        for name in [*given, *(name for name, value in others.items() if value)]:
            raise ConfigError(f"--unfinished takes all that is known and not finished; leave out {name}")
    if is_rebuilt:
        for name in [*given, *(["--no-resume"] if options.no_resume else [])]:
            raise ConfigError(f"--rebuild-status takes stock of all archives that are here; leave out {name}")


def _unfinished_files(tracker: DownloadTracker) -> tuple[ArchiveFile, ...]:
    """Archives of all markets that are known, and neither stored nor at fault at the source."""
    states = [State.PLANNED, State.ACTIVE, State.FETCHED, State.FAILED]
    files = tuple(file for market in Market for file in tracker.known(market, states))
    if not files:
        raise NoData("nothing is unfinished: all that is known here is stored, or its source is to blame")
    return files


def _report(
    options: argparse.Namespace, arguments: Sequence[str], summary: SyncSummary, snapshot: Snapshot, layout: Layout
) -> None:
    if options.json:
        print(json.dumps(asdict(summary)))
        return
    for failure in summary.failures[:10]:
        print(f"failed {failure.key}: {failure.error}", file=sys.stderr)
    for fault in [fault for fault in summary.faults if fault.state is not State.MISSING][:10]:
        print(f"{fault.state} {fault.key}: {fault.detail}", file=sys.stderr)
    if options.quiet:
        return
    console = Console()
    console.print(_table(summary, snapshot, layout))
    if summary.failed:
        console.print("Run the same command again to try the failed files once more:")
        print(f"  {command_line(arguments)}")
    elif not (summary.downloaded or summary.stored or summary.faults or summary.waiting):
        console.print("Nothing to download: everything is already here.")


def _table(summary: SyncSummary, snapshot: Snapshot, layout: Layout) -> Table:
    table = Table(title="Download", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    rows = {
        "archives for this request": f"{summary.planned:,}",
        "already here": f"{summary.skipped:,}",
        "downloaded": f"{summary.downloaded:,} ({decimal(summary.bytes_downloaded)})",
        "stored": f"{summary.stored:,} ({snapshot.rows:,} rows)",
        "failed": f"{summary.failed:,}",
    }
    counted = {
        "missing at the source": summary.missing,
        "no checksum at the source": summary.unverified,
        "corrupt at the source": summary.corrupt,
        "not what its checksum says": summary.mismatched,
        "waiting for the source": summary.waiting,
        "lines in quarantine": summary.quarantined,
        "replaced by the exchange since": summary.replaced,
    }
    rows |= {name: f"{count:,}" for name, count in counted.items() if count}
    rows["seconds"] = f"{summary.seconds:.1f}"
    for proof, count in sorted(snapshot.proofs.items()):
        rows[f"verified: {proof}"] = f"{count:,}"
    for name, value in rows.items():
        table.add_row(name, value)
    table.add_row("data folder", shown(layout.root))
    return table


async def _report_dry_run(
    options: argparse.Namespace, settings: Settings, batches: AsyncIterator[Sequence[ArchiveFile]], layout: Layout
) -> int:
    files = fetch = waiting = size = 0
    asking = Asking(now_us(), settings.quality.accepted)
    with contextlib.ExitStack() as stack, status_line(options, "asking the exchange what it publishes"):
        tracker = stack.enter_context(DownloadTracker(layout.database)) if is_there(layout.database) else None
        async for batch in batches:
            plan = tracker.look(batch, asking) if tracker else None
            files += len(batch)
            fetch += len(plan.fetch) if plan else len(batch)
            waiting += len(plan.waiting) if plan else 0
            size += plan.fetch_bytes if plan else sum(file.size for file in batch)
    if options.json:
        print(json.dumps({"planned": files, "to_fetch": fetch, "bytes_to_fetch": size, "waiting": waiting}))
    else:
        later = f", {waiting} wait for the source" if waiting else ""
        print(f"would fetch {fetch} of {files} archives, {decimal(size)}; {files - fetch - waiting} are here{later}")
    return 0


def rate_from(text: str) -> int:
    """What `--limit-rate` says. Raises ConfigError."""
    rate = bytes_from(text)
    if rate <= 0:
        raise ConfigError(f"--limit-rate: {text!r} is not a rate; write bytes a second, for example 500K or 20M")
    return rate


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=EXAMPLES)
    add_options(made)
    return made


def add_options(made: argparse.ArgumentParser, scope: Scope | None = None) -> None:
    """What `download` is told, under whatever name it is called; with a scope, that is not asked for."""
    add_common_options(made)
    mine = made.add_argument_group("this script")
    made.set_defaults(scope=scope or Scope.ALL, dry_run=False, unfinished=False, limit_rate=None)
    if scope is None:
        _add_scopes(mine.add_mutually_exclusive_group())
        mine.add_argument("--dry-run", action="store_true", help="say how many files and bytes would be fetched")
        mine.add_argument(
            "--unfinished", action="store_true", help="all that is known and neither stored nor faulty; lists nothing"
        )
    mine.add_argument("--priority-only", action="store_true", help="the symbols that config/symbols.yaml puts first")
    if scope is Scope.PROCESS:
        mine.add_argument("--no-resume", action="store_true", help="store again what is stored")
        return
    mine.add_argument("--no-resume", action="store_true", help="forget progress of these files and start fresh")
    mine.add_argument("--limit-rate", metavar="20M", help="bytes a second over all workers")


def _add_scopes(scope: "argparse._MutuallyExclusiveGroup") -> None:
    scope.add_argument(
        "--download-only", dest="scope", action="store_const", const=Scope.DOWNLOAD, help="verify, do not convert"
    )
    scope.add_argument(
        "--process-only", dest="scope", action="store_const", const=Scope.PROCESS, help="convert what is downloaded"
    )
    scope.add_argument(
        "--rebuild-status",
        dest="scope",
        action="store_const",
        const=Scope.REBUILD,
        help="make a new status database from the verified archives on disk; downloads none",
    )
