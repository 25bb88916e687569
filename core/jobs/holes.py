"""What is missing of stored series: the gaps between their rows, and what should lie behind the last one.

A series is looked through once; after that only the time of partitions that have changed since, for all others the
status database knows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core.datasets import DATASETS
from core.datasets.clock import Beat
from core.datasets.grid import Grid
from core.dates import DAY_US, HOUR_US, day_of
from core.download.gaps import Known
from core.errors import DiskFull, StorageError
from core.integrity.checker import IntegrityChecker
from core.jobs.expected import ended, is_over, late_from
from core.jobs.tail import Kind, kind_of
from core.storage.manager import StorageManager
from core.types import Gap, GapStatus, PartitionFacts, Period, Series, Span, Stamp

_BY_GRID = (Beat.CANDLES, Beat.STEPS)


@dataclass(slots=True)
class Holes:
    """Gaps of series as of now; `known` is what the status database knows of them, by series, and
    `newest` the latest stored time of each kind.

    `unreadable` says of series why their rows could not be looked at; nothing is said of their gaps then.
    """

    storage: StorageManager
    checker: IntegrityChecker
    now_us: int
    known: Mapping[Series, Known]
    newest: Mapping[Kind, int]
    unreadable: dict[Series, str] = field(default_factory=dict)
    _seen: dict[Series, Known] = field(default_factory=dict)

    def look(self, wanted: Sequence[Series]) -> dict[Series, list[Gap]]:
        """The gaps of each series that has rows, in order of time, the time behind its last row among them.

        What is behind the last row is told in two where a part of it may still be published. Raises DiskFull.
        """
        facts = facts_of(self.storage, wanted, self.unreadable)
        ends = {series: max(part.last_us for part in parts) for series, parts in facts.items()}
        found = {}
        for series, parts in facts.items():
            try:
                tails = self._tails(series, ends[series])
                found[series] = _each_once([*self._between(series, parts), *tails])
            except DiskFull:
                raise
            except StorageError as error:
                self.unreadable[series] = str(error)
        return found

    def stamps(self, series: Series) -> Mapping[Period, Stamp]:
        """The files of a series as its gaps were looked at last."""
        return self._state(series).looked_at

    def _state(self, series: Series) -> Known:
        return self._seen.get(series) or self.known.get(series) or Known()

    def _between(self, series: Series, parts: Sequence[PartitionFacts]) -> tuple[Gap, ...]:
        state, stamps = self._state(series), self.storage.stamps(series)
        gaps = [gap for gap in state.gaps if gap.status is not GapStatus.FILLED]
        changed = {
            period for period in {*stamps, *state.looked_at} if stamps.get(period) != state.looked_at.get(period)
        }
        if changed:
            span = _around(changed, parts)
            others = [gap for gap in gaps if not gap.span.overlaps(span)]
            gaps = sorted([*others, *self.checker.gaps(series, span)], key=lambda gap: gap.span)
        elif series not in self._seen:
            gaps = self.checker.settled_again(gaps)
        last_us = max(part.last_us for part in parts)
        inner = tuple(gap for gap in gaps if gap.span.start_us <= last_us + 1)  # what is behind the end is found anew
        self._seen[series] = Known(inner, stamps)
        return inner

    def _tails(self, series: Series, last_us: int) -> list[Gap]:
        """What is missing behind the last row, up to the last midnight, of a series that goes on."""
        end_us = self.now_us // DAY_US * DAY_US
        newest_us = self.newest.get(kind_of(series), last_us)
        if last_us >= end_us or ended(series) is not None or is_over(series, day_of(last_us), day_of(newest_us)):
            return []
        border_us = max(late_from(series, day_of(self.now_us)), last_us + 1)
        found: list[Gap] = []
        for until_us in sorted({min(border_us, end_us), end_us}):
            gap = self._tail(series, last_us, until_us)
            start_us = found[-1].span.end_us if found else 0
            if gap is not None and found:
                rows = gap.rows - found[-1].rows
                gap = Gap(series, Span(start_us, gap.span.end_us), rows) if start_us < gap.span.end_us else None
            found += [] if gap is None else [gap]
        return found

    def _tail(self, series: Series, last_us: int, end_us: int) -> Gap | None:
        clock = DATASETS[series.dataset].clock
        if clock.beat in _BY_GRID:
            return self._tail_on_grid(series, last_us, end_us)
        if clock.beat is Beat.FUNDING:
            step_us = self._hours_at(series, last_us) * HOUR_US
            due_us = (last_us // step_us + 1) * step_us
            return Gap(series, Span(due_us, end_us), -((due_us - end_us) // step_us)) if due_us < end_us else None
        start_us = (last_us // DAY_US + 1) * DAY_US
        is_told = start_us < end_us and clock.beat is not Beat.RARE
        return Gap(series, Span(start_us, end_us), 0) if is_told else None

    def _tail_on_grid(self, series: Series, last_us: int, end_us: int) -> Gap | None:
        grid = Grid.of(DATASETS[series.dataset].clock, series.interval, last_us)
        first, behind = grid.slots(np.array([last_us, end_us], dtype=np.int64)).tolist()
        missing = behind - first - 1  # the one in which the day ends is not over unless it ends with it
        start_us = grid.start(first + 1)
        return Gap(series, Span(start_us, end_us), missing) if missing > 0 and start_us < end_us else None

    def _hours_at(self, series: Series, at_us: int) -> int:
        rows = self.storage.scan(series, Span(at_us, at_us + 1), ["funding_interval_hours"])
        hours = [hours for batch in rows for hours in batch.column("funding_interval_hours").to_pylist()]
        return int(hours[-1]) if hours and hours[-1] else 8


def newest_of(storage: StorageManager, wanted: Sequence[Series]) -> dict[Kind, int]:
    """The latest stored time of each kind; a series that cannot be read says nothing."""
    newest: dict[Kind, int] = {}
    for series, parts in facts_of(storage, wanted, {}).items():
        newest[kind_of(series)] = max(newest.get(kind_of(series), 0), *(part.last_us for part in parts))
    return newest


def facts_of(
    storage: StorageManager, wanted: Sequence[Series], unreadable: dict[Series, str]
) -> dict[Series, Sequence[PartitionFacts]]:
    """What is known of the partitions of series that have any; of those that are `unreadable` it is noted why."""
    try:
        found = list(zip(wanted, storage.facts(wanted), strict=True))
    except StorageError as error:
        if len(wanted) == 1:
            unreadable[wanted[0]] = str(error)
            return {}
        middle = len(wanted) // 2
        return facts_of(storage, wanted[:middle], unreadable) | facts_of(storage, wanted[middle:], unreadable)
    return {series: parts for series, parts in found if parts}


def _each_once(gaps: Sequence[Gap]) -> list[Gap]:
    """In order of time; what begins and ends at the same time is one gap."""
    found: dict[Span, Gap] = {}
    for gap in sorted(gaps, key=lambda gap: gap.span):
        before = found.get(gap.span)
        found[gap.span] = gap if before is None else replace(before, rows=before.rows + gap.rows)
    return list(found.values())


def _around(changed: set[Period], parts: Sequence[PartitionFacts]) -> Span:
    """The time of partitions that have changed, from the last row before it to the first behind."""
    start_us = min(period.span.start_us for period in changed)
    end_us = max(period.span.end_us for period in changed)
    before = [part.last_us for part in parts if part.last_us < start_us]
    behind = [part.first_us for part in parts if part.first_us >= end_us]
    return Span(max(before, default=start_us), min(behind, default=end_us - 1) + 1)
