"""The candle grid: which candles a life of a symbol has."""

from datetime import UTC, date, datetime

import numpy as np

from core.dates import INTERVAL_US, MONDAY_US, day_of
from core.sample.instruments import moment
from core.sample.values import Ints
from core.types import Market, Span

MICROSECONDS_SINCE = moment("2025-01-01")
"""From here on the spot archive writes microseconds."""


def candle_edges(interval: str, life: Span, is_over: bool) -> Ints:
    """Open times of the candles that `life` touches, and the end of the last; shape `(candles + 1,)`.

    Unless the life is over, a candle that has not ended yet is left out.
    """
    edges = _months(life) if interval == "1mo" else _steps(interval, life)
    if not is_over:
        edges = edges[edges <= life.end_us]
    return edges


def close_times(ends: Ints, opens: Ints, market: Market) -> Ints:
    """The last instant of each candle as published: a millisecond before its end, or a microsecond."""
    if market is not Market.SPOT:
        return ends - 1000
    return ends - np.where(opens < MICROSECONDS_SINCE, 1000, 1)


def _steps(interval: str, life: Span) -> Ints:
    step = INTERVAL_US[interval]
    assert step is not None
    offset = MONDAY_US if interval == "1w" else 0
    first = (life.start_us - offset) // step * step + offset
    return np.arange(first, life.end_us + step, step, dtype=np.int64)


def _months(life: Span) -> Ints:
    first, last = day_of(life.start_us), day_of(life.end_us - 1)
    count = (last.year - first.year) * 12 + last.month - first.month + 2
    months = [divmod(first.year * 12 + first.month - 1 + i, 12) for i in range(count)]
    return np.array([_midnight(date(year, month + 1, 1)) for year, month in months], dtype=np.int64)


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
