"""Features of stored trades: the same rows whatever the request, known when they say, and nothing silently missing."""

import csv
import io
import math
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from factories import real_folder
from features_oracle import TWINS, Oracle, Trades, exactly, random_trades
from features_tape import SECOND, rows_of, tape_of
from loader_world import World, made_up, opened, series, us, write_rows

from core.datasets.metrics import known_from
from core.errors import ConfigError, NoData
from core.features import FEATURES, features_of
from core.features.builder import of_bars
from core.types import Cadence, Market
from loader import BacktestDataLoader, MissingDataWarning

DAYS = ("2024-01-01", "2024-01-03")
OF_TRADES = [name for name, feature in FEATURES.items() if feature.needs is None]
CONTEXT = [name for name, feature in FEATURES.items() if feature.needs is not None]


def put(world: World, trades: Trades, market: str = "um", symbol: str = "BTCUSDT") -> None:
    batch = trades.batch().to_pydict()
    quotes = (trades.price * trades.quantity / 1e4).tolist()
    times = trades.time.tolist()
    columns = zip(times, batch["id"], batch["price"], batch["qty"], quotes, batch["is_buyer_maker"], strict=True)
    names = ("timestamp", "id", "price", "qty", "base_qty" if market == "cm" else "quote_qty", "is_buyer_maker")
    rows = [dict(zip(names, row, strict=True)) for row in columns]
    world.put(series("trades", symbol, market), rows, Cadence.DAILY)


@pytest.fixture(scope="module")
def trades() -> Trades:
    """From the evening of the first day to that of the third."""
    return random_trades(25_000, 50 * 3600, seed=21, start=us("2024-01-01T20:00"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, trades: Trades) -> World:
    made = World(tmp_path_factory.mktemp("features"))
    put(made, trades)
    return made


@pytest.fixture(scope="module")
def loader(world: World) -> Iterator[BacktestDataLoader]:
    with world.loader() as opened:
        yield opened


def test_seconds_of_a_day_are_those_of_all_trades(loader: BacktestDataLoader, trades: Trades) -> None:
    frame = loader.load_features("BTCUSDT", "2024-01-02", "2024-01-02", features=OF_TRADES)
    tape = tape_of(trades)
    first = us("2024-01-02") // SECOND - tape.first
    expected = features_of(tape, [FEATURES[name] for name in OF_TRADES])
    assert list(frame.columns) == ["timestamp", "available_at", *OF_TRADES]
    assert isinstance(frame.index, pd.RangeIndex)
    assert {str(kind) for kind in frame.dtypes[:2]} == {"datetime64[us, UTC]"}
    assert {str(kind) for kind in frame.dtypes[2:]} == {"float64"}
    assert len(frame) == 86_400
    assert frame["timestamp"].iloc[0] == pd.Timestamp("2024-01-02", tz="UTC")
    assert (frame["available_at"] - frame["timestamp"] == pd.Timedelta("1s")).all()
    for name, values in expected.items():
        own = slice(first, first + 86_400)
        same = np.array_equal(frame[name].to_numpy(), values[own], equal_nan=True)
        if name == "cvd":
            assert same or frame[name].to_numpy() == pytest.approx(values[own], rel=1e-12)
        else:
            assert same, name


@pytest.mark.parametrize("interval", ["10s", "7s", "1m", "1h"])
def test_where_the_request_begins_and_ends_changes_nothing(loader: BacktestDataLoader, interval: str) -> None:
    whole = loader.load_features("BTCUSDT", *DAYS, interval, OF_TRADES)
    starts = ["2024-01-02", "2024-01-02T13:00:00.5", "2024-01-02T13:17:11", "2024-01-03T00:00:07"]
    for start, end in zip(starts, ["2024-01-02", "2024-01-02T15:00", "2024-01-03T11:00", "2024-01-03"], strict=True):
        part = loader.load_features("BTCUSDT", start, end, interval, OF_TRADES)
        own = whole[whole["timestamp"].between(part["timestamp"].iloc[0], part["timestamp"].iloc[-1])]
        pd.testing.assert_frame_equal(part, own.reset_index(drop=True), check_exact=True)
        assert part["timestamp"].iloc[0] >= pd.Timestamp(start, tz="UTC")
    parts = list(loader.iter_features("BTCUSDT", *DAYS, interval, OF_TRADES))
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole, check_exact=True)


def test_a_subset_of_the_features_has_the_same_values(loader: BacktestDataLoader) -> None:
    asked = ["vpin", "cvd", "kyle_t_60", "close", "toxicity_ewma"]
    whole = loader.load_features("BTCUSDT", "2024-01-02T10:00", "2024-01-02T11:00", features=OF_TRADES)
    for names in ([one] for one in asked):
        part = loader.load_features("BTCUSDT", "2024-01-02T10:00", "2024-01-02T11:00", features=names)
        pd.testing.assert_frame_equal(part, whole[["timestamp", "available_at", *names]], check_exact=True)
    some = loader.load_features("BTCUSDT", "2024-01-02T10:00", "2024-01-02T11:00", features=asked)
    assert list(some.columns[2:]) == [name for name in FEATURES if name in asked]


def test_rows_begin_with_the_first_trade_and_end_with_the_last_day(loader: BacktestDataLoader, trades: Trades) -> None:
    frame = loader.load_features("BTCUSDT", "2023-12-01", "2024-02-01", "1m", "close")
    first = int(trades.time[0]) // (60 * SECOND) * 60 * SECOND
    assert int(frame["timestamp"].iloc[0].value) // 1000 == first
    assert frame["available_at"].iloc[-1] == pd.Timestamp("2024-01-04", tz="UTC")
    assert frame["close"].iloc[-1] == trades.price[-1] / 10
    assert frame["timestamp"].diff().dropna().eq(pd.Timedelta("1min")).all()


def test_a_quiet_stretch_carries_the_last_price_from_however_long_before(tmp_path: Path) -> None:
    world = World(tmp_path)
    time = np.array([us("2024-01-01T12:00"), us("2024-01-05T12:00:30"), us("2024-01-05T23:00")])
    put(world, Trades(time, np.array([100, 110, 120]), np.array([1000, 2000, 3000]), np.array([True, False, True])))
    with world.loader() as loader:
        names = ["open", "close", "volume", "since_trade", "inter_trade_mean", "cvd"]
        frame = loader.load_features("BTCUSDT", "2024-01-05T11:00", "2024-01-05", "1h", names, on_missing="ignore")
        assert frame["close"].tolist() == [10.0, *[11.0] * 11, 12.0]
        assert frame["open"].tolist() == [10.0, *[11.0] * 11, 12.0]
        assert frame["volume"].tolist() == [0.0, 2.0, *[0.0] * 10, 3.0]
        assert frame["since_trade"].iloc[0] == 4 * 86_400.0
        assert frame["inter_trade_mean"].iloc[1] == 4 * 86_400 + 30.0
        assert frame["cvd"].tolist() == [0.0, *[2.0] * 11, -1.0]
        with pytest.warns(MissingDataWarning, match="has no trades from 2024-01-02 00:00:00 to 2024-01-05 00:00:00"):
            loader.load_features("BTCUSDT", "2024-01-01", "2024-01-05", "1h", "close")


def test_bars_have_features_too(loader: BacktestDataLoader, trades: Trades) -> None:
    frame = loader.load_features("BTCUSDT", *DAYS, "dollar-200000", OF_TRADES)
    bars = loader.load_bars("BTCUSDT", *DAYS, "dollar-200000")
    rows = rows_of(trades, "dollar-200000")
    tape = of_bars({name: values[: len(bars)] for name, values in rows.items()}, 0)
    assert len(frame) == len(bars) > 300
    assert frame["close"].tolist() == bars["price_close"].tolist()
    assert frame["timestamp"].tolist() == bars["time_open"].tolist()
    assert (frame["available_at"] > bars["time_close"]).all()
    for name, values in features_of(tape, [FEATURES[name] for name in OF_TRADES]).items():
        assert np.array_equal(frame[name].to_numpy(), values, equal_nan=True), name


def test_what_else_was_known_is_the_last_that_was_known(tmp_path: Path) -> None:
    world = World(tmp_path)
    time = us("2024-01-02") + np.arange(600) * SECOND
    put(world, Trades(time, np.full(600, 1000), np.full(600, 10), time % 3 == 0))
    begin = us("2024-01-02")
    funding = [
        {"timestamp": begin - 8 * 3600 * SECOND, "funding_interval_hours": 8, "funding_rate": 0.0001},
        {"timestamp": begin + 60 * SECOND + 3000, "funding_interval_hours": 8, "funding_rate": 0.0002},
    ]
    world.put(series("funding_rate", "BTCUSDT"), funding)
    for kind, base in (("premium_index", 0.0), ("index_price", 100.0)):
        one = series(kind, "BTCUSDT", interval="1m")
        prices = [
            {"timestamp": begin + n * 60 * SECOND, "close_time": begin + (n + 1) * 60 * SECOND - 1000}
            | dict.fromkeys(("open", "high", "low"), 1.0)
            | {"close": base + n}
            for n in range(-1, 8)
        ]
        world.put(one, prices)
    metrics = [
        {"timestamp": begin + n * 300 * SECOND, "open_interest": 10.0 + n}
        | dict.fromkeys(("top_trader_account_ratio", "top_trader_position_ratio", "account_ratio"), 1.0)
        | {"taker_volume_ratio": 1.0, "open_interest_value": 5.0}
        for n in range(1, 3)
    ]
    world.put(series("metrics", "BTCUSDT"), metrics, Cadence.DAILY)
    with world.loader() as loader:
        frame = loader.load_features("BTCUSDT", "2024-01-02", "2024-01-02T00:10", on_missing="ignore")
    minute = (np.arange(600) + 1) // 60  # whole minutes that are over at the end of each second
    last = 9 * 60  # the candle that closed after eight minutes counts for one more, its end included
    assert list(frame.columns[2:]) == list(FEATURES)
    assert frame["premium"].tolist()[:last] == [min(7.0, float(n - 1)) for n in minute[:last]]
    assert frame[["premium", "basis"]].iloc[last:].isna().all(axis=None)
    index = 100.0 + frame["premium"].to_numpy()[:last]
    assert frame["basis"].to_numpy()[:last] == pytest.approx((100.0 - index) / index, rel=1e-12)
    assert frame["funding_rate"].tolist() == [0.0001] * 60 + [0.0002] * 540
    interest = frame["open_interest"].to_numpy()
    assert np.isnan(interest[:299]).all()
    assert interest[299:].tolist() == [11.0] * 300 + [12.0]


@pytest.fixture(scope="module")
def holes(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Trades of four days in 2024, one at the end of each ten minutes; of other kinds something is missing."""
    world = World(tmp_path_factory.mktemp("holes"))
    time = us("2024-01-01") + np.arange(1, 4 * 144 + 1) * 600 * SECOND - 1
    put(world, Trades(time, np.full(576, 1000), np.full(576, 10), time % 3 == 0))

    def candles(kind: str, interval: str, start: str, count: int, base: float, without: tuple[int, ...] = ()) -> None:
        step = {"1m": 60, "1h": 3600}[interval] * SECOND
        prices = [
            {"timestamp": us(start) + n * step, "close_time": us(start) + (n + 1) * step - 1000}
            | dict.fromkeys(("open", "high", "low"), 1.0)
            | {"close": base + n}
            for n in range(count)
            if n not in without
        ]
        world.put(series(kind, "BTCUSDT", interval=interval), prices)

    candles("index_price", "1m", "2021-01-01", 1440, 7000.0)
    candles("index_price", "1h", "2023-12-31T22:00", 98, 100.0, without=(32, 33, 50))
    candles("premium_index", "1m", "2024-01-02T10:00", 61, 2000.0)
    candles("premium_index", "1h", "2023-12-31T22:00", 98, 1000.0)
    settled = [us("2023-12-31T16:00") + n * 8 * 3600 * SECOND for n in (0, 1, 2, 10, 11)]
    world.put(
        series("funding_rate", "BTCUSDT"),
        [{"timestamp": at, "funding_interval_hours": 8, "funding_rate": n / 1e4} for n, at in enumerate(settled)],
    )
    ratios = dict.fromkeys(("top_trader_account_ratio", "top_trader_position_ratio", "account_ratio"), 1.0)
    rows = [
        {"timestamp": us("2024-01-01") + n * 300 * SECOND, "open_interest": float(n), "taker_volume_ratio": 1.0}
        | {"open_interest_value": 5.0, **ratios}
        for n in range(1, 4 * 288)
        if n not in (30, 100, 101, 102)
    ]
    world.put(series("metrics", "BTCUSDT"), rows, Cadence.DAILY)
    return world


CONTEXT_OF_HOLES = ["close", "premium", "basis", "funding_rate", "open_interest"]


def test_a_lone_day_of_short_candles_hides_no_long_ones_and_holes_are_nan_and_told(holes: World) -> None:
    with holes.loader() as loader, pytest.warns(MissingDataWarning) as told:
        frame = loader.load_features("BTCUSDT", "2024-01-01", "2024-01-04", "5m", CONTEXT_OF_HOLES)
    ends = (frame["available_at"] - pd.Timestamp("2023-12-31T22:00", tz="UTC")) // pd.Timedelta("1s")
    hour = (ends // 3600 - 1).to_numpy()  # the last whole candle of an hour
    index = 100.0 + np.where(np.isin(hour, (32, 33, 50)), hour - np.where(hour == 33, 2.0, 1.0), hour)
    is_old = np.isin(hour, (32, 33, 50)) & ~(np.isin(hour, (32, 50)) & (ends % 3600 == 0).to_numpy())
    expected = np.where(is_old, np.nan, (100.0 - index) / index)
    assert frame["basis"].to_numpy() == pytest.approx(expected, rel=1e-12, nan_ok=True)
    minute = ((ends - 36 * 3600) // 60 - 1).to_numpy()  # of the lone minutes: they make two hours finer
    premium = np.where((minute >= 0) & (hour < 37), 2000.0 + np.minimum(minute, 60), 1000.0 + hour)
    assert frame["premium"].tolist() == premium.tolist()
    funded = ((frame["available_at"] - pd.Timestamp("2023-12-31T16:00", tz="UTC")) / pd.Timedelta("8h")).to_numpy()
    rate = np.select([funded < 2, funded <= 5, funded < 10, funded < 11], [1e-4, 2e-4, np.nan, 3e-4], 4e-4)
    assert np.array_equal(frame["funding_rate"].to_numpy(), rate, equal_nan=True)
    carried = {30: 29.0, 100: 99.0, 101: 99.0, 102: math.nan, 1152: 1151.0}
    interest = [carried.get(five, float(five)) for five in range(2, 4 * 288 + 1)]
    assert np.array_equal(frame["open_interest"].to_numpy(), interest, equal_nan=True)
    missing = {one.series.dataset: one for one in told[0].message.missing}  # type: ignore[union-attr]
    assert {kind: (one.rows, len(one.gaps), one.lack.value) for kind, one in missing.items()} == {
        "funding_rate": (int(np.isnan(rate).sum()), 1, "gap"),
        "index_price": (int(is_old.sum()), 2, "gap"),
        "metrics": (1, 1, "gap"),
    }
    assert "um/index_price/BTCUSDT/1h: 34 rows have no index_price, in 2 holes" in str(told[0].message)


@pytest.mark.parametrize("interval", ["1m", "tick-1"])
def test_what_else_was_known_does_not_depend_on_the_request(holes: World, interval: str) -> None:
    with holes.loader() as loader:
        asked = ("BTCUSDT", "2024-01-01", "2024-01-04", interval, CONTEXT_OF_HOLES)
        whole = loader.load_features(*asked, on_missing="ignore").set_index("available_at")
        for start in ("2024-01-02T10:30", "2024-01-02T11:20", "2024-01-03T01:00", "2024-01-02"):
            asked = ("BTCUSDT", start, "2024-01-03", interval, CONTEXT_OF_HOLES)
            part = loader.load_features(*asked, on_missing="ignore").set_index("available_at")
            same = whole.index.intersection(part.index)
            assert len(same) > 50
            columns = CONTEXT_OF_HOLES[1:]
            pd.testing.assert_frame_equal(part.loc[same, columns], whole.loc[same, columns], check_exact=True)
        with pytest.raises(NoData, match=r"(rows|bars that end there) have no funding_rate"):
            loader.load_features(*asked, on_missing="raise")


def test_removing_what_was_not_yet_published_changes_nothing_that_is_told_of_other_data(tmp_path: Path) -> None:
    """Funding, premium, index and open interest, stored up to each of many instants as the exchange had published them
    by then: rows that were over by then are those of all that was stored later. Across the day on which the labels of
    metrics change their meaning."""
    begin, changed, minute = us("2026-06-24T20:00"), us("2026-06-25"), 60 * SECOND
    minutes = [begin + n * minute for n in range(-1, 480)]
    fives = [begin + n * 5 * minute for n in range(96)]
    fundings = [begin + hour * 3600 * SECOND + 3000 for hour in range(-4, 8, 2)]
    trade_times = (begin + np.sort(np.random.default_rng(5).integers(0, 480 * minute, 2000))).tolist()
    published = [
        *((time, "trades", None, time) for time in trade_times),
        *((time, "funding_rate", None, time) for time in fundings),
        *((time + minute, kind, "1m", time) for kind in ("premium_index", "index_price") for time in minutes),
        *((time if time < changed else time + 5 * minute, "metrics", None, time) for time in fives),
    ]
    kinds = {
        kind: made_up(
            series(kind, "BTCUSDT", interval=interval or "1h"), [each[3] for each in published if each[1] == kind]
        )
        for kind, interval in {(kind, interval) for _, kind, interval, _ in published}
    }
    kinds["trades"] = [row | {"price": abs(row["price"]), "qty": abs(row["qty"])} for row in kinds["trades"]]

    def frame_of(name: str, until: int) -> pd.DataFrame:
        for kind, rows in kinds.items():
            known = {time for at, its, _, time in published if its == kind and at <= until}
            write_rows(
                tmp_path / name,
                series(kind, "BTCUSDT", interval="1m"),
                [row for row in rows if row["timestamp"] in known and (kind != "trades" or row["timestamp"] < until)],
            )
        with opened(tmp_path / name) as loader:
            frame: pd.DataFrame = loader.load_features(
                "BTCUSDT", "2026-06-24", "2026-06-25", "10s", CONTEXT, on_missing="ignore"
            )
        return frame

    whole = frame_of("whole", begin + 10 * 3600 * SECOND)
    assert list(whole.columns[2:]) == CONTEXT
    edges = [
        *fundings[3:],
        *(minutes[n] for n in (30, 200, 241, 400)),
        *(fives[n] for n in (5, 46, 47, 48, 49, 50, 80)),
    ]
    cuts = [edge + shift for edge in edges for shift in (-1, 0, 1)]
    cuts += np.random.default_rng(6).integers(begin + minute, begin + 480 * minute, 20).tolist()
    for number, cut in enumerate(cuts):
        found = frame_of(str(number), cut)
        over = pd.Timestamp(cut * 1000, tz="UTC")
        expected = whole[whole["available_at"] <= over].reset_index(drop=True)
        pd.testing.assert_frame_equal(found[found["available_at"] <= over], expected, check_exact=True)
        assert len(expected) >= 1
    assert (whole.nunique()[CONTEXT] > 3).all()


def test_since_when_metrics_were_known() -> None:
    changed = us("2026-06-25")
    labels = np.array([changed - 300 * SECOND, changed, changed + 300 * SECOND])
    assert (known_from(Market.UM, labels) - labels).tolist() == [0, 300 * SECOND, 300 * SECOND]
    assert (known_from(Market.CM, labels) - labels).tolist() == [300 * SECOND] * 3


def test_markets_and_what_they_have(tmp_path: Path, loader: BacktestDataLoader) -> None:
    world = World(tmp_path)
    put(world, random_trades(500, 600, start=us("2024-01-02")), "spot")
    with world.loader() as spot:
        frame = spot.load_features("BTCUSDT", "2024-01-02", "2024-01-02", "1m", market="spot")
        assert list(frame.columns[2:]) == OF_TRADES
        with pytest.raises(ConfigError, match="funding_rate is made of funding_rate, which spot does not have"):
            spot.load_features("BTCUSDT", "2024-01-02", "2024-01-02", "1m", "funding_rate", "spot")
    with pytest.warns(MissingDataWarning, match="premium_index") as told:
        frame = loader.load_features("BTCUSDT", "2024-01-02", "2024-01-02", "1m")
    assert {one.series.dataset for one in told[0].message.missing} == {  # type: ignore[union-attr]
        "funding_rate",
        "premium_index",
        "index_price",
        "metrics",
    }
    assert frame[["funding_rate", "premium", "basis", "open_interest"]].isna().all(axis=None)
    assert told[0].filename == __file__


@pytest.mark.parametrize("interval", ["10s", "tick-20"])
def test_mean_prices_of_contracts_are_prices(tmp_path: Path, interval: str) -> None:
    world = World(tmp_path)
    made = random_trades(2000, 1800, start=us("2024-01-02"))
    put(world, replace(made, quantity=made.quantity * 1000), "cm", "BTCUSD_PERP")
    names = ["high", "low", "vwap", "buy_vwap", "sell_vwap", "microprice"]
    with world.loader() as cm:
        frame = cm.load_features("BTCUSD_PERP", "2024-01-02", "2024-01-02", interval, names, "cm").dropna()
    assert len(frame) >= 50
    for name in names[2:]:
        assert ((frame[name] >= frame["low"] * (1 - 1e-15)) & (frame[name] <= frame["high"] * (1 + 1e-15))).all()
        assert frame[name].nunique() > 40


def test_what_is_not_stored_is_told(loader: BacktestDataLoader) -> None:
    with pytest.raises(NoData, match="um/trades/ETHUSDT is not stored"):
        loader.load_features("ETHUSDT", "2024-01-02", "2024-01-02")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = loader.load_features("ETHUSDT", "2024-01-02", "2024-01-02", on_missing="ignore")
    assert len(frame) == 0
    assert list(frame.columns) == ["timestamp", "available_at", *FEATURES]


def test_what_makes_no_sense_is_refused(loader: BacktestDataLoader) -> None:
    day = ("2024-01-02", "2024-01-02")
    for arguments, message in (
        ((["BTCUSDT"], *day), "features are of one symbol"),
        (("BTCUSDT", *day, "1x"), "a step such as 500ms"),
        (("BTCUSDT", *day, "dolar-5"), "unknown kind of bars 'dolar'"),
        (("BTCUSDT", *day, 5), "is neither an interval"),
        (("BTCUSDT", *day, "1s", ["vpim"]), "did you mean 'vpin'"),
        (("BTCUSDT", *day, "1s", None, "um", "klines"), "made of trades or agg_trades"),
        (("BTCUSDT", *day, "tick-5-tick_rule"), "take sides from is_buyer_maker"),
    ):
        with pytest.raises(ConfigError, match=message):
            loader.load_features(*arguments, on_missing="ignore")  # type: ignore[arg-type]


def test_outputs_have_the_same_rows(loader: BacktestDataLoader) -> None:
    asked = ("BTCUSDT", "2024-01-02T10:00", "2024-01-02T11:00", "10s", ["close", "vpin"])
    pandas = loader.load_features(*asked)
    polars = loader.load_features(*asked, output="polars")
    arrow = loader.load_features(*asked, output="arrow")
    numpy = loader.load_features(*asked, output="numpy")
    assert isinstance(polars, pl.DataFrame)
    assert isinstance(arrow, pa.Table)
    for name in ("close", "vpin"):
        for values in (polars[name].to_numpy(), arrow[name].to_numpy(), numpy[name]):
            assert np.array_equal(values, pandas[name].to_numpy(), equal_nan=True)
    assert numpy["available_at"].dtype == np.dtype("datetime64[us]")
    assert loader.load_features(*asked, output="relation").fetchall()[0][2] == pandas["close"].iloc[0]


def test_real_trades_have_the_features_of_their_formulas(tmp_path: Path) -> None:
    path = real_folder() / "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip"
    with zipfile.ZipFile(path) as archive:
        lines = list(csv.reader(io.StringIO(archive.read(archive.namelist()[0]).decode())))[1:]
    ids, prices, sizes, _, times, sides = zip(*lines, strict=True)
    real = Trades(
        np.array([int(each) * 1000 for each in times]),
        np.array([round(float(each) * 10) for each in prices]),
        np.array([round(float(each) * 1000) for each in sizes]),
        np.array([each == "true" for each in sides]),
        int(ids[0]),
    )
    world = World(tmp_path)
    put(world, real)
    with world.loader() as loader:
        frame = loader.load_features("BTCUSDT", "2024-08-08", "2024-08-08", features=OF_TRADES)
    oracle = Oracle.of_clock(real, SECOND)
    assert len(frame) >= len(oracle.bounds) > 300
    for row in np.linspace(0, len(oracle.bounds) - 1, 14).astype(int).tolist():
        for name in OF_TRADES:
            expected = pytest.approx(exactly(TWINS[name], oracle, row), rel=1e-9, abs=1e-25, nan_ok=True)
            assert frame[name].iloc[row] == expected, f"{name} of {row}"
