"""The connection to the status database: SQLite in WAL mode, its waiting, and its errors as ours."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import SingletonThreadPool

from core.errors import DiskFull, TrackerError

BUSY_SECONDS: Final = 30.0
CHUNK: Final = 500


def open_engine(path: Path) -> Engine:
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


def tracker_error(error: DBAPIError, path: Path) -> DiskFull | TrackerError:
    text = str(error.orig)
    if "disk is full" in text or "disk I/O error" in text:
        or_failing = "" if "disk is full" in text else ", or the disk is failing"
        return DiskFull(f"no room left for {path}{or_failing} ({text}); free some space and run the same command again")
    if "not a database" in text or "malformed" in text:
        return TrackerError(
            f"{path} is damaged ({text}); download_all.py --rebuild-status makes a new one from the verified files "
            "that are here, and downloads nothing"
        )
    if "locked" in text:
        return TrackerError(f"{path} was locked by another process for {BUSY_SECONDS:.0f} s; try again when it is done")
    if "readonly" in text or "unable to open" in text:
        return TrackerError(f"cannot write {path} ({text}); check the folder's permissions or use --data-dir")
    return TrackerError(f"{path}: {text}")


T = TypeVar("T")


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def now_us() -> int:
    return time.time_ns() // 1000
