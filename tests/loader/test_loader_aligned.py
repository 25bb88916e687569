"""`load_aligned_data` against plain Python, and the law that the future changes nothing."""

import warnings
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_world import Row, World, hours, made_up, series, us

from core.datasets import DATASETS
from core.dates import DAY_US, HOUR_US, INTERVAL_US
from core.errors import ConfigError, NoData, StorageError
from core.storage.schema import schema_of
from core.types import Period
from loader import BacktestDataLoader, MissingDataWarning

BARS = ["open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"]
PREFIXES = {"mark_price": "mark", "index_price": "index", "premium_index": "premium"}
KINDS = ["klines", *PREFIXES, "funding_rate"]
COLUMNS = [
    *("timestamp", "symbol", "available_at", *BARS),
    *(f"{prefix}_{name}" for prefix in PREFIXES.values() for name in BARS[:4]),
    *("funding_rate", "funding_interval_hours", "funding_time"),
]
TIME = pd.DatetimeTZDtype("us", "UTC")
Stored = dict[str, dict[str, list[Row]]]
"""Rows by dataset, then symbol."""


def oracle(
    stored: Stored, start_us: int, end_us: int, step_us: int = HOUR_US, max_age_us: int | None = 0, ages: bool = False
) -> list[Row]:
    """The wide rows by dictionaries and loops; None where there is nothing."""
    wide = []
    for symbol in sorted(stored["klines"]):
        for bar in sorted(stored["klines"][symbol], key=lambda row: row["timestamp"]):
            if not start_us <= bar["timestamp"] < end_us:
                continue
            known = bar["timestamp"] + step_us
            row = {"timestamp": bar["timestamp"], "symbol": symbol, "available_at": known}
            row |= {name: bar[name] for name in BARS}
            for dataset, prefix in PREFIXES.items():
                complete = [o for o in stored[dataset].get(symbol, []) if o["timestamp"] + step_us <= known]
                fresh = [o for o in complete if max_age_us is None or known - o["timestamp"] - step_us <= max_age_us]
                joined = max(fresh, key=lambda o: o["timestamp"], default={})
                row |= {f"{prefix}_{name}": joined.get(name) for name in BARS[:4]}
                if ages:
                    row[f"{prefix}_age"] = known - joined["timestamp"] - step_us if joined else None
            settled = [o for o in stored["funding_rate"].get(symbol, []) if o["timestamp"] <= known]
            last = max(settled, key=lambda o: o["timestamp"], default={})
            row |= {name: last.get(name) for name in ("funding_rate", "funding_interval_hours")}
            row["funding_time"] = last.get("timestamp")
            if ages:
                row["funding_age"] = known - last["timestamp"] if last else None
            wide.append(row)
    return wide


def plain(frame: pd.DataFrame) -> list[Row]:
    """The frame's rows as Python values, times in microseconds, None for what is missing."""
    columns: dict[str, list[Any]] = {}
    for name in frame:
        column = frame[name]
        values = column.astype("int64") if column.dtype in (TIME, np.dtype("m8[us]")) else column
        gaps = column.isna()
        columns[str(name)] = [None if gap else value for gap, value in zip(gaps, values.tolist(), strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def put(world: World, stored: Stored) -> None:
    for dataset, by_symbol in stored.items():
        for symbol, rows in by_symbol.items():
            world.put(series(dataset, symbol), rows)


def settlements(start: str, count: int, late_us: int = 0) -> list[int]:
    return [us(start) + number * 8 * HOUR_US + late_us for number in range(count)]


def ordinary(symbols: list[str], start: str, days: int) -> Stored:
    candles = hours(start, 24 * days)
    times = dict.fromkeys(KINDS, candles) | {"funding_rate": settlements(start, 3 * days)}
    return {kind: {symbol: made_up(series(kind, symbol), times[kind]) for symbol in symbols} for kind in KINDS}


def test_a_wide_row_holds_what_was_known_when_its_candle_closed(world: World, loader: BacktestDataLoader) -> None:
    stored = ordinary(["BTCUSDT", "ETHUSDT"], "2024-01-25", 12)
    put(world, stored)
    frame = loader.load_aligned_data(["ETHUSDT", "BTCUSDT"], "2024-01-30", "2024-02-02")
    assert list(frame.columns) == COLUMNS
    assert plain(frame) == oracle(stored, us("2024-01-30"), us("2024-02-03"))
    assert len(frame) == 2 * 4 * 24
    assert isinstance(frame.index, pd.RangeIndex)
    times = dict.fromkeys(("timestamp", "available_at", "funding_time"), TIME)
    others = {"symbol": pd.CategoricalDtype(["BTCUSDT", "ETHUSDT"]), "trades": np.dtype("int64")}
    assert frame.dtypes.to_dict() == dict.fromkeys(COLUMNS, np.dtype("float64")) | times | others
    frame.loc[0, "mark_open"] = 1.0
    frame.loc[0, "funding_time"] = pd.NaT


def test_a_settlement_a_few_milliseconds_late_belongs_to_the_next_candle(
    world: World, loader: BacktestDataLoader
) -> None:
    stored = ordinary(["BTCUSDT"], "2024-01-01", 2)
    late = [us("2024-01-01T00:00"), us("2024-01-01T08:00:00.003"), us("2024-01-01T16:00")]
    stored["funding_rate"]["BTCUSDT"] = made_up(series("funding_rate", "BTCUSDT"), late)
    put(world, stored)
    frame = loader.load_aligned_data("BTCUSDT", "2024-01-01", "2024-01-01").set_index("timestamp")
    at = frame["funding_time"].astype("int64")
    assert at[pd.Timestamp("2024-01-01T07:00Z")] == late[0]
    assert at[pd.Timestamp("2024-01-01T08:00Z")] == late[1]
    assert at[pd.Timestamp("2024-01-01T14:00Z")] == late[1]
    assert at[pd.Timestamp("2024-01-01T15:00Z")] == late[2]


def test_the_last_candle_knows_the_settlement_of_its_own_close(world: World, loader: BacktestDataLoader) -> None:
    put(world, ordinary(["BTCUSDT"], "2024-01-30", 4))
    frame = loader.load_aligned_data("BTCUSDT", "2024-01-31", "2024-01-31")
    assert frame["funding_time"].iloc[-1] == pd.Timestamp("2024-02-01", tz="UTC")
    assert frame["funding_time"].iloc[0] == pd.Timestamp("2024-01-31", tz="UTC")


@pytest.mark.parametrize("settled", ["2024-02-29T16:00", "2024-02-01T00:00", "2023-06-30T16:00"])
def test_the_first_candles_know_a_settlement_of_an_earlier_file(
    world: World, loader: BacktestDataLoader, settled: str
) -> None:
    world.fill("funding_rate", "BTCUSDT", [us("2023-01-01"), us(settled)])
    for kind in KINDS[:-1]:
        world.fill(kind, "BTCUSDT", hours("2024-03-01", 24))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = loader.load_aligned_data("BTCUSDT", "2024-03-01", "2024-03-01")
    assert set(frame["funding_time"]) == {pd.Timestamp(settled, tz="UTC")}
    known = [row + HOUR_US for row in hours("2024-03-01", 24)]
    stale = sum(time - us(settled) > DAY_US for time in known)
    assert [f"{stale} rows carry a rate settled more than a day before" in str(w.message) for w in caught] == [True]


def test_funding_that_stopped_is_not_carried_on_in_silence(world: World, loader: BacktestDataLoader) -> None:
    stored = ordinary(["BTCUSDT", "ETHUSDT"], "2024-01-01", 5)
    stored["funding_rate"]["ETHUSDT"] = stored["funding_rate"]["ETHUSDT"][:3]
    put(world, stored)
    with pytest.warns(MissingDataWarning, match="80 rows carry a rate settled more than a day before") as caught:
        frame = loader.load_aligned_data(["BTCUSDT", "ETHUSDT"], "2024-01-01", "2024-01-05")
    assert plain(frame) == oracle(stored, us("2024-01-01"), us("2024-01-06"))
    warning = caught[0].message
    assert isinstance(warning, MissingDataWarning)
    assert [(part.symbol, part.series.dataset) for part in warning.missing] == [("ETHUSDT", "funding_rate")]


def test_missing_prices_stay_missing(world: World, loader: BacktestDataLoader) -> None:
    stored = ordinary(["BTCUSDT"], "2024-01-01", 2)
    for kind, gap in (("mark_price", 3), ("index_price", 5), ("premium_index", 7)):
        del stored[kind]["BTCUSDT"][gap : gap + 4]
    put(world, stored)
    with pytest.warns(MissingDataWarning, match="um/mark_price/BTCUSDT/1h: 4 candles have none that was known"):
        frame = loader.load_aligned_data("BTCUSDT", "2024-01-01", "2024-01-02")
    assert plain(frame) == oracle(stored, us("2024-01-01"), us("2024-01-03"))
    assert frame["mark_open"].isna().sum() == 4


def test_a_kind_that_is_not_stored_is_nan_and_said(world: World, loader: BacktestDataLoader) -> None:
    stored = ordinary(["BTCUSDT"], "2024-01-01", 1) | {"premium_index": {}, "funding_rate": {}}
    put(world, stored)
    with pytest.warns(MissingDataWarning, match="um/premium_index/BTCUSDT/1h is not stored") as caught:
        frame = loader.load_aligned_data("BTCUSDT", "2024-01-01", "2024-01-01")
    assert caught[0].filename == __file__
    assert list(frame.columns) == COLUMNS
    assert plain(frame) == oracle(stored, us("2024-01-01"), us("2024-01-02"))
    assert [str(frame[name].dtype) for name in COLUMNS[-7:]] == ["float64"] * 6 + ["datetime64[us, UTC]"]


def test_a_symbol_without_candles_has_no_rows_and_is_said_once(world: World, loader: BacktestDataLoader) -> None:
    put(world, ordinary(["BTCUSDT"], "2024-01-01", 1))
    with pytest.warns(MissingDataWarning) as caught:
        frame = loader.load_aligned_data(["BTCUSDT", "BTCUSD"], "2024-01-01", "2024-01-01")
    assert set(frame["symbol"]) == {"BTCUSDT"}
    warning = caught[0].message
    assert isinstance(warning, MissingDataWarning)
    assert [(part.symbol, part.series.dataset) for part in warning.missing] == [("BTCUSD", "klines")]
    with pytest.raises(NoData, match="did you mean 'BTCUSDT'"):
        loader.load_aligned_data("BTCUSD", "2024-01-01", "2024-01-01")


def test_spot_has_nothing_to_align(loader: BacktestDataLoader) -> None:
    with pytest.raises(ConfigError, match="spot has no mark_price"):
        loader.load_aligned_data("BTCUSDT", "2024-01-01", "2024-01-01", market="spot")


def test_contracts_of_one_pair_share_its_index(world: World, loader: BacktestDataLoader) -> None:
    contracts = ["BTCUSD_240628", "BTCUSD_PERP"]
    for kind in KINDS:
        times = settlements("2024-01-01", 3) if kind == "funding_rate" else hours("2024-01-01", 24)
        for symbol in contracts[: 1 if kind == "index_price" else 2]:
            world.fill(kind, symbol, times, market="cm")
    frame = loader.load_aligned_data(contracts, "2024-01-01", "2024-01-01", market="cm")
    index = [made_up(series("index_price", "BTCUSD", "cm"), [time])[0]["close"] for time in hours("2024-01-01", 24)]
    assert frame["index_close"].tolist() == index * 2
    assert "base_volume" in frame


@pytest.mark.parametrize("kind", KINDS)
def test_a_repeated_key_is_an_error_and_never_more_rows(world: World, loader: BacktestDataLoader, kind: str) -> None:
    stored = ordinary(["BTCUSDT"], "2024-01-01", 1)
    put(world, stored)
    rows = stored[kind]["BTCUSDT"]
    world.put_unchecked(series(kind, "BTCUSDT"), Period.parse("2024"), [rows[0], *rows])
    with pytest.raises(StorageError, match="1 rows repeat"):
        loader.load_aligned_data("BTCUSDT", "2024-01-01", "2024-01-01")


def test_candles_of_a_month_know_the_funding_of_that_month(world: World, loader: BacktestDataLoader) -> None:
    months = [us("2024-01-01"), us("2024-02-01")]
    for kind in KINDS[:-1]:
        world.fill(kind, "BTCUSDT", months, interval="1mo")
    world.fill("funding_rate", "BTCUSDT", settlements("2024-01-01", 31 * 3 + 29 * 3 + 1))
    frame = loader.load_aligned_data("BTCUSDT", "2024-01-01", "2024-02-29", interval="1mo")
    assert frame["available_at"].astype("int64").tolist() == [us("2024-02-01"), us("2024-03-01")]
    assert frame["funding_time"].astype("int64").tolist() == [us("2024-02-01"), us("2024-03-01")]


@pytest.mark.parametrize("kind", ["mark_price", "funding_rate"])
def test_a_day_beside_its_year_does_not_hide_what_the_year_has(
    world: World, loader: BacktestDataLoader, kind: str
) -> None:
    stored = ordinary(["BTCUSDT"], "2024-01-01", 130)
    put(world, stored)
    one, month = series(kind, "BTCUSDT"), "2024-03"
    rows = [row for row in stored[kind]["BTCUSDT"] if us("2024-03-10") <= row["timestamp"] < us("2024-03-11")]
    if kind == "mark_price":  # a day that its month has otherwise is stored beside it
        changed = [row | {"close": row["close"] + 1} for row in rows]
        world.put_period(one, Period.parse("2024-03-10"), changed)
    else:
        changed = [row | {"timestamp": row["timestamp"] + HOUR_US} for row in rows]
        table = pa.Table.from_pylist(changed, schema_of(DATASETS[kind], one.market))
        world.storage.store_answer(one, Period.parse("2024-03-10"), table)
    assert any(part.period.label == month or part.beside for part in world.storage.facts([one])[0])
    request = ("BTCUSDT", "2024-05-01", "2024-05-02")
    late = loader.load_aligned_data(*request, max_age=None, ages=True)
    early = loader.load_aligned_data("BTCUSDT", "2024-01-01", "2024-05-02", max_age=None, ages=True)
    assert late.equals(early[early["timestamp"] >= "2024-05-01"].reset_index(drop=True))
    assert plain(late) == oracle(stored, us("2024-05-01"), us("2024-05-03"), max_age_us=None, ages=True)


symbols = st.sampled_from(["AUSDT", "BUSDT", "CUSDT"])
START = us("2024-01-30")
candle_times = st.sets(st.integers(0, 70), max_size=40).map(lambda s: [START + hour * HOUR_US for hour in sorted(s)])
late = st.sampled_from([0, 0, 1, 3_000, HOUR_US // 2])
funding_times = st.dictionaries(st.integers(-90, 70), late, max_size=12).map(
    lambda d: [START + hour * HOUR_US + late_us for hour, late_us in sorted(d.items())]
)
worlds = st.fixed_dictionaries(
    {kind: st.dictionaries(symbols, funding_times if kind == "funding_rate" else candle_times) for kind in KINDS}
)


def load(stored: Stored, start_us: int, end_us: int, threads: int = 1, **options: Any) -> list[Row]:
    """What the loader makes of these rows; nothing if there is no candle."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingDataWarning)
        world = World(Path(folder))
        put(world, stored)
        with world.loader(threads) as loader:
            bounds = [pd.Timestamp(time_us, unit="us", tz="UTC") for time_us in (start_us, end_us)]
            try:
                return plain(loader.load_aligned_data(["AUSDT", "BUSDT", "CUSDT"], *bounds, **options))
            except NoData:
                return []


def rows_of(times: dict[str, dict[str, list[int]]]) -> Stored:
    return {
        kind: {symbol: made_up(series(kind, symbol), of_symbol) for symbol, of_symbol in by_symbol.items()}
        for kind, by_symbol in times.items()
    }


@settings(max_examples=25, deadline=None)
@given(worlds, st.integers(-5, 70), st.integers(1, 80), st.sampled_from([1, 2]))
def test_any_world_with_gaps_and_late_listings_is_joined_as_by_hand(
    times: dict[str, dict[str, list[int]]], first: int, length: int, threads: int
) -> None:
    stored = rows_of(times)
    start_us = START + first * HOUR_US
    end_us = start_us + length * HOUR_US
    assert load(stored, start_us, end_us, threads) == oracle(stored, start_us, end_us)


max_ages = st.sampled_from([0, HOUR_US, 5 * HOUR_US, None])


def as_option(max_age_us: int | None) -> timedelta | None:
    return None if max_age_us is None else timedelta(microseconds=max_age_us)


@settings(max_examples=25, deadline=None)
@given(worlds, st.integers(0, 60), max_ages)
def test_older_candles_join_as_far_as_asked_for_and_their_age_is_told(
    times: dict[str, dict[str, list[int]]], first: int, max_age_us: int | None
) -> None:
    late_by = {"mark_price": 1000, "index_price": -1000}  # rows off the grid, a millisecond late and early
    for kind, off in late_by.items():
        for of_symbol in times[kind].values():
            of_symbol[2:5] = [time_us + off for time_us in of_symbol[2:5]]
    stored = rows_of(times)
    start_us, end_us = START + first * HOUR_US, START + 80 * HOUR_US
    found = load(stored, start_us, end_us, max_age=as_option(max_age_us), ages=True)
    assert found == oracle(stored, start_us, end_us, max_age_us=max_age_us, ages=True)


@settings(max_examples=25, deadline=None)
@given(worlds, st.integers(0, 72), late, max_ages)
def test_what_comes_after_a_moment_changes_no_row_known_by_then(
    times: dict[str, dict[str, list[int]]], hour: int, late_us: int, max_age_us: int | None
) -> None:
    moment = START + hour * HOUR_US + late_us
    stored = rows_of(times)
    cut = {
        kind: {
            symbol: [row for row in rows if row["timestamp"] + (0 if kind == "funding_rate" else HOUR_US) <= moment]
            for symbol, rows in by_symbol.items()
        }
        for kind, by_symbol in stored.items()
    }
    span, options = (START, START + 80 * HOUR_US), {"max_age": as_option(max_age_us), "ages": True}
    whole = load(stored, *span, **options)
    assert [row for row in whole if row["available_at"] <= moment] == load(cut, *span, **options)


@pytest.mark.parametrize("max_age", ["soon", -1, "1mo", timedelta(-1), True, 3.5])
def test_an_age_that_is_none_is_refused(world: World, loader: BacktestDataLoader, max_age: Any) -> None:
    with pytest.raises(ConfigError, match=r"max_age|unknown interval"):
        loader.load_aligned_data("BTCUSDT", "2024-01-01", "2024-01-02", max_age=max_age)


@pytest.mark.parametrize("interval", ["5m", "4h", "1d", "1w"])
def test_other_intervals(world: World, loader: BacktestDataLoader, interval: str) -> None:
    step = INTERVAL_US[interval] or 0
    times = [us("2024-01-01") + step * n for n in range(20)]
    stored: Stored = {
        kind: {"BTCUSDT": made_up(series(kind, "BTCUSDT", interval=interval), times)} for kind in KINDS[:-1]
    }
    settled = settlements("2024-01-01", max(20 * step // (8 * HOUR_US), 1) + 1)
    stored["funding_rate"] = {"BTCUSDT": made_up(series("funding_rate", "BTCUSDT"), settled)}
    for kind in KINDS:
        world.put(series(kind, "BTCUSDT", interval=interval), stored[kind]["BTCUSDT"])
    frame = loader.load_aligned_data("BTCUSDT", "2024-01-01", "2024-12-31", interval=interval)
    assert plain(frame) == oracle(stored, us("2024-01-01"), us("2025-01-01"), step)
