"""The status database: its tables, and the ordered migrations that lead to them.

runs          one row a run: who (host, pid, process start), since when, last sign of life
files         one row an archive: what the exchange lists, where we stand, who holds it, what vouches for the bytes
partitions    one row a stored archive: rows, first and last time, what was repaired
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
    inspect,
    select,
)

METADATA: Final = MetaData()

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
    Index("files_by_state", "state"),
    Index("files_by_owner", "owner"),
)

PARTITIONS: Final = Table(
    "partitions",
    METADATA,
    Column("file_id", Integer, ForeignKey("files.id"), primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("first_us", BigInteger),
    Column("last_us", BigInteger),
    Column("source_unit", String, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("reordered", BigInteger, nullable=False),
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

SCHEMA_STEPS: Final = Table(
    "schema_steps",
    METADATA,
    Column("step", Integer, primary_key=True),
    Column("name", String, nullable=False),
)

Migration = Callable[[Connection], None]


def create_first_tables(connection: Connection) -> None:
    """Version 1: runs, files, partitions."""
    METADATA.create_all(connection, [RUNS, FILES, PARTITIONS])


def create_revisions(connection: Connection) -> None:
    """Version 2: what the exchange has replaced."""
    METADATA.create_all(connection, [REVISIONS])


MIGRATIONS: Final[tuple[Migration, ...]] = (create_first_tables, create_revisions)
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
