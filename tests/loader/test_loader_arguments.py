"""What a caller may write, and what is refused before anything is read."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from loader_world import us

from core.errors import ConfigError
from core.types import Market, Span
from loader.arguments import parse_request, parse_span

JANUARY = Span(us("2024-01-01"), us("2024-02-01"))


@pytest.mark.parametrize(
    "end",
    ["2024-01-31", " 2024-01-31 ", "20240131", date(2024, 1, 31)],
)
def test_an_end_that_is_a_pure_date_includes_the_whole_day(end: str | date) -> None:
    assert parse_span("2024-01-01", end) == JANUARY


@pytest.mark.parametrize(
    "end",
    [
        "2024-02-01T00:00",
        "2024-02-01 00:00:00",
        "2024-02-01T00:00:00Z",
        "2024-02-01T09:00:00+09:00",
        "2024-01-31T19:00:00.000000-05:00",
        datetime(2024, 2, 1),  # noqa: DTZ001 naive means UTC
        datetime(2024, 2, 1, tzinfo=UTC),
        datetime(2024, 2, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(2024, 1, 31, 19, tzinfo=ZoneInfo("America/New_York")),
        pd.Timestamp("2024-02-01"),
        pd.Timestamp("2024-02-01", tz="UTC"),
        pd.Timestamp("2024-02-01 09:00", tz="Asia/Tokyo"),
        pd.Timestamp("2024-01-31 23:59:59.999999001"),
    ],
)
def test_an_end_that_is_an_instant_is_excluded(end: str | date) -> None:
    assert parse_span(date(2024, 1, 1), end) == JANUARY


def test_a_start_is_included_to_the_microsecond_and_a_nanosecond_later_is_not() -> None:
    assert parse_span("2024-01-01T00:00:00.000003", "2024-01-31").start_us == JANUARY.start_us + 3
    assert parse_span(pd.Timestamp("2024-01-01 00:00:00.000003"), "2024-01-31").start_us == JANUARY.start_us + 3
    assert parse_span(pd.Timestamp("2024-01-01 00:00:00.000003001"), "2024-01-31").start_us == JANUARY.start_us + 4


def test_the_hour_that_comes_twice_in_autumn_is_told_apart() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first, again = (datetime(2024, 10, 27, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1))
    assert parse_span(first, again) == Span(us("2024-10-27T00:30"), us("2024-10-27T01:30"))
    stamps = pd.Timestamp("2024-10-27 00:30", tz="UTC"), pd.Timestamp("2024-10-27 01:30", tz="UTC")
    assert parse_span(*(stamp.tz_convert("Europe/Berlin") for stamp in stamps)) == parse_span(first, again)


def test_days_have_24_hours_whatever_the_machine_thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    assert parse_span("2024-03-10", "2024-03-10") == Span(us("2024-03-10"), us("2024-03-11"))


@pytest.mark.parametrize(
    "bad",
    [
        *(
            "",
            "now",
            "2024-13-01",
            "2024-02-30",
            "2024-01",
            "31.01.2024",
            "2024-01-01T25:00",
            "9999-12-31T23:59:59-23:00",
        ),
        *(None, 1704067200, 1.5, pd.NaT, [], b"2024-01-01", np.datetime64("2024-01-01"), date.max),
    ],
)
def test_what_is_no_date_is_refused_by_name(bad: Any) -> None:
    with pytest.raises(ConfigError, match=r"start: .* is no date"):
        parse_span(bad, "2024-01-31")
    with pytest.raises(ConfigError, match=r"end: .* is no date"):
        parse_span("2024-01-01", bad)


@pytest.mark.parametrize("end", ["2023-12-31", "2024-01-01T00:00", datetime(2023, 12, 31, 23, tzinfo=UTC)])
def test_an_end_that_is_not_after_the_start_is_refused(end: str | date) -> None:
    with pytest.raises(ConfigError, match="is not after start 2024-"):
        parse_span("2024-01-01", end)


def test_bounds_far_outside_all_data_are_all_data() -> None:
    everything = parse_span("0001-01-01", "9999-12-30")
    assert everything.start_us == 0
    assert everything.end_us == us("2200-01-01")


def ask(**changes: Any) -> Any:
    question = {
        "symbols": "BTCUSDT",
        "start": "2024-01-01",
        "end": "2024-01-31",
        "data_types": ["klines"],
        "interval": "1h",
        "market": "um",
    }
    return parse_request(**(question | changes))


def test_one_name_is_as_good_as_a_list_and_each_counts_once() -> None:
    many = ask(symbols=("ETHUSDT", "BTCUSDT", "ETHUSDT"), data_types=iter(["funding_rate", "klines", "funding_rate"]))
    assert many.symbols == ("BTCUSDT", "ETHUSDT")
    assert [kind.name for kind in many.datasets] == ["funding_rate", "klines"]
    assert ask(data_types="klines") == ask(symbols=["BTCUSDT"])
    assert ask(symbols=pd.Series(["BTCUSDT"])) == ask()


def test_the_market_may_be_its_enum() -> None:
    assert ask(market=Market.CM, symbols="BTCUSD_PERP").market is Market.CM


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"market": "um "}, "unknown market 'um '; did you mean 'um'"),
        ({"market": "futures"}, "there are spot, um, cm"),
        ({"market": None}, "unknown market None"),
        ({"data_types": ["kline"]}, "unknown data type 'kline'; did you mean 'klines'"),
        ({"data_types": ["funding"]}, "did you mean 'funding_rate'"),
        ({"data_types": []}, "data_types: nothing is asked for"),
        ({"data_types": [None]}, "data_types: None is not a text"),
        ({"data_types": "funding_rate", "market": "spot"}, "spot has no funding_rate"),
        ({"interval": "1H"}, "has no interval '1H'; did you mean '1h'"),
        ({"interval": "1M"}, "1mo, not 1M"),
        ({"interval": "1s"}, "has no interval '1s'"),
        ({"interval": None}, "has no interval 'None'"),
        ({"symbols": []}, "symbols: nothing is asked for"),
        ({"symbols": None}, "symbols: None is neither"),
        ({"symbols": 5}, "symbols: 5 is neither"),
        ({"symbols": [5]}, "symbols: 5 is not a text"),
        ({"symbols": ""}, "symbols: '' is not a symbol"),
        ({"symbols": "../../etc"}, "is not a symbol"),
        ({"symbols": "X'); DROP TABLE x; --"}, "is not a symbol"),
        ({"symbols": "*"}, r"'\*' is not a symbol"),
        ({"columns": ["clsoe"]}, "unknown column 'clsoe' of klines; did you mean 'close'"),
        ({"columns": ['close" FROM x; --']}, "unknown column"),
        ({"columns": ["funding_rate"]}, "unknown column 'funding_rate' of klines"),
        ({"columns": []}, "columns: nothing is asked for"),
    ],
)
def test_nonsense_is_refused_with_the_name_that_was_probably_meant(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ask(**changes)


def test_the_interval_does_not_matter_where_there_are_no_candles() -> None:
    assert ask(data_types=["trades", "funding_rate"], interval="no interval").interval is None
