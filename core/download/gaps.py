"""Gaps and how they ended, kept in the status database: what was asked once is not asked again every night."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select

from core.download.rows import series_named
from core.download.tables import GAPS
from core.types import Gap, GapStatus, Series, Span

_OF_SERIES: Final = ("market", "dataset", "symbol", "interval")


def record(connection: Connection, series: Series, span: Span, found: Sequence[Gap]) -> None:
    """These are the gaps of a series within `span` now; what was known of others there is forgotten."""
    here = (GAPS.c.start_us >= span.start_us) & (GAPS.c.end_us <= span.end_us)
    connection.execute(delete(GAPS).where(*_of(series), here))
    rows = [_row(gap) for gap in found]
    for row in rows:  # a gap may reach over the edge of what was looked at
        same = (GAPS.c.start_us == row["start_us"]) & (GAPS.c.end_us == row["end_us"])
        connection.execute(delete(GAPS).where(*_of(series), same))
    if rows:
        connection.execute(insert(GAPS), rows)


def read(connection: Connection, series: Series | None = None) -> list[Gap]:
    """What is known of the gaps of one series, or of all, in order of series and time."""
    chosen = select(GAPS) if series is None else select(GAPS).where(*_of(series))
    ordered = chosen.order_by(*(GAPS.c[name] for name in (*_OF_SERIES, "start_us")))
    return [_gap(row) for row in connection.execute(ordered)]


def _of(series: Series) -> list[Any]:
    return [GAPS.c[name] == value for name, value in _identity(series).items()]


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
    series = series_named(row.market, row.dataset, row.symbol, row.interval or None)
    span = Span(row.start_us, row.end_us)
    return Gap(series, span, row.rows, GapStatus(row.status), row.detail, row.checked_us)
