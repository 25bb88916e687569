"""Stored rows of several series side by side, a window of time at a time, and the differences between them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from core.datasets.grid import Bools, Grid, Ints
from core.dates import DAY_US, HOUR_US, INTERVAL_US, format_us
from core.integrity.rows import NEAR_US, Rows
from core.settings import QualitySettings
from core.storage.manager import StorageManager
from core.types import Finding, PartitionFacts, Series, Span

CANDLE_WINDOW_US: Final = 30 * DAY_US
ROWS_HELD: Final = 1 << 19
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Side:
    """Stored rows of series, in windows."""

    storage: StorageManager
    quality: QualitySettings

    def rows(self, series: Series, span: Span, columns: Sequence[str] | None = None) -> Rows | None:
        """The rows of a span as one table; None where there is none."""
        batches = list(self.storage.scan(series, span, columns))
        if not batches:
            return None
        return Rows(series, pa.Table.from_batches(batches).combine_chunks(), self.quality)

    def facts(self, series: Series) -> tuple[PartitionFacts, ...]:
        """What is stored of a series."""
        return self.storage.facts([series])[0]

    def within(self, series: Series, span: Span) -> Span | None:
        """The part of a span in which the series has rows."""
        facts = self.facts(series)
        if not facts:
            return None
        start = max(span.start_us, min(each.first_us for each in facts))
        end = min(span.end_us, max(each.last_us for each in facts) + 1)
        return Span(start, end) if start < end else None


@dataclass(slots=True)
class _Some:
    """Rows that differ, no two neighbours of them far apart: all in the count, the first few in words."""

    count: int
    start_us: int
    end_us: int
    told: list[str]


@dataclass(slots=True)
class Differences:
    """Rows of a series that differ, of one kind and cause; those that are near each other become one finding."""

    kind: str
    series: Series
    against: str
    cause: str | None = None
    _found: list[_Some] = field(default_factory=list)

    def add(self, times: Ints, wrong: Bools, say: Callable[[int], str], ends: Ints | None = None) -> None:
        """The rows of which `wrong` is true, behind those before; times may go back a little. `ends`: where the time of
        each row ends, by default at once."""
        at = np.flatnonzero(wrong)
        if not len(at):
            return
        apart = np.flatnonzero(np.diff(times[at]) > NEAR_US) + 1
        for rows in np.split(at, apart):
            first, end = int(times[rows].min()), int((times + 1 if ends is None else ends)[rows].max())
            held = self._found[-1] if self._found else None
            if held is None or first > held.end_us + NEAR_US:
                held = _Some(0, first, end, [])
                self._found.append(held)
            held.count += len(rows)
            held.start_us, held.end_us = min(held.start_us, first), max(held.end_us, end)
            for row in rows[: _SHOWN - len(held.told)].tolist():
                held.told.append(f"{format_us(int(times[row]))}: {say(row)}")

    def findings(self) -> Iterator[Finding]:
        """In order of time."""
        for some in self._found:
            rest = f"; and {some.count - len(some.told)} more" if some.count > len(some.told) else ""
            detail = f"{some.count} rows differ from {self.against}: {'; '.join(some.told)}{rest}"
            span = Span(some.start_us, some.end_us)
            yield Finding(self.series, span, self.kind, detail, some.count, self.cause)


def finer_of(side: Side, series: Series) -> Series | None:
    """The longest stored interval that divides that of a series of candles."""
    if series.interval is None:
        return None
    names = list(INTERVAL_US)
    for name in reversed(names[: names.index(series.interval)]):
        fine, step = INTERVAL_US[name], INTERVAL_US[series.interval]
        other = Series(series.market, series.dataset, series.symbol, name)
        divides = fine is not None and (DAY_US % fine == 0 if step is None else step % fine == 0)
        if divides and name != "3d" and side.storage.stamps(other):
            return other
    return None


def shortest(side: Side, series: Series) -> Series | None:
    """The series of candles of the shortest interval that is stored."""
    named = (Series(series.market, series.dataset, series.symbol, interval) for interval in INTERVAL_US)
    return next((one for one in named if side.storage.stamps(one)), None)


def covered(facts: Sequence[PartitionFacts], span: Span) -> Iterator[Span]:
    """The time that stored archives cover, as far as it lies in `span`: whole days, neighbours joined."""
    periods = sorted({period.span for each in facts for period in (*each.plain, *each.beside)})
    joined: list[Span] = []
    for each in periods:
        if joined and each.start_us <= joined[-1].end_us:
            joined[-1] = Span(joined[-1].start_us, max(joined[-1].end_us, each.end_us))
        else:
            joined.append(each)
    for each in joined:
        start, end = max(each.start_us, span.start_us), min(each.end_us, span.end_us)
        if start < end:
            yield Span(start, end)


def window_of(facts: Sequence[PartitionFacts], span: Span) -> int:
    """The length of windows of a day or less in which about so many rows as are held at once lie, by the partition
    that has most of them in a time."""
    near = [each for each in facts if each.last_us >= span.start_us and each.first_us < span.end_us]
    densest = max((each.rows / max(each.last_us - each.first_us, HOUR_US) for each in near), default=0.0)
    return DAY_US if densest * DAY_US <= ROWS_HELD else max(HOUR_US // 4, int(ROWS_HELD / densest))


def windows(span: Span, length: int) -> Iterator[Span]:
    start = span.start_us // length * length
    while start < span.end_us:
        yield Span(max(start, span.start_us), min(start + length, span.end_us))
        start += length


def slot_windows(grid: Grid, span: Span) -> Iterator[Span]:
    """Windows of whole slots."""
    first, last = grid.slots(np.array([span.start_us, span.end_us - 1])).tolist()
    step = grid.step_us or 31 * DAY_US
    many = max(1, CANDLE_WINDOW_US * 4 // step)
    for slot in range(first, last + 1, many):
        yield Span(max(0, grid.start(slot)), grid.start(min(slot + many, last + 1)))
