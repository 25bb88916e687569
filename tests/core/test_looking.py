"""A look into the status database: as of one moment, without writing; or a message that says what to do."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select

from core.download.looking import look
from core.download.tables import FILES, MIGRATIONS
from core.download.tracker import DownloadTracker
from core.errors import NoData, TrackerError
from core.types import ArchiveFile, Market, Period, Series


def file(label: str) -> ArchiveFile:
    series = Series(Market.UM, "klines", "BTCUSDT", "1h")
    return ArchiveFile(series, Period.parse(label), f"data/{label}.zip", 10, f"e{label}", None, "")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with DownloadTracker(tmp_path / "metadata" / "download_status.db") as tracker:
        tracker.plan([file("2024-01"), file("2024-02")])
    return tmp_path / "metadata" / "download_status.db"


def counted(database: Path, wait_seconds: float = 5.0) -> int:
    return look(database, lambda connection: connection.scalar(select(func.count(FILES.c.id))) or 0, wait_seconds)


def lying_there(database: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in database.parent.iterdir()}


def test_a_database_at_rest_is_read_and_nothing_is_made_or_changed(database: Path) -> None:
    before = lying_there(database)
    assert counted(database) == 2
    assert lying_there(database) == before


def test_one_at_work_is_read_while_it_is_written(database: Path) -> None:
    with DownloadTracker(database) as tracker:
        tracker.plan([file("2024-03")])
        assert database.with_name("download_status.db-wal").exists()
        assert counted(database) == 3
        tracker.plan([file("2024-04")])
        assert counted(database) == 4
    assert counted(database) == 4


def test_nothing_can_be_written_through_it(database: Path) -> None:
    with pytest.raises(TrackerError, match="readonly"):
        look(database, lambda connection: connection.exec_driver_sql("DELETE FROM files"))
    with DownloadTracker(database), pytest.raises(TrackerError, match="readonly"):
        look(database, lambda connection: connection.exec_driver_sql("DELETE FROM files"))
    assert counted(database) == 2


def test_without_one_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoData, match="nothing was downloaded into this data folder yet"):
        counted(tmp_path / "download_status.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("step", "said"), [(-1, "older Tapevault .* the next run of"), (1, "newer Tapevault")])
def test_another_version_is_said_and_left_as_it_is(database: Path, step: int, said: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        if step < 0:
            connection.execute("DELETE FROM schema_steps WHERE step = ?", (len(MIGRATIONS),))
        else:
            connection.execute("INSERT INTO schema_steps VALUES (?, 'later')", (len(MIGRATIONS) + 1,))
        connection.commit()
    before = lying_there(database)
    with pytest.raises(TrackerError, match=said):
        counted(database)
    assert lying_there(database) == before


def test_a_damaged_one_is_said(database: Path) -> None:
    database.write_bytes(os.urandom(8192))
    with pytest.raises(TrackerError, match="rebuild-status"):
        counted(database)


def test_a_locked_one_is_said_and_read_again_later(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackerError, match="another process holds it alone"):
            counted(database, wait_seconds=0.1)
        connection.execute("COMMIT")
    assert counted(database) == 2
