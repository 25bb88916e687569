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
from core.dates import DAY_US
from core.features import FEATURES, features_named, features_of
from core.features.builder import TapeBuilder, on_the_clock
from core.features.feature import MEMORY
from core.features.tape import Tape

CUTS = 1000
EVENING = 1_704_138_600_000_000
"""2024-01-01T19:50."""
TRADES = random_trades(90_000, 18_600, seed=11, start=EVENING)
"""To 01:00 of the next day: from 23:00 on there is VPIN, from midnight on its CDF, and at midnight CVD begins anew."""


def same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other, equal_nan=True))


def test_removing_what_comes_later_changes_no_feature_at_a_thousand_cuts() -> None:
    """Trades are given up to each of many instants; the last rows that were over by then are those of all trades."""
    whole = tape_of(TRADES)
    expected = features_of(whole, FEATURES.values())
    clock = np.maximum.accumulate(TRADES.time)
    random = np.random.default_rng(1)
    begin, end = int(whole.timestamp_us[0]), int(whole.timestamp_us[-1])
    late = begin + 11_700 * SECOND  # 23:05
    instants = [*random.integers(begin + SECOND, late, CUTS // 4), *random.integers(late, end, CUTS - CUTS // 4)]
    instants = [at // SECOND * SECOND if number % 10 == 0 else int(at) for number, at in enumerate(sorted(instants))]
    builder, given = TapeBuilder(BarSpec.parse("time-1s")), 0
    rows, earlier = builder.closed(), []
    checked, known_of, days = 0, set(), set()
    for number, instant in enumerate(sorted(instants)):
        known = int(np.searchsorted(clock, instant))
        if known > given:
            builder.update(TRADES.part(given, known).batch())
            given = known
        rows = joined([rows, builder.closed()])
        over = instant // SECOND
        seen = those(joined([rows, copy.deepcopy(builder).finish()]), -(2**62), over)
        if len(seen["number"]) == 0:
            continue
        place = max(0, int(np.searchsorted(seen["number"], over - MEMORY - 3, side="right")) - 1)
        traded = int(seen["number"][place])
        tail = on_the_clock(those(seen, traded, over), SECOND, traded, over, None)
        last = min(3, len(tail))
        found = features_of(tail, [one for one in FEATURES.values() if not one.since_midnight])
        if number % 25 == 0:
            every = joined([*earlier, seen])
            found |= features_of(on_the_clock(every, SECOND, whole.first, over, None), features_named(["cvd"]))
            days.add(over * SECOND // DAY_US)
            earlier.append(those(rows, -(2**62), traded))
            rows = those(rows, traded, 2**62)
        for name, values in found.items():
            own = expected[name][over - whole.first - last : over - whole.first]
            assert same(values[-last:], own), name
            if not np.isnan(own).all():
                known_of.add(name)
        checked += last
    assert checked > 2 * CUTS
    assert known_of == {feature.name for feature in FEATURES.values() if not feature.needs}
    assert len(days) == 2


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def those(rows: dict[str, Any], first: int, end: int) -> dict[str, Any]:
    own = slice(*np.searchsorted(rows["number"], [first, end]).tolist())
    return {name: values[own] for name, values in rows.items()}


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
    quiet = np.arange(4) * hour + 1000
    time = np.concatenate((quiet, 4 * hour + np.arange(400), 5 * hour + np.arange(200) * SECOND, [6 * hour + 5]))
    quantity = np.concatenate((np.ones(4, np.int64), np.full(400, 1000), np.full(201, 7000)))
    trades = Trades(time, np.full(605, 100), quantity, np.arange(605) % 3 == 0)
    tape = tape_of(trades)
    assert np.isnan(tape.vpin[: 5 * 3600]).all()
    later = tape.vpin[5 * 3600 : 6 * 3600]
    assert not np.isnan(later[199])
    assert np.isnan(later[:50]).all()
