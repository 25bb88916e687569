"""Checks of rows: clean rows pass, and each planted fault is found with its count and its time, and nothing else."""

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from core.datasets import DATASETS
from core.dates import DAY_US, HOUR_US, MINUTE_US
from core.decimals import doubles, places_of, sums
from core.integrity.checks import CHECKS, check_rows
from core.integrity.rows import chunks
from core.sample.market import small_market
from core.types import Market, Series

MARKET = small_market(first=date(2024, 12, 27), last=date(2025, 1, 5))
UM = Series(Market.UM, "klines", "BTCUSDT", "1h")
SPOT = Series(Market.SPOT, "klines", "ETHUSDT", "1h")
CM = Series(Market.CM, "klines", "ETHUSD_PERP", "1h")
MARK = Series(Market.UM, "mark_price", "BTCUSDT", "1h")
PREMIUM = Series(Market.UM, "premium_index", "BTCUSDT", "1h")
FUNDING = Series(Market.UM, "funding_rate", "BTCUSDT")
METRICS = Series(Market.UM, "metrics", "BTCUSDT")
DEPTH = Series(Market.UM, "book_depth", "BTCUSDT")
TICKER = Series(Market.UM, "book_ticker", "BTCUSDT")
LIQUIDATIONS = Series(Market.UM, "liquidation_snapshot", "BTCUSDT")
TRADES = Series(Market.UM, "trades", "BTCUSDT")
SPOT_TRADES = Series(Market.SPOT, "trades", "ETHUSDT")
CM_TRADES = Series(Market.CM, "trades", "ETHUSD_PERP")
AGGS = Series(Market.UM, "agg_trades", "BTCUSDT")
EVERY = [
    series for name, kind in DATASETS.items() for series in MARKET.series(name, "1h" if kind.has_interval else None)
]
Change = Callable[[dict[str, Any]], None]


def truth(series: Series) -> pa.Table:
    return MARKET.truth(series, MARKET.span)


def changed(table: pa.Table, change: Change) -> pa.Table:
    """The rows with some values altered: times and ids as int64, all else as NumPy has it."""
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        is_time = pa.types.is_timestamp(column.type)
        columns[name] = (column.cast(pa.int64()) if is_time else column).to_numpy().copy()
    change(columns)
    return pa.table(
        [pa.array(columns[f.name], from_pandas=True).cast(f.type) for f in table.schema], schema=table.schema
    )


def put(name: str, row: int, value: Any) -> Change:
    def change(columns: dict[str, Any]) -> None:
        columns[name][row] = value(columns[name][row]) if callable(value) else value

    return change


def scaled(row: int, factor: float, *names: str) -> Change:
    def change(columns: dict[str, Any]) -> None:
        for name in names:
            columns[name][row] *= factor

    return change


def of_bitcoin(row: int, price: str, **worths: str) -> Change:
    """Contracts of ETH as if each were worth 100 USD; `worths` by quantity."""

    def change(columns: dict[str, Any]) -> None:
        for quantity, worth in worths.items():
            columns[worth][row] = round(columns[quantity][row] * 100 / columns[price][row], 8)

    return change


def both(*changes: Change) -> Change:
    def change(columns: dict[str, Any]) -> None:
        for each in changes:
            each(columns)

    return change


def flat(row: int, **values: float) -> Change:
    def change(columns: dict[str, Any]) -> None:
        close = columns["close"][row]
        for name in ("open", "high", "low"):
            columns[name][row] = close
        for name in ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"):
            columns[name][row] = values.get(name, 0)

    return change


@pytest.mark.parametrize("series", EVERY, ids=str)
def test_clean_rows_pass_every_check(series: Series) -> None:
    table = truth(series)
    assert table.num_rows > 0
    assert [finding for finding in check_rows(series, table) if finding.cause is None] == []


PRICES = ("open", "high", "low", "close")
FAULTS: list[tuple[str, Series, Change, str, int, int]] = [
    # what, series, change, kind, the row at which it begins, count
    ("high below close", UM, put("high", 40, lambda v: v / 1.5), "ohlc", 40, 1),
    ("low above open", SPOT, put("low", 41, lambda v: v * 1.5), "ohlc", 41, 1),
    ("a price of 0", MARK, put("low", 12, 0.0), "price-not-positive", 12, 1),
    ("candle out of scale", MARK, scaled(30, 10.0, *PRICES), "price-jump", 30, 2),
    ("spike within the hour", MARK, scaled(30, 3.0, "high"), "price-jump", 30, 1),
    ("value of another price", UM, scaled(20, 1.5, "quote_volume"), "value-range", 20, 1),
    ("value of another price, cm", CM, scaled(22, 1.5, "base_volume"), "value-range", 22, 1),
    ("candle of bitcoin's worth", CM, of_bitcoin(22, "low", volume="base_volume"), "value-range", 22, 1),
    ("takers bought more than all", UM, scaled(20, 100.0, "taker_buy_base", "taker_buy_quote"), "taker-part", 20, 2),
    ("no volume but trades", UM, flat(25, trades=3), "zero-volume", 25, 1),
    ("closes early, futures", UM, put("close_time", 17, lambda v: v - MINUTE_US), "close-time", 17, 1),
    ("closes late", SPOT, put("close_time", 17, lambda v: v + MINUTE_US), "close-time", 17, 1),
    ("not a number", UM, put("quote_volume", 9, np.inf), "not-a-number", 9, 1),
    ("funding at a wrong hour", FUNDING, put("timestamp", 5, lambda v: v + HOUR_US), "off-schedule", 5, 1),
    ("funding every 7 hours", FUNDING, put("funding_interval_hours", 5, 7), "funding-interval", 5, 1),
    ("label off the grid", METRICS, put("timestamp", 50, lambda v: v + 1_000_000), "off-grid", 50, 1),
    ("negative interest", METRICS, put("open_interest", 50, -1.0), "negative", 50, 1),
    ("quantity 0", AGGS, put("quantity", 100, 0.0), "zero-quantity", 100, 1),
    ("trade of another value", TRADES, put("quote_qty", 100, lambda v: v + 1), "trade-value", 100, 1),
    ("one unit of value", SPOT_TRADES, put("quote_qty", 100, lambda v: v + 1e-6), "trade-value", 100, 1),
    ("contracts of another worth", CM_TRADES, put("base_qty", 10, lambda v: v + 1e-7), "trade-value", 10, 1),
    ("contracts of bitcoin's worth", CM_TRADES, of_bitcoin(10, "price", qty="base_qty"), "trade-value", 10, 1),
    ("aggregate overlaps", AGGS, put("first_trade_id", 60, lambda v: v - 1), "ids-overlap", 60, 1),
    ("bid above ask", TICKER, put("best_bid_price", 33, 1e9), "crossed-quotes", 33, 1),
    ("filled beyond", LIQUIDATIONS, put("accumulated_fill_quantity", 3, 1e9), "overfilled", 3, 1),
    ("candle of no time", UM, put("timestamp", 40, lambda v: v - 2 * HOUR_US), "key-order", 40, 1),
]


@pytest.mark.parametrize(
    ("series", "change", "kind", "row", "count"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_one_planted_fault_is_found(series: Series, change: Change, kind: str, row: int, count: int) -> None:
    table = changed(truth(series), change)
    found = [finding for finding in check_rows(series, table) if finding.kind == kind and finding.cause is None]
    assert [(finding.count, finding.span.start_us) for finding in found] == [
        (count, table.column("timestamp").cast(pa.int64())[row].as_py())
    ]


TOLD_TWICE = ("high below close", "low above open", "candle of no time", "value of another price, cm", "not a number")
"""Faults that also change what another check looks at."""
ONLY = [fault for fault in FAULTS if fault[0] not in TOLD_TWICE]


@pytest.mark.parametrize(("series", "change", "kind"), [f[1:4] for f in ONLY], ids=[f[0] for f in ONLY])
def test_a_fault_is_not_told_under_another_name(series: Series, change: Change, kind: str) -> None:
    found = check_rows(series, changed(truth(series), change))
    assert {finding.kind for finding in found if finding.cause is None} == {kind}


def test_a_candle_of_spot_that_a_halt_cut_has_a_cause() -> None:
    """D15: as published around old halts; in futures there is no such excuse."""
    cut = both(put("timestamp", 40, lambda v: v + 14_000_000), put("close_time", 39, lambda v: v - MINUTE_US))
    by_series = {series: check_rows(series, changed(truth(series), cut)) for series in (SPOT, UM)}
    assert {(f.kind, f.count, f.cause is None) for f in by_series[SPOT]} == {
        ("off-grid", 1, False),
        ("close-time", 1, False),
    }
    assert {(f.kind, f.count, f.cause is None) for f in by_series[UM]} == {
        ("off-grid", 1, True),
        ("close-time", 1, True),
    }


def test_lone_ids_are_counted_and_excused_in_futures_only() -> None:
    """D14: single ids are absent, time goes on."""
    for series, is_excused in ((TRADES, True), (SPOT_TRADES, False)):
        table = truth(series)
        kept = np.setdiff1d(np.arange(table.num_rows), [50, 100, 200])
        found = check_rows(series, table.take(pa.array(kept)))
        assert [(f.kind, f.count, f.cause is not None) for f in found] == [("lone-ids", 3, is_excused)]


def test_times_that_go_back_a_little_are_excused() -> None:
    """D29: ids give the order."""

    def swap(columns: dict[str, Any]) -> None:
        columns["timestamp"][100] = columns["timestamp"][99] - 1000

    found = check_rows(TRADES, changed(truth(TRADES), swap))
    assert [(f.kind, f.count, f.cause is None) for f in found] == [("time-back", 1, False)]
    far = changed(truth(TRADES), put("timestamp", 100, lambda v: v - DAY_US))
    assert [(f.kind, f.cause is None) for f in check_rows(TRADES, far)] == [("time-back", True)]


def test_an_aggregate_id_that_is_two_trades_is_found() -> None:
    """D27: one id on both sides of a day's border."""
    found = check_rows(AGGS, changed(truth(AGGS), put("agg_trade_id", 70, lambda v: v - 1)))
    assert {f.kind for f in found} == {"id-twice", "aggregate-ids"}


def test_bands_that_no_price_fits_are_found() -> None:
    """D37: depth and value contradict each other."""
    table = changed(truth(DEPTH), scaled(25, 2.0, "notional"))
    found = check_rows(DEPTH, table)
    snapshot = table.column("timestamp").cast(pa.int64())[25].as_py()
    assert [(f.kind, f.count, f.span.start_us) for f in found] == [("band-prices", 1, snapshot)]


def test_columns_of_another_dataset_are_one_finding() -> None:
    found = check_rows(UM, truth(MARK))
    assert [(f.kind, f.count) for f in found] == [("schema", truth(MARK).num_rows)]


def test_neighbours_are_told_as_one_and_far_ones_apart() -> None:
    rows = (20, 21, 30, 120)
    table = changed(truth(MARK), both(*(put("low", row, -1.0) for row in rows)))
    found = [f for f in check_rows(MARK, table) if f.kind == "price-not-positive"]
    times = table.column("timestamp").cast(pa.int64()).to_numpy()
    assert [(f.count, f.span.start_us, f.span.end_us) for f in found] == [
        (3, times[20], times[30] + HOUR_US),
        (1, times[120], times[120] + HOUR_US),
    ]


def test_every_check_has_a_dataset_and_every_dataset_checks() -> None:
    assert {name for check in CHECKS.values() for name in check.datasets} == set(DATASETS)


def test_sums_of_decimals_are_exact() -> None:
    values = np.array([0.1] * 10 + [0.3] * 7)
    assert places_of(values) == 1
    assert sums(values, np.array([0, 10]), 1) == [10**12, 21 * 10**11]
    assert doubles([10**12 + 1]).tolist() == [1.000000000001]
    large = np.array([9e15 + 1, 9e15 + 3, 4.0])
    assert sums(large, np.array([0]), 0) == [(18_000_000_000_000_004 + 4) * 10**12]
    assert places_of(np.array([0.00000001, 12345678.12345678])) == 8


def test_tables_have_one_size_however_rows_come() -> None:
    table = pa.table({"timestamp": pa.array(np.repeat(np.arange(40), 3)), "n": np.arange(120)})
    for size in (1, 7, 50, 500):
        sizes = [part.num_rows for part in chunks(iter(table.to_batches(max_chunksize=size)), 50)]
        assert sizes == [50, 50, 20]
        together = list(chunks(iter(table.to_batches(max_chunksize=size)), 50, "timestamp"))
        assert [part.num_rows for part in together] == [51, 51, 18]
        assert pa.concat_tables(together).combine_chunks().equals(table.combine_chunks())
