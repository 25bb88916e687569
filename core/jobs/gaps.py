"""Gaps are filled from official sources, in order: the archive's days, its months, the exchange's API.

What remains is said: late, a halt, a hole that every source has, an ended kind of data, or open. Nothing is ever
interpolated. How each gap ended is remembered, some series at a time, so that a hole that stays is asked about once a
week, not every night, and a run that was cut short need not begin again.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final

from core.dates import DAY_US, day_of, format_us
from core.download.gaps import Known
from core.download.tracker import DownloadTracker
from core.errors import RemoteError
from core.events import Emit, FindingRaised
from core.exchanges.api import Api
from core.exchanges.archive import Archive
from core.integrity.checker import IntegrityChecker
from core.jobs.answers import Answers, Place
from core.jobs.expected import has_days, has_months, late_from
from core.jobs.filled import Filled
from core.jobs.holes import Holes, newest_of
from core.jobs.request import in_order
from core.jobs.sync import SyncSummary
from core.jobs.tail import Kind
from core.storage.manager import StorageManager
from core.types import ArchiveFile, Cadence, Finding, Gap, GapStatus, Period, Series, Span, State

ASK_AGAIN_US: Final = 7 * DAY_US
"""Holes that no source could fill are asked about again after so long: many are filled in the end."""
AT_A_TIME: Final = 64
"""Series that are looked at, filled and remembered together."""
_SETTLED: Final = (GapStatus.HALT, GapStatus.ENDED)
_STAYS: Final = {GapStatus.CONFIRMED: "confirmed-hole", GapStatus.OPEN: "open-gap"}
_ASKED: Final = "[asked: "
_NAMED: Final = 3

Bring = Callable[[AsyncIterator[Sequence[ArchiveFile]]], Awaitable[SyncSummary]]
"""What downloads and stores archives."""
Old = Mapping[Place, Gap]
"""What was known of gaps, by their beginning: one at the end of a series grows."""


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

    async def fill(self, wanted: Sequence[Series]) -> Filled:
        """Fill what can be filled, and remember how every gap ended.

        A series that cannot be read or stored is among the failures, and the others go on. Raises DiskFull,
        TrackerError, and what `bring` raises.
        """
        newest = await asyncio.to_thread(newest_of, self.storage, wanted)
        filled = Filled()
        for start in range(0, len(wanted), AT_A_TIME):
            filled += await self._fill_some(wanted[start : start + AT_A_TIME], newest)
        for finding in _told(filled.news):
            self.emit(FindingRaised(finding))
        return filled

    async def _fill_some(self, wanted: Sequence[Series], newest: Mapping[Kind, int]) -> Filled:
        known = self.tracker.known_gaps(wanted)
        holes = Holes(self.storage, self.checker, self.now_us, known, newest)
        filling = _Filling(self, holes, {(gap.series, gap.span.start_us): gap for gap in _gaps_of(known)})
        before = await asyncio.to_thread(holes.look, wanted)
        after = dict(before)
        for ask in (filling.ask_for_days, filling.ask_for_months, filling.answers.ask):
            left = filling.due(after)
            if left:
                await ask(left)
                after |= await asyncio.to_thread(holes.look, list(left))
        return filling.settle(before, after, known)


@dataclass(slots=True)
class _Filling:
    """One turn: some series. `faulty` says by series which times have archives that could not be had."""

    filler: GapFiller
    holes: Holes
    old: Old
    answers: Answers = field(init=False)
    archives: int = 0
    failures: list[str] = field(default_factory=list)
    faulty: dict[Series, list[Period]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        filler = self.filler
        self.answers = Answers(filler.api, filler.tracker, filler.storage, filler.now_us)

    def due(self, gaps: Mapping[Series, Sequence[Gap]]) -> dict[Series, list[Gap]]:
        """The gaps that are to be asked about, of series that have any."""
        found = {series: [gap for gap in some if self._is_due(gap)] for series, some in gaps.items()}
        return {series: some for series, some in found.items() if some}

    def _is_due(self, gap: Gap) -> bool:
        is_known = gap.status is GapStatus.CONFIRMED and gap.checked_us is None  # and nobody has to be asked
        is_long = gap.span.end_us - gap.span.start_us > self.filler.most_us and not self._is_late(gap)
        if gap.status in _SETTLED or is_known or is_long:
            return False
        before = self.old.get((gap.series, gap.span.start_us))
        asked_us = before.checked_us if before is not None and before.status is GapStatus.CONFIRMED else None
        return asked_us is None or self.filler.now_us - asked_us >= ASK_AGAIN_US

    def _is_late(self, gap: Gap) -> bool:
        """Whether the archive of its time may still come."""
        return gap.span.end_us > late_from(gap.series, day_of(self.filler.now_us))

    # the archive

    async def ask_for_days(self, left: Mapping[Series, Sequence[Gap]]) -> None:
        await self._ask_archive({series: gaps for series, gaps in left.items() if has_days(series)}, Cadence.DAILY)

    async def ask_for_months(self, left: Mapping[Series, Sequence[Gap]]) -> None:
        await self._ask_archive({series: gaps for series, gaps in left.items() if has_months(series)}, Cadence.MONTHLY)

    async def _ask_archive(self, left: Mapping[Series, Sequence[Gap]], cadence: Cadence) -> None:
        """Bring the archives that may have what is missing; what is late was asked for by the update itself."""
        older = {series: [gap for gap in gaps if not self._is_late(gap)] for series, gaps in left.items()}
        wanted = [(series, gaps) for series, gaps in older.items() if gaps]
        asked: list[list[ArchiveFile]] = []
        async for files in in_order([functools.partial(self._archives_of, *one, cadence) for one in wanted]):
            asked += [files] if files else []
        self.archives += sum(map(len, asked))
        if asked:
            summary = await self.filler.bring(_batches(asked))
            self.failures += [f"{failure.key}: {failure.error}" for failure in summary.failures]
            self.failures += [f"{fault.key}: {fault.detail}" for fault in summary.faults]
            self._note_faulty(asked)

    async def _archives_of(self, series: Series, gaps: Sequence[Gap], cadence: Cadence) -> list[ArchiveFile]:
        """The archives of one cadence that may have what is missing, and are not stored."""
        days = {Period.day(day) for gap in gaps for day in _days(gap.span)}
        first = min(day.first for day in days)
        tracker = self.filler.tracker
        try:
            listed = await self.filler.archive.list_since(series, cadence, first)
        except RemoteError as error:
            self.failures.append(f"{series}: the archive could not be asked: {error}")
            self.faulty.setdefault(series, []).extend(days)
            return []
        files = [file for file in listed if any(file.period.contains(day) for day in days)]
        done = tracker.look(files).done
        homes = tracker.homes(done.values())
        # Their rows were a longer archive's too, until that was published anew without them. Where it was not, one that
        # was removed need not come again: it was proved to have no other rows.
        here = self.filler.checker.layout.archived(series)
        may_differ = self._republished(series)
        again = {
            row: file
            for row, file in done.items()
            if file.key not in homes and (file.name in here or any(one.contains(file.period) for one in may_differ))
        }
        tracker.demote(list(again), State.FETCHED)
        settled = {file.key for row, file in done.items() if row not in again}
        return [file for file in files if file.key not in settled]

    def _republished(self, series: Series) -> list[Period]:
        """The longer archives of a series that the exchange has replaced since they were here."""
        tracker = self.filler.tracker
        replaced = tracker.replaced(series)
        known = tracker.downloads(series).items() if replaced else ()
        return [p for p, row in known if row.file.key in replaced and p.cadence is not Cadence.DAILY]

    def _note_faulty(self, asked: Sequence[Sequence[ArchiveFile]]) -> None:
        """Archives that are published and could not be had or stored: nothing of their time is confirmed."""
        for files in asked:
            done = {file.key for file in self.filler.tracker.look(files).done.values()}
            for file in files:
                if file.key not in done:
                    self.faulty.setdefault(file.series, []).append(file.period)

    # how they ended

    def settle(
        self,
        before: Mapping[Series, Sequence[Gap]],
        after: Mapping[Series, Sequence[Gap]],
        known: Mapping[Series, Known],
    ) -> Filled:
        """Remember how the gaps ended, but of series that cannot be read."""
        unreadable = self.holes.unreadable
        status: Counter[str] = Counter()
        news: list[Gap] = []
        changed: dict[Series, Known] = {}
        for series in [series for series in before if series not in unreadable]:
            left = [self._ended(gap) for gap in after[series]]
            filled = [
                replace(gap, status=GapStatus.FILLED, checked_us=self.filler.now_us, detail=_base(gap.detail))
                for gap in before[series]
                if not any(other.span.overlaps(gap.span) for other in left)
            ]
            now = Known(_with_earlier(known.get(series, Known()), [*left, *filled]), self.holes.stamps(series))
            if now != known.get(series, Known()):
                changed[series] = now
            status.update(gap.status.value for gap in (*left, *filled))
            news += [gap for gap in left if self._is_news(gap)]
        self.filler.tracker.record_gaps(changed, known)
        failures = [f"{series}: {why}" for series, why in unreadable.items()]
        failures += [f"{series}: {why}" for (series, _), why in sorted(self.answers.failed.items())]
        looked_at = sum(len(gaps) for gaps in before.values())
        return Filled(
            looked_at,
            dict(sorted(status.items())),
            self.answers.rows,
            self.answers.requests,
            self.archives,
            tuple(news),
            tuple(dict.fromkeys([*self.failures, *failures])),
        )

    def _ended(self, gap: Gap) -> Gap:
        """How a gap stands that is still there."""
        place = gap.series, gap.span.start_us
        if gap.status in _SETTLED or (gap.status is GapStatus.CONFIRMED and gap.checked_us is None):
            return gap
        if not self._is_due(gap):
            before = self.old.get(place)
            if before is not None:
                return replace(before, span=gap.span, rows=gap.rows)
            why = f"no, it is longer than {self.filler.most_us // DAY_US} days"
            return replace(gap, status=GapStatus.OPEN, detail=_with_answer(gap, why))
        said = f"API, {day_of(self.filler.now_us)}: {self.answers.said.get(place, 'not asked')}"
        gap = replace(gap, detail=_with_answer(gap, said), checked_us=self.filler.now_us)
        if self._is_late(gap):
            return replace(gap, status=GapStatus.LATE)
        if place in self.answers.failed or any(one.span.overlaps(gap.span) for one in self.faulty.get(gap.series, ())):
            return replace(gap, status=GapStatus.OPEN, checked_us=None)
        return replace(gap, status=GapStatus.CONFIRMED)

    def _is_news(self, gap: Gap) -> bool:
        before = self.old.get((gap.series, gap.span.start_us))
        is_excused = gap.status is GapStatus.CONFIRMED and gap.checked_us is None
        return gap.status in _STAYS and not is_excused and (before is None or before.status is not gap.status)


async def _batches(files: Sequence[Sequence[ArchiveFile]]) -> AsyncIterator[Sequence[ArchiveFile]]:
    for some in files:
        yield some


def _gaps_of(known: Mapping[Series, Known]) -> Iterator[Gap]:
    return (gap for one in known.values() for gap in one.gaps if gap.status is not GapStatus.FILLED)


def _with_earlier(known: Known, gaps: Sequence[Gap]) -> tuple[Gap, ...]:
    """These gaps, and those that were filled before, in order of time."""
    spans = {gap.span for gap in gaps}
    earlier = [gap for gap in known.gaps if gap.status is GapStatus.FILLED and gap.span not in spans]
    return tuple(sorted([*earlier, *gaps], key=lambda gap: gap.span))


def _base(detail: str) -> str:
    """What was said of a gap before anybody was asked."""
    return detail.partition(_ASKED)[0].rstrip()


def _with_answer(gap: Gap, said: str) -> str:
    return f"{_base(gap.detail)} {_ASKED}{said}]".lstrip()


def _days(span: Span) -> Iterator[date]:
    day, last = day_of(span.start_us), day_of(span.end_us - 1)
    while day <= last:
        yield day
        day += timedelta(days=1)


def _told(news: Sequence[Gap]) -> Iterator[Finding]:
    """One finding for all series of a kind that lack the same time."""
    groups: dict[tuple[object, ...], list[Gap]] = {}
    for gap in news:
        one = gap.series
        groups.setdefault((one.market, one.dataset, one.interval, gap.span, gap.status), []).append(gap)
    for gaps in groups.values():
        first = gaps[0]
        names = ", ".join(str(gap.series) for gap in gaps[:_NAMED])
        more = f" and {len(gaps) - _NAMED} more" if len(gaps) > _NAMED else ""
        rows = sum(gap.rows for gap in gaps)
        what = "at no source" if first.status is GapStatus.CONFIRMED else "not filled"
        since = format_us(first.span.start_us)
        detail = f"{names}{more}: {rows or 'some'} rows from {since} are {what}: {first.detail}"
        yield Finding(first.series, first.span, _STAYS[first.status], detail, max(rows, 1))
