"""Every output of every method has the same rows, types and order; and what is asked of what is on disk."""

import builtins
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
from loader_world import World, hours, made_up, series, us

from core.dates import DAY_US
from core.errors import ConfigError
from core.types import Period
from loader import BacktestDataLoader
from loader.bars import BarsDrift

CALLS: dict[str, Any] = {
    "load_data": lambda vault, **o: vault.load_data(["BUSDT", "AUSDT"], "2024-01-01", "2024-01-03", **o)["klines"],
    "load_data trades": lambda vault, **o: vault.load_data("AUSDT", "2024-01-01", "2024-01-03", "trades", **o)[
        "trades"
    ],
    "load_data words": lambda vault, **o: vault.load_data(
        "AUSDT", "2024-01-01", "2024-01-03", "liquidation_snapshot", **o
    )["liquidation_snapshot"],
    "load_data metrics": lambda vault, **o: vault.load_data(
        "AUSDT", "2024-01-01", "2024-01-03", "metrics", on_missing="ignore", **o
    )["metrics"],
    "load_aligned_data": lambda vault, **o: vault.load_aligned_data(
        ["AUSDT", "BUSDT"], "2024-01-01", "2024-01-03", ages=True, on_missing="ignore", **o
    ),
    "universe": lambda vault, **o: vault.universe(start="2024-01-02", end="2024-01-04", min_volume=1, **o),
    "resample": lambda vault, **o: vault.resample(["AUSDT", "BUSDT"], "2024-01-01", "2024-01-03", "4h", **o),
    "load_bars": lambda vault, **o: vault.load_bars(
        symbol="AUSDT", start="2024-01-01", end="2024-01-03", bars="tick", threshold=7, **o
    ),
    "sql": lambda vault, **o: vault.sql("SELECT symbol, count(*) AS n FROM klines_1h GROUP BY 1 ORDER BY 1", **o),
    "coverage": lambda vault, **o: vault.coverage(**o),
    "describe": lambda vault, **o: vault.describe(**o),
    "describe klines": lambda vault, **o: vault.describe("klines", **o),
}


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Any:
    world = World(tmp_path_factory.mktemp("outputs") / "data")
    for symbol in ("AUSDT", "BUSDT"):
        for kind in ("klines", "mark_price", "index_price", "premium_index"):
            world.fill(kind, symbol, hours("2024-01-01", 72))
    world.fill("funding_rate", "AUSDT", hours("2024-01-01", 72)[::8])
    trades = series("trades", "AUSDT")
    rows = [
        row | {"price": abs(row["price"]) + 1, "qty": abs(row["qty"]) + 1}
        for row in made_up(trades, hours("2024-01-01", 72))
    ]
    world.put(trades, rows)
    world.fill("metrics", "AUSDT", hours("2024-01-01", 72))
    world.fill("liquidation_snapshot", "AUSDT", hours("2024-01-01", 72))
    with world.loader() as loader:
        yield loader


def plain(values: Any) -> list[Any]:
    """Values of any library as Python's own: times as integers, nothing as None."""
    found = []
    for value in values:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or value is pd.NaT or (isinstance(value, float) and value != value):
            value = None
        found.append(value)
    return found


def as_arrow(frame: Any, output: str) -> pa.Table:
    if output == "polars":
        assert isinstance(frame, polars.DataFrame)
        return frame.to_arrow()
    if output == "relation":
        return frame.to_arrow_table()
    if output == "numpy":
        assert all(isinstance(values, np.ndarray) and values.flags.writeable for values in frame.values())
        return pa.table({name: pa.array(values) for name, values in frame.items()})
    assert isinstance(frame, pd.DataFrame)
    assert isinstance(frame.index, pd.RangeIndex)
    return pa.Table.from_pandas(frame, preserve_index=False)


def column(table: pa.Table, name: str) -> list[Any]:
    values = table.column(name)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_interval(values.type):  # what DuckDB makes of a duration
        return [v and v.days * DAY_US + v.nanoseconds // 1000 for v in values.to_pylist()]
    if pa.types.is_temporal(values.type) and not pa.types.is_date(values.type):
        kind = pa.duration("us") if pa.types.is_duration(values.type) else pa.timestamp("us")
        values = values.cast(kind).cast(pa.int64())
    return plain(values.to_pylist())


@pytest.mark.parametrize("output", ["pandas", "polars", "numpy", "relation"])
@pytest.mark.parametrize("call", CALLS)
def test_every_output_has_the_same_values(vault: BacktestDataLoader, call: str, output: str) -> None:
    wanted = CALLS[call](vault, output="arrow")
    assert isinstance(wanted, pa.Table)
    assert wanted.num_rows
    found = as_arrow(CALLS[call](vault, output=output), output)
    assert found.column_names == wanted.column_names
    for name in wanted.column_names:
        expected = column(wanted, name)
        if output == "numpy" and any(isinstance(value, str) for value in expected):
            expected = [value or "" for value in expected]
        assert column(found, name) == expected, name


@pytest.mark.parametrize("call", CALLS)
def test_a_frame_may_be_written_to(vault: BacktestDataLoader, call: str) -> None:
    """What is written is in the frame, and neither in what the next load gives nor in the frames of others."""
    frame, other = CALLS[call](vault), CALLS[call](vault)
    untouched = other.copy(deep=True)
    for name in frame.columns:
        values = frame[name]
        put = values[values.ne(values[0]).to_numpy().argmax()]  # the first that is another, where there is one
        frame.loc[0, name] = put
        assert frame[name].dtype == other[name].dtype, name
        assert frame.loc[0, name] == put or pd.isna(put), name
        assert frame[name][1:].equals(other[name][1:]), name
    assert not frame.equals(untouched)
    pd.testing.assert_frame_equal(other, untouched)
    pd.testing.assert_frame_equal(CALLS[call](vault), untouched)


def test_bars_that_drift_are_told_of_in_the_callers_line(vault: BacktestDataLoader) -> None:
    with pytest.warns(BarsDrift, match="dollar_imbalance-10-unclamped") as caught:
        vault.load_bars("AUSDT", "2024-01-01", "2024-01-03", "dollar_imbalance-10-unclamped")
    assert [warning.filename for warning in caught] == [__file__]


def test_without_polars_the_way_to_it_is_said(vault: BacktestDataLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "polars":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "polars")
    with pytest.raises(ConfigError, match="pip install polars"):
        vault.load_data("AUSDT", "2024-01-01", "2024-01-01", output="polars")


@pytest.mark.parametrize("call", CALLS)
def test_an_output_that_there_is_not_is_said(vault: BacktestDataLoader, call: str) -> None:
    with pytest.raises(ConfigError, match="unknown output 'panda'; did you mean 'pandas'"):
        CALLS[call](vault, output="panda")


def test_coverage_says_what_is_there_and_what_is_missing(world: World, loader: BacktestDataLoader) -> None:
    times = hours("2024-01-01", 24 * 40)
    del times[100:103]
    world.fill("klines", "BTCUSDT", times)
    world.fill("klines", "ETHUSDT", hours("2024-01-01", 24))
    world.fill("funding_rate", "ETHUSDT", hours("2024-01-01", 24)[::8])
    frame = loader.coverage()
    assert frame["symbol"].tolist() == ["ETHUSDT", "BTCUSDT", "ETHUSDT"]
    row = frame.iloc[1].to_dict()
    path = world.layout.processed(series("klines", "BTCUSDT"), Period.parse("2024"))
    assert (row["market"], row["data_type"], row["interval"]) == ("um", "klines", "1h")
    assert (row["rows"], row["files"], row["bytes"]) == (24 * 40 - 3, 1, path.stat().st_size)
    assert (row["gaps"], row["missing_rows"], row["open_gaps"], row["revisions"]) == (1, 3, 1, 0)
    assert (row["first"], row["last"]) == (
        pd.Timestamp(times[0], unit="us", tz="UTC"),
        pd.Timestamp(times[-1], unit="us", tz="UTC"),
    )
    assert loader.coverage("ETHUSDT", "klines")["rows"].tolist() == [24]
    assert "gaps" not in loader.coverage(gaps=False)
    with pytest.raises(ConfigError, match="nothing of ETHUSD is stored; did you mean 'ETHUSDT'"):
        loader.coverage("ETHUSD")
    with pytest.raises(ConfigError, match="unknown data type 'kline'; did you mean 'klines'"):
        loader.coverage(data_types="kline")


def test_nothing_stored_is_an_empty_coverage(loader: BacktestDataLoader) -> None:
    assert len(loader.coverage()) == len(loader.describe()) == 0
    assert loader.views() == []


def test_describe_says_how_much_of_what(world: World, loader: BacktestDataLoader) -> None:
    for symbol in ("AUSDT", "BUSDT"):
        world.fill("klines", symbol, hours("2024-01-01", 48))
    world.fill("klines", "AUSDT", [us("2024-01-01") + n * DAY_US for n in range(5)], interval="1d")
    frame = loader.describe()
    assert frame[["interval", "symbols", "rows"]].to_numpy().tolist() == [["1d", 1, 5], ["1h", 2, 96]]
    columns = loader.describe("klines", "cm")
    assert columns["column"].tolist()[-3:] == ["trades", "taker_buy_volume", "taker_buy_base"]
    assert columns.set_index("column").loc["volume", "unit"] == "contracts"


def test_a_day_is_a_date_whatever_says_it(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 72))
    days = ["2024-01-02", date(2024, 1, 2)]
    instants = [
        ("2024-01-02T00:00", "2024-01-03T00:00"),
        (pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-03", tz="UTC")),
    ]
    frames = [loader.load_data("BTCUSDT", day, day)["klines"] for day in days]
    frames += [loader.load_data("BTCUSDT", *span)["klines"] for span in instants]
    assert all(frame.equals(frames[0]) and len(frame) == 24 for frame in frames)


def test_a_loader_without_write_access_reads_everything(world: World) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 72))
    before = sorted(Path(world.root).rglob("*"))
    with world.loader() as loader:
        loader.load_data("BTCUSDT", "2024-01-01", "2024-01-03")
        loader.sql("SELECT * FROM klines_1h")
        loader.universe("2024-01-02", "2024-01-03")
        loader.coverage()
        loader.describe()
    assert sorted(Path(world.root).rglob("*")) == before
