"""The joins against slow twins: dictionaries and loops."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loader_world import us

from core.dates import HOUR_US, INTERVAL_US
from loader.align import Integers, available_at, last_known, pick, rising, same_time, within_symbols

times = st.lists(st.integers(0, 30), unique=True, max_size=20).map(sorted)
symbols = st.integers(1, 4).flatmap(
    lambda count: st.tuples(*(st.lists(times, min_size=count, max_size=count) for _ in range(2)))
)


def array(values: list[int]) -> Integers:
    return np.array(values, dtype=np.int64)


def stacked(lists: list[list[int]]) -> tuple[Integers, Integers]:
    return array([value for one in lists for value in one]), array([0, *np.cumsum([len(one) for one in lists])])


def slow_same_time(left: list[int], right: list[int]) -> list[int]:
    place = {time: index for index, time in enumerate(right)}
    return [place.get(time, -1) for time in left]


def slow_last_known(left: list[int], right: list[int]) -> list[int]:
    return [max((index for index, time in enumerate(right) if time <= known), default=-1) for known in left]


@given(times, times)
def test_same_time_finds_the_row_of_the_same_time_or_none(left: list[int], right: list[int]) -> None:
    assert same_time(array(left), array(right)).tolist() == slow_same_time(left, right)


@given(times, times)
def test_last_known_finds_the_last_event_until_then_or_none(left: list[int], right: list[int]) -> None:
    assert last_known(array(left), array(right)).tolist() == slow_last_known(left, right)


@pytest.mark.parametrize(("join", "slow"), [(same_time, slow_same_time), (last_known, slow_last_known)])
@given(lists=symbols)
def test_a_join_within_symbols_never_looks_into_another_one(join, slow, lists) -> None:  # type: ignore[no-untyped-def]
    for left, right in (lists, (lists[0], lists[0])):
        found = within_symbols(join, *stacked(left), *stacked(right)).tolist()
        offsets = stacked(right)[1].tolist()
        wanted = [
            index if index < 0 else index + offset
            for one, other, offset in zip(left, right, offsets, strict=False)
            for index in slow(one, other)
        ]
        assert found == wanted


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=4), min_size=1, max_size=4))
def test_rising_compares_a_row_with_the_one_before_it_of_the_same_symbol(lists: list[list[tuple[int, int]]]) -> None:
    rows = [(symbol, key) for symbol, keys in enumerate(lists) for key in keys]
    _, offsets = stacked([[0] * len(keys) for keys in lists])
    columns = [array([key[place] for _, key in rows]) for place in (0, 1)]
    wanted = [here[0] != before[0] or here[1] > before[1] for before, here in pairwise(rows)]
    assert rising(columns, offsets).tolist() == wanted


def test_pick_puts_nan_where_there_is_no_row() -> None:
    assert np.array_equal(pick(array([5, 7]), array([1, -1, 0])), [7.0, np.nan, 5.0], equal_nan=True)
    assert np.array_equal(pick(array([]), array([-1])), [np.nan], equal_nan=True)
    whole = np.array([1.0, 2.0])
    pick(whole, array([-1, 0]))
    assert whole.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("interval", [name for name, length in INTERVAL_US.items() if length])
def test_a_candle_is_known_one_interval_after_it_opened(interval: str) -> None:
    opens = us("2024-02-28T12:00")
    assert available_at(array([opens]), interval).tolist() == [opens + (INTERVAL_US[interval] or 0)]


def test_the_candle_of_a_month_is_known_when_the_next_month_begins() -> None:
    opens = [datetime(2024 + month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in range(26)]
    ends = [(day + timedelta(days=31)).replace(day=1) for day in opens]
    found = available_at(array([us(day.isoformat()) for day in opens]), "1mo")
    assert found.tolist() == [us(day.isoformat()) for day in ends]


def test_an_event_one_microsecond_late_is_not_known() -> None:
    close = us("2024-01-01T08:00")
    events = array([close - 8 * HOUR_US, close, close + 1])
    assert last_known(array([close - 1, close, close + 1]), events).tolist() == [0, 1, 2]
