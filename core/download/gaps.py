"""Gaps and how they ended, kept in the status database: what was asked once is not asked again every night."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, insert, select

from core.download.rows import series_named
from core.download.tables import GAP_LOOKS, GAPS
from core.types import Gap, GapStatus, Period, Series, Span, Stamp


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the gaps of a series: `gaps`, in order of time, as the partition files `looked_at` have them."""

    gaps: tuple[Gap, ...] = ()
    looked_at: Mapping[Period, Stamp] = field(default_factory=dict)


def record(connection: Connection, found: Mapping[Series, Known], before: Mapping[Series, Known]) -> None:
    """All that is known of the gaps of these series now, where `before` was known; only what differs is written."""
    gaps, looks = [], []
    for series, known in found.items():
        was = before.get(series, Known())
        if known.gaps != was.gaps:
            connection.execute(delete(GAPS).where(*_of(GAPS, series)))
            gaps += [_row(gap) for gap in known.gaps]
        for period in [one for one, stamp in was.looked_at.items() if known.looked_at.get(one) != stamp]:
            connection.execute(delete(GAP_LOOKS).where(*_of(GAP_LOOKS, series), GAP_LOOKS.c.period == period.label))
        looks += [
            _identity(series) | {"period": period.label, "size": stamp.size, "modified_ns": stamp.modified_ns}
            for period, stamp in known.looked_at.items()
            if was.looked_at.get(period) != stamp
        ]
    if gaps:
        connection.execute(insert(GAPS), gaps)
    if looks:
        connection.execute(insert(GAP_LOOKS), looks)


def read(connection: Connection, wanted: Sequence[Series]) -> dict[Series, Known]:
    """What is known of the gaps of these series."""
    found: dict[Series, Known] = {}
    for series in wanted:
        gaps = connection.execute(select(GAPS).where(*_of(GAPS, series)).order_by(GAPS.c.start_us)).all()
        looks = connection.execute(select(GAP_LOOKS).where(*_of(GAP_LOOKS, series))).all()
        if gaps or looks:
            stamps = {Period.parse(row.period): Stamp(row.size, row.modified_ns) for row in looks}
            found[series] = Known(tuple(map(_gap, gaps)), stamps)
    return found


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
