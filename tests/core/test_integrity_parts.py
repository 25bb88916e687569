"""Gaps: each has a span of its own, a part has those of the whole, and what is remembered is judged again."""

from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from integrity_world import Stored, all_of, altered, days, without

from core.dates import DAY_US, HOUR_US, MINUTE_US
from core.download.gaps import Known
from core.download.tracker import DownloadTracker
from core.integrity.causes import HALTED
from core.integrity.checker import IntegrityChecker
from core.integrity.trading import AT_ONCE_US, FEW_IDS
from core.integrity.walk import jumps_in
from core.sample.instruments import Instrument, moment
from core.sample.market import SampleMarket, demo_market
from core.settings import KnownGap, QualitySettings
from core.types import Gap, GapStatus, Market, Period, Series, Span

UM, SPOT = Market.UM, Market.SPOT
HALT = Span(moment("2025-01-03 04:00"), moment("2025-01-03 08:45"))
MARKET = SampleMarket(
    11,
    (
        Instrument(UM, "BTCUSDT", "BTC", 95000.0, 1, 3, 60, 20, moment("2024-12-28"), depth_seconds=900),
        Instrument(SPOT, "ETHUSDT", "ETH", 3400.0, 2, 4, 6000, 24, moment("2024-12-28 12:31"), halts=(HALT,)),
    ),
    date(2024, 12, 28),
    date(2025, 1, 5),
)
ALL = days("2024-12-28", 9)
LOST = Period.parse("2025-01-01")
TRADES = Series(UM, "trades", "BTCUSDT")
MARK = Series(UM, "mark_price", "BTCUSDT", "1h")
QUALITY = QualitySettings()


def table(rows: list[tuple[int, int]]) -> pa.Table:
    """Trades of these times and ids."""
    times, ids = zip(*rows, strict=True)
    return pa.table({"timestamp": pa.array(times, pa.timestamp("us", "UTC")), "id": pa.array(ids, pa.int64())})


def test_ids_that_jump_several_times_in_a_moment_are_one_gap() -> None:
    at = moment("2025-01-01")
    rows = [(at, 1), (at, 100), (at, 300), (at + 1, 500), (at + 1, 501)]
    (jump,) = jumps_in(TRADES, [table(rows)], QUALITY)
    assert (jump.span, jump.rows) == (Span(at + 1, at + 2), 98 + 199 + 199)
    assert jump.detail.startswith("trades 2 to 99: last id 1 ")
    assert jump.detail.endswith("the first of 3 jumps at this time")


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([0, 0, 1, 1000, -1, -1000, 2_000_000]), st.sampled_from([1, 1, 2, 60, 1000])),
        min_size=1,
        max_size=40,
    ),
    size=st.integers(1, 40),
)
def test_spans_of_gaps_are_distinct_and_together_have_all_lost_rows(steps: list[tuple[int, int]], size: int) -> None:
    rows = [(moment("2025-01-01"), 1)]
    for time, number in steps:
        rows.append((rows[-1][0] + time, rows[-1][1] + number))
    lost = 0
    for (time, number), (next_time, next_number) in pairwise(rows):
        missing = next_number - number - 1
        is_lone = missing == 1 or (missing <= FEW_IDS and abs(next_time - time) <= AT_ONCE_US)
        lost += 0 if is_lone else missing
    jumps = jumps_in(TRADES, [table(rows)], QUALITY)
    assert sum(jump.rows for jump in jumps) == lost
    spans = [jump.span for jump in jumps]
    assert spans == sorted(set(spans))
    assert all(span.start_us < span.end_us for span in spans)
    parts = [table(rows[n : n + size]) for n in range(0, len(rows), size)]
    assert jumps_in(TRADES, parts, QUALITY) == jumps


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Series of every clock that have gaps, of which some are silences that only rows long before prove."""
    stored = Stored(tmp_path_factory.mktemp("faulty"), MARKET)
    back = all_of(*(altered("time", row, by=-20_000) for row in (0, 1, 5, 210, 480)))
    changes = {
        TRADES: all_of(back, without(3, 77, slice(100, 400))),
        Series(UM, "klines", "BTCUSDT", "1m"): without(slice(700, 800), 900),
        Series(UM, "metrics", "BTCUSDT"): without(slice(10, 20)),
        Series(UM, "book_depth", "BTCUSDT"): without(slice(100, 400), slice(500, 700)),
        Series(UM, "book_ticker", "BTCUSDT"): without(slice(100, 4000)),
        Series(SPOT, "trades", "ETHUSDT"): without(slice(100, 130)),
        Series(SPOT, "agg_trades", "ETHUSDT"): without(slice(50, 90)),
        Series(SPOT, "klines", "ETHUSDT", "1h"): without(slice(5, 9)),
    }
    for series, change in changes.items():
        stored.store(series, *[each for each in ALL if each not in (LOST, Period.parse("2024-12-30"))])
        stored.store(series, LOST, change=change)
    return stored


WHOLE: dict[Series, list[Gap]] = {}


def whole(stored: Stored, series: Series) -> list[Gap]:
    if series not in WHOLE:
        WHOLE[series] = stored.checker().gaps(series)
    return WHOLE[series]


EDGES = [HALT.start_us, HALT.end_us, LOST.span.start_us, LOST.span.end_us, moment("2024-12-30"), moment("2024-12-31")]
MOMENTS = st.one_of(
    st.sampled_from(EDGES).flatmap(lambda at: st.integers(at - 2 * HOUR_US, at + 2 * HOUR_US) | st.just(at)),
    st.integers(moment("2024-12-27"), moment("2025-01-07")),
)


@given(which=st.integers(0, 7), edges=st.tuples(MOMENTS, MOMENTS), is_at_row=st.booleans())
@example(which=1, edges=(HALT.start_us - MINUTE_US, HALT.end_us + HOUR_US), is_at_row=False)
@settings(max_examples=150, deadline=None)
def test_a_part_has_the_gaps_of_the_whole(faulty: Stored, which: int, edges: tuple[int, int], is_at_row: bool) -> None:
    series = sorted(faulty.storage.series())[which]
    every = whole(faulty, series)
    assert len(every) > 1
    start, end = sorted(edges)
    if is_at_row:  # as the job that fills gaps asks
        start, end = every[which % len(every)].span.start_us - 1, every[-1].span.end_us + 1
    part = Span(start, end + 1)
    expected = [gap for gap in every if gap.span.overlaps(part)]
    assert faulty.checker().gaps(series, part) == expected


def test_a_silence_at_the_begin_of_a_part_is_found(faulty: Stored) -> None:
    """Only the rows before the part say that nothing came for too long."""
    series = Series(SPOT, "trades", "ETHUSDT")
    (halt,) = [gap for gap in whole(faulty, series) if gap.status is GapStatus.HALT]
    part = Span(halt.span.start_us - 1, halt.span.end_us + HOUR_US)
    assert faulty.checker().gaps(series, part) == [halt]
    one = faulty.checker().examine(series, part)
    assert one.gaps == (halt,)
    assert [(finding.kind, finding.cause) for finding in one.findings if finding.kind == "halt"] == [("halt", HALTED)]


# what is remembered


def confirmed(stored: Stored, series: Series) -> tuple[IntegrityChecker, list[Gap]]:
    """A checker with a status database that says of each gap that every source was asked in vain."""
    tracker = DownloadTracker(stored.layout.database)
    checker = IntegrityChecker(stored.layout, stored.storage, tracker)
    asked_us = moment("2025-03-01 04:00")
    gaps = [
        replace(gap, status=GapStatus.CONFIRMED, checked_us=asked_us, detail=f"{gap.detail}; API: 0 rows on 2025-03-01")
        for gap in stored.checker().gaps(series)
    ]
    tracker.record_gaps({series: Known(tuple(gaps))}, {})
    return checker, gaps


def test_a_known_cause_wins_over_a_record(tmp_path: Path) -> None:
    stored = Stored(tmp_path, MARKET)
    stored.store(MARK, *[each for each in ALL if each != LOST])
    checker, (gap,) = confirmed(stored, MARK)
    (still,) = checker.gaps(MARK)
    assert (still.status, still.checked_us) == (GapStatus.CONFIRMED, gap.checked_us)
    assert checker.settled_again([gap]) == [gap]
    checker.known_gaps = (KnownGap(UM, ("mark_price",), (), LOST.span, "maintenance", "#1", GapStatus.HALT),)
    (now,) = checker.gaps(MARK)
    assert now.status is GapStatus.HALT
    (again,) = checker.settled_again([gap])
    assert (again.status, again.rows, again.span) == (now.status, now.rows, now.span)
    missing = "24 rows are missing, 2025-01-01 00:00:00 to 2025-01-01 23:00:00"
    assert again.detail == now.detail == f"{missing}; maintenance [#1]"
    checker.known_gaps = ()
    (later,) = checker.settled_again([again])
    assert (later.status, later.detail) == (GapStatus.OPEN, missing)
    filled = replace(gap, status=GapStatus.FILLED)
    assert checker.settled_again([filled, gap]) == [filled, gap]


def test_a_halt_that_trades_prove_wins_over_a_record(tmp_path: Path) -> None:
    """Candles were missing before trades came."""
    stored = Stored(tmp_path, demo_market())
    series, trades = Series(SPOT, "klines", "BTCUSDT", "1h"), Series(SPOT, "trades", "BTCUSDT")
    stored.store(series, *days("2024-06-10", 3))
    checker, (gap,) = confirmed(stored, series)
    assert checker.settled_again([gap]) == [gap]
    stored.store(trades, *days("2024-06-10", 3))
    (now,) = checker.gaps(series)
    (again,) = checker.settled_again([gap])
    assert (now.status, again.status, again.detail) == (GapStatus.HALT, GapStatus.HALT, now.detail)
    assert now.detail.endswith(HALTED)
    assert checker.settled_again([again]) == [again]
    (silence,) = checker.gaps(trades)
    assert silence.status is GapStatus.HALT
    assert checker.settled_again([silence]) == [silence]
    tail = Gap(trades, Span(moment("2024-06-13"), moment("2024-06-14")), 0)
    assert checker.settled_again([tail]) == [tail]


def test_a_known_halt_is_no_cause_of_trades_that_ids_say_are_lost(tmp_path: Path) -> None:
    stored = Stored(tmp_path, MARKET)
    stored.store(TRADES, *[each for each in ALL if each != LOST])
    around = Span(LOST.span.start_us - DAY_US, LOST.span.end_us + DAY_US)
    known = [KnownGap(UM, ("trades",), (), around, "halt of trading", "#1", GapStatus.HALT)]
    (gap,) = stored.checker(known).gaps(TRADES)
    assert gap.status is GapStatus.OPEN
    assert stored.checker(known).settled_again([gap]) == [gap]


def test_a_gap_longer_than_what_is_known_has_another_cause(tmp_path: Path) -> None:
    stored = Stored(tmp_path, MARKET)
    series = Series(UM, "mark_price", "BTCUSDT", "1m")
    stored.store(series, *[each for each in ALL if each != LOST])
    stored.store(series, LOST, change=without(slice(100, 129), slice(500, 540)))
    known = [KnownGap(UM, (), (), LOST.span, "the API lacks it too", "#1", GapStatus.CONFIRMED, most_us=29 * MINUTE_US)]
    assert [(gap.rows, gap.status) for gap in stored.checker(known).gaps(series)] == [
        (29, GapStatus.CONFIRMED),
        (40, GapStatus.OPEN),
    ]


def test_late_is_by_the_archive_that_may_still_come(tmp_path: Path) -> None:
    """A day's until the end of the day after the next, a month's until the 15th."""
    stored = Stored(tmp_path, MARKET)
    stored.store(MARK, *ALL[:6])
    stored.store(MARK, Period.parse("2025-01-03"), change=without(slice(2, 5)))
    funding = Series(UM, "funding_rate", "BTCUSDT")
    stored.store(funding, Period.month(2024, 12), Period.month(2025, 1), change=without(8))
    statuses = {
        (series.dataset, now): {gap.status for gap in stored.checker(now_us=moment(now)).gaps(series)}
        for series in (MARK, funding)
        for now in ("2025-01-05 23:59", "2025-01-06 00:01", "2025-01-15 23:59", "2025-01-16 00:01")
    }
    assert statuses["mark_price", "2025-01-05 23:59"] == {GapStatus.LATE}
    assert statuses["mark_price", "2025-01-06 00:01"] == {GapStatus.OPEN}
    assert statuses["funding_rate", "2025-01-15 23:59"] == {GapStatus.LATE}
    assert statuses["funding_rate", "2025-01-16 00:01"] == {GapStatus.OPEN, GapStatus.LATE}  # of December, of January
