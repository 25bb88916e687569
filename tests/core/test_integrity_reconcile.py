"""Datasets against each other: exact on what is consistent, and one unit of one value is enough to be found."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integrity_world import Change, Stored, altered, days, without

from core.datasets import DATASETS
from core.datasets.grid import Grid
from core.dates import DAY_US, HOUR_US, INTERVAL_US
from core.decimals import doubles, places_of, sums
from core.integrity import sides
from core.integrity.aggregate import added_up, of_trades
from core.integrity.rows import Rows
from core.integrity.trading import LEFT_OUT
from core.sample.archive import Shelf, whole_archive
from core.sample.instruments import moment
from core.sample.market import demo_market, small_market, times_of
from core.sample.values import Columns, Decimals
from core.settings import QualitySettings
from core.types import Finding, Market, Period, Series, Span

MARKET = small_market(first=date(2024, 12, 30), last=date(2025, 1, 3))
ALL = days("2024-12-30", 5)
SECOND = Period.parse("2025-01-02")
PAIRS = {
    Market.UM: ("BTCUSDT", "quote_volume", "taker_buy_quote_volume"),
    Market.SPOT: ("ETHUSDT", "quote_volume", "taker_buy_quote_volume"),
    Market.CM: ("ETHUSD_PERP", "quote_volume", "taker_buy_quote_volume"),
}
QUALITY = QualitySettings()


def series(market: Market, dataset: str, interval: str | None = None) -> Series:
    return Series(market, dataset, DATASETS[dataset].directory(PAIRS[market][0]), interval)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    shelves = [*whole_archive(), *(Shelf("klines", each, months=None) for each in ("1m", "5m", "1d"))]
    return Stored(tmp_path_factory.mktemp("clean"), MARKET, [*shelves, Shelf("mark_price", "15m", months=None)])


def differences(found: list[Finding]) -> list[tuple[str, int, int]]:
    return [(f.kind, f.count, f.span.start_us) for f in found if f.cause is None]


def test_a_clean_market_agrees_with_itself_in_everything(clean: Stored) -> None:
    stored = clean.storage.series()
    assert {(one.market, one.dataset) for one in stored} >= {
        (market, name)
        for name, kind in DATASETS.items()
        for market in kind.markets
        if name != "funding_rate" and MARKET.series(name, "1h" if kind.has_interval else None)
    }
    for one in stored:
        assert [f for f in clean.found(one, deep=True) if f.cause is None] == [], one


def test_a_clean_market_with_delistings_agrees_with_itself(tmp_path: Path) -> None:
    """Of the demo: listed at noon, settled every four hours, delisted, delivered, written in other letters."""
    market = demo_market()
    few = ("um/LUNAUSDT", "um/ICPUSDT", "um/BTCUSDT_240329", "um/币安人生USDT", "cm/ETHUSD_PERP")
    shelves = [
        Shelf(name, "1h" if DATASETS[name].has_interval else None, days=None, symbols=few)
        for name in ("klines", "mark_price", "index_price", "premium_index", "funding_rate")
    ]
    stored = Stored(tmp_path, market, shelves)
    assert len(stored.storage.series()) > 10
    for one in stored.storage.series():
        assert stored.found(one, deep=True) == [], one


CELLS = [
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
]


@pytest.mark.parametrize("market", PAIRS)
@pytest.mark.parametrize("name", CELLS)
def test_one_unit_in_a_candle_is_found_by_its_trades(tmp_path: Path, market: Market, name: str) -> None:
    stored = Stored(tmp_path, MARKET)
    candles, trades = series(market, "klines", "1h"), series(market, "trades")
    stored.store(trades, *ALL)
    stored.store(candles, *[each for each in ALL if each != SECOND])
    stored.store(candles, SECOND, change=altered(name, 13, by=1))
    (found,) = [f for f in stored.found(candles, deep=True) if f.kind == "candle-differs"]
    assert (found.count, found.span.start_us) == (1, moment("2025-01-02 13:00"))
    assert " against " in found.detail


def test_one_ulp_in_a_candle_is_found(clean: Stored) -> None:
    """Beyond the published decimals, too: sums are not compared by tolerance."""
    one = series(Market.UM, "trades")
    table = pa.Table.from_batches(clean.storage.scan(one, SECOND.span))
    candles = added_up([of_trades(Rows(one, table, QUALITY), Grid(HOUR_US))])
    assert candles is not None
    truth = MARKET.truth(series(Market.UM, "klines", "1h"), SECOND.span)
    published = truth.column("quote_volume").to_numpy()[truth.column("trades").to_numpy() > 0]
    assert candles.total("value").tolist() == published.tolist()
    assert (np.nextafter(published, np.inf) != candles.total("value")).all()


@pytest.mark.parametrize("market", PAIRS)
def test_lost_trades_show_in_the_candles(tmp_path: Path, market: Market) -> None:
    stored = Stored(tmp_path, MARKET)
    candles, trades = series(market, "klines", "1h"), series(market, "trades")
    stored.store(candles, *ALL)
    stored.store(trades, *[each for each in ALL if each != SECOND])
    assert stored.found(candles, deep=True) == []  # a day without trades cannot be compared
    stored.store(trades, SECOND, change=without(5))
    assert [f.kind for f in stored.found(candles, deep=True)] == ["candle-differs"]


def test_an_hour_is_sixty_minutes(tmp_path: Path) -> None:
    """D31: each interval against the next shorter one that is stored."""
    stored = Stored(tmp_path, MARKET)
    for interval in ("1m", "1h", "1d"):
        stored.store(series(Market.SPOT, "klines", interval), *[each for each in ALL if each != SECOND])
    stored.store(series(Market.SPOT, "klines", "1m"), SECOND)
    stored.store(series(Market.SPOT, "klines", "1d"), SECOND)
    stored.store(series(Market.SPOT, "klines", "1h"), SECOND, change=altered("volume", 2, by=1))
    hour, day = (
        [f for f in stored.found(series(Market.SPOT, "klines", interval), deep=True) if f.kind == "interval-differs"]
        for interval in ("1h", "1d")
    )
    assert differences(hour) == [("interval-differs", 1, moment("2025-01-02 02:00"))]
    assert differences(day) == [("interval-differs", 1, moment("2025-01-02"))]
    assert "volume" in hour[0].detail
    assert "the 1m candles" in hour[0].detail


@pytest.mark.parametrize("change", [altered("close", 9, by=1), altered("high", 9, by=10**9)], ids=["close", "high"])
def test_mark_candles_are_added_up_too(tmp_path: Path, change: Change) -> None:
    stored = Stored(tmp_path, MARKET)
    stored.store(series(Market.UM, "mark_price", "15m"), *ALL)
    stored.store(series(Market.UM, "mark_price", "1h"), *[each for each in ALL if each != SECOND])
    stored.store(series(Market.UM, "mark_price", "1h"), SECOND, change=change)
    found = stored.found(series(Market.UM, "mark_price", "1h"), deep=True)
    assert differences(found) == [("interval-differs", 1, moment("2025-01-02 09:00"))]


@pytest.mark.parametrize(
    ("name", "by"), [("quantity", 1), ("price", 1), ("is_buyer_maker", 1)], ids=["quantity", "price", "side"]
)
def test_aggregates_are_compared_with_the_trades_of_their_ids(tmp_path: Path, name: str, by: int) -> None:
    """D33, D35."""
    stored = Stored(tmp_path, MARKET)
    stored.store(series(Market.UM, "trades"), *ALL)
    aggregates = series(Market.UM, "agg_trades")
    change: Change = altered(name, 40, by=by)
    if name == "is_buyer_maker":

        def change(columns):  # type: ignore[no-untyped-def, no-redef]
            values = columns[name].copy()
            values[40] = not values[40]
            return {**columns, name: values}

    stored.store(aggregates, *[each for each in ALL if each != SECOND])
    stored.store(aggregates, SECOND, change=change)
    (found,) = [f for f in stored.found(aggregates, deep=True) if f.cause is None]
    assert (found.kind, found.count) == ("aggregate-differs", 1)
    assert SECOND.span.contains(found.span)


def test_windows_are_so_short_that_few_rows_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy day in parts, and the differences in it as one finding all the same."""
    one, trades = series(Market.UM, "agg_trades"), series(Market.UM, "trades")
    stored = Stored(tmp_path, MARKET)
    stored.store(trades, *ALL)
    stored.store(one, *[each for each in ALL if each != SECOND])
    stored.store(one, SECOND, change=altered("quantity", slice(5, 300, 20), by=1))
    whole = stored.found(one, deep=True)
    assert [(f.kind, f.count) for f in whole if f.cause is None] == [("aggregate-differs", 15)]
    facts = stored.storage.facts([trades])[0]
    assert sides.window_of(facts, SECOND.span) == DAY_US
    for held in (200, 50, 1):
        monkeypatch.setattr(sides, "ROWS_HELD", held)
        length = sides.window_of(facts, SECOND.span)
        assert HOUR_US // 4 <= length < DAY_US
        densest = max(facts, key=lambda part: part.rows)
        assert length == HOUR_US // 4 or densest.rows * length / DAY_US <= held * 1.01
        assert stored.found(one, deep=True) == whole


@pytest.mark.parametrize("market", [Market.UM, Market.CM])
def test_premium_agrees_with_mark_and_index_within_its_tolerance(tmp_path: Path, market: Market) -> None:
    stored = Stored(tmp_path, MARKET)
    for dataset in ("mark_price", "index_price"):
        stored.store(series(market, dataset, "1h"), *ALL)
    premium = series(market, "premium_index", "1h")
    stored.store(premium, *[each for each in ALL if each != SECOND])
    stored.store(premium, SECOND, change=altered("close", 6, by=400_000))  # 0.004
    assert [f for f in stored.found(premium, deep=True) if f.kind == "premium-differs"] == []
    stored.store(premium, SECOND, change=altered("close", 6, by=600_000))
    (found,) = [f for f in stored.found(premium, deep=True) if f.kind == "premium-differs"]
    assert (found.count, found.span.start_us) == (1, moment("2025-01-02 06:00"))


def test_depth_far_from_the_mark_price_is_found(tmp_path: Path) -> None:
    """D37: all bands agree with each other, and not with the market."""
    stored = Stored(tmp_path, MARKET)
    depth = series(Market.UM, "book_depth")
    stored.store(series(Market.UM, "mark_price", "1h"), *ALL)

    def halved(columns):  # type: ignore[no-untyped-def]
        return altered("notional", slice(None), to=columns["notional"].units // 2)(columns)

    stored.store(depth, *[each for each in ALL if each != SECOND])
    stored.store(depth, SECOND, change=halved)
    found = stored.found(depth, deep=True)
    rows = MARKET.truth(depth, SECOND.span)
    assert differences(found) == [
        ("depth-off-mark", rows.num_rows, rows.column("timestamp").cast(pa.int64())[0].as_py())
    ]
    assert stored.found(depth) == []


@pytest.mark.parametrize("dataset", ["klines", "mark_price", "trades", "agg_trades", "book_ticker"])
def test_a_month_equals_its_days(tmp_path: Path, dataset: str) -> None:
    """D4 and D30: rows that the month lacks, and values that differ; the day is right."""
    market = small_market(first=date(2024, 12, 1), last=date(2025, 1, 2))
    one = series(Market.UM, dataset, "1h" if DATASETS[dataset].has_interval else None)
    month, first, last = Period.month(2024, 12), Period.parse("2024-12-05"), Period.parse("2024-12-20")
    price = {"klines": "close", "mark_price": "close", "book_ticker": "best_bid_qty"}.get(dataset, "price")
    stored = Stored(tmp_path, market)
    stored.store(one, month)
    stored.published(one, first)
    stored.published(one, last)
    assert [f for f in stored.found(one, deep=True) if f.cause is None] == []
    stored.published(one, first, change=altered(price, 7, by=1))
    (found,) = [f for f in stored.found(one, deep=True) if f.cause is None]
    assert (found.kind, found.count) == ("month-differs", 1)
    assert f"{'best_bid_qty' if dataset == 'book_ticker' else price} " in found.detail
    assert first.span.contains(found.span)
    stored.published(one, first)
    count = market.truth(one, last.span).num_rows
    rows = market.file_rows(one, month)
    times = times_of(one, rows)
    inside = np.flatnonzero((times >= last.span.start_us) & (times < last.span.end_us))
    stored.store(one, month, change=without(slice(int(inside[0]), int(inside[-1]) + 1)))
    found = [f for f in stored.found(one, deep=True) if f.kind == "month-differs"]
    assert [(f.count, last.span.contains(f.span)) for f in found] == [(count, True)]
    assert f"the month lacks {count} rows" in found[0].detail


@pytest.mark.parametrize("dataset", ["klines", "trades"])
def test_a_month_out_of_order_equals_its_days(tmp_path: Path, dataset: str) -> None:
    """D28: two halves interleaved, some rows of the first day at the end, of a month that is read in many pieces."""
    market = small_market(first=date(2024, 12, 1), last=date(2025, 1, 2))
    one = series(Market.UM, dataset, "1m" if dataset == "klines" else None)
    month = Period.month(2024, 12)
    count = len(times_of(one, market.file_rows(one, month)))
    half = count // 2
    mixed = np.argsort(np.concatenate([np.arange(half) * 2, np.arange(count - half) * 2 + 1]), kind="stable")
    order = np.concatenate([mixed[20:], mixed[:20], mixed[30:35]])  # five of them twice

    def shuffled(columns: Columns) -> Columns:
        return {name: values[order] for name, values in columns.items()}

    stored = Stored(tmp_path, market)
    stored.store(one, month, change=shuffled)
    for day in days("2024-12-01", 31):
        stored.published(one, day)
    assert [f for f in stored.found(one, deep=True) if f.cause is None] == []
    stored.published(one, days("2024-12-01", 31)[9], change=without(17, 18))
    (found,) = [f for f in stored.found(one, deep=True) if f.cause is None]
    assert (found.kind, found.count) == ("month-differs", 2)
    assert "the month has 2 rows more" in found.detail
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_archive_that_cannot_be_read_again_is_said(tmp_path: Path) -> None:
    """D22, D34: the bytes in `raw/` are no longer those that were stored."""
    market = small_market(first=date(2024, 12, 1), last=date(2025, 1, 2))
    one = series(Market.UM, "klines", "1h")
    stored = Stored(tmp_path, market)
    stored.store(one, Period.month(2024, 12))
    stored.published(one, Period.parse("2024-12-05"))
    path = stored.layout.raw(one, Period.month(2024, 12))
    path.write_bytes(path.read_bytes()[:-100])
    assert [f for f in stored.found(one) if f.cause is None] == []
    found = {f.kind: f.detail for f in stored.found(one, deep=True) if f.cause is None}
    assert set(found) == {"digest", "archive-unreadable"}


Trade = tuple[int, int, int, bool]


def by_hand(trades: list[Trade], step: int) -> dict[int, list[Decimal]]:
    """Candles by plain Python: open, high, low, close, volume, value, taken, taken value, count."""
    made: dict[int, list[Decimal]] = {}
    for time, price_units, quantity_units, is_sell in trades:
        price, quantity = Decimal(price_units).scaleb(-2), Decimal(quantity_units).scaleb(-8)
        bought = Decimal(not is_sell)
        candle = made.setdefault(time // step, [price, price, price, price, *[Decimal(0)] * 5])
        candle[1:4] = [max(candle[1], price), min(candle[2], price), price]
        for place, value in enumerate((quantity, price * quantity, quantity * bought, price * quantity * bought, 1), 4):
            candle[place] += value
    return made


@given(
    st.lists(
        st.tuples(st.integers(0, DAY_US), st.integers(1, 10**9), st.integers(1, 10**12), st.booleans()), min_size=1
    ),
    st.sampled_from(["1m", "1h", "1d"]),
    st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_candles_of_trades_are_exact_however_they_are_cut(trades: list[Trade], interval: str, size: int) -> None:
    trades = sorted(trades, key=lambda trade: trade[0])
    step = INTERVAL_US[interval]
    assert step is not None
    columns = {
        "id": list(range(len(trades))),
        "price": [float(Decimal(t[1]).scaleb(-2)) for t in trades],
        "qty": [float(Decimal(t[2]).scaleb(-8)) for t in trades],
        "quote_qty": [float(Decimal(t[1]).scaleb(-2) * Decimal(t[2]).scaleb(-8)) for t in trades],
        "timestamp": [t[0] for t in trades],
        "is_buyer_maker": [t[3] for t in trades],
    }
    one = series(Market.SPOT, "trades")
    table = pa.table(columns)
    parts = [of_trades(Rows(one, table.slice(n, size), QUALITY), Grid(step)) for n in range(0, len(trades), size)]
    made = added_up(parts)
    assert made is not None
    expected = by_hand(trades, step)
    assert made.slots.tolist() == list(expected)
    whole = [made.open, made.high, made.low, made.close, made.total("volume")]
    for n, candle in enumerate(expected.values()):
        assert [column[n] for column in whole] == [float(value) for value in candle[:5]]
        assert made.total("product")[n] == float(candle[5])
        assert made.total("taken")[n] == float(candle[6])
        assert made.total("taken_product")[n] == float(candle[7])
        assert made.rows[n] == candle[8]


@given(st.lists(st.integers(-(10**15), 10**15), min_size=1), st.integers(0, 12))
def test_decimals_come_back_from_doubles(units: list[int], places: int) -> None:
    values = np.array([float(Decimal(each).scaleb(-places)) for each in units])
    found = places_of(values)
    assert found <= places
    total = sums(values, np.array([0]), found)
    assert total == [sum(units) * 10 ** (12 - places)]
    assert doubles(total).tolist() == [float(Decimal(sum(units)).scaleb(-places))]


def test_a_span_that_cuts_candles_compares_whole_ones(clean: Stored) -> None:
    ragged = Span(moment("2025-01-01 10:20"), moment("2025-01-02 17:45"))
    for one in clean.storage.series():
        assert [f for f in clean.found(one, deep=True, span=ragged) if f.cause is None] == [], one


@pytest.mark.parametrize("market", [Market.UM, Market.CM])
def test_candles_of_trades_that_futures_leave_out_have_that_cause(tmp_path: Path, market: Market) -> None:
    """D14: as many single ids are missing as the candles have more trades; where trades are lost, that is no cause."""
    stored = Stored(tmp_path, MARKET, [Shelf("klines", "1h"), Shelf("trades")])
    stored.store(series(market, "trades"), SECOND, change=without(5, 9))
    found = [f for f in stored.found(series(market, "klines", "1h"), deep=True) if f.kind == "candle-differs"]
    assert [f.cause for f in found] == [LEFT_OUT]
    stored.store(series(market, "trades"), SECOND, change=without(5, slice(9, 14)))
    found = [f for f in stored.found(series(market, "klines", "1h"), deep=True) if f.kind == "candle-differs"]
    assert None in {f.cause for f in found}


def test_differences_that_are_days_apart_are_told_apart(tmp_path: Path) -> None:
    """Each with the time from its first to the end of its last candle."""
    stored = Stored(tmp_path, MARKET, [Shelf("klines", "1h"), Shelf("trades")])
    candles = series(Market.UM, "klines", "1h")
    for number, rows in ((0, slice(3, 5)), (4, slice(7, 8))):
        stored.store(candles, ALL[number], change=altered("count", rows, by=1))
    found = [f for f in stored.found(candles, deep=True) if f.kind == "candle-differs"]
    starts = ALL[0].span.start_us + 3 * HOUR_US, ALL[4].span.start_us + 7 * HOUR_US
    assert [(f.span, f.count) for f in found] == [
        (Span(starts[0], starts[0] + 2 * HOUR_US), 2),
        (Span(starts[1], starts[1] + HOUR_US), 1),
    ]


@pytest.mark.parametrize("market", [Market.UM, Market.CM])
def test_depth_at_other_prices_than_the_mark_is_found(tmp_path: Path, market: Market) -> None:
    """D37, in cm too."""
    stored = Stored(tmp_path, MARKET, [Shelf("book_depth"), Shelf("mark_price", "1h")])
    depth = series(market, "book_depth")
    assert stored.found(depth, deep=True) == []

    def dearer(columns: Columns) -> Columns:
        value = columns["notional"]
        assert isinstance(value, Decimals)
        return {**columns, "notional": replace(value, units=value.units * 103 // 100)}

    stored.store(depth, SECOND, change=dearer)
    (found,) = [f for f in stored.found(depth, deep=True) if f.cause is None]
    assert (found.kind, SECOND.span.contains(found.span)) == ("depth-off-mark", True)


def test_candles_of_which_none_is_whole_are_not_compared(tmp_path: Path) -> None:
    stored = Stored(tmp_path, MARKET)
    stored.store(series(Market.UM, "klines", "1d"), SECOND)
    stored.store(series(Market.UM, "klines", "1h"), SECOND, change=without(5))
    assert stored.found(series(Market.UM, "klines", "1d"), deep=True) == []
