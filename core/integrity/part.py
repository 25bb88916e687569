"""How far around a part of a series its rows have to be read, so that gaps in it are those of a look at the whole.

Whether nothing came for too long, and how far apart snapshots usually are, the rows before say; and a gap may begin
before the part, or end behind it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from core.datasets import DATASETS
from core.datasets.clock import Beat
from core.dates import DAY_US, HOUR_US, INTERVAL_US, MINUTE_US
from core.integrity.form import BACK_US
from core.integrity.gaps import RATE_ROWS
from core.storage.manager import StorageManager
from core.types import Series, Span

_BY_RATE: Final = (Beat.TRADE_IDS, Beat.EVENTS, Beat.SNAPSHOTS)
_FIRST_LOOK_US: Final = 10 * MINUTE_US
_WIDER: Final = 8
"""Each look for rows goes so many times as far as the one before."""
_SLACK_US: Final = 2 * DAY_US


@dataclass(slots=True)
class Edges:
    """The first and the last time of rows that go by; none yet: both 0."""

    first_us: int = 0
    last_us: int = 0

    def noted(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same; rows come in order of time."""
        for batch in batches:
            times = batch.column("timestamp").cast(pa.int64())
            self.first_us = self.first_us or times[0].as_py()
            self.last_us = times[-1].as_py()
            yield batch


def is_by_row(series: Series) -> bool:
    """Whether a row and the next one say all of the time between them, and rows are in order of time: then a span that
    begins and ends with a row is read alone."""
    return DATASETS[series.dataset].clock.beat not in (*_BY_RATE, Beat.RARE)


def around(storage: StorageManager, series: Series, span: Span) -> Span:
    """The time that has to be read. Raises StorageError."""
    clock = DATASETS[series.dataset].clock
    periods = storage.stamps(series)
    facts = storage.facts([series], storage.around(span))[0]
    if not periods or clock.beat is Beat.RARE:
        return span
    least = min(period.span.start_us for period in periods) - _SLACK_US
    most = max(period.span.end_us for period in periods) + _SLACK_US
    if facts and min(each.period.span.start_us for each in facts) <= least + _SLACK_US:
        least = min(each.first_us for each in facts)
    if facts and max(each.period.span.end_us for each in facts) >= most - _SLACK_US:
        most = max(each.last_us for each in facts) + 1
    needed = RATE_ROWS + 1 if clock.beat in _BY_RATE else 1
    start = _start(storage, series, span.start_us, max(0, least), needed)
    return Span(start, _end(storage, series, span.end_us, most))


def _start(storage: StorageManager, series: Series, at_us: int, least_us: int, needed: int) -> int:
    """From where on rows of so many moments lie before a time, or all there are."""
    for reach_us in _reaches(series):
        if at_us <= least_us:
            return at_us
        begin = max(least_us, at_us - reach_us)
        if begin == least_us or _moments(storage, series, Span(begin, at_us)) >= needed:
            return max(0, begin - BACK_US)
    raise AssertionError("a reach grows until it is further than all rows")


def _end(storage: StorageManager, series: Series, at_us: int, most_us: int) -> int:
    """Up to where at least one row lies behind a time, if there is one."""
    for reach_us in _reaches(series):
        if at_us >= most_us:
            return at_us
        end = min(most_us, at_us + reach_us)
        if end == most_us or _moments(storage, series, Span(at_us, end)):
            return end + BACK_US
    raise AssertionError("a reach grows until it is further than all rows")


def _reaches(series: Series) -> Iterator[int]:
    clock = DATASETS[series.dataset].clock
    steps = {
        Beat.CANDLES: INTERVAL_US.get(series.interval or "") or 31 * DAY_US,
        Beat.STEPS: clock.step_us,
        Beat.FUNDING: 8 * HOUR_US,
    }
    reach = 2 * steps.get(clock.beat, _FIRST_LOOK_US)
    while True:
        yield reach
        reach *= _WIDER


def _moments(storage: StorageManager, series: Series, span: Span) -> int:
    """How many different times the rows of a span have."""
    last, count = -1, 0
    for batch in storage.scan(series, span, ["timestamp"]):
        times = np.unique(batch.column("timestamp").cast(pa.int64()).to_numpy())
        count += len(times) - int(times[0] == last)
        last = int(times[-1])
    return count
