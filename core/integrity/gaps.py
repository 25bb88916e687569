"""Where rows are expected and none are stored: between the first and the last row of a series, by its dataset's clock.

Before the first row and behind the last nothing is expected: first and last days are partial (D5).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from core.datasets.clock import Beat, Clock
from core.datasets.grid import Bools, Grid, Ints, settlements_missing, to_the_minute
from core.dates import DAY_US, HOUR_US, MINUTE_US, format_us
from core.integrity.rows import Rows
from core.integrity.runs import EXPECTED_TRADES
from core.integrity.trading import id_jumps, lost_detail
from core.types import GapStatus, Span

SILENCE_US: Final = 10 * MINUTE_US
RUN_ON: Final = "ids run on"
"""Stands in what is said of each halt that ids of trades prove, and of nothing else."""
RATE_ROWS: Final = 200
"""By so many rows before, the rate of what happens is known, and how far apart snapshots usually are."""
_LEAST_ROWS: Final = 50
_SNAPSHOT_US: Final = 5 * MINUTE_US
_SNAPSHOT_STEPS: Final = 4


@dataclass(frozen=True, slots=True)
class Jump:
    """Expected times without rows. `rows`: how many, 0 where that cannot be known. `kind` is that of the finding."""

    kind: str
    span: Span
    rows: int
    detail: str
    status: GapStatus = GapStatus.OPEN


class GapFinder:
    """Finds the jumps of one series as its rows come, with the row before them where there is one."""

    def __init__(self, clock: Clock) -> None:
        self._step_us = clock.step_us
        self._find = {
            Beat.CANDLES: _on_grid,
            Beat.STEPS: _on_grid,
            Beat.FUNDING: _settlements,
            Beat.SNAPSHOTS: self._snapshots,
            Beat.TRADE_IDS: self._by_ids,
            Beat.EVENTS: self._by_days,
            Beat.RARE: _nothing,
        }[clock.beat]
        self._times: Ints = np.zeros(0, dtype=np.int64)
        """Of the last rows that were seen, newest last; of snapshots each time once."""
        self._is_waiting = False
        """Whether `_times` are the first snapshots: too few to know how far apart they usually are."""

    def update(self, rows: Rows) -> Iterator[Jump]:
        """The jumps between these rows, and from the one before."""
        yield from self._find(rows)

    def finish(self) -> Iterator[Jump]:
        """What could not be told before the rows ended."""
        if self._is_waiting:
            yield from self._told_snapshots(self._times, 0)

    def _by_ids(self, rows: Rows) -> Iterator[Jump]:
        jumps = id_jumps(rows)
        for at in np.flatnonzero(jumps.lost).tolist():
            span = _between(rows.time, at)
            yield Jump("trades-lost", span, int(jumps.missing[at]), lost_detail(rows, at + 1))
        for at, expected in self._silences(rows, ~jumps.lost):
            seconds = (int(rows.time[at + 1]) - int(rows.time[at])) / 1_000_000
            detail = f"no trade for {seconds:g} seconds, in which about {expected:.0f} were to be expected; {RUN_ON}"
            yield Jump("halt", _between(rows.time, at), 0, detail, GapStatus.HALT)

    def _by_days(self, rows: Rows) -> Iterator[Jump]:
        days = rows.time // DAY_US
        missing = np.diff(days) - 1
        for at in np.flatnonzero(missing > 0).tolist():
            span = Span(int(days[at] + 1) * DAY_US, int(days[at + 1]) * DAY_US)
            yield Jump("gap", span, 0, f"{missing[at]} days without a row after {format_us(int(rows.time[at]))}")
        for at, expected in self._silences(rows, missing <= 0):
            detail = f"no row where about {expected:.0f} were to be expected after {format_us(int(rows.time[at]))}"
            yield Jump("gap", _between(rows.time, at), 0, detail)

    def _silences(self, rows: Rows, wanted: Bools) -> Iterator[tuple[int, float]]:
        """Rows behind which nothing comes for so long that it is no chance, and how many were to be expected.

        By the rate of the last 200 rows before.
        """
        offset = len(self._times)
        seen = np.append(self._times, rows.time[rows.before :])
        ends = np.flatnonzero((np.diff(rows.time) >= SILENCE_US) & wanted)
        place = ends - rows.before + offset  # of the row before the silence
        first = np.maximum(place - RATE_ROWS, 0)
        took = np.maximum(seen[place] - seen[first], 1)
        expected = (place - first) / took * np.diff(rows.time)[ends]
        enough = (place - first >= _LEAST_ROWS) & (expected >= EXPECTED_TRADES)
        yield from zip(ends[enough].tolist(), expected[enough].tolist(), strict=True)
        self._times = seen[-RATE_ROWS - 1 :]

    def _snapshots(self, rows: Rows) -> Iterator[Jump]:
        """How far apart is usual, the snapshots before say; of the first ones those that follow."""
        times = np.unique(rows.time[rows.before :])
        known = len(self._times)
        seen = np.unique(np.append(self._times, times))
        if len(seen) <= RATE_ROWS:
            self._times, self._is_waiting = seen, True
            return
        yield from self._told_snapshots(seen, 0 if self._is_waiting or not known else known - 1)
        self._times, self._is_waiting = seen[-RATE_ROWS - 1 :], False

    def _told_snapshots(self, times: Ints, first: int) -> Iterator[Jump]:
        """The jumps between these times, from that number on."""
        apart = np.diff(times)
        for at in (np.flatnonzero(apart[first:] > _SNAPSHOT_US) + first).tolist():
            begin = max(0, at - RATE_ROWS)
            near = apart[begin : begin + RATE_ROWS]
            usual = max(1, int(np.median(near))) if len(near) > 2 else self._step_us
            if apart[at] > _SNAPSHOT_STEPS * usual:
                count = round(int(apart[at]) / usual) - 1
                detail = f"about {count} snapshots are missing after {format_us(int(times[at]))}"
                yield Jump("gap", _between(times, at), 0, detail)


def _on_grid(rows: Rows) -> Iterator[Jump]:
    grid = rows.grid
    assert grid is not None
    slots = grid.slots(rows.time)
    missing = np.diff(slots) - 1
    for at in np.flatnonzero(missing > 0).tolist():
        span = Span(grid.start(int(slots[at]) + 1), grid.start(int(slots[at + 1])))
        yield Jump("gap", span, int(missing[at]), _missing_rows(int(missing[at]), span, grid))


def _missing_rows(count: int, span: Span, grid: Grid) -> str:
    if count == 1:
        return f"the row of {format_us(span.start_us)} is missing"
    last = grid.start(int(grid.slots(np.array([span.end_us]))[0]) - 1)
    return f"{count} rows are missing, {format_us(span.start_us)} to {format_us(last)}"


def _settlements(rows: Rows) -> Iterator[Jump]:
    hours = rows.ints("funding_interval_hours")
    missing = settlements_missing(rows.time, hours)
    times = to_the_minute(rows.time)
    for at in np.flatnonzero(missing > 0).tolist():
        step = max(int(hours[at]), int(hours[at + 1]), 1)
        span = Span(int(times[at]) + step * HOUR_US, int(times[at + 1]))
        detail = f"{missing[at]} settlements are missing, every {step} hours from {format_us(span.start_us)} on"
        yield Jump("gap", span, int(missing[at]), detail)


def _nothing(_: Rows) -> Iterator[Jump]:
    yield from ()


def _between(times: Ints, at: int) -> Span:
    """Behind a time to the next, a microsecond at least: rows may share a time, and times may go back."""
    start = int(times[at]) + 1
    return Span(start, max(start + 1, int(times[at + 1])))


def distinct(jumps: Iterable[Jump]) -> list[Jump]:
    """In order of time, those of one span as one: among rows of one moment ids may jump more than once."""
    by_span: dict[Span, list[Jump]] = {}
    for jump in jumps:
        by_span.setdefault(jump.span, []).append(jump)
    return [_as_one(held) for _, held in sorted(by_span.items())]


def _as_one(jumps: list[Jump]) -> Jump:
    """What is lost counts, not that nothing was traded."""
    lost = [jump for jump in jumps if jump.status is GapStatus.OPEN] or jumps
    if len(lost) == 1:
        return lost[0]
    rows = sum(jump.rows for jump in lost)
    return replace(lost[0], rows=rows, detail=f"{lost[0].detail}, the first of {len(lost)} jumps at this time")
