"""The path of one archive: claim, fetch, store, advance. The only place that knows this order.

A crash leaves `active` rows of a dead run, `.part` and temporary files, or a verified archive whose row says
`fetched`. Every run begins by releasing the rows of dead runs and then works as usual: recovery is no separate path.
Two runs on one data folder share the work: a row belongs to whoever claimed it, and a run whose rest belongs to
others waits for them.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from core.download.part import sha256_of
from core.download.tracker import HEARTBEAT_SECONDS, DownloadTracker, Plan
from core.errors import DiskFull, LeaseLost, MarketDataError, NotPublished, TrackerError
from core.events import (
    Emit,
    FileFailed,
    FileFetched,
    FileMissing,
    FileStored,
    FindingRaised,
    RunFinished,
    RunStarted,
    RunWaiting,
)
from core.exchanges.archive import Archive
from core.layout import Layout
from core.storage.manager import StorageManager
from core.types import ArchiveFile, Download, FetchedFile, Finding, Partition, Proof, State

POLL_SECONDS: Final = 1.0
STORING_AT_ONCE: Final = max(2, os.cpu_count() or 2)
"""Archives converted at once: more would only wait for a processor and hold memory."""


class Scope(Enum):
    """How far a run takes its files."""

    ALL = "download and process"
    DOWNLOAD = "download only"
    PROCESS = "process only"


@dataclass(frozen=True, slots=True)
class Failure:
    """An archive that could not be had, and why."""

    key: str
    error: str


@dataclass(frozen=True, slots=True)
class SyncSummary:
    """What a run did.

    `planned` archives belong to the request; `skipped` of them were complete before, or another run completed them
    meanwhile. `downloaded` were fetched and verified, `stored` became partitions, in this run. `missing` are listed but
    not there, `failed` could not be had or stored. `bytes_downloaded` came over the network for what was downloaded.
    """

    planned: int = 0
    downloaded: int = 0
    stored: int = 0
    skipped: int = 0
    missing: int = 0
    failed: int = 0
    bytes_downloaded: int = 0
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()


@dataclass(slots=True)
class Sync:
    """One run's collaborators and what it has counted so far.

    `progress` says how many bytes of each active key are here; it goes into the database for monitors.
    """

    archive: Archive
    tracker: DownloadTracker
    storage: StorageManager
    layout: Layout
    emit: Emit
    scope: Scope = Scope.ALL
    workers: int = 16
    progress: Callable[[], Mapping[str, int]] = dict
    _run: int = 0
    _rows: deque[int] = field(default_factory=deque)
    _claimed: deque[Download] = field(default_factory=deque)
    _elsewhere: list[int] = field(default_factory=list)
    _ids: dict[str, int] = field(default_factory=dict)
    _planned: int = 0
    _skipped: int = 0
    _downloaded: int = 0
    _stored: int = 0
    _missing: int = 0
    _bytes: int = 0
    _failures: list[Failure] = field(default_factory=list)
    _storing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(STORING_AT_ONCE))

    async def run(self, files: Sequence[ArchiveFile], command: str) -> SyncSummary:
        """Bring `files` to where the scope says, and sum up.

        A file that fails is recorded and the next one taken; DiskFull and TrackerError stop the run. Whatever
        happens, also cancellation, this run's rows are let go of.
        """
        began = time.monotonic()
        self._run = self.tracker.begin_run(command)
        try:
            self.storage.sweep()
            plan = self._plan(files)
            goal = State.FETCHED if self.scope is Scope.DOWNLOAD else State.STORED
            self.emit(RunStarted(self._run, len(self._rows), plan.fetch_bytes, self._skipped, goal))
            await self._work_through()
            await self._wait_for_others()
        finally:
            self.tracker.finish_run(self._run)
            self.emit(RunFinished(self._run, time.monotonic() - began))
        return self._summary(time.monotonic() - began)

    def _plan(self, files: Sequence[ArchiveFile]) -> Plan:
        plan = self.tracker.plan(files)
        for file in plan.changed:
            _unlink_part(self.layout.raw(file.series, file.period))  # its beginning is of the replaced object
        if self._forget_lost(plan):
            plan = self.tracker.plan(files)
        ready = plan.process if self.scope is not Scope.DOWNLOAD else ()
        self._rows = deque([*ready, *(plan.fetch if self.scope is not Scope.PROCESS else ())])
        self._planned = plan.files
        self._skipped = plan.files - len(self._rows)
        return plan

    def _forget_lost(self, plan: Plan) -> bool:
        """Rows that say "done" while somebody has removed the files are sent back a step."""
        lost = [row for row in plan.done if not self.storage.holds(row.file.series, row.file.period)]
        lost = [] if self.scope is Scope.DOWNLOAD else lost
        fetched = [*lost, *self.tracker.states(plan.process)]
        kept = [row.id for row in fetched if self.layout.raw(row.file.series, row.file.period).exists()]
        gone = [row.id for row in fetched if row.id not in set(kept)]
        self.tracker.demote(kept, State.FETCHED)
        self.tracker.demote(gone, State.PLANNED)
        return bool(lost or gone)

    async def _work_through(self) -> None:
        """Workers until no row is left; the first fatal error stops them all."""
        try:
            async with asyncio.TaskGroup() as group:
                beat = group.create_task(self._beat())
                workers = [group.create_task(self._work()) for _ in range(min(self.workers, len(self._rows)))]
                await asyncio.gather(*workers)
                beat.cancel()
        except* MarketDataError as errors:
            raise errors.exceptions[0] from None

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            done = {self._ids[key]: count for key, count in self.progress().items() if key in self._ids}
            self.tracker.heartbeat(self._run, done)

    async def _work(self) -> None:
        while (download := self._next()) is not None:
            await self._take(download)

    def _next(self) -> Download | None:
        """The next row that is ours: claimed a handful at a time, for one transaction costs as much as many rows."""
        while not self._claimed and self._rows:
            rows = [self._rows.popleft() for _ in range(min(len(self._rows), self.workers))]
            claimed = self.tracker.claim(self._run, rows)
            self._elsewhere += set(rows) - {download.id for download in claimed}
            self._ids |= {download.file.key: download.id for download in claimed}
            self._claimed.extend(claimed)
        return self._claimed.popleft() if self._claimed else None

    async def _take(self, download: Download) -> None:
        """One archive to its end, whatever that is."""
        try:
            fetched = await self._fetched(download)
            if self.scope is not Scope.DOWNLOAD:
                await self._store(download, fetched)
        except NotPublished:
            self.tracker.advance(download, State.MISSING, error="listed, but the source has no such object")
            self._missing += 1
            self.emit(FileMissing(download.file.key))
        except LeaseLost:
            self._elsewhere.append(download.id)
        except (DiskFull, TrackerError):
            raise
        except Exception as error:
            self._fail(download, str(error) if isinstance(error, MarketDataError) else repr(error))

    def _fail(self, download: Download, error: str) -> None:
        self.tracker.advance(download, State.FAILED, error=error)
        self._failures.append(Failure(download.file.key, error))
        self.emit(FileFailed(download.file.key, error))

    async def _fetched(self, download: Download) -> FetchedFile:
        """The verified archive: the one on disk if the row vouches for it and it still has that digest."""
        path = self.layout.raw(download.file.series, download.file.period)
        if download.sha256 is not None and path.exists():
            if await asyncio.to_thread(sha256_of, path) == download.sha256:
                proof = download.proof or Proof.UNVERIFIED
                return FetchedFile(download.file, path, path.stat().st_size, download.sha256, proof)
            if self.scope is Scope.PROCESS:
                raise MarketDataError(f"{path} has changed since it was verified; run again without --process-only")
        fetched = await self.archive.download(download)
        self.tracker.advance(download, State.FETCHED, fetched=fetched)
        self._downloaded += 1
        self._bytes += fetched.transferred
        self.emit(FileFetched(download.file.key, fetched.size, fetched.transferred, fetched.proof))
        return fetched

    async def _store(self, download: Download, fetched: FetchedFile) -> None:
        async with self._storing:
            partition = await asyncio.to_thread(self.storage.store, fetched)
        self.tracker.advance(download, State.STORED, partition=partition)
        self._stored += 1
        self.emit(FileStored(download.file.key, partition.rows))
        for finding in _findings(partition):
            self.emit(FindingRaised(finding))

    async def _wait_for_others(self) -> None:
        """Rows that other runs hold: wait for them, and take over what a dead run leaves."""
        while self._elsewhere:
            self.tracker.release()
            rows, self._elsewhere = self.tracker.states(self._elsewhere), []
            held = [row for row in rows if row.owner is not None]
            free = [row.id for row in rows if row.owner is None and row.state in self._unfinished]
            self._note_finished(row for row in rows if row.owner is None and row.state not in self._unfinished)
            self._rows.extend(free)
            await self._work_through()
            if held:
                self._elsewhere += [row.id for row in held]
                self._tell_waiting(held)
                await asyncio.sleep(POLL_SECONDS)

    @property
    def _unfinished(self) -> tuple[State, ...]:
        return (State.PLANNED,) if self.scope is Scope.DOWNLOAD else (State.PLANNED, State.FETCHED)

    def _note_finished(self, rows: Iterable[Download]) -> None:
        for row in rows:
            if row.state is State.FAILED:
                self._failures.append(Failure(row.file.key, row.error or "failed in another run"))
                self.emit(FileFailed(row.file.key, row.error or "failed in another run"))
            elif row.state is State.MISSING:
                self._missing += 1
                self.emit(FileMissing(row.file.key))
            else:
                self._skipped += 1

    def _tell_waiting(self, held: Sequence[Download]) -> None:
        holders = self.tracker.holders([row.id for row in held])
        self.emit(RunWaiting(len(held), ", ".join(str(holder) for holder in holders)))

    def _summary(self, seconds: float) -> SyncSummary:
        return SyncSummary(
            planned=self._planned,
            downloaded=self._downloaded,
            stored=self._stored,
            skipped=self._skipped,
            missing=self._missing,
            failed=len(self._failures),
            bytes_downloaded=self._bytes,
            seconds=round(seconds, 3),
            failures=tuple(self._failures),
        )


def _findings(partition: Partition) -> list[Finding]:
    """What storing had to repair, said out loud."""
    span = partition.period.span
    found: list[tuple[str, int, Any]] = [
        ("duplicate-rows", partition.duplicates, "exact duplicate rows were dropped"),
        ("unsorted-rows", partition.reordered, "rows were out of order and have been sorted"),
    ]
    return [
        Finding(partition.series, span, kind, f"{partition.period.label}: {count} {what}")
        for kind, count, what in found
        if count
    ]


def _unlink_part(target: Path) -> None:
    target.with_name(target.name + ".part").unlink(missing_ok=True)
