"""What came of it: labels of rows by the prices behind them. They look ahead, which is what a label is for.

Only labels that are decided are given. Their law: what is given for a row does not change when all rows behind its
`end` are taken away or changed.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from core.errors import ConfigError
from core.learning.arrays import Floats, Integers, events_of, floats, of_rows, prices
from core.learning.kernels import BOTH, first_touch, moving_deviation
from core.nearest import one_of

TIES: Final = ("loss", "profit", "neutral")
VERTICAL: Final = ("zero", "sign")


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of events, in order of their rows.

    `rows` (int64): of the events that have one. `ends` (int64): the rows by whose prices they are decided, behind
    `rows`. `labels` (int8): 1 up, 0 neutral, -1 down; with a side 1 to act and 0 to leave it. `returns` (float64): what
    the price did over the span, as a fraction, not turned by the side. `touched` (int8): the barrier, 1 upper, -1
    lower, 0 the vertical one or none, or two at once that decide nothing. `is_tie` (bool): both barriers were touched
    in one row, whatever was made of it. `unfinished` events reach beyond the last row, `undefined` ones have no
    threshold (NaN) or width (NaN, or 0 as far as the price can tell): both are left out.
    """

    rows: Integers
    ends: Integers
    labels: npt.NDArray[np.int8]
    returns: Floats
    touched: npt.NDArray[np.int8]
    is_tie: npt.NDArray[np.bool_]
    unfinished: int
    undefined: int

    def __len__(self) -> int:
        return len(self.rows)


def fixed_horizon(
    close: npt.ArrayLike, horizon: int, threshold: npt.ArrayLike = 0.0, events: npt.ArrayLike | None = None
) -> Labels:
    """1 where the price is more than `threshold` higher `horizon` rows later, -1 where it is more than that lower,
    else 0. In doubles: a change of just the threshold may be on either side of it by 1e-16.

    The change is `close[t + horizon] / close[t] - 1`. `threshold` is a fraction, for all or for each row; `events` are
    rows (None: every row). Raises ConfigError.
    """
    path = prices(close, "close")
    rows, unfinished = _within(events_of(events, len(path)), checked_horizon(horizon), len(path))
    limits = of_rows(threshold, rows, len(path), "threshold")
    _refuse_negative(limits, "threshold")
    known = ~np.isnan(limits)
    rows, limits = rows[known], limits[known]
    ends = rows + horizon
    returns = path[ends] / path[rows] - 1
    labels = (returns > limits).astype(np.int8) - (returns < -limits).astype(np.int8)
    none = np.zeros(len(rows), np.int8)
    return Labels(rows, ends, labels, returns, none, none > 0, unfinished, int((~known).sum()))


def triple_barrier(
    close: npt.ArrayLike,
    horizon: int,
    width: npt.ArrayLike,
    profit: float = 1.0,
    loss: float = 1.0,
    events: npt.ArrayLike | None = None,
    side: npt.ArrayLike | None = None,
    high: npt.ArrayLike | None = None,
    low: npt.ArrayLike | None = None,
    ties: str | None = None,
    vertical: str = "zero",
) -> Labels:
    """Which of three barriers is touched first: one above, one below, or the end after `horizon` rows.

    The barriers of an event at row t are at `close[t] * (1 + width * profit)` and `close[t] * (1 - width * loss)`; a
    multiple of 0 means none. `width` is a fraction for all (fixed barriers) or for each row, such as `volatility`.
    A width that puts a barrier at the entry itself is not known: a price that never moved would touch it.
    The first of the rows t + 1 to t + horizon counts whose price is at or beyond a barrier: the close, or with `high`
    and `low` the extremes of the row. Then the return is the barrier's, as nothing says at which price of the row one
    would have got out; a gap over the barrier is not seen.

    Label 1 for the upper barrier, -1 for the lower, and for the end 0 (`vertical='zero'`) or the sign of the return
    (`'sign'`). With `side` (1 long, -1 short, for each row) the profit's barrier lies where the side gains, and the
    label is a meta-label: 1 if following the side gained, else 0; at the end 0, or by its gain with `'sign'`.

    Where a row's extremes touch both barriers, its order of prices is not known. `ties='loss'` takes the one that loses
    (without a side the lower one), `'profit'` the other, `'neutral'` none: the label is 0 and the return that of the
    row's close. None: `'loss'` with a side, for nobody should count on the better one, else `'neutral'`, for a row that
    swings widely tells nothing of up or down. Ties are not left out: that would choose events by what comes.

    Events within `horizon` of the last row are left out even if a barrier was touched: only those decided early would
    be there. Raises ConfigError.
    """
    path = prices(close, "close")
    rows, unfinished = _within(events_of(events, len(path)), checked_horizon(horizon), len(path))
    if ties is None:
        ties = "neutral" if side is None else "loss"
    if ties not in TIES or vertical not in VERTICAL:
        name, value, known_words = ("ties", ties, TIES) if ties not in TIES else ("vertical", vertical, VERTICAL)
        raise ConfigError(f"{name}: {value!r}{one_of(str(value), known_words)}")
    if not (profit >= 0 and loss >= 0 and np.isfinite(profit + loss)):
        raise ConfigError(f"profit and loss are multiples of width from 0 on, not {profit} and {loss}")
    if (high is None) != (low is None):
        raise ConfigError("high and low: give both, or none of them")
    widths = of_rows(width, rows, len(path), "width")
    _refuse_negative(widths, "width")
    known = widths > 0  # NaN is not
    undefined = int((~known).sum())
    rows, widths = rows[known], widths[known]
    sides = np.ones(len(rows)) if side is None else _sides(side, rows, len(path))
    ups, downs = (np.where(sides > 0, *order) for order in ((profit, loss), (loss, profit)))
    entry = path[rows]
    above = np.where(ups > 0, entry * (1 + widths * ups), np.inf)
    below = np.where(downs > 0, entry * (1 - widths * downs), -np.inf)
    apart = (above > entry) & (below < entry)  # a width of 1e-17 is 0 beside any price
    undefined += int((~apart).sum())
    rows, sides = rows[apart], sides[apart]
    entry, above, below = entry[apart], above[apart], below[apart]
    highs, lows = (path, path) if high is None or low is None else (_extremes(high, path, 1), _extremes(low, path, -1))
    ends, touched = np.empty(len(rows), np.int64), np.empty(len(rows), np.int8)
    first_touch(highs, lows, rows, rows + horizon, above, below, ends, touched)
    is_tie = touched == BOTH
    taken = {"loss": -sides, "profit": sides, "neutral": np.zeros(len(rows))}[ties]
    touched = np.where(is_tie, taken, touched).astype(np.int8)
    returns = path[ends] / entry - 1
    if high is not None:
        returns = np.select([touched > 0, touched < 0], [above / entry - 1, below / entry - 1], returns)
    is_end = (touched == 0) & ~is_tie
    labels = touched if vertical == "zero" else np.where(is_end, np.sign(returns), touched).astype(np.int8)
    if side is not None:
        labels = (labels * sides > 0).astype(np.int8)
    return Labels(rows, ends, labels, returns, touched, is_tie, unfinished, undefined)


def volatility(close: npt.ArrayLike, span: int) -> Floats:
    """Of each row the exponentially weighted standard deviation of the log returns up to it, for the width of barriers.

    Weights fall by `1 - 2 / (span + 1)` a row, as those of pandas' `ewm(span=span).std()`. NaN in the first two rows.
    """
    if not _is_whole(span, 2):
        raise ConfigError(f"span: {span!r} is not a number of rows from 2 on")
    path = prices(close, "close")
    found = np.full(len(path), np.nan)
    if len(path) > 1:
        moving_deviation(np.diff(np.log(path)), 2 / (span + 1), found[1:])
    return found


def checked_horizon(horizon: int) -> int:
    """Raises ConfigError for what is no number of rows."""
    if not _is_whole(horizon, 1):
        raise ConfigError(f"horizon: {horizon!r} is not a number of rows from 1 on")
    return int(horizon)


def _within(rows: Integers, horizon: int, count: int) -> tuple[Integers, int]:
    """The events whose whole horizon there is, and how many there are not."""
    inside = rows[: int(np.searchsorted(rows, count - horizon))]
    return inside, len(rows) - len(inside)


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least


def _refuse_negative(values: Floats, what: str) -> None:
    if np.any(values < 0):
        raise ConfigError(f"{what}: {values[values < 0][0]} is below 0; it is a fraction of the price")


def _sides(side: npt.ArrayLike, rows: Integers, count: int) -> Floats:
    sides = of_rows(side, rows, count, "side")
    wrong = sides[(sides != 1) & (sides != -1)]
    if len(wrong):
        raise ConfigError(f"side: an event has {wrong[0]:g}; it is 1 (long) or -1 (short), other rows are no events")
    return sides


def _extremes(values: npt.ArrayLike, close: Floats, sign: int) -> Floats:
    what = "high" if sign > 0 else "low"
    array = floats(values, what)
    if len(array) != len(close):
        raise ConfigError(f"{what}: {len(array)} values for {len(close)} rows")
    wrong = np.flatnonzero(~(sign * array >= sign * close))
    if len(wrong):
        row = wrong[0]
        raise ConfigError(f"{what}: row {row} is {array[row]}, and its close {close[row]} lies beyond it")
    return array
