"""What the database knows of one series, and how it is forgotten: every row that speaks of it, in one transaction."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, select

from core.download.rows import to_download
from core.download.tables import FILES, GAP_LOOKS, GAPS, PARTITIONS, REVISIONS, SOURCES
from core.types import Download, Period, Series


def downloads(connection: Connection, series: Series) -> Mapping[Period, Download]:
    """The archives of a series."""
    found = (to_download(row) for row in connection.execute(select(FILES).where(*_of(FILES, series))))
    return {row.file.period: row for row in found}


def is_as_read(connection: Connection, series: Series, period: Period, read: Download | None) -> bool:
    """Whether the row of an archive is still as it was read; of none, whether there still is none."""
    of_it = [*_of(FILES, series), FILES.c.period == period.label] if read is None else [FILES.c.id == read.id]
    now = connection.execute(select(FILES).where(*of_it)).first()
    return (None if now is None else to_download(now)) == read


def replaced(connection: Connection, series: Series) -> Mapping[str, int]:
    """By key the archives that the exchange has replaced, and when the new one was here (microseconds)."""
    rows = connection.execute(
        select(FILES.c.key, REVISIONS.c.replaced_us)
        .join(FILES, FILES.c.id == REVISIONS.c.file_id)
        .where(*_of(FILES, series), REVISIONS.c.replaced_us.is_not(None))
        .order_by(REVISIONS.c.replaced_us)
    )
    return {row.key: row.replaced_us for row in rows}


def forget(connection: Connection, series: Series) -> int:
    """Delete every row about a series; returns how many archives were known."""
    files = select(FILES.c.id).where(*_of(FILES, series))
    connection.execute(delete(REVISIONS).where(REVISIONS.c.file_id.in_(files)))
    known = connection.execute(delete(FILES).where(*_of(FILES, series))).rowcount
    partitions = select(PARTITIONS.c.id).where(*_of(PARTITIONS, series))
    connection.execute(delete(SOURCES).where(SOURCES.c.partition_id.in_(partitions)))
    for table in (PARTITIONS, GAPS, GAP_LOOKS):
        connection.execute(delete(table).where(*_of(table, series)))
    return known


def _of(table: Table, series: Series) -> list[ColumnElement[bool]]:
    interval = table.c.interval.is_(None) if table is FILES and series.interval is None else None
    values: dict[str, Any] = {"market": series.market.value, "dataset": series.dataset, "symbol": series.symbol}
    same = [table.c[name] == value for name, value in values.items()]
    return [*same, table.c.interval == (series.interval or "") if interval is None else interval]
