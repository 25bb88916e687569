"""Data is deleted: all of it, or some series, with everything that the status database knows of them.

Only files of ours go (`core.jobs.holdings`); what is somebody else's stays, and so does what lies behind a link. Of
each series the files go first, then its rows in the database: whoever is killed in between leaves rows whose files a
download would miss, and a second call finishes. The database itself goes last.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from core.download.tracker import DELETE, REBUILD, DownloadTracker
from core.errors import StorageError
from core.jobs.alone import alone
from core.jobs.holdings import Foreign, Held, What, holdings, holdings_of, series_held, tidy, tidy_all
from core.layout import Layout
from core.storage.draft import unlink
from core.storage.turns import taking_turns
from core.types import Series

BESIDE: Final = ("daily_update", "features", "cleanup", REBUILD)
"""Commands beside which nothing is deleted; whatever downloads is a run, of which the status database tells."""
_LAST: Final = (What.LOG, What.METADATA, What.FORMER_DATABASE)


@dataclass(slots=True)
class Extent:
    """Files that go, or have gone, by what they are, and their bytes; what stays in their folders for it is none of
    ours; what could not be deleted; and how many archives the status database has forgotten."""

    files: Counter[What] = field(default_factory=Counter)
    bytes: Counter[What] = field(default_factory=Counter)
    stays: dict[Path, str] = field(default_factory=dict)
    failures: dict[Path, str] = field(default_factory=dict)
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Deletion:
    """All data under a data root that is ours, or with `wanted` that of some series."""

    layout: Layout
    wanted: Sequence[Series] | None = None

    def look(self) -> Extent:
        """What would go, and what would stay. Raises StorageError."""
        extent = Extent()
        for one in holdings(self.layout) if self.wanted is None else self._of_wanted(self.wanted):
            _note(one, extent)
        return extent

    def run(self, says: Callable[[str], None] = lambda _: None) -> Extent:
        """Delete it. What cannot be deleted stays, and the rest goes. Raises AlreadyRunning, TrackerError."""
        extent = Extent()
        with contextlib.ExitStack() as stack:
            for command in BESIDE:
                stack.enter_context(alone(self.layout, command, DELETE))
            tracker = stack.enter_context(DownloadTracker(self.layout.database))
            run = tracker.begin_run(DELETE)
            is_all_gone = False
            try:
                for one in self._cross_sections(self.wanted):
                    _delete(one, extent)
                for series in self._series(tracker) if self.wanted is None else self.wanted:
                    says(f"{sum(extent.files.values()):,} files deleted; now {series}")
                    self._delete_series(tracker, series, extent)
                    tracker.heartbeat(run, {})
                is_all_gone = self.wanted is None and self._delete_rest(extent)
            finally:
                if not is_all_gone:  # else nobody may begin before the database has gone, too
                    tracker.finish_run(run)
        if is_all_gone:
            for suffix in ("-shm", "-wal", "-journal", ""):
                _delete(_database(self.layout, suffix), extent)
            tidy_all(self.layout)
        return extent

    def _series(self, tracker: DownloadTracker) -> list[Series]:
        return sorted({*series_held(self.layout), *(one.series for one in tracker.followed())}, key=str)

    def _of_wanted(self, wanted: Sequence[Series]) -> Iterator[Held | Foreign]:
        yield from self._cross_sections(wanted)
        for series in wanted:
            yield from holdings_of(self.layout, series)

    def _cross_sections(self, wanted: Sequence[Series] | None) -> Iterator[Held]:
        """Those that have rows of the series."""
        groups = {(one.market, one.dataset, one.interval) for one in wanted or ()}
        for one in holdings(self.layout, "cache"):
            if isinstance(one, Held) and one.what is What.CROSS_SECTION and one.series is not None:
                like = one.series
                if wanted is None or (like.market, like.dataset, like.interval) in groups:
                    yield one

    def _delete_series(self, tracker: DownloadTracker, series: Series, extent: Extent) -> None:
        failed = len(extent.failures)
        with taking_turns(self.layout, series):
            for one in list(holdings_of(self.layout, series)):
                _delete(one, extent)
            if len(extent.failures) == failed:
                tidy(self.layout, series)
                extent.forgotten += tracker.forget(series)

    def _delete_rest(self, extent: Extent) -> bool:
        """Whatever is not of one series, but the database; whether all that is ours has gone."""
        left = list(holdings(self.layout))
        for one in (each for each in left if not isinstance(each, Held) or each.what not in (*_LAST, What.DATABASE)):
            _delete(one, extent)
        if extent.failures:
            return False
        for one in (each for each in left if isinstance(each, Held) and each.what in _LAST):
            _delete(one, extent)
        return not extent.failures


def _note(one: Held | Foreign | None, extent: Extent) -> None:
    if isinstance(one, Foreign):
        extent.stays[one.path] = one.why
    elif one is not None:
        extent.files[one.what] += 1
        extent.bytes[one.what] += one.size


def _delete(one: Held | Foreign | None, extent: Extent) -> None:
    if isinstance(one, Held):
        try:
            unlink(one.path)
        except StorageError as error:
            extent.failures[one.path] = str(error)
            return
    _note(one, extent)


def _database(layout: Layout, suffix: str) -> Held | None:
    path = layout.database.with_name(f"{layout.database.name}{suffix}")
    try:
        return Held(path, What.DATABASE, path.stat().st_size, 0)
    except FileNotFoundError:
        return None
