"""The path of one archive: claim, fetch, store, advance. The only place that knows this order.

A crash leaves `active` rows of a dead run, `.part` and temporary files, or a verified archive whose row says
`fetched`. Every run begins by releasing the rows of dead runs and then works as usual: recovery is no separate path.
Two runs on one data folder share the work: a row belongs to whoever claimed it, and a run whose rest belongs to
others waits for them.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby
from typing import Final
from weakref import WeakValueDictionary

from core.download.asking import Asking
from core.download.database import now_us
from core.download.limits import Hold
from core.download.part import digest_of
from core.download.planning import Plan
from core.download.smart import unfinished
from core.download.tracker import HEARTBEAT_SECONDS, Change, Done, DownloadTracker
from core.errors import (
    ContentError,
    DiskFull,
    Disputed,
    MarketDataError,
    NotPublished,
    SourceDown,
    TrackerError,
    WorkersLost,
    storage_error,
)
from core.events import (
    Emit,
    FileAtFault,
    FileFailed,
    FileFetched,
    FileMissing,
    FileStored,
    FindingRaised,
    RoomTaken,
    RunFinished,
    RunPlanned,
    RunStarted,
    RunWaiting,
    SeriesPlanned,
)
from core.exchanges.archive import Archive
from core.jobs.faults import DOUBTS, accepted, finding, taken_in, without_checksum
from core.jobs.gathering import gathered
from core.jobs.groups import Groups
from core.jobs.recorder import Recorder
from core.jobs.stock import not_held
from core.jobs.store import Store
from core.jobs.told import beside, repairs
from core.layout import Layout
from core.types import (
    FAULTS,
    ArchiveFile,
    Download,
    Ending,
    FetchedFile,
    Finding,
    Proof,
    Series,
    State,
    Stored,
)

POLL_SECONDS: Final = 1.0
MOST_CLAIMED: Final = 256
"""Rows claimed by one transaction."""


class Scope(Enum):
    """How far a run takes its files."""

    ALL = "download and process"
    DOWNLOAD = "download only"
    PROCESS = "process only"
    REBUILD = "take stock of what is on disk"


@dataclass(frozen=True, slots=True)
class Failure:
    """An archive that could not be had, and why."""

    key: str
    error: str


@dataclass(frozen=True, slots=True)
class Fault:
    """An archive that turned out to have a fault at the source which it was not known to have."""

    key: str
    state: State
    detail: str


@dataclass(frozen=True, slots=True)
class SyncSummary:
    """What a run did.

    `planned` archives belong to the request; `skipped` of them were complete before, or another run completed them
    meanwhile. `downloaded` were fetched and verified, `stored` became partitions, in this run. `missing` are listed but
    not there, `unverified`, `corrupt` and `mismatched` ones have these faults at the source and are not stored: all
    that were asked for in this run. `waiting` ones had a fault before, and the source is not asked again yet. `failed`
    could not be had or stored. `quarantined` lines of the stored ones are no rows and kept apart. `replaced` of the
    downloaded ones took the place of an archive that the exchange has published anew. `bytes_downloaded` came over the
    network for what was downloaded. `faults` are those at the source that are news.
    """

    planned: int = 0
    downloaded: int = 0
    stored: int = 0
    skipped: int = 0
    missing: int = 0
    unverified: int = 0
    corrupt: int = 0
    mismatched: int = 0
    waiting: int = 0
    failed: int = 0
    quarantined: int = 0
    replaced: int = 0
    bytes_downloaded: int = 0
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(slots=True)
class Sync:
    """One run's collaborators and what it has counted so far.

    `storage` is None where nothing is stored. `fresh`: archives and partitions are made again though they are here.
    `asking` says which faults of the source are accepted, and what time it is for those that are asked for again.
    `takes_rows`: archives may have been removed behind their rows, which then stand for them.
    `progress` says how many bytes of each active key are here; it goes into the database for monitors. While `hold`
    holds, no further archive is begun. `line` is what was typed to begin this.
    """

    archive: Archive
    tracker: DownloadTracker
    storage: Store | None
    layout: Layout
    emit: Emit
    scope: Scope = Scope.ALL
    workers: int = 32
    fresh: bool = False
    asking: Asking = field(default_factory=lambda: Asking(now_us()))
    takes_rows: bool = False
    progress: Callable[[], Mapping[str, int]] = dict
    hold: Hold = field(default_factory=Hold)
    line: str = ""
    _run: int = 0
    _recorder: Recorder | None = None
    _rows: deque[tuple[int, int]] = field(default_factory=deque)
    _groups: Groups = field(default_factory=Groups)
    _group_of: dict[int, int] = field(default_factory=dict)
    _claimed: deque[Download] = field(default_factory=deque)
    _elsewhere: set[int] = field(default_factory=set)
    _ids: dict[str, int] = field(default_factory=dict)
    _old_digests: dict[int, str] = field(default_factory=dict)
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _is_planned: bool = True
    _planned: int = 0
    _to_do: int = 0
    _bytes_to_fetch: int = 0
    _bytes_to_store: int = 0
    _done_elsewhere: int = 0
    _downloaded: int = 0
    _stored: int = 0
    _stored_rows: int = 0
    _at_fault: Counter[State] = field(default_factory=Counter)
    _waiting: int = 0
    _faults: list[Fault] = field(default_factory=list)
    _quarantined: int = 0
    _replaced: int = 0
    _bytes: int = 0
    _failures: list[Failure] = field(default_factory=list)
    _turns: WeakValueDictionary[Series, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """Partitions of one series are written one by one; whoever waits for its turn keeps nobody from storing another."""
    _storing: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._storing = asyncio.Semaphore(self.storage.at_once if self.storage is not None else 1)

    async def run(self, batches: AsyncIterable[Sequence[ArchiveFile]], command: str) -> SyncSummary:
        """Bring the listed archives to where the scope says, and sum up; work begins while the listing goes on.

        A file that fails is recorded and the next one taken; DiskFull, TrackerError, WorkersLost, SourceDown and what
        `batches` raises stop the run. Whatever happens, also cancellation, this run's rows are let go of.
        """
        began = time.monotonic()
        if self.scope is Scope.PROCESS:  # nobody is asked: whatever is here is read, once more if need be
            accept = {State.CORRUPT, *(self.asking.accept & {State.UNVERIFIED})}
            self.asking = Asking(self.asking.now_us, frozenset(accept), is_offline=True)
        self._run = self.tracker.begin_run(command, self.line)
        self._recorder = Recorder(self.tracker, self._run, self._landed, self._elsewhere.update)
        ended = Ending.STOPPED
        try:
            if self.storage is not None:
                self.storage.sweep()
            self.emit(RunStarted(self._run, State.FETCHED if self.scope is Scope.DOWNLOAD else State.STORED))
            await self._work_through(self._plan(batches))
            await self._wait_for_others()
            ended = Ending.FINISHED
        except asyncio.CancelledError:
            ended = Ending.INTERRUPTED
            raise
        finally:
            try:
                self._recorder.flush()
            finally:
                self.tracker.finish_run(self._run, ended, self._done)
                self.emit(RunFinished(self._run, time.monotonic() - began, ended))
        return self._summary(time.monotonic() - began)

    # planning

    async def _plan(self, batches: AsyncIterable[Sequence[ArchiveFile]]) -> None:
        """Enter the listed archives as they come, and queue the rows that need work: only their numbers."""
        async with aclosing(gathered(batches)) as together:
            async for files in together:
                plan = self.tracker.plan(files, self.asking)
                self._note_replaced(plan)
                if self.fresh:
                    self._forget(plan)
                    plan = self.tracker.plan(files, self.asking)
                elif self._forget_lost(plan):
                    plan = self.tracker.plan(files, self.asking)
                self._queue(plan)

    def _note_replaced(self, plan: Plan) -> None:
        for row in plan.changed:
            self._remove_unfinished(row)  # the beginning of another object
            if row.sha256 is not None:
                self._old_digests[row.id] = row.sha256

    def _remove_unfinished(self, row: Download) -> None:
        for path in unfinished(self.layout.raw(row.file.series, row.file.period)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise storage_error(error, path) from error

    def _forget(self, plan: Plan) -> None:
        """Rows back to the start, parts removed. Verified archives are replaced when the new ones are.

        Where nobody is asked, they are the start: what is verified and lies here is only stored again.
        """
        if self.scope is Scope.PROCESS:
            here = self._archived(plan.done.values())
            self.tracker.demote([row for row, file in plan.done.items() if file.key in here], State.FETCHED)
            return
        rows = self.tracker.states([*plan.fetch, *plan.process, *plan.done, *plan.waiting])
        for row in rows:
            self._remove_unfinished(row)
        self.tracker.demote([row.id for row in rows], State.PLANNED)

    def _forget_lost(self, plan: Plan) -> bool:
        """Rows that say "done" while somebody has removed the files are sent back a step."""
        lost = {} if self.storage is None else not_held(self.storage, self.tracker, self.layout, plan.done)
        wanted = {**lost, **plan.process}
        here = self._archived(wanted.values())
        gone = {row for row, file in wanted.items() if file.key not in here}
        self.tracker.demote([row for row in lost if row not in gone], State.FETCHED)
        self.tracker.demote(list(gone), State.PLANNED)
        return bool(lost or gone)

    def _archived(self, files: Collection[ArchiveFile]) -> set[str]:
        """The keys of those whose archive lies here."""
        names = {series: self.layout.archived(series) for series in {file.series for file in files}}
        return {file.key for file in files if self.layout.raw(file.series, file.period).name in names[file.series]}

    def _queue(self, plan: Plan) -> None:
        self._tell_series(plan)
        ready = plan.process if self.scope is not Scope.DOWNLOAD else ()
        fetch = list(zip(plan.fetch, plan.to_fetch, strict=True)) if self.scope is not Scope.PROCESS else []
        here_bytes = sum(plan.process[row].size for row in ready)
        if self.storage is not None and self.scope is not Scope.REBUILD:
            self.storage.expect(here_bytes + sum(file.size for _, file in fetch))
        self._enqueue([*((row, plan.process[row]) for row in ready), *fetch])
        self._planned += plan.files
        self._waiting += len(plan.waiting)
        self._to_do += len(ready) + len(fetch)
        self._bytes_to_fetch += sum(file.size for _, file in fetch)
        self._bytes_to_store += here_bytes
        self._tell_planned(is_whole=False)
        self._more.set()

    def _tell_series(self, plan: Plan) -> None:
        """What each series of a plan comes to. Files of a series come one behind the other, mostly."""
        counts: dict[Series, list[int]] = {}  # to work on, and the others

        def add(files: Iterable[ArchiveFile], place: int) -> None:
            for series, some in groupby(files, key=lambda file: file.series):
                count = counts.setdefault(series, [0, 0])
                count[place] += sum(1 for _ in some)

        fetches, stores = self.scope is not Scope.PROCESS, self.scope is not Scope.DOWNLOAD
        add(plan.to_fetch, 0 if fetches else 1)
        add(plan.process.values(), 0 if stores else 1)
        add(plan.done.values(), 1)
        add(plan.waiting.values(), 1)
        for series, (files, skipped) in counts.items():
            self.emit(SeriesPlanned(series, files, skipped))

    def _enqueue(self, rows: Sequence[tuple[int, ArchiveFile]]) -> None:
        """Rows to work on, each with the number of the group that it is stored with: only numbers are kept."""
        numbers = self._groups.expect(file for _, file in rows) if self.storage is not None else [0] * len(rows)
        self._rows.extend((row, number) for (row, _), number in zip(rows, numbers, strict=True))

    def _tell_planned(self, is_whole: bool) -> None:
        skipped = self._planned - self._to_do
        self.emit(RunPlanned(self._to_do, self._bytes_to_fetch, skipped, is_whole, self._bytes_to_store))

    # working

    async def _work_through(self, planning: Coroutine[None, None, None] | None = None) -> None:
        """Workers until nothing is planned any more and no row is left; the first fatal error stops them all."""
        self._is_planned = planning is None
        try:
            async with asyncio.TaskGroup() as group:
                beat = group.create_task(self._beat())
                # Half as many again as requests at once: some always wait for the disk, not for the host.
                workers = [group.create_task(self._work()) for _ in range(self.workers + self.workers // 2)]
                if planning is not None:
                    await planning
                    self._is_planned = True
                    self._tell_planned(is_whole=True)
                    self._more.set()
                await asyncio.gather(*workers)
                beat.cancel()
        except* MarketDataError as errors:
            raise errors.exceptions[0] from None
        finally:
            self._note.flush()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            done = {self._ids[key]: count for key, count in self.progress().items() if key in self._ids}
            self.tracker.heartbeat(self._run, done, self._done)

    async def _work(self) -> None:
        while True:
            download = await self._next()
            if download is not None:
                await self._take(download)
            elif self._is_planned:
                return
            else:
                self._more.clear()
                await self._more.wait()

    @property
    def _done(self) -> Done:
        return Done(self._downloaded, self._bytes, self._stored_rows, len(self._failures))

    @property
    def _note(self) -> Recorder:
        assert self._recorder is not None
        return self._recorder

    async def _next(self) -> Download | None:
        """The next row that is ours: claimed some at a time, for one transaction costs as much as many rows; fewer
        towards the end, so that runs which share the work end together."""
        await self.hold.passed()
        while not self._claimed and self._rows:
            some = max(self.workers, min(len(self._rows) // 8, MOST_CLAIMED))
            rows = dict(self._rows.popleft() for _ in range(min(len(self._rows), some)))
            claimed = self.tracker.claim(self._run, list(rows))
            self._claimed.extend(claimed)
            self._group_of |= {download.id: rows[download.id] for download in claimed}
            elsewhere = set(rows) - {download.id for download in claimed}
            self._elsewhere |= elsewhere
            for row in elsewhere:
                await self._settle(rows[row])
        if not self._claimed:
            return None
        download = self._claimed.popleft()
        self._ids[download.file.key] = download.id
        return download

    async def _take(self, download: Download) -> None:
        """One archive to its end, whatever that is; the last of its group has all of them stored."""
        group = self._group_of.pop(download.id)
        try:
            if not await self._is_kept_as_rows(download):
                fetched = await self._fetched(download)
                if not await self._is_trusted(fetched):
                    self._add_fault(download, State.UNVERIFIED, without_checksum(download.file.key), fetched=fetched)
                elif self.storage is not None:
                    self._groups.arrive(group, download, fetched)
        except NotPublished:
            was = "listed" if download.file.etag else "expected"
            self._add_fault(download, State.MISSING, f"{was}, but the source has no such object")
        except Disputed as error:
            self._add_fault(download, State.MISMATCH, str(error), Proof.DISPUTED)
        except (DiskFull, TrackerError, SourceDown):
            raise
        except Exception as error:
            text = str(error) if isinstance(error, MarketDataError) else repr(error)
            self._note.add(Change(download, State.FAILED, error=text))
        finally:
            self._ids.pop(download.file.key, None)
        await self._settle(group)

    async def _settle(self, group: int) -> None:
        """One archive of a group less to wait for; store the group if it was the last."""
        arrived = self._groups.settle(group) if self.storage is not None else []
        if not arrived:
            return
        turn = self._turns.setdefault(arrived[0][0].file.series, asyncio.Lock())
        async with turn, self._storing:
            try:
                stored = await asyncio.to_thread(self._make, [fetched for _, fetched in arrived])
            except (DiskFull, TrackerError, WorkersLost):
                raise
            except Exception as error:
                text = str(error) if isinstance(error, MarketDataError) else repr(error)
                for download, fetched in arrived:
                    self._note.add(Change(download, State.FAILED, fetched=fetched, error=text))
                return
        self._tell_room([fetched for _, fetched in arrived if fetched.file.key in stored.sources], stored)
        for found in (*stored.findings, *beside(stored, [download.file for download, _ in arrived])):
            self.emit(FindingRaised(found))
        for download, fetched in arrived:
            key = download.file.key
            if key in stored.refused:
                self._add_fault(download, State.CORRUPT, stored.refused[key], fetched=fetched)
            elif key in stored.sources:
                self._note.add(Change(download, State.STORED, stored=stored))

    def _tell_room(self, files: Sequence[FetchedFile], stored: Stored) -> None:
        """How much room the rows of these archives take, by their share of the partitions."""
        keys = {fetched.file.key for fetched in files}
        room = 0.0
        for partition in stored.partitions:
            share = sum(source.rows for source in partition.sources if source.key in keys) / max(1, partition.rows)
            room += share * (partition.stamp.size if partition.stamp else 0)
        if room:
            self.emit(RoomTaken(sum(fetched.size for fetched in files), int(room)))

    def _make(self, files: Sequence[FetchedFile]) -> Stored:
        assert self.storage is not None
        return self.storage.held(files) if self.scope is Scope.REBUILD else self.storage.store(files, self.fresh)

    async def _is_kept_as_rows(self, download: Download) -> bool:
        """Whether an archive that is not here any more need not come again: its rows are stored, and the listing proves
        the digest that they were stored with."""
        file = download.file
        may_be = self.takes_rows or self.scope is Scope.REBUILD
        if not may_be or self.storage is None or self.fresh or download.sha256 is not None:
            return False
        path = self.layout.raw(file.series, file.period)
        stored = None if path.exists() else await asyncio.to_thread(self.storage.whole, file)
        if stored is None:
            return False
        source = stored.sources[file.key]
        proof = self.archive.proves(file, source.sha256)
        if proof is None:
            return False
        fetched = FetchedFile(file, path, file.size, source.sha256, proof)
        self._note.add(Change(download, State.FETCHED, fetched=fetched))
        self._note.add(Change(download, State.STORED, stored=stored))
        return True

    async def _fetched(self, download: Download) -> FetchedFile:
        """The verified archive: the one on disk if the row vouches for it and it still has that digest."""
        file = download.file
        if download.sha256 is not None:
            path = self.layout.raw(file.series, file.period)
            if path.exists() and await asyncio.to_thread(digest_of, path) == download.sha256:
                proof = download.proof or Proof.UNVERIFIED
                return FetchedFile(file, path, path.stat().st_size, download.sha256, proof)
            if self.scope is Scope.PROCESS:
                raise ContentError(f"{path} has changed since it was verified; run again without --process-only")
        try:
            asked = self._from_disk if self.scope is Scope.REBUILD else self.archive.download
            fetched = await asked(download)
        except Disputed as error:
            path = self.layout.raw(file.series, file.period)
            if not await self._is_trusted(FetchedFile(file, error.path, 0, error.sha256, Proof.DISPUTED)):
                raise
            fetched = taken_in(error, file, path)
        self._note.add(Change(download, State.FETCHED, fetched=fetched))
        return fetched

    async def _is_trusted(self, fetched: FetchedFile) -> bool:
        """Whether these bytes may be stored: the source vouches for them, or the user does, now or when they were."""
        doubt = DOUBTS.get(fetched.proof)
        if doubt is None or doubt in self.asking.accept:
            return True
        if self.storage is None:
            return False
        here = (await asyncio.to_thread(self.storage.held, [fetched])).sources.get(fetched.file.key)
        return here is not None and here.rows > 0

    def _add_fault(
        self,
        download: Download,
        state: State,
        detail: str,
        proof: Proof | None = None,
        fetched: FetchedFile | None = None,
    ) -> None:
        """The source is to blame. What was only read again from this disk is not counted as asked for."""
        is_asked = download.sha256 is None or download.fault is not state
        asked_us = self.asking.now_us if is_asked else None
        self._note.add(Change(download, state, fetched, error=detail, proof=proof, asked_us=asked_us))

    async def _from_disk(self, download: Download) -> FetchedFile:
        fetched = await self.archive.adopt(download)
        if fetched is None:
            raise ContentError(f"{download.file.key}: what lies here is not what is listed; the next run fetches it")
        return fetched

    def _landed(self, change: Change) -> None:
        """The database has taken a change: count it, and tell."""
        key = change.download.file.key
        is_here = change.fetched is not None or change.download.sha256 is not None
        match change.state:
            case State.FETCHED if change.fetched is not None:
                self._downloaded += 1
                self._bytes += change.fetched.transferred
                fetched, series = change.fetched, change.download.file.series
                self.emit(FileFetched(key, fetched.size, fetched.transferred, fetched.proof, series))
                self._tell_replaced(change.download, change.fetched)
            case State.STORED if change.stored is not None:
                source = change.stored.sources[key]
                self._stored += 1
                self._stored_rows += source.rows
                self._quarantined += source.quarantined
                self.emit(FileStored(key, source.rows, change.download.file.series))
                for found in repairs(self.layout, change.download.file.series, source):
                    self.emit(FindingRaised(found))
                if (doubt := accepted(change.download, source)) is not None:
                    self.emit(FindingRaised(doubt))
            case state if state in FAULTS:
                self._tell_fault(change.download, state, change.error or state, is_here)
            case _:
                self._tell_failed(change.download, change.error or "failed", is_here)

    def _tell_failed(self, download: Download, error: str, is_here: bool) -> None:
        file = download.file
        self._failures.append(Failure(file.key, error))
        self.emit(FileFailed(file.key, error, file.series, file.size, is_here))

    def _tell_fault(self, download: Download, state: State, detail: str, is_here: bool) -> None:
        file = download.file
        key, series = file.key, file.series
        self._at_fault[state] += 1
        if state is State.MISSING:
            self.emit(FileMissing(key, series, file.size))
        else:
            self.emit(FileAtFault(key, state, detail, series, file.size, is_here))
        if download.fault is not state:
            self._faults.append(Fault(key, state, detail))
            self.emit(FindingRaised(finding(download, state, detail)))

    def _tell_replaced(self, download: Download, fetched: FetchedFile) -> None:
        old = self._old_digests.pop(download.id, None)
        if old is None or old == fetched.sha256:  # another ETag for the same bytes
            return
        self._replaced += 1
        file = download.file
        detail = f"{file.key} was published anew: its SHA-256 was {old} and is {fetched.sha256}"
        self.emit(FindingRaised(Finding(file.series, file.period.span, "republished", detail)))

    # with other runs

    async def _wait_for_others(self) -> None:
        """Rows that other runs hold: wait for them, and take over what a dead run leaves."""
        while self._elsewhere:
            self.tracker.release()
            rows = self.tracker.states(list(self._elsewhere))
            self._elsewhere.clear()
            held = [row for row in rows if row.owner is not None]
            free = [(row.id, row.file) for row in rows if row.owner is None and row.state in self._unfinished]
            self._note_finished(row for row in rows if row.owner is None and row.state not in self._unfinished)
            self._enqueue(free)
            await self._work_through()
            if held:
                self._elsewhere |= {row.id for row in held}
                self._tell_waiting(held)
                await asyncio.sleep(POLL_SECONDS)

    @property
    def _unfinished(self) -> tuple[State, ...]:
        return (State.PLANNED,) if self.scope is Scope.DOWNLOAD else (State.PLANNED, State.FETCHED)

    def _note_finished(self, rows: Iterable[Download]) -> None:
        for row in rows:
            if row.state is State.FAILED:
                self._tell_failed(row, row.error or "failed in another run", row.sha256 is not None)
            elif row.state in FAULTS:
                self._tell_fault(row, row.state, row.error or row.state, row.sha256 is not None)
            else:
                self._done_elsewhere += 1

    def _tell_waiting(self, held: Sequence[Download]) -> None:
        holders = self.tracker.holders([row.id for row in held])
        self.emit(RunWaiting(len(held), ", ".join(str(holder) for holder in holders)))

    def _summary(self, seconds: float) -> SyncSummary:
        return SyncSummary(
            planned=self._planned,
            downloaded=self._downloaded,
            stored=self._stored,
            skipped=self._planned - self._to_do - self._waiting + self._done_elsewhere,
            missing=self._at_fault[State.MISSING],
            unverified=self._at_fault[State.UNVERIFIED],
            corrupt=self._at_fault[State.CORRUPT],
            mismatched=self._at_fault[State.MISMATCH],
            waiting=self._waiting,
            failed=len(self._failures),
            quarantined=self._quarantined,
            replaced=self._replaced,
            bytes_downloaded=self._bytes,
            seconds=round(seconds, 3),
            failures=tuple(self._failures),
            faults=tuple(self._faults),
        )
