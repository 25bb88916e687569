"""VPIN, the probability of informed trading by volume, in the time of UTC clock hours.

Easley, López de Prado and O'Hara (2012) cut the day into 50 buckets of equal volume. Here the hour is cut, for this
market never closes and a day would be a long warm-up: a bucket of an hour is a 50th of the volume of the hour before,
and each hour begins a new one. VPIN is the mean of |bought - sold| / volume over the last 50 buckets that are full, of
the hour itself and of the two before it. Sides are the takers' own, where the paper has to guess them. A trade that
fills a bucket is split.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.bars.compiled import kernel
from core.dates import HOUR_US

BUCKETS: Final = 50
HOURS: Final = 3
"""Hours whose buckets count, the current one included."""
LEAST: Final = 10
"""Values of VPIN that its distribution must have."""
MOST: Final = 5000
"""Buckets of an hour. One that trades more than 100 times what the hour before did has no VPIN from then on."""
LARGE: Final = 99
"""Percent of the trades of an hour above which those of the next one are large."""
_REACHED: Final = 1.0 - 1e-12
"""Sums of doubles may miss by less what decimals reach exactly."""

_SIZE: Final = 0
_TOTAL: Final = 1
_REST: Final = 2
_AT: Final = 3
_SIGNED: Final = 4
_FULL: Final = 5
_COUNT: Final = 6
_FROM: Final = 7
_VPIN: Final = 8
_CDF: Final = 9
_SLOTS: Final = 10


class Hours:
    """What the clock hours before tell of the trades of this one. `large` is the quantity above which a trade is
    large: the 99th percentile of the hour before, an actual quantity; NaN if nobody traded then.

    `whole_from`: the first hour of which all trades are given; None: that behind the first one with trades. What is
    made of hours before it is not known: else it would be another value once older trades are there.
    """

    def __init__(self, whole_from: int | None = None) -> None:
        self.hour: int | None = None
        self._whole_from = whole_from
        self.large = np.nan
        self._quantities: list[npt.NDArray[np.float64]] = []
        self._state = np.zeros(_SLOTS)
        self._state[[_VPIN, _CDF]] = np.nan
        self._begins = [0] * HOURS
        self._lists = np.empty((2, MOST * HOURS))

    def turn(self, hour: int) -> None:
        """Go on to an hour, counted from 1970."""
        if self._whole_from is None:
            self._whole_from = hour + 1
        if self.hour is not None and hour > self.hour:
            is_next = hour == self.hour + 1 and self.hour >= self._whole_from
            volume = (self._state[_TOTAL] + self._state[_REST]) if is_next else 0.0
            self.large = _percentile(self._quantities) if is_next else np.nan
            is_over = self._state[_FULL] == MOST
            self._state[:_COUNT] = 0.0
            self._state[_SIZE] = volume / BUCKETS
            if is_over:
                self._begins = [0] * HOURS
            for _ in range(min(hour - self.hour, HOURS)):
                self._forget_an_hour()
            _settle(self._lists, self._state)
            self._quantities = []
        self.hour = hour

    def take(self, trades: Any, at: int, end: int, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """VPIN and its place among the last ones behind each of `ends`, shape `(2, rows)`; trades are of one hour."""
        _, _, quantity, bits, bit, _ = trades
        found = np.empty((2, len(ends)))
        if end > at:
            self._quantities.append(quantity[at:end])
        _fill(quantity, bits, bit, at, end, ends, self._lists, self._state, found)
        known_hours = -1 if self.hour is None or self._whole_from is None else self.hour - self._whole_from
        for line, hours in enumerate((HOURS, HOURS + 1)):
            if known_hours < hours:
                found[line] = np.nan
        return found

    def _forget_an_hour(self) -> None:
        """The oldest hour's buckets go."""
        gone, count = self._begins[1], int(self._state[_COUNT])
        self._lists[:, : count - gone] = self._lists[:, gone:count].copy()
        self._state[_COUNT] = count - gone
        self._begins = [*(begin - gone for begin in self._begins[1:]), count - gone]
        self._state[_FROM] = self._begins[-2]


def hour_of(time_us: int) -> int:
    return time_us // HOUR_US


def _percentile(parts: list[npt.NDArray[np.float64]]) -> float:
    """The least quantity that LARGE percent of all do not exceed."""
    values = np.concatenate(parts)
    place = -(-len(values) * LARGE // 100) - 1
    return float(np.partition(values, place)[place])


@kernel
def _fill(quantity: Any, bits: Any, bit: Any, at: Any, end: Any, ends: Any, lists: Any, state: Any, found: Any) -> None:
    row = 0
    size = state[_SIZE]
    while at < end or (row < len(ends) and ends[row] == at):
        stop = min(end, ends[row]) if row < len(ends) else end
        for place in range(at, stop):
            number = quantity[place]
            is_sale = (bits[(bit + place) >> 3] >> ((bit + place) & 7)) & 1
            side = -1.0 if is_sale else 1.0
            total = state[_TOTAL] + number
            if state[_TOTAL] >= number:
                state[_REST] += (state[_TOTAL] - total) + number
            else:
                state[_REST] += (number - total) + state[_TOTAL]
            state[_TOTAL] = total
            now = total + state[_REST]
            while size > 0.0 and now >= (state[_FULL] + 1.0) * size * _REACHED and state[_FULL] < MOST:
                edge = min((state[_FULL] + 1.0) * size, now)
                state[_SIGNED] += side * (edge - state[_AT])
                state[_AT] = edge
                state[_FULL] += 1.0
                if state[_FULL] == MOST:
                    state[_COUNT] = 0.0
                    state[_VPIN] = np.nan
                    state[_CDF] = np.nan
                else:
                    count = int(state[_COUNT])
                    lists[0, count] = abs(state[_SIGNED]) / size
                    lists[1, count] = np.nan
                    state[_COUNT] += 1.0
                    if count + 1 >= BUCKETS:
                        mean = 0.0
                        for bucket in range(count + 1 - BUCKETS, count + 1):
                            mean += lists[0, bucket]
                        lists[1, count] = mean / BUCKETS
                    _settle(lists, state)
                state[_SIGNED] = 0.0
            state[_SIGNED] += side * (now - state[_AT])
            state[_AT] = now
        at = stop
        if row < len(ends) and ends[row] == at:
            found[0, row] = state[_VPIN]
            found[1, row] = state[_CDF]
            row += 1


@kernel
def _settle(lists: Any, state: Any) -> None:
    """VPIN by the last full bucket, and its place among those of this hour and the one before."""
    count = int(state[_COUNT])
    state[_VPIN] = lists[1, count - 1] if count >= BUCKETS else np.nan
    below = values = 0
    for bucket in range(int(state[_FROM]), count):
        if not np.isnan(lists[1, bucket]):
            values += 1
            below += lists[1, bucket] <= state[_VPIN]
    is_known = values >= LEAST and not np.isnan(state[_VPIN])
    state[_CDF] = below / values if is_known else np.nan
