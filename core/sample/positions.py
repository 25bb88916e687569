"""Open interest and long/short ratios of the sample market, from its trades and mark price.

Each window of five minutes changes the open interest by no more than was traded in it; its value is that at the last
mark price of the window; the takers' ratio is what the trades of the window say, and empty where nothing was sold.
"""

import numpy as np

from core.dates import MINUTE_US
from core.sample.instruments import Instrument, moment
from core.sample.prices import PLACES, POINT_US, UNIT, moving_sum, points_of
from core.sample.tape import Tape, value_of
from core.sample.values import Bools, Columns, Decimals, Ints, divide_half_up, random_stream
from core.types import Market, Span

WINDOW_US = 5 * MINUTE_US
WINDOW_START = "window_start"
"""A column that is not published: labels do not always say in which file a row is, windows do."""
LABELS_ARE_STARTS_FROM = moment("2026-06-25")
"""The exchange labelled um windows by their end before, and cm windows always by their start."""

_EMPTY = 200
"""One row in so many lacks the account ratios."""
_DAY = 288


def metrics(seed: int, instrument: Instrument, history: Span, life: Span, tape: Tape) -> Columns:
    """One row for every whole window of the life, in order of time."""
    name = f"{instrument.market}/{instrument.symbol}"
    starts = np.arange(life.start_us // WINDOW_US * WINDOW_US, life.end_us - WINDOW_US + 1, WINDOW_US, dtype=np.int64)
    bounds = np.searchsorted(tape.time_us, np.append(starts, starts[-1:] + WINDOW_US))
    sold = _sums(np.where(tape.is_buyer_maker, tape.qty, 0), bounds)
    bought = _sums(np.where(tape.is_buyer_maker, 0, tape.qty), bounds)
    interest = _open_interest(seed, name, instrument, bought + sold)
    value = value_of(instrument, _last_mark(seed, instrument, history, starts + WINDOW_US), interest)
    known = random_stream(seed, name, "empty ratios").integers(0, _EMPTY, len(starts)) > 0
    return {
        "create_time": starts + np.where(_label_is_end(instrument.market, starts), WINDOW_US, 0),
        "symbol": np.full(len(starts), instrument.symbol),
        "sum_open_interest": Decimals(interest, instrument.qty_decimals),
        "sum_open_interest_value": Decimals(value, instrument.value_decimals),
        "count_toptrader_long_short_ratio": _ratio(seed, name, "top accounts", known),
        "sum_toptrader_long_short_ratio": _ratio(seed, name, "top positions", known),
        "count_long_short_ratio": _ratio(seed, name, "accounts", known),
        "sum_taker_long_short_vol_ratio": Decimals(
            divide_half_up(bought * UNIT, np.maximum(sold, 1)), PLACES, sold > 0
        ),
        WINDOW_START: starts,
    }


def _label_is_end(market: Market, starts: Ints) -> Bools:
    is_end: Bools = (starts < LABELS_ARE_STARTS_FROM) & (market is Market.UM)
    return is_end


def _sums(values: Ints, bounds: Ints) -> Ints:
    sums: Ints = np.diff(np.append(0, np.cumsum(values))[bounds])
    return sums


def _open_interest(seed: int, name: str, instrument: Instrument, traded: Ints) -> Ints:
    """In steps: each trade may open a position, close one, or hand one over."""
    share = random_stream(seed, name, "positions").integers(-1000, 1001, len(traded))
    first = instrument.lot * instrument.orders_per_hour * 200
    interest: Ints = np.maximum(first + np.cumsum(traded * share // 1000), 0)
    return interest


def _last_mark(seed: int, instrument: Instrument, history: Span, ends: Ints) -> Ints:
    """The last mark price before each moment, in ticks."""
    mark = points_of(seed, instrument, history).mark[(ends - history.start_us) // POINT_US - 1]
    return divide_half_up(mark, 10 ** (PLACES - instrument.price_decimals))


def _ratio(seed: int, name: str, what: str, known: Bools) -> Decimals:
    """A ratio that wanders about 1 and stays above 0."""
    noise = random_stream(seed, name, what).integers(-1_000_000, 1_000_001, len(known))
    return Decimals(np.maximum(UNIT + moving_sum(noise, _DAY), UNIT // 100), PLACES, known)
