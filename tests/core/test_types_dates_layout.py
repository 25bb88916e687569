"""Days, months, spans and paths: exact values at the edges."""

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets import DATASETS, dataset_named, interval_named, market_named
from core.dates import day_of, format_us, parse_day, span_of
from core.errors import ConfigError, DiskFull, StorageError, storage_error
from core.layout import Layout, period_in, stem
from core.nearest import did_you_mean
from core.types import Cadence, Market, Period, Series, Span

DAY_US = 86_400_000_000
TODAY = date(2025, 3, 1)


@pytest.mark.parametrize(
    ("label", "first", "last", "days"),
    [
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29), 29),
        ("2023-02", date(2023, 2, 1), date(2023, 2, 28), 28),
        ("2024-12", date(2024, 12, 1), date(2024, 12, 31), 31),
        ("2024-02-29", date(2024, 2, 29), date(2024, 2, 29), 1),
    ],
)
def test_a_period_knows_its_days(label: str, first: date, last: date, days: int) -> None:
    period = Period.parse(label)
    assert (period.first, period.last, period.label) == (first, last, label)
    assert period.span.end_us - period.span.start_us == days * DAY_US


@pytest.mark.parametrize("label", ["2024-2", "2024-13", "2023-02-29", "24-01", "2024-01-1", "", "2024-01-01x"])
def test_what_is_no_period_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Period.parse(label)


def test_spans_are_half_open() -> None:
    span = Span.of_days(date(1970, 1, 1), date(1970, 1, 2))
    assert span == Span(0, 2 * DAY_US)
    assert span.contains(Span(0, 2 * DAY_US))
    assert not span.overlaps(Span(2 * DAY_US, 3 * DAY_US))
    with pytest.raises(ValueError, match="cannot end before it starts"):
        Span(1, 0)
    with pytest.raises(ValueError, match="first day"):
        Period(date(2024, 1, 2), Cadence.MONTHLY)


def test_options_name_days_that_are_both_included() -> None:
    assert span_of("2024-01-31", "2024-01-31", TODAY) == Span.of_days(date(2024, 1, 31), date(2024, 1, 31))
    assert span_of(None, None, TODAY) == Span.of_days(date(1970, 1, 1), TODAY)
    for start, end, said in [
        ("2024-01-02", "2024-01-01", "lies before"),
        ("2025-03-02", None, "lies in the future"),
        (None, "2025-03-02", "lies in the future"),
        ("2024-1-1", None, "write YYYY-MM-DD"),
        ("2024-02-30", None, "write YYYY-MM-DD"),
    ]:
        with pytest.raises(ConfigError, match=said):
            span_of(start, end, TODAY)
    with pytest.raises(ConfigError, match="--end: 'soon' is not a day"):
        parse_day("soon", "--end")


def test_instants_are_shown_as_short_as_they_are_exact() -> None:
    assert format_us(0) == "1970-01-01 00:00:00"
    assert format_us(1_709_251_200_003_000) == "2024-03-01 00:00:00.003"
    assert format_us(1_709_251_200_000_001) == "2024-03-01 00:00:00.000001"
    assert day_of(DAY_US - 1) == date(1970, 1, 1)
    assert day_of(DAY_US) == date(1970, 1, 2)


SERIES = Series(Market.UM, "klines", "BTCUSDT", "1h")


def test_paths_follow_from_series_and_period() -> None:
    layout = Layout(Path("/d"))
    month = Period.month(2024, 1)
    funding = Series(Market.CM, "funding_rate", "BTCUSD_PERP")
    assert layout.raw(SERIES, month) == Path("/d/raw/um/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip")
    assert layout.processed(SERIES, month) == Path("/d/processed/um/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.parquet")
    assert layout.extracted(funding, month, ".csv") == Path(
        "/d/extracted/cm/funding_rate/BTCUSD_PERP/BTCUSD_PERP-fundingRate-2024-01.csv"
    )
    assert str(SERIES) == "um/klines/BTCUSDT/1h"


@given(day=st.dates(date(2017, 1, 1), date(2030, 1, 1)), cadence=st.sampled_from(Cadence))
def test_a_name_gives_its_period_back(day: date, cadence: Cadence) -> None:
    period = Period(day if cadence is Cadence.DAILY else day.replace(day=1), cadence)
    assert period_in(stem(SERIES, period), SERIES) == period
    assert period_in(stem(SERIES, period) + "0", SERIES) is None
    assert period_in(stem(SERIES, period), Series(Market.UM, "klines", "ETHUSDT", "1h")) is None


@pytest.mark.parametrize("symbol", ["..", "a/b", "", "a.b", "a b", "/etc", "x" * 41, "a\\b"])
def test_a_symbol_cannot_leave_its_folder(symbol: str) -> None:
    with pytest.raises(ValueError, match="not a symbol"):
        Layout(Path("/d")).raw(Series(Market.UM, "klines", symbol, "1h"), Period.month(2024, 1))


def test_names_are_checked_with_the_near_one() -> None:
    klines = DATASETS["klines"]
    assert dataset_named("klines", Market.UM) is klines
    assert interval_named("1s", klines, Market.SPOT) == "1s"
    with pytest.raises(ConfigError, match="um klines has no interval '1s'"):
        interval_named("1s", klines, Market.UM)
    with pytest.raises(ConfigError, match="did you mean 'spot'"):
        market_named("spott")
    with pytest.raises(ConfigError, match="spot has no premium_index"):
        dataset_named("premium_index", Market.SPOT)
    assert did_you_mean("btcusdt", ["ETHUSDT", "BTCUSDT"]) == "; did you mean 'BTCUSDT'?"
    assert did_you_mean("zzz", ["BTCUSDT"]) == ""


@pytest.mark.parametrize(
    ("symbol", "pair"),
    [
        ("BTCUSD_PERP", "BTCUSD"),
        ("BTCUSD_250627", "BTCUSD"),
        ("BTCUSDT", "BTCUSDT"),
        ("ICPUSDT_SETTLED", "ICPUSDT_SETTLED"),
        ("BTCUSD", "BTCUSD"),
    ],
)
def test_an_index_is_filed_by_its_pair(symbol: str, pair: str) -> None:
    assert DATASETS["index_price"].directory(symbol) == pair
    assert DATASETS["mark_price"].directory(symbol) == symbol


def test_no_stored_column_may_be_null_and_time_comes_first() -> None:
    for dataset in DATASETS.values():
        for market in dataset.markets:
            schema = dataset.schema(market)
            assert schema.names[0] == "timestamp"
            assert str(schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
            assert not any(field.nullable for field in schema)
            assert set(dataset.key) <= set(schema.names)


def test_a_full_disk_is_told_from_other_refusals() -> None:
    assert isinstance(storage_error(OSError(28, "No space left on device"), Path("x")), DiskFull)
    error = storage_error(PermissionError(13, "Permission denied"), Path("x"))
    assert type(error) is StorageError
    assert str(error) == "cannot use x: Permission denied; check the folder and its permissions"
