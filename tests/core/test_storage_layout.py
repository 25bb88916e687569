"""Which rows lie where, whatever came first: months over days, revisions, kills, two processes; and the catalog."""

import random
import signal
import time
from collections.abc import Sequence
from datetime import date
from itertools import groupby
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from storage_world import (
    CANDLES,
    FUNDING,
    SECONDS,
    TRADES,
    Archive,
    Vault,
    expected,
    run_child,
    start_child,
)

from core.layout import home_of
from core.types import Period, Series

JAN, FEB, DEC = Period.month(2024, 1), Period.month(2024, 2), Period.month(2023, 12)
DAYS = [*(date(2024, 1, day) for day in (1, 2, 3, 4)), date(2024, 2, 1), date(2024, 2, 2)]


def day(number: int, mark: int, month: int = 1) -> Archive:
    return Archive(Period.day(date(2024, month, number)), mark)


def grouped(series: Series, archives: Sequence[Archive]) -> list[list[Archive]]:
    """Archives next to each other that are stored together, each period once."""
    found: list[list[Archive]] = []
    for _, run in groupby(archives, key=lambda one: home_of(series, one.period)):
        together: dict[Period, Archive] = {}
        for one in run:
            if one.period in together:
                found.append(list(together.values()))
                together = {}
            together[one.period] = one
        found.append(list(together.values()))
    return found


SUBSETS = st.sets(st.integers(0, 5), min_size=1).map(lambda days: tuple(sorted(days)))
ARCHIVES = st.lists(
    st.builds(Archive, st.sampled_from([JAN, FEB, DEC]), st.integers(1, 9), SUBSETS)
    | st.builds(Archive, st.sampled_from([Period.day(one) for one in DAYS]), st.integers(1, 9)),
    min_size=1,
    max_size=14,
)


@pytest.mark.parametrize("series", [CANDLES, SECONDS, TRADES], ids=str)
@given(archives=ARCHIVES, together=st.booleans())
@hypothesis_settings(max_examples=25, deadline=None)
def test_readers_and_catalog_agree_after_any_archives_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, series: Series, archives: list[Archive], together: bool
) -> None:
    with Vault(tmp_path_factory.mktemp("any")) as vault:
        for files in grouped(series, archives) if together else [[one] for one in archives]:
            vault.put(series, files)
            assert vault.catalog(series) == vault.footers(series)
        assert vault.rows(series) == expected(series, archives)


def test_a_month_of_candles_takes_the_place_of_its_days(tmp_path: Path) -> None:
    with Vault(tmp_path) as vault:
        days = [day(number, mark=1) for number in (1, 2, 3)]
        vault.put(CANDLES, days)
        assert [part.period.label for part in vault.storage.partitions(CANDLES)] == ["2024-01"]
        month = Archive(JAN, 1, (0, 1, 2, 3))
        vault.put(CANDLES, [month])
        assert [path.rpartition("/")[-1] for path in vault.files] == ["BTCUSDT-1d-2024.parquet"]
        vault.put(CANDLES, [day(1, mark=1)])  # late, and the month has it
        assert [path.rpartition("/")[-1] for path in vault.files] == ["BTCUSDT-1d-2024.parquet"]
        assert vault.rows(CANDLES) == expected(CANDLES, [month])
        assert vault.catalog(CANDLES) == vault.footers(CANDLES)


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("series", [CANDLES, SECONDS, TRADES], ids=str)
def test_a_day_that_its_month_has_otherwise_or_not_at_all_stays_and_is_given(
    tmp_path: Path, series: Series, is_late: bool
) -> None:
    days, month = [day(1, 1), day(2, 2), day(3, 3)], Archive(JAN, 2, (1, 2, 3))  # lacks the 1st, has the 3rd otherwise
    with Vault(tmp_path) as vault:
        for one in [month, *days] if is_late else [*days, month]:
            vault.put(series, [one])
        assert list(vault.rows(series).values()) == [
            float(mark) for mark in (1, 2, 3, 2) for _ in range(1 if series == CANDLES else 2)
        ]
        sources = [source for part in vault.storage.partitions(series) for source in part.sources]
        rows = 1 if series == CANDLES else 2
        beside = {one.period.label: (one.rows, one.added, one.changed) for one in sources if one.is_beside}
        # A day of trades of which the month has no row needs no mark: nothing of the month lies in its file.
        lacking = {} if series == TRADES else {"2024-01-01": (rows, rows, 0)}
        assert beside == {**lacking, "2024-01-03": (rows, 0, rows)}
        assert "2024-01-02" not in {one.period.label for one in sources}
        assert vault.knows(series) == vault.reads(series)
        assert vault.catalog(series) == vault.footers(series)


def test_a_month_of_trades_takes_the_place_of_the_days_it_has_and_leaves_the_others(tmp_path: Path) -> None:
    with Vault(tmp_path) as vault:
        for number in (1, 2, 3):
            vault.put(TRADES, [day(number, mark=1)])
        vault.put(TRADES, [Archive(JAN, 1, (1, 3))])
        marks = [source["key"][-11:-4] for part in vault.footers(TRADES) for source in part["sources"]]
        assert marks == ["4-01-01", "2024-01", "4-01-03", "2024-01"]
        vault.put(TRADES, [day(2, mark=1)])  # the month has it
        vault.put(TRADES, [day(3, mark=3)])  # the month does not
        marks = [source["key"][-11:-4] for part in vault.footers(TRADES) for source in part["sources"]]
        assert marks == ["4-01-01", "2024-01", "4-01-03", "2024-01"]
        assert list(vault.rows(TRADES).values()) == [1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 1.0, 1.0]
        assert vault.catalog(TRADES) == vault.footers(TRADES)


def test_a_late_day_lies_beside_its_year_and_a_late_month_between_the_others(tmp_path: Path) -> None:
    with Vault(tmp_path) as vault:
        vault.put(CANDLES, [Archive(JAN, 1), Archive(Period.month(2024, 3), 3)])
        before = vault.rows(CANDLES)
        vault.put(CANDLES, [day(2, mark=2, month=2)])
        assert [part.period.label for part in vault.storage.partitions(CANDLES)] == ["2024", "2024-02"]
        late = expected(CANDLES, [day(2, mark=2, month=2)])
        assert vault.rows(CANDLES) == dict(sorted((before | late).items()))
        vault.put(CANDLES, [Archive(FEB, 2)])
        assert vault.rows(CANDLES) == expected(CANDLES, [Archive(Period.month(2024, n), n) for n in (1, 2, 3)])
        (year,) = vault.storage.partitions(CANDLES)
        assert [source.period.label for source in year.sources] == ["2024-01", "2024-02", "2024-03"]
        assert vault.catalog(CANDLES) == vault.footers(CANDLES)


@pytest.mark.parametrize("series", [CANDLES, FUNDING, TRADES], ids=str)
def test_a_month_that_is_published_anew_replaces_its_rows_and_nothing_else(tmp_path: Path, series: Series) -> None:
    months = [Archive(Period.month(2024, number), number) for number in (1, 2, 3)]
    again = Archive(FEB, 8, tuple(range(2, 20)))
    with Vault(tmp_path / "one") as vault, Vault(tmp_path / "other") as other:
        for archives, into in ((months, vault), ([months[0], again, months[2]], other)):
            for archive in archives:
                into.put(series, [archive])
        vault.put(series, [again])
        assert vault.rows(series) == expected(series, [months[0], again, months[2]])
        assert vault.files == other.files
        assert vault.catalog(series) == vault.footers(series)


@pytest.mark.parametrize("series", [CANDLES, FUNDING, TRADES], ids=str)
def test_the_same_archives_give_the_same_bytes_in_any_order_and_any_groups(tmp_path: Path, series: Series) -> None:
    archives = [Archive(month, n, (0, 1, 5)) for n, month in enumerate([Period.month(2023, 11), DEC, JAN, FEB])]
    if series != FUNDING:  # which is published by the month only
        archives += [day(n, mark=n, month=3) for n in (1, 2, 3)]
    homes: dict[Period, list[Archive]] = {}
    for one in archives:
        homes.setdefault(home_of(series, one.period), []).append(one)
    ways = [list(homes.values()), [[one] for one in archives]]
    for seed in range(2):
        ways.append([[one] for one in random.Random(seed).sample(archives, len(archives))])
        ways.append([random.Random(seed).sample(of_home, len(of_home)) for of_home in homes.values()])
    found = []
    for number, groups in enumerate(ways):
        with Vault(tmp_path / str(number)) as vault:
            for group in groups:
                vault.put(series, group)
            found.append(vault.files)
            assert vault.rows(series) == expected(series, archives)
    assert all(files == found[0] for files in found)


def test_runs_that_enter_their_partitions_in_another_order_than_they_stored_them(tmp_path: Path) -> None:
    with Vault(tmp_path) as vault:
        files = [[vault.archive(CANDLES, Archive(Period.month(2024, n), n))] for n in (1, 2, 3)]
        stored = [vault.store_all(one) for one in files]
        for number in (1, 2, 0):
            vault.enter(files[number], stored[number])
        assert vault.catalog(CANDLES) == vault.footers(CANDLES)


DIES = """
vault = Vault(Path(sys.argv[1]))
replace, left = os.replace, [int(sys.argv[2])]
def replace_or_die(source, target):
    if str(target).endswith(".parquet"):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
    return replace(source, target)
os.replace = replace_or_die
"""
DIES_IN_A_SPLIT = f"{DIES}vault.put(TRADES, [Archive(JANUARY, 7, (0, 1, 2, 3))])\n"


@pytest.mark.parametrize("renames", [1, 2, 3])
def test_a_kill_between_the_renames_of_a_split_month(tmp_path: Path, renames: int) -> None:
    days, month = [day(number, mark=1) for number in (1, 2, 3)], Archive(JAN, 7, (0, 1, 2, 3))
    with Vault(tmp_path) as vault:
        for one in days:
            vault.put(TRADES, [one])
    assert run_child(tmp_path, DIES_IN_A_SPLIT, str(renames)).returncode == -signal.SIGKILL
    with Vault(tmp_path) as vault:
        assert vault.storage.sweep() == 4 - renames
        split = Archive(JAN, 7, tuple(range(renames)))
        assert vault.rows(TRADES) == expected(TRADES, [*days, split])  # and no row twice
        assert vault.knows(TRADES) == vault.reads(TRADES)
        vault.put(TRADES, [month])
        assert vault.rows(TRADES) == expected(TRADES, [*days, month])
        assert vault.catalog(TRADES) == vault.footers(TRADES)


DIES_BEFORE_THE_DAYS_GO = """
vault = Vault(Path(sys.argv[1]))
unlink = os.unlink
def unlink_or_die(path, **rest):
    if str(path).endswith(".parquet"):
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(path, **rest)
os.unlink = unlink_or_die
vault.put(CANDLES, [Archive(JANUARY, 7)])
"""


def test_a_kill_between_a_month_and_the_removal_of_its_days(tmp_path: Path) -> None:
    month = Archive(JAN, 7)
    with Vault(tmp_path) as vault:
        vault.put(CANDLES, [day(1, mark=7), day(2, mark=7)])
    done = run_child(tmp_path, DIES_BEFORE_THE_DAYS_GO)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Vault(tmp_path) as vault:
        assert len(vault.files) == 2
        assert vault.rows(CANDLES) == expected(CANDLES, [month])
        assert vault.knows(CANDLES) == vault.reads(CANDLES)
        vault.put(CANDLES, [month])
        assert vault.rows(CANDLES) == expected(CANDLES, [month])
        assert [path.rpartition("/")[-1] for path in vault.files] == ["BTCUSDT-1d-2024.parquet"]
        assert vault.catalog(CANDLES) == vault.footers(CANDLES)


DIES_AMONG_DAYS = f"{DIES}vault.put(CANDLES, [Archive(JANUARY, 7)])\n"


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_while_a_month_takes_the_place_of_some_of_its_days(tmp_path: Path, renames: int) -> None:
    """The day that differs is marked, the month is written, the days that it has go: three renames."""
    days, month = [day(1, mark=7), day(2, mark=5), day(3, mark=7)], Archive(JAN, 7)
    with Vault(tmp_path) as vault:
        vault.put(CANDLES, days)
    assert run_child(tmp_path, DIES_AMONG_DAYS, str(renames)).returncode == -signal.SIGKILL
    with Vault(tmp_path) as vault:
        vault.storage.sweep()
        assert vault.rows(CANDLES) == expected(CANDLES, days if renames < 2 else [*days, month])
        assert vault.knows(CANDLES) == vault.reads(CANDLES)
        vault.put(CANDLES, [month])
        assert vault.rows(CANDLES) == expected(CANDLES, [*days, month])
        labels = [source.period.label for part in vault.storage.partitions(CANDLES) for source in part.sources]
        assert labels == ["2024-01", "2024-01-02"]
        assert vault.catalog(CANDLES) == vault.footers(CANDLES)


DIES_BEFORE_THE_COMMIT = """
vault = Vault(Path(sys.argv[1]))
files = [vault.archive(CANDLES, Archive(Period.month(2024, 2), 2))]
vault.store_all(files)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_between_the_rename_and_the_commit(tmp_path: Path) -> None:
    with Vault(tmp_path) as vault:
        vault.put(CANDLES, [Archive(JAN, 1)])
    assert run_child(tmp_path, DIES_BEFORE_THE_COMMIT).returncode == -signal.SIGKILL
    with Vault(tmp_path) as vault:
        assert vault.catalog(CANDLES) != vault.footers(CANDLES)  # it lags behind
        assert vault.knows(CANDLES) == vault.reads(CANDLES)  # and readers see it
        vault.put(CANDLES, [Archive(FEB, 2)])
        assert vault.catalog(CANDLES) == vault.footers(CANDLES)
        assert vault.rows(CANDLES) == expected(CANDLES, [Archive(JAN, 1), Archive(FEB, 2)])


STORES_WHEN_TOLD = """
vault = Vault(Path(sys.argv[1]))
series = {"klines": CANDLES, "trades": TRADES}[sys.argv[2]]
periods = [Period.parse(label) for label in sys.argv[3].split(",")]
archives = [vault.archive(series, Archive(one, 5, (0, 2) if len(one.label) == 7 else None)) for one in periods]
Path(sys.argv[1], sys.argv[4]).touch()
while not Path(sys.argv[1], "go").exists():
    time.sleep(0.001)
for fetched in archives:
    vault.enter([fetched], vault.store_all([fetched]))
vault.tracker.close()
"""


@pytest.mark.parametrize("series", [CANDLES, TRADES], ids=str)
def test_two_processes_store_into_one_series_at_the_same_time(tmp_path: Path, series: Series) -> None:
    months = [Archive(Period.month(2024, number), 5, (0, 2)) for number in range(1, 9)]
    days = [day(number, mark=5) for number in (1, 2, 3)]
    labels = [one.period.label for one in (*days, *months)]
    shares = {"one": labels[::2], "two": labels[1::2]}
    children = [start_child(tmp_path, STORES_WHEN_TOLD, series.dataset, ",".join(s), n) for n, s in shares.items()]
    deadline = time.monotonic() + 60
    while not all((tmp_path / name).exists() for name in shares):
        assert time.monotonic() < deadline, [child.communicate() for child in children if child.poll()]
        time.sleep(0.01)
    (tmp_path / "go").touch()
    for child in children:
        _, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
    with Vault(tmp_path) as vault:
        assert vault.rows(series) == expected(series, [*days, *months])
        assert vault.knows(series) == vault.reads(series)
        if series == TRADES:
            assert vault.catalog(series) == vault.footers(series)


HOLDS_THE_LOCK = """
from core.storage.turns import taking_turns
with taking_turns(world.layout, CANDLES):
    print("held", flush=True)
    signal.pause()
"""


def test_the_lock_of_a_killed_process_goes_with_it(tmp_path: Path) -> None:
    child = start_child(tmp_path, HOLDS_THE_LOCK)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with Vault(tmp_path) as vault:
        with pytest.raises(Timeout):
            FileLock(vault.layout.lock(CANDLES)).acquire(timeout=0)
        child.kill()
        child.communicate()
        vault.put(CANDLES, [Archive(JAN, 1)])
        assert len(vault.rows(CANDLES)) == 31
