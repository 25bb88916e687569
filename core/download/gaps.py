"""Gaps and how they ended, kept in the status database: what was asked once is not asked again every night."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, delete, insert, select

from core.download.rows import series_named
from core.download.tables import GAP_LOOKS, GAPS
from core.types import Gap, GapStatus, Period, Series, Span, Stamp


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the gaps of a series: `gaps`, in order of time, as the partition files `looked_at` have them."""

    gaps: tuple[Gap, ...] = ()
    looked_at: Mapping[Period, Stamp] = field(default_factory=dict)


def record(connection: Connection, found: Mapping[Series, Known]) -> None:
    """All that is known of the gaps of these series now."""
    for series in found:
        for table in (GAPS, GAP_LOOKS):
            connection.execute(delete(table).where(*_of(table, series)))
    rows = [_row(gap) for known in found.values() for gap in known.gaps]
    looks = [
        _identity(series) | {"period": period.label, "size": stamp.size, "modified_ns": stamp.modified_ns}
        for series, known in found.items()
        for period, stamp in known.looked_at.items()
    ]
    if rows:
        connection.execute(insert(GAPS), rows)
    if looks:
        connection.execute(insert(GAP_LOOKS), looks)


def read(connection: Connection, series: Series | None = None) -> dict[Series, Known]:
    """What is known of the gaps of one series, or of all."""
    gaps: dict[Series, list[Gap]] = {}
    looks: dict[Series, dict[Period, Stamp]] = {}
    for row in connection.execute(_chosen(GAPS, series).order_by(GAPS.c.start_us)):
        gaps.setdefault(_series(row), []).append(_gap(row))
    for row in connection.execute(_chosen(GAP_LOOKS, series)):
        looks.setdefault(_series(row), {})[Period.parse(row.period)] = Stamp(row.size, row.modified_ns)
    return {one: Known(tuple(gaps.get(one, ())), looks.get(one, {})) for one in {**gaps, **looks}}


def _chosen(table: Table, series: Series | None) -> Select[Any]:
    return select(table) if series is None else select(table).where(*_of(table, series))


def _of(table: Table, series: Series) -> list[Any]:
    return [table.c[name] == value for name, value in _identity(series).items()]


def _series(row: Row[Any]) -> Series:
    return series_named(row.market, row.dataset, row.symbol, row.interval or None)


def _identity(series: Series) -> dict[str, str]:
    return {
        "market": series.market.value,
        "dataset": series.dataset,
        "symbol": series.symbol,
        "interval": series.interval or "",
    }


def _row(gap: Gap) -> dict[str, Any]:
    return _identity(gap.series) | {
        "start_us": gap.span.start_us,
        "end_us": gap.span.end_us,
        "rows": gap.rows,
        "status": gap.status.value,
        "detail": gap.detail,
        "checked_us": gap.checked_us,
    }


def _gap(row: Row[Any]) -> Gap:
    span = Span(row.start_us, row.end_us)
    return Gap(_series(row), span, row.rows, GapStatus(row.status), row.detail, row.checked_us)
