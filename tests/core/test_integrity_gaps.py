"""Gaps: what is missing between first and last row is found to the row, with the reason why, and nothing else is."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integrity_world import Stored, altered, days, without

from core.datasets import DATASETS
from core.datasets.clock import Beat, Clock
from core.datasets.grid import Grid, is_on_schedule, settlements_missing
from core.dates import DAY_US, HOUR_US, INTERVAL_US, day_of
from core.download.gaps import Known
from core.download.tracker import DownloadTracker
from core.integrity.causes import Causes
from core.integrity.checker import ALWAYS, Examined, IntegrityChecker
from core.integrity.days import days_of
from core.integrity.feed import with_feeds
from core.integrity.walk import Walk, gap_columns, jumps_in, tables
from core.sample.clock import candle_edges
from core.sample.instruments import moment
from core.sample.market import demo_market, small_market
from core.settings import KnownGap, QualitySettings
from core.types import Finding, Gap, GapStatus, Market, Period, Series, Span

MARKET = small_market(first=date(2024, 12, 28), last=date(2025, 1, 5))
UM = Series(Market.UM, "klines", "BTCUSDT", "1h")
SPOT = Series(Market.SPOT, "klines", "ETHUSDT", "1h")
SPOT_TRADES = Series(Market.SPOT, "trades", "ETHUSDT")
TRADES = Series(Market.UM, "trades", "BTCUSDT")
FUNDING = Series(Market.UM, "funding_rate", "BTCUSDT")
METRICS = Series(Market.UM, "metrics", "BTCUSDT")
DEPTH = Series(Market.UM, "book_depth", "BTCUSDT")
TICKER = Series(Market.UM, "book_ticker", "BTCUSDT")
ALL = days("2024-12-28", 9)
THIRD = Period.parse("2025-01-02")
QUALITY = QualitySettings()


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path, MARKET)


def others(day: Period) -> list[Period]:
    return [each for each in ALL if each != day]


def at(text: str) -> int:
    return moment(text)


def spans(gaps: list[Gap]) -> list[tuple[Span, int, GapStatus]]:
    return [(gap.span, gap.rows, gap.status) for gap in gaps]


@pytest.mark.parametrize("interval", INTERVAL_US)
def test_slots_are_those_of_the_candle_grid(interval: str) -> None:
    """By the sample's own grid, which counts candle by candle."""
    life = Span(at("2024-01-31 12:31"), at("2024-05-03 04:00") if interval != "1s" else at("2024-01-31 12:41"))
    edges = candle_edges(interval, life, is_over=True)
    grid = Grid.of(DATASETS["klines"].clock, interval, int(edges[0]))
    slots = grid.slots(edges)
    assert (np.diff(slots) == 1).all()
    assert grid.starts(slots).tolist() == edges.tolist()
    assert grid.slots(edges[:-1] + 999).tolist() == slots[:-1].tolist()
    assert grid.slots(edges[1:] - 1).tolist() == slots[:-1].tolist()


def test_weeks_open_on_mondays_and_three_days_where_the_first_candle_does() -> None:
    clock = Clock(Beat.CANDLES)
    week = Grid.of(clock, "1w", 0)
    assert [day_of(week.start(n)).weekday() for n in (0, 1, 2800)] == [0, 0, 0]
    first = at("2024-01-02")
    assert Grid.of(clock, "3d", first).slots(
        np.array([first, first + 3 * DAY_US - 1, first + 3 * DAY_US])
    ).tolist() == [
        first // DAY_US // 3,
        first // DAY_US // 3,
        first // DAY_US // 3 + 1,
    ]


def test_funding_is_expected_by_the_interval_in_force() -> None:
    """D38: a few milliseconds late, from 8 to 4 hours and back."""
    hours = np.array([8, 8, 4, 4, 8, 8])
    times = at("2025-01-01") + np.array([0, 8, 12, 16, 24, 32]) * HOUR_US + 45_000
    assert settlements_missing(times, hours).tolist() == [0, 0, 0, 0, 0]
    assert is_on_schedule(times, hours).all()
    assert settlements_missing(times[[0, 1, 2, 4, 5]], hours[[0, 1, 2, 4, 5]]).tolist() == [0, 0, 1, 0]
    assert settlements_missing(times[[0, 5]], hours[[0, 5]]).tolist() == [3]


def test_clean_series_have_no_gaps(stored: Stored) -> None:
    """The first and the last day are partial (D5): spot is listed at 12:31."""
    for series in (UM, SPOT, TRADES, METRICS, DEPTH, TICKER):
        stored.store(series, *ALL)
        assert stored.checker().gaps(series) == []


def test_missing_candles_are_one_gap(stored: Stored) -> None:
    """D3 in the middle: three hours of one day."""
    stored.store(UM, *others(THIRD))
    stored.store(UM, THIRD, change=without(slice(5, 8)))
    gap = (Span(at("2025-01-02 05:00"), at("2025-01-02 08:00")), 3, GapStatus.OPEN)
    assert spans(stored.checker().gaps(UM)) == [gap]
    (found,) = stored.found(UM)
    assert (found.kind, found.count, found.span, found.cause) == ("gap", 3, gap[0], None)


def test_a_missing_day_and_a_truncated_one(stored: Stored) -> None:
    """D1 and D3: days that are absent, or end early though they are published."""
    stored.store(METRICS, *[each for each in ALL if each.first != date(2024, 12, 31)])
    gaps = stored.checker().gaps(METRICS)
    assert spans(gaps) == [(Span(at("2024-12-31 00:05"), at("2025-01-01 00:05")), 288, GapStatus.OPEN)]
    assert [(day.day, day.is_whole, day.rows) for day in days_of(gaps)] == [
        (date(2024, 12, 31), False, 287),
        (date(2025, 1, 1), False, 1),
    ]
    stored.store(UM, *[each for each in ALL if each.first != date(2024, 12, 31)])
    found = days_of(stored.checker().gaps(UM))
    assert [(day.day, day.is_whole, day.rows) for day in found] == [(date(2024, 12, 31), True, 24)]


def test_months_of_funding_with_holes(tmp_path: Path) -> None:
    market = small_market(first=date(2024, 10, 1), last=date(2025, 1, 5))
    stored = Stored(tmp_path, market)
    stored.store(FUNDING, Period.month(2024, 10), Period.month(2024, 12))
    assert spans(stored.checker().gaps(FUNDING)) == [(Span(at("2024-11-01"), at("2024-12-01")), 90, GapStatus.OPEN)]


def test_lost_trades_are_told_by_their_ids(stored: Stored) -> None:
    """D6: the id jumps, and time with it; last id, next id and the seconds between are said."""
    stored.store(TRADES, *others(THIRD))
    stored.store(TRADES, THIRD, change=without(slice(100, 400)))
    rows = MARKET.truth(TRADES, THIRD.span).to_pydict()
    (gap,) = stored.checker().gaps(TRADES)
    assert (gap.rows, gap.status) == (300, GapStatus.OPEN)
    last, following = rows["id"][99], rows["id"][400]
    assert f"last id {last} at" in gap.detail
    assert f"next id {following}" in gap.detail
    assert gap.span.end_us == int(rows["timestamp"][400].timestamp() * 1_000_000)


def test_a_day_of_trades_that_is_absent_is_lost(stored: Stored) -> None:
    stored.store(TRADES, *others(THIRD))
    (gap,) = stored.checker().gaps(TRADES)
    assert gap.rows == MARKET.truth(TRADES, THIRD.span).num_rows
    assert [day.day for day in days_of([gap])][1:-1] == [date(2025, 1, 2)]


def test_snapshots_and_quotes_that_are_missing(stored: Stored) -> None:
    stored.store(DEPTH, *others(THIRD))
    stored.store(DEPTH, THIRD, change=without(slice(100, 400)))
    (gap,) = stored.checker().gaps(DEPTH)
    assert "snapshots are missing" in gap.detail
    assert THIRD.span.contains(gap.span)
    stored.store(TICKER, *others(THIRD))
    (gap,) = stored.checker().gaps(TICKER)
    assert gap.span == THIRD.span


def test_a_halt_is_no_gap(tmp_path: Path) -> None:
    """D10: spot has no candles, and ids of trades run on over the time; where trades are not stored, nobody knows."""
    market = demo_market()
    halted = Period.parse("2024-06-11")
    series, trades = Series(Market.SPOT, "klines", "BTCUSDT", "1h"), Series(Market.SPOT, "trades", "BTCUSDT")
    stored = Stored(tmp_path, market)
    stored.store(series, *days("2024-06-10", 3))
    hours = Span(at("2024-06-11 04:00"), at("2024-06-11 08:00"))
    assert spans(stored.checker().gaps(series)) == [(hours, 4, GapStatus.OPEN)]
    stored.store(trades, *days("2024-06-10", 3))
    assert spans(stored.checker().gaps(series)) == [(hours, 4, GapStatus.HALT)]
    assert [finding.cause is None for finding in stored.found(series, deep=True)] == [False]
    (gap,) = stored.checker().gaps(trades)
    assert (gap.status, gap.rows) == (GapStatus.HALT, 0)
    assert halted.span.contains(gap.span)
    assert {finding.cause is None for finding in stored.found(trades, deep=True)} == {False}


def test_candles_missing_where_trades_are_stored_are_lost(stored: Stored) -> None:
    stored.store(SPOT, *others(THIRD))
    stored.store(SPOT, THIRD, change=without(7))
    stored.store(SPOT_TRADES, *ALL)
    (gap,) = stored.checker().gaps(SPOT)
    assert gap.status is GapStatus.OPEN
    assert "trades of that time are stored" in gap.detail


def test_a_known_gap_has_its_cause(stored: Stored) -> None:
    stored.store(UM, *others(THIRD))
    stored.store(UM, THIRD, change=without(slice(5, 8), 20))
    span = Span(at("2025-01-02 05:10"), at("2025-01-02 07:50"))
    known = KnownGap(Market.UM, ("klines",), (), span, "maintenance", "#1", GapStatus.HALT)
    found = list(stored.checker([known]).check(UM))
    assert [(f.count, f.cause) for f in found] == [(3, "maintenance [#1]"), (1, None)]
    for other in (
        KnownGap(Market.SPOT, (), (), span, "x", "#1"),
        KnownGap(Market.UM, ("trades",), (), span, "x", "#1"),
        KnownGap(Market.UM, (), ("ETHUSDT",), span, "x", "#1"),
    ):
        assert [f.cause for f in stored.checker([other]).check(UM)] == [None, None]


def test_a_kind_that_has_ended_and_a_day_that_may_still_come(stored: Stored, tmp_path: Path) -> None:
    """D9: book_ticker of um ended on 2024-03-30, so what is missing behind is missing for good."""
    stored.store(TICKER, *others(THIRD))
    (gap,) = stored.checker().gaps(TICKER)
    assert gap.status is GapStatus.ENDED
    stored.store(UM, *others(Period.parse("2025-01-04")))
    (late,) = stored.checker(now_us=at("2025-01-06 08:00")).gaps(UM)
    (missing,) = stored.checker(now_us=at("2025-02-06 08:00")).gaps(UM)
    assert (late.status, missing.status) == (GapStatus.LATE, GapStatus.OPEN)


def test_a_long_hole_of_spot_may_be_two_lives(tmp_path: Path) -> None:
    """D40."""
    market = small_market(first=date(2024, 10, 1), last=date(2025, 1, 5))
    for series, kind in ((SPOT, "relisting"), (UM, "gap")):
        stored = Stored(tmp_path / series.market, market)
        stored.store(series, *days("2024-10-01", 3), *days("2024-12-20", 3))
        assert [(f.kind, f.cause) for f in stored.found(series)] == [(kind, None)]


def test_flat_candles_in_a_liquid_symbol(stored: Stored) -> None:
    """D12 in the middle, D13 to the end."""

    def flat(columns: dict, rows: slice) -> dict:  # type: ignore[type-arg]
        for name in ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume", "count"):
            columns = altered(name, rows, to=0)(columns)
        close = columns["close"].units[rows.start - 1]
        for name in ("open", "high", "low", "close"):
            columns = altered(name, rows, to=close)(columns)
        return columns

    stored.store(UM, *ALL[:-1])
    stored.store(UM, THIRD, change=lambda columns: flat(columns, slice(3, 12)))
    stored.store(UM, ALL[-1], change=lambda columns: flat(columns, slice(8, 24)))
    found = [(f.kind, f.count, f.span) for f in stored.found(UM) if f.kind.startswith("flat")]
    assert found == [
        ("flat-run", 9, Span(at("2025-01-02 03:00"), at("2025-01-02 12:00"))),
        ("flat-tail", 16, Span(at("2025-01-05 08:00"), at("2025-01-06"))),
    ]


def test_bands_that_stand_still(stored: Stored) -> None:
    """D37: ask bands frozen for a day."""

    def frozen(columns: dict) -> dict:  # type: ignore[type-arg]
        asks = np.flatnonzero(columns["percentage"].units == 100)
        return altered("notional", asks[1:], to=columns["notional"].units[asks[0]])(
            altered("depth", asks[1:], to=columns["depth"].units[asks[0]])(columns)
        )

    stored.store(DEPTH, *others(THIRD))
    stored.store(DEPTH, THIRD, change=frozen)
    found = [f for f in stored.found(DEPTH) if f.kind == "frozen-band"]
    assert [(f.count, THIRD.span.contains(f.span)) for f in found] == [(96, True)]


def looked_at(stored: Stored, series: Series, sizes: list[int]) -> tuple[list[Finding], list[Gap]]:
    """What is found when rows come in batches of these sizes, over and over."""
    table = pa.Table.from_batches(stored.storage.scan(series, ALWAYS)).combine_chunks()
    batches, place = [], 0
    while place < table.num_rows:
        size = sizes[len(batches) % len(sizes)]
        batches += table.slice(place, size).to_batches()
        place += size
    walk = Walk(series, QUALITY, Causes(stored.storage))
    walk.over(tables(series, iter(batches), 500))
    return walk.findings(), [hole.gap for hole in walk.holes()]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    stored = Stored(tmp_path_factory.mktemp("faulty"), MARKET)
    changes: dict[Series, Callable[..., object]] = {
        Series(Market.UM, "klines", "BTCUSDT", "1m"): without(slice(700, 800), 900),
        TRADES: without(3, 77, slice(100, 400)),
        METRICS: without(slice(10, 20)),
        DEPTH: without(slice(100, 400)),
    }
    for series, change in changes.items():
        stored.store(series, *others(THIRD))
        stored.store(series, THIRD, change=change)  # type: ignore[arg-type]
    return stored


@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=4), which=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_any_batching_finds_the_same(faulty: Stored, sizes: list[int], which: int) -> None:
    series = faulty.storage.series()[which]
    findings, gaps = looked_at(faulty, series, [10**6])
    assert gaps
    assert looked_at(faulty, series, sizes) == (findings, gaps)


def test_gaps_alone_are_those_of_a_whole_check(faulty: Stored) -> None:
    for series in faulty.storage.series():
        one = faulty.checker().examine(series)
        assert list(one.gaps) == faulty.checker().gaps(series)
        assert set(gap_columns(series)) <= set(DATASETS[series.dataset].stored_names(series.market))
        parts = tables(series, faulty.storage.scan(series, ALWAYS, gap_columns(series)), 300)
        assert [jump.span for jump in jumps_in(series, parts, QUALITY)] == [gap.span for gap in one.gaps]


def examined(symbol: str, *lacks: Span, cause: str | None = None) -> Examined:
    series = Series(Market.SPOT, "klines", symbol, "1h")
    findings = tuple(Finding(series, span, "gap", "", 1, cause) for span in lacks)
    return Examined(series, findings, (), 9, at("2025-01-01"), at("2025-01-31"))


def test_a_day_that_all_symbols_lack_is_one_finding() -> None:
    """D2, and no alarm of it where one symbol has the day, or where the reason is known."""
    day, hour = THIRD.span, Span(at("2025-01-20"), at("2025-01-20 01:00"))
    two = [examined("A", day, hour), examined("B", day)]
    told = with_feeds(two)
    assert [(f.kind, f.span) for f in told[-1].findings] == [("feed-lacks", day)]
    assert [[f.cause is None for f in each.findings] for each in told[:2]] == [[False, True], [False]]
    assert str(told[-1].series) == "spot/klines/*/1h"
    assert with_feeds([*two, examined("C")]) == [*two, examined("C")]
    known = [examined("A", day, cause="halt"), examined("B", day, cause="halt")]
    assert with_feeds(known) == known
    assert with_feeds(two[:1]) == two[:1]


def test_a_symbol_that_was_away_for_weeks_says_nothing_of_the_feed() -> None:
    """Where only two go on, one of them for long not, a day that the other lacks is no fault of the feed."""
    day, weeks = THIRD.span, Span(at("2024-12-20"), at("2025-01-20"))
    assert THIRD.span.start_us > weeks.start_us
    one, away = examined("A", day), replace(examined("B", weeks), first_us=at("2024-12-01"))
    assert with_feeds([one, away]) == [one, away]
    third = examined("C", Span(day.start_us + HOUR_US, day.end_us))
    told = with_feeds([one, away, third])
    assert [f.span for f in told[-1].findings] == [third.findings[0].span]


def test_a_hole_that_no_source_could_fill_is_explained_by_that(tmp_path: Path) -> None:
    stored = Stored(tmp_path, MARKET)
    series = Series(Market.UM, "mark_price", "BTCUSDT", "1h")
    stored.store(series, *others(THIRD))
    with DownloadTracker(stored.layout.database) as tracker:
        checker = IntegrityChecker(stored.layout, stored.storage, tracker)
        (gap,) = checker.gaps(series)
        assert (gap.status, gap.checked_us) == (GapStatus.OPEN, None)
        asked = replace(gap, status=GapStatus.CONFIRMED, checked_us=at("2025-03-01 04:00"))
        tracker.record_gaps({series: Known((asked,))}, {})
        (again,) = checker.gaps(series)
        assert (again.status, again.checked_us, again.span) == (GapStatus.CONFIRMED, asked.checked_us, gap.span)
        (finding,) = [f for f in checker.check(series) if f.kind == "gap"]
        assert finding.cause == "absent at every source, asked 2025-03-01"
        less = replace(asked, span=Span(gap.span.start_us, gap.span.end_us - HOUR_US))
        tracker.record_gaps({series: Known((less,))}, {})
        (finding,) = [f for f in checker.check(series) if f.kind == "gap"]
        assert finding.cause is None  # more is missing than was asked for
