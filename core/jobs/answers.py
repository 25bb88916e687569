"""The exchange's API is asked for what the archive lacks, a stretch at a time; answers are stored as they come."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import DATASETS, FUNDING_RATE
from core.datasets.clock import Beat
from core.dates import DAY_US, HOUR_US, day_of
from core.download.tracker import DownloadTracker
from core.errors import DiskFull, MarketDataError, NotPublished, RemoteError, SourceDown, StorageError
from core.exchanges.api import Api, ApiRows
from core.storage.manager import StorageManager
from core.types import Gap, Market, Period, Series, Span

AT_ONCE: Final = 8
"""Series asked about at the same time; the API's own limits come on top."""
TOGETHER: Final = 4
"""So many symbols' settlements are better had by one question for all."""
RECENT_US: Final = 45 * DAY_US
"""Older settlements are asked for symbol by symbol: one question for all would bring those of all that time."""
_TAPES: Final = (Beat.TRADE_IDS, Beat.EVENTS)

Place = tuple[Series, int]
"""A gap, by its beginning."""


@dataclass(slots=True)
class Answers:
    """What the API said of gaps. `said` and `failed` are by gap; `rows` were stored, `requests` sent."""

    api: Api | None
    tracker: DownloadTracker
    storage: StorageManager
    now_us: int
    rows: int = 0
    requests: int = 0
    said: dict[Place, str] = field(default_factory=dict)
    failed: dict[Place, str] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def ask(self, left: Mapping[Series, Sequence[Gap]]) -> None:
        """Ask for what lies in these gaps, and store it. What cannot be had is noted. Raises DiskFull, TrackerError."""
        asked = await self._ask_for_all([gap for gaps in left.values() for gap in gaps])
        try:
            async with asyncio.TaskGroup() as group:
                for series, gaps in left.items():
                    rest = [gap for gap in gaps if (series, gap.span.start_us) not in asked]
                    if rest:
                        group.create_task(self._ask_in_turn(series, rest))
        except* MarketDataError as errors:
            raise errors.exceptions[0] from None

    async def _ask_in_turn(self, series: Series, gaps: Sequence[Gap]) -> None:
        async with self._turns:
            for near in _near(series, gaps):
                await self._ask(series, near)

    async def _ask(self, series: Series, near: Sequence[Gap]) -> None:
        """Ask for gaps that are near each other by the stretches between their first beginning and last end."""
        rows, is_asked, reasons = 0, False, set()
        for part in _stretches(series, Span(near[0].span.start_us, near[-1].span.end_us)):
            reason = self.api.reason_against(series, part, self.now_us) if self.api is not None else "was not asked"
            if self.api is None or reason is not None:
                reasons.add(str(reason))
                continue
            try:
                answer = await self.api.rows(series, part)
                is_asked = True
                self.requests += answer.requests
                rows += await self._store(series, answer.table)
            except NotPublished:
                reasons.add("the symbol is not known there")
                break
            except (RemoteError, StorageError) as error:
                self._fail(near, error)
                return
        for gap in near:
            if self.api is None:
                self.failed[series, gap.span.start_us] = "the exchange's API was not asked"
            came = [f"{rows} rows"] if is_asked else []
            self.said[series, gap.span.start_us] = "; ".join([*came, *sorted(reasons)])

    async def _ask_for_all(self, gaps: Sequence[Gap]) -> set[Place]:
        """Recent settlements of many um symbols by one question; the gaps that were asked about so."""
        recent = [
            gap
            for gap in gaps
            if (gap.series.dataset, gap.series.market) == (FUNDING_RATE.name, Market.UM)
            and gap.span.start_us > self.now_us - RECENT_US
        ]
        if self.api is None or len({gap.series for gap in recent}) < TOGETHER:
            return set()
        span = Span(min(gap.span.start_us for gap in recent), max(gap.span.end_us for gap in recent))
        try:
            answers = await self.api.funding_of_all(Market.UM, span)
        except RemoteError:
            answers = None  # symbol by symbol, which says what is wrong with each
        if answers is None:
            return set()
        self.requests += max((answer.requests for answer in answers.values()), default=1)
        for gap in recent:
            await self._take(gap, answers.get(gap.series.symbol))
        return {(gap.series, gap.span.start_us) for gap in recent}

    async def _take(self, gap: Gap, answer: ApiRows | None) -> None:
        try:
            rows = 0 if answer is None else await self._store(gap.series, _inside(answer.table, gap.span))
        except StorageError as error:
            self._fail([gap], error)
        else:
            self.said[gap.series, gap.span.start_us] = f"{rows} rows"

    async def _store(self, series: Series, table: pa.Table) -> int:
        """Rows that came, a day at a time; how many."""
        for day, rows in _by_day(table):
            stored = await asyncio.to_thread(self.storage.store_answer, series, day, rows)
            self.tracker.enter(stored.partitions, stored.removed)
        self.rows += table.num_rows
        return int(table.num_rows)

    def _fail(self, gaps: Sequence[Gap], error: RemoteError | StorageError) -> None:
        """An answer that was not had or not stored: nothing is confirmed without it. Raises what ends the run."""
        if isinstance(error, DiskFull | SourceDown):
            raise error
        for gap in gaps:
            self.failed[gap.series, gap.span.start_us] = f"the API could not be asked: {error}"


def _near(series: Series, gaps: Sequence[Gap]) -> Iterator[list[Gap]]:
    """Gaps that are asked for together: less than a day apart, but those of trades, of which there are too many."""
    group: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: gap.span):
        is_apart = group and gap.span.start_us - group[-1].span.end_us >= DAY_US
        if group and (is_apart or _is_tape(series)):
            yield group
            group = []
        group.append(gap)
    if group:
        yield group


def _stretches(series: Series, span: Span) -> Iterator[Span]:
    """What is asked for, and stored, at a time: trades by the hour, candles of seconds by the day, all else at once."""
    step_us = HOUR_US if _is_tape(series) else DAY_US if series.interval == "1s" else span.end_us - span.start_us
    start_us = span.start_us
    while start_us < span.end_us:
        end_us = min((start_us // step_us + 1) * step_us if step_us <= DAY_US else span.end_us, span.end_us)
        yield Span(start_us, end_us)
        start_us = end_us


def _is_tape(series: Series) -> bool:
    return DATASETS[series.dataset].clock.beat in _TAPES


def _inside(table: pa.Table, span: Span) -> pa.Table:
    times = table.column("timestamp").cast(pa.int64())
    return table.filter(pc.and_(pc.greater_equal(times, span.start_us), pc.less(times, span.end_us)))


def _by_day(table: pa.Table) -> Iterator[tuple[Period, pa.Table]]:
    days = pc.divide(table.column("timestamp").cast(pa.int64()), DAY_US)
    for number in pc.unique(days).to_pylist():
        yield Period.day(day_of(number * DAY_US)), table.filter(pc.equal(days, number))
