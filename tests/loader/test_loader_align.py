"""The joins against slow twins: dictionaries and loops."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loader_world import us

from core.dates import HOUR_US, INTERVAL_US
from loader.align import Integers, available_at, join_last_known, last_known, rising

times = st.lists(st.integers(0, 30), unique=True, max_size=20).map(sorted)
symbols = st.integers(1, 4).flatmap(
    lambda count: st.tuples(*(st.lists(times, min_size=count, max_size=count) for _ in range(2)))
)


def array(values: list[int]) -> Integers:
    return np.array(values, dtype=np.int64)


def stacked(lists: list[list[int]]) -> tuple[Integers, Integers]:
    return array([value for one in lists for value in one]), array([0, *np.cumsum([len(one) for one in lists])])


def slow_last_known(left: list[int], right: list[int], max_age: int | None = None) -> list[int]:
    known = [[index for index, time in enumerate(right) if time <= moment] for moment in left]
    last = [max(indices, default=-1) for indices in known]
    return [
        index if index >= 0 and (max_age is None or moment - right[index] <= max_age) else -1
        for moment, index in zip(left, last, strict=True)
    ]


@given(times, times)
def test_last_known_finds_the_last_event_until_then_or_none(left: list[int], right: list[int]) -> None:
    assert last_known(array(left), array(right)).tolist() == slow_last_known(left, right)


@given(lists=symbols, max_age=st.one_of(st.none(), st.integers(0, 10)))
def test_a_join_within_symbols_never_looks_into_another_one(
    lists: tuple[list[list[int]], list[list[int]]], max_age: int | None
) -> None:
    for left, right in (lists, (lists[0], lists[0])):
        joined = join_last_known(*stacked(left), *stacked(right), max_age)
        offsets = stacked(right)[1].tolist()
        wanted = [
            index if index < 0 else index + offset
            for one, other, offset in zip(left, right, offsets, strict=False)
            for index in slow_last_known(one, other, max_age)
        ]
        assert joined.indices().tolist() == wanted
        values = [float(number) for number in range(sum(map(len, right)))]
        picked = joined.pick(pa.chunked_array([values[:3], values[3:]], pa.float64())).to_pylist()
        assert [-1 if value != value else int(value) for value in picked] == wanted


@given(lists=symbols)
def test_rows_that_are_the_same_on_both_sides_are_not_copied(lists: tuple[list[list[int]], list[list[int]]]) -> None:
    joined = join_last_known(*stacked(lists[0]), *stacked(lists[0]), 0)
    assert len(joined.runs) <= 1
    assert all(run.indices is None for run in joined.runs)


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=4), min_size=1, max_size=4))
def test_rising_compares_a_row_with_the_one_before_it_of_the_same_symbol(lists: list[list[tuple[int, int]]]) -> None:
    rows = [(symbol, key) for symbol, keys in enumerate(lists) for key in keys]
    _, offsets = stacked([[0] * len(keys) for keys in lists])
    columns = [array([key[place] for _, key in rows]) for place in (0, 1)]
    wanted = [here[0] != before[0] or here[1] > before[1] for before, here in pairwise(rows)]
    assert rising(columns, offsets).tolist() == wanted


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
