"""What readers learn from the catalog is what the footers say, or nothing: whatever became of the files or of it."""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from storage_world import CANDLES, TRADES, Archive, Vault, World, run_child

from core.dates import DAY_US
from core.download.known import VERSION, known_partitions
from core.download.tables import MIGRATIONS
from core.errors import StorageError
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import Period, Span

JAN, FEB, MAR = (Period.month(2024, number) for number in (1, 2, 3))
NEXT_DAY = Archive(Period.day(date(2024, 4, 1)), 4)


def at_rest(vault: Vault, seconds: float = 60.0) -> None:
    """Close the database, as if it had been a while ago."""
    vault.tracker.close()
    then = time.time() - seconds
    os.utime(vault.layout.database, (then, then))
    assert not list(vault.layout.database.parent.glob("*-wal"))


@pytest.fixture
def vault(tmp_path: Path):
    with Vault(tmp_path / "data") as vault:
        vault.put(CANDLES, [Archive(JAN, 1), Archive(FEB, 2)])
        vault.put(CANDLES, [NEXT_DAY])
        yield vault


def periods(vault: Vault) -> list[str]:
    """What the catalog itself answers."""
    known = known_partitions(vault.layout, [CANDLES])
    return sorted(period.label for period in known.get(CANDLES, {}))


def spoil(path: Path) -> None:
    """A file that nobody can read, with the stamp that it had."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_it_understands_the_newest_version_of_the_database() -> None:
    assert len(MIGRATIONS) == VERSION


@pytest.mark.parametrize("rests", [False, True], ids=["at work", "at rest"])
def test_the_catalog_spares_the_footers(vault: Vault, monkeypatch: pytest.MonkeyPatch, rests: bool) -> None:
    if rests:
        at_rest(vault)
    truth = vault.reads(CANDLES)
    assert [facts.period.label for facts in truth[0]] == ["2024", "2024-04"]
    for facts in truth[0]:
        spoil(facts.path)
    monkeypatch.setattr(pq, "read_metadata", pytest.fail)
    assert vault.knows(CANDLES) == truth


def test_a_footer_is_read_where_the_catalog_knows_another_file(vault: Vault) -> None:
    vault.store_all([vault.archive(CANDLES, Archive(MAR, 3))])  # a run is killed before it enters it
    assert vault.knows(CANDLES) == vault.reads(CANDLES)
    assert vault.knows(CANDLES)[0][0].plain == (JAN, FEB, MAR)
    vault.store_all([vault.archive(CANDLES, Archive(FEB, 7, (3, 5)))])
    assert vault.knows(CANDLES) == vault.reads(CANDLES)
    assert vault.knows(CANDLES)[0][0].rows == 31 + 2 + 31


def test_files_that_came_or_went_behind_its_back(vault: Vault) -> None:
    (year, month) = vault.storage.partitions(CANDLES)
    month.path.unlink()
    assert [facts.period for facts in vault.knows(CANDLES)[0]] == [year.period]
    other = vault.storage.store([vault.archive(CANDLES, Archive(Period.month(2023, 12), 9))])
    assert vault.knows(CANDLES) == vault.reads(CANDLES)
    assert [facts.path for facts in vault.knows(CANDLES)[0]] == [other.partitions[0].path, year.path]


def test_a_file_restored_from_elsewhere_is_looked_at(vault: Vault, tmp_path: Path) -> None:
    path = vault.storage.partitions(CANDLES)[0].path
    shutil.copy2(path, tmp_path / "kept")
    vault.put(CANDLES, [Archive(MAR, 3)])
    shutil.copy2(tmp_path / "kept", path)
    assert vault.knows(CANDLES) == vault.reads(CANDLES)
    assert vault.knows(CANDLES)[0][0].plain == (JAN, FEB)


def test_a_file_is_stamped_later_than_the_one_before_even_if_the_clock_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    stamps = []
    for mark in (1, 2, 1):
        text = Archive(JAN, mark).text(CANDLES)
        world.store(CANDLES, JAN, text)
        (stamp,) = world.storage.stamps(CANDLES).values()
        assert stamp == world.storage.partitions(CANDLES)[0].stamp
        stamps.append(stamp.modified_ns)
    assert stamps == sorted(set(stamps))


def without(vault: Vault) -> None:
    vault.layout.database.unlink()


def garbage(vault: Vault) -> None:
    vault.layout.database.write_bytes(b"not a database at all, but a text\n" * 100)


def cut_off(vault: Vault) -> None:
    os.truncate(vault.layout.database, vault.layout.database.stat().st_size // 2)


def sql(*statements: str) -> Callable[[Vault], None]:
    def change(vault: Vault) -> None:
        connection = sqlite3.connect(vault.layout.database)
        with connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return change


def log_alone(vault: Vault) -> None:
    Path(f"{vault.layout.database}-wal").write_bytes(b"")


def journal(vault: Vault) -> None:
    Path(f"{vault.layout.database}-journal").write_bytes(b"a transaction that was not finished")


@pytest.mark.parametrize(
    "harm",
    [
        without,
        garbage,
        cut_off,
        log_alone,
        journal,
        sql("insert into schema_steps values (99, 'tomorrow')"),
        sql(f"delete from schema_steps where step = {VERSION}"),
        sql(
            "alter table catalog_partitions drop column modified_ns", f"delete from schema_steps where step = {VERSION}"
        ),
        sql("drop table catalog_sources"),
        sql("update catalog_partitions set modified_ns = null"),
        sql("update catalog_partitions set first_us = 'once'"),
        sql("update catalog_partitions set first_us = first_us + 1"),
        sql("update catalog_sources set rows = rows - 1"),
        sql("update catalog_partitions set schema_version = 1"),
        sql("update catalog_sources set period = 'once'"),
        sql("delete from catalog_sources"),
    ],
    ids=lambda harm: getattr(harm, "__name__", "sql"),
)
def test_a_database_that_is_not_as_it_should_be_answers_nothing(vault: Vault, harm: Callable[[Vault], None]) -> None:
    vault.tracker.close()
    assert periods(vault) == []  # it was written to a moment ago, and may be again
    harm(vault)
    if vault.layout.database.exists():
        os.utime(vault.layout.database, (1_700_000_000, 1_700_000_000))
    assert periods(vault) == []
    assert vault.knows(CANDLES) == vault.reads(CANDLES)


@given(place=st.integers(0, 10**6), content=st.binary(min_size=1, max_size=300))
@hypothesis_settings(max_examples=100, deadline=None)
def test_a_damaged_database_never_misleads_a_reader(
    shared: Path, tmp_path_factory: pytest.TempPathFactory, place: int, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(shared, folder, dirs_exist_ok=True)
    world = World(folder)
    with world.layout.database.open("rb+") as stream:
        stream.seek(place % world.layout.database.stat().st_size)
        stream.write(content)
    os.utime(world.layout.database, (1_700_000_000, 1_700_000_000))
    with_catalog = StorageManager(
        world.layout, StorageSettings(), QualitySettings(), partial(known_partitions, world.layout)
    )
    wanted, span = [CANDLES, TRADES], Span(0, 2**50)
    assert with_catalog.facts(wanted, span) == world.storage.facts(wanted, span)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose database is at rest."""
    folder = tmp_path_factory.mktemp("shared")
    with Vault(folder) as vault:
        vault.put(CANDLES, [Archive(Period.month(2023, 12), 5, (0, 7)), Archive(Period.month(2023, 3), 6, (4,))])
        vault.put(CANDLES, [Archive(JAN, 1, (3, 9)), Archive(FEB, 2)])
        vault.put(CANDLES, [NEXT_DAY])
        for number in (1, 5, 9):
            vault.put(TRADES, [Archive(Period.day(date(2024, 1, number)), 1)])
        at_rest(vault)
    return folder


@given(first=st.integers(-40, 430), length=st.integers(1, 500), shift=st.integers(-2, 2))
@hypothesis_settings(max_examples=60, deadline=None)
def test_any_span_gives_what_the_footers_give(shared: Path, first: int, length: int, shift: int) -> None:
    start = Span.of_days(date(2023, 3, 1), date(2023, 3, 1)).start_us + first * DAY_US + shift
    span = Span(start, start + length * DAY_US)
    world = World(shared)
    known = known_partitions(world.layout, [CANDLES, TRADES], span)
    for series, facts in zip([CANDLES, TRADES], world.storage.facts([CANDLES, TRADES], span), strict=True):
        assert {known[series][one.period] for one in facts} == set(facts)


DIES_WITH_A_LOG = """
vault = Vault(Path(sys.argv[1]))
vault.put(CANDLES, [Archive(Period.month(2024, 3), 3)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_log_that_a_killed_run_leaves_is_read(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    at_rest(vault)
    assert run_child(vault.layout.root, DIES_WITH_A_LOG).returncode == -signal.SIGKILL
    assert Path(f"{vault.layout.database}-wal").stat().st_size > 0
    truth = vault.reads(CANDLES)
    assert truth[0][0].plain == (JAN, FEB, MAR)
    monkeypatch.setattr(pq, "read_metadata", pytest.fail)
    assert vault.knows(CANDLES) == truth


def test_looking_up_leaves_nothing_beside_a_database_at_rest(vault: Vault) -> None:
    at_rest(vault)
    folder = vault.layout.database.parent
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}
    assert periods(vault) == ["2024", "2024-04"]
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]} == before


def test_a_partition_of_an_older_schema_is_named_and_not_believed(vault: Vault) -> None:
    path = vault.storage.partitions(CANDLES)[0].path
    table = pq.ParquetFile(path).read()
    old = table.schema.metadata | {b"tapevault.schema_version": b"1"}
    pq.write_table(table.replace_schema_metadata(old), path)
    with pytest.raises(StorageError, match="its schema_version is 1"):
        vault.knows(CANDLES)
