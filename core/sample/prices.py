"""The prices of the sample market that nobody trades at: index, premium and mark.

One point every 20 seconds, in whole units of 1e-8, from the market's first midnight on. The index is a random walk
per asset; the premium is a slow and a fast moving sum of noise per contract; mark = index * (1 + premium), half up.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.dates import HOUR_US
from core.sample.clock import candle_edges, close_times
from core.sample.instruments import Instrument
from core.sample.values import Columns, Decimals, Ints, divide_half_up, random_stream
from core.types import Market, Span

POINT_US = 20_000_000
PLACES = 8
UNIT = 10**PLACES

_RETURN_UNIT = 8e-7
"""A walk of steps of -1000 to 1000 of these has a volatility of about 3 % a day."""

_INTEREST, _CLAMP = 10_000, 50_000
"""0.0001 and 0.0005 in units."""


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Equally long columns of units; the first point is at `start_us`."""

    start_us: int
    index: Ints
    premium: Ints
    mark: Ints

    def rows(self, times_us: Ints) -> Ints:
        """The row of the first point at or after each time."""
        rows: Ints = -((self.start_us - times_us) // POINT_US)
        return rows


@lru_cache(maxsize=4)
def index_points(seed: int, asset: str, start_price: float, count: int) -> Ints:
    """The walk of one asset, shape `(count,)`. Only sums and products: the same bits on every machine."""
    steps = random_stream(seed, asset, "index").integers(-1000, 1001, count)
    steps[:1] = 0
    path: NDArray[np.float64] = np.cumprod(1.0 + steps * _RETURN_UNIT) * (start_price * UNIT)
    return np.rint(path).astype(np.int64)


@lru_cache(maxsize=2)
def points_of(seed: int, instrument: Instrument, history: Span) -> Points:
    """All points of one instrument over the market's history. A spot symbol trades at its index."""
    count = (history.end_us - history.start_us) // POINT_US
    index = index_points(seed, instrument.asset, instrument.start_price, count)
    if instrument.market is Market.SPOT:
        premium = np.zeros(count, dtype=np.int64)
    else:
        premium = _premium(seed, f"{instrument.market}/{instrument.symbol}", count)
    return Points(history.start_us, index, premium, mark_price(index, premium))


def mark_price(index: Ints, premium: Ints) -> Ints:
    """index * (1 + premium), rounded half up. In two parts, for their product does not fit into 64 bits."""
    whole, rest = index // UNIT, index % UNIT
    mark: Ints = index + whole * premium + divide_half_up(rest * premium, UNIT)
    return mark


def _premium(seed: int, name: str, count: int) -> Ints:
    slow = moving_sum(random_stream(seed, name, "slow").integers(-2700, 2701, count), 1440)
    fast = moving_sum(random_stream(seed, name, "fast").integers(-2200, 2201, count), 15)
    return slow + fast + _INTEREST


def moving_sum(noise: Ints, width: int) -> Ints:
    """The sum of each value and the `width` - 1 before it."""
    total = np.cumsum(noise)
    total[width:] -= total[:-width].copy()
    return total


def price_candles(points: Points, values: Ints, interval: str, life: Span, is_over: bool) -> Columns:
    """Candles of `values`: open, high, low and close of the points inside each. Nothing is traded, so volumes are 0
    and `count` is the number of seconds, as the exchange samples every second."""
    edges = candle_edges(interval, life, is_over)
    rows = points.rows(np.clip(edges, life.start_us, life.end_us))
    starts, ends = rows[:-1], rows[1:]
    kept = values[: ends[-1]] if len(ends) else values
    zero = np.zeros(len(starts), dtype=np.int64)
    return {
        "open_time": edges[:-1],
        "open": Decimals(values[starts], PLACES),
        "high": Decimals(np.maximum.reduceat(kept, starts) if len(starts) else zero, PLACES),
        "low": Decimals(np.minimum.reduceat(kept, starts) if len(starts) else zero, PLACES),
        "close": Decimals(values[ends - 1], PLACES),
        "volume": zero,
        "close_time": close_times(edges[1:], edges[:-1], Market.UM),
        "quote_volume": zero,
        "count": (edges[1:] - edges[:-1]) // 1_000_000,
        "taker_buy_volume": zero,
        "taker_buy_quote_volume": zero,
        "ignore": zero,
    }


def funding(seed: int, instrument: Instrument, points: Points, life: Span) -> Columns:
    """The settlements of one perpetual: the mean premium since the one before, pulled towards 0.0001.

    rate = mean + clamp(0.0001 - mean, -0.0005, 0.0005); settled 0 to 45 ms after the hour.
    """
    step = instrument.funding_hours * HOUR_US
    hours = np.arange(points.start_us // step * step, life.end_us, step, dtype=np.int64)
    late_ms = random_stream(seed, instrument.market, instrument.symbol, "late").integers(0, 46, len(hours))
    inside = hours > life.start_us
    hours, late_ms = hours[inside], late_ms[inside]
    mean = _mean_before(points, hours, step, life)
    rate = mean + np.clip(_INTEREST - mean, -_CLAMP, _CLAMP)
    return {
        "calc_time": hours + late_ms * 1000,
        "funding_interval_hours": np.full(len(hours), instrument.funding_hours, dtype=np.int64),
        "last_funding_rate": Decimals(rate, PLACES),
    }


def _mean_before(points: Points, hours: Ints, step: int, life: Span) -> Ints:
    """The rounded mean premium of `[hour - step, hour)`, or of the part in which the contract lived."""
    total = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(points.premium)])
    first = points.rows(np.maximum(hours - step, life.start_us))
    last = points.rows(hours)
    return divide_half_up(total[last] - total[first], last - first)
