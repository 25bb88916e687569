"""Over windows of rows: sums, moments, straight lines. Nothing is added up and taken off again, so nothing drifts.

A window that is not whole, or has a NaN, gives NaN; what was in windows before has no part in it.
"""

from typing import Any, Final

import numpy as np

from core.bars.compiled import kernel
from core.features.compiled import reordered
from core.features.exact import whole
from core.features.tape import Floats, Tape, positive

NOTHING_LEFT: Final = 1e-24
"""Squares that are left of so small a share are what rounding left: the line goes through all points."""
_LONG: Final = float(2**62)


def amounts(values: Floats, window: int) -> Floats:
    """The sum of each window, of decimals: the double nearest to the exact sum, where whole numbers of 64 bits hold it.

    Else as `sums`, for tapes that begin with row 0.
    """
    known = whole(values)
    if known is None or float(np.abs(known[0]).sum(dtype=np.float64)) >= _LONG:
        return sums(values, window, 0)
    total = np.append(0, np.cumsum(known[0]))
    found = np.full(len(values), np.nan)
    found[window - 1 :] = (total[window:] - total[:-window]) / 10.0 ** known[1]
    return found


def sums(values: Floats, window: int, first: int, decay: float = 1.0) -> Floats:
    """The sum of each window, a value k rows before the last one weighed with decay^k.

    A window is the end of one stretch of `window` rows and the beginning of the next one; stretches are counted from
    row 0, and `first` is the number of the first value.
    """
    found, rest = np.empty(len(values)), np.empty(len(values))
    _sums(np.ascontiguousarray(values), window, first % window, decay, rest, found)
    return found


def returns_around(tape: Tape, window: int) -> tuple[Floats, Floats, Floats]:
    """`central` of the log returns."""
    return tape.once(("returns", window), lambda: central(tape.log_return, window))


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
        return self._slope / np.sqrt(positive(self._rest) / (self._window - 2) / positive(self._xx))

    @property
    def covariance(self) -> Floats:
        """Of the sample: over window - 1."""
        return self._xy / (self._window - 1)

    @property
    def correlation(self) -> Floats:
        """NaN where all x or all y are the same."""
        return self._xy / np.sqrt(positive(self._xx) * positive(self._yy))


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


@reordered
def _central(values: Any, window: Any, found: Any) -> None:
    found[:, : window - 1] = np.nan
    for at in range(window - 1, len(values)):
        own = values[at - window + 1 : at + 1]  # a slice is never indexed from behind, so loops are vectorised
        total, same = 0.0, 0
        for place in range(window):
            total += own[place]
            same += own[place] == values[at]
        mean = values[at] if same == window else total / window
        two = three = four = 0.0
        for place in range(window):
            apart = own[place] - mean
            two += apart * apart
            three += apart * apart * apart
            four += apart * apart * apart * apart
        found[0, at] = two
        found[1, at] = three
        found[2, at] = four


@reordered
def _line(x: Any, y: Any, window: Any, found: Any) -> None:
    found[:, : window - 1] = np.nan
    for at in range(window - 1, len(x)):
        a, b = x[at - window + 1 : at + 1], y[at - window + 1 : at + 1]
        a_sum = b_sum = 0.0
        a_same = b_same = 0
        for place in range(window):
            a_sum += a[place]
            b_sum += b[place]
            a_same += a[place] == x[at]
            b_same += b[place] == y[at]
        a_mean = x[at] if a_same == window else a_sum / window
        b_mean = y[at] if b_same == window else b_sum / window
        aa = ab = bb = 0.0
        for place in range(window):
            left, right = a[place] - a_mean, b[place] - b_mean
            aa += left * left
            ab += left * right
            bb += right * right
        slope = ab / aa if a_same < window else np.nan
        rest = 0.0
        for place in range(window):
            apart = (b[place] - b_mean) - slope * (a[place] - a_mean)
            rest += apart * apart
        found[0, at] = aa
        found[1, at] = ab
        found[2, at] = bb
        found[3, at] = 0.0 if rest <= bb * NOTHING_LEFT else rest
        found[4, at] = slope
