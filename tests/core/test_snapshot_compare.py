"""What has become of locked rows: equal, more, filled, gone, revised, edited, or only packed otherwise."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from snapshot_world import (
    FUNDING,
    KLINES,
    MARK,
    METRICS,
    TRADES,
    Folder,
    day,
    days,
    one_cell,
    span_of_days,
    without,
)

from core.errors import NoData, StorageError
from core.snapshot.compare import Change, ChangeKind, changes, scope_differences
from core.snapshot.folder import Verdict
from core.snapshot.lock import Lock, LockedSeries, locked_span
from core.snapshot.take import locked, stored_span, take
from core.snapshot.text import to_text
from core.storage.manager import StorageManager
from core.types import Market, Series, Span

MONTH = span_of_days("2025-01-01", "2025-01-31")
HOUR_US = 3_600_000_000
NEW_YEAR_US = 1_735_689_600_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def hour(number: int) -> int:
    """The open of an hour of January."""
    return NEW_YEAR_US + number * HOUR_US


def facts(change: Change) -> tuple[object, ...]:
    return (
        str(change.series),
        change.period.label if change.period else None,
        change.kind,
        change.rows_before,
        change.rows_after,
        change.first_us,
        change.last_us,
    )


def both_ways(folder: Folder, old: Lock) -> tuple[Change, ...]:
    """What has changed, which two locks tell as the rows themselves do."""
    verdict = folder.verdict(old)
    new = folder.lock([one.series for one in old.series], old.span)
    assert tuple(changes(old, new)) == verdict.changes
    return verdict.changes


def test_the_same_folder_is_equal_and_its_lock_has_the_same_bytes(folder: Folder) -> None:
    folder.put(KLINES, ["2024-12", *days(1, 5)])
    folder.put(FUNDING, ["2024-12"])
    one, two = folder.lock([KLINES, FUNDING]), folder.lock([FUNDING, KLINES])
    assert folder.verdict(one) == Verdict(())
    assert one == two
    again = Lock(two.market, two.span, two.series, one.created, two.tool)
    assert to_text(one) == to_text(again)
    assert [(content.period.label, content.rows) for content in one.by_series[KLINES].contents] == [
        ("2024-12", 528),
        ("2025-01", 120),
    ]


def test_every_partition_is_named_with_its_archives(folder: Folder) -> None:
    folder.put(KLINES, ["2024-12", *days(1, 2)])
    locked_klines = folder.lock([KLINES]).series[0]
    assert [(part.period.label, part.rows) for part in locked_klines.partitions] == [("2024", 528), ("2025-01", 48)]
    key = "data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-02.zip"
    second = locked_klines.partitions[1].origins[1]
    assert (second.key, second.rows, second.first_us, second.last_us) == (key, 24, hour(24), hour(47))
    zipped = folder.root / "raw/um/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-02.zip"
    assert second.sha256 == hashlib.sha256(zipped.read_bytes()).hexdigest()
    file = folder.root / "processed/um/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01.parquet"
    assert locked_klines.partitions[1].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_days_that_come_later_are_added_and_harmless(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    lock = folder.lock([KLINES])
    folder.put(KLINES, days(4, 5))
    (change,) = both_ways(folder, lock)
    assert facts(change) == (str(KLINES), "2025-01", ChangeKind.ADDED, 72, 120, hour(72), hour(119))
    verdict = folder.verdict(lock)
    assert (verdict.broken, verdict.newer_rows, verdict.differences) == ((), 48, (change,))
    assert str(change) == (
        "um/klines/BTCUSDT/1h 2025-01: 48 rows added, 2025-01-04 00:00:00 to 2025-01-05 23:00:00 "
        "(an archive was added: data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-04.zip, 24 rows; "
        "an archive was added: data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-05.zip, 24 rows)"
    )


def test_a_month_that_takes_the_place_of_its_days_adds_what_it_has_more(folder: Folder) -> None:
    folder.put(KLINES, days(10, 20, "2024-12"))
    lock = folder.lock([KLINES])
    folder.put(KLINES, ["2024-12"])
    (change,) = folder.verdict(lock).changes
    assert (change.kind, change.rows_before, change.rows_after) == (ChangeKind.ADDED, 264, 528)
    last = lock.series[0].last_us
    assert (change.first_us, change.last_us) == (last + HOUR_US, last + 264 * HOUR_US)
    key = "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12.zip"
    assert change.causes == (f"an archive was added: {key}, 528 rows",)
    # Locks alone have no rows, and cannot tell that the first 264 are the same.
    (blind,) = changes(lock, folder.lock([KLINES], lock.span))
    assert blind.kind is ChangeKind.CHANGED
    assert "an archive is no longer used: data/futures/um/daily" in str(blind)


def test_later_months_are_added(folder: Folder) -> None:
    folder.put(KLINES, ["2024-12"])
    lock = folder.lock([KLINES], span_of_days("2024-12-01", "2025-01-31"))
    folder.put(KLINES, days(1, 1))
    (change,) = both_ways(folder, lock)
    assert facts(change) == (str(KLINES), "2025-01", ChangeKind.ADDED, 0, 24, hour(0), hour(23))


@pytest.mark.parametrize("rest", [False, True], ids=["by a day's archive", "by the API"])
def test_a_gap_that_is_filled_is_told_with_where_it_was_and_by_what(folder: Folder, rest: bool) -> None:
    folder.put(KLINES, [*days(1, 3), *days(5, 6)])
    lock = folder.lock([KLINES])
    folder.put(KLINES, [day(4)], rest=rest)
    (change,) = both_ways(folder, lock)
    assert facts(change) == (str(KLINES), "2025-01", ChangeKind.FILLED, 120, 144, hour(72), hour(95))
    assert folder.verdict(lock).broken == (change,)
    whence = (
        "an answer of the exchange's API was added: rest/um/klines/BTCUSDT/1h/2025-01-04, 24 rows"
        if rest
        else "an archive was added: data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-04.zip, 24 rows"
    )
    assert change.causes == (whence,)
    assert str(change).startswith(
        "um/klines/BTCUSDT/1h 2025-01: 24 rows more, a gap was filled, 2025-01-04 00:00:00 to 2025-01-04 23:00:00"
    )


def test_a_gap_of_a_whole_period_is_filled(folder: Folder) -> None:
    folder.put(TRADES, [day(3), day(5)])
    lock = folder.lock([TRADES])
    folder.put(TRADES, [day(4)])
    (change,) = both_ways(folder, lock)
    assert (change.kind, change.period and change.period.label, change.rows_before) == (ChangeKind.FILLED, day(4), 0)


def test_one_changed_cell_of_a_revised_archive_is_found_and_named(folder: Folder) -> None:
    folder.put(KLINES, ["2024-12", *days(1, 3)])
    folder.put(MARK, days(1, 3))
    lock = folder.lock([KLINES, MARK])
    was = {origin.key: origin.sha256 for part in lock.by_series[KLINES].partitions for origin in part.origins}
    folder.put(KLINES, [day(2)], edit=one_cell(5, 4, "12345.6"))
    (change,) = both_ways(folder, lock)
    assert facts(change) == (str(KLINES), "2025-01", ChangeKind.REVISED, 72, 72, hour(24), hour(47))
    key = "data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-02.zip"
    now = next(o.sha256 for part in folder.lock([KLINES]).series[0].partitions for o in part.origins if o.key == key)
    assert change.causes == (f"{key} was revised: sha256 {was[key][:12]} became {now[:12]}",)
    assert folder.verdict(lock).broken == (change,)


def test_a_revised_archive_with_fewer_rows(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    lock = folder.lock([KLINES])
    folder.put(KLINES, [day(2)], edit=without(3, 4))
    (change,) = both_ways(folder, lock)
    assert (change.kind, change.rows_before, change.rows_after) == (ChangeKind.REVISED, 72, 70)
    assert "70 rows instead of 72, with other content, 2025-01-02 00:00:00 to 2025-01-02 23:00:00" in str(change)


def test_a_revision_and_added_rows_are_two_changes_where_rows_can_be_told_apart(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    lock = folder.lock([KLINES])
    folder.put(KLINES, [day(2)], edit=one_cell(5, 4, "12345.6"))
    folder.put(KLINES, [day(4)])
    one, other = folder.verdict(lock).changes
    assert facts(one) == (str(KLINES), "2025-01", ChangeKind.REVISED, 72, 72, hour(24), hour(47))
    assert facts(other) == (str(KLINES), "2025-01", ChangeKind.ADDED, 72, 96, hour(72), hour(95))
    assert [len(one.causes), len(other.causes)] == [1, 1]
    assert (folder.verdict(lock).broken, folder.verdict(lock).newer_rows) == ((one,), 24)
    (blind,) = changes(lock, folder.lock([KLINES], lock.span))
    assert facts(blind) == (str(KLINES), "2025-01", ChangeKind.REVISED, 72, 96, hour(24), hour(47))


def test_locked_rows_that_have_gone_are_told_apart_from_newer_ones(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    lock = folder.lock([KLINES])
    folder.storage.remove(folder.partitions(KLINES)[0])
    folder.put(KLINES, [day(5)])
    one, other = folder.verdict(lock).changes
    assert facts(one) == (str(KLINES), "2025-01", ChangeKind.CHANGED, 72, 0, None, None)
    assert facts(other) == (str(KLINES), "2025-01", ChangeKind.ADDED, 0, 24, hour(96), hour(119))


def test_an_archive_published_anew_with_the_same_rows_is_no_change(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    lock = folder.lock([KLINES])
    folder.put(KLINES, [day(2)], edit=lambda lines: [lines[0], *lines[1:], lines[-1]])  # a row twice: stored once
    (change,) = both_ways(folder, lock)
    assert (change.kind, change.period) == (ChangeKind.REPACKED, None)
    assert "BTCUSDT-1h-2025-01-02.zip was revised without a change of its rows" in str(change)
    assert (folder.verdict(lock).broken, folder.verdict(lock).differences) == ((), ())


def test_rows_that_were_edited_on_disk_are_found_though_every_archive_is_the_same(folder: Folder) -> None:
    folder.put(KLINES, ["2024-12"])
    lock = folder.lock([KLINES])

    def edited(number: int, row: dict[str, object]) -> dict[str, object]:
        return row | {"trades": 1} if number == 100 else row

    folder.rewrite(KLINES, edited)
    (change,) = both_ways(folder, lock)
    assert facts(change) == (str(KLINES), "2024-12", ChangeKind.CHANGED, 528, 528, None, None)
    assert change.causes == ("the archives are the same, so the partition was edited or damaged",)


def test_a_partition_that_has_gone_is_told(folder: Folder) -> None:
    folder.put(KLINES, ["2024-12", *days(1, 2)])
    lock = folder.lock([KLINES])
    folder.storage.remove(folder.partitions(KLINES)[0])
    (change,) = both_ways(folder, lock)
    assert (change.kind, change.period and change.period.label, change.rows_before, change.rows_after) == (
        ChangeKind.REMOVED,
        "2024-12",
        528,
        0,
    )
    assert change.causes == (
        "an archive is no longer used: data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12.zip",
    )


def test_other_files_with_the_same_rows_are_no_change(folder: Folder) -> None:
    folder.put(KLINES, days(10, 31, "2024-12"))
    folder.put(TRADES, days(20, 22))
    lock = folder.lock([KLINES, TRADES])
    folder.put(KLINES, ["2024-12"])
    folder.merge(TRADES, "2025-01")
    one, other = both_ways(folder, lock)
    assert (one.kind, other.kind) == (ChangeKind.REPACKED, ChangeKind.REPACKED)
    assert one.causes[0] == "files 2024 instead of 2024-12"
    assert other.causes == ("files 2025-01 instead of 2025-01-20, 2025-01-21, 2025-01-22",)
    assert folder.verdict(lock).differences == ()
    assert folder.lock([KLINES, TRADES], lock.span).content == lock.content


def test_other_packing_is_told_as_such(folder: Folder) -> None:
    folder.put(KLINES, ["2024-12"])
    lock = folder.lock([KLINES])
    folder.repack(KLINES, 50, compression="gzip")
    (change,) = both_ways(folder, lock)
    assert str(change) == ("um/klines/BTCUSDT/1h: the same rows, packed otherwise (the same archives, written anew)")


def test_rows_outside_the_span_of_a_lock_do_not_concern_it(folder: Folder) -> None:
    folder.put(KLINES, days(1, 4))
    lock = folder.lock([KLINES], span_of_days("2025-01-02", "2025-01-03"))
    assert lock.rows == 48
    folder.put(KLINES, [day(1), day(4)], edit=one_cell(5, 4, "12345.6"))
    assert folder.verdict(lock).differences == ()
    folder.put(KLINES, [day(3)], edit=one_cell(5, 4, "12345.6"))
    assert [change.kind for change in folder.verdict(lock).changes] == [ChangeKind.REVISED]


def test_funding_is_locked_from_a_day_before_to_the_instant_of_the_end(folder: Folder) -> None:
    folder.put(FUNDING, ["2024-12", "2025-01"])
    span = span_of_days("2025-01-02", "2025-01-03")
    one = locked(folder.storage, FUNDING, span)
    assert locked_span(FUNDING, span) == Span(hour(24) - 24 * HOUR_US, hour(72) + 1)
    assert one.contents[0].first_us // HOUR_US * HOUR_US == hour(0)
    assert [content.period.label for content in one.contents] == ["2025-01"]
    assert locked_span(KLINES, span) == span


def test_a_midnight_that_a_later_file_has_otherwise_is_a_change_of_the_last_locked_row(folder: Folder) -> None:
    folder.put(METRICS, days(10, 12))
    lock = folder.lock([METRICS])

    def earlier(lines: list[str]) -> list[str]:
        first = next(line for line in lines if line.startswith("2025-01-13 00:05:00"))
        return [*lines, first.replace("2025-01-13 00:05:00", "2025-01-13 00:00:00")]

    folder.put(METRICS, [day(13)], edit=earlier)
    one, other = folder.verdict(lock).changes
    assert (one.kind, one.rows_before, one.rows_after) == (ChangeKind.CHANGED, 864, 864)
    assert one.causes == (
        "an archive was added: data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2025-01-13.zip, 289 rows",
    )
    assert (other.kind, other.rows_after - other.rows_before) == (ChangeKind.ADDED, 288)


def test_a_series_without_rows_is_locked_as_such(folder: Folder) -> None:
    folder.put(KLINES, days(1, 2))
    lock = folder.lock([KLINES, MARK], MONTH)
    assert lock.by_series[MARK] == LockedSeries(MARK)
    folder.put(MARK, days(1, 1))
    (change,) = both_ways(folder, lock)
    assert (change.series, change.kind, change.rows_after) == (MARK, ChangeKind.ADDED, 24)


def test_locks_that_cover_other_things_say_so(folder: Folder) -> None:
    folder.put(KLINES, days(1, 4))
    folder.put(MARK, days(1, 4))
    old, new = folder.lock([KLINES], MONTH), folder.lock([MARK], span_of_days("2025-01-01", "2025-01-30"))
    assert scope_differences(old, new) == (
        "2025-01-01 00:00:00 to 2025-01-31 00:00:00, not 2025-01-01 00:00:00 to 2025-02-01 00:00:00",
        "um/klines/BTCUSDT/1h is no longer covered",
        "um/mark_price/BTCUSDT/1h is covered too",
    )
    assert list(changes(old, new)) == []
    assert scope_differences(old, old) == ()


def test_the_span_of_what_is_stored_is_whole_months(folder: Folder) -> None:
    folder.put(KLINES, ["2024-12", *days(1, 4)])
    assert stored_span(folder.storage, [KLINES, MARK]) == span_of_days("2024-12-01", "2025-01-31")
    with pytest.raises(NoData):
        stored_span(folder.storage, [MARK])


class _Updating(StorageManager):
    """Storage of which something else happens to the data folder while rows are read, so often."""

    def __init__(self, folder: Folder, updates: Iterable[tuple[Series, str]]) -> None:
        super().__init__(folder.layout, folder.settings.storage, folder.settings.quality)
        self._folder = folder
        self._updates = list(updates)

    def scan(self, series: Series, span: Span, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        batches = super().scan(series, span, columns)
        yield from batches
        if self._updates:
            one, label = self._updates.pop(0)
            self._folder.put(one, [label], edit=one_cell(3, 4, f"{len(self._updates)}.5"))


def test_a_series_that_changes_while_it_is_read_is_read_again(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    updating = _Updating(folder, [(KLINES, day(4)), (KLINES, day(2))])
    assert locked(updating, KLINES, MONTH) == locked(folder.storage, KLINES, MONTH)
    assert locked(folder.storage, KLINES, MONTH).rows == 96


def test_a_series_that_never_rests_is_an_error(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    updating = _Updating(folder, [(KLINES, day(2))] * 9)
    with pytest.raises(StorageError, match="um/klines/BTCUSDT/1h keep changing"):
        take(updating, Market.UM, MONTH, [KLINES])


def test_a_partition_that_cannot_be_read_is_an_error_and_not_a_difference(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    lock = folder.lock([KLINES])
    folder.partitions(KLINES)[0].path.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(StorageError, match="is no partition of ours"):
        folder.verdict(lock)
