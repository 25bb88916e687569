"""The invented market agrees with itself, and with slow plain twins of every rule by which its data is made."""

from collections.abc import Iterator
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets import DATASETS
from core.dates import DAY_US, HOUR_US, MINUTE_US
from core.errors import NoData
from core.sample.instruments import moment
from core.sample.market import SampleMarket, demo_market, small_market
from core.sample.prices import POINT_US, points_of
from core.sample.values import Columns, Decimals
from core.storage.schema import schema_of
from core.types import Market, Series, Span

MARKET = small_market()
UM = Series(Market.UM, "klines", "BTCUSDT", "1h")
SPOT = Series(Market.SPOT, "klines", "ETHUSDT", "1h")
CM = Series(Market.CM, "klines", "ETHUSD_PERP", "1h")
YEAR_2025 = moment("2025-01-01")


def of(series: Series, dataset: str, interval: str | None = None) -> Series:
    return Series(series.market, dataset, DATASETS[dataset].directory(series.symbol), interval)


def plain(columns: Columns) -> list[dict[str, Any]]:
    """Rows as Python values: Decimal, int, bool, str, None."""
    lists: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if not isinstance(values, Decimals):
            lists[name] = values.tolist()
            continue
        known = [True] * len(values.units) if values.known is None else values.known.tolist()
        exact = [Decimal(units).scaleb(-values.places) for units in values.units.tolist()]
        lists[name] = [value if is_known else None for value, is_known in zip(exact, known, strict=True)]
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def rows(series: Series, market: SampleMarket = MARKET, span: Span | None = None) -> list[dict[str, Any]]:
    return plain(market.rows(series, span or market.span))


def candles_of(trades: list[dict[str, Any]], step: int, value: str, end: int) -> Iterator[tuple[Any, ...]]:
    """open_time, open, high, low, close, volume, value, count, taker volume, taker value; flat where nothing trades."""
    at: dict[int, list[dict[str, Any]]] = {}
    for trade in trades:
        at.setdefault(trade["time"] // step * step, []).append(trade)
    close = Decimal(0)
    for opens in range(min(at), end, step):
        inside = at.get(opens, [])
        prices = [trade["price"] for trade in inside] or [close]
        bought = [trade for trade in inside if not trade["is_buyer_maker"]]
        close = prices[-1]
        yield (
            opens,
            prices[0],
            max(prices),
            min(prices),
            close,
            sum((trade["qty"] for trade in inside), Decimal(0)),
            sum((trade[value] for trade in inside), Decimal(0)),
            len(inside),
            sum((trade["qty"] for trade in bought), Decimal(0)),
            sum((trade[value] for trade in bought), Decimal(0)),
        )


@pytest.mark.parametrize("series", [UM, SPOT, CM], ids=str)
@pytest.mark.parametrize(("interval", "step"), [("5m", 5 * MINUTE_US), ("1h", HOUR_US), ("1d", DAY_US)])
def test_candles_are_what_the_trades_add_up_to(series: Series, interval: str, step: int) -> None:
    value = "base_qty" if series.market is Market.CM else "quote_qty"
    expected = list(candles_of(rows(of(series, "trades")), step, value, MARKET.span.end_us))
    names = ["open_time", "open", "high", "low", "close", "volume", "quote_volume", "count"]
    names += ["taker_buy_volume", "taker_buy_quote_volume"]
    found = [tuple(row[name] for name in names) for row in rows(of(series, "klines", interval))]
    assert found == expected
    assert any(row[7] == 0 for row in expected) == (interval == "5m" or (interval == "1h" and series is CM))


def test_a_value_is_price_times_quantity_and_in_cm_contracts_through_price() -> None:
    for row in rows(of(UM, "trades"))[:5000]:
        assert row["quote_qty"] == row["price"] * row["qty"]
    for row in rows(of(CM, "trades")):
        exact = row["qty"] * 10 / row["price"]
        assert row["base_qty"] == exact.quantize(Decimal("1e-8"), ROUND_HALF_UP)


@pytest.mark.parametrize("series", [UM, SPOT, CM], ids=str)
def test_trade_ids_are_contiguous_and_times_never_go_back(series: Series) -> None:
    trades = rows(of(series, "trades"))
    assert [b["id"] - a["id"] for a, b in pairwise(trades)] == [1] * (len(trades) - 1)
    assert all(a["time"] <= b["time"] for a, b in pairwise(trades))
    assert all(row["qty"] > 0 and row["price"] > 0 for row in trades)
    assert {row["is_buyer_maker"] for row in trades} == {True, False}


@pytest.mark.parametrize("series", [UM, SPOT, CM], ids=str)
def test_aggregates_join_neighbours_of_one_price_side_and_moment(series: Series) -> None:
    window = 1 if series.market is Market.SPOT else 100_000

    def kind(trade: dict[str, Any]) -> tuple[Any, ...]:
        return trade["price"], trade["is_buyer_maker"], trade["time"] // window

    groups = [list(group) for _, group in groupby(rows(of(series, "trades")), kind)]
    aggregates = rows(of(series, "agg_trades"))
    assert len(aggregates) == len(groups)
    for aggregate, group in zip(aggregates, groups, strict=True):
        assert (aggregate["first_trade_id"], aggregate["last_trade_id"]) == (group[0]["id"], group[-1]["id"])
        assert aggregate["quantity"] == sum(trade["qty"] for trade in group)
        assert aggregate["price"] == group[0]["price"]
        assert aggregate["transact_time"] == group[0]["time"]
        assert aggregate["is_buyer_maker"] == group[0]["is_buyer_maker"]
    ids = [aggregate["agg_trade_id"] for aggregate in aggregates]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert any(len({trade["time"] for trade in group}) > 1 for group in groups) == (window > 1)


@pytest.mark.parametrize("series", [UM, CM], ids=str)
def test_the_mark_is_the_index_and_its_premium(series: Series) -> None:
    minute = {name: rows(of(series, name, "1m")) for name in ("mark_price", "index_price", "premium_index")}
    triples = zip(minute["mark_price"], minute["index_price"], minute["premium_index"], strict=True)
    for mark, index, premium in triples:
        assert mark["open_time"] == index["open_time"] == premium["open_time"]
        for point in ("open", "close"):
            exact = index[point] * (1 + premium[point])
            assert mark[point] == exact.quantize(Decimal("1e-8"), ROUND_HALF_UP)


@pytest.mark.parametrize("dataset", ["mark_price", "index_price", "premium_index"])
def test_price_candles_of_an_hour_span_those_of_its_minutes(dataset: str) -> None:
    minutes = groupby(rows(of(UM, dataset, "1m")), lambda row: row["open_time"] // HOUR_US * HOUR_US)
    for hour, (opens, group) in zip(rows(of(UM, dataset, "1h")), minutes, strict=True):
        inside = list(group)
        assert len(inside) == 60
        assert hour["open_time"] == opens
        assert (hour["open"], hour["close"]) == (inside[0]["open"], inside[-1]["close"])
        assert hour["high"] == max(row["high"] for row in inside)
        assert hour["low"] == min(row["low"] for row in inside)


@pytest.mark.parametrize("series", [UM, CM], ids=str)
def test_funding_is_the_mean_premium_pulled_towards_one_basis_point(series: Series) -> None:
    # Candles show only some of the points that they are made of, so the mean is taken from the points.
    (instrument,) = (
        each for each in MARKET.instruments if (each.market, each.symbol) == (series.market, series.symbol)
    )
    points = points_of(MARKET.seed, instrument, MARKET.span)
    premium = {MARKET.span.start_us + row * POINT_US: unit for row, unit in enumerate(points.premium.tolist())}
    settlements = rows(of(series, "funding_rate"))
    for settlement in settlements:
        hour = settlement["calc_time"] // HOUR_US * HOUR_US
        assert hour % (8 * HOUR_US) == 0
        assert settlement["calc_time"] - hour in range(0, 46_000, 1000)
        start = max(hour - 8 * HOUR_US, instrument.listed_us)
        units = [premium[time] for time in range(start, hour, POINT_US)]
        mean = Decimal(sum(units)) / len(units) / 10**8
        mean = (mean * 10**8 + Decimal("0.5")).to_integral_value("ROUND_FLOOR") / 10**8
        clamped = max(min(Decimal("0.0001") - mean, Decimal("0.0005")), Decimal("-0.0005"))
        assert settlement["last_funding_rate"] == mean + clamped
        assert settlement["funding_interval_hours"] == 8
    assert len({row["last_funding_rate"] for row in settlements}) > 5


ALL = [series for name in DATASETS for series in MARKET.series(name, "1h" if DATASETS[name].has_interval else None)]


@given(st.sampled_from(ALL), st.lists(st.integers(MARKET.span.start_us, MARKET.span.end_us), max_size=4))
@settings(deadline=None)
def test_rows_of_any_cuts_of_a_span_are_the_rows_of_the_span(series: Series, cuts: list[int]) -> None:
    edges = [MARKET.span.start_us, *sorted(cuts), MARKET.span.end_us]
    parts = [MARKET.truth(series, Span(a, b)) for a, b in pairwise(edges)]
    assert pa.concat_tables(parts).equals(MARKET.truth(series, MARKET.span))


@pytest.mark.parametrize("series", ALL, ids=str)
def test_a_later_last_day_changes_nothing_before_it(series: Series) -> None:
    shorter = small_market(last=date(2025, 1, 11))
    assert len(shorter.truth(series, shorter.span)) > 0
    assert shorter.truth(series, shorter.span).equals(MARKET.truth(series, shorter.span))


@pytest.mark.parametrize("series", ALL, ids=str)
def test_truth_is_in_the_stored_schema_and_floats_are_those_of_the_texts(series: Series) -> None:
    truth = MARKET.truth(series, MARKET.span)
    assert truth.schema == schema_of(DATASETS[series.dataset], series.market)
    plain_rows = rows(series)
    assert len(truth) == len(plain_rows) > 100
    for column in DATASETS[series.dataset].stored_columns(series.market):
        if column.kind.name == "DECIMAL":
            cells = [row[column.source] for row in plain_rows]
            assert truth[column.name].to_pylist() == [None if cell is None else float(str(cell)) for cell in cells]


def test_floats_of_more_than_53_bits_are_still_those_of_the_texts() -> None:
    units = np.array([2**53 + 1, -(2**60) - 7, 12345, 9_007_199_254_740_993], dtype=np.int64)
    assert Decimals(units, 7).floats().tolist() == [float(Decimal(int(u)).scaleb(-7)) for u in units]


def test_spot_times_are_whole_milliseconds_until_2025_and_microseconds_after() -> None:
    times = [row["time"] for row in rows(of(SPOT, "trades"))]
    assert all(time % 1000 == 0 for time in times if time < YEAR_2025)
    assert any(time % 1000 for time in times if time >= YEAR_2025)
    closes = {row["open_time"] + HOUR_US - row["close_time"] for row in rows(SPOT)}
    assert closes == {1, 1000}
    assert all(row["time"] % 1000 == 0 for row in rows(of(UM, "trades")))


def test_a_symbol_begins_and_ends_within_a_day() -> None:
    market = demo_market()
    listed = rows(
        Series(Market.UM, "klines", "LUNAUSDT", "1h"), market, Span.of_days(date(2024, 8, 14), date(2025, 2, 17))
    )
    assert [row["open_time"] for row in listed] == [moment(f"2024-08-14 {hour:02}:00") for hour in range(9)]
    mark = rows(
        Series(Market.UM, "mark_price", "币安人生USDT", "1m"),
        market,
        Span.of_days(date(2024, 11, 20), date(2024, 11, 20)),
    )
    assert len(mark) == 690
    assert mark[0]["open_time"] == moment("2024-11-20 12:30")


def test_spot_has_no_candle_inside_a_halt_while_ids_run_on() -> None:
    market, day = demo_market(), Span.of_days(date(2024, 6, 11), date(2024, 6, 11))
    spot = Series(Market.SPOT, "klines", "BTCUSDT", "1h")
    hours = [row["open_time"] // HOUR_US % 24 for row in rows(spot, market, day)]
    assert hours == [0, 1, 2, 3, *range(8, 24)]
    trades = rows(of(spot, "trades"), market, day)
    assert [b["id"] - a["id"] for a, b in pairwise(trades)] == [1] * (len(trades) - 1)
    assert max(b["time"] - a["time"] for a, b in pairwise(trades)) > 4.75 * HOUR_US


def test_the_demo_has_what_it_promises() -> None:
    market = demo_market()
    assert {f"{each.market}/{each.symbol}" for each in market.series("index_price", "1h")} >= {
        "um/BTCUSDT",
        "cm/BTCUSD",
    }
    delivery = "BTCUSDT_240329"
    assert delivery in {each.symbol for each in market.series("mark_price", "1h")}
    assert delivery not in {each.symbol for each in market.series("premium_index", "1h")}
    assert delivery not in {each.symbol for each in market.series("funding_rate")}
    hours = market.rows(Series(Market.UM, "funding_rate", "ICPUSDT"), market.span)["funding_interval_hours"]
    assert set(hours.tolist()) == {4}


def test_a_series_that_is_not_traded_is_no_data() -> None:
    with pytest.raises(NoData, match="um/klines/NOPEUSDT/1h"):
        MARKET.rows(Series(Market.UM, "klines", "NOPEUSDT", "1h"), MARKET.span)
    with pytest.raises(NoData):
        MARKET.rows(Series(Market.UM, "premium_index", "BTCUSDT_240329", "1h"), MARKET.span)


def test_weeks_begin_on_monday_and_months_on_their_first_day_and_open_ones_are_left_out() -> None:
    around = Span.of_days(date(2024, 12, 1), date(2025, 1, 31))
    weeks = [row["open_time"] for row in rows(of(UM, "klines", "1w"), span=around)]
    assert weeks == [moment(f"2024-12-{day:02}") for day in (9, 16, 23, 30)] + [
        moment("2025-01-06"),
        moment("2025-01-13"),
    ]
    months = rows(of(UM, "klines", "1mo"), span=around)
    assert [row["open_time"] for row in months] == [moment("2024-12-01")]
    assert months[0]["count"] == sum(row["count"] for row in rows(UM) if row["open_time"] < YEAR_2025)


def test_seeds_differ() -> None:
    other = small_market(seed=8)
    assert not other.truth(UM, other.span).equals(MARKET.truth(UM, MARKET.span))
