"""Stored bars: extended, made again, killed and read, they are those of one run over all trades."""

import resource
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from factories import Command, called
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_bars_world import BarWorld

from core.bars.grid import grid_of
from core.bars.spec import BarSpec
from core.commands import pipeline
from core.errors import NoData, StorageError
from core.jobs.bars import BarTask, _shared_out, build_all
from core.settings import QualitySettings
from core.storage.bar_files import BarFiles
from core.storage.manager import StorageManager
from core.types import Period
from loader.missing import MissingDataWarning

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


def test_the_files_of_a_grid_are_those_of_its_specs_one_by_one(tmp_path: Path) -> None:
    """Made, extended, made again where trades or a file changed, and where some specs have what others lack."""
    grid = tuple(map(str, grid_of((300, 900, 1500), (0.1, 0.7), (0.4,))))
    worlds = BarWorld(tmp_path / "together"), BarWorld(tmp_path / "apart")

    def made_in_both() -> dict[str, bytes]:
        months = {one.spec: one.months for one in worlds[0].build((*grid, "tick-7"))}
        assert months == {spec: worlds[1].build((spec,))[0].months for spec in (*grid, "tick-7")}
        assert worlds[0].files() == worlds[1].files()
        return worlds[0].files()

    for world in worlds:
        world.put("2024-01-30", "2024-02-01", "2024-03-05")
    first = made_in_both()
    assert len(first) == 3 * 7
    assert all(worlds[0].stored(spec).num_rows for spec in grid)
    for world in worlds:
        world.put("2024-03-06")
    second = made_in_both()
    assert {name for name in second if second[name] != first[name]} == {name for name in first if "2024-03" in name}
    for world in worlds:
        world.put("2024-02-01", seed=9)
        (world.folder / grid[1]).rename(tmp_path / world.root.name / "elsewhere")
        world.build(grid[3:5])
    assert made_in_both() != second


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


def test_a_file_with_a_wrong_byte_is_as_good_as_none(world: BarWorld) -> None:
    """Of every tenth byte one bit is turned over: no bar and no state is ever read otherwise than it was written."""
    world.put("2024-01-30")
    world.build(SPECS[3:4])
    (path,) = world.folder.rglob("*.parquet")
    files, whole = BarFiles(world.layout, SPECS[3], world.series()), path.read_bytes()
    good, (month,) = files.read(Period.parse("2024-01")), files.months().values()
    found: list[bool] = []
    for place in range(0, len(whole), 10):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        here = files.months(are_read=True)
        found.append(not here)
        assert not here or (here, files.read(month.month)) == ({month.month: month}, good)
    assert sum(found) > len(found) // 2


def test_damaged_bars_are_told_of_and_made_again(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-02-01", "2024-03-05")
    world.build(SPECS)
    wanted = world.files()
    for path in world.folder.rglob("*-2024-0[13].parquet"):  # the first months, and the last ones, which are extended
        whole = path.read_bytes()
        column = pq.read_metadata(path).row_group(0).column(6)
        first = column.dictionary_page_offset or column.data_page_offset
        path.write_bytes(whole[: first + 25] + bytes([whole[first + 25] ^ 4]) + whole[first + 26 :])
    with world.loader() as loader, pytest.raises(StorageError, match=r"cannot read .*2024-01.parquet: .*CRC checksum"):
        loader.load_bars("BTCUSDT", "2024-01-01", "2024-12-31", "tick-7", stored=True, on_missing="ignore")
    world.build(SPECS)
    assert world.files() == wanted
    for path in world.folder.rglob("*-2024-03.parquet"):
        whole = path.read_bytes()
        path.write_bytes(whole[:100] + bytes([whole[100] ^ 4]) + whole[101:])
    world.put("2024-03-06")
    world.build(SPECS)
    for spec in SPECS:
        assert world.stored(spec).equals(world.truth(spec)), spec


@pytest.mark.parametrize("odd", [{"volume": None}, {"version": 0}, None, {"buys": "x"}, {"first_id": 2**80}, "text"])
def test_a_state_that_cannot_be_gone_on_from_is_as_good_as_none(world: BarWorld, odd: dict[str, object] | None) -> None:
    """As another version of the program might have written it, with a footer that is whole."""
    world.put("2024-01-30")
    world.build(SPECS[:1])
    files = BarFiles(world.layout, SPECS[0], world.series())
    (month,) = files.months().values()
    state: Any = {**month.state, **odd} if isinstance(odd, dict) else odd
    files.write(month.month, files.read(month.month), month.origins, month.before, state)
    world.put("2024-01-31", "2024-02-01")
    world.build(SPECS[:1])
    assert world.stored(SPECS[0]).equals(world.truth(SPECS[0]))


def test_files_that_grew_night_by_night_are_those_of_one_run_to_the_byte(tmp_path: Path) -> None:
    nightly, other = BarWorld(tmp_path / "nightly"), BarWorld(tmp_path / "other")
    for label in ("2024-01-28", "2024-01-29", "2024-01-31", "2024-02-01", "2024-02-02"):
        nightly.put(label)
        nightly.build(SPECS)
        other.put(label)
    other.build(SPECS)
    assert nightly.files() == other.files()
    for world in (nightly, other):
        world.put("2024-01-30")
        world.put("2024-02-01", seed=4)
    nightly.build(SPECS)
    for path in other.folder.rglob("*.parquet"):
        path.unlink()
    other.build(SPECS)
    assert nightly.files() == other.files()


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


def spread(ids: Iterable[int], hours: tuple[float, float] = (0, 23)) -> list[tuple[int, int, float]]:
    """Trades of these ids, evenly over some hours of a day."""
    each = list(ids)
    first, last = hours
    return [(id_, id_, first + (last - first) * place / len(each)) for place, id_ in enumerate(each)]


def right_after(world: BarWorld, *archives: tuple[str, list[tuple[int, int, float]]]) -> None:
    """Each archive comes by itself, and behind each the bars are those of one run."""
    for label, trades in archives:
        world.put_trades(label, trades)
        world.build(SPECS[:4])
        for spec in SPECS[:4]:
            assert world.stored(spec).equals(world.truth(spec)), (label, spec)


@pytest.mark.parametrize(("first", "second"), [("2024-01-30", "2024-01-31"), ("2024-01-31", "2024-02-01")])
def test_an_archive_whose_ids_lie_among_those_of_the_one_before_skips_no_trade(
    world: BarWorld, first: str, second: str
) -> None:
    right_after(
        world,
        (first, spread(range(0, 80, 2))),
        (second, spread([*range(41, 80, 2), *range(80, 120)])),
        (second, spread(range(80, 120))),  # published anew, and now as it should be
    )


def test_a_day_within_a_longer_one_that_came_before_is_put_where_it_belongs(world: BarWorld) -> None:
    right_after(
        world,
        ("2024-01-29", [*spread(range(40)), (70, 70, 47.5)]),  # its last trade lies on the evening of the next day
        ("2024-01-30", spread(range(40, 60), (0, 20))),
        ("2024-01-31", [(65, 65, -2.0), *spread(range(71, 90))]),
    )


@pytest.mark.parametrize("cut", [("2024-01-30", "2024-01-31"), ("2024-01-31", "2024-02-01")])
@pytest.mark.parametrize("first_trade", [41, 39], ids=["behind", "before"])
def test_an_aggregate_that_has_the_id_of_the_last_one_is_taken(
    tmp_path: Path, cut: tuple[str, str], first_trade: int
) -> None:
    """The exchange has given ids twice: then the first trade tells aggregates apart, and their order."""
    world = BarWorld(tmp_path / "data", "agg_trades")
    last = [*spread(range(39)), (40, 40, 23.5)]
    right_after(world, (cut[0], last), (cut[1], [(40, first_trade, 0.25), *spread(range(42, 80), (1, 20))]))


@settings(max_examples=6, deadline=None)
@given(st.data(), st.sampled_from(["trades", "agg_trades"]))
def test_archives_that_overlap_in_time_and_ids_come_to_the_bars_of_one_run(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, dataset: str
) -> None:
    world = BarWorld(tmp_path_factory.mktemp("bars") / "data", dataset)
    labels = ["2024-01-30", "2024-01-31", "2024-02-01", "2024-02-02"]
    archives: dict[str, list[tuple[int, int, float]]] = {label: [] for label in labels}
    for number in range(60):
        hours = number * 1.6 + data.draw(st.sampled_from([0.0, 0.0, 0.0, -3.0, 2.0, 20.0]))
        day = min(3, max(0, int(hours // 24) + data.draw(st.sampled_from([0, 0, 0, 0, 0, -1, 1]))))
        offset = min(max(hours - 24 * day, -23.0), 47.0)
        archives[labels[day]].append((number // 2 if dataset == "agg_trades" else number, number, offset))
    order = data.draw(st.permutations([label for label in labels if archives[label]]))
    right_after(world, *((label, archives[label]) for label in order))


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


def test_the_specs_of_one_series_are_shared_out(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-02-01")
    texts = [f"{kind}-{size}" for size in (5, 6, 7, 8) for kind in ("tick", "volume")]
    specs = tuple(map(BarSpec.parse, texts))
    parts = _shared_out([BarTask(world.settings, world.series(), specs)], 5)
    assert [[str(spec) for spec in part.specs] for part in parts] == [texts[::2], texts[1::2]]
    assert [part.specs for part in _shared_out([BarTask(world.settings, world.series(), specs[:7])] * 2, 5)] == [
        specs[:7], specs[:7]
    ]  # fmt: skip
    built = list(build_all([BarTask(world.settings, world.series(), specs)], 2))
    assert sorted(one.spec for one in built) == sorted(texts)
    for text in texts:
        assert world.stored(text).equals(world.truth(text))


def test_a_full_disk_ends_the_work(world: BarWorld) -> None:
    world.put("2024-01-30")
    world.put("2024-01-30", symbol="ETHUSDT")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))

    command = Command("scripts/pipeline.py", ["features", "--data-dir", str(world.root)], limits=limit)
    for processes in ("1", "2"):
        told = command.run("--bars", "tick-7", "--json", "--processes", processes)
        assert told.code == 1
        assert told.err.count("no room left for") == 1
        assert "Traceback" not in told.err
        assert not list(world.folder.rglob("*.tmp"))


def test_trades_may_be_as_early_as_the_settings_say(world: BarWorld) -> None:
    """One of the first day of a month is stamped two days before, and the month is begun again from the state."""
    wide = replace(world.settings, quality=QualitySettings(period_slack_hours=72))
    world.settings, world.storage = wide, StorageManager(world.layout, wide.storage, wide.quality)
    world.put_trades("2024-01-31", [(number, number, number / 9) for number in range(200)])
    world.put_trades("2024-02-01", [(200, 200, 0.5), (201, 201, -60.0), *((n, n, n / 99) for n in range(202, 300))])
    world.put_trades("2024-02-10", [(number, number, 1.0) for number in range(300, 320)])
    world.build(SPECS)
    world.put_trades("2024-02-10", [(number, number, 2.0) for number in range(300, 330)])
    world.build(SPECS)
    for spec in SPECS:
        assert world.stored(spec).equals(world.truth(spec)), spec


def test_the_loader_reads_them_while_they_are_right(world: BarWorld) -> None:
    world.put("2024-01-30", "2024-02-01")
    with world.loader() as loader:
        with pytest.raises(NoData, match=r"no bars tick-7 of um/trades/BTCUSDT are stored; .* To make .*--bars tick-7"):
            loader.load_bars("BTCUSDT", "2024-01-01", "2024-12-31", "tick-7", stored=True)
        world.build(SPECS)
        for spec in SPECS:
            request = ("BTCUSDT", "2024-01-30", "2024-02-01")
            with pytest.warns(MissingDataWarning, match="no trades from 2024-01-31"):
                table = loader.load_bars(*request, spec, stored=True, output="arrow")
            assert table.drop_columns(["symbol"]).equals(world.truth(spec))
            plain = loader.load_bars(*request, BarSpec.parse(spec), output="arrow", on_missing="ignore")
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
        (("--data-types", "aggTrades"), 2, "not of 'aggTrades'; did you mean 'agg_trades'?"),
        (("--processes", "-3"), 2, "argument --processes: '-3' is not"),
        (("--processes", "0"), 2, "argument --processes: '0' is not"),
        (("--scheduler", "tcp://127.0.0.1:1", "--processes", "2"), 2, "--processes is for this machine"),
        (("--scheduler", "tcp://127.0.0.1:1", "--sequential"), 2, "--sequential is for this machine"),
        (("--type", "imbalence"), 2, "did you mean 'imbalance'"),
        (("--symbols", "NOPE"), 3, "nothing of that is stored"),
    ],
)
def test_a_wrong_request_gets_one_clear_line(world: BarWorld, options: Sequence[str], code: int, said: str) -> None:
    world.put("2024-01-30")
    told = called(pipeline.main, ["features", "--data-dir", str(world.root), *options])
    assert told.code == code
    assert said in told.err


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
