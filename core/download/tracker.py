"""`DownloadTracker`: the status database, the one truth of what should be here and how far it is.

    planned --claim--> active --advance--> fetched --advance--> stored
                          |                                        a new ETag in the listing re-plans any of these
                          +--advance--> missing | failed           a later run asks for these again

A row belongs to the run in `owner`, and to no one when that is empty. Rows of a run whose process is gone are
released by the next run: to `fetched` if verified bytes are on disk, else to `planned`.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Row,
    bindparam,
    case,
    create_engine,
    event,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import SingletonThreadPool

from core.download.process import ProcessIdentity
from core.download.rows import file_row, partition_row, to_download
from core.download.tables import FILES, MIGRATIONS, RUNS, applied_steps, migrate
from core.errors import DiskFull, LeaseLost, TrackerError, storage_error
from core.types import ArchiveFile, Download, FetchedFile, Market, Partition, State

HEARTBEAT_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 120.0
"""A run on another host that has given no sign of life for this long counts as dead."""
BUSY_SECONDS: Final = 30.0
CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request comes to: rows to fetch, rows whose verified bytes only need storing, rows that are done.

    `changed` are the files that had been fetched before and that the exchange has replaced since.
    """

    fetch: tuple[int, ...]
    process: tuple[int, ...]
    done: tuple[Download, ...]
    changed: tuple[ArchiveFile, ...]
    fetch_bytes: int

    @property
    def files(self) -> int:
        return len(self.fetch) + len(self.process) + len(self.done)


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
        self._engine = _open_engine(path)
        try:
            self._bring_up_to_date()
        except BaseException:
            self.close()
            raise

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

    def begin_run(self, command: str) -> int:
        """Enter this process as a run, after releasing what dead runs held. Returns the run's id."""
        me = ProcessIdentity.current()
        now = _now_us()
        with self._write() as connection:
            _release_dead(connection)
            row = {"host": me.host, "pid": me.pid, "process_start": me.start, "command": command}
            new = insert(RUNS).values(**row, started_us=now, heartbeat_us=now).returning(RUNS.c.id)
            return int(connection.execute(new).scalar_one())

    def heartbeat(self, run: int, bytes_done: Mapping[int, int]) -> None:
        """A sign of life, with how many bytes of each active row are here (for monitors; the file's length decides)."""
        with self._write() as connection:
            connection.execute(update(RUNS).where(RUNS.c.id == run).values(heartbeat_us=_now_us()))
            if bytes_done:
                statement = update(FILES).where(FILES.c.id == bindparam("row"), FILES.c.owner == run)
                connection.execute(
                    statement.values(bytes_done=bindparam("done")),
                    [{"row": row, "done": done} for row, done in bytes_done.items()],
                )

    def finish_run(self, run: int) -> None:
        """Let go of every row of this run and close it."""
        with self._write() as connection:
            _release(connection, [run])
            connection.execute(update(RUNS).where(RUNS.c.id == run).values(finished_us=_now_us()))

    def release(self) -> int:
        """Let go of the rows of dead runs; returns how many rows that were."""
        with self._write() as connection:
            return _release_dead(connection)

    def holders(self, rows: Sequence[int]) -> tuple[Holder, ...]:
        """Who holds any of these rows."""
        counted: dict[int, int] = {}
        with self._read() as connection:
            for chunk in _chunks(rows):
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

    def plan(self, files: Sequence[ArchiveFile]) -> Plan:
        """One row per key: new keys are planned, changed ones (another ETag or size) and old failures planned again.

        A row that a live run holds is left as it is, and is among `fetch`.
        """
        found: list[Download] = []
        changed: list[ArchiveFile] = []
        for chunk in _chunks(files):
            with self._write() as connection:
                changed += _plan_chunk(connection, chunk)
                found += _rows(connection, [file.key for file in chunk])
        return _as_plan(found, changed)

    def look(self, files: Sequence[ArchiveFile]) -> Plan:
        """What `plan` would come to, without writing anything."""
        found: dict[str, Download] = {}
        with self._read() as connection:
            for chunk in _chunks(files):
                found |= {row.file.key: row for row in _rows(connection, [file.key for file in chunk])}
        rows = [_replanned(found.get(file.key), file) for file in files]
        return _as_plan(rows, [])

    def claim(self, run: int, rows: Sequence[int]) -> list[Download]:
        """Take those of `rows` that are free and unfinished; only they are returned, now `active` and this run's."""
        with self._write() as connection:
            claimed = connection.execute(
                update(FILES)
                .where(FILES.c.id.in_(rows), FILES.c.owner.is_(None), FILES.c.state.in_([State.PLANNED, State.FETCHED]))
                .values(state=State.ACTIVE, owner=run, attempts=FILES.c.attempts + 1, changed_us=_now_us())
                .returning(FILES)
            )
            return [to_download(row) for row in claimed]

    def advance(
        self,
        download: Download,
        state: State,
        *,
        fetched: FetchedFile | None = None,
        partition: Partition | None = None,
        error: str | None = None,
    ) -> None:
        """Record what became of a claimed row: FETCHED with `fetched`, STORED with `partition`, FAILED with `error`.

        The run keeps a FETCHED row until it is stored or the run finishes; every other state lets go of it.
        Raises LeaseLost if the row is no longer this run's.
        """
        values: dict[str, Any] = {"state": state, "error": error, "changed_us": _now_us()}
        if fetched is not None:
            values |= {"sha256": fetched.sha256, "proof": fetched.proof, "bytes_done": fetched.size}
        if state is not State.FETCHED:
            values["owner"] = None
        if state in (State.PLANNED, State.FAILED, State.MISSING):
            values |= {"sha256": None, "proof": None}
        with self._write() as connection:
            done = connection.execute(
                update(FILES).where(FILES.c.id == download.id, FILES.c.owner == download.owner).values(**values)
            )
            if done.rowcount != 1:
                raise LeaseLost(f"{download.file.key} was taken over by another run; this one leaves it alone")
            if partition is not None:
                connection.execute(partition_row(download.id, partition))

    def demote(self, rows: Sequence[int], state: State) -> None:
        """Rows whose files have gone from disk: back to FETCHED (the archive is there) or PLANNED, unless held."""
        forget: dict[str, Any] = {"sha256": None, "proof": None, "bytes_done": 0} if state is State.PLANNED else {}
        for chunk in _chunks(rows):
            with self._write() as connection:
                connection.execute(
                    update(FILES)
                    .where(FILES.c.id.in_(chunk), FILES.c.owner.is_(None))
                    .values(state=state, attempts=0, error=None, changed_us=_now_us(), **forget)
                )

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
                for chunk in _chunks(rows)
                for row in connection.execute(select(FILES).where(FILES.c.id.in_(chunk)))
            ]

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
            raise _tracker_error(error, self._path) from error


def _open_engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=SingletonThreadPool,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: sqlite3.Connection, _: object) -> None:
        _switch_to_wal(connection)
        # NORMAL in WAL: a power cut may lose the last commits, never the database; a lost row is only looked at again.
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE takes the write lock at once, so two writers wait for each other instead of failing halfway.
        read_only = connection.get_execution_options().get("read_only")
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for its lock here as it does elsewhere: two first runs at once would fail."""
    deadline = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _plan_chunk(connection: Connection, files: Sequence[ArchiveFile]) -> list[ArchiveFile]:
    known = {row.file.key: row for row in _rows(connection, [file.key for file in files])}
    now = _now_us()
    new = [file_row(file, now) for file in files if file.key not in known]
    if new:
        connection.execute(upsert(FILES).on_conflict_do_nothing(), new)
    again = [file for file in files if file.key in known and _is_stale(known[file.key], file)]
    if again:
        values: dict[str, Any] = {
            name: bindparam(name) for name in ("size", "etag", "checksum_etag", "modified", "changed_us")
        }
        connection.execute(
            update(FILES)
            .where(FILES.c.key == bindparam("file_key"), FILES.c.owner.is_(None))
            .values(state=State.PLANNED, attempts=0, bytes_done=0, sha256=None, proof=None, error=None, **values),
            [file_row(file, now) | {"file_key": file.key} for file in again],
        )
    return [file for file in again if _is_replaced(known[file.key], file)]


def _is_replaced(row: Download, file: ArchiveFile) -> bool:
    return (row.file.etag, row.file.size) != (file.etag, file.size)


def _is_stale(row: Download, file: ArchiveFile) -> bool:
    return row.owner is None and (row.state in (State.FAILED, State.MISSING) or _is_replaced(row, file))


def _replanned(row: Download | None, file: ArchiveFile) -> Download:
    """What `plan` would make of a row."""
    if row is None or _is_stale(row, file):
        return Download(row.id if row else 0, file, State.PLANNED)
    return row


def _as_plan(rows: Sequence[Download], changed: Sequence[ArchiveFile]) -> Plan:
    fetch = [row for row in rows if row.state in (State.PLANNED, State.ACTIVE)]
    return Plan(
        fetch=tuple(row.id for row in fetch),
        process=tuple(row.id for row in rows if row.state is State.FETCHED),
        done=tuple(row for row in rows if row.state is State.STORED),
        changed=tuple(changed),
        fetch_bytes=sum(row.file.size for row in fetch),
    )


def _release(connection: Connection, runs: Sequence[int]) -> int:
    rest = case((FILES.c.sha256.is_(None), State.PLANNED.value), else_=State.FETCHED.value)
    done = connection.execute(
        update(FILES).where(FILES.c.owner.in_(runs)).values(state=rest, owner=None, changed_us=_now_us())
    )
    return done.rowcount


def _release_dead(connection: Connection) -> int:
    held = select(FILES.c.owner).where(FILES.c.owner.is_not(None))
    runs = connection.execute(select(RUNS).where(or_(RUNS.c.finished_us.is_(None), RUNS.c.id.in_(held)))).all()
    dead = [run.id for run in runs if not _is_alive(run)]
    if not dead:
        return 0
    connection.execute(update(RUNS).where(RUNS.c.id.in_(dead)).values(finished_us=RUNS.c.heartbeat_us))
    return _release(connection, dead)


def _is_alive(run: Row[Any]) -> bool:
    alive = ProcessIdentity(run.host, run.pid, run.process_start).is_alive()
    return _now_us() - run.heartbeat_us < SILENT_SECONDS * 1_000_000 if alive is None else alive


def _rows(connection: Connection, keys: Sequence[str]) -> list[Download]:
    return [to_download(row) for row in connection.execute(select(FILES).where(FILES.c.key.in_(keys)))]


def _tracker_error(error: DBAPIError, path: Path) -> DiskFull | TrackerError:
    text = str(error.orig)
    if "disk is full" in text or "disk I/O error" in text:
        return DiskFull(f"no room left for {path} ({text}); free some space and run the same command again")
    if "not a database" in text or "malformed" in text:
        return TrackerError(f"{path} is damaged ({text}); move it away, and the next run builds a new one")
    if "locked" in text:
        return TrackerError(f"{path} was locked by another process for {BUSY_SECONDS:.0f} s; try again when it is done")
    if "readonly" in text or "unable to open" in text:
        return TrackerError(f"cannot write {path} ({text}); check the folder's permissions or use --data-dir")
    return TrackerError(f"{path}: {text}")


T = TypeVar("T")


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _now_us() -> int:
    return time.time_ns() // 1000
