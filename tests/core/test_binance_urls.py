"""The archive's key grammar, both ways."""

from datetime import date
from urllib.parse import unquote, urlsplit

import pytest
from factories import real_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets import DATASETS
from core.exchanges.binance.urls import key_of, parse_key, prefix_of, url_of
from core.types import Cadence, Market, Period, Series

SYMBOLS = ["BTCUSDT", "币安人生USDT", "1000SHIBUSDT", "BTCUSDT_240329", "BNXUSDTSETTLED", "ICPUSDT_SETTLED", "0GUSDT"]


@st.composite
def files(draw: st.DrawFn) -> tuple[Series, Period]:
    dataset = DATASETS[draw(st.sampled_from(sorted(DATASETS)))]
    market = draw(st.sampled_from(dataset.markets))
    interval = draw(st.sampled_from(dataset.intervals(market))) if dataset.has_interval else None
    series = Series(market, dataset.name, draw(st.sampled_from(SYMBOLS)), interval)
    day = draw(st.dates(date(2017, 1, 1), date(2030, 1, 1)))
    return series, Period.day(day).within(draw(st.sampled_from(dataset.cadences_of(interval))))


@settings(deadline=None)
@given(file=files())
def test_a_key_names_what_it_was_made_from(file: tuple[Series, Period]) -> None:
    assert parse_key(key_of(*file)) == file


def test_every_dataset_market_cadence_interval_and_symbol_has_a_key_of_its_own() -> None:
    periods = {Cadence.DAILY: Period.day(date(2024, 2, 29)), Cadence.MONTHLY: Period.month(2024, 2)}
    files = [
        (Series(market, dataset.name, symbol, interval), period)
        for dataset in DATASETS.values()
        for market in dataset.markets
        for interval in (dataset.intervals(market) or (None,))
        for symbol in SYMBOLS
        for period in map(periods.__getitem__, dataset.cadences_of(interval))
    ]
    keys = [key_of(*file) for file in files]
    assert [parse_key(key) for key in keys] == files
    # Candles: 9 kinds and markets of 12 intervals by day and month and 3 by month, and seconds in spot; trades and
    # aggregates by day and month in 3 markets; in 2 markets funding by month, quotes by both, three kinds by day.
    assert len(set(keys)) == len(keys) == (9 * (12 * 2 + 3) + 2 + 2 * 3 * 2 + 2 * (1 + 2 + 3)) * len(SYMBOLS)


@pytest.mark.parametrize(
    ("market", "name", "interval", "label"),
    [
        ("um", "funding_rate", None, "2024-01-31"),
        ("spot", "klines", "3d", "2024-01-31"),
        ("um", "mark_price", "1w", "2024-01-31"),
        ("cm", "premium_index", "1mo", "2024-01-31"),
        ("um", "klines", "1s", "2024-01-31"),
        ("cm", "klines", "1s", "2024-01"),
        ("um", "index_price", "1s", "2024-01"),
        ("um", "metrics", None, "2024-01"),
        ("cm", "book_depth", None, "2024-01"),
        ("cm", "liquidation_snapshot", None, "2024-01"),
    ],
)
def test_what_is_never_published_together_is_no_key(market: str, name: str, interval: str | None, label: str) -> None:
    series = Series(Market(market), name, "BTCUSDT", interval)
    key = key_of(series, Period.parse(label))
    assert parse_key(key) is None
    other = "2024-01" if len(label) == 10 else "2024-01-31"
    is_other_fine = interval != "1s"
    assert (parse_key(key_of(series, Period.parse(other))) is not None) == is_other_fine


@settings(deadline=None)
@given(
    file=files(),
    at=st.integers(0, 200),
    instead=st.sampled_from(["", "/", ".", "..", "\\", "%2F", "\x00", "\n", " ", "0", "-", "_", "é"]),
    cut=st.integers(0, 2),
)
def test_a_key_with_something_else_in_it_is_another_key_or_none(
    file: tuple[Series, Period], at: int, instead: str, cut: int
) -> None:
    key = key_of(*file)
    damaged = key[:at] + instead + key[at + cut :]
    parsed = parse_key(damaged)
    assert parsed is None or key_of(*parsed) == damaged
    assert (parsed == file) == (damaged == key)


@settings(deadline=None)
@given(text=st.text(max_size=120) | st.text(alphabet="data/futures.umzip-0123%2F\\BTC", max_size=120))
def test_any_text_is_a_key_of_ours_or_none(text: str) -> None:
    parsed = parse_key(text)
    assert parsed is None or key_of(*parsed) == text


@pytest.mark.parametrize(
    ("key", "series", "label"),
    [
        (
            "data/spot/daily/klines/BTCUSDT/1s/BTCUSDT-1s-2024-03-18.zip",
            Series(Market.SPOT, "klines", "BTCUSDT", "1s"),
            "2024-03-18",
        ),
        (
            "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2026-03.zip",
            Series(Market.UM, "funding_rate", "BTCUSDT"),
            "2026-03",
        ),
        (
            "data/futures/cm/daily/indexPriceKlines/BTCUSD/1m/BTCUSD-1m-2024-01-01.zip",
            Series(Market.CM, "index_price", "BTCUSD", "1m"),
            "2024-01-01",
        ),
        (
            "data/futures/um/monthly/markPriceKlines/BTCUSDT/1mo/BTCUSDT-1mo-2024-02.zip",
            Series(Market.UM, "mark_price", "BTCUSDT", "1mo"),
            "2024-02",
        ),
        (
            "data/futures/um/daily/markPriceKlines/BTCUSDT/5m/BTCUSDT-5m-2024-01-01.zip",
            Series(Market.UM, "mark_price", "BTCUSDT", "5m"),
            "2024-01-01",
        ),
        (
            "data/futures/cm/daily/trades/ETHUSD_PERP/ETHUSD_PERP-trades-2024-08-08.zip",
            Series(Market.CM, "trades", "ETHUSD_PERP"),
            "2024-08-08",
        ),
        (
            "data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2020-01-02.zip",
            Series(Market.SPOT, "agg_trades", "BTCUSDT"),
            "2020-01-02",
        ),
        (
            "data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2026-09-15.zip",
            Series(Market.UM, "metrics", "BTCUSDT"),
            "2026-09-15",
        ),
        (
            "data/futures/um/daily/bookDepth/币安人生USDT/币安人生USDT-bookDepth-2025-10-01.zip",
            Series(Market.UM, "book_depth", "币安人生USDT"),
            "2025-10-01",
        ),
        (
            "data/futures/cm/monthly/bookTicker/BTCUSD_PERP/BTCUSD_PERP-bookTicker-2024-03.zip",
            Series(Market.CM, "book_ticker", "BTCUSD_PERP"),
            "2024-03",
        ),
        (
            "data/futures/cm/daily/liquidationSnapshot/BTCUSD_PERP/BTCUSD_PERP-liquidationSnapshot-2023-06-25.zip",
            Series(Market.CM, "liquidation_snapshot", "BTCUSD_PERP"),
            "2023-06-25",
        ),
        (
            "data/futures/um/monthly/premiumIndexKlines/1000SHIBUSDT/3d/1000SHIBUSDT-3d-2022-04.zip",
            Series(Market.UM, "premium_index", "1000SHIBUSDT", "3d"),
            "2022-04",
        ),
    ],
)
def test_keys_of_the_exchange_are_understood(key: str, series: Series, label: str) -> None:
    assert parse_key(key) == (series, Period.parse(label))
    assert key_of(series, Period.parse(label)) == key


GOOD = "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/" + GOOD,
        GOOD + ".CHECKSUM",
        GOOD + "/",
        GOOD.removesuffix(".zip"),
        GOOD + ".zip",
        GOOD + " ",
        GOOD + "\n",
        GOOD.upper(),
        "x" + GOOD,
        "../" + GOOD,
        GOOD.replace("/", "\\"),
        GOOD.replace("data/", "data//"),
        GOOD.replace("/", "%2F"),
        GOOD.replace("data/", "data/../data/"),
        GOOD + "x",
        GOOD.replace("BTCUSDT/1h", "ETHUSDT/1h"),
        GOOD.replace("BTCUSDT-1h", "BTCUSDT-4h"),
        GOOD.replace("2024-01", "2024-1"),
        GOOD.replace("2024-01", "2024-13"),
        GOOD.replace("2024-01", "2024-00"),
        GOOD.replace("2024-01", "24-01"),
        GOOD.replace("2024-01", "0999-01"),
        GOOD.replace("2024-01", "9999-12"),
        GOOD.replace("2024-01", "２０２４-０１"),
        GOOD.replace("2024-01", "2024-01-01"),
        GOOD.replace("monthly", "daily"),
        GOOD.replace("monthly", "daily").replace("2024-01", "2023-02-29"),
        GOOD.replace("BTCUSDT-1h", "btcusdt-1h"),
        GOOD.replace("BTCUSDT-1h", "BTCUSDT-klines"),
        GOOD.replace("1h", "1M"),
        GOOD.replace("klines", "metrics"),
        GOOD.replace("futures/um", "um"),
        GOOD.replace("futures/um", "spot/um"),
        GOOD.replace("monthly", "weekly"),
        GOOD.replace("klines", "candles"),
        GOOD.replace("futures/um", "futures/xx"),
        GOOD.replace("futures/um", "option"),
        GOOD.replace("/1h/", "/"),
        GOOD.replace("1h", "7h"),
        GOOD.replace("BTCUSDT", ".."),
        GOOD.replace("BTCUSDT", "BTC%2FUSDT"),
        GOOD.replace("BTCUSDT", "BTC\\USDT"),
        GOOD.replace("BTCUSDT", "BTC\nUSDT"),
        GOOD.replace("BTCUSDT", "BTC\x00USDT"),
        GOOD.replace("BTCUSDT", "BTC\udcffUSDT"),
        GOOD.replace("BTCUSDT", "BTC USDT"),
        GOOD.replace("BTCUSDT", "BTC-USDT"),
        GOOD.replace("BTCUSDT", "."),
        GOOD.replace("BTCUSDT", ""),
        GOOD.replace("futures/um", "spot").replace("klines", "markPriceKlines"),
        "data/spot/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip",
        "data/futures/um/daily/metrics/BTCUSDT/5m/BTCUSDT-5m-2026-09-15.zip",
        "data/spot/daily/metrics/BTCUSDT/BTCUSDT-metrics-2026-09-15.zip",
        "data/option/daily/BVOLIndex/BTCBVOLUSDT/BTCBVOLUSDT-BVOLIndex-2024-06-10.zip",
        "data/futures/um/monthly/fundingRate/BTCUSDT/8h/BTCUSDT-8h-2024-01.zip",
        "data/futures/um/monthly/trades/BTCUSDT/BTCUSDT-aggTrades-2024-01.zip",
        GOOD.replace("BTCUSDT", "B" * 41),
        GOOD.replace("/1h/", "/1h/../1h/"),
        "data/spot/daily/trades/ADABKRW/1d/ADABKRW-1d-2020-8.zip",
        "data/spot/daily/trades/BTCUSDT/1h/BTCUSDT-1h-2024-01-01.zip",
    ],
)
def test_a_key_of_odd_shape_is_none(key: str) -> None:
    assert parse_key(key) is None


def test_a_symbol_is_percent_encoded_once_as_utf8() -> None:
    series = Series(Market.UM, "klines", "币安人生USDT", "1h")
    url = url_of("http://host", key_of(series, Period.month(2025, 1)))
    assert url == (
        "http://host/data/futures/um/monthly/klines/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT/1h/"
        "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT-1h-2025-01.zip"
    )


def test_prefixes_end_in_a_slash_so_that_btcusdt_does_not_match_its_deliveries() -> None:
    klines = DATASETS["klines"]
    assert prefix_of(Market.SPOT, klines, Cadence.DAILY) == "data/spot/daily/klines/"
    assert prefix_of(Market.UM, klines, Cadence.MONTHLY, "BTCUSDT") == "data/futures/um/monthly/klines/BTCUSDT/"
    assert prefix_of(Market.CM, DATASETS["index_price"], Cadence.DAILY, "BTCUSD", "1m") == (
        "data/futures/cm/daily/indexPriceKlines/BTCUSD/1m/"
    )


@settings(deadline=None)
@given(file=files())
def test_a_url_is_ascii_and_decodes_to_the_key_in_one_step(file: tuple[Series, Period]) -> None:
    url = url_of("https://data.binance.vision", key_of(*file))
    assert url.isascii()
    assert "%25" not in url
    assert unquote(urlsplit(url).path) == "/" + key_of(*file)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_upper_casing_never_changes_a_symbol(symbol: str) -> None:
    assert symbol.upper() == symbol
    series = Series(Market.UM, "trades", symbol)
    assert f"/{symbol}/{symbol}-trades-2024-01.zip" in key_of(series, Period.month(2024, 1))


def test_every_real_archive_of_a_kind_we_know_has_a_key_we_know() -> None:
    folder = real_folder()
    keys = [path.relative_to(folder).as_posix() for path in (folder / "data").rglob("*.zip")]
    assert len(keys) > 50
    assert [key for key in keys if parse_key(key) is None] == []
