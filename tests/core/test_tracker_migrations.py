"""Databases as earlier versions made them are brought up to date, and nothing that they know is lost."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.download.tables import MIGRATIONS
from core.download.tracker import DownloadTracker
from core.layout import Layout
from core.types import Market, Period, Series, State

STEPS = [step.__name__ for step in MIGRATIONS]
V1 = """
CREATE TABLE schema_steps (step INTEGER NOT NULL, name VARCHAR NOT NULL, PRIMARY KEY (step));
CREATE TABLE runs (id INTEGER NOT NULL, host VARCHAR NOT NULL, pid INTEGER NOT NULL, process_start VARCHAR NOT NULL,
    command VARCHAR NOT NULL, started_us BIGINT NOT NULL, heartbeat_us BIGINT NOT NULL, finished_us BIGINT,
    PRIMARY KEY (id));
CREATE TABLE files (id INTEGER NOT NULL, "key" VARCHAR NOT NULL, market VARCHAR NOT NULL, dataset VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL, interval VARCHAR, period VARCHAR NOT NULL, size BIGINT NOT NULL, etag VARCHAR NOT NULL,
    checksum_etag VARCHAR, modified VARCHAR NOT NULL, state VARCHAR NOT NULL, attempts INTEGER NOT NULL,
    bytes_done BIGINT NOT NULL, owner INTEGER, sha256 VARCHAR, proof VARCHAR, error VARCHAR,
    changed_us BIGINT NOT NULL, PRIMARY KEY (id), UNIQUE ("key"), FOREIGN KEY(owner) REFERENCES runs (id));
CREATE INDEX files_by_owner ON files (owner);
CREATE INDEX files_by_state ON files (state);
CREATE TABLE partitions (file_id INTEGER NOT NULL, rows BIGINT NOT NULL, first_us BIGINT, last_us BIGINT,
    source_unit VARCHAR NOT NULL, duplicates BIGINT NOT NULL, reordered BIGINT NOT NULL, PRIMARY KEY (file_id),
    FOREIGN KEY(file_id) REFERENCES files (id));
INSERT INTO schema_steps VALUES (1, 'create_first_tables');
INSERT INTO runs VALUES (1, 'here', 1, 'then', 'download_all', 1, 2, 3);
INSERT INTO files VALUES (1, 'data/x/BTCUSDT-1h-2024-01.zip', 'um', 'klines', 'BTCUSDT', '1h', '2024-01', 100, 'e1',
    'c1', 'm', 'stored', 1, 100, NULL, '1111', 'sha256-by-etag', NULL, 7);
INSERT INTO files VALUES (2, 'data/x/BTCUSDT-1h-2024-02.zip', 'um', 'klines', 'BTCUSDT', '1h', '2024-02', 100, 'e2',
    'c2', 'm', 'fetched', 1, 100, NULL, '2222', 'unverified', NULL, 7);
INSERT INTO files VALUES (3, 'data/x/BTCUSDT-1h-2024-03.zip', 'um', 'klines', 'BTCUSDT', '1h', '2024-03', 100, 'e3',
    'c3', 'm', 'planned', 0, 40, NULL, NULL, NULL, NULL, 7);
INSERT INTO files VALUES (4, 'data/x/BTCUSDT-1h-2024-04.zip', 'um', 'klines', 'BTCUSDT', '1h', '2024-04', 100, 'e4',
    'c4', 'm', 'failed', 3, 0, NULL, NULL, 'disputed', 'because', 7);
INSERT INTO partitions VALUES (1, 744, 1, 2, 'ms', 0, 0);
"""
V2 = f"""{V1}
CREATE TABLE revisions (id INTEGER NOT NULL, file_id INTEGER NOT NULL, noticed_us BIGINT NOT NULL,
    old_etag VARCHAR NOT NULL, old_size BIGINT NOT NULL, old_sha256 VARCHAR NOT NULL, new_etag VARCHAR NOT NULL,
    new_sha256 VARCHAR, replaced_us BIGINT, PRIMARY KEY (id), FOREIGN KEY(file_id) REFERENCES files (id));
CREATE INDEX revisions_by_file ON revisions (file_id);
INSERT INTO schema_steps VALUES (2, 'create_revisions');
INSERT INTO revisions VALUES (1, 1, 5, 'e0', 90, '0000', 'e1', '1111', 6);
"""
V3 = f"""{V2}
DROP TABLE partitions;
CREATE TABLE catalog_partitions (id INTEGER NOT NULL, market VARCHAR NOT NULL, dataset VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL, interval VARCHAR NOT NULL, period VARCHAR NOT NULL, rows BIGINT NOT NULL,
    first_us BIGINT NOT NULL, last_us BIGINT NOT NULL, schema_version INTEGER NOT NULL, writer VARCHAR NOT NULL,
    PRIMARY KEY (id), UNIQUE (market, dataset, symbol, interval, period));
CREATE TABLE catalog_sources (id INTEGER NOT NULL, partition_id INTEGER NOT NULL, place INTEGER NOT NULL,
    "key" VARCHAR NOT NULL, period VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, proof VARCHAR NOT NULL,
    unit VARCHAR NOT NULL, rows BIGINT NOT NULL, first_us BIGINT NOT NULL, last_us BIGINT NOT NULL,
    duplicates BIGINT NOT NULL, reordered BIGINT NOT NULL, outside BIGINT NOT NULL, quarantined BIGINT NOT NULL,
    PRIMARY KEY (id), FOREIGN KEY(partition_id) REFERENCES catalog_partitions (id));
CREATE INDEX sources_by_partition ON catalog_sources (partition_id);
CREATE INDEX sources_by_key ON catalog_sources ("key");
INSERT INTO schema_steps VALUES (3, 'create_catalog');
INSERT INTO catalog_partitions VALUES (1, 'um', 'klines', 'BTCUSDT', '1h', '2024', 744, 1, 2, 2, 'tapevault 0.1.0');
INSERT INTO catalog_sources VALUES (1, 1, 0, 'data/x/BTCUSDT-1h-2024-01.zip', '2024-01', '1111', 'sha256-by-etag', 'ms',
    744, 1, 2, 0, 0, 0, 0);
"""
SERIES = Series(Market.UM, "klines", "BTCUSDT", "1h")


def made_by(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        connection.execute("PRAGMA journal_mode=WAL")
    return path


def tables_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """The columns of each table: name, type, whether it may be null, place in the key."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
        columns = {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
        return {name: [(row[1], row[2], row[3], row[5]) for row in found] for name, found in columns.items()}


@pytest.mark.parametrize("script", [V1, V2, V3], ids=["1", "2", "3"])
def test_a_database_of_an_older_version_becomes_one_of_this(tmp_path: Path, script: str) -> None:
    path = made_by(tmp_path / "status.db", script)
    with DownloadTracker(path) as tracker:
        rows = {row.id: (row.state, row.sha256, row.bytes_done, row.error) for row in tracker.states(range(1, 5))}
        assert len(tracker.revisions()) == (0 if script is V1 else 1)
        assert tracker.stamps(SERIES) == ({Period.parse("2024"): None} if script is V3 else {})
        (known,) = tracker.catalog(Layout(tmp_path), SERIES) or [None]
    stored = State.STORED if script is V3 else State.FETCHED  # what was stored in the older layout is stored again
    assert rows == {
        1: (stored, "1111", 100, None),
        2: (State.FETCHED, "2222", 100, None),
        3: (State.PLANNED, None, 40, None),
        4: (State.MISMATCH, None, 0, "because"),
    }
    if script is V3:
        assert known is not None
        assert (known.rows, known.writer, known.stamp) == (744, "tapevault 0.1.0", None)
    DownloadTracker(tmp_path / "new.db").close()
    assert tables_of(path) == tables_of(tmp_path / "new.db")
    with closing(sqlite3.connect(path)) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM schema_steps ORDER BY step")] == STEPS


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = made_by(tmp_path / "status.db", V2)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE catalog_sources (odd INTEGER)")
        connection.execute("CREATE INDEX sources_by_key ON catalog_sources (odd)")
        connection.execute("CREATE TABLE catalog_partitions (odd INTEGER)")
        connection.execute("DROP TABLE files")
    before = tables_of(path)
    with pytest.raises(Exception, match="no such table: files"):
        DownloadTracker(path)
    assert tables_of(path) == before
