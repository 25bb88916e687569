"""Over windows of rows: sums, moments, straight lines. Nothing is added up and taken off again, so nothing drifts.

A window that is not whole, or has a NaN, gives NaN; what was in windows before has no part in it.
"""

from typing import Any, Final

import numpy as np

from core.bars.compiled import kernel
from core.decimals import places_of
from core.features.tape import Floats

NOTHING_LEFT: Final = 1e-24
"""Squares that are left of so small a share are what rounding left: the line goes through all points."""
_EXACT: Final = float(2**53)
_LONG: Final = float(2**62)


def amounts(values: Floats, window: int) -> Floats:
    """The sum of each window, of decimals: the double nearest to the exact sum, where whole numbers of 64 bits hold it.

    Else as `sums`, for tapes that begin with row 0.
    """
    scale = 10.0 ** places_of(values)
    whole = np.rint(values * scale)
    size = np.abs(whole)
    if not ((whole / scale == values) & (size < _EXACT)).all() or float(size.sum()) >= _LONG:
        return sums(values, window, 0)
    total = np.append(0, np.cumsum(whole.astype(np.int64)))
    found = np.full(len(values), np.nan)
    found[window - 1 :] = (total[window:] - total[:-window]) / scale
    return found


def sums(values: Floats, window: int, first: int, decay: float = 1.0) -> Floats:
    """The sum of each window, a value k rows before the last one weighed with decay^k.

    A window is the end of one stretch of `window` rows and the beginning of the next one; stretches are counted from
    row 0, and `first` is the number of the first value.
    """
    found, rest = np.empty(len(values)), np.empty(len(values))
    _sums(np.ascontiguousarray(values), window, first % window, decay, rest, found)
    return found


def central(values: Floats, window: int) -> tuple[Floats, Floats, Floats]:
    """Of each window the sums of the second, third and fourth powers of the differences from its mean."""
    found = np.empty((3, len(values)))
    _central(np.ascontiguousarray(values), window, found)
    return found[0], found[1], found[2]


class Line:
    """The straight line y = a + slope * x through each window, by least squares."""

    def __init__(self, x: Floats, y: Floats, window: int) -> None:
        found = np.empty((5, len(x)))
        _line(np.ascontiguousarray(x), np.ascontiguousarray(y), window, found)
        self._window = window
        self._xx, self._xy, self._yy, self._rest, self._slope = found

    @property
    def slope(self) -> Floats:
        """NaN where all x are the same."""
        return self._slope

    @property
    def t_value(self) -> Floats:
        """The slope over its standard error; NaN where that is 0, as the line goes through all points."""
        return self._slope / np.sqrt(_or_nan(self._rest) / (self._window - 2) / _or_nan(self._xx))

    @property
    def covariance(self) -> Floats:
        """Of the sample: over window - 1."""
        return self._xy / (self._window - 1)

    @property
    def correlation(self) -> Floats:
        """NaN where all x or all y are the same."""
        return self._xy / np.sqrt(_or_nan(self._xx) * _or_nan(self._yy))


def _or_nan(values: Floats) -> Floats:
    return np.where(values > 0, values, np.nan)


@kernel
def _sums(values: Any, window: Any, place: Any, decay: Any, rest: Any, found: Any) -> None:
    start = 0
    begun = -1  # where the stretch before begins, -1 if there is none
    offset = place
    while start < len(values):
        end = min(len(values), start + window - offset)
        total = 0.0
        weight = decay ** (offset + 1)
        for at in range(start, end):
            total = total * decay + values[at]
            oldest = at - window + 1
            if oldest == start and offset == 0:
                found[at] = total
            elif oldest >= 0 and oldest >= begun and begun >= 0:
                found[at] = total + weight * rest[oldest]
            else:
                found[at] = np.nan
            weight *= decay
        total = 0.0
        weight = 1.0
        for at in range(end - 1, start - 1, -1):
            total += weight * values[at]
            weight *= decay
            rest[at] = total
        begun = start
        start = end
        offset = 0


@kernel
def _central(values: Any, window: Any, found: Any) -> None:
    for at in range(len(values)):
        if at < window - 1:
            found[0, at] = found[1, at] = found[2, at] = np.nan
            continue
        total = 0.0
        least = most = values[at]
        for place in range(at - window + 1, at + 1):
            total += values[place]
            least = min(least, values[place])
            most = max(most, values[place])
        two = three = four = 0.0
        if least != most:
            mean = total / window
            for place in range(at - window + 1, at + 1):
                apart = values[place] - mean
                two += apart * apart
                three += apart * apart * apart
                four += apart * apart * apart * apart
        nothing = total - total  # NaN where a value is
        found[0, at] = two + nothing
        found[1, at] = three + nothing
        found[2, at] = four + nothing


@kernel
def _line(x: Any, y: Any, window: Any, found: Any) -> None:
    for at in range(len(x)):
        if at < window - 1:
            for line in range(5):
                found[line, at] = np.nan
            continue
        start = at - window + 1
        x_sum = y_sum = 0.0
        x_least = x_most = x[at]
        y_least = y_most = y[at]
        for place in range(start, at + 1):
            x_sum += x[place]
            y_sum += y[place]
            x_least, x_most = min(x_least, x[place]), max(x_most, x[place])
            y_least, y_most = min(y_least, y[place]), max(y_most, y[place])
        x_mean, y_mean = x_sum / window, y_sum / window
        if x_least == x_most:
            x_mean = x_least
        if y_least == y_most:
            y_mean = y_least
        xx = xy = yy = 0.0
        for place in range(start, at + 1):
            xx += (x[place] - x_mean) * (x[place] - x_mean)
            xy += (x[place] - x_mean) * (y[place] - y_mean)
            yy += (y[place] - y_mean) * (y[place] - y_mean)
        nothing = (x_sum - x_sum) + (y_sum - y_sum)
        slope = xy / xx + nothing if xx > 0 else np.nan
        rest = 0.0
        for place in range(start, at + 1):
            apart = (y[place] - y_mean) - slope * (x[place] - x_mean)
            rest += apart * apart
        found[0, at] = xx + nothing
        found[1, at] = xy + nothing
        found[2, at] = yy + nothing
        found[3, at] = (rest if rest > yy * NOTHING_LEFT else 0.0) + nothing
        found[4, at] = slope
