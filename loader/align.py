"""Joining by time: pure functions, arrays in and arrays out. Times are int64 microseconds, rising within a symbol.

A join answers with one index per left row into the right rows, -1 where there is none. Rows of many symbols lie one
symbol behind the other: `offsets[s]:offsets[s + 1]` are those of symbol `s`, so there is one offset more than symbols.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core.dates import INTERVAL_US

Integers = npt.NDArray[np.int64]
Join = Callable[[Integers, Integers], Integers]


def available_at(open_us: Integers, interval: str) -> Integers:
    """When a candle that opened at `open_us` was complete: an interval later; for `1mo` the start of the next month."""
    length_us = INTERVAL_US[interval]
    if length_us is not None:
        return open_us + length_us
    months = open_us.view("datetime64[us]").astype("datetime64[M]") + 1
    return months.astype("datetime64[us]").astype(np.int64)


def same_time(left_us: Integers, right_us: Integers) -> Integers:
    """The right row of exactly the same time."""
    if np.array_equal(left_us, right_us):
        return np.arange(len(left_us), dtype=np.int64)
    if len(right_us) == 0:
        return np.full(len(left_us), -1, dtype=np.int64)
    found = np.minimum(np.searchsorted(right_us, left_us), len(right_us) - 1)
    return np.where(right_us[found] == left_us, found, -1)


def last_known(known_us: Integers, event_us: Integers) -> Integers:
    """The last event at or before each moment; an event one microsecond later is not known yet."""
    return np.searchsorted(event_us, known_us, side="right").astype(np.int64) - 1


def within_symbols(
    join: Join, left: Integers, left_offsets: Integers, right: Integers, right_offsets: Integers
) -> Integers:
    """`join` applied symbol by symbol; the indices count in the whole of `right`."""
    if np.array_equal(left_offsets, right_offsets) and np.array_equal(left, right) and join is same_time:
        return np.arange(len(left), dtype=np.int64)
    indices = np.empty(len(left), dtype=np.int64)
    for symbol in range(len(left_offsets) - 1):
        here = slice(left_offsets[symbol], left_offsets[symbol + 1])
        start, end = right_offsets[symbol], right_offsets[symbol + 1]
        found = join(left[here], right[start:end])
        indices[here] = np.where(found < 0, -1, found + start)
    return indices


def pick(values: npt.NDArray[Any], indices: Integers) -> npt.NDArray[np.float64]:
    """The values at `indices` as float64; NaN where the index is -1."""
    if len(values) == 0:
        return np.full(len(indices), np.nan)
    picked: npt.NDArray[np.float64] = values[indices].astype(np.float64, copy=False)
    picked[indices < 0] = np.nan
    return picked


def rising(keys: Sequence[npt.NDArray[Any]], offsets: Integers) -> npt.NDArray[np.bool_]:
    """For each row but the first: does its key come strictly after the row before it? True where a symbol begins.

    A key of several columns is compared column by column, the first one first.
    """
    above = np.zeros(max(len(keys[0]) - 1, 0), dtype=np.bool_)
    for key in reversed(keys):
        above = (key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & above)
    begins = offsets[1:-1]
    above[begins[(begins > 0) & (begins <= len(above))] - 1] = True
    return above
