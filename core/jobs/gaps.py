"""Gaps are filled from official sources, in order: the archive's days, its months, the exchange's API.

What remains is said: late, a halt, a hole that every source has, an ended kind of data, or open. Nothing is ever
interpolated. How each gap ended is remembered, so that a hole that stays is asked about once a week, not every night.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import FUNDING_RATE
from core.dates import DAY_US, day_of, format_us
from core.download.gaps import Known
from core.download.tracker import DownloadTracker
from core.errors import NotPublished, RemoteError
from core.events import Emit, FindingRaised
from core.exchanges.api import Api, ApiRows
from core.exchanges.archive import Archive
from core.integrity.checker import IntegrityChecker
from core.jobs.expected import Standing, has_days, standing
from core.jobs.filled import Filled
from core.jobs.holes import Holes
from core.storage.manager import StorageManager
from core.types import ArchiveFile, Cadence, Finding, Gap, GapStatus, Market, Period, Series, Span, State

ASK_AGAIN_US: Final = 7 * DAY_US
"""Holes that no source could fill are asked about again after so long: many are filled in the end."""
AT_ONCE: Final = 8
"""Series whose gaps are filled at the same time; the API's own limits come on top."""
TOGETHER: Final = 4
"""So many symbols' settlements are better had by one question for all."""
_SETTLED: Final = (GapStatus.HALT, GapStatus.ENDED)

Bring = Callable[[AsyncIterator[Sequence[ArchiveFile]]], Awaitable[object]]
"""What downloads and stores archives."""


@dataclass(slots=True)
class GapFiller:
    """Fills the gaps of series that are at most `most_us` long. `bring` downloads and stores archives.

    `api` None: only the archive is asked, and no hole is confirmed.
    """

    archive: Archive
    api: Api | None
    tracker: DownloadTracker
    storage: StorageManager
    checker: IntegrityChecker
    bring: Bring
    now_us: int
    most_us: int
    emit: Emit = lambda _: None
    _rows: int = 0
    _requests: int = 0
    _archives: int = 0
    _listed: dict[Series, Sequence[ArchiveFile]] = field(default_factory=dict)
    _said: dict[Series, list[str]] = field(default_factory=dict)
    _unasked: set[Series] = field(default_factory=set)
    _failures: list[str] = field(default_factory=list)

    async def fill(self, wanted: Sequence[Series]) -> Filled:
        """Fill what can be filled, and remember how every gap ended. Raises what `bring` raises, StorageError."""
        known = self.tracker.known_gaps()
        holes = Holes(self.storage, self.checker, self.now_us, known)
        before = await asyncio.to_thread(holes.look, wanted)
        old = {(series, gap.span): gap for series in before for gap in known.get(series, Known()).gaps}
        due = {series: some for series, gaps in before.items() if (some := [g for g in gaps if self._is_due(g, old)])}
        after = dict(before)
        for ask in (self._ask_for_days, self._ask_for_months, self._ask_api):
            left = {series: [gap for gap in after[series] if self._is_due(gap, old)] for series in due}
            left = {series: gaps for series, gaps in left.items() if gaps}
            if left:
                await ask(left)
                after |= await asyncio.to_thread(holes.look, list(left))
        return self._settle(before, after, old, known, holes)

    def _is_due(self, gap: Gap, old: Mapping[tuple[Series, Span], Gap]) -> bool:
        if gap.status in _SETTLED or gap.span.end_us - gap.span.start_us > self.most_us:
            return False
        before = old.get((gap.series, gap.span))
        asked_us = before.checked_us if before is not None and before.status is GapStatus.CONFIRMED else None
        return asked_us is None or self.now_us - asked_us >= ASK_AGAIN_US

    # the archive

    async def _ask_for_days(self, left: Mapping[Series, Sequence[Gap]]) -> None:
        await self._ask_archive(left, Cadence.DAILY)

    async def _ask_for_months(self, left: Mapping[Series, Sequence[Gap]]) -> None:
        await self._ask_archive(left, Cadence.MONTHLY)

    async def _ask_archive(self, left: Mapping[Series, Sequence[Gap]], cadence: Cadence) -> None:
        asked: dict[Series, list[ArchiveFile]] = {}
        await self.bring(self._archives_of(left, cadence, asked))
        self._note_faults(asked)

    async def _archives_of(
        self, left: Mapping[Series, Sequence[Gap]], cadence: Cadence, asked: dict[Series, list[ArchiveFile]]
    ) -> AsyncIterator[Sequence[ArchiveFile]]:
        """The archives that may have what is missing and are not stored, noted in `asked` as they are given."""
        for series, gaps in left.items():
            days = {Period.day(day) for gap in gaps for day in _days(gap.span)}
            try:
                listed = await self._listed_of(series)
            except RemoteError as error:
                self._fail(series, f"{series}: the archive could not be asked: {error}")
                continue
            wanted_now = [file for file in listed if file.period.cadence is cadence]
            files = [file for file in wanted_now if any(file.period.contains(day) for day in days)]
            done = self.tracker.look(files).done
            homes = self.tracker.homes(done.values())
            # Their rows were a longer archive's too, until that was published anew without them.
            self.tracker.demote([row for row, file in done.items() if file.key not in homes], State.FETCHED)
            here = {file.key for file in done.values() if file.key in homes}
            wanted = [file for file in files if file.key not in here]
            self._archives += len(wanted)
            if wanted:
                asked[series] = wanted
                yield wanted

    async def _listed_of(self, series: Series) -> Sequence[ArchiveFile]:
        """All archives of a series; asked once."""
        if series not in self._listed:
            self._listed[series] = await self.archive.list_all(series)
        return self._listed[series]

    def _note_faults(self, asked: Mapping[Series, Sequence[ArchiveFile]]) -> None:
        """Archives that are published and could not be had or stored: nothing is confirmed without them."""
        for series, files in asked.items():
            done = {file.key for file in self.tracker.look(files).done.values()}
            lacking = [file.name for file in files if file.key not in done]
            if lacking:
                self._unasked.add(series)
                self._say(series, f"archive: {', '.join(lacking)} could not be had")

    # the API

    async def _ask_api(self, left: Mapping[Series, Sequence[Gap]]) -> None:
        settlements = {s: g for s, g in left.items() if s.dataset == FUNDING_RATE.name and s.market is Market.UM}
        if self.api is not None and len(settlements) >= TOGETHER:
            await self._ask_for_all(self.api, settlements)
            left = {series: gaps for series, gaps in left.items() if series not in settlements}
        turns = asyncio.Semaphore(AT_ONCE)

        async def ask(series: Series, gaps: Sequence[Gap]) -> None:
            async with turns:
                for gap in gaps:
                    await self._ask(series, gap.span)

        await asyncio.gather(*(ask(series, gaps) for series, gaps in left.items()))

    async def _ask_for_all(self, api: Api, wanted: Mapping[Series, Sequence[Gap]]) -> None:
        """Settlements of many symbols by one question."""
        spans = [gap.span for gaps in wanted.values() for gap in gaps]
        whole = Span(min(span.start_us for span in spans), max(span.end_us for span in spans))
        try:
            answers = await api.funding_of_all(Market.UM, whole)
        except RemoteError as error:
            for series in wanted:
                self._fail(series, f"{series}: the API could not be asked: {error}")
            return
        assert answers is not None, "there is such a question for um"
        self._requests += max((answer.requests for answer in answers.values()), default=1)
        for series, gaps in wanted.items():
            answer = answers.get(series.symbol)
            if answer is None:
                self._say(series, f"API: no settlement on {day_of(self.now_us)}")
                continue
            for gap in gaps:
                await self._take(series, answer, gap.span)

    async def _ask(self, series: Series, span: Span) -> None:
        reason = self.api.reason_against(series, span, self.now_us) if self.api is not None else None
        if self.api is None:
            self._fail(series, f"{series}: the exchange's API was not asked")
        elif reason is not None:
            self._say(series, f"API: {reason}")
        else:
            try:
                answer = await self.api.rows(series, span)
            except NotPublished:
                self._say(series, "API: the symbol is not known there")
            except RemoteError as error:
                self._fail(series, f"{series}: the API could not be asked: {error}")
            else:
                self._requests += answer.requests
                await self._take(series, answer, span)

    async def _take(self, series: Series, answer: ApiRows, span: Span) -> None:
        """Store the rows of an answer that lie in a gap, a day at a time."""
        times = answer.table.column("timestamp").cast(pa.int64())
        inside = pc.and_(pc.greater_equal(times, span.start_us), pc.less(times, span.end_us))
        rows = answer.table.filter(inside)
        self._say(series, f"API: {rows.num_rows} rows on {day_of(answer.server_us)}")
        for day, some in _by_day(rows):
            stored = await asyncio.to_thread(self.storage.store_answer, series, day, some)
            self.tracker.enter(stored.partitions, stored.removed)
        self._rows += rows.num_rows

    def _say(self, series: Series, what: str) -> None:
        said = self._said.setdefault(series, [])
        if what not in said:
            said.append(what)

    def _fail(self, series: Series, what: str) -> None:
        """An answer that was not had: nothing is confirmed without it."""
        self._failures.append(what)
        self._unasked.add(series)

    # how they ended

    def _settle(
        self,
        before: Mapping[Series, Sequence[Gap]],
        after: Mapping[Series, Sequence[Gap]],
        old: Mapping[tuple[Series, Span], Gap],
        known: Mapping[Series, Known],
        holes: Holes,
    ) -> Filled:
        status: Counter[str] = Counter()
        confirmed: list[Gap] = []
        news: dict[Series, Known] = {}
        for series, gaps in before.items():
            left = [self._ended(gap, old) for gap in after[series]]
            filled = [replace(gap, status=GapStatus.FILLED, checked_us=self.now_us) for gap in _gone(gaps, left)]
            earlier = [gap for gap in known.get(series, Known()).gaps if gap.status is GapStatus.FILLED]
            spans = {gap.span for gap in (*left, *filled)}
            all_of_it = (*(gap for gap in earlier if gap.span not in spans), *left, *filled)
            now = Known(tuple(sorted(all_of_it, key=lambda gap: gap.span)), holes.stamps(series))
            if now != known.get(series, Known()):
                news[series] = now
            status.update(gap.status.value for gap in (*left, *filled))
            confirmed += [gap for gap in left if _is_news(gap, old)]
        self.tracker.record_gaps(news)
        for gap in confirmed:
            detail = f"{gap.rows or 'some'} rows from {format_us(gap.span.start_us)} are at no source: {gap.detail}"
            self.emit(FindingRaised(Finding(gap.series, gap.span, "confirmed-hole", detail, max(gap.rows, 1))))
        looked_at = sum(len(gaps) for gaps in before.values())
        return Filled(
            looked_at,
            dict(status),
            self._rows,
            self._requests,
            self._archives,
            tuple(confirmed),
            tuple(self._failures),
        )

    def _ended(self, gap: Gap, old: Mapping[tuple[Series, Span], Gap]) -> Gap:
        """How a gap stands that is still there."""
        if gap.status in _SETTLED:
            return gap
        if not self._is_due(gap, old):
            longest = self.most_us // DAY_US
            return old.get((gap.series, gap.span)) or replace(gap, detail=f"{gap.detail}; longer than {longest} days")
        detail = "; ".join([*([gap.detail] if gap.detail else []), *self._said.get(gap.series, [])])
        if self._is_late(gap):
            return replace(gap, status=GapStatus.LATE, detail=detail, checked_us=self.now_us)
        if gap.series in self._unasked:
            return replace(gap, status=GapStatus.OPEN, detail=detail)
        return replace(gap, status=GapStatus.CONFIRMED, detail=detail, checked_us=self.now_us)

    def _is_late(self, gap: Gap) -> bool:
        """Whether the archive of its last day, or of its month where there are no days, may still come."""
        last = Period.day(day_of(gap.span.end_us - 1))
        period = last if has_days(gap.series) else last.within(Cadence.MONTHLY)
        return standing(period, day_of(self.now_us)) is not Standing.MISSING


def _is_news(gap: Gap, old: Mapping[tuple[Series, Span], Gap]) -> bool:
    before = old.get((gap.series, gap.span))
    return gap.status is GapStatus.CONFIRMED and (before is None or before.status is not GapStatus.CONFIRMED)


def _days(span: Span) -> Iterator[date]:
    day, last = day_of(span.start_us), day_of(span.end_us - 1)
    while day <= last:
        yield day
        day += timedelta(days=1)


def _by_day(table: pa.Table) -> Iterator[tuple[Period, pa.Table]]:
    days = pc.divide(table.column("timestamp").cast(pa.int64()), DAY_US)
    for number in pc.unique(days).to_pylist():
        yield Period.day(day_of(number * DAY_US)), table.filter(pc.equal(days, number))


def _gone(before: Iterable[Gap], after: Sequence[Gap]) -> list[Gap]:
    """The gaps of which nothing is left."""
    return [gap for gap in before if not any(other.span.overlaps(gap.span) for other in after)]
