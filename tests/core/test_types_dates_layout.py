"""Days, months, spans and paths: exact values at the edges."""

from dataclasses import FrozenInstanceError
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets import DATASETS
from core.dates import INTERVAL_US, MICROSECONDS_FROM, day_of, format_us, parse_day, span_of
from core.errors import ConfigError, DiskFull, StorageError, storage_error
from core.layout import Layout, period_in, stem
from core.nearest import did_you_mean
from core.types import Cadence, Market, Period, Proof, Series, Span, State

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


@pytest.mark.parametrize(
    "label",
    [
        "2024-2",
        "2024-13",
        "2024-00",
        "2023-02-29",
        "24-01",
        "2024-01-1",
        "",
        "2024-01-01x",
        "2024/01",
        "2024-01-00",
        "２０２４-０１",
        "2024-1-001",
        "-024-01",
        "9999-12",
        "9999-12-31",
        "202401",
        "20240131",
        "2024-01-31T00:00:00",
    ],
)
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
    with pytest.raises(ValueError, match="the calendar ends"):
        Period.day(date.max)


@settings(deadline=None)
@given(ends=st.tuples(*[st.integers(0, 12)] * 4))
def test_spans_relate_as_the_sets_of_their_instants_do(ends: tuple[int, int, int, int]) -> None:
    a, b, c, d = ends
    one, other = Span(min(a, b), max(a, b)), Span(min(c, d), max(c, d))
    mine, theirs = set(range(one.start_us, one.end_us)), set(range(other.start_us, other.end_us))
    if mine and theirs:
        assert one.contains(other) == (theirs <= mine)
        assert one.overlaps(other) == bool(mine & theirs)


@settings(deadline=None)
@given(day=st.dates(date(1970, 1, 1), date(9998, 12, 31)))
def test_every_day_lies_in_its_month_and_nothing_is_between_two_days(day: date) -> None:
    period, month = Period.day(day), Period.month(day.year, day.month)
    assert month.span.contains(period.span)
    assert (Period.parse(period.label), Period.parse(month.label)) == (period, month)
    assert (month.last + timedelta(days=1)).day == 1
    assert period.span.end_us == Span.of_days(day + timedelta(days=1), day + timedelta(days=1)).start_us
    assert (day_of(period.span.start_us), day_of(period.span.end_us - 1)) == (day, day)


def test_words_that_others_store_or_print_do_not_change() -> None:
    assert [(market.value, market.archive_path) for market in Market] == [
        ("spot", "spot"),
        ("um", "futures/um"),
        ("cm", "futures/cm"),
    ]
    assert [cadence.value for cadence in Cadence] == ["daily", "monthly", "yearly"]
    assert [state.value for state in State] == [
        *("planned", "active", "fetched", "stored", "missing", "failed"),
        *("unverified", "corrupt-upstream", "mismatch-upstream"),
    ]
    assert [proof.value for proof in Proof] == [
        *("sha256-by-etag", "sha256-by-checksum"),
        *("unverified", "disputed", "rest"),
    ]
    assert str(Series(Market.CM, "funding_rate", "BTCUSD_PERP")) == "cm/funding_rate/BTCUSD_PERP"
    with pytest.raises(FrozenInstanceError):
        SERIES.symbol = "ETHUSDT"  # type: ignore[misc]


def test_intervals_have_these_lengths() -> None:
    minutes = {
        "1m": 1,
        "3m": 3,
        "5m": 5,
        "15m": 15,
        "30m": 30,
        "1h": 60,
        "2h": 120,
        "4h": 240,
        "6h": 360,
        "8h": 480,
        "12h": 720,
        "1d": 1440,
        "3d": 4320,
        "1w": 10080,
    }
    assert {"1s": 1_000_000, **{name: n * 60_000_000 for name, n in minutes.items()}, "1mo": None} == INTERVAL_US
    assert MICROSECONDS_FROM == 10**14


def test_options_name_days_that_are_both_included() -> None:
    assert span_of("2024-01-31", "2024-01-31", TODAY) == Span.of_days(date(2024, 1, 31), date(2024, 1, 31))
    assert span_of(None, None, TODAY) == Span.of_days(date(1970, 1, 1), TODAY)
    for start, end, said in [
        ("2024-01-02", "2024-01-01", "lies before"),
        ("2025-03-02", None, "lies in the future"),
        (None, "2025-03-02", "lies in the future"),
        ("2024-1-1", None, "write YYYY-MM-DD"),
        ("2024-02-30", None, "write YYYY-MM-DD"),
        ("", None, "--start: '' is not a day"),
        (None, "", "--end: '' is not a day"),
        (None, "2024-01-31 ", "--end: '2024-01-31 ' is not a day"),
        ("31.01.2024", None, "for example 2024-01-31"),
        ("20240131", None, "is not a day"),
        ("２０２４-０１-０１", None, "is not a day"),
    ]:
        with pytest.raises(ConfigError, match=said):
            span_of(start, end, TODAY)
    with pytest.raises(ConfigError, match="--end: 'soon' is not a day"):
        parse_day("soon", "--end")
    assert parse_day("2024-02-29") == date(2024, 2, 29)
    assert span_of("2025-03-01", "2025-03-01", TODAY).end_us == 1_740_873_600_000_000


def test_a_day_before_1970_means_1970() -> None:
    """Nothing is older, and arithmetic around 0001-01-01 would leave the calendar."""
    assert span_of("0001-01-01", "1970-01-01", TODAY) == Span(0, DAY_US)
    assert span_of("0001-01-01", None, TODAY) == span_of(None, None, TODAY)
    assert span_of("1900-01-01", "1969-12-31", TODAY) == Span(0, 0)


def test_instants_are_shown_as_short_as_they_are_exact() -> None:
    assert format_us(0) == "1970-01-01 00:00:00"
    assert format_us(1_709_251_200_003_000) == "2024-03-01 00:00:00.003"
    assert format_us(1_709_251_200_000_001) == "2024-03-01 00:00:00.000001"
    assert format_us(1_709_251_200_120_000) == "2024-03-01 00:00:00.120"
    assert format_us(-1) == "1969-12-31 23:59:59.999999"
    assert day_of(-1) == date(1969, 12, 31)
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
    assert layout.processed_folder(SERIES) == Path("/d/processed/um/klines/BTCUSDT/1h")
    assert layout.database == Path("/d/metadata/download_status.db")
    assert layout.symbols_info == Path("/d/metadata/symbols_info.json")
    assert layout.logs == Path("/d/logs")
    assert layout == Layout(Path("/d"))
    assert str(SERIES) == "um/klines/BTCUSDT/1h"


def test_no_two_files_share_a_path() -> None:
    """Kline files do not say their type: only the folder keeps candles of trades and of the mark price apart."""
    everything = [
        (Series(market, dataset.name, symbol, interval), period)
        for dataset in DATASETS.values()
        for market in dataset.markets
        for symbol in ("BTCUSDT", "BTCUSDT_240329", "币安人生USDT")
        for interval in (INTERVAL_US if dataset.has_interval else (None,))
        for period in (Period.month(2024, 1), Period.day(date(2024, 1, 1)))
    ]
    layout = Layout(Path("/d"))
    for place in (layout.raw, layout.processed, lambda *of: layout.extracted(*of, ".csv")):
        paths = [place(*file) for file in everything]
        assert len({str(path).casefold() for path in paths}) == len(everything)
        assert paths == [place(*file) for file in everything]
        assert [period_in(path.stem, series) for path, (series, _) in zip(paths, everything, strict=True)] == [
            period for _, period in everything
        ]


def test_a_path_is_only_said_and_nothing_is_made(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "root")
    assert not layout.raw(SERIES, Period.month(2024, 1)).exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "BTCUSDT",
        "BTCUSDT-1h",
        "BTCUSDT-1h-",
        "BTCUSDT-1h-2024-1",
        "BTCUSDT-1h-2024-01.part",
        "btcusdt-1h-2024-01",
        "BTCUSDT-1m-2024-01",
        ".BTCUSDT-1h-2024-01",
        "BTCUSDT-1h-9999-12",
        "BTCUSDT-1h-0999-01",
    ],
)
def test_the_stem_of_another_file_has_no_period(text: str) -> None:
    assert period_in(text, SERIES) is None


@settings(deadline=None)
@given(symbol=st.text(max_size=50))
def test_whatever_the_symbol_a_path_stays_under_its_root(symbol: str) -> None:
    series = Series(Market.UM, "klines", symbol, "1h")
    try:
        path = Layout(Path("/d")).raw(series, Period.month(2024, 1))
    except ValueError:
        return
    assert path.parts[:5] == ("/", "d", "raw", "um", "klines")
    assert path.parts[5:] == (symbol, "1h", f"{symbol}-1h-2024-01.zip")
    assert ".." not in path.parts
    assert len(path.name.encode()) < 256


@settings(deadline=None)
@given(day=st.dates(date(2017, 1, 1), date(2030, 1, 1)), cadence=st.sampled_from(Cadence))
def test_a_name_gives_its_period_back(day: date, cadence: Cadence) -> None:
    period = Period.day(day).within(cadence)
    assert period.contains(Period.day(day))
    assert period_in(stem(SERIES, period), SERIES) == period
    assert period_in(stem(SERIES, period) + "0", SERIES) is None
    assert period_in(stem(SERIES, period), Series(Market.UM, "klines", "ETHUSDT", "1h")) is None


@pytest.mark.parametrize(
    "symbol", ["..", ".", "a/b", "", "a.b", "a b", "a-b", "/etc", "x" * 41, "a\\b", "a\n", "a\0", "a\udcff"]
)
def test_a_symbol_cannot_leave_its_folder(symbol: str) -> None:
    with pytest.raises(ValueError, match="not a symbol"):
        Layout(Path("/d")).raw(Series(Market.UM, "klines", symbol, "1h"), Period.month(2024, 1))
    with pytest.raises(ValueError, match="not a symbol"):
        Layout(Path("/d")).processed_folder(Series(Market.UM, "klines", symbol, "1h"))


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("btcusdt", ["ETHUSDT", "BTCUSDT"], "; did you mean 'BTCUSDT'?"),
        ("kline", ["klines", "trades"], "; did you mean 'klines'?"),
        ("aggtrades", ["trades", "agg_trades"], "; did you mean 'agg_trades'?"),
        ("币安人生USD", ["币安人生USDT", "BTCUSDT"], "; did you mean '币安人生USDT'?"),
        ("zzz", ["BTCUSDT"], ""),
        ("", ["BTCUSDT"], ""),
        ("BTCUSDT", [], ""),
    ],
)
def test_a_mistyped_word_is_answered_with_the_near_one(word: str, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known) == hint
    assert did_you_mean(word, iter(known)) == hint


def test_a_full_disk_is_told_from_other_refusals() -> None:
    assert isinstance(storage_error(OSError(28, "No space left on device"), Path("x")), DiskFull)
    error = storage_error(PermissionError(13, "Permission denied"), Path("x"))
    assert type(error) is StorageError
    assert str(error) == "cannot use x: Permission denied; check the folder and its permissions"


def test_a_file_where_a_folder_should_be_is_said(tmp_path: Path) -> None:
    series = Series(Market.UM, "klines", "BTCUSDT", "1h")
    folder = Layout(tmp_path).raw(series, Period.parse("2024-01")).parent
    assert Layout(tmp_path).archived(series) == frozenset()
    folder.parent.mkdir(parents=True)
    folder.touch()
    with pytest.raises(StorageError, match=str(folder)):
        Layout(tmp_path).archived(series)
