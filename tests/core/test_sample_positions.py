"""Open interest, ratios, the book and liquidations of the invented market, held against its trades and candles."""

from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby, pairwise
from typing import Any

import pytest
from test_sample_market import CM, UM, of, plain, rows

from core.dates import DAY_US
from core.sample.book import NARROW_BANDS_FROM
from core.sample.instruments import moment
from core.sample.market import demo_market, small_market
from core.types import Market, Period, Series, Span

FIVE = 300_000_000
FUTURES = pytest.mark.parametrize("series", [UM, CM], ids=str)
TICK = {Market.UM: Decimal("0.1"), Market.CM: Decimal("0.01")}


def windows(series: Series) -> list[dict[str, Any]]:
    """All rows of metrics, also the last one of um, which is labelled by the midnight after the history."""
    return rows(of(series, "metrics"), span=Span(0, 2**62))


@FUTURES
def test_open_interest_changes_by_no_more_than_is_traded(series: Series) -> None:
    found, candles = windows(series), rows(of(series, "klines", "5m"))
    assert len(found) == len(candles)
    assert all(row["sum_open_interest"] > 0 for row in found)
    for (before, after), candle in zip(pairwise(found), candles[1:], strict=True):
        assert abs(after["sum_open_interest"] - before["sum_open_interest"]) <= candle["volume"]


@FUTURES
def test_a_window_is_labelled_by_its_end_in_um_and_by_its_start_in_cm(series: Series) -> None:
    after = FIVE if series.market is Market.UM else 0
    labels = [row["create_time"] for row in windows(series)]
    assert labels == [row["open_time"] + after for row in rows(of(series, "klines", "5m"))]


@FUTURES
def test_open_interest_is_worth_what_the_mark_price_says(series: Series) -> None:
    marks = {row["open_time"]: row["close"] for row in rows(of(series, "mark_price", "5m"))}
    for row in windows(series):
        mark = marks[row["window_start"]].quantize(TICK[series.market], ROUND_HALF_UP)
        interest, value = row["sum_open_interest"], row["sum_open_interest_value"]
        if series.market is Market.UM:
            assert value == interest * mark
        else:
            assert value == (interest * 10 / mark).quantize(Decimal("1e-8"), ROUND_HALF_UP)


@FUTURES
def test_the_takers_ratio_is_that_of_the_candle_and_empty_where_nothing_was_sold(series: Series) -> None:
    empty = 0
    for row, candle in zip(windows(series), rows(of(series, "klines", "5m")), strict=True):
        bought, sold = candle["taker_buy_volume"], candle["volume"] - candle["taker_buy_volume"]
        if sold:
            exact = (bought / sold).quantize(Decimal("1e-8"), ROUND_HALF_UP)
            assert row["sum_taker_long_short_vol_ratio"] == exact
        else:
            assert row["sum_taker_long_short_vol_ratio"] is None
            empty += 1
    assert empty > 10


@FUTURES
def test_ratios_of_traders_stay_above_zero_and_are_empty_at_times(series: Series) -> None:
    names = ("count_toptrader_long_short_ratio", "sum_toptrader_long_short_ratio", "count_long_short_ratio")
    found = [[row[name] for name in names] for row in windows(series)]
    assert {tuple(cell is None for cell in cells) for cells in found} == {(True,) * 3, (False,) * 3}
    assert all(cell is None or cell > 0 for cells in found for cell in cells)


def test_labels_move_in_um_on_one_day_and_two_files_have_its_midnight() -> None:
    market = small_market(first=date(2026, 6, 23), last=date(2026, 6, 26))
    (series,) = (each for each in market.series("metrics") if each.market is Market.UM)
    labels = {
        day: [row["create_time"] for row in plain(market.file_rows(series, Period.day(date(2026, 6, day))))]
        for day in (24, 25)
    }
    assert (labels[24][0], labels[24][-1]) == (moment("2026-06-24 00:05"), moment("2026-06-25"))
    assert (labels[25][0], labels[25][-1]) == (moment("2026-06-25"), moment("2026-06-25 23:55"))
    assert len(labels[24]) == len(labels[25]) == 288


@FUTURES
def test_bands_of_the_book_are_cumulative_and_worth_a_price_inside_them(series: Series) -> None:
    marks = {row["open_time"]: row["open"] for row in rows(of(series, "mark_price", "1m"))}
    snapshots = groupby(rows(of(series, "book_depth")), lambda row: row["timestamp"])
    for time, group in snapshots:
        bands = {row["percentage"]: row for row in group}
        assert len(bands) == (12 if time >= NARROW_BANDS_FROM else 10)
        mark = marks[time // 60_000_000 * 60_000_000]
        for side in (-1, 1):
            inner = sorted((row for band, row in bands.items() if band * side > 0), key=lambda row: abs(row["depth"]))
            assert [abs(row["percentage"]) for row in inner] == sorted(abs(row["percentage"]) for row in inner)
            assert all(a["depth"] < b["depth"] and a["notional"] < b["notional"] for a, b in pairwise(inner))
        for band, row in bands.items():
            price = row["notional"] / row["depth"] / mark - 1
            assert min(band, 0) - 1 < price * 100 < max(band, 0) + 1


def test_the_book_is_looked_at_every_thirty_seconds_in_the_demo() -> None:
    market = demo_market()
    series = Series(Market.UM, "book_depth", "BTCUSDT")
    day = Span.of_days(date(2025, 2, 15), date(2025, 2, 15))
    times = sorted({row["timestamp"] for row in plain(market.rows(series, day))})
    assert len(times) == 2880
    assert all(0 <= (time - day.start_us) % 30_000_000 <= 5_000_000 for time in times)


def runs(series: Series) -> list[list[dict[str, Any]]]:
    trades = rows(of(series, "trades"))
    return [list(group) for _, group in groupby(trades, lambda trade: (trade["time"], trade["is_buyer_maker"]))]


@FUTURES
def test_trades_happen_at_the_best_price_that_was_quoted(series: Series) -> None:
    quotes = rows(of(series, "book_ticker"))
    assert all(a["update_id"] < b["update_id"] for a, b in pairwise(quotes))
    for quote, run in zip(quotes, runs(series), strict=True):
        is_sell = run[0]["is_buyer_maker"]
        side, prices = ("bid" if is_sell else "ask"), [trade["price"] for trade in run]
        best = max(prices) if is_sell else min(prices)
        assert quote[f"best_{side}_price"] == best
        assert quote[f"best_{side}_qty"] >= sum(trade["qty"] for trade in run if trade["price"] == best)
        assert quote["best_bid_price"] < quote["best_ask_price"]
        assert min(quote["best_bid_qty"], quote["best_ask_qty"]) > 0
        assert quote["transaction_time"] == run[0]["time"] <= quote["event_time"] <= run[0]["time"] + 5000


@FUTURES
def test_a_liquidation_is_an_order_whose_fills_are_trades(series: Series) -> None:
    taken = {(run[0]["time"], "SELL" if run[0]["is_buyer_maker"] else "BUY"): run for run in reversed(runs(series))}
    found = rows(of(series, "liquidation_snapshot"))
    for row in found:
        run = taken[row["time"], row["side"]]
        quantity = sum((trade["qty"] for trade in run), Decimal(0))
        prices = [trade["price"] for trade in run]
        mean = sum((trade["qty"] * trade["price"] for trade in run), Decimal(0)) / quantity
        assert row["original_quantity"] == row["accumulated_fill_quantity"] == quantity
        assert row["last_fill_quantity"] == run[-1]["qty"]
        assert row["average_price"] == mean.quantize(TICK[series.market], ROUND_HALF_UP)
        assert row["price"] < min(prices) if row["side"] == "SELL" else row["price"] > max(prices)
    keys = [(row["time"], row["side"]) for row in found]
    assert keys == sorted(set(keys))
    assert len({row["time"] // DAY_US for row in found}) > 40


def test_two_liquidations_of_one_millisecond_occur() -> None:
    found = rows(of(UM, "liquidation_snapshot"))
    both = [(a["side"], b["side"]) for a, b in pairwise(found) if a["time"] == b["time"]]
    assert both
    assert set(both) == {("BUY", "SELL")}
