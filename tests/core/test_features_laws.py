"""What comes later changes nothing, where trades are cut changes nothing, and where rows begin changes nothing."""

import copy
from typing import Any

import numpy as np
import pytest
from features_oracle import Trades, random_trades
from features_tape import SECOND, rows_of, tape_of
from hypothesis import given, settings
from hypothesis import strategies as st

from core.bars.spec import BarSpec
from core.features import FEATURES, features_named, features_of
from core.features.builder import TapeBuilder, on_the_clock
from core.features.feature import MEMORY
from core.features.tape import Tape

CUTS = 1000
TRADES = random_trades(90_000, 5400, seed=11)


def same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other, equal_nan=True))


def test_removing_what_comes_later_changes_no_feature_at_a_thousand_cuts() -> None:
    """Trades are given up to each of many instants; the last rows that were over by then are those of all trades."""
    whole = tape_of(TRADES)
    expected = features_of(whole, FEATURES.values())
    clock = np.maximum.accumulate(TRADES.time)
    random = np.random.default_rng(1)
    begin, end = int(whole.timestamp_us[0]), int(whole.timestamp_us[-1])
    instants = np.sort(random.integers(begin + SECOND, end, CUTS)).tolist()
    instants[::10] = [at // SECOND * SECOND for at in instants[::10]]
    builder, given = TapeBuilder(BarSpec.parse("time-1s")), 0
    rows = builder.closed()
    checked = 0
    for instant in sorted(instants):
        known = int(np.searchsorted(clock, instant))
        if known > given:
            builder.update(TRADES.part(given, known).batch())
            given = known
        parts = [rows, builder.closed()]
        rows = {name: np.concatenate([part[name] for part in parts]) for name in rows}
        opened = copy.deepcopy(builder).finish()
        seen = {name: np.concatenate((rows[name], opened[name])) for name in rows}
        over = instant // SECOND
        seen = {name: values[seen["number"] < over] for name, values in seen.items()}
        tape = on_the_clock(seen, SECOND, whole.first, over, None)
        tail = tape.between(max(0, len(tape) - MEMORY - 3), len(tape))
        last = min(3, len(tape), len(tail) - MEMORY) if len(tape) > len(tail) else min(3, len(tape))
        found = features_of(tail, [one for one in FEATURES.values() if not one.since_midnight])
        for name, values in found.items():
            assert same(values[-last:], expected[name][over - whole.first - last : over - whole.first]), name
        checked += last
        if instant in instants[::25]:
            running = features_of(tape, features_named(["cvd"]))["cvd"]
            assert same(running, expected["cvd"][: len(tape)])
    assert checked > 2 * CUTS


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(0, 8000), max_size=6))
@pytest.mark.parametrize("spec", ["time-1s", "time-7s", "dollar-300000"])
def test_however_trades_are_cut_rows_are_the_same(spec: str, cuts: list[int]) -> None:
    trades = TRADES.part(30_000, 38_000)
    whole, parts = rows_of(trades, spec), rows_of(trades, spec, tuple(sorted(cuts)))
    assert whole.keys() == parts.keys()
    assert all(same(whole[name], parts[name]) for name in whole)


def test_where_rows_begin_changes_nothing_behind_the_warm_up() -> None:
    whole = tape_of(TRADES)
    expected = features_of(whole, FEATURES.values())
    for start in (1, 37, 601, 1999):
        found = features_of(whole.between(start, len(whole)), FEATURES.values())
        for name, values in found.items():
            if not FEATURES[name].since_midnight:
                behind = FEATURES[name].warm_up
                assert same(values[behind:], expected[name][start + behind :]), name


def test_hours_are_right_from_the_documented_hours_on() -> None:
    """VPIN and large trades of an hour are the same without what lies more hours back than each feature says."""
    trades = random_trades(120_000, 7 * 3600, seed=13)
    hour = 3600 * SECOND
    clock = np.maximum.accumulate(trades.time)
    begin = int(clock[0]) // hour
    last = begin + 6

    def of(first: int) -> Tape:
        start = int(np.searchsorted(clock, first * hour))
        return tape_of(trades.part(start, len(clock)))

    whole = of(begin)
    for feature in features_named(["vpin", "vpin_cdf", "large_trade_share"]):
        own = of(last - feature.hours - 1)
        rows = slice(int(last * 3600) - own.first, None)
        expected = features_of(whole, [feature])[feature.name][int(last * 3600) - whole.first :]
        assert same(features_of(own, [feature])[feature.name][rows], expected)
        assert not np.isnan(expected).all()


def test_an_hour_that_trades_far_more_than_the_one_before_has_no_vpin() -> None:
    hour = 3600 * SECOND
    time = np.concatenate(([1000], hour + np.arange(400), 2 * hour + np.arange(200) * SECOND, [3 * hour + 5]))
    quantity = np.concatenate(([1], np.full(400, 1000), np.full(201, 7000)))
    trades = Trades(time, np.full(602, 100), quantity, np.arange(602) % 3 == 0)
    tape = tape_of(trades)
    assert np.isnan(tape.vpin[: 2 * 3600]).all()
    later = tape.vpin[2 * 3600 : 3 * 3600]
    assert not np.isnan(later[199])
    assert np.isnan(later[:50]).all()
