"""The status database as those see it who only look: nothing is written, made, or brought up to date."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from core.download.known import FileState, opened, state_of
from core.download.tables import MIGRATIONS, applied_steps
from core.errors import Busy, NoData, Outdated, TrackerError
from core.layout import is_there

WAIT_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.05

T = TypeVar("T")


def look(database: Path, read: Callable[[Connection], T], wait_seconds: float = WAIT_SECONDS) -> T:
    """What `read` makes of the database as it was at one moment.

    Raises NoData where there is none, StorageError where nobody may look, and TrackerError, with what to do, where it
    is damaged, of another version, or for longer than `wait_seconds` locked or such that reading would have to write
    something.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        if not is_there(database):
            raise NoData(f"no status database at {database}: nothing was downloaded into this data folder yet")
        before = state_of(database, rest_ns=0)
        if before is not None:
            found, is_so = _read(database, before, read, max(0.0, deadline - time.monotonic()))
            if is_so:
                return found
        if time.monotonic() > deadline:
            raise Busy(
                f"{database} cannot be read now: another process holds it alone, or has left it in the middle of "
                "something; the next run of download_all.py or daily_update.py puts that right"
            )
        time.sleep(_PAUSE_SECONDS)


def _read(database: Path, before: FileState, read: Callable[[Connection], T], wait_seconds: float) -> tuple[T, bool]:
    """What was read, and whether it was so: nobody began to write to a file that was read without a lock."""
    engine = create_engine("sqlite://", creator=lambda: opened(database, before, wait_seconds), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            _check_version(connection, database)
            found = read(connection)
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise _as_ours(error.orig, database) from error
        raise
    finally:
        engine.dispose()
    return found, before.is_at_work or state_of(database, rest_ns=0) == before


def _check_version(connection: Connection, database: Path) -> None:
    steps = applied_steps(connection)
    if steps > len(MIGRATIONS):
        raise TrackerError(f"{database} was written by a newer Tapevault (version {steps}); update this one")
    if steps < len(MIGRATIONS):
        raise Outdated(
            f"{database} was written by an older Tapevault (version {steps}, this one has {len(MIGRATIONS)}); the next "
            "run of download_all.py or daily_update.py brings it up to date"
        )


def _as_ours(error: sqlite3.Error, database: Path) -> TrackerError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return Busy(f"{database} is locked by another process; it is read again when that is done")
    if "not a database" in text or "malformed" in text:
        return TrackerError(
            f"{database} is damaged ({text}); download_all.py --rebuild-status makes a new one from the verified files "
            "that are here, and downloads nothing"
        )
    return TrackerError(f"cannot read {database} ({text}); check the folder and its permissions")
