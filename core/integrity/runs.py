"""Runs of rows that say the same: flat candles of a symbol that trades, bands of the book that stand still.

A run may go on from one table to the next, so these keep what they need of the rows before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.datasets.grid import Bools, Ints
from core.dates import MINUTE_US
from core.decimals import text
from core.integrity.candles import closes_oddly
from core.integrity.rows import Floats, Rows
from core.types import Span

EXPECTED_TRADES: Final = 100
"""From so many trades on that should have been there, nothing traded is no chance: orders come in bunches and rates
change by the hour, but not by this much."""
RATE_ROWS: Final = 1000
LEAST_ROWS: Final = 24
FROZEN_US: Final = 10 * MINUTE_US
"""Twenty snapshots, as the exchange takes them."""


@dataclass(frozen=True, slots=True)
class Run:
    """`count` rows that say the same; `is_last`: nothing else comes behind them; `is_cut`: one of them is a candle that
    closes off the grid."""

    span: Span
    count: int
    detail: str
    is_last: bool = False
    is_cut: bool = False


class FlatRuns:
    """Flat candles of zero volume where, by the trades of the candles before, many were to be expected."""

    def __init__(self) -> None:
        self._counts: Ints = np.zeros(0, dtype=np.int64)
        """Trades of the last candles that were seen, newest last."""
        self._open: tuple[int, int, float, bool] | None = None
        """A run at the end: where it began, its rows, the trades to be expected in each, and whether one is cut."""
        self._end_us = 0

    def update(self, rows: Rows) -> Iterator[Run]:
        """The runs that end in these rows."""
        counts = rows.ints("trades")[rows.before :]
        if not len(counts):
            return
        time, ends = rows.time[rows.before :], rows.ends()[rows.before :]
        flat = (rows.floats("volume")[rows.before :] == 0) & (counts == 0)
        seen = np.append(self._counts, counts)
        offset = len(self._counts)
        if flat.any() or self._open:
            yield from self._runs(flat, closes_oddly(rows)[rows.before :], time, seen, offset)
        self._counts = seen[-RATE_ROWS:]
        self._end_us = int(ends[-1])

    def _runs(self, flat: Bools, odd: Bools, time: Ints, seen: Ints, offset: int) -> Iterator[Run]:
        edges = np.diff(np.concatenate(([False], flat, [False])).astype(np.int8))
        starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        if self._open and not (len(starts) and starts[0] == 0):
            yield from self._closed(int(time[0]), is_last=False)
        total = np.append(0, np.cumsum(seen))
        before = starts + offset
        known = np.minimum(before, RATE_ROWS)
        rate = (total[before] - total[before - known]) / np.maximum(known, 1) * (known >= LEAST_ROWS)
        for start, stop, expected in zip(starts.tolist(), stops.tolist(), rate.tolist(), strict=True):
            is_cut = bool(odd[start:stop].any())
            if start == 0 and self._open:
                self._open = (self._open[0], self._open[1] + stop, self._open[2], self._open[3] or is_cut)
            elif stop == len(time) or expected * (stop - start) >= EXPECTED_TRADES:
                self._open = (int(time[start]), stop - start, expected, is_cut)
            else:
                continue
            if stop < len(time):
                yield from self._closed(int(time[stop]), is_last=False)

    def finish(self) -> Iterator[Run]:
        """The run that is there when the rows end."""
        if self._open:
            yield from self._closed(self._end_us, is_last=True)

    def _closed(self, end_us: int, is_last: bool) -> Iterator[Run]:
        assert self._open is not None
        start, count, rate, is_cut = self._open
        self._open = None
        if rate * count >= EXPECTED_TRADES:
            detail = f"{count} flat candles without volume where about {rate * count:.0f} trades were to be expected"
            yield Run(Span(start, end_us), count, detail, is_last, is_cut)


class FrozenBands:
    """Bands of the book whose depth and value do not change for many snapshots."""

    def __init__(self) -> None:
        self._open: dict[float, tuple[float, float, int, int, int]] = {}
        """By band: depth, value, when this began, the last snapshot, how many."""

    def update(self, rows: Rows) -> Iterator[Run]:
        """The runs that end in these rows."""
        new = slice(rows.before, None)
        band, depth, value = (rows.floats(name)[new] for name in ("percentage", "depth", "notional"))
        time = rows.time[new]
        for each in np.unique(band).tolist():
            at = np.flatnonzero(band == each)
            yield from self._of_band(each, depth[at], value[at], time[at])

    def _of_band(self, band: float, depth: Floats, value: Floats, time: Ints) -> Iterator[Run]:
        changes = np.flatnonzero((np.diff(depth) != 0) | (np.diff(value) != 0)) + 1
        firsts, stops = np.append(0, changes), np.append(changes, len(time))
        held = self._open.pop(band, None)
        if held and (held[0], held[1]) == (depth[0], value[0]):
            stop = int(stops[0])
            held = (held[0], held[1], held[2], int(time[stop - 1]), held[4] + stop)
            firsts, stops = firsts[1:], stops[1:]
        if held and len(firsts):
            yield from _frozen(band, held)
        elif held:
            self._open[band] = held
            return
        long = time[stops - 1] - time[firsts] >= FROZEN_US
        for first, stop in zip(firsts[:-1][long[:-1]].tolist(), stops[:-1][long[:-1]].tolist(), strict=True):
            run = (depth[first], value[first], int(time[first]), int(time[stop - 1]), stop - first)
            yield from _frozen(band, run)
        first, stop = int(firsts[-1]), int(stops[-1])
        self._open[band] = (depth[first], value[first], int(time[first]), int(time[stop - 1]), stop - first)

    def finish(self) -> Iterator[Run]:
        """The runs that are there when the rows end."""
        for band, held in sorted(self._open.items()):
            yield from _frozen(band, held)


def _frozen(band: float, run: tuple[float, float, int, int, int]) -> Iterator[Run]:
    depth, _, start, last, count = run
    if last - start >= FROZEN_US:
        yield Run(Span(start, last + 1), count, f"the band of {text(band)} % stands still at a depth of {text(depth)}")
