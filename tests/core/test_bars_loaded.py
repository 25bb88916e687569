"""Bars from the loader: what is missing is told of, steps that are over are whole, several specs come at once."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_bars_world import BarWorld

from core.bars.spec import BarSpec
from core.errors import ConfigError, NoData
from loader import BacktestDataLoader
from loader.missing import Lack, MissingDataWarning

SPECS = ("time-6h", "time-1d", "time-6h-empty", "tick-7")


@pytest.fixture
def world(tmp_path: Path) -> BarWorld:
    """Four days, of which the third has no trades, and a quiet one behind two more without any."""
    world = BarWorld(tmp_path / "data")
    world.put("2024-01-28", "2024-01-29", "2024-01-31")
    world.put_trades("2024-02-03", [(10**6 + number, 10**6 + number, 5.0 + number) for number in range(3)])
    return world


@pytest.fixture
def loader(world: BarWorld) -> Iterator[BacktestDataLoader]:
    with world.loader() as loader:
        yield loader


def spans(frame: Any) -> list[tuple[str, str]]:
    return [(str(bar.time_open)[:19], str(bar.time_close)[:19]) for bar in frame.itertuples()]


@pytest.mark.parametrize("spec", ["time-6h", "time-1d", "time-6h-empty"])
@pytest.mark.parametrize(
    "last", ["2024-01-28", "2024-01-29", "2024-01-29T15:00", "2024-01-31", "2024-02-02", "2024-02-03"]
)
def test_bars_of_the_clock_are_the_stored_ones_also_the_last(
    world: BarWorld, loader: BacktestDataLoader, spec: str, last: str
) -> None:
    """Of a request that begins with the first stored trade; a step is over where a later trade is stored."""
    world.build((spec,))
    request: Any = ("BTCUSDT", "2024-01-28", last, spec)
    live = loader.load_bars(*request, output="arrow", on_missing="ignore")
    assert live.equals(loader.load_bars(*request, stored=True, output="arrow", on_missing="ignore"))
    assert live.num_rows
    open_too = loader.load_bars(*request, unfinished=True, output="arrow", on_missing="ignore")
    assert open_too.num_rows - live.num_rows == (last in ("2024-01-29T15:00", "2024-02-03"))
    assert open_too.slice(0, live.num_rows).equals(live)


@pytest.mark.parametrize("spec", ["time-6h", "time-36h", "time-7h", "time-6h-empty"])
@pytest.mark.parametrize("first", ["2024-01-28", "2024-01-29T09:30", "2024-01-31", "2024-02-02"])
def test_a_step_that_began_before_the_request_is_whole(
    world: BarWorld, loader: BacktestDataLoader, spec: str, first: str
) -> None:
    world.build((spec,))
    request: Any = ("BTCUSDT", first, "2024-02-03", [spec, "tick-7"])
    live = loader.load_bars(*request, output="arrow", on_missing="ignore")
    assert live[spec].equals(loader.load_bars(*request[:3], spec, stored=True, output="arrow", on_missing="ignore"))
    assert live["tick-7"].equals(loader.load_bars(*request[:3], "tick-7", output="arrow", on_missing="ignore"))
    assert live[spec].num_rows or first == "2024-02-02"  # whose only step with trades is not over


def test_a_day_has_all_of_its_steps(loader: BacktestDataLoader) -> None:
    frame = loader.load_bars("BTCUSDT", "2024-01-28", "2024-01-28", "time-6h")
    assert spans(frame) == [
        (f"2024-01-28 {hour:02}:00:00", f"2024-01-28 {hour + 5:02}:59:59") for hour in (0, 6, 12, 18)
    ]
    assert spans(loader.load_bars("BTCUSDT", "2024-01-28", "2024-01-28", "time-1d")) == [
        ("2024-01-28 00:00:00", "2024-01-28 23:59:59")
    ]


@pytest.mark.parametrize("stored", [False, True])
def test_what_is_missing_of_the_trades_is_told_of(world: BarWorld, loader: BacktestDataLoader, stored: bool) -> None:
    world.build(("tick-7",))
    asked: Any = ("BTCUSDT", "2024-01-20", "2024-02-10", "tick-7")
    with pytest.warns(MissingDataWarning, match="partly missing") as caught:
        loader.load_bars(*asked, stored=stored)
    (warning,) = caught
    assert warning.filename == __file__
    told = {part.lack: part for part in warning.message.missing}  # type: ignore[union-attr]
    assert set(told) == {Lack.STARTS_LATE, Lack.GAP, Lack.ENDS_EARLY}
    assert "begins at 2024-01-28" in told[Lack.STARTS_LATE].detail
    assert "ends at 2024-02-03 07:00:00" in told[Lack.ENDS_EARLY].detail
    assert [(str(first)[:10], str(behind)[:10]) for first, behind in told[Lack.GAP].gap_times] == [
        ("2024-01-30", "2024-01-31"),
        ("2024-02-01", "2024-02-03"),
    ]
    with pytest.raises(NoData, match=r"partly missing: .* has no trades from 2024-01-30 00:00:00 to 2024-01-31"):
        loader.load_bars(*asked, stored=stored, on_missing="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(loader.load_bars(*asked, stored=stored, on_missing="ignore"))
        assert len(loader.load_bars("BTCUSDT", "2024-01-28", "2024-01-29", "tick-7", stored=stored))
    with pytest.raises(NoData, match=r"no data: .* has no rows there; stored is 2024-01-28"):
        loader.load_bars("BTCUSDT", "2025-01-20", "2025-02-10", "tick-7", stored=stored)


def test_a_symbol_without_stored_bars_is_missing_and_the_others_come(
    world: BarWorld, loader: BacktestDataLoader
) -> None:
    world.put("2024-01-28", symbol="ETHUSDT")
    world.build(("tick-7",))
    asked: Any = (["BTCUSDT", "ETHUSDT"], "2024-01-28", "2024-01-28", "tick-7")
    said = (
        r"no bars tick-7 of um/trades/ETHUSDT are stored\. To make them: .*features --bars tick-7 .*--symbols ETHUSDT"
    )
    with pytest.warns(MissingDataWarning, match=said):
        frame = loader.load_bars(*asked, stored=True)
    assert set(frame["symbol"]) == {"BTCUSDT"}
    with pytest.raises(NoData, match=said):
        loader.load_bars(*asked, stored=True, on_missing="raise")
    assert len(loader.load_bars(*asked, stored=True, on_missing="ignore")) == len(frame)
    with pytest.raises(NoData, match="no bars tick-8"):
        loader.load_bars(*asked[:3], "tick-8", stored=True)


@pytest.mark.parametrize("stored", [False, True])
def test_several_specs_come_as_a_dict_and_each_is_as_alone(
    world: BarWorld, loader: BacktestDataLoader, stored: bool
) -> None:
    world.build(SPECS)
    asked: Any = ("BTCUSDT", "2024-01-28", "2024-01-29")
    found = loader.load_bars(*asked, [*SPECS, BarSpec.parse("tick-7")], stored=stored, output="arrow")
    assert list(found) == list(SPECS)
    for spec in SPECS:
        assert found[spec].equals(loader.load_bars(*asked, spec, stored=stored, output="arrow"))
    assert list(loader.load_bars(*asked, ("tick", "dollar"), 5000)) == ["tick-5000", "dollar-5000"]
    with pytest.raises(ConfigError, match="bars: nothing is asked for"):
        loader.load_bars(*asked, [])
    with pytest.raises(ConfigError, match="unknown kind of bars 7"):
        loader.load_bars(*asked, 7)  # type: ignore[arg-type]


def test_the_exchanges_name_of_a_kind_of_trades_gets_a_hint(loader: BacktestDataLoader) -> None:
    with pytest.raises(ConfigError, match="not of 'aggTrades'; did you mean 'agg_trades'"):
        loader.load_bars("BTCUSDT", "2024-01-28", "2024-01-28", "tick-7", data_type="aggTrades")
