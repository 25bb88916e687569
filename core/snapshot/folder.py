"""A lock against a data folder: what differs, told as closely as the rows themselves allow."""

from collections.abc import Callable
from dataclasses import dataclass

from core.snapshot.compare import HARMLESS, Change, ChangeKind, Tail, changes_of
from core.snapshot.lock import Content, Lock, LockedSeries, locked_span
from core.snapshot.take import contents_in, each_in_threads, locked
from core.storage.stored import StoredRows
from core.types import Period, Series, Span


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a lock's rows in a folder: `changes` in order of series and period."""

    changes: tuple[Change, ...]

    @property
    def broken(self) -> tuple[Change, ...]:
        """Changes after which some locked row is not there as it was, or another lies between."""
        return tuple(change for change in self.changes if change.kind not in HARMLESS)

    @property
    def differences(self) -> tuple[Change, ...]:
        """Every change of rows; only what was merely packed otherwise is none."""
        return tuple(change for change in self.changes if change.kind is not ChangeKind.REPACKED)

    @property
    def newer_rows(self) -> int:
        """Rows behind the last locked one of their series, which a load with the lock does not see."""
        added = [change for change in self.changes if change.kind is ChangeKind.ADDED]
        return sum(change.rows_after - change.rows_before for change in added)


def against_folder(lock: Lock, storage: StoredRows, done: Callable[[Series], None] = lambda series: None) -> Verdict:
    """Compare each series of a lock with what is stored now; `done` is called for each. Raises StorageError."""
    before = lock.by_series

    def look(series: Series) -> tuple[Change, ...]:
        return folder_changes(before[series], storage, lock.span)

    found = each_in_threads(look, before, done)
    return Verdict(tuple(change for of_series in found for change in of_series))


def folder_changes(old: LockedSeries, storage: StoredRows, span: Span) -> tuple[Change, ...]:
    """What differs in one series. Raises StorageError."""
    own = locked_span(old.series, span)

    def cut(series: Series, period: Period, at_us: int) -> Tail:
        start_us, end_us = max(own.start_us, period.span.start_us), min(own.end_us, period.span.end_us)
        until = contents_in(storage, series, Span(start_us, at_us + 1))
        behind = contents_in(storage, series, Span(min(at_us + 1, end_us), end_us))
        return Tail(_only(until), _only(behind))

    return tuple(changes_of(old, locked(storage, old.series, span), cut))


def _only(contents: tuple[Content, ...]) -> Content | None:
    return contents[0] if contents else None
