"""The catalog as readers see it: what is known of partitions, looked up without writing anything.

Through the standard library's SQLite, for SQLAlchemy takes longer to load than most lookups take. The status database
may be missing, older, newer, damaged, in a folder that cannot be written to, or at work. So there may be no answer,
and whoever gets one must hold it against the files that lie there.
"""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.datasets import SCHEMA_VERSION
from core.dates import day_of
from core.layout import Layout
from core.types import Market, PartitionFacts, Period, Series, Span, Stamp

VERSION: Final = 9
"""The version of the database that is understood here."""
_REST_NS: Final = 3_000_000_000
"""What was written within the last ticks of a file system's clock may be written again and look the same."""
_STEPS: Final = "SELECT max(step) FROM schema_steps"
_PARTITIONS: Final = (
    "WITH chosen AS (SELECT * FROM catalog_partitions "
    "WHERE market = ? AND dataset = ? AND symbol = ? AND interval = ? AND schema_version = ? AND modified_ns NOT NULL "
    "AND period || '~' >= ? AND period <= ?), "  # by label: a year or month overlaps the days that begin as it does
    "sources AS (SELECT *, "
    "first_us <= lag(last_us) OVER (PARTITION BY partition_id ORDER BY first_us, last_us) AS is_over "
    "FROM catalog_sources WHERE partition_id IN (SELECT id FROM chosen)) "
    "SELECT p.period, p.rows, p.first_us, p.last_us, p.size, p.modified_ns, "
    "group_concat(CASE WHEN s.added + s.changed = 0 THEN s.period END, ' '), "
    "group_concat(CASE WHEN s.added + s.changed > 0 THEN s.period END, ' '), coalesce(max(s.is_over), 0) "
    "FROM chosen AS p JOIN sources AS s ON s.partition_id = p.id "
    "GROUP BY p.id "
    "HAVING sum(s.rows) = p.rows AND min(s.first_us) = p.first_us AND max(s.last_us) = p.last_us"  # undamaged
)


_REVISIONS: Final = (
    "SELECT f.market, f.dataset, f.symbol, f.interval, count(*) FROM revisions AS r "
    "JOIN files AS f ON f.id = r.file_id GROUP BY f.market, f.dataset, f.symbol, f.interval"
)


def known_revisions(layout: Layout) -> Mapping[Series, int]:
    """How often the exchange replaced an archive of each series that was here; nothing if that cannot be read now."""
    before = state_of(layout.database)
    if before is None:
        return {}
    try:
        with closing(opened(layout.database, before)) as connection:
            if connection.execute(_STEPS).fetchone() != (VERSION,):
                return {}
            rows = connection.execute(_REVISIONS).fetchall()
            return {
                Series(Market(market), name, symbol, interval or None): n for market, name, symbol, interval, n in rows
            }
    except (sqlite3.Error, ValueError):
        return {}


def known_partitions(
    layout: Layout, wanted: Sequence[Series], span: Span | None = None
) -> Mapping[Series, Mapping[Period, PartitionFacts]]:
    """What the catalog has of these series in `span`, all as of one moment; nothing if it cannot be read just now."""
    before = state_of(layout.database)
    if before is None:
        return {}
    try:
        with closing(opened(layout.database, before)) as connection:
            connection.execute("BEGIN")
            if connection.execute(_STEPS).fetchone() != (VERSION,):
                return {}
            bounds = ("", "~") if span is None else (str(day_of(span.start_us)), str(day_of(span.end_us)))
            found = {one: _of_series(connection, layout, one, bounds) for one in wanted}
    except (sqlite3.Error, ValueError, TypeError, AttributeError, OverflowError):
        return {}
    return found if before.is_at_work or state_of(layout.database) == before else {}


@dataclass(frozen=True, slots=True)
class FileState:
    """How a database lies there: `is_at_work` with a write-ahead log beside it, else as a file that does not change."""

    is_at_work: bool
    file: tuple[int, int, int] = (0, 0, 0)


def state_of(database: Path, rest_ns: int = _REST_NS) -> FileState | None:
    """None where reading would have to write something, or could not be told from reading what is half written, as
    where the file was written to within `rest_ns`."""
    try:
        has_log, has_index, has_journal = (
            database.with_name(f"{database.name}{suffix}").exists() for suffix in ("-wal", "-shm", "-journal")
        )
        status = database.stat()
    except OSError:
        return None
    if has_journal or has_log != has_index:
        return None
    if has_log:
        return FileState(is_at_work=True)
    if time.time_ns() - status.st_mtime_ns < rest_ns:
        return None
    return FileState(False, (status.st_ino, status.st_size, status.st_mtime_ns))


def opened(database: Path, state: FileState, wait_seconds: float = 0.0) -> sqlite3.Connection:
    """A connection that only reads. Where nobody works with the database, it takes no lock and makes no file: that
    nobody began to is seen by the state afterwards."""
    options = "mode=ro" if state.is_at_work else "mode=ro&immutable=1"
    return sqlite3.connect(
        f"{database.absolute().as_uri()}?{options}", uri=True, timeout=wait_seconds, isolation_level=None
    )


def _of_series(
    connection: sqlite3.Connection, layout: Layout, one: Series, bounds: tuple[str, str]
) -> dict[Period, PartitionFacts]:
    chosen = (one.market.value, one.dataset, one.symbol, one.interval or "", SCHEMA_VERSION, *bounds)
    rows = (_facts(layout, one, *row) for row in connection.execute(_PARTITIONS, chosen))
    return {facts.period: facts for facts in rows}


def _facts(
    layout: Layout,
    one: Series,
    label: str,
    rows: int,
    first_us: int,
    last_us: int,
    size: int,
    ns: int,
    plain: str | None,
    beside: str | None,
    overlaps: int,
) -> PartitionFacts:
    if not all(isinstance(number, int) for number in (rows, first_us, last_us, size, ns)):
        raise TypeError(f"{one} {label} has no numbers in the catalog")
    period = Period.parse(label)
    path, stamp = layout.processed(one, period), Stamp(size, ns)
    return PartitionFacts(
        period, path, rows, first_us, last_us, _periods(plain), _periods(beside), stamp, bool(overlaps)
    )


def _periods(labels: str | None) -> tuple[Period, ...]:
    return tuple(map(Period.parse, labels.split(" "))) if labels else ()
