"""Small partitions become large ones: storage merges them, the catalog is told."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from core.download.tracker import DownloadTracker
from core.errors import DiskFull, StorageError, storage_error
from core.jobs.stock import put_right
from core.layout import Layout
from core.storage.files import files_of
from core.storage.manager import StorageManager
from core.storage.merging import Group, groups_of, merged, smaller_groups
from core.storage.survey import Survey, survey
from core.types import Period, Series


@dataclass(frozen=True, slots=True)
class Merge:
    """`files` partitions that became the one of `period`, or will; then `bytes_after` and `seconds` are 0."""

    series: Series
    period: Period
    files: int
    rows: int
    bytes_before: int
    bytes_after: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What came of some series; files and bytes are those of all their partitions. `failures` by message."""

    merges: list[Merge] = field(default_factory=list)
    failures: dict[str, Series] = field(default_factory=dict)
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    def fail(self, series: Series, error: StorageError) -> None:
        self.failures.setdefault(str(error), series)


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Merges partitions of months and years that are over on the day `today`, into files of at most `most_bytes`."""

    storage: StorageManager
    layout: Layout
    group_rows: int
    most_bytes: int
    today: date

    def look(self, series: Sequence[Series]) -> Outcome:
        """What `run` would merge, by the sizes of what is here; nothing is written."""
        outcome = Outcome()
        for one in series:
            try:
                found = survey(self.layout, one)
                groups = list(groups_of(found, self.most_bytes, self.today))
                files, size = self._extent(one)
            except StorageError as error:
                outcome.fail(one, error)
                continue
            for damaged in found.damaged.values():
                outcome.fail(one, damaged)
            outcome.merges += [_merge_of(group) for group in groups]
            outcome.files_before += files
            outcome.bytes_before += size
            outcome.files_after += files - len(found.covered) - sum(len(group.partitions) - 1 for group in groups)
        return outcome

    def run(self, series: Series, tracker: DownloadTracker, outcome: Outcome) -> None:
        """Merge what can be merged of a series. What fails leaves the rest alone; DiskFull and TrackerError are raised.

        Nobody else stores archives of the series meanwhile.
        """
        try:
            with self.storage.turn(series):
                files, size = self._extent(series)
                outcome.files_before += files
                outcome.bytes_before += size
                found = put_right(self.storage, tracker, self.layout, series)
                for damaged in found.damaged.values():
                    outcome.fail(series, damaged)
                self._merge(found, tracker, outcome)
                files, size = self._extent(series)
                outcome.files_after += files
                outcome.bytes_after += size
        except DiskFull:
            raise
        except StorageError as error:
            outcome.fail(series, error)

    def _merge(self, found: Survey, tracker: DownloadTracker, outcome: Outcome) -> None:
        groups = list(groups_of(found, self.most_bytes, self.today))
        while groups:
            group = groups.pop(0)
            began = time.monotonic()
            try:
                whole = merged(self.layout, group.period, group.partitions, self.group_rows, self.most_bytes)
            except DiskFull:
                raise
            except StorageError as error:
                outcome.fail(group.series, error)
                whole = None
            if whole is None:  # larger than its parts are together, or one of them is damaged: then its months
                groups = [*smaller_groups(group, self.most_bytes), *groups]
                continue
            gone = [(one.series, one.period) for one in group.partitions if one.period != whole.period]
            tracker.enter([whole], gone)
            assert whole.stamp is not None, "whoever writes a file has looked at it"
            outcome.merges.append(_merge_of(group, whole.stamp.size, round(time.monotonic() - began, 3)))

    def _extent(self, series: Series) -> tuple[int, int]:
        """How many partition files a series has, and their bytes."""
        paths = files_of(self.layout, series).values()
        try:
            return len(paths), sum(path.stat().st_size for path in paths)
        except OSError as error:
            raise storage_error(error, self.layout.processed_folder(series)) from error


def _merge_of(group: Group, bytes_after: int = 0, seconds: float = 0.0) -> Merge:
    rows = sum(one.rows for one in group.partitions)
    return Merge(group.series, group.period, len(group.partitions), rows, group.size, bytes_after, seconds)
