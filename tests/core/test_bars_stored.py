"""Stored bars: extended, made again, killed and read, they are those of one run over all trades."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from factories import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_bars_world import BarWorld

from core.bars.spec import BarSpec
from core.errors import NoData, StorageError

SPECS = ("tick-7", "dollar-5000", "time-6h", "tick_imbalance-5", "dollar_run-4", "volume-30.5")


@pytest.fixture
def world(tmp_path: Path) -> BarWorld:
    return BarWorld(tmp_path / "data")


def test_a_first_run_makes_what_one_builder_makes(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-01-31", "2024-02-01", "2024-03-05")
    built = world.build(SPECS)
    assert {one.months for one in built} == {3}
    assert all(one.trades == world.count for one in built)
    for spec in SPECS:
        assert world.stored(spec).equals(world.truth(spec)), spec


@pytest.mark.parametrize("is_overlapped", [True, False])
def test_a_second_run_reads_no_trade(world: BarWorld, is_overlapped: bool) -> None:
    world.put("2024-01-30", "2024-02-01")
    world.build(SPECS, is_overlapped)
    before = world.files()
    again = world.build(SPECS, is_overlapped)
    assert [(one.months, one.trades) for one in again] == [(0, 0)] * len(SPECS)
    assert world.files() == before


def test_a_new_day_extends_its_month_and_reads_that_day_only(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-01-31")
    world.build(SPECS)
    added = world.put("2024-02-01")
    assert {(one.months, one.trades) for one in world.build(SPECS)} == {(1, added)}
    added = world.put("2024-02-02")
    assert {(one.months, one.trades) for one in world.build(SPECS)} == {(1, added)}
    for spec in SPECS:
        assert world.stored(spec).equals(world.truth(spec)), spec


@pytest.mark.parametrize("changed", ["2024-01-30", "2024-02-01", "2024-03-05"])
def test_trades_that_the_exchange_replaced_are_made_again(world: BarWorld, changed: str) -> None:
    world.put("2024-01-30", "2024-02-01", "2024-03-05")
    world.build(SPECS)
    before = {spec: world.stored(spec) for spec in SPECS}
    world.put(changed, seed=99)
    built = world.build(SPECS)
    wanted = {"2024-01-30": 3, "2024-02-01": 2, "2024-03-05": 1}[changed]
    assert {one.months for one in built} <= {wanted, *range(1, wanted + 1)}
    for spec in SPECS:
        assert world.stored(spec).equals(world.truth(spec)), spec
    assert any(not world.stored(spec).equals(before[spec]) for spec in SPECS)


def test_a_day_that_comes_late_is_put_where_it_belongs(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-02-01", "2024-02-03")
    world.build(SPECS)
    world.put("2024-01-31")
    world.put("2024-02-02")
    world.build(SPECS)
    for spec in SPECS:
        assert world.stored(spec).equals(world.truth(spec)), spec


def test_days_that_go_take_their_bars_with_them(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-02-01", "2024-03-05")
    world.build(SPECS)
    world.remove("2024-02-01")
    world.build(SPECS)
    for spec in SPECS:
        assert world.stored(spec).equals(world.truth(spec)), spec
    assert not any("2024-02" in name for name in world.files())


def test_a_month_in_the_place_of_its_days_changes_nothing(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-01-31", "2024-02-01")
    world.build(SPECS)
    world.merge("2024-01")
    again = world.build(SPECS)
    assert [(one.months, one.trades) for one in again] == [(0, 0)] * len(SPECS)


def test_damaged_and_missing_files_are_made_again(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-02-01", "2024-03-05")
    world.build(SPECS)
    wanted = world.files()
    paths = sorted(world.folder.rglob("*.parquet"))
    paths[0].write_bytes(b"nonsense")
    paths[-1].unlink()
    assert sum(one.months for one in world.build(SPECS)) >= 2
    assert set(world.files()) == set(wanted)
    for spec in SPECS:
        assert world.stored(spec).equals(world.truth(spec)), spec


days = st.lists(st.integers(0, 70), min_size=1, max_size=7, unique=True)


@settings(max_examples=8, deadline=None)
@given(days, st.lists(st.integers(0, 6), max_size=5), st.sampled_from(["trades", "agg_trades"]))
def test_whatever_comes_and_changes_bars_are_those_of_one_run(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], changes: list[int], dataset: str
) -> None:
    world = BarWorld(tmp_path_factory.mktemp("bars") / "data", dataset)
    specs = SPECS[:4]
    for number, day in enumerate(order):
        world.put_number(day)
        if number % 2:
            world.build(specs)
    for number, change in enumerate(changes):
        world.put_number(order[change % len(order)], seed=number + 1)
        world.build(specs)
    world.build(specs)
    for spec in specs:
        assert world.stored(spec).equals(world.truth(spec)), spec


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_run_that_is_killed_is_finished_by_the_next(world: BarWorld, at: int) -> None:
    world.put(*(f"2024-{month:02}-0{day}" for month in range(1, 6) for day in (1, 2)))
    command = Command("scripts/pipeline.py", ["features", "--bars", ",".join(SPECS), "--data-dir", str(world.root)])
    process = command.start("--quiet")
    while process.poll() is None and len(list(world.folder.rglob("*.parquet"))) < at:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = command.run("--json")
    assert finished.code == 0
    assert all(one["error"] == "" for one in finished.json["bars"])
    assert not list(world.folder.rglob("*.tmp"))
    for spec in SPECS:
        assert world.stored(spec).equals(world.truth(spec)), spec


def test_processes_make_the_same_bars(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-02-01")
    world.put("2024-01-30", symbol="ETHUSDT")
    command = Command("scripts/pipeline.py", ["features", "--data-dir", str(world.root)])
    told = command.run("--bars", "tick-7,dollar-5000", "--json", "--processes", "2")
    assert told.code == 0
    assert [(one["spec"], one["months"]) for one in told.json["bars"]] == [
        ("tick-7", 2), ("dollar-5000", 2), ("tick-7", 1), ("dollar-5000", 1)
    ]  # fmt: skip
    for spec in ("tick-7", "dollar-5000"):
        assert world.stored(spec).equals(world.truth(spec))
        assert world.stored(spec, "ETHUSDT").equals(world.truth(spec, "ETHUSDT"))


def test_the_loader_reads_them_while_they_are_right(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-02-01")
    with world.loader() as loader:
        with pytest.raises(NoData, match=r"no bars tick-7 of um/trades/BTCUSDT are stored; make them: .*--bars tick-7"):
            loader.load_bars("BTCUSDT", "2024-01-01", "2024-12-31", "tick-7", stored=True)
        world.build(SPECS)
        for spec in SPECS:
            table = loader.load_bars("BTCUSDT", "2024-01-01", "2024-12-31", spec, stored=True, output="arrow")
            assert table.drop_columns(["symbol"]).equals(world.truth(spec))
            plain = loader.load_bars("BTCUSDT", "2024-01-01", "2024-12-31", BarSpec.parse(spec), output="arrow")
            assert plain.drop_columns(["symbol"]).combine_chunks().equals(world.truth(spec).combine_chunks())
        part = loader.load_bars("BTCUSDT", "2024-02-01", "2024-02-01", "tick-7", stored=True)
        assert (part["time_close"].dt.strftime("%Y-%m-%d") == "2024-02-01").all()
        assert len(part)
        world.put("2024-01-30", seed=5)
        with pytest.raises(StorageError, match="are of other trades than are stored now"):
            loader.load_bars("BTCUSDT", "2024-02-01", "2024-02-01", "tick-7", stored=True)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--bars", "dolar-5"), 2, "unknown kind of bars 'dolar'"),
        (("--bars", "tick-7", "--type", "run"), 2, "--type and --bars both say which bars"),
        (("--data-types", "klines"), 2, "bars are made of trades or agg_trades, not of 'klines'"),
        (("--type", "imbalence"), 2, "invalid choice"),
        (("--symbols", "NOPE"), 3, "nothing of that is stored"),
    ],
)
def test_a_wrong_request_gets_one_clear_line(world: BarWorld, options: Sequence[str], code: int, said: str) -> None:
    world.put("2024-01-30")
    told = Command("scripts/pipeline.py", ["features", "--data-dir", str(world.root)]).run(*options)
    assert told.code == code
    assert said in told.err
    assert "Traceback" not in told.err


def test_people_get_a_table_and_are_told_of_drift(world: BarWorld) -> None:
    world.put("2024-01-30")
    command = Command("scripts/pipeline.py", ["features", "--data-dir", str(world.root)])
    told = command.run("--bars", "tick-7,dollar_imbalance-10-unclamped")
    assert told.code == 0
    assert "tick-7" in told.out
    assert "trades read" in told.out
    assert "drift: um/trades/BTCUSDT dollar_imbalance-10-unclamped" in told.err


def test_the_world_is_not_trivial(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-02-01")
    assert all(world.truth(spec).num_rows >= 3 for spec in SPECS)
