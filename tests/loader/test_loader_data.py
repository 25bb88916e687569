"""`load_data` and `symbols`: the right rows, in order, typed, and a clear word about what is not there."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from loader_world import Row, World, hours, made_up, series, us

from core.dates import DAY_US, HOUR_US
from core.errors import ConfigError, NoData, StorageError
from core.types import Cadence, Market, Period
from loader import BacktestDataLoader, MissingDataWarning

SEVEN = ["ADAUSDT", "BNBUSDT", "BTCUSDT", "DOTUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]
RATIOS = ["top_trader_account_ratio", "top_trader_position_ratio", "account_ratio", "taker_volume_ratio"]
LIQUIDATION = [
    *("side", "order_type", "time_in_force", "original_quantity", "price", "average_price", "order_status"),
    *("last_fill_quantity", "accumulated_fill_quantity"),
]
ID: dict[str, Callable[[int], Row]] = {
    "agg_trades": lambda n: {"agg_trade_id": n},
    "book_ticker": lambda n: {"update_id": n},
}
BARS = ["open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"]
TIME = pd.DatetimeTZDtype("us", "UTC")


def plain(frame: pd.DataFrame) -> list[Row]:
    """The frame's rows as Python values, times in microseconds, NaN as None."""
    times = {name: frame[name].astype("int64") for name in frame if frame[name].dtype == TIME}
    rows: list[Row] = frame.assign(**times).to_dict("records")
    return [{name: None if value != value else value for name, value in row.items()} for row in rows]


def expected(rows: dict[str, list[Row]], names: list[str], start: str, end: str) -> list[Row]:
    """Rows of `[start, end)`, symbol by symbol, by plain Python."""
    return [
        {"timestamp": row["timestamp"], "symbol": symbol, **{name: row[name] for name in names}}
        for symbol in sorted(rows)
        for row in sorted(rows[symbol], key=lambda row: row["timestamp"])
        if us(start) <= row["timestamp"] < us(end)
    ]


def test_a_frame_of_klines_is_what_was_stored(world: World, loader: BacktestDataLoader) -> None:
    stored = world.fill("klines", "BTCUSDT", hours("2024-01-01", 24 * 62))
    frames = loader.load_data("BTCUSDT", "2024-01-15", "2024-02-14")
    assert list(frames) == ["klines"]
    frame = frames["klines"]
    assert plain(frame) == expected({"BTCUSDT": stored}, BARS, "2024-01-15", "2024-02-15")
    assert list(frame.columns) == ["timestamp", "symbol", *BARS]
    assert frame.dtypes.to_dict() == {
        "timestamp": TIME,
        "symbol": pd.CategoricalDtype(["BTCUSDT"]),
        **dict.fromkeys(BARS, "float64"),
        "trades": "int64",
    }
    assert isinstance(frame.index, pd.RangeIndex)


@pytest.mark.parametrize(
    ("dataset", "market", "names"),
    [
        ("klines", "spot", BARS),
        ("klines", "cm", [*BARS[:5], "base_volume", "trades", "taker_buy_volume", "taker_buy_base"]),
        ("mark_price", "um", BARS[:4]),
        ("index_price", "um", BARS[:4]),
        ("premium_index", "cm", BARS[:4]),
        ("funding_rate", "um", ["funding_rate", "funding_interval_hours"]),
        ("trades", "um", ["id", "price", "qty", "quote_qty", "is_buyer_maker"]),
        ("trades", "cm", ["id", "price", "qty", "base_qty", "is_buyer_maker"]),
        (
            "agg_trades",
            "spot",
            ["agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "is_buyer_maker"],
        ),
        ("metrics", "um", ["open_interest", "open_interest_value", *RATIOS]),
        ("metrics", "cm", ["open_interest", "open_interest_base", *RATIOS]),
        ("book_depth", "um", ["percentage", "depth", "notional"]),
        (
            *("book_ticker", "cm"),
            ["update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty", "event_time"],
        ),
        ("liquidation_snapshot", "cm", LIQUIDATION),
    ],
)
def test_every_kind_has_its_columns_in_order(
    world: World, loader: BacktestDataLoader, dataset: str, market: str, names: list[str]
) -> None:
    one = series(dataset, "BTCUSD", market)
    stored = [row | ID.get(dataset, lambda _: {})(n) for n, row in enumerate(made_up(one, hours("2024-01-01", 48)))]
    world.put(one, stored)
    span = ("2024-01-01", "2024-01-02")
    frame = loader.load_data(["BTCUSD"], *span, dataset, market=market, on_missing="ignore")[dataset]
    assert plain(frame) == expected({"BTCUSD": stored}, names, "2024-01-01", "2024-01-03")
    types = {int: "int64", float: "float64", bool: "bool", str: "category"}
    found = {name: str(frame[name].dtype) for name in names}
    wanted = {name: next(types[type(row[name])] for row in stored if row[name] is not None) for name in names}
    assert found == wanted | ({"event_time": "datetime64[us, UTC]"} if "event_time" in names else {})


def test_columns_may_be_chosen_and_come_in_that_order(world: World, loader: BacktestDataLoader) -> None:
    stored = world.fill("klines", "BTCUSDT", hours("2024-01-01", 3))
    world.fill("funding_rate", "BTCUSDT", hours("2024-01-01", 3))
    chosen = ["close", "symbol", "close_time", "open", "funding_rate"]
    frames = loader.load_data("BTCUSDT", "2024-01-01", "2024-01-01", ["klines", "funding_rate"], columns=chosen)
    assert list(frames["klines"].columns) == ["timestamp", "symbol", "close", "close_time", "open"]
    assert list(frames["funding_rate"].columns) == ["timestamp", "symbol", "funding_rate"]
    assert plain(frames["klines"])[0]["close_time"] == stored[0]["close_time"]
    only = loader.load_data("BTCUSDT", "2024-01-01", "2024-01-01", columns="timestamp")["klines"]
    assert list(only.columns) == ["timestamp", "symbol"]


def test_the_caller_may_write_to_the_frame(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 2))
    for end in ("2024-01-01T01:00", "2024-01-01"):
        frame = loader.load_data("BTCUSDT", "2024-01-01", end)["klines"]
        frame.loc[0, "open"] = 1.0
        frame.loc[0, "trades"] = 7
        frame.loc[0, "timestamp"] = pd.Timestamp("2020-01-01", tz="UTC")
        frame["open"] += 1
        assert frame.loc[0, ["open", "trades"]].tolist() == [2.0, 7]


@pytest.mark.parametrize("threads", [1, 2])
def test_seven_symbols_come_in_order_on_any_number_of_threads(world: World, threads: int) -> None:
    stored = {symbol: world.fill("klines", symbol, hours("2024-01-10", 24 * 80)) for symbol in reversed(SEVEN)}
    asked = random.Random(threads).sample(SEVEN, len(SEVEN))
    with world.loader(threads) as loader:
        for _ in range(3):
            frame = loader.load_data(asked, "2024-01-01", "2024-12-31")["klines"]
            assert plain(frame) == expected(stored, BARS, "2024-01-01", "2025-01-01")
            assert list(frame["symbol"].cat.categories) == SEVEN


def test_the_order_in_which_partitions_were_written_is_irrelevant(world: World, loader: BacktestDataLoader) -> None:
    one = series("klines", "BTCUSDT")
    stored = made_up(one, hours("2024-01-01", 24 * 150))
    for month in (4, 1, 5, 2, 3):
        world.put(
            one, [row for row in stored if us(f"2024-0{month}-01") <= row["timestamp"] < us(f"2024-0{month + 1}-01")]
        )
    frame = loader.load_data("BTCUSDT", "2024-01-01", "2024-05-31")["klines"]
    assert plain(frame) == expected({"BTCUSDT": stored}, BARS, "2024-01-01", "2024-06-01")


def test_a_month_and_its_days_are_given_once_and_where_they_differ_the_days_are(
    world: World, loader: BacktestDataLoader
) -> None:
    one = series("klines", "BTCUSDT")
    january = made_up(one, hours("2024-01-01", 24 * 31))
    february = made_up(one, hours("2024-02-01", 24 * 3))
    world.put(one, january[:-24], Cadence.DAILY)
    world.put(one, [row | {"open": -1.0} for row in january[-24:]], Cadence.DAILY)
    world.put(one, january)
    world.put(one, february, Cadence.DAILY)
    frame = loader.load_data("BTCUSDT", "2024-01-30", "2024-02-02")["klines"]
    wanted = [*january[:-24], *(row | {"open": -1.0} for row in january[-24:]), *february]
    assert plain(frame) == expected({"BTCUSDT": wanted}, BARS, "2024-01-30", "2024-02-03")


def test_trades_are_in_the_order_of_their_ids_even_where_time_goes_back(
    world: World, loader: BacktestDataLoader
) -> None:
    one = series("trades", "BTCUSDT")
    times = [us("2024-01-01T00:00:01") + step for step in (5, 5, 3, 9, 9)]
    world.put(one, made_up(one, times), Cadence.DAILY)
    late = [row | {"id": 6 + n} for n, row in enumerate(made_up(one, [us("2024-01-02"), us("2024-01-02")]))]
    world.put(one, late, Cadence.DAILY)
    frame = loader.load_data("BTCUSDT", "2024-01-01", "2024-01-02", "trades")["trades"]
    assert frame["id"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    without = loader.load_data("BTCUSDT", "2024-01-01", "2024-01-02", "trades", columns=["price"])["trades"]
    assert without["price"].tolist() == frame["price"].tolist()
    ends = "2024-01-01T00:00:01.000004"
    assert loader.load_data("BTCUSDT", "2024-01-01", ends, "trades")["trades"]["id"].tolist() == [3]


def test_a_file_whose_rows_are_out_of_order_is_sorted(world: World, loader: BacktestDataLoader) -> None:
    one = series("klines", "BTCUSDT")
    stored = made_up(one, hours("2024-01-01", 50))
    world.put_unchecked(one, Period.month(2024, 1), random.Random(1).sample(stored, 50))
    world.fill("klines", "AAAUSDT", hours("2024-01-01", 2))
    frame = loader.load_data(["BTCUSDT", "AAAUSDT"], "2024-01-01", "2024-01-31")["klines"]
    assert plain(frame)[2:] == expected({"BTCUSDT": stored}, BARS, "2024-01-01", "2024-02-01")


def test_two_archives_that_contradict_each_other_are_an_error_that_names_both(
    world: World, loader: BacktestDataLoader
) -> None:
    one = series("klines", "BTCUSDT")
    rows = made_up(one, hours("2024-01-01", 24 * 60))
    again = [row | {"open": 1.0} for row in rows if row["timestamp"] == us("2024-01-31T23:00")]
    february = [row for row in rows if us("2024-02-01") <= row["timestamp"]]
    world.put(one, [row for row in rows if row["timestamp"] < us("2024-02-01")])
    world.put_unchecked(one, Period.month(2024, 2), again + february)
    said = "data/BTCUSDT-1h-2024-01.zip and key contradict each other: both have a row of timestamp 2024-01-31 23:00"
    for columns in (None, ["close"]):
        with pytest.raises(StorageError, match=said):
            loader.load_data("BTCUSDT", "2024-01-01", "2024-02-28", columns=columns)
    assert len(loader.load_data("BTCUSDT", "2024-02-01", "2024-02-28")["klines"]) == 24 * 28


def test_two_aggregates_of_one_id_are_two_rows(world: World, loader: BacktestDataLoader) -> None:
    one = series("agg_trades", "ZILBTC", "spot")
    for day, first in ((1, 10), (2, 20)):
        row = made_up(one, [us(f"2024-01-0{day}T12:00")])[0] | {"agg_trade_id": 7, "first_trade_id": first}
        world.put(one, [row], Cadence.DAILY)
    frame = loader.load_data("ZILBTC", "2024-01-01", "2024-01-02", "agg_trades", market="spot")["agg_trades"]
    assert frame["first_trade_id"].tolist() == [10, 20]


def test_bands_of_a_snapshot_come_in_their_order_and_may_be_fractions(world: World, loader: BacktestDataLoader) -> None:
    one = series("book_depth", "BTCUSDT")
    bands = [-5.0, -0.2, 0.2, 5.0]
    rows = [row | {"percentage": band} for row in made_up(one, hours("2024-01-01", 2)) for band in bands]
    world.put_unchecked(one, Period.parse("2024-01-01"), random.Random(3).sample(rows, len(rows)))
    frame = loader.load_data("BTCUSDT", "2024-01-01", "2024-01-01", "book_depth", columns=["percentage"])["book_depth"]
    assert frame["percentage"].tolist() == bands * 2
    world.put_unchecked(one, Period.parse("2024-01-01"), rows)
    world.put_unchecked(one, Period.parse("2024-01-02"), [rows[1] | {"depth": 0.5}])
    with pytest.raises(StorageError, match=r"of timestamp 2024-01-01 .*, percentage -0.2, and they differ in depth;"):
        loader.load_data("BTCUSDT", "2024-01-01", "2024-01-02", "book_depth")


def test_a_row_that_two_archives_both_have_is_one_row(world: World, loader: BacktestDataLoader) -> None:
    one = series("klines", "BTCUSDT")
    rows = made_up(one, hours("2024-01-01", 48))
    world.fill("klines", "AAAUSDT", hours("2024-01-01", 2))
    world.put_period(one, Period.parse("2024-01-01"), rows[:24])
    world.put_period(one, Period.parse("2024-01-02"), rows[23:])
    world.fill("klines", "ZZZUSDT", hours("2024-01-01", 2))
    frame = loader.load_data(["AAAUSDT", "BTCUSDT", "ZZZUSDT"], "2024-01-01", "2024-01-02")["klines"]
    assert plain(frame)[2:-2] == expected({"BTCUSDT": rows}, BARS, "2024-01-01", "2024-01-03")
    assert frame["symbol"].tolist() == ["AAAUSDT"] * 2 + ["BTCUSDT"] * 48 + ["ZZZUSDT"] * 2


def test_words_are_categories_that_occur_and_can_be_written_to(world: World, loader: BacktestDataLoader) -> None:
    one = series("liquidation_snapshot", "BTCUSD_PERP", "cm")
    sides = ["SELL", "BUY", "BUY"]
    rows = made_up(one, hours("2024-01-01", 3))
    world.put(one, [row | {"side": side} for row, side in zip(rows, sides, strict=True)], Cadence.DAILY)
    asked = ("BTCUSD_PERP", "2024-01-01", "2024-01-01", "liquidation_snapshot")
    frame = loader.load_data(*asked, market="cm")["liquidation_snapshot"]
    assert frame["side"].tolist() == sides
    assert list(frame["side"].cat.categories) == ["BUY", "SELL"]
    frame.loc[0, "side"] = "BUY"
    assert set(frame["side"]) == {"BUY"}
    with pytest.warns(MissingDataWarning):
        empty = loader.load_data(["BTCUSD_PERP"], "2024-01-01", "2024-01-01", [asked[3], "trades"], market="cm")
    assert len(empty["trades"]) == 0


def test_the_midnight_that_two_files_of_metrics_share_is_taken_from_the_later_one(
    world: World, loader: BacktestDataLoader
) -> None:
    """On 2026-06-25 the labels moved from the end to the start of the five minutes: two windows have one label."""
    one = series("metrics", "BTCUSDT")
    midnight, five = us("2026-06-25"), 300_000_000
    before = made_up(one, [midnight - five, midnight])
    after = [row | {"open_interest": 7.0} for row in made_up(one, [midnight, midnight + five])]
    world.put_period(one, Period.parse("2026-06-24"), before)
    world.fill("metrics", "AAAUSDT", [midnight])
    symbols = ["AAAUSDT", "BTCUSDT"]
    alone = loader.load_data(symbols, "2026-06-24", "2026-06-25", "metrics")["metrics"]
    assert plain(alone)[1:] == expected({"BTCUSDT": before}, list(alone.columns[2:]), "2026-06-24", "2026-06-26")
    world.put_period(one, Period.parse("2026-06-25"), after)
    for start in ("2026-06-24", "2026-06-25"):
        frame = loader.load_data(symbols, start, "2026-06-25", "metrics")["metrics"]
        wanted = expected({"BTCUSDT": [before[0], *after]}, list(frame.columns[2:]), start, "2026-06-26")
        assert plain(frame)[1:] == wanted
        assert frame["symbol"].tolist() == ["AAAUSDT"] + ["BTCUSDT"] * len(wanted)


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2024-01-02", "2024-01-02", "2024-01-02T00:00", "2024-01-02T23:00"),
        ("2024-01-02T00:00", "2024-01-02T23:00", "2024-01-02T00:00", "2024-01-02T22:00"),
        ("2024-01-02T00:00:00.000001", "2024-01-02T23:00:00.000001", "2024-01-02T01:00", "2024-01-02T23:00"),
        ("2024-01-31", "2024-02-01", "2024-01-31T00:00", "2024-02-01T23:00"),
        ("2024-01-31T09:00+09:00", pd.Timestamp("2024-02-01"), "2024-01-31T00:00", "2024-01-31T23:00"),
    ],
)
def test_both_edges_of_a_range(
    world: World, loader: BacktestDataLoader, start: Any, end: Any, first: str, last: str
) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24 * 45))
    times = loader.load_data("BTCUSDT", start, end)["klines"]["timestamp"].astype("int64")
    assert (times.iloc[0], times.iloc[-1]) == (us(first), us(last))


def test_rows_a_little_outside_the_period_of_their_file_are_found(world: World, loader: BacktestDataLoader) -> None:
    one = series("funding_rate", "BTCUSDT")
    rows = made_up(one, [us("2024-01-31T16:00"), us("2024-02-01T00:00:00.003")])
    world.put_period(one, Period.month(2024, 1), rows)
    frame = loader.load_data("BTCUSDT", "2024-02-01", "2024-02-01", "funding_rate")["funding_rate"]
    assert plain(frame)[0]["timestamp"] == us("2024-02-01T00:00:00.003")


def test_the_index_of_a_contract_is_filed_under_its_pair(world: World, loader: BacktestDataLoader) -> None:
    stored = world.fill("index_price", "BTCUSD_PERP", hours("2024-01-01", 5), market="cm")
    world.fill("klines", "BTCUSD_PERP", hours("2024-01-01", 5), market="cm")
    assert loader.symbols("cm", "index_price") == ["BTCUSD"]
    both = ["BTCUSD_PERP", "BTCUSD_240628"]
    frame = loader.load_data(both, "2024-01-01", "2024-01-01", "index_price", market="cm")["index_price"]
    assert plain(frame) == expected(dict.fromkeys(both, stored), BARS[:4], "2024-01-01", "2024-01-02")


def test_symbols_are_those_stored(world: World, loader: BacktestDataLoader) -> None:
    assert loader.symbols() == []
    for symbol in ("ETHUSDT", "BTCUSDT"):
        world.fill("klines", symbol, hours("2024-01-01", 1))
        world.fill("klines", symbol, hours("2024-01-01", 1), interval="4h")
    world.fill("klines", "ZILBTC", hours("2024-01-01", 1), market="spot")
    world.fill("funding_rate", "XRPUSDT", hours("2024-01-01", 1))
    assert loader.symbols() == ["BTCUSDT", "ETHUSDT"]
    assert loader.symbols(market=Market.SPOT) == ["ZILBTC"]
    assert loader.symbols(data_type="funding_rate") == ["XRPUSDT"]
    with pytest.raises(ConfigError, match="did you mean 'klines'"):
        loader.symbols(data_type="kline")
    with pytest.raises(ConfigError, match="unknown market"):
        loader.symbols("binance")


def test_an_unknown_symbol_is_answered_with_the_nearest_one_and_a_command(
    world: World, loader: BacktestDataLoader
) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 1))
    with pytest.raises(NoData, match=r"um/klines/BTCUSD/1h is not stored; did you mean 'BTCUSDT'\?") as caught:
        loader.load_data("BTCUSD", "2024-01-01", "2024-01-31")
    command = "download_all.py --symbols BTCUSD --data-types klines --start 2024-01-01 --end 2024-01-31"
    assert command in str(caught.value)
    with pytest.raises(NoData, match="its stored intervals: 1h") as caught:
        loader.load_data("BTCUSDT", "2024-01-01", "2024-01-31", interval="4h")
    assert "--interval 4h" in str(caught.value)
    with pytest.raises(NoData, match="nor is any other spot klines") as caught:
        loader.load_data("BTCUSDT", "2024-01-01", "2024-01-31", market="spot")
    assert "--market spot" in str(caught.value)


def test_a_range_without_rows_is_answered_with_the_stored_one(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24 * 40))
    with pytest.raises(NoData, match="stored is 2024-01-01 00:00:00 to 2024-02-09 23:00:00"):
        loader.load_data("BTCUSDT", "2023-01-01", "2023-12-31")
    with pytest.raises(NoData, match="has no rows there"):
        loader.load_data("BTCUSDT", "2024-01-01T00:00:01", "2024-01-01T01:00")


def test_what_is_partly_missing_is_a_warning_one_can_inspect(world: World, loader: BacktestDataLoader) -> None:
    stored = world.fill("klines", "BTCUSDT", hours("2024-01-01", 24))
    world.fill("klines", "ETHUSDT", hours("2023-01-01", 24))
    with pytest.warns(MissingDataWarning) as caught:
        frames = loader.load_data(["ETHUSDT", "BTCUSDT", "NOUSDT"], "2024-01-01", "2024-01-01", ["klines", "trades"])
    assert plain(frames["klines"]) == expected({"BTCUSDT": stored}, BARS, "2024-01-01", "2024-01-02")
    assert list(frames["klines"]["symbol"].cat.categories) == ["BTCUSDT", "ETHUSDT", "NOUSDT"]
    warning = caught[0].message
    assert caught[0].filename == __file__
    assert isinstance(warning, MissingDataWarning)
    assert [(part.series.dataset, part.symbol, part.stored is None) for part in warning.missing] == [
        ("klines", "ETHUSDT", False),
        ("klines", "NOUSDT", True),
        ("trades", "BTCUSDT", True),
        ("trades", "ETHUSDT", True),
        ("trades", "NOUSDT", True),
    ]
    assert "--symbols BTCUSDT,ETHUSDT,NOUSDT --data-types klines,trades" in str(warning)
    empty = frames["trades"]
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == {
        "timestamp": TIME,
        "symbol": pd.CategoricalDtype(["BTCUSDT", "ETHUSDT", "NOUSDT"]),
        **dict.fromkeys(["price", "qty", "quote_qty"], "float64"),
        "id": "int64",
        "is_buyer_maker": "bool",
    }


def test_a_folder_that_is_not_there_has_no_data(world: World, loader: BacktestDataLoader) -> None:
    with pytest.raises(NoData):
        loader.load_data("BTCUSDT", "2024-01-01", "2024-01-31")
    assert not world.root.exists()


def test_a_hundred_missing_symbols_make_a_readable_message(loader: BacktestDataLoader) -> None:
    with pytest.raises(NoData, match="and 92 more"):
        loader.load_data([f"X{n}USDT" for n in range(100)], "2024-01-01", "2024-01-31")


def test_full_coverage_warns_of_nothing(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loader.load_data("BTCUSDT", "2024-01-01", "2024-01-01")
    assert caught == []


def test_months_as_an_interval(world: World, loader: BacktestDataLoader) -> None:
    times = [us("2024-01-01"), us("2024-02-01"), us("2024-03-01")]
    world.fill("klines", "BTCUSDT", times, interval="1mo")
    frame = loader.load_data("BTCUSDT", "2024-02-01", "2024-03-31", interval="1mo")["klines"]
    assert frame["timestamp"].astype("int64").tolist() == times[1:]
    assert DAY_US == 24 * HOUR_US
