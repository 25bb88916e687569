"""Whole months by the month, the rest by days, no day twice."""

from collections import Counter
from datetime import date, timedelta

from hypothesis import given
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
