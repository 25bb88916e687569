"""Symbols that the exchange has newly listed, in the markets and kinds of data that are followed."""

import functools
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from core.datasets import DATASETS
from core.download.followed import Followed
from core.download.tracker import DownloadTracker
from core.exchanges.archive import Archive
from core.jobs.request import in_order, passes
from core.settings import SymbolSettings
from core.types import ArchiveFile, Cadence, Market, Series, Span

Kind = tuple[Market, str]
"""A market and the name of a data type."""


@dataclass(slots=True)
class NewListings:
    """Finds symbols by the source's folders, of which those in `seen` were there before. `new` are the series found;
    `asked` counts questions to the listing.

    A folder that was not there when somebody looked last is new. Where nobody has looked yet, one is new whose first
    archive is newer than all that is here of its kind; so a few chosen symbols stay a few.
    """

    archive: Archive
    tracker: DownloadTracker
    symbols: SymbolSettings
    until: Span
    seen: Mapping[Kind, frozenset[str]]
    new: set[Series] = field(default_factory=set)
    asked: int = 0
    _folders: dict[Kind, tuple[str, ...]] = field(default_factory=dict)
    _unsettled: dict[Kind, set[str]] = field(default_factory=dict)

    async def files(self, known: Sequence[Followed]) -> AsyncIterator[tuple[ArchiveFile, ...]]:
        """The archives of newly listed series, from their first on, a series at a time."""
        by_kind: dict[Kind, list[Followed]] = {}
        for one in known:
            by_kind.setdefault((one.series.market, one.series.dataset), []).append(one)
        for kind, followed in by_kind.items():
            if kind[0] not in DATASETS[kind[1]].ended:
                async for files in self._of_kind(kind, followed):
                    yield files

    def settle(self) -> None:
        """Remember the folders, now that what is new among them is planned; one without archives stays new."""
        for (market, dataset), folders in self._folders.items():
            self.tracker.see(market, dataset, set(folders) - self._unsettled[market, dataset])

    async def _of_kind(self, kind: Kind, followed: Sequence[Followed]) -> AsyncIterator[tuple[ArchiveFile, ...]]:
        market, name = kind
        folders = await self.archive.list_symbols(market, DATASETS[name], None)
        self.asked += len(DATASETS[name].cadences)
        seen = self.seen.get(kind, frozenset())
        here = {one.series.symbol for one in followed}
        others = [one for one in folders if one not in here and one not in seen and passes(one, self.symbols)]
        intervals = _usual_intervals(followed)
        if not seen:
            newest = max(one.newest for one in followed)
            others = [one async for one in self._begun_after(Series(market, name, "", intervals[0]), others, newest)]
        self._folders[kind], self._unsettled[kind] = folders, set(others)
        series = [Series(market, name, symbol, interval) for symbol in others for interval in intervals]
        self.asked += sum(len(DATASETS[name].cadences_of(one.interval)) for one in series)
        async for files in in_order([functools.partial(self.archive.list_files, one, self.until) for one in series]):
            if files:
                self.new.add(files[0].series)
                self._unsettled[kind].discard(files[0].series.symbol)
                yield files

    async def _begun_after(self, like: Series, symbols: Sequence[str], day: date) -> AsyncIterator[str]:
        """Those of the symbols whose first archive is of a later day; of one that has none yet nobody knows."""
        series = [replace(like, symbol=symbol) for symbol in symbols]
        answers = in_order([functools.partial(self._first_day, one) for one in series])
        async for symbol, first in answers:
            if first is None or first > day:
                yield symbol

    async def _first_day(self, series: Series) -> tuple[str, date | None]:
        """The first day of a symbol, by its days or, where it ended before there were any, by its months."""
        for cadence in (Cadence.DAILY, Cadence.MONTHLY):
            if cadence in DATASETS[series.dataset].cadences_of(series.interval):
                self.asked += 1
                if (first := await self.archive.first_day(series, cadence)) is not None:
                    return series.symbol, first
        return series.symbol, None


def _usual_intervals(followed: Sequence[Followed]) -> list[str | None]:
    """The intervals that at least half as many symbols are followed at as at the most usual one."""
    counted: Mapping[str | None, int] = Counter(one.series.interval for one in followed)
    most = max(counted.values())
    return [interval for interval, count in counted.items() if 2 * count >= most]
