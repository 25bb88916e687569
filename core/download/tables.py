"""The status database: its tables, and the ordered migrations that lead to them.

runs          one row a run: who (host, pid, process start), as typed, since when, last sign of life, how it ended
pauses        one row a process that is asked to hold still, and since when
files         one row an archive: what the exchange lists, where we stand, who holds it, what vouches for the bytes
catalog_partitions   one row a partition: what its footer says, so that a reader needs no look at folders
catalog_sources      one row an archive in a partition: where rows came from, what was repaired
gap_looks     one row a partition whose gaps are known: of which file, so that none is looked through again
gaps          one row a gap: how many rows are missing, how it ended, when the sources were asked last
symbols_seen  one row a folder of symbols that the source had, by market and data type: any other one is newly listed
revisions     one row for each time that the exchange replaced an archive which was here: both ETags, both digests
schema_steps  which migrations were applied
"""

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    inspect,
    select,
    update,
)

METADATA: Final = MetaData()


def _of_series(is_key: bool = False) -> list[Column[str]]:
    """The columns that say which series a row is about."""
    names = {"market": None, "dataset": None, "symbol": None, "interval": "empty where the kind has none"}
    return [Column(name, String, primary_key=is_key, nullable=False, doc=doc) for name, doc in names.items()]


RUNS: Final = Table(
    "runs",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_start", String, nullable=False),
    Column("command", String, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("heartbeat_us", BigInteger, nullable=False),
    Column("finished_us", BigInteger),
    Column("line", String, doc="the command as it was typed"),
    Column("ended", String, doc="how; null while it goes on, where it was killed, and before this was kept"),
    *(Column(name, BigInteger) for name in ("files", "bytes", "rows", "failures")),
)

PAUSES: Final = Table(
    "pauses",
    METADATA,
    Column("host", String, primary_key=True),
    Column("pid", Integer, primary_key=True),
    Column("process_start", String, primary_key=True),
    Column("since_us", BigInteger, nullable=False),
)

FILES: Final = Table(
    "files",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("key", String, nullable=False, unique=True),
    Column("market", String, nullable=False),
    Column("dataset", String, nullable=False),
    Column("symbol", String, nullable=False),
    Column("interval", String),
    Column("period", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("etag", String, nullable=False),
    Column("checksum_etag", String),
    Column("modified", String, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("bytes_done", BigInteger, nullable=False, default=0),
    Column("owner", Integer, ForeignKey("runs.id")),
    Column("sha256", String),
    Column("proof", String),
    Column("error", String),
    Column("changed_us", BigInteger, nullable=False),
    Column("fault", String, doc="what was wrong at the source when it was asked last"),
    Column("asks", Integer, nullable=False, default=0, server_default="0", doc="how often in a row it had a fault"),
    Column("asked_us", BigInteger, doc="when it was asked last and had a fault"),
    Index("files_by_state", "state"),
    Index("files_by_owner", "owner"),
)

PARTITIONS: Final = Table(
    "catalog_partitions",
    METADATA,
    Column("id", Integer, primary_key=True),
    *_of_series(),
    Column("period", String, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("first_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("writer", String, nullable=False),
    Column("size", BigInteger, doc="of the file that says all this; null where unknown"),
    Column("modified_ns", BigInteger, doc="when that file was written"),
    UniqueConstraint("market", "dataset", "symbol", "interval", "period"),
)

SOURCES: Final = Table(
    "catalog_sources",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("partition_id", Integer, ForeignKey("catalog_partitions.id"), nullable=False),
    Column("place", Integer, nullable=False, doc="its rows come behind those of the places before"),
    Column("key", String, nullable=False),
    Column("period", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("proof", String, nullable=False),
    Column("unit", String, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("first_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("reordered", BigInteger, nullable=False),
    Column("outside", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("added", BigInteger, nullable=False, server_default="0", doc="of its rows a longer archive lacks"),
    Column("changed", BigInteger, nullable=False, server_default="0", doc="a longer archive has with other content"),
    Index("sources_by_partition", "partition_id"),
    Index("sources_by_key", "key"),
)

REVISIONS: Final = Table(
    "revisions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("file_id", Integer, ForeignKey("files.id"), nullable=False),
    Column("noticed_us", BigInteger, nullable=False),
    Column("old_etag", String, nullable=False),
    Column("old_size", BigInteger, nullable=False),
    Column("old_sha256", String, nullable=False),
    Column("new_etag", String, nullable=False),
    Column("new_sha256", String),
    Column("replaced_us", BigInteger),
    Index("revisions_by_file", "file_id"),
)

GAPS: Final = Table(
    "gaps",
    METADATA,
    Column("id", Integer, primary_key=True),
    *_of_series(),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False, doc="expected ones that are missing, 0 where that cannot be known"),
    Column("status", String, nullable=False),
    Column("detail", String, nullable=False),
    Column("checked_us", BigInteger, doc="when the sources were asked last"),
    UniqueConstraint("market", "dataset", "symbol", "interval", "start_us", "end_us"),
)

GAP_LOOKS: Final = Table(
    "gap_looks",
    METADATA,
    *_of_series(is_key=True),
    Column("period", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("modified_ns", BigInteger, nullable=False),
)

SYMBOLS_SEEN: Final = Table(
    "symbols_seen",
    METADATA,
    Column("market", String, primary_key=True),
    Column("dataset", String, primary_key=True),
    Column("symbol", String, primary_key=True),
)

SCHEMA_STEPS: Final = Table(
    "schema_steps",
    METADATA,
    Column("step", Integer, primary_key=True),
    Column("name", String, nullable=False),
)

Migration = Callable[[Connection], None]


def create_first_tables(connection: Connection) -> None:
    """Version 1: runs and files, and a table of partitions that version 3 has replaced."""
    METADATA.create_all(connection, [RUNS, FILES])


def create_revisions(connection: Connection) -> None:
    """Version 2: what the exchange has replaced."""
    METADATA.create_all(connection, [REVISIONS])


def create_catalog(connection: Connection) -> None:
    """Version 3: the catalog. What was stored in the older layout is stored again, from the archives that are here."""
    connection.exec_driver_sql("DROP TABLE IF EXISTS partitions")
    METADATA.create_all(connection, [PARTITIONS, SOURCES])
    connection.execute(update(FILES).where(FILES.c.state == "stored").values(state="fetched"))


def add_stamps(connection: Connection) -> None:
    """Version 4: by what the file of a partition is known again. The next run looks at the files."""
    there = {column["name"] for column in inspect(connection).get_columns(PARTITIONS.name)}
    for column in ("size", "modified_ns"):
        if column not in there:  # a database that is made now has them from the beginning
            connection.exec_driver_sql(f"ALTER TABLE {PARTITIONS.name} ADD COLUMN {column} BIGINT")


def add_beside(connection: Connection) -> None:
    """Version 5: what a day has besides a longer archive of its time. Until now nothing was kept so."""
    there = {column["name"] for column in inspect(connection).get_columns(SOURCES.name)}
    for column in ("added", "changed"):
        if column not in there:
            connection.exec_driver_sql(f"ALTER TABLE {SOURCES.name} ADD COLUMN {column} BIGINT NOT NULL DEFAULT 0")


def create_gaps(connection: Connection) -> None:
    """Version 6: gaps and how they ended."""
    METADATA.create_all(connection, [GAPS])


def add_asks(connection: Connection) -> None:
    """Version 7: faults of the source have states of their own, and a schedule by which it is asked again."""
    there = {column["name"] for column in inspect(connection).get_columns(FILES.name)}
    columns = {"fault": "VARCHAR", "asks": "INTEGER DEFAULT '0' NOT NULL", "asked_us": "BIGINT"}
    for column, kind in columns.items():
        if column not in there:
            connection.exec_driver_sql(f"ALTER TABLE {FILES.name} ADD COLUMN {column} {kind}")
    METADATA.create_all(connection, [SYMBOLS_SEEN])
    asked = {"asks": 1, "asked_us": FILES.c.changed_us}
    connection.execute(update(FILES).where(FILES.c.state == "missing").values(fault="missing", **asked))
    disputed = (FILES.c.state == "failed") & (FILES.c.proof == "disputed")
    at_fault = {"state": "mismatch-upstream", "fault": "mismatch-upstream"}
    connection.execute(update(FILES).where(disputed).values(**at_fault, **asked))


def create_gap_looks(connection: Connection) -> None:
    """Version 8: of which partitions the gaps are known."""
    METADATA.create_all(connection, [GAP_LOOKS])


def add_endings(connection: Connection) -> None:
    """Version 9: what was typed, what came of it and how it ended, for each run; and who is asked to pause."""
    there = {column["name"] for column in inspect(connection).get_columns(RUNS.name)}
    kinds = {"line": "VARCHAR", "ended": "VARCHAR"} | dict.fromkeys(("files", "bytes", "rows", "failures"), "BIGINT")
    for column, kind in kinds.items():
        if column not in there:
            connection.exec_driver_sql(f"ALTER TABLE {RUNS.name} ADD COLUMN {column} {kind}")
    METADATA.create_all(connection, [PAUSES])


MIGRATIONS: Final[tuple[Migration, ...]] = (
    create_first_tables,
    create_revisions,
    create_catalog,
    add_stamps,
    add_beside,
    create_gaps,
    add_asks,
    create_gap_looks,
    add_endings,
)
"""In order; never edited, only added to. Each runs once, in one transaction with its row in `schema_steps`."""


def applied_steps(connection: Connection) -> int:
    """How many migrations this database has seen; 0 for an empty one."""
    if not inspect(connection).has_table(SCHEMA_STEPS.name):
        return 0
    return len(connection.execute(select(SCHEMA_STEPS.c.step)).all())


def migrate(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Apply what is missing; returns how many steps were applied."""
    done = applied_steps(connection)
    if done == 0:
        METADATA.create_all(connection, [SCHEMA_STEPS])
    for step, migration in enumerate(migrations[done:], start=done + 1):
        migration(connection)
        connection.execute(SCHEMA_STEPS.insert().values(step=step, name=migration.__name__))
    return max(0, len(migrations) - done)
