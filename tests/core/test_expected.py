"""What should be there on a day, and when a source that had a fault is asked again: pure functions."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets import DATASETS
from core.download.asking import is_due
from core.jobs.expected import Standing, Window, absent, is_over, is_silent, standing, wanted_months
from core.types import Market, Period, Series, State

KLINES = Series(Market.UM, "klines", "BTCUSDT", "1h")
FUNDING = Series(Market.UM, "funding_rate", "BTCUSDT")
METRICS = Series(Market.UM, "metrics", "BTCUSDT")
WEEKS = Series(Market.UM, "klines", "BTCUSDT", "1w")
TICKER = Series(Market.UM, "book_ticker", "BTCUSDT")
WINDOW = Window(date(2024, 2, 25), date(2024, 3, 2))
TODAY = date(2024, 3, 3)


def day(text: str) -> Period:
    return Period.parse(text)


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("label", "today", "expected"),
    [
        ("2024-02-28", "2024-02-28", Standing.AHEAD),
        ("2024-02-28", "2024-02-29", Standing.LATE),
        ("2024-02-28", "2024-03-01", Standing.LATE),
        ("2024-02-28", "2024-03-02", Standing.MISSING),
        ("2024-02", "2024-02-29", Standing.AHEAD),
        ("2024-02", "2024-03-01", Standing.LATE),
        ("2024-02", "2024-03-15", Standing.LATE),
        ("2024-02", "2024-03-16", Standing.MISSING),
    ],
)
def test_a_day_may_come_for_two_days_and_a_month_until_the_fifteenth(
    label: str, today: str, expected: Standing
) -> None:
    assert standing(day(label), date.fromisoformat(today)) is expected


def test_days_that_are_had_listed_missing_or_in_a_stored_month_are_not_absent() -> None:
    known = {
        day("2024-02-25"): State.STORED,
        day("2024-02-26"): State.MISSING,
        day("2024-02-27"): State.FAILED,
        day("2024-02-28"): State.PLANNED,
        day("2024-02-29"): State.MISMATCH,
    }
    found = absent(KLINES, known, {day("2024-03-01")}, WINDOW, date(2024, 1, 1))
    assert [one.label for one in found] == ["2024-02-27", "2024-02-28", "2024-03-02"]
    with_month = {**known, day("2024-02"): State.STORED}
    assert [one.label for one in absent(KLINES, with_month, (), WINDOW, date(2024, 1, 1))] == [
        "2024-03-01",
        "2024-03-02",
    ]
    for fault in (State.MISSING, State.CORRUPT, State.MISMATCH, State.UNVERIFIED, State.FAILED):
        assert len(absent(KLINES, {day("2024-02"): fault}, (), WINDOW, date(2024, 1, 1))) == 7
    assert len(absent(KLINES, {day("2024-02"): State.CORRUPT}, {day("2024-02")}, WINDOW, date(2024, 1, 1))) == 7
    assert len(absent(KLINES, {}, {day("2024-02")}, WINDOW, date(2024, 1, 1))) == 2  # it comes tonight
    assert [one.label for one in absent(KLINES, {}, (), WINDOW, date(2024, 3, 2))] == ["2024-03-02"]


def test_what_comes_by_the_month_has_no_days_and_what_ended_none_later() -> None:
    assert absent(FUNDING, {}, (), WINDOW, date(2024, 1, 1)) == absent(WEEKS, {}, (), WINDOW, date(2024, 1, 1)) == []
    last = Window(date(2024, 3, 28), date(2024, 4, 2))
    assert [one.label for one in absent(TICKER, {}, (), last, date(2024, 1, 1))] == [
        *("2024-03-28", "2024-03-29", "2024-03-30")
    ]
    assert DATASETS["book_ticker"].ended[Market.UM] == date(2024, 3, 30)


def test_a_month_is_wanted_once_it_is_over_if_days_of_it_are() -> None:
    def wanted(series: Series, window: Window, newest: date, known: tuple[str, ...] = ()) -> list[str]:
        today = window.last + timedelta(days=1)
        states = {day(label): State.STORED for label in known}
        return [month.label for month in wanted_months(series, states, window, newest, today)]

    assert wanted(KLINES, WINDOW, date(2024, 3, 1)) == ["2024-02"]
    assert wanted(KLINES, Window(date(2024, 2, 10), date(2024, 2, 16)), date(2024, 2, 16)) == []
    assert wanted(KLINES, Window(date(2024, 3, 10), date(2024, 3, 16)), date(2024, 3, 16), ("2024-02-07",)) == [
        "2024-02"
    ]
    assert wanted(KLINES, Window(date(2024, 3, 10), date(2024, 3, 16)), date(2023, 1, 31), ("2024-01",)) == []
    assert wanted(METRICS, WINDOW, date(2024, 3, 1)) == []
    assert wanted(FUNDING, WINDOW, date(2024, 1, 31)) == ["2024-01", "2024-02"]
    assert wanted(FUNDING, Window(date(2024, 2, 10), date(2024, 2, 16)), date(2024, 1, 31)) == ["2024-01"]


def test_a_symbol_that_others_have_left_behind_is_over() -> None:
    assert not is_over(KLINES, date(2024, 2, 1), date(2024, 2, 8))
    assert is_over(KLINES, date(2024, 2, 1), date(2024, 2, 9))
    assert not is_over(FUNDING, date(2024, 1, 31), date(2024, 2, 29))  # one month is out before the other
    assert is_over(FUNDING, date(2023, 12, 31), date(2024, 2, 29))
    assert is_over(TICKER, date(2024, 3, 30), date(2024, 3, 30))
    assert (is_silent(date(2024, 1, 1), date(2024, 1, 31)), is_silent(date(2024, 1, 1), date(2024, 2, 1))) == (
        False,
        True,
    )


@pytest.mark.parametrize(("asks", "days"), [(1, 1), (2, 2), (3, 4), (4, 7), (5, 7), (400, 7)])
def test_the_source_is_asked_again_after_one_two_four_and_then_every_seven_days(asks: int, days: int) -> None:
    asked = us("2024-02-28T09:15:07")
    last_early = us("2024-02-28T23:59:59") + (days - 1) * 86_400_000_000
    assert not is_due(asks, asked, last_early)
    assert is_due(asks, asked, last_early + 1_000_000)  # by the calendar: no night is skipped for a second


def test_what_was_never_asked_for_is_due() -> None:
    assert is_due(0, None, 0)
    assert is_due(3, None, 0)


@given(
    first=st.dates(date(2020, 1, 1), date(2024, 1, 1)),
    length=st.integers(0, 60),
    had=st.sets(st.integers(0, 60)),
)
def test_every_day_of_the_window_is_had_or_absent_and_never_both(first: date, length: int, had: set[int]) -> None:
    window = Window(first, first + timedelta(days=length))
    here = {Period.day(first + timedelta(days=number)) for number in had if number <= length}
    found = absent(KLINES, dict.fromkeys(here, State.STORED), (), window, date(2019, 1, 1))
    assert sorted({*found, *here}) == [Period.day(one) for one in window.days()]
    assert len(found) + len(here) == length + 1
