"""A new status database beside the old one, in whose place it comes once it is whole. Nobody else works meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from core.download import inheriting
from core.download.inheriting import TakeOver
from core.download.tracker import HEARTBEAT_SECONDS, REBUILD, DownloadTracker
from core.errors import TrackerError, storage_error
from core.jobs.alone import alone
from core.layout import Layout
from core.types import Ending

BESIDE: Final = ("daily_update", "cleanup")
"""Commands that write to the database also where no run of theirs is entered."""


@contextlib.asynccontextmanager
async def rebuilding(
    layout: Layout, line: str, says: Callable[[str], None] = lambda _: None
) -> AsyncIterator[DownloadTracker]:
    """The new database, with what the old one knows and nobody else; `line` is what was typed, and `says` hears what
    could not be taken over. Whoever leaves with an error leaves the old one in place.

    The old one has a run meanwhile beside which no other begins: another process would write to what is moved away.
    Raises AlreadyRunning, TrackerError, StorageError.
    """
    with contextlib.ExitStack() as stack:
        for command in (REBUILD, *BESIDE):
            stack.enter_context(alone(layout, command, REBUILD))
        was_there = layout.database.exists()
        async with _old_database(layout, line) as old:
            _move(layout.rebuilt_database, None)
            with DownloadTracker(layout.rebuilt_database) as tracker:
                if old is not None:
                    _take_over(tracker, old, {"runs": inheriting.runs}, says)
                yield tracker
                if old is not None:
                    _take_over(tracker, old, inheriting.INHERITED, says)
        _put_in_place(layout, was_there)


@contextlib.asynccontextmanager
async def _old_database(layout: Layout, line: str) -> AsyncIterator[DownloadTracker | None]:
    """The database as it is, or an empty one that keeps others from making theirs; None if it cannot be used, for then
    nobody else can use it either. The run in it ends only where the database stays."""
    with contextlib.ExitStack() as stack:
        try:
            old = stack.enter_context(DownloadTracker(layout.database))
            run = old.begin_run(REBUILD, line)
        except TrackerError:
            yield None
            return
        beats = asyncio.create_task(_beat(old, run))
        ended: Ending | None = Ending.STOPPED
        try:
            yield old
            ended = None
        except asyncio.CancelledError:
            ended = Ending.INTERRUPTED
            raise
        finally:
            beats.cancel()
            if ended is not None:
                with contextlib.suppress(TrackerError):
                    old.finish_run(run, ended)


async def _beat(old: DownloadTracker, run: int) -> None:
    """Processes on other hosts know a run by its signs of life."""
    with contextlib.suppress(TrackerError):
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            old.heartbeat(run, {})


def _take_over(
    tracker: DownloadTracker, old: DownloadTracker, what: Mapping[str, TakeOver], says: Callable[[str], None]
) -> None:
    for name, take in what.items():
        try:
            tracker.inherit(old, take)
        except TrackerError as error:
            says(f"the old database's {name} are not carried over: {error}")


def _put_in_place(layout: Layout, was_there: bool) -> None:
    """The old one out of the way, not away: somebody may want to look at what it still says."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    _move(layout.database, layout.database.with_name(f"{layout.database.name}.{stamp}.old") if was_there else None)
    _move(layout.rebuilt_database, layout.database)


def _move(database: Path, target: Path | None) -> None:
    """Move a database with what SQLite keeps beside it; None: remove it."""
    for suffix in ("", "-wal", "-shm"):
        path = database.with_name(database.name + suffix)
        try:
            if target is None:
                path.unlink(missing_ok=True)
            elif path.exists():
                path.replace(target.with_name(target.name + suffix))
        except OSError as error:
            raise storage_error(error, path) from error
