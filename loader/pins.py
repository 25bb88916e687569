"""A snapshot as the loader keeps to it: what a request may ask, proof that the rows are the locked ones, and where they
end.

The locked rows of a series end with its last locked row; what came later is not seen. Up to there, and from where the
lock begins, each month (trades: each day) that is read has to have exactly the locked content. That is proved by
reading it once; it stays proved while the files that may have rows of it keep their size and time of writing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from core.dates import format_us
from core.errors import ConfigError, SnapshotMismatch, StorageError
from core.layout import Layout
from core.nearest import did_you_mean
from core.settings import Settings
from core.snapshot.compare import HARMLESS
from core.snapshot.content import contents_of, periods_in
from core.snapshot.folder import folder_changes
from core.snapshot.lock import Lock, LockedSeries, locked_span
from core.snapshot.take import at_rest, each_in_threads
from core.storage.reading import Catalog
from core.storage.stored import StoredRows
from core.types import Market, PartitionFacts, Period, Series, Span, Stamp
from loader.arguments import Request

Stamps = dict[Period, Stamp]
Proved = Mapping[Series, Stamps]
"""The partition files for which it holds, by series."""
_SHOWN: Final = 3


class Pins:
    """A lock and the rows that were found to be its own. Threads may share it."""

    def __init__(self, lock: Lock, path: Path, storage: StoredRows) -> None:
        self._lock = lock
        self._path = path
        self._storage = storage
        self._series = lock.by_series
        self._proved: dict[Series, tuple[Stamps, frozenset[Period]]] = {}

    @property
    def lock(self) -> Lock:
        return self._lock

    def admit(self, request: Request) -> None:
        """Raises ConfigError that says what of a request lies outside the lock."""
        if request.market is not self._lock.market:
            raise self._outside(f"it covers the market {self._lock.market}, not {request.market}")
        locked = self._lock.span
        if not locked.contains(request.span):
            asked, covered = (f"{format_us(one.start_us)} to {format_us(one.end_us)}" for one in (request.span, locked))
            raise self._outside(f"it covers {covered} UTC, and {asked} is asked for")
        wanted = [request.series(dataset, symbol) for dataset in request.datasets for symbol in request.symbols]
        absent = [str(one) for one in wanted if one not in self._series]
        if absent:
            more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
            near = did_you_mean(absent[0], map(str, self._series))
            raise self._outside(f"it does not cover {', '.join(absent[:_SHOWN])}{more}{near}")

    def bounds(self, series: Series) -> Span:
        """From where the lock begins to just behind the last locked row of a series; empty if it has none."""
        own = locked_span(series, self._lock.span)
        return Span(own.start_us, max(own.start_us, min(own.end_us, self._series[series].last_us + 1)))

    def reach(self, wanted: Sequence[Series], span: Span) -> Span:
        """So much of a span as any of these series has locked rows in: what lies behind is not even read."""
        bounds = [self.bounds(one) for one in wanted]
        whole = Span(min(one.start_us for one in bounds), max(one.end_us for one in bounds))
        return _common(whole, span)

    def prove(self, wanted: Sequence[Series], span: Span) -> Proved:
        """That the rows of these series in `span` are the locked ones, all of them and no others, as far as they lie in
        their bounds. Raises SnapshotMismatch that names what is not, ConfigError if the lock ends before `span` does.
        """
        for series in wanted:
            if series not in self._series:
                raise self._outside(f"it does not cover {series}")
            ends_us = locked_span(series, self._lock.span).end_us
            if span.end_us > ends_us:
                raise self._outside(
                    f"{series} is needed until {format_us(span.end_us)}, it covers {format_us(ends_us)}"
                )
        each = list(dict.fromkeys(wanted))
        return dict(zip(each, each_in_threads(lambda one: self._prove(one, span), each), strict=True))

    def still(self, proof: Proved) -> bool:
        """Whether the files are still those for which it was proved."""
        return all(self._storage.stamps(series) == stamps for series, stamps in proof.items())

    @property
    def advice(self) -> str:
        """What to do about rows that are missing."""
        return f"No more is locked by the snapshot {self._path}; a loader without it gives all that is stored"

    def with_rows(self) -> tuple[Series, ...]:
        """The series of which rows are locked, sorted."""
        return tuple(one.series for one in self._lock.series if one.contents)

    def _prove(self, series: Series, span: Span) -> Stamps:
        def look() -> tuple[Stamps, bool]:
            stamps = self._storage.stamps(series)
            proved = self._still_proved(series, stamps)
            wanted = frozenset(periods_in(series, _common(self.bounds(series), span))) - proved
            is_equal = not wanted or self._is_equal(self._series[series], wanted)
            if is_equal:
                self._proved[series] = (stamps, proved | wanted)
            return stamps, is_equal

        stamps, is_equal = at_rest(self._storage, series, look)
        if not is_equal:
            raise self._mismatch(series)
        return stamps

    def _still_proved(self, series: Series, stamps: Stamps) -> frozenset[Period]:
        before, proved = self._proved.get(series, ({}, frozenset()))
        if before == stamps:
            return proved
        changed = [period for period, _ in before.items() ^ stamps.items()]
        around = [self._storage.around(period.span) for period in changed]
        return frozenset(period for period in proved if not any(period.span.overlaps(span) for span in around))

    def _is_equal(self, locked: LockedSeries, wanted: frozenset[Period]) -> bool:
        """Whether these periods have exactly the locked content; those between them are read along."""
        reach = Span(min(wanted).span.start_us, max(wanted).span.end_us)
        rows = self._storage.scan(locked.series, _common(self.bounds(locked.series), reach))
        found = {content.period: content for content in contents_of(locked.series, rows)}
        before = locked.by_period
        return all(found.get(period) == before.get(period) for period in wanted)

    def _mismatch(self, series: Series) -> SnapshotMismatch:
        found = folder_changes(self._series[series], self._storage, self._lock.span)
        broken = [str(change) for change in found if change.kind not in HARMLESS]
        if not broken:
            raise StorageError(f"{series} keeps changing while it is compared with {self._path}; try again")
        more = f"; and {len(broken) - 1} more" if len(broken) > 1 else ""
        return SnapshotMismatch(
            f"what is stored is not what {self._path} locked: {broken[0]}{more}. To see all: "
            f"python scripts/snapshot.py diff {self._path}"
        )

    def _outside(self, why: str) -> ConfigError:
        return ConfigError(f"outside the snapshot {self._path}: {why}; ask for less, or create a lock that covers more")


class PinnedStorage(StoredRows):
    """Storage as the loader asks it, in which only locked series are stored, each within its bounds."""

    def __init__(self, layout: Layout, settings: Settings, catalog: Catalog, lock: Lock, path: Path) -> None:
        super().__init__(layout, settings.storage, settings.quality, catalog)
        self.pins = Pins(lock, path, StoredRows(layout, settings.storage, settings.quality, catalog))

    def facts(self, wanted: Sequence[Series], span: Span | None = None) -> list[tuple[PartitionFacts, ...]]:
        locked = [one for one in wanted if one in self.pins.lock.by_series]
        found = dict(zip(locked, super().facts(locked, span), strict=True))
        bounds = {one: self.pins.bounds(one) for one in locked}
        return [
            tuple(_clipped(part, bounds[one]) for part in found.get(one, ()) if _has(part, bounds[one]))
            for one in wanted
        ]

    def stamps(self, series: Series) -> dict[Period, Stamp]:
        return super().stamps(series) if series in self.pins.lock.by_series else {}

    def series(self, market: Market | None = None, dataset: str | None = None) -> tuple[Series, ...]:
        return tuple(
            one for one in self.pins.with_rows() if market in (None, one.market) and dataset in (None, one.dataset)
        )


def _common(one: Span, other: Span) -> Span:
    start_us = max(one.start_us, other.start_us)
    return Span(start_us, max(start_us, min(one.end_us, other.end_us)))


def _has(part: PartitionFacts, bounds: Span) -> bool:
    return part.first_us < bounds.end_us and part.last_us >= bounds.start_us


def _clipped(part: PartitionFacts, bounds: Span) -> PartitionFacts:
    return replace(part, first_us=max(part.first_us, bounds.start_us), last_us=min(part.last_us, bounds.end_us - 1))
