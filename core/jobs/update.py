"""The nightly update: what the exchange has published since, for every series that is here, and new symbols.

Everything that depends on the day takes it from `now`. The cost follows what is new: a page of the listing for each
series, and the archives that came.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from core.download.asking import Asking
from core.download.followed import Followed
from core.download.tracker import DownloadTracker
from core.errors import NoData
from core.events import Emit, FindingRaised
from core.exchanges.archive import Archive
from core.jobs.expected import Window
from core.jobs.filled import Filled
from core.jobs.gathering import gathered
from core.jobs.listings import NewListings
from core.jobs.selection import Selection
from core.jobs.symbols_info import Coverage, cover, record_symbols
from core.jobs.sync import Sync, SyncSummary
from core.jobs.tail import Kind, Tail, kind_of, windows_of
from core.settings import SymbolSettings
from core.types import ArchiveFile, Download, Finding, Market, Period, Series, Span, State

COMMAND: Final = "daily_update"
DAYS_BACK: Final = 7
RECHECK_DAYS: Final = 7
NAMED: Final = 3
"""Series that a finding about many names."""
RECENT_DAYS: Final = timedelta(days=46)


@dataclass(frozen=True, slots=True)
class UpdateSummary:
    """What a night came to.

    `series` were looked at, `new_series` of newly listed symbols were begun, and of `over` ones nothing is expected any
    more. `late` archives may still come; `missing_new` should be there since tonight. `behind` series had ended before
    the days that were looked at, while others of their kind went on, so that there is a hole now. `asked` counts
    questions to the listing (one page each, as a rule), `probed` those for archives that are not listed. `sync` is what
    became of the archives; `waiting` ones have a fault at the source, or are missing, and are not asked for again yet.
    Of `unknown` symbols, which were named, no series is known here.
    """

    first: date
    last: date
    series: int
    new_series: int
    over: int
    late: int
    missing_new: tuple[str, ...]
    behind: tuple[str, ...]
    waiting: int
    asked: int
    probed: int
    seconds: float
    sync: SyncSummary = field(default_factory=SyncSummary)
    gaps: Filled = field(default_factory=Filled)
    unknown: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether nothing failed, nothing is newly missing, at fault or a hole at every source, every name is known."""
        trouble = self.sync.failed or self.sync.faults or self.missing_new or self.behind or self.unknown
        return not (trouble or self.gaps.news or self.gaps.failures)

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.sync.planned or self.missing_new)


FillGaps = Callable[[Sequence[Series]], Awaitable[Filled]]
"""What fills gaps of these series once their tail is here."""


async def update(
    selection: Selection,
    sync: Sync,
    *,
    symbols: SymbolSettings | None = None,
    listing: str | None = None,
    days_back: int = DAYS_BACK,
    recheck_days: int = RECHECK_DAYS,
    new_listings: bool = True,
    fill_gaps: FillGaps | None = None,
) -> UpdateSummary:
    """Bring every known series of the selection up to the day (UTC) before that of `sync.asking`, from `days_back` days
    before, or from where the last night left off.

    `symbols` filters new listings, which are looked for unless symbols are named. `listing` is recorded with the
    symbols' days. Once in `recheck_days` days a series is looked at from its beginning for archives that were published
    anew. Raises NoData if nothing is known; what `Sync.run` raises.
    """
    began = time.monotonic()
    archive, tracker, emit, asking = sync.archive, sync.tracker, sync.emit, sync.asking
    today = datetime.fromtimestamp(asking.now_us // 1_000_000, UTC).date()
    window = Window(today - timedelta(days=days_back), today - timedelta(days=1))
    here = tracker.followed()
    known = [one for one in here if one.series in selection]
    unknown = selection.missing(one.series for one in here)
    if not known:
        near = selection.near(unknown[0], (one.series for one in here)) if unknown else ""
        what = "no series of that is known here" if here else "no series is known here yet"
        raise NoData(f"{what}{near or '; download_all.py begins them, daily_update.py carries them on'}")
    night = _night(known, archive, tracker, window, today, recheck_days, symbols or SymbolSettings({}, {}))
    night.asking = asking
    night.at_fault = tracker.at_fault(asking.now_us)
    night.finds_new = new_listings and selection.symbols is None
    done = await sync.run(night.files(selection), COMMAND)
    night.new.settle()
    missing_new = night.note_missing(emit)
    behind = night.behind(emit)
    if listing is not None:
        record_symbols(sync.layout.symbols_info, night.covered, listing)
    followed = [one.series for one in known]
    filled = await fill_gaps(sorted({*followed, *night.new.new})) if fill_gaps is not None else Filled()
    return UpdateSummary(
        first=window.first,
        last=window.last,
        series=len(known),
        new_series=len(night.new.new),
        over=len(night.tail.over),
        late=len(night.tail.late),
        missing_new=missing_new,
        behind=behind,
        waiting=night.waiting,
        asked=night.tail.asked + night.new.asked,
        probed=night.tail.probed,
        seconds=round(time.monotonic() - began, 3),
        sync=done,
        gaps=filled,
        unknown=tuple(unknown),
    )


def _night(
    known: Sequence[Followed],
    archive: Archive,
    tracker: DownloadTracker,
    window: Window,
    today: date,
    recheck_days: int,
    symbols: SymbolSettings,
) -> "_Night":
    kinds = {(one.series.market, one.series.dataset) for one in known}
    seen = tracker.seen()
    unseen = kinds - set(seen)
    windows = windows_of(known, window, unseen)
    recent = _recent(tracker, min(window.first, today - RECENT_DAYS), windows)
    tail = Tail(archive, tracker, known, recent, windows, today, recheck_days, unseen)
    until = Span(0, Span.of_days(window.last, window.last).end_us)
    return _Night(tracker, tail, NewListings(archive, tracker, symbols, until, seen))


def _recent(
    tracker: DownloadTracker, since: date, windows: Mapping[Kind, Window]
) -> Mapping[Series, Mapping[Period, State]]:
    """How archives stand since then; of kinds of which nobody has seen anything for longer, since that."""
    recent = tracker.recent(since)
    for market, dataset in {kind[:2] for kind, window in windows.items() if window.first < since}:
        first = min(window.first for kind, window in windows.items() if kind[:2] == (market, dataset))
        recent |= tracker.recent(first - timedelta(days=1), (market, dataset))
    return recent


@dataclass(slots=True)
class _Night:
    """What is looked at in one night, and what came of looking."""

    tracker: DownloadTracker
    tail: Tail
    new: NewListings
    asking: Asking = field(default_factory=lambda: Asking(0))
    finds_new: bool = True
    at_fault: Sequence[tuple[Download, bool]] = ()
    covered: Coverage = field(default_factory=dict)
    waiting: int = 0

    async def files(self, selection: Selection) -> AsyncIterator[Sequence[ArchiveFile]]:
        """The archives that need work, as they are found."""
        met: set[str] = set()
        async with aclosing(gathered(self._found())) as together:
            async for files in together:
                cover(self.covered, files)
                if some := self._unfinished(files):
                    met.update(file.key for file in some)
                    yield some
        if again := self._due(selection, met):
            yield again

    async def _found(self) -> AsyncIterator[Sequence[ArchiveFile]]:
        async for files in self.tail.listed():
            yield files
        if self.finds_new:
            async for some in self.new.files(self.tail.known):
                yield some
        async for files in self.tail.unlisted():
            yield files

    def _unfinished(self, files: Sequence[ArchiveFile]) -> list[ArchiveFile]:
        """Those that are not stored as they are listed: a second look at the others would find nothing."""
        plan = self.tracker.look(files, self.asking)
        done = {file.key for group in (plan.done, plan.waiting) for file in group.values()}
        return [file for file in files if file.key not in done]

    def _due(self, selection: Selection, met: set[str]) -> list[ArchiveFile]:
        """The archives at fault whose source is to be asked again; nobody waits for those of series that are over."""
        due = []
        for row, is_due in self.at_fault:
            series, period = row.file.series, row.file.period
            if series not in selection or row.file.key in met:
                continue
            is_over = series in self.tail.over and self.tail.is_tail(series, period)
            is_gone = row.state is State.MISSING and (is_over or self.tail.is_covered(series, period))
            if (is_due and not is_gone) or row.state in self.asking.accept:
                due.append(row.file)
            elif not is_gone:
                self.waiting += 1
        return due

    def note_missing(self, emit: Emit) -> tuple[str, ...]:
        """Enter what is missing now; the keys of which that is news. A series that ends is news once."""
        new = self.tracker.note_missing(self.tail.missing, self.asking.now_us)
        news = [file for file in self.tail.missing if file.key in new and not self._is_known_end(file)]
        groups: dict[tuple[Market, str, str | None, date], list[ArchiveFile]] = {}
        for file in news:
            series = file.series
            groups.setdefault((series.market, series.dataset, series.interval, file.period.first), []).append(file)
        for files in groups.values():
            emit(FindingRaised(_missing_finding(files)))
        return tuple(file.key for file in news)

    def _is_known_end(self, file: ArchiveFile) -> bool:
        """Whether other days at the end of this series were missing before, while others of its kind went on."""
        if not self.tail.is_tail(file.series, file.period) or self.tail.is_standstill(file.series, file.period):
            return False
        recent = self.tail.recent.get(file.series, {})
        return any(
            state is State.MISSING and self.tail.is_tail(file.series, period) for period, state in recent.items()
        )

    def behind(self, emit: Emit) -> tuple[str, ...]:
        """The series that go on, though there was nothing of the days before those that were looked at."""
        gaps = {kind: window.first - timedelta(days=1) for kind, window in self.tail.windows.items()}
        found = [
            one
            for one in self.tail.known
            if one.newest < gaps[kind_of(one.series)]
            and one.series in self.tail.begun
            and self.tail.begun[one.series] > one.newest + timedelta(days=1)
        ]
        for kind, count in Counter((one.series.market, one.series.dataset) for one in found).items():
            some = [one for one in found if (one.series.market, one.series.dataset) == kind]
            first = some[0]
            gap_from = gaps[kind_of(first.series)]
            span = Span.of_days(first.newest + timedelta(days=1), gap_from)
            detail = (
                f"{_names([one.series for one in some])}: nothing was here of {first.newest} to {gap_from}, "
                "and an update looks back no further; --fill-gaps or download_all.py brings them"
            )
            emit(FindingRaised(Finding(first.series, span, "behind", detail, count)))
        return tuple(str(one.series) for one in found)


def _missing_finding(files: Sequence[ArchiveFile]) -> Finding:
    """One finding for all series of a kind that lack the same archive."""
    period = files[0].period
    detail = f"{period.label}: no archive of {_names([file.series for file in files])}, and its time is over"
    return Finding(files[0].series, period.span, "missing", detail, len(files))


def _names(series: Sequence[Series]) -> str:
    named = ", ".join(str(one) for one in series[:NAMED])
    return named if len(series) <= NAMED else f"{named} and {len(series) - NAMED} more"
