"""The archive's key grammar, both ways."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets import DATASETS
from core.dates import INTERVAL_US
from core.exchanges.binance.urls import key_of, parse_key, prefix_of, url_of
from core.types import Cadence, Market, Period, Series

SYMBOLS = ["BTCUSDT", "币安人生USDT", "1000SHIBUSDT", "BTCUSDT_240329", "BNXUSDTSETTLED", "ICPUSDT_SETTLED", "0GUSDT"]


@st.composite
def files(draw: st.DrawFn) -> tuple[Series, Period]:
    dataset = DATASETS[draw(st.sampled_from(sorted(DATASETS)))]
    interval = draw(st.sampled_from(sorted(INTERVAL_US))) if dataset.has_interval else None
    series = Series(draw(st.sampled_from(dataset.markets)), dataset.name, draw(st.sampled_from(SYMBOLS)), interval)
    day = draw(st.dates(date(2017, 1, 1), date(2030, 1, 1)))
    cadence = draw(st.sampled_from(Cadence))
    return series, Period(day if cadence is Cadence.DAILY else day.replace(day=1), cadence)


@given(file=files())
def test_a_key_names_what_it_was_made_from(file: tuple[Series, Period]) -> None:
    assert parse_key(key_of(*file)) == file


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
        GOOD + "x",
        GOOD.replace("BTCUSDT/1h", "ETHUSDT/1h"),
        GOOD.replace("BTCUSDT-1h", "BTCUSDT-4h"),
        GOOD.replace("2024-01", "2024-1"),
        GOOD.replace("2024-01", "2024-13"),
        GOOD.replace("2024-01", "2024-01-01"),
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
