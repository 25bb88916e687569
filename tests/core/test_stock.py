"""Whether what the catalog says is stored lies there: what is missed, and what is only elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_world import CANDLES, Archive, Vault

from core.errors import StorageError
from core.jobs.stock import not_held
from core.storage.merging import merged
from core.types import FetchedFile, Period

DAYS = tuple(Archive(Period.parse(label), number) for number, label in enumerate(["2023-12-01", "2024-01-01"]))
MONTHS = tuple(Archive(Period.parse(label), number) for number, label in enumerate(["2023-01", "2024-01"]))


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    with Vault(tmp_path) as opened:
        yield opened


def put(vault: Vault, archives: tuple[Archive, ...]) -> list[FetchedFile]:
    files = [vault.archive(CANDLES, archive) for archive in archives]
    for one in files:
        vault.enter([one], vault.store_all([one]))
    return files


def lost(vault: Vault, *files: FetchedFile) -> list[str]:
    """The keys of those that are taken for lost."""
    done = vault.tracker.plan([one.file for one in files]).done
    assert len(done) == len(files)
    return [file.key for file in not_held(vault.storage, vault.tracker, vault.layout, done).values()]


def test_a_partition_is_missed_by_everybody_who_asks_for_it(vault: Vault) -> None:
    files = put(vault, MONTHS)
    assert lost(vault, *files) == []
    for partition in vault.storage.partitions(CANDLES):
        vault.storage.remove(partition)
    for one in files:
        assert lost(vault, one) == [one.file.key]  # also behind a look at the other's
    vault.enter(files[:1], vault.store_all(files[:1]))
    assert lost(vault, *files) == [files[1].file.key]


def test_what_was_merged_and_not_entered_is_not_lost(vault: Vault) -> None:
    files = put(vault, (*DAYS[1:], Archive(Period.parse("2024-02-01"), 7)))
    parts = vault.storage.partitions(CANDLES)
    contents = {part.path: part.path.read_bytes() for part in parts}
    merged(vault.layout, Period.parse("2024"), parts, 1000)
    left = parts[1].path
    left.write_bytes(contents[left])  # as if killed before it was removed
    assert lost(vault, *files) == []
    assert [period.label for period in vault.storage.stamps(CANDLES)] == ["2024"]
    assert vault.catalog(CANDLES) == vault.footers(CANDLES)
    vault.storage.remove(vault.storage.partitions(CANDLES)[0])
    assert lost(vault, *files) == [one.file.key for one in files]


def test_a_damaged_partition_takes_nothing_else_along(vault: Vault) -> None:
    files = put(vault, DAYS)
    one, other = vault.storage.partitions(CANDLES)
    one.path.write_bytes(b"no partition")
    other.path.unlink()
    assert lost(vault, *files) == [files[1].file.key]
    with pytest.raises(StorageError):
        vault.storage.partitions(CANDLES)
