"""What is new at the source of series that are followed: the end of their listings, and what should be there besides.

One page of the listing a series and night is enough, as long as nothing is wrong: only its end is asked for. Months
are asked for once they are over, until they are had. Once in `recheck_days` a series is looked at from its beginning,
so that archives that were published anew, and symbols that came back, are noticed. Whoever was away for longer than
the days that are looked at is brought up to date from where he was: whole months by the month.
"""

import functools
import zlib
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from core.download.followed import Followed
from core.download.tracker import DownloadTracker
from core.exchanges.archive import Archive
from core.jobs.expected import (
    Standing,
    Window,
    absent,
    has_days,
    has_months,
    is_had,
    is_over,
    is_silent,
    standing,
    wanted_months,
)
from core.jobs.request import in_order
from core.types import ArchiveFile, Cadence, Market, Period, Series, State

PROBED: Final = 5
"""Of archives that no series of a kind has, so many are probed before the others are believed to be absent too."""

Kind = tuple[Market, str, str | None]
"""A market, a data type and an interval: what the exchange publishes together."""


def windows_of(
    known: Sequence[Followed], window: Window, first_looks: Collection[tuple[Market, str]]
) -> dict[Kind, Window]:
    """The days that a night is about, by kind: those of `window`, and before them all since the newest that is here.

    For kinds that were looked at before: of others somebody may have wanted a part of long ago, and no more.
    """
    newest: dict[Kind, date] = {}
    for one in known:
        newest[kind_of(one.series)] = max(one.newest, newest.get(kind_of(one.series), date.min))
    return {
        kind: window if kind[:2] in first_looks else Window(min(window.first, day + timedelta(days=1)), window.last)
        for kind, day in newest.items()
    }


@dataclass(frozen=True, slots=True)
class _Look:
    """One question to the listing; of older archives than `since` only those that are known are wanted."""

    series: Series
    cadence: Cadence
    asked_from: date
    since: date


@dataclass(slots=True)
class Tail:
    """One night's look at the series `known`. It is used up by asking for `listed`, then for `unlisted`.

    `windows` are the days that are looked at of each kind, `recent` says how archives since then stand. Of the markets
    and data types in `first_looks` nobody has looked for news yet, so all their series are looked at. `asked` counts
    questions to the listing, `probed` those to the archive itself. In the end `late` and `missing` are the archives
    that should be there and are not, and `over` the series of which none is expected any more; `begun` says from which
    day on there are recent archives of a series.
    """

    archive: Archive
    tracker: DownloadTracker
    known: Sequence[Followed]
    recent: Mapping[Series, Mapping[Period, State]]
    windows: Mapping[Kind, Window]
    today: date
    recheck_days: int
    first_looks: Collection[tuple[Market, str]] = ()
    asked: int = 0
    probed: int = 0
    late: list[ArchiveFile] = field(default_factory=list)
    missing: list[ArchiveFile] = field(default_factory=list)
    over: set[Series] = field(default_factory=set)
    begun: dict[Series, date] = field(default_factory=dict)
    _newest: dict[Series, date] = field(default_factory=dict)
    _listed: dict[Series, set[Period]] = field(default_factory=dict)
    _of_kinds: dict[Kind, date] = field(default_factory=dict)

    async def listed(self) -> AsyncIterator[list[ArchiveFile]]:
        """The archives that the ends of the listings show and that are wanted, a question at a time."""
        self._newest = {one.series: one.newest for one in self.known}
        newest = self._newest_of_kinds()
        looks = [look for one in self.known for look in self._looks(one, newest[kind_of(one.series)])]
        self.asked += len(looks)
        list_since = self.archive.list_since
        answers = in_order([functools.partial(list_since, one.series, one.cadence, one.asked_from) for one in looks])
        for look in looks:
            files = await anext(answers)
            if not files:
                continue
            self._listed.setdefault(look.series, set()).update(file.period for file in files)
            if look.cadence is Cadence.DAILY or not has_days(look.series):  # a month goes on behind a delisting
                last = min(files[-1].period.last, self._window(look.series).last)
                self._newest[look.series] = max(self._newest[look.series], last)
            wanted = [file for file in files if self._is_wanted(file, look.since)]
            if wanted:
                first = wanted[0].period.first
                self.begun[look.series] = min(first, self.begun.get(look.series, first))
            older = [file for file in files if file.period.last < look.since]
            entered = self.tracker.entered(older) if older else set()
            yield [*(file for file in older if file.key in entered), *wanted]

    def _is_wanted(self, file: ArchiveFile, since: date) -> bool:
        """Whether an archive is recent and over, and no day of a month that is stored, or comes, without it."""
        series, month = file.series, file.period.within(Cadence.MONTHLY)
        if not since <= file.period.last <= self._window(series).last:
            return False
        known = self.recent.get(series, {})
        if file.period.cadence is Cadence.DAILY and self._is_by_month(series, month):
            return False
        return file.period in known or known.get(month) is not State.STORED

    async def unlisted(self) -> AsyncIterator[list[ArchiveFile]]:
        """What should be there, is not listed and is there all the same; the rest is `late` or `missing` then."""
        newest = self._newest_of_kinds()
        self.over = {one.series for one in self.known if self._is_over(one.series, newest)}
        published = self._published()
        for (kind, period), series in self._expected(newest).items():
            is_published = (kind, period) in published
            found = await self._probe(series if is_published else series[:PROBED], period)
            if found and not is_published:
                found |= await self._probe(series[PROBED:], period)
            if found:
                yield list(found.values())
            left = [self.archive.unlisted(one, period) for one in series if one not in found]
            (self.late if standing(period, self.today) is Standing.LATE else self.missing).extend(left)
        self._of_kinds = self._newest_of_kinds()

    def is_covered(self, series: Series, period: Period) -> bool:
        """Whether the month of a day is stored."""
        return self.recent.get(series, {}).get(period.within(Cadence.MONTHLY)) is State.STORED

    def is_tail(self, series: Series, period: Period) -> bool:
        """Whether a series has nothing after a period that is not there: it may have been delisted."""
        return period.first > self._newest[series]

    def is_standstill(self, series: Series, period: Period) -> bool:
        """Whether no series of the kind has anything as new as a period."""
        return period.first > self._of_kinds[kind_of(series)]

    # what to ask for

    def _window(self, series: Series) -> Window:
        return self.windows[kind_of(series)]

    def _is_by_month(self, series: Series, month: Period) -> bool:
        """Whether a listed month has all that is wanted of its time, and no day of it is known."""
        if month not in self._listed.get(series, ()) or month.first < self._window(series).first:
            return False
        return not any(month.contains(period) for period in self.recent.get(series, ()))

    def _looks(self, one: Followed, newest_of_kind: date) -> Iterator[_Look]:
        series, known = one.series, self.recent.get(one.series, {})
        is_whole = zlib.crc32(str(series).encode()) % self.recheck_days == self.today.toordinal() % self.recheck_days
        is_first = (series.market, series.dataset) in self.first_looks
        if is_over(series, one.newest, newest_of_kind) and not (is_whole or is_first):
            return
        window = self._window(series)
        is_behind = has_days(series) and one.newest < window.first  # nobody has looked since
        months = wanted_months(series, known, window, window.last if is_behind else one.newest, self.today)
        opened = [month.first for month in months if known.get(month) not in (State.STORED, State.MISSING)]
        if is_whole and has_months(series):
            yield _Look(series, Cadence.MONTHLY, one.first, min(opened, default=date.max))
        elif opened:
            yield _Look(series, Cadence.MONTHLY, opened[0], opened[0])
        if has_days(series):
            first = min(window.first, _after_months(known)) if is_whole else window.first
            yield _Look(series, Cadence.DAILY, first, window.first)

    def _expected(self, newest: Mapping[Kind, date]) -> dict[tuple[Kind, Period], list[Series]]:
        """What should be there by now and was neither had before nor listed tonight."""
        expected: dict[tuple[Kind, Period], list[Series]] = {}
        for one in self.known:
            series, kind = one.series, kind_of(one.series)
            known, listed = self.recent.get(series, {}), self._listed.get(series, set())
            periods: list[Period] = []
            if series not in self.over:
                is_quiet = is_silent(newest[kind], self.today)
                whole = self.windows[kind]
                window = Window(whole.last, whole.last) if is_quiet else whole
                periods = absent(series, known, listed, window, one.first)
            is_done = series in self.over and not has_days(series)  # else the months of its last days may still come
            reach = self._newest[series]
            months = () if is_done else wanted_months(series, known, self.windows[kind], reach, self.today)
            periods += [month for month in months if not is_had(known.get(month)) and month not in listed]
            for period in periods:
                expected.setdefault((kind, period), []).append(series)
        return expected

    def _published(self) -> set[tuple[Kind, Period]]:
        """The recent periods that some series of a kind has."""
        had = {
            (kind_of(series), period)
            for series, periods in self.recent.items()
            for period, state in periods.items()
            if is_had(state) and state is not State.MISSING
        }
        return had | {(kind_of(series), period) for series, periods in self._listed.items() for period in periods}

    async def _probe(self, series: Sequence[Series], period: Period) -> dict[Series, ArchiveFile]:
        """Those of the series whose archive of a period is there though it is not listed."""
        self.probed += len(series)
        answers = in_order([functools.partial(self.archive.probe, one, period) for one in series])
        found = {file.series: file async for file in answers if file is not None}
        if found and (period.cadence is Cadence.DAILY or not has_days(series[0])):
            self._newest |= {one: max(self._newest[one], period.last) for one in found}
        return found

    def _newest_of_kinds(self) -> dict[Kind, date]:
        newest: dict[Kind, date] = {}
        for series, day in self._newest.items():
            newest[kind_of(series)] = max(day, newest.get(kind_of(series), day))
        return newest

    def _is_over(self, series: Series, newest: Mapping[Kind, date]) -> bool:
        return is_over(series, self._newest[series], newest[kind_of(series)])


def kind_of(series: Series) -> Kind:
    """What a series is published together with."""
    return series.market, series.dataset, series.interval


def _after_months(known: Mapping[Period, State]) -> date:
    """The first day behind the recent months that are here, at most a month before the first recent day."""
    stored = [period for period, state in known.items() if state is State.STORED]
    months = [period.last for period in stored if period.cadence is Cadence.MONTHLY]
    days = [period.first for period in known if period.cadence is Cadence.DAILY]
    return max(months) + timedelta(days=1) if months else min(days, default=date.max)
