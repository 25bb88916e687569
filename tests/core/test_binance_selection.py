"""Whole months by the month, the rest by days, no day twice."""

from collections import Counter
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.exchanges.binance.selection import choose, uncovered, whole_months
from core.types import ArchiveFile, Cadence, Market, Period, Series, Span

SERIES = Series(Market.UM, "klines", "BTCUSDT", "1h")
FIRST = date(2024, 1, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(121)]
MONTHS = [Period.month(2024, n) for n in (1, 2, 3, 4)]


def listed(period: Period) -> ArchiveFile:
    return ArchiveFile(SERIES, period, f"{period.label}.zip", 1, "e", None, "")


def days_of(period: Period) -> list[date]:
    return [day for day in DAYS if period.first <= day <= period.last]


def labels(files: tuple[ArchiveFile, ...]) -> list[str]:
    return [file.period.label for file in files]


@settings(deadline=None)
@given(
    start=st.integers(0, 120),
    length=st.integers(0, 120),
    months=st.sets(st.sampled_from(MONTHS)),
    days=st.sets(st.sampled_from(DAYS)),
)
def test_every_published_day_of_the_span_is_covered_once(
    start: int, length: int, months: set[Period], days: set[date]
) -> None:
    wanted = DAYS[start : start + length + 1]
    span = Span.of_days(wanted[0], wanted[-1])
    chosen = choose(
        span, sorted(map(listed, months), key=lambda f: f.period), [listed(Period.day(d)) for d in sorted(days)]
    )
    covered = Counter(day for file in chosen for day in days_of(file.period))
    published = {day for month in months for day in days_of(month)} | days
    assert {day for day in wanted if day in published} <= set(covered)
    assert all(count == 1 for count in covered.values())
    assert list(chosen) == sorted(chosen, key=lambda file: file.period.span)
    for file in chosen:
        inside = [day for day in days_of(file.period) if day in wanted]
        assert inside, "a file outside the span"
        if file.period.cadence is Cadence.MONTHLY and not span.contains(file.period.span):
            assert not set(inside) <= days, "a month for what days would give"
        if file.period.cadence is Cadence.DAILY:
            whole = [month for month in months if span.contains(month.span) and file.period.first in days_of(month)]
            assert not whole, "a day of a whole published month"


def test_a_span_from_the_middle_to_the_middle() -> None:
    months = [listed(month) for month in MONTHS[:3]]
    days = [listed(Period.day(day)) for day in DAYS]
    span = Span.of_days(date(2024, 1, 30), date(2024, 3, 2))
    assert labels(choose(span, months, days)) == ["2024-01-30", "2024-01-31", "2024-02", "2024-03-01", "2024-03-02"]


def test_what_is_published_by_the_month_only_comes_by_the_month() -> None:
    span = Span.of_days(date(2024, 1, 30), date(2024, 2, 2))
    assert labels(choose(span, [listed(month) for month in MONTHS], [])) == ["2024-01", "2024-02"]


def test_nothing_published_is_nothing_chosen() -> None:
    assert choose(Span.of_days(FIRST, FIRST), [], []) == ()


def test_uncovered_is_what_lies_beside_the_files() -> None:
    span = Span.of_days(date(2024, 1, 1), date(2024, 4, 10))
    months = whole_months(span, [listed(MONTHS[0]), listed(MONTHS[2]), listed(MONTHS[3])])
    assert labels(months) == ["2024-01", "2024-03"]
    assert uncovered(span, months) == (
        Span.of_days(date(2024, 2, 1), date(2024, 2, 29)),
        Span.of_days(date(2024, 4, 1), date(2024, 4, 10)),
    )


@settings(deadline=None)
@given(
    start=st.integers(0, 120),
    length=st.integers(0, 120),
    months=st.sets(st.sampled_from(MONTHS)),
    days=st.sets(st.sampled_from(DAYS)),
)
def test_uncovered_days_are_those_that_no_file_covers(
    start: int, length: int, months: set[Period], days: set[date]
) -> None:
    wanted = DAYS[start : start + length + 1]
    files = [listed(period) for period in [*months, *map(Period.day, days)]]
    held = {day for file in files for day in days_of(file.period)}
    left = uncovered(Span.of_days(wanted[0], wanted[-1]), files)
    assert [day for day in DAYS if any(part.contains(Period.day(day).span) for part in left)] == [
        day for day in wanted if day not in held
    ]
    assert all(before.end_us < after.start_us for before, after in pairwise(left))


@pytest.mark.parametrize(
    ("first", "last", "without", "expected"),
    [
        ("2024-01-30", "2024-01-31", set(), ["2024-01-30", "2024-01-31"]),
        ("2024-01-30", "2024-01-31", {"2024-01-31"}, ["2024-01"]),
        ("2024-01-31", "2024-02-29", {"2024-01-30"}, ["2024-01-31", "2024-02"]),
        ("2024-02-01", "2024-02-29", set(), ["2024-02"]),
        ("2024-02-01", "2024-02-28", {"2024-02-28"}, ["2024-02"]),
        ("2024-02-29", "2024-02-29", set(), ["2024-02-29"]),
        ("2024-01-31", "2024-03-01", {"2024-01-31", "2024-03-01"}, ["2024-01", "2024-02", "2024-03"]),
        ("2024-01-31", "2024-03-01", {"2024-03-01"}, ["2024-01-31", "2024-02", "2024-03"]),
    ],
)
def test_a_partial_month_is_taken_by_days_unless_one_is_missing(
    first: str, last: str, without: set[str], expected: list[str]
) -> None:
    span = Span.of_days(date.fromisoformat(first), date.fromisoformat(last))
    days = [listed(Period.day(day)) for day in DAYS if day.isoformat() not in without]
    assert labels(choose(span, [listed(month) for month in MONTHS], days)) == expected


def test_without_months_all_days_of_the_span_come_and_no_others() -> None:
    span = Span.of_days(date(2024, 1, 31), date(2024, 2, 2))
    days = [listed(Period.day(day)) for day in DAYS if day != date(2024, 2, 1)]
    assert labels(choose(span, [], days)) == ["2024-01-31", "2024-02-02"]


def test_an_empty_span_chooses_nothing() -> None:
    files = [listed(month) for month in MONTHS]
    assert choose(Span(0, 0), files, [listed(Period.day(FIRST))]) == ()
    assert uncovered(Span(0, 0), files) == ()
