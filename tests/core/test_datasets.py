"""The kinds of data: which markets, which columns in which order, which names, types and clocks."""

import pyarrow as pa
import pytest

from core.datasets import DATASETS, dataset_named, interval_named, market_named
from core.datasets.dataset import Kind
from core.dates import INTERVAL_US
from core.errors import ConfigError
from core.storage.schema import ARROW_TYPES, schema_of
from core.types import Cadence, Market

CANDLE = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
AGG = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
REMOTE = {
    "klines": "klines",
    "mark_price": "markPriceKlines",
    "index_price": "indexPriceKlines",
    "premium_index": "premiumIndexKlines",
    "funding_rate": "fundingRate",
    "trades": "trades",
    "agg_trades": "aggTrades",
    "metrics": "metrics",
    "book_depth": "bookDepth",
    "book_ticker": "bookTicker",
    "liquidation_snapshot": "liquidationSnapshot",
}
HEADERS = {
    ("klines", Market.SPOT): CANDLE,
    ("klines", Market.UM): CANDLE,
    ("klines", Market.CM): CANDLE,
    ("mark_price", Market.UM): CANDLE,
    ("mark_price", Market.CM): CANDLE,
    ("index_price", Market.UM): CANDLE,
    ("index_price", Market.CM): CANDLE,
    ("premium_index", Market.UM): CANDLE,
    ("premium_index", Market.CM): CANDLE,
    ("funding_rate", Market.UM): "calc_time,funding_interval_hours,last_funding_rate",
    ("funding_rate", Market.CM): "calc_time,funding_interval_hours,last_funding_rate",
    ("trades", Market.SPOT): "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match",
    ("trades", Market.UM): "id,price,qty,quote_qty,time,is_buyer_maker",
    ("trades", Market.CM): "id,price,qty,base_qty,time,is_buyer_maker",
    ("agg_trades", Market.SPOT): f"{AGG},is_best_match",
    ("agg_trades", Market.UM): AGG,
    ("agg_trades", Market.CM): AGG,
    **{
        (name, market): header
        for market in (Market.UM, Market.CM)
        for name, header in {
            "metrics": (
                "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
                "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
            ),
            "book_depth": "timestamp,percentage,depth,notional",
            "book_ticker": (
                "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time"
            ),
            "liquidation_snapshot": (
                "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,"
                "last_fill_quantity,accumulated_fill_quantity"
            ),
        }.items()
    },
}
"""From the exchange's documentation, not from the code."""
PRICES = ["timestamp", "open", "high", "low", "close"]
FLOWS = ["quote_volume", "trades", "taker_buy_base", "taker_buy_quote"]
AGGREGATES = ["timestamp", "agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "is_buyer_maker"]
RATIOS = ["top_trader_account_ratio", "top_trader_position_ratio", "account_ratio", "taker_volume_ratio"]
STORED = {
    ("klines", Market.SPOT): [*PRICES, "volume", "close_time", *FLOWS],
    ("klines", Market.UM): [*PRICES, "volume", "close_time", *FLOWS],
    ("klines", Market.CM): [
        *PRICES,
        "volume",
        "close_time",
        "base_volume",
        "trades",
        "taker_buy_volume",
        "taker_buy_base",
    ],
    **{
        (name, market): [*PRICES, "close_time"]
        for name in ("mark_price", "index_price", "premium_index")
        for market in (Market.UM, Market.CM)
    },
    ("funding_rate", Market.UM): ["timestamp", "funding_interval_hours", "funding_rate"],
    ("funding_rate", Market.CM): ["timestamp", "funding_interval_hours", "funding_rate"],
    ("trades", Market.SPOT): ["timestamp", "id", "price", "qty", "quote_qty", "is_buyer_maker"],
    ("trades", Market.UM): ["timestamp", "id", "price", "qty", "quote_qty", "is_buyer_maker"],
    ("trades", Market.CM): ["timestamp", "id", "price", "qty", "base_qty", "is_buyer_maker"],
    **{("agg_trades", market): AGGREGATES for market in Market},
    ("metrics", Market.UM): ["timestamp", "open_interest", "open_interest_value", *RATIOS],
    ("metrics", Market.CM): ["timestamp", "open_interest", "open_interest_base", *RATIOS],
    **{
        (name, market): ["timestamp", *names]
        for market in (Market.UM, Market.CM)
        for name, names in {
            "book_depth": ["percentage", "depth", "notional"],
            "book_ticker": [
                *("update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty", "event_time"),
            ],
            "liquidation_snapshot": [
                *("side", "order_type", "time_in_force", "original_quantity", "price", "average_price"),
                *("order_status", "last_fill_quantity", "accumulated_fill_quantity"),
            ],
        }.items()
    },
}
EACH = [pytest.param(name, market, id=f"{name}-{market}") for name, market in HEADERS]


def test_the_kinds_and_their_remote_names_are_these() -> None:
    assert {name: dataset.remote for name, dataset in DATASETS.items()} == REMOTE
    assert {(name, market) for name, dataset in DATASETS.items() for market in dataset.markets} == set(HEADERS)


@pytest.mark.parametrize(("name", "market"), EACH)
def test_the_published_columns_stand_in_the_order_of_the_exchange(name: str, market: Market) -> None:
    columns = DATASETS[name].columns[market]
    assert ",".join(column.source for column in columns) == HEADERS[name, market]
    assert [c.source for c in columns if c.optional] == (
        ["is_best_match"] if market is Market.SPOT and name in ("trades", "agg_trades") else []
    )


@pytest.mark.parametrize(("name", "market"), EACH)
def test_the_stored_columns_are_these(name: str, market: Market) -> None:
    dataset = DATASETS[name]
    schema = schema_of(dataset, market)
    assert schema.names == STORED[name, market]
    assert [column.name for column in dataset.stored_columns(market)] == schema.names
    assert {field.name for field in schema if field.nullable} == (
        set(schema.names) - {"timestamp"} if name == "metrics" else set()
    )
    assert set(dataset.key) <= set(schema.names)
    assert all(column.doc for column in dataset.columns[market])
    assert all(column.unit for column in dataset.stored_columns(market))


def test_types_follow_from_what_a_column_is() -> None:
    expected = {
        pa.timestamp("us", tz="UTC"): {"timestamp", "close_time", "event_time"},
        pa.int64(): {
            *("trades", "funding_interval_hours", "id", "agg_trade_id", "first_trade_id", "last_trade_id", "update_id"),
        },
        pa.bool_(): {"is_buyer_maker"},
        pa.string(): {"side", "order_type", "time_in_force", "order_status"},
    }
    for name, market in HEADERS:
        for field in schema_of(DATASETS[name], market):
            wanted = next((kind for kind, names in expected.items() if field.name in names), pa.float64())
            assert field.type == wanted, (name, field.name)
    assert {ARROW_TYPES[kind] for kind in Kind} == {*expected, pa.float64()}
    for dataset in DATASETS.values():
        for columns in dataset.columns.values():
            assert {column.kind for column in columns if column.nullable} <= {Kind.DECIMAL}, "the loader knows NaN"


def test_keys_intervals_and_cadences_are_these() -> None:
    assert {name: dataset.key for name, dataset in DATASETS.items()} == {
        **dict.fromkeys(("klines", "mark_price", "index_price", "premium_index", "funding_rate"), ("timestamp",)),
        "trades": ("id",),
        "agg_trades": ("agg_trade_id", "first_trade_id"),
        "metrics": ("timestamp",),
        "book_depth": ("timestamp", "percentage"),
        "book_ticker": ("update_id",),
        "liquidation_snapshot": (
            *("timestamp", "side", "price", "original_quantity", "accumulated_fill_quantity", "last_fill_quantity"),
            *("average_price", "order_type", "time_in_force", "order_status"),
        ),
    }
    liquidations = DATASETS["liquidation_snapshot"]
    assert set(liquidations.key) == set(liquidations.stored_names(Market.CM)), "two rows never conflict"
    assert [name for name, dataset in DATASETS.items() if not dataset.has_interval] == [
        "funding_rate",
        "trades",
        "agg_trades",
        "metrics",
        "book_depth",
        "book_ticker",
        "liquidation_snapshot",
    ]
    assert [name for name, dataset in DATASETS.items() if dataset.cadences == (Cadence.MONTHLY,)] == ["funding_rate"]
    assert [name for name, dataset in DATASETS.items() if dataset.cadences == (Cadence.DAILY,)] == [
        *("metrics", "book_depth", "liquidation_snapshot"),
    ]
    assert {dataset.cadences for dataset in DATASETS.values()} == {
        *((Cadence.MONTHLY,), (Cadence.DAILY,), (Cadence.MONTHLY, Cadence.DAILY)),
    }
    assert [name for name, dataset in DATASETS.items() if dataset.per_pair] == ["index_price"]


@pytest.mark.parametrize(
    ("symbol", "pair"),
    [
        ("BTCUSD_PERP", "BTCUSD"),
        ("BTCUSD_250627", "BTCUSD"),
        ("BTCUSDT_240329", "BTCUSDT"),
        ("BTCUSDT", "BTCUSDT"),
        ("BTCUSD", "BTCUSD"),
        ("ICPUSDT_SETTLED", "ICPUSDT_SETTLED"),
        ("BTCUSDT_2403", "BTCUSDT_2403"),
        ("BTCUSD_PERPX", "BTCUSD_PERPX"),
        ("币安人生USDT", "币安人生USDT"),
    ],
)
def test_an_index_is_filed_by_its_pair_and_all_else_by_its_contract(symbol: str, pair: str) -> None:
    assert DATASETS["index_price"].directory(symbol) == pair
    assert {dataset.directory(symbol) for dataset in DATASETS.values() if not dataset.per_pair} == {symbol}


@pytest.mark.parametrize("name", ["um", "cm", "spot"])
def test_a_market_is_known_by_its_name(name: str) -> None:
    assert market_named(name).value == name
    with pytest.raises(ConfigError, match=f"unknown market '{name.upper()}'; did you mean '{name}'"):
        market_named(name.upper())


def test_unknown_names_are_answered_with_the_near_one_and_the_list() -> None:
    with pytest.raises(ConfigError) as caught:
        market_named("option")
    assert str(caught.value) == "unknown market 'option'; there are spot, um, cm"
    with pytest.raises(ConfigError) as caught:
        dataset_named("aggTrades", Market.UM)
    assert str(caught.value) == (
        "unknown data type 'aggTrades'; did you mean 'agg_trades'? There are klines, mark_price, index_price, "
        "premium_index, funding_rate, trades, agg_trades, metrics, book_depth, book_ticker, liquidation_snapshot"
    )
    with pytest.raises(ConfigError) as caught:
        dataset_named("funding_rate", Market.SPOT)
    assert str(caught.value) == "spot has no funding_rate; it exists for um, cm"


@pytest.mark.parametrize(("name", "market"), [p for p in EACH if p.values[0] not in ("trades", "agg_trades")])
def test_a_kind_is_known_where_it_exists(name: str, market: Market) -> None:
    assert dataset_named(name, market) is DATASETS[name]


def test_every_interval_is_known_and_seconds_only_for_spot_candles() -> None:
    klines, mark = DATASETS["klines"], DATASETS["mark_price"]
    for interval in INTERVAL_US:
        assert interval_named(interval, klines, Market.SPOT) == interval
        for dataset, market in ((klines, Market.UM), (klines, Market.CM), (mark, Market.UM)):
            if interval != "1s":
                assert interval_named(interval, dataset, market) == interval
                continue
            with pytest.raises(ConfigError, match=f"{market} {dataset.name} has no interval '1s'"):
                interval_named(interval, dataset, market)


def test_long_intervals_come_by_the_month_and_seconds_in_spot_only() -> None:
    klines, mark = DATASETS["klines"], DATASETS["mark_price"]
    both = (Cadence.MONTHLY, Cadence.DAILY)
    assert {interval for interval in INTERVAL_US if klines.cadences_of(interval) != both} == {"3d", "1w", "1mo"}
    assert {klines.cadences_of(interval) for interval in ("3d", "1w", "1mo")} == {(Cadence.MONTHLY,)}
    assert DATASETS["metrics"].cadences_of(None) == (Cadence.DAILY,)
    assert klines.intervals(Market.SPOT) == tuple(INTERVAL_US)
    assert klines.intervals(Market.UM) == mark.intervals(Market.CM) == tuple(INTERVAL_US)[1:]
    assert DATASETS["trades"].intervals(Market.SPOT) == ()


@pytest.mark.parametrize("interval", ["", "60m", "1H", "1 h", "7h", "hour"])
def test_an_unknown_interval_is_answered_with_the_list(interval: str) -> None:
    with pytest.raises(ConfigError) as caught:
        interval_named(interval, DATASETS["klines"], Market.UM)
    assert str(caught.value).startswith(f"um klines has no interval {interval!r}")
    assert (
        str(caught.value).lower().endswith("there are 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d, 3d, 1w, 1mo")
    )


def test_the_month_of_the_rest_interface_is_not_taken_for_a_minute() -> None:
    with pytest.raises(ConfigError, match=r"writes the month as 1mo, not 1M \(1m is one minute\)"):
        interval_named("1M", DATASETS["klines"], Market.UM)
