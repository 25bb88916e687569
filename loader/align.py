"""Joining by time: pure functions, arrays in and arrays out. Times are int64 microseconds, rising within a symbol.

A join answers with one index per left row into the right rows, -1 where there is none. Rows of many symbols lie one
symbol behind the other: `offsets[s]:offsets[s + 1]` are those of symbol `s`, so there is one offset more than symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.dates import INTERVAL_US
from core.storage.arrays import arrow_of, numpy_of

Integers = npt.NDArray[np.int64]


def available_at(open_us: Integers, interval: str) -> Integers:
    """When a candle that opened at `open_us` was complete: an interval later; for `1mo` the start of the next month."""
    length_us = INTERVAL_US[interval]
    if length_us is not None:
        return open_us + length_us
    months = open_us.view("datetime64[us]").astype("datetime64[M]") + 1
    return months.astype("datetime64[us]").astype(np.int64)


def last_known(known_us: Integers, event_us: Integers) -> Integers:
    """The last event at or before each moment; an event one microsecond later is not known yet."""
    if len(event_us) >= len(known_us):
        return np.searchsorted(event_us, known_us, side="right").astype(np.int64) - 1
    # Few events among many moments: each one's place is looked up, and it holds until the next one's.
    places = np.searchsorted(known_us, event_us, side="left")
    lengths = np.diff(places, prepend=0, append=len(known_us))
    return np.repeat(np.arange(-1, len(event_us), dtype=np.int64), lengths)


@dataclass(frozen=True, slots=True)
class Run:
    """The rows of one symbol: `indices` into the right rows, or None where these are `first`, `first + 1`, ..."""

    first: int
    count: int
    indices: Integers | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """For each left row the row on the right that was the last one known; none that is older than asked for."""

    runs: tuple[Run, ...]

    def indices(self) -> Integers:
        """One index per left row, -1 where there is none."""
        each = [
            run.indices if run.indices is not None else np.arange(run.first, run.first + run.count) for run in self.runs
        ]
        return np.concatenate([np.zeros(0, dtype=np.int64), *each])

    def pick(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """The values of the right rows as float64, NaN where there is none. Stretches that are the same on both sides,
        as nearly all are, are not copied."""
        doubles = column if pa.types.is_float64(column.type) else column.cast(pa.float64())
        chunks: list[pa.Array] = []
        for run in self.runs:
            if run.indices is None:
                chunks += doubles.slice(run.first, run.count).chunks
            else:
                chunks.append(arrow_of(_picked(doubles, run.indices), pa.float64()))
        return pa.chunked_array(chunks, pa.float64())


def join_last_known(
    known_us: Integers, offsets: Integers, right_us: Integers, right_offsets: Integers, max_age_us: int | None = None
) -> Joined:
    """Symbol by symbol the last right row known at each moment. `right_us` says since when each was known; one that is
    older than `max_age_us` (None: however old) at that moment is none."""
    runs: list[Run] = []
    for symbol in range(len(offsets) - 1):
        moments = known_us[offsets[symbol] : offsets[symbol + 1]]
        start, end = int(right_offsets[symbol]), int(right_offsets[symbol + 1])
        if len(moments):
            _append(runs, _run(moments, right_us[start:end], start, max_age_us))
    return Joined(tuple(runs))


def _run(moments: Integers, events: Integers, start: int, max_age_us: int | None) -> Run:
    lead = max(int(np.searchsorted(events, moments[0], side="right")) - 1, 0)
    if np.array_equal(events[lead : lead + len(moments)], moments):
        return Run(start + lead, len(moments))
    found = last_known(moments, events)
    is_none = found < 0
    if max_age_us is not None and len(events):
        is_none |= moments - events[np.maximum(found, 0)] > max_age_us
    return Run(start, len(moments), np.where(is_none, -1, found + start))


def _indices(run: Run) -> Integers:
    return np.arange(run.first, run.first + run.count) if run.indices is None else run.indices


def _append(runs: list[Run], run: Run) -> None:
    """Runs without a break between them are one."""
    last = runs[-1] if runs else None
    if last is not None and last.indices is None and run.indices is None and last.first + last.count == run.first:
        runs[-1] = Run(last.first, last.count + run.count)
    else:
        runs.append(run)


def _picked(column: pa.ChunkedArray, indices: Integers) -> npt.NDArray[np.float64]:
    some = indices[indices >= 0]
    if len(some) == 0:
        return np.full(len(indices), np.nan)
    first = int(some.min())
    values = numpy_of(column.slice(first, int(some.max()) + 1 - first))
    picked: npt.NDArray[np.float64] = np.append(values, np.nan)[np.where(indices >= 0, indices - first, -1)]
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
