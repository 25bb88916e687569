"""Rows are those of one moment, whatever an update writes while they are looked up and read."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from storage_world import TRADES, Archive, Vault, expected
from test_storage_beside import HOURS, JAN, day, hours

import core.storage.partitions
import loader.reader
from core.errors import FilesChanged
from core.integrity.checker import IntegrityChecker
from core.settings import QualitySettings, StorageSettings
from core.storage.holding import HELD
from core.storage.joined import joined
from core.storage.manager import StorageManager
from core.types import Partition, Period, Series, Span
from loader import BacktestDataLoader

ALWAYS = Span(0, 2**60)


@pytest.fixture(name="vault")
def _vault(tmp_path: Path) -> Iterator[Vault]:
    with Vault(tmp_path / "data") as vault:
        yield vault


def once(work: Callable[[], object]) -> Callable[[], None]:
    """Does something when it is called the first time."""
    left = [work]

    def called() -> None:
        if left:
            left.pop()()

    return called


class Interrupted(StorageManager):
    """Something happens as soon as partitions have been looked up."""

    def __init__(self, vault: Vault, happen: Callable[[], None]) -> None:
        super().__init__(vault.layout, StorageSettings(), QualitySettings())
        self._happen = happen

    def partitions(self, series: Series, span: Span | None = None) -> tuple[Partition, ...]:
        found = super().partitions(series, span)
        self._happen()
        return found


def hours_of(batches: Any) -> list[int]:
    stamps = [each for batch in batches for each in batch.column("timestamp").to_pylist()]
    return [(each.day - 1) * 24 + each.hour for each in stamps]


def test_rows_of_another_file_are_no_rows_of_a_partition(vault: Vault) -> None:
    for number in (2, 3):
        vault.store(HOURS, day(number).period, hours(range(24), first=number))
    before = vault.storage.partitions(HOURS)
    vault.store(HOURS, day(1).period, hours(range(24)))
    with pytest.raises(FilesChanged, match=r"BTCUSDT-1h-2024-01\.parquet changed while um/klines/BTCUSDT/1h was read"):
        list(joined(before, ALWAYS, None, 1000))


def test_a_scan_begins_again_until_it_has_given_a_row(vault: Vault) -> None:
    for number in (2, 3):
        vault.store(HOURS, day(number).period, hours(range(24), first=number))
    storage = Interrupted(vault, once(lambda: vault.store(HOURS, day(1).period, hours(range(24)))))
    assert hours_of(storage.scan(HOURS, ALWAYS)) == list(range(72))
    checker = IntegrityChecker(
        vault.layout, Interrupted(vault, once(lambda: vault.store(HOURS, day(4).period, hours(range(24), first=4))))
    )
    found = checker.examine(HOURS)
    assert (found.rows, found.findings, found.gaps) == (96, (), ())


def test_what_a_month_takes_the_place_of_meanwhile_is_not_lost(vault: Vault) -> None:
    for number in (1, 2):
        vault.store(HOURS, day(number).period, hours(range(24), first=number))
    storage = Interrupted(vault, once(lambda: vault.store(HOURS, JAN, hours(range(49)))))
    assert hours_of(storage.scan(HOURS, ALWAYS)) == list(range(49))


def test_footers_that_are_read_are_those_of_one_moment(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The month is stored between the folder's listing and the first footer: the only file that was listed goes."""
    for number in (1, 2):
        vault.store(HOURS, day(number).period, hours(range(24), first=number))
    happen, read = once(lambda: vault.store(HOURS, JAN, hours(range(49)))), core.storage.partitions.partition_at

    def partition_at(path: Path, series: Series, period: Period) -> Partition | None:
        happen()
        return read(path, series, period)

    monkeypatch.setattr(core.storage.partitions, "partition_at", partition_at)
    assert [one.period.label for one in vault.storage.partitions(HOURS)] == ["2024"]


def test_a_scan_that_has_begun_gives_the_rows_of_its_moment(vault: Vault) -> None:
    archives = [day(number) for number in (1, 2, 3)]
    for one in archives:
        vault.put(TRADES, [one])
    scan = vault.storage.scan(TRADES, ALWAYS, ["timestamp", "price"])
    rows = next(scan).to_pylist()
    vault.put(TRADES, [Archive(day(2).period, 5)])
    vault.put(TRADES, [Archive(JAN, 1, (2,))])
    rows += [row for batch in scan for row in batch.to_pylist()]
    assert {row["timestamp"]: row["price"] for row in rows} == expected(TRADES, archives)
    assert len(rows) == 6


def test_where_files_are_too_many_to_hold_a_change_behind_the_first_row_is_said(vault: Vault) -> None:
    first = date(2024, 1, 1)
    days = [Archive(Period.day(first + timedelta(days=number)), 1) for number in range(HELD + 1)]
    for one in days:
        vault.put(TRADES, [one])
    scan = vault.storage.scan(TRADES, ALWAYS, ["timestamp"])
    next(scan)
    vault.put(TRADES, [Archive(days[-1].period, 5)])
    with pytest.raises(FilesChanged, match="try again after the update") as caught:
        list(scan)
    assert caught.value.retryable
    assert len(vault.rows(TRADES)) == 2 * len(days)


def test_a_loader_looks_again_if_what_it_found_has_changed(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (2, 3):
        vault.store(HOURS, day(number).period, hours(range(24), first=number))
    happen, find = once(lambda: vault.store(HOURS, day(1).period, hours(range(24)))), loader.reader.find

    def found(*arguments: Any) -> Any:
        partitions = find(*arguments)
        happen()
        return partitions

    monkeypatch.setattr(loader.reader, "find", found)
    with BacktestDataLoader(data_dir=vault.layout.root) as opened:
        frame = opened.load_data("BTCUSDT", "2024-01-01", "2024-01-03", "klines")["klines"]
    assert [(each.day - 1) * 24 + each.hour for each in frame["timestamp"]] == list(range(72))
