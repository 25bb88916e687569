"""Gaps are filled from official sources, in order: the archive's days, its months, the exchange's API.

What remains is said: late, a halt, a hole that every source has, an ended kind of data, or open. Nothing is ever
interpolated. What was asked is remembered, so that a hole that stays is asked about once a week, not every night.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import DATASETS
from core.dates import DAY_US, day_of, format_us
from core.download.tracker import DownloadTracker
from core.errors import ConnectionLost, NotPublished, RemoteError, StorageError, Throttled
from core.events import Emit, FindingRaised
from core.exchanges.api import Api
from core.exchanges.archive import Archive
from core.integrity.checker import IntegrityChecker
from core.jobs.expected import Standing, ended, has_days, is_over, standing
from core.storage.manager import StorageManager
from core.types import ArchiveFile, Cadence, Finding, Gap, GapStatus, Period, Series, Span, State

ASK_AGAIN_US: Final = 7 * DAY_US
"""Holes that no source could fill are asked about again after so long: many are filled in the end."""
AT_ONCE: Final = 8
"""Series whose gaps are filled at the same time; the API's own limits come on top."""

Bring = Callable[[AsyncIterator[Sequence[ArchiveFile]]], Awaitable[object]]
"""What downloads and stores archives."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What filling came to. `gaps` were looked at; `status` counts how they ended, `rows` came from the API by
    `requests`, and `archives` were asked for besides. `confirmed` holes are new ones."""

    gaps: int
    status: Counter[GapStatus]
    rows: int
    requests: int
    archives: int
    confirmed: tuple[Gap, ...]
    failures: tuple[str, ...]


@dataclass(slots=True)
class GapFiller:
    """Fills the gaps of some series within a time. `api` None: only the archive is asked. `bring` stores archives."""

    archive: Archive
    api: Api | None
    tracker: DownloadTracker
    storage: StorageManager
    checker: IntegrityChecker
    bring: Bring
    now_us: int
    emit: Emit = lambda _: None
    _rows: int = 0
    _requests: int = 0
    _archives: int = 0
    _said: dict[Series, list[str]] = field(default_factory=dict)
    _failures: list[str] = field(default_factory=list)

    async def fill(self, wanted: Sequence[Series], span: Span) -> Filled:
        """Fill what can be filled, and record how every gap of the span ended. Raises what `bring` raises."""
        before = {series: gaps for series, gaps in (await self._look(wanted, span)).items() if gaps}
        known = {(gap.series, gap.span): gap for series in before for gap in self.tracker.gaps(series)}
        due = {series: some for series, gaps in before.items() if (some := [g for g in gaps if self._is_due(g, known)])}
        if due:
            await self.bring(self._archives_of(due))
            left = await self._look(list(due), span)
            await self._ask_api(left)
            after = await self._look(list(due), span)
        else:
            after = {}
        return self._settle(before, due, after, known, span)

    # what is missing

    async def _look(self, wanted: Sequence[Series], span: Span) -> dict[Series, list[Gap]]:
        ends = await asyncio.to_thread(self._ends, wanted)
        newest: dict[tuple[object, ...], int] = {}
        for series, end_us in ends.items():
            kind = (series.market, series.dataset, series.interval)
            newest[kind] = max(newest.get(kind, 0), end_us)

        def gaps(series: Series) -> list[Gap]:
            inner = self.checker.gaps(series, span)
            tail = self._tail(series, ends.get(series), newest, span)
            return [*inner, *([tail] if tail is not None else [])]

        return {series: await asyncio.to_thread(gaps, series) for series in wanted if series in ends}

    def _ends(self, wanted: Sequence[Series]) -> dict[Series, int]:
        """The latest stored time of each series that has any."""
        found = zip(wanted, self.storage.facts(list(wanted)), strict=True)
        return {series: max(part.last_us for part in parts) for series, parts in found if parts}

    def _tail(
        self, series: Series, last_us: int | None, newest: dict[tuple[object, ...], int], span: Span
    ) -> Gap | None:
        """What is missing behind the last row, up to the last midnight, of a series that goes on."""
        end_us = min(span.end_us, self.now_us // DAY_US * DAY_US)
        if last_us is None or last_us >= end_us - 1:
            return None
        latest = day_of(newest[series.market, series.dataset, series.interval])
        if ended(series) is not None or is_over(series, day_of(last_us), latest):
            return None
        start_us = max(span.start_us, last_us + 1)
        missing = DATASETS[series.dataset].expected_between(series.interval, start_us, end_us)
        return Gap(series, Span(start_us, end_us), missing) if missing and start_us < end_us else None

    def _is_due(self, gap: Gap, known: dict[tuple[Series, Span], Gap]) -> bool:
        if gap.status in (GapStatus.HALT, GapStatus.ENDED):
            return False
        before = known.get((gap.series, gap.span))
        asked_us = before.checked_us if before is not None and before.status is GapStatus.CONFIRMED else None
        return asked_us is None or self.now_us - asked_us >= ASK_AGAIN_US

    # the archive

    async def _archives_of(self, due: dict[Series, list[Gap]]) -> AsyncIterator[Sequence[ArchiveFile]]:
        for series, gaps in due.items():
            days = {Period.day(day) for gap in gaps for day in _days(gap.span)}
            try:
                listed = await self.archive.list_all(series)
            except RemoteError as error:
                self._note(series, f"the archive's listing could not be had: {error}")
                continue
            files = [file for file in listed if any(file.period.contains(day) for day in days)]
            looked = self.tracker.look(files)
            homes = self.tracker.homes(looked.done.values())
            # Their rows were a month's too, until that was published anew without them.
            again = [row for row, file in looked.done.items() if file.key not in homes and file.size]
            self.tracker.demote(again, State.FETCHED)
            wanted = [file for file in files if file.key not in homes]
            self._archives += len(wanted)
            if wanted:
                yield wanted

    # the API

    async def _ask_api(self, left: dict[Series, list[Gap]]) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def ask(series: Series, gaps: list[Gap]) -> None:
            async with turns:
                for gap in gaps:
                    if gap.status in (GapStatus.OPEN, GapStatus.LATE):
                        await self._ask(series, gap.span)

        await asyncio.gather(*(ask(series, gaps) for series, gaps in left.items() if gaps))

    async def _ask(self, series: Series, span: Span) -> None:
        if self.api is None:
            self._note(series, "the exchange's API was not asked")
            return
        reason = self.api.reason_against(series, span, self.now_us)
        if reason is not None:
            self._say(series, f"API: {reason}")
            return
        try:
            answer = await self.api.rows(series, span)
        except NotPublished:
            self._say(series, "API: the symbol is not known there")
            return
        except (RemoteError, ConnectionLost, Throttled) as error:
            self._note(series, f"{series}: {error}")
            return
        self._requests += answer.requests
        self._say(series, f"API: {answer.table.num_rows} rows on {format_us(answer.server_us)[:10]}")
        for day, rows in _by_day(answer.table):
            stored = await asyncio.to_thread(self.storage.store_answer, series, day, rows)
            self.tracker.enter(stored.partitions, stored.removed)
            self._rows += rows.num_rows

    def _say(self, series: Series, what: str) -> None:
        said = self._said.setdefault(series, [])
        if what not in said:
            said.append(what)

    def _note(self, series: Series, what: str) -> None:
        """An answer that was not had: nothing is confirmed by it."""
        self._failures.append(what)
        self._say(series, f"not asked: {what}")

    # how it ended

    def _settle(
        self,
        before: dict[Series, list[Gap]],
        due: dict[Series, list[Gap]],
        after: dict[Series, list[Gap]],
        known: dict[tuple[Series, Span], Gap],
        span: Span,
    ) -> Filled:
        status: Counter[GapStatus] = Counter()
        confirmed = []
        for series, gaps in before.items():
            found = [self._ended(gap, known) for gap in (after[series] if series in due else gaps)]
            filled = [replace(gap, status=GapStatus.FILLED, checked_us=self.now_us) for gap in _gone(gaps, found)]
            self.tracker.record_gaps(series, span, [*found, *filled])
            status.update(gap.status for gap in (*found, *filled))
            for gap in found:
                old = known.get((series, gap.span))
                if gap.status is GapStatus.CONFIRMED and (old is None or old.status is not GapStatus.CONFIRMED):
                    confirmed.append(gap)
                    said = f"{gap.rows or 'some'} rows from {format_us(gap.span.start_us)} are at no source: {gap.detail}"
                    self.emit(FindingRaised(Finding(series, gap.span, "confirmed-hole", said, gap.rows or 1)))
        looked_at = sum(len(gaps) for gaps in before.values())
        return Filled(
            looked_at, status, self._rows, self._requests, self._archives, tuple(confirmed), tuple(self._failures)
        )

    def _ended(self, gap: Gap, known: dict[tuple[Series, Span], Gap]) -> Gap:
        """A gap that is still there."""
        if gap.status in (GapStatus.HALT, GapStatus.ENDED):
            return gap
        old = known.get((gap.series, gap.span))
        if not self._is_due(gap, known) and old is not None:
            return old
        detail = "; ".join([gap.detail, *self._said.get(gap.series, [])]).strip("; ")
        if self._is_late(gap):
            return replace(gap, status=GapStatus.LATE, detail=detail, checked_us=self.now_us)
        is_asked = not any(said.startswith("not asked") for said in self._said.get(gap.series, []))
        status = GapStatus.CONFIRMED if is_asked else GapStatus.OPEN
        return replace(gap, status=status, detail=detail, checked_us=self.now_us if is_asked else None)

    def _is_late(self, gap: Gap) -> bool:
        """Whether the archive of its last day, or of its month where there are no days, may still come."""
        last, today = day_of(gap.span.end_us - 1), day_of(self.now_us)
        period = Period.day(last) if has_days(gap.series) else Period.day(last).within(Cadence.MONTHLY)
        return standing(period, today) is not Standing.MISSING


def _days(span: Span) -> Iterator[object]:
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
