"""`DownloadTracker`: the status database, the one truth of what should be here and how far it is.

    planned --claim--> active --advance--> fetched --advance--> stored
                          |                                        a new ETag in the listing re-plans any of these
                          +--advance--> failed                     and notes a revision where bytes were here;
                          |                                        a later run asks again for what failed, and for
                          +--advance--> missing | unverified |     faults of the source when they are due
                             corrupt-upstream | mismatch-upstream  (`core.download.asking`) or accepted

A row belongs to the run in `owner`, and to no one when that is empty. Rows of a run whose process is gone are
released by the next run: to `fetched` if verified bytes are on disk, else to `planned`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import DBAPIError

from core.download import catalog, followed, gaps, leaving, overview
from core.download.asking import Asking
from core.download.database import chunks, now_us, open_engine, tracker_error
from core.download.gaps import Known
from core.download.inheriting import TakeOver
from core.download.overview import Failed, PastRun, SeriesOverview
from core.download.planning import Plan, as_plan, current, known_rows, plan_chunk
from core.download.process import ProcessIdentity
from core.download.rows import to_download
from core.download.tables import FILES, MIGRATIONS, PAUSES, REVISIONS, RUNS, applied_steps, migrate
from core.errors import AlreadyRunning, TrackerError, storage_error
from core.layout import Layout
from core.types import (
    FAULTS,
    ArchiveFile,
    Download,
    Ending,
    FetchedFile,
    Gap,
    Market,
    Partition,
    Period,
    Proof,
    Revision,
    Series,
    Stamp,
    State,
    Stored,
)

HEARTBEAT_SECONDS: Final = 5.0
DELETE: Final = "delete"
REBUILD: Final = "rebuild-status"
_ALONE: Final = (DELETE, REBUILD)
"""The commands of runs beside which there is no other."""
SILENT_SECONDS: Final = 120.0
"""A run on another host that has given no sign of life for this long counts as dead."""

_CLAIM: Final = (
    update(FILES)
    .where(
        FILES.c.id.in_(bindparam("rows", expanding=True)),
        FILES.c.owner.is_(None),
        FILES.c.state.in_([State.PLANNED, State.FETCHED]),
    )
    .values(
        state=State.ACTIVE, owner=bindparam("run"), attempts=FILES.c.attempts + 1, changed_us=bindparam("changed_us")
    )
    .returning(FILES)
)
_OURS: Final = select(FILES.c.id).where(
    FILES.c.id.in_(bindparam("rows", expanding=True)), FILES.c.owner == bindparam("run")
)
_ROW: Final = update(FILES).where(FILES.c.id == bindparam("row"))
_CHANGED: Final[dict[str, Any]] = {"changed_us": bindparam("changed_us")}
_FETCHED: Final = _ROW.values(
    state=State.FETCHED,
    sha256=bindparam("sha"),
    proof=bindparam("proved"),
    bytes_done=bindparam("bytes"),
    size=bindparam("bytes"),
    etag=bindparam("version"),
    error=None,
    **_CHANGED,
)
_STORED: Final = _ROW.values(state=State.STORED, owner=None, error=None, fault=None, asks=0, asked_us=None, **_CHANGED)
_GIVEN_UP: Final = _ROW.values(
    state=bindparam("end"),
    owner=None,
    proof=func.coalesce(bindparam("proved"), FILES.c.proof),
    error=bindparam("reason"),
    fault=func.coalesce(bindparam("wrong"), FILES.c.fault),
    asks=FILES.c.asks + bindparam("asked"),
    asked_us=func.coalesce(bindparam("asked_at"), FILES.c.asked_us),
    **_CHANGED,
)
_PAUSED: Final = select(PAUSES.c.since_us).where(
    PAUSES.c.host == bindparam("host"), PAUSES.c.pid == bindparam("pid"), PAUSES.c.process_start == bindparam("start")
)
_OPEN_REVISIONS: Final = select(REVISIONS.c.file_id).where(
    REVISIONS.c.file_id.in_(bindparam("rows", expanding=True)), REVISIONS.c.new_sha256.is_(None)
)
_CLOSE_REVISION: Final = (
    update(REVISIONS)
    .where(REVISIONS.c.file_id == bindparam("row"), REVISIONS.c.new_sha256.is_(None))
    .values(new_sha256=bindparam("sha"), replaced_us=bindparam("changed_us"))
)
_DROP_EQUAL: Final = delete(REVISIONS).where(
    REVISIONS.c.file_id.in_(bindparam("rows", expanding=True)), REVISIONS.c.new_sha256 == REVISIONS.c.old_sha256
)
# Statements are built once: building one costs more than running it.


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a claimed row: FETCHED with `fetched`, STORED with `stored`, FAILED or a fault of the source with
    `error` (MISMATCH with `proof` DISPUTED too, and `fetched` where the archive has come all the same). `asked_us`: the
    source was asked for it, then; None: it was not."""

    download: Download
    state: State
    fetched: FetchedFile | None = None
    stored: Stored | None = None
    error: str | None = None
    proof: Proof | None = None
    asked_us: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What a run has done so far: archives and bytes that came and were verified, rows stored, archives that failed."""

    files: int = 0
    bytes: int = 0
    rows: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Holder:
    """A live run and how many of the asked rows it holds."""

    run: int
    process: ProcessIdentity
    files: int

    def __str__(self) -> str:
        return f"run {self.run} (process {self.process.pid} on {self.process.host})"


class DownloadTracker:
    """Rows of runs and files in SQLite (WAL). Every method is one short transaction, called from one thread.

    Opening creates the database, or brings an older one up to date. Raises TrackerError when the file is no status
    database, is damaged, or was written by a newer Tapevault; DiskFull when it cannot grow.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, path.parent) from error
        self._engine = open_engine(path)
        try:
            self._bring_up_to_date()
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The database."""
        return self._path

    def _bring_up_to_date(self) -> None:
        with self._write() as connection:
            if applied_steps(connection) > len(MIGRATIONS):
                raise TrackerError(
                    f"{self._path} was written by a newer Tapevault; update it, or use another --data-dir"
                )
            migrate(connection)

    def close(self) -> None:
        """Close the database; the tracker cannot be used afterwards."""
        self._engine.dispose()

    def __enter__(self) -> "DownloadTracker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # runs

    def begin_run(self, command: str, line: str = "") -> int:
        """Enter this process as a run, after releasing what dead runs held; `line` is what was typed. Returns the run's
        id.

        Raises AlreadyRunning while somebody deletes or rebuilds the database, and for who wants to while anybody is at
        work.
        """
        me = ProcessIdentity.current()
        now = now_us()
        with self._write() as connection:
            _release_dead(connection)
            _refuse_beside(connection, command)
            row = {"host": me.host, "pid": me.pid, "process_start": me.start, "command": command, "line": line}
            new = insert(RUNS).values(**row, started_us=now, heartbeat_us=now).returning(RUNS.c.id)
            return int(connection.execute(new).scalar_one())

    def heartbeat(self, run: int, bytes_done: Mapping[int, int], done: Done | None = None) -> None:
        """A sign of life, with how many bytes of each active row are here (for monitors; the file's length decides),
        and what the run has done so far."""
        with self._write() as connection:
            so_far = {} if done is None else asdict(done)
            connection.execute(update(RUNS).where(RUNS.c.id == run).values(heartbeat_us=now_us(), **so_far))
            if bytes_done:
                statement = update(FILES).where(FILES.c.id == bindparam("row"), FILES.c.owner == run)
                connection.execute(
                    statement.values(bytes_done=bindparam("done")),
                    [{"row": row, "done": done} for row, done in bytes_done.items()],
                )

    def finish_run(self, run: int, ended: Ending = Ending.FINISHED, done: Done | None = None) -> None:
        """Let go of every row of this run and close it."""
        with self._write() as connection:
            _release(connection, [run])
            came = {} if done is None else asdict(done)
            over = {"finished_us": now_us(), "ended": ended.value, **came}
            connection.execute(update(RUNS).where(RUNS.c.id == run).values(over))

    def release(self) -> int:
        """Let go of the rows of dead runs; returns how many rows that were."""
        with self._write() as connection:
            return _release_dead(connection)

    def pause(self, process: ProcessIdentity, is_wanted: bool = True) -> None:
        """Ask a process to hold still, or to go on; it looks about twice a second."""
        who = {"host": process.host, "pid": process.pid, "process_start": process.start}
        with self._write() as connection:
            if is_wanted:
                connection.execute(upsert(PAUSES).values(**who, since_us=now_us()).on_conflict_do_nothing())
            else:
                connection.execute(delete(PAUSES).filter_by(**who))

    def is_paused(self, process: ProcessIdentity) -> bool:
        """Whether somebody has asked this process to hold still."""
        who = {"host": process.host, "pid": process.pid, "start": process.start}
        with self._read() as connection:
            return connection.execute(_PAUSED, who).first() is not None

    def live_runs(self) -> tuple[ProcessIdentity, ...]:
        """The processes that are at work with this database."""
        with self._read() as connection:
            runs = connection.execute(select(RUNS).where(RUNS.c.finished_us.is_(None))).all()
        return tuple(ProcessIdentity(run.host, run.pid, run.process_start) for run in runs if is_alive(run))

    def holders(self, rows: Sequence[int]) -> tuple[Holder, ...]:
        """Who holds any of these rows."""
        counted: dict[int, int] = {}
        with self._read() as connection:
            for chunk in chunks(rows):
                found = connection.execute(
                    select(FILES.c.owner, func.count())
                    .where(FILES.c.id.in_(chunk), FILES.c.owner.is_not(None))
                    .group_by(FILES.c.owner)
                )
                for owner, count in found:
                    counted[owner] = counted.get(owner, 0) + count
            runs = connection.execute(select(RUNS).where(RUNS.c.id.in_(counted))).all()
        return tuple(
            Holder(run.id, ProcessIdentity(run.host, run.pid, run.process_start), counted[run.id]) for run in runs
        )

    # files

    def plan(self, files: Sequence[ArchiveFile], asking: Asking | None = None) -> Plan:
        """One row per key: new keys are planned, changed ones (another ETag or size) and old failures planned again,
        and so are faults of the source that are due by `asking` (None: now, with nothing accepted).

        A file that failed only to be stored is verified: it is stored again, not fetched.
        A row that a live run holds is left as it is, and is among `fetch`.
        """
        asking = asking or Asking(now_us())
        rows: list[tuple[Row[Any] | None, ArchiveFile]] = []
        changed: list[Download] = []
        for chunk in chunks(files):
            with self._write() as connection:
                planned, replaced = plan_chunk(connection, chunk, asking)
            rows += planned
            changed += replaced
        return as_plan(rows, changed)

    def look(self, files: Sequence[ArchiveFile], asking: Asking | None = None) -> Plan:
        """What `plan` would come to, without writing anything."""
        asking = asking or Asking(now_us())
        rows: list[tuple[Row[Any] | None, ArchiveFile]] = []
        with self._read() as connection:
            for chunk in chunks(files):
                known = known_rows(connection, chunk)
                rows += [(current(known.get(file.key), file, asking), file) for file in chunk]
        return as_plan(rows, [])

    def claim(self, run: int, rows: Sequence[int]) -> list[Download]:
        """Take those of `rows` that are free and unfinished; only they are returned, now `active` and this run's."""
        with self._write() as connection:
            claimed = connection.execute(_CLAIM, {"rows": rows, "run": run, "changed_us": now_us()})
            return [to_download(row) for row in claimed]

    def advance(self, run: int, changes: Sequence[Change]) -> set[int]:
        """Record what became of rows that this run has claimed, all in one transaction, in their order.

        The run keeps a FETCHED row until it is stored or the run finishes; every other state lets go of it. Returns the
        rows that another run has taken over meanwhile; they are left alone.
        """
        with self._write() as connection:
            rows = list({change.download.id for change in changes})
            ours = {row for chunk in chunks(rows) for row in _ids(connection, _OURS, {"rows": chunk, "run": run})}
            kept = [change for change in changes if change.download.id in ours]
            now = now_us()
            for state, group in groupby(kept, key=lambda change: change.state):
                _record(connection, state, list(group), now)
            return set(rows) - ours

    def demote(self, rows: Sequence[int], state: State) -> None:
        """Rows whose files have gone from disk: back to FETCHED (the archive is there) or PLANNED, unless held."""
        forget: dict[str, Any] = {"sha256": None, "proof": None, "bytes_done": 0} if state is State.PLANNED else {}
        for chunk in chunks(rows):
            with self._write() as connection:
                connection.execute(
                    update(FILES)
                    .where(FILES.c.id.in_(chunk), FILES.c.owner.is_(None))
                    .values(state=state, attempts=0, error=None, changed_us=now_us(), **forget)
                )

    def downloads(self, series: Series) -> Mapping[Period, Download]:
        """The archives of one series, by period."""
        with self._read() as connection:
            return leaving.downloads(connection, series)

    def ownerless(self, series: Series) -> Mapping[Period, Download]:
        """The archives of one series as the next run finds them: what dead runs held is released."""
        with self._read() as connection:
            dead = {run.id for run in _holding(connection) if not is_alive(run)}
            found = leaving.downloads(connection, series)
        return {period: _released(row) if row.owner in dead else row for period, row in found.items()}

    @contextmanager
    def steady(self, series: Series, period: Period, read: Download | None) -> Iterator[bool]:
        """Whether the row of an archive is still as it was read (None: there was none). While this lasts nobody takes
        or changes it: everybody who wants to write waits, so be quick."""
        with self._write() as connection:
            yield leaving.is_as_read(connection, series, period, read)

    def replaced(self, series: Series) -> Mapping[str, int]:
        """The archives of a series that the exchange has replaced by others which are here now, and since when."""
        with self._read() as connection:
            return leaving.replaced(connection, series)

    def forget(self, series: Series) -> int:
        """Forget all that is known of a series; returns how many archives that were."""
        with self._write() as connection:
            return leaving.forget(connection, series)

    def revisions(self) -> list[Revision]:
        """What the exchange has replaced by other bytes, oldest first; a new ETag of the same bytes is no revision."""
        with self._read() as connection:
            found = connection.execute(
                select(FILES.c.key, REVISIONS).join(FILES, FILES.c.id == REVISIONS.c.file_id).order_by(REVISIONS.c.id)
            )
            return [Revision(row.key, row.old_etag, row.old_sha256, row.new_etag, row.new_sha256) for row in found]

    def inherit(self, old: "DownloadTracker", take: TakeOver) -> None:
        """Take something over from an earlier database (`core.download.inheriting`), all of it or nothing."""
        with old._read() as there, self._write() as here:
            take(there, here)

    def known(self, market: Market, states: Sequence[State]) -> list[ArchiveFile]:
        """The files of a market in these states, in key order."""
        with self._read() as connection:
            chosen = select(FILES).where(FILES.c.market == market.value, FILES.c.state.in_(states))
            return [to_download(row).file for row in connection.execute(chosen.order_by(FILES.c.key))]

    def states(self, rows: Sequence[int]) -> list[Download]:
        """How these rows stand now."""
        with self._read() as connection:
            return [
                to_download(row)
                for chunk in chunks(rows)
                for row in connection.execute(select(FILES).where(FILES.c.id.in_(chunk)))
            ]

    # series that are kept up to date

    def followed(self) -> list[followed.Followed]:
        """Every series that has archives, in order."""
        with self._read() as connection:
            return followed.followed(connection)

    def recent(self, since: date, kind: tuple[Market, str] | None = None) -> dict[Series, dict[Period, State]]:
        """The archives of months and days from the month of `since` on, of all or of one market and data type, and how
        each stands."""
        with self._read() as connection:
            return followed.recent(connection, since, kind)

    def at_fault(self, now_us: int) -> list[tuple[Download, bool]]:
        """The archives that had a fault at the source, and whether it is to be asked again."""
        with self._read() as connection:
            return list(followed.at_fault(connection, now_us))

    def entered(self, files: Sequence[ArchiveFile]) -> set[str]:
        """The keys among these that have a row."""
        with self._read() as connection:
            return {key for chunk in chunks(files) for key in followed.entered(connection, chunk)}

    def note_missing(self, files: Sequence[ArchiveFile], now_us: int) -> set[str]:
        """Enter archives that should be there and are not, as MISSING; the keys that had no row yet."""
        found: set[str] = set()
        for chunk in chunks(files):
            with self._write() as connection:
                found |= followed.note_missing(connection, chunk, now_us)
        return found

    def seen(self) -> dict[tuple[Market, str], frozenset[str]]:
        """The folders of symbols that the source was known to have, by market and data type; none before anybody
        looked."""
        with self._read() as connection:
            return followed.seen(connection)

    def see(self, market: Market, dataset: str, symbols: Iterable[str]) -> None:
        """Enter folders of symbols."""
        with self._write() as connection:
            followed.see(connection, market, dataset, symbols)

    def catalog(self, layout: Layout, series: Series | None = None) -> list[Partition]:
        """What the footers of the partitions say, of one series or of all; no folder is looked into."""
        with self._read() as connection:
            return catalog.read(connection, layout, series)

    def stamps(self, series: Series) -> dict[Period, Stamp | None]:
        """Of which file the catalog tells each partition of a series; None where it does not know."""
        with self._read() as connection:
            return catalog.stamps(connection, series)

    def enter(self, partitions: Sequence[Partition], gone: Iterable[tuple[Series, Period]] = ()) -> None:
        """Put the catalog right: these partitions are as they are, also where it has a newer one; those have gone."""
        with self._write() as connection:
            catalog.drop(connection, [*gone, *((part.series, part.period) for part in partitions)])
            catalog.put(connection, partitions)

    def homes(self, files: Iterable[ArchiveFile]) -> dict[str, list[tuple[Series, Period]]]:
        """By key, the partitions that have rows of these archives; none for one whose rows a longer archive has."""
        keys = [file.key for file in files]
        with self._read() as connection:
            found = [catalog.homes(connection, chunk) for chunk in chunks(keys)]
        return {key: homes for each in found for key, homes in each.items()}

    def record_gaps(self, found: Mapping[Series, Known], before: Mapping[Series, Known]) -> None:
        """All that is known of the gaps of these series now, where `before` was known."""
        with self._write() as connection:
            gaps.record(connection, found, before)

    def known_gaps(self, wanted: Sequence[Series]) -> dict[Series, Known]:
        """What is known of the gaps of these series."""
        with self._read() as connection:
            return gaps.read(connection, wanted)

    def gaps(self, series: Series) -> tuple[Gap, ...]:
        """What is known of the gaps of one series, in order of time."""
        return self.known_gaps([series]).get(series, Known()).gaps

    def overview(self) -> list[SeriesOverview]:
        """What is known of every series, summed up, in order."""
        with self._read() as connection:
            return overview.overview(connection)

    def history(self, most: int) -> list[PastRun]:
        """The newest runs, newest first."""
        with self._read() as connection:
            return overview.history(connection, most, is_alive)

    def run_of(self, run: int) -> PastRun | None:
        """One run."""
        with self._read() as connection:
            return overview.one_run(connection, run, is_alive)

    def failures(self, most: int | None = None) -> list[Failed]:
        """Archives that failed, and those that have a fault at the source; what changed last comes first."""
        with self._read() as connection:
            return overview.failures(connection, most)

    def plan_failed(self, keys: Sequence[str]) -> int:
        """Plan those of these archives again that failed: to be stored only, where their bytes are verified. Returns
        how many there were."""
        rest = case((or_(FILES.c.sha256.is_(None), FILES.c.proof.is_(None)), State.PLANNED.value), else_=State.FETCHED)
        again = {"state": rest, "attempts": 0, "error": None, "changed_us": now_us()}
        found = 0
        for chunk in chunks(keys):
            with self._write() as connection:
                failed = FILES.c.key.in_(chunk) & (FILES.c.state == State.FAILED) & FILES.c.owner.is_(None)
                found += connection.execute(update(FILES).where(failed).values(again)).rowcount
        return found

    def totals(self) -> dict[State, int]:
        """How many files the database knows in each state."""
        with self._read() as connection:
            counted = connection.execute(select(FILES.c.state, func.count()).group_by(FILES.c.state))
            return {State(state): count for state, count in counted}

    # transactions

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._guard(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._guard(), self._engine.connect() as connection:
            yield connection.execution_options(read_only=True)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise tracker_error(error, self._path) from error


def _record(connection: Connection, state: State, changes: Sequence[Change], now: int) -> None:
    """Bring rows, each of them ours, to one state."""
    rows: list[dict[str, Any]] = [{"row": change.download.id, "changed_us": now} for change in changes]
    if state is State.FETCHED:
        for row, change in zip(rows, changes, strict=True):
            assert change.fetched is not None
            fetched = change.fetched
            row.update({"sha": fetched.sha256, "proved": fetched.proof, "bytes": fetched.size})
            row["version"] = fetched.file.etag
        connection.execute(_FETCHED, rows)
        replaced = set(_ids(connection, _OPEN_REVISIONS, {"rows": [row["row"] for row in rows]}))
        if replaced:
            connection.execute(_CLOSE_REVISION, [row for row in rows if row["row"] in replaced])
            connection.execute(_DROP_EQUAL, {"rows": list(replaced)})
    elif state is State.STORED:
        connection.execute(_STORED, rows)
        entering: list[Partition] = []
        for stored in {id(change.stored): change.stored for change in changes}.values():
            if stored is not None:
                if stored.removed:
                    catalog.put(connection, entering)
                    entering = []
                    catalog.drop(connection, stored.removed)
                entering += stored.partitions
        catalog.put(connection, entering)
    else:
        for row, change in zip(rows, changes, strict=True):
            row.update({"end": state, "reason": change.error, "proved": change.proof, "asked_at": change.asked_us})
            row.update({"wrong": state if state in FAULTS else None, "asked": int(change.asked_us is not None)})
        connection.execute(_GIVEN_UP, rows)


def _ids(connection: Connection, statement: Select[Any], values: dict[str, Any]) -> Iterator[int]:
    return (row[0] for row in connection.execute(statement, values))


def _released(row: Download) -> Download:
    """What `_release` makes of a row."""
    return replace(row, state=State.PLANNED if row.sha256 is None else State.FETCHED, owner=None)


def _holding(connection: Connection) -> Sequence[Row[Any]]:
    """Runs that are not finished or hold rows."""
    held = select(FILES.c.owner).where(FILES.c.owner.is_not(None))
    return connection.execute(select(RUNS).where(or_(RUNS.c.finished_us.is_(None), RUNS.c.id.in_(held)))).all()


def _release(connection: Connection, runs: Sequence[int]) -> int:
    rest = case((FILES.c.sha256.is_(None), State.PLANNED.value), else_=State.FETCHED.value)
    done = connection.execute(
        update(FILES).where(FILES.c.owner.in_(runs)).values(state=rest, owner=None, changed_us=now_us())
    )
    return done.rowcount


def _release_dead(connection: Connection) -> int:
    dead = [run.id for run in _holding(connection) if not is_alive(run)]
    if not dead:
        return 0
    over = {"finished_us": RUNS.c.heartbeat_us, "ended": Ending.KILLED.value}
    unfinished = RUNS.c.id.in_(dead) & RUNS.c.finished_us.is_(None)
    connection.execute(update(RUNS).where(unfinished).values(over))
    connection.execute(
        delete(PAUSES).where(
            exists().where(
                RUNS.c.id.in_(dead),
                RUNS.c.host == PAUSES.c.host,
                RUNS.c.pid == PAUSES.c.pid,
                RUNS.c.process_start == PAUSES.c.process_start,
            )
        )
    )
    return _release(connection, dead)


def _refuse_beside(connection: Connection, command: str) -> None:
    """Who deletes or rebuilds is alone."""
    unfinished = select(RUNS).where(RUNS.c.finished_us.is_(None))
    chosen = unfinished if command in _ALONE else unfinished.where(RUNS.c.command.in_(_ALONE))
    for run in connection.execute(chosen).all():
        if is_alive(run):
            raise AlreadyRunning(
                f"run {run.id} ({run.command}, process {run.pid} on {run.host}) is at work; nothing was done"
            )


def is_alive(run: Row[Any]) -> bool:
    alive = ProcessIdentity(run.host, run.pid, run.process_start).is_alive()
    return now_us() - run.heartbeat_us < SILENT_SECONDS * 1_000_000 if alive is None else alive
