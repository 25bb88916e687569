"""What `benchmarks/loader.py` stands on: a world as a download leaves it, ways that give the same rows, a proof that
can fail. Nothing here says how long anything takes."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import ROOT

sys.path.append(str(ROOT / "benchmarks"))  # behind the root: a benchmark has the name of the package `loader`

import loader_main
import loader_processes
from loader_input import KINDS, YEAR, Size, World, made, series_of, twin
from loader_processes import Elsewhere, Peer, Start, Stream, python_of, race_streams
from loader_race import Facts, Figure, InProcess, Reference, Task, at_least, at_most, columns_of, faster, goals_of, race
from loader_tasks import groups_of
from loader_ways import COLUMNS, Files, Subject

from core.dates import HOUR_US
from core.download.known import known_partitions
from core.layout import Layout
from core.storage.footer import partition_at
from loader import BacktestDataLoader, MissingDataWarning

SIZE = Size(symbols=3, trades=4000, days=2)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return made(tmp_path_factory.mktemp("worlds") / "world", SIZE)


def times_of(path: Path) -> Any:
    return pq.ParquetFile(path).read(["timestamp"])["timestamp"].cast(pa.int64()).to_numpy()


# the world


def test_partitions_are_those_of_a_download_and_the_catalog_has_them(world: World) -> None:
    layout = Layout(world.data)
    os.utime(layout.database, (0, 0))  # what was written just now, readers do not trust yet
    for kind in KINDS:
        one = series_of(kind, "S0000USDT")
        path = world.file(kind, "S0000USDT")
        (facts,) = known_partitions(layout, [one])[one].values()
        partition = partition_at(path, one, facts.period)
        assert partition is not None
        assert len(partition.sources) == 12
        assert (facts.path, facts.stamp, facts.rows) == (path, partition.stamp, pq.read_metadata(path).num_rows)


def test_the_year_has_gaps_and_funding_is_late(world: World) -> None:
    steps = np.diff(times_of(world.file("klines", "S0000USDT"))) // HOUR_US
    assert (steps >= 1).all()
    assert 1 <= (steps > 1).sum() <= 3
    late = times_of(world.file("funding_rate", "S0000USDT")) % (8 * HOUR_US)
    assert late.min() >= 0
    assert late.max() == 14_000
    assert len(set(late.tolist())) == 15


def test_a_share_of_the_symbols_is_listed_or_delisted(tmp_path: Path) -> None:
    twelve = made(tmp_path / "world", Size(symbols=12, trades=10, days=1))
    rows = {symbol: pq.read_metadata(twelve.file("klines", symbol)).num_rows for symbol in twelve.symbols}
    assert len(twelve.whole) == 10
    assert [symbol for symbol, count in rows.items() if count > 8700] == twelve.whole
    assert twelve.whole[0] == "S0000USDT"


def test_trades_lie_by_day_in_order(world: World) -> None:
    tables = [pq.ParquetFile(world.trade_file(day)).read() for day in world.trade_days]
    assert sum(map(len, tables)) == SIZE.trades
    for day, table in zip(world.trade_days, tables, strict=True):
        times, ids = (table[name].cast(pa.int64()).to_numpy() for name in ("timestamp", "id"))
        assert day.span.start_us <= times[0] <= times[-1] < day.span.end_us
        assert (np.diff(times) >= 0).all()
        assert (np.diff(ids) > 0).all()
        ticks = table["price"].to_numpy() * 10
        assert np.abs(ticks - ticks.round()).max() < 1e-6


def test_a_finished_world_is_used_again(world: World) -> None:
    before = world.file("klines", "S0001USDT").stat()
    assert made(world.folder, SIZE) == world
    assert world.file("klines", "S0001USDT").stat() == before


def test_another_world_or_anything_else_is_left_alone(world: World, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds another world"):
        made(world.folder, replace(SIZE, symbols=4))
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(SystemExit, match="holds something else"):
        made(tmp_path, SIZE)


def test_an_unfinished_world_is_made_anew(tmp_path: Path) -> None:
    size = Size(symbols=1, trades=10, days=1)
    found = made(tmp_path / "world", size)
    wanted = found.file("klines", "S0000USDT").read_bytes()
    (found.folder / "world.json").rename(found.folder / "unfinished")
    (found.data / "processed" / "left.over").touch()
    made(found.folder, size)
    assert found.file("klines", "S0000USDT").read_bytes() == wanted
    assert not (found.data / "processed" / "left.over").exists()


# all of it


def test_every_row_is_measured_and_every_goal_said(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader_processes, "TOOLS", tmp_path)  # those have a test of their own
    size = ["--symbols", "3", "--trades", "4000", "--days", "2"]
    loader_main.main([*size, "--dir", str(world.folder), "--rounds", "1", "--json", str(tmp_path / "figures.json")])
    said = capsys.readouterr().out
    assert "ArcticDB NOT INSTALLED" in said
    for title in (
        "One symbol-year of hourly candles",
        "Five kinds of data, one symbol-year",
        "3 symbol-years, ordered",
        "Aligned, five kinds of data, one symbol-year",
        "Aligned, five kinds of data, 3 symbol-years",
        "One day of 3 symbols",
        "One hour of 4,000 trades in 2 days",
        "A process from its start to one symbol-year",
        "A process that imports",
        "Streaming 4,000 trades, each in a fresh process",
    ):
        assert f"\n{title}\n" in said
    goals = [line for line in said.splitlines() if line.count("|") == 6 and " x " not in line and "=" in line]
    away = ("Nautilus", "ArcticDB", "polars")
    assert len(goals) >= 25
    assert [line for line in goals if "not measured" in line and not any(name in line for name in away)] == []
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["one"]["pandas"]["median"] > 0
    assert "Tapevault to Arrow, without cross-sections" in figures["day"]
    assert len(figures["aligned-one"]["DuckDB ASOF"]["values"]) == 3
    assert figures["streams: Tapevault iter_data"]["MB at most"]["median"] > 0


def test_a_part_of_it(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_processes, "TOOLS", Path("/nowhere"))
    size = ["--symbols", "3", "--trades", "4000", "--days", "2"]
    loader_main.main([*size, "--dir", str(world.folder), "--rounds", "1", "--only", "hour"])
    said = capsys.readouterr().out
    assert "One hour of 4,000 trades" in said
    assert "symbol-year" not in said


def test_a_task_that_does_not_exist_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        loader_main.main(["--only", "hour,our"])
    assert "--only: there is no our" in capsys.readouterr().err


def test_a_twin_has_the_same_files(world: World) -> None:
    for _ in range(2):
        layout = Layout(twin(world, "other"))
        path = layout.processed(series_of("klines", "S0000USDT"), YEAR)
        assert path.samefile(world.file("klines", "S0000USDT"))
        assert layout.database.stat().st_size > 0


# libraries in environments of their own


@pytest.fixture(params=["arctic/arrow", "arctic/pandas", "nautilus/bars"])
def peer_and_read(request: pytest.FixtureRequest, world: World) -> Iterator[tuple[Peer, str]]:
    name, _, read = request.param.partition("/")
    if python_of(name) is None:
        pytest.skip(f"{name} is not installed at {loader_processes.TOOLS / name} (make tools, or TAPEVAULT_TOOLS)")
    with Peer(name, Files(world), groups_of(world)) as peer:
        yield peer, read


def test_a_library_of_another_environment_is_asked_through_pipes(peer_and_read: tuple[Peer, str], world: World) -> None:
    peer, read = peer_and_read
    for task in ("one", "fifty"):
        one = groups_of(world)[task][-1]
        way = Elsewhere("theirs", peer, f"{task}/{read}")
        rows = pa.concat_tables(read_columns(world, symbol) for symbol in one.symbols)
        reference = Reference()
        assert reference.difference(columns_of(rows)) is None
        assert way.check(one, reference) is None
        assert way.seconds(one) > 0
        assert reference.columns is not None
        reference.columns["close"] = np.roll(reference.columns["close"], 1) * (1 + 1e-9)
        assert "close: sum" in str(way.check(one, reference))


def read_columns(world: World, symbol: str) -> pa.Table:
    return pq.ParquetFile(world.file("klines", symbol)).read(COLUMNS["klines"])


# the proof


HOURS = pa.table(
    {
        "timestamp": pa.array(range(0, 5 * HOUR_US, HOUR_US)).cast(pa.timestamp("us", "UTC")),
        "symbol": pa.array(["AUSDT"] * 2 + ["BUSDT"] * 3).dictionary_encode(),
        "close": pa.array([1.5, float("nan"), 2.5, 3.5, 4.5]),
        "trades": pa.array([1, 2, 3, 4, 5]),
    }
)
NOW = datetime(2023, 1, 1, tzinfo=UTC)
ASKED = Subject(0, ("AUSDT",), NOW, NOW)


def with_column(name: str, values: Any) -> pa.Table:
    return HOURS.set_column(HOURS.column_names.index(name), name, values)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (HOURS.slice(1), "4 rows instead of 5"),
        (HOURS.take([0, 1, 3, 2, 4]), "row 2, timestamp: 10800000000 instead of 7200000000"),
        (with_column("close", pa.array([1.5, None, 2.5, 3.5, 4.5000000001])), "row 4, close: 4.5000000001 instead of"),
        (with_column("close", pa.array([1.5, 0.0, 2.5, 3.5, 4.5])), "row 1, close: 0.0 instead of nan"),
        (with_column("trades", pa.array([1, 2, 3, 4, 6])), "row 4, trades: 6 instead of 5"),
        (with_column("trades", pa.array(["1", "2", "3", "4", "5"])), "trades is object instead of int64"),
        (with_column("symbol", pa.array(["AUSDT"] * 5)), "row 2, symbol: AUSDT instead of BUSDT"),
        (HOURS.select(["timestamp", "close"]), "it has the columns timestamp, close"),
    ],
)
def test_the_first_difference_is_said(other: pa.Table, said: str) -> None:
    reference = Reference()
    assert reference.difference(columns_of(HOURS)) is None
    assert reference.difference(columns_of(HOURS)) is None
    assert said in str(reference.difference(columns_of(other)))


def as_polars(table: pa.Table) -> Any:
    return pytest.importorskip("polars").from_arrow(table)


@pytest.mark.parametrize("made_of", [pa.Table.to_pandas, as_polars, duckdb.from_arrow, dict])
def test_the_same_rows_in_another_form_are_the_same(made_of: Callable[[pa.Table], Any]) -> None:
    reference = Reference()
    assert reference.difference(columns_of(HOURS)) is None
    other: Any = {"klines": HOURS} if made_of is dict else made_of(HOURS)
    other = other.to_arrow_table() if isinstance(other, duckdb.DuckDBPyRelation) else other
    assert reference.difference(columns_of(other)) is None


def test_whole_numbers_of_which_some_are_missing_are_doubles() -> None:
    reference = Reference()
    reference.difference(columns_of(with_column("trades", pa.array([1.0, 2.0, 3.0, 4.0, 5.0]))))
    assert reference.difference(columns_of(HOURS)) is None
    with_a_hole = with_column("trades", pa.array([1, 2, None, 4, 5]))
    assert "row 2, trades: nan instead of 3" in str(reference.difference(columns_of(with_a_hole)))


FACTS: Facts = {"rows": 5, "sums": {"close": 12.0, "trades": 15}, "nans": {"close": 1, "trades": 0}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"rows": 4}, "4 rows instead of 5"),
        ({"sums": {"close": 12.0000001}}, "close: sum 12.0000001"),
        ({"nans": {"close": 0, "trades": 0}}, "0 NaN instead of 12.0 and 1"),
        ({"sums": {"trades": 16}}, "trades: sum 16"),
    ],
)
def test_sums_are_compared_where_rows_cannot_be(changed: dict[str, Any], said: str | None) -> None:
    reference = Reference()
    reference.difference(columns_of(HOURS))
    found = reference.difference_to({**FACTS, **changed})
    assert found is None if said is None else said in str(found)


def test_a_way_with_other_rows_ends_the_race() -> None:
    ways = [InProcess("ours", lambda _: HOURS), InProcess("theirs", lambda _: HOURS.slice(0, 4))]
    with pytest.raises(SystemExit, match="tiny: the rows of theirs differ: 4 rows instead of 5"):
        race(Task("tiny", "Tiny", [ASKED], ways), rounds=1, say=print)


def test_ways_of_another_question_are_not_compared() -> None:
    ways = [InProcess("ours", lambda _: HOURS), InProcess("other", lambda _: HOURS.slice(0, 4), asks="less")]
    figures = race(Task("tiny", "Tiny", [ASKED], ways, rounds=3), rounds=2, say=print)
    assert [len(figure.values) for figure in figures.values()] == [6, 6]


def test_rows_of_no_promised_order_are_sorted_first_and_slow_ways_are_asked_less() -> None:
    mixed = HOURS.take([4, 0, 3, 1, 2])
    ways = [InProcess("ours", lambda _: HOURS), InProcess("slow", lambda _: mixed, in_order=False, at_most=2)]
    figures = race(Task("tiny", "Tiny", [ASKED], ways), rounds=5, say=print)
    assert [len(figure.values) for figure in figures.values()] == [5, 2]


def test_a_program_that_says_otherwise_ends_the_race() -> None:
    ways = [Start(name, Path(sys.executable), f"print({name!r}, flush=True)") for name in ("1", "2")]
    with pytest.raises(SystemExit, match="the rows of 2 differ: '2' instead of '1'"):
        race(Task("tiny", "Tiny", [ASKED], ways), rounds=1, say=print)


def test_a_program_that_fails_ends_the_race() -> None:
    way = Start("broken", Path(sys.executable), "raise SystemExit(3)")
    with pytest.raises(SystemExit, match="broken ended with 3"):
        way.seconds(ASKED)


def test_a_stream_that_lacks_a_trade_ends_the_race() -> None:
    stream = Stream("short", "import pyarrow as pa", "[pa.table({'qty': [1.0, 2.0]})]")
    assert set(race_streams([stream], trades=2, rounds=1)["short"]) == {"M rows/s", "MB after a third", "MB at most"}
    with pytest.raises(SystemExit, match=r"short saw 2 trades of 3\.0, not 3 of 3\.0"):
        race_streams([stream], trades=3, rounds=1)
    other = replace(stream, name="other", batches="[pa.table({'qty': [1.0, 2.5]})]")
    with pytest.raises(SystemExit, match="saw 2 trades of"):
        race_streams([stream, other], trades=2, rounds=1)


# goals


def test_goals_say_what_was_measured() -> None:
    figures = {"ours": Figure([1.0, 2.0, 9.0]), "theirs": Figure([8.0]), "rate": Figure([30.0])}
    goals = [
        at_most("ours", 2),
        faster("ours", "theirs", 3, aim=5),
        faster("ours", "theirs", 3, aim=4),
        at_least("rate", 35, "M rows/s"),
        at_most("nobody", 1),
    ]
    assert goals_of("work", goals, figures) == [
        "| work | ours | 2.00 ms | <= 2 ms | reached |",
        "| work | theirs / ours | 4.00x | >= 3x (aim 5x) | reached |",
        "| work | theirs / ours | 4.00x | >= 3x (aim 4x) | reached, the aim too |",
        "| work | rate | 30.00 M rows/s | >= 35 M rows/s | NOT reached |",
        "| work | nobody |  | <= 1 ms | not measured |",
    ]


def test_the_loader_reads_what_pandas_reads(world: World) -> None:
    with BacktestDataLoader(data_dir=world.data) as loader, pytest.warns(MissingDataWarning):
        frame = loader.load_data("S0000USDT", "2023-01-01", "2023-12-31")["klines"]
    peers = pd.read_parquet(world.file("klines", "S0000USDT"), columns=COLUMNS["klines"])
    pd.testing.assert_frame_equal(frame.drop(columns="symbol"), peers)
