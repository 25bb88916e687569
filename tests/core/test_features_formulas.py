"""Every feature is what its formula says: by an oracle in decimals, on a million trades, of seconds and of bars."""

import math
from dataclasses import replace

import numpy as np
import pytest
from features_oracle import TWINS, Oracle, Trades, exactly, random_trades
from features_tape import SECOND, rows_of, tape_of

from core.bars.builder import BarBuilder
from core.bars.spec import BarSpec
from core.errors import ConfigError
from core.features import FEATURES, SUBJECTS, features_named, features_of
from core.features.builder import TapeBuilder, of_bars, on_the_clock
from core.features.exact import less, places_of, times, whole
from core.features.tape import Tape
from core.features.windows import Line, amounts, central, sums

TOLERANCE = 1e-9
LEAST = 1e-30
"""What is nearer to 0 is 0: decimals of 50 digits are rounded, too."""


def check(tape: Tape, oracle: Oracle, rows: list[int], rounded: tuple[str, ...] = ()) -> None:
    """Every feature has a value in some of these rows, and each is the oracle's; `rounded` ones but for 1e-15."""
    found = features_of(tape, FEATURES.values())
    unknown = set(FEATURES)
    for name, values in found.items():
        for row in rows:
            expected = exactly(TWINS[name], oracle, row)
            given = float(values[row])
            assert math.isnan(given) == math.isnan(expected), f"{name} of row {row}: {given} and not {expected}"
            least = 1e-15 if name in rounded else LEAST
            if not math.isnan(expected):
                unknown.discard(name)
                assert given == pytest.approx(expected, rel=TOLERANCE, abs=least), f"{name} of row {row}"
    assert unknown == {feature.name for feature in FEATURES.values() if feature.needs}


def test_a_million_trades_in_seconds() -> None:
    trades = random_trades(1_200_000, 10 * 3600)
    assert len(trades.time) > 1_000_000
    tape, oracle = tape_of(trades), Oracle.of_clock(trades, SECOND)
    assert len(tape) == len(oracle.bounds)
    random = np.random.default_rng(3)
    is_empty = np.flatnonzero(tape.trades == 0)
    is_even = np.flatnonzero((tape.trades > 0) & (tape.signed_volume == 0))
    is_single = np.flatnonzero(tape.trades == 1)
    assert min(map(len, (is_empty, is_even, is_single))) > 3
    some = [*is_empty[[0, -1]], *random.choice(is_even, 3), *random.choice(is_single, 3), *random.choice(len(tape), 32)]
    check(tape, oracle, sorted({0, 1, 2, 59, 60, 61, 598, 599, len(tape) - 1, *map(int, some)}))
    for name in ("vpin", "vpin_cdf", "large_trade_share"):
        known = ~np.isnan(features_of(tape, features_named([name]))[name])
        assert 0.1 < known.mean() < 0.8


def test_bars_of_dollars() -> None:
    """Of seven hours, so that there is VPIN, and stamped with seconds, so that some bars are of one stamp."""
    trades = random_trades(60_000, 7 * 3600, seed=5)
    trades = replace(trades, time=trades.time // SECOND * SECOND)
    spec = BarSpec.parse("dollar-40000")
    rows = rows_of(trades, str(spec))
    bars = BarBuilder(spec)
    table = bars.update(trades.batch())
    counts = table.column("num_trades").to_pylist()
    ends = np.cumsum(counts).tolist()
    clock = np.maximum.accumulate(trades.time)
    bounds = [
        (int(trades.time[end - n]), int(clock[end - 1]) + 1, end - n, end) for n, end in zip(counts, ends, strict=True)
    ]
    assert len(bounds) > 700
    tape = of_bars({name: values[: len(ends)] for name, values in rows.items()}, 0)
    at_once = np.flatnonzero(tape.seconds == 0)
    assert len(at_once) > 10
    chosen = np.random.default_rng(4).choice(np.arange(600, len(bounds)), 12)
    late = np.flatnonzero(~np.isnan(tape.vpin_cdf))[[0, -1]]
    some = [*chosen, *at_once[[0, -1]], *late]
    check(tape, Oracle(trades, bounds, are_bars=True), sorted({0, 1, *map(int, some)}))


def test_contracts_of_coin_margined_markets() -> None:
    """Whole contracts of 10 dollars; a mean price is their dollars over what they were of the base asset."""
    trades = random_trades(60_000, 14 * 3600, seed=15)
    trades = replace(trades, quantity=trades.quantity * 1000)
    tape, oracle = tape_of(trades, 10 * SECOND, contract=10), Oracle.of_clock(trades, 10 * SECOND, contract=10)
    assert len(tape) == len(oracle.bounds)
    late = np.flatnonzero(~np.isnan(tape.vpin_cdf))[[0, -1]]
    some = [0, 1, 59, 600, *np.random.default_rng(5).choice(len(tape), 8), *late]
    check(tape, oracle, sorted(set(map(int, some))), ("vwap_deviation", "vwap_deviation_60"))
    traded = tape.trades > 0
    vwap = features_of(tape, features_named(["vwap"]))["vwap"][traded]
    inside = (vwap >= tape.low[traded] * (1 - 1e-15)) & (vwap <= tape.high[traded] * (1 + 1e-15))
    assert inside.all()


def test_a_bar_lasts_since_the_last_trade_of_the_bar_before() -> None:
    """A sweep of one stamp fills bars: what came after a pause took the pause, what came with it took no time."""
    time = np.array([0, 100, 400, 400, 400, 400, 400, 400, 1000, 1100]) * 1000
    trades = Trades(time, np.full(10, 5000), np.full(10, 1000), np.arange(10) % 2 == 0)
    tape = of_bars(rows_of(trades, "tick-2", cuts=(3, 7)), 0)
    assert tape.seconds.tolist() == [0.1, 0.3, 0.0, 0.0, 0.7]
    found = features_of(tape, features_named(["duration", "trade_intensity", "volume_intensity"]))
    assert found["duration"].tolist() == [0.1, 0.3, 0.0, 0.0, 0.7]
    expected = [2 / 0.1, 2 / 0.3, math.nan, math.nan, 2 / 0.7]
    for name in ("trade_intensity", "volume_intensity"):
        assert found[name].tolist() == pytest.approx(expected, rel=1e-15, nan_ok=True)


def test_sums_are_those_of_bars() -> None:
    trades = random_trades(50_000, 3600, seed=9)
    bars = BarBuilder(BarSpec.parse("time-1s-empty"))
    table = bars.update(trades.batch())
    tape = tape_of(trades).between(0, table.num_rows)
    pairs = {
        "open": "price_open",
        "close": "price_close",
        "volume": "volume",
        "dollars": "dollar_volume",
        "buys": "num_buys",
    }
    for ours, theirs in pairs.items():
        assert getattr(tape, ours).tolist() == table.column(theirs).to_pylist()


def test_every_feature_has_a_twin_and_says_what_it_is() -> None:
    assert set(TWINS) == set(FEATURES)
    assert len(FEATURES) >= 72
    for name, feature in FEATURES.items():
        assert name == feature.name
        assert name.isidentifier()
        assert feature.formula
        assert feature.unit
        assert feature.source
        assert feature.window >= 1
        assert set(feature.inputs) <= {"price", "quantity", "side", "time"} | (
            {feature.needs} if feature.needs else set()
        )
    assert {name for name, feature in FEATURES.items() if feature.is_proxy} >= {"microprice", "roll_spread_60", "vpin"}


def test_the_first_value_comes_behind_the_warm_up() -> None:
    """With many trades in every row, a value that takes no hours is known from just there on."""
    random = np.random.default_rng(8)
    count = 30_000
    time = np.sort(random.integers(0, 700 * SECOND, count))
    price = 5000 + np.cumsum(random.integers(-3, 4, count))
    tape = tape_of(Trades(time, price, random.integers(1, 900, count), random.random(count) < 0.5))
    for name, values in features_of(tape, FEATURES.values()).items():
        feature = FEATURES[name]
        known = np.flatnonzero(~np.isnan(values)).tolist()
        assert known == ([] if feature.hours or feature.needs else [*range(feature.warm_up, len(tape))]), name


def test_the_first_hour_is_not_taken_for_a_whole_one() -> None:
    """What looks back to hours is known from the declared number of them on, counted behind the one of the first trade,
    and is then what it is with all trades before."""
    trades = random_trades(120_000, 16 * 3600, seed=17)
    hour = 3600 * SECOND
    clock = np.maximum.accumulate(trades.time)
    begin = int(clock[0]) // hour
    start = int(np.searchsorted(clock, (begin + 1) * hour - 180 * SECOND))  # three minutes of an hour
    whole, late = tape_of(trades), tape_of(trades.part(start, len(clock)))
    names = [feature.name for feature in FEATURES.values() if feature.hours]
    assert names == ["vpin", "vpin_cdf", "large_trade_share"]
    for feature in features_named(names):
        expected = features_of(whole, [feature])[feature.name][late.first - whole.first :]
        found = features_of(late, [feature])[feature.name]
        first = (begin + feature.hours + 1) * 3600 - late.first
        known = np.flatnonzero(~np.isnan(found))
        assert first <= known[0] < first + 1800
        assert np.array_equal(found[first:], expected[first:], equal_nan=True)


def test_no_rows_and_few_rows() -> None:
    trades = random_trades(3_000, 300, seed=6)
    tape = tape_of(trades)
    for rows in (0, 1, 2, 5, 59):
        found = features_of(tape.between(0, rows), FEATURES.values())
        assert all(len(values) == rows for values in found.values())
    nothing = {name: values[:0] for name, values in rows_of(trades, "time-1s").items()}
    empty = on_the_clock(nothing, SECOND, 10, 14, (3.5, 9.5e6))
    found = features_of(empty, FEATURES.values())
    assert found["close"].tolist() == [3.5] * 4
    assert found["volume"].tolist() == [0.0] * 4
    assert found["since_trade"].tolist() == [1.5, 2.5, 3.5, 4.5]
    assert np.isnan(found["vwap"]).all()
    unknown = on_the_clock(nothing, SECOND, 10, 14, None)
    assert np.isnan(features_of(unknown, FEATURES.values())["close"]).all()


def test_names_that_are_unknown_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown 'vpim'; did you mean 'vpin'"):
        features_named(["close", "vpim"])
    assert [feature.name for feature in features_named(["vpin", "close", "vpin"])] == ["close", "vpin"]
    assert sum(map(len, SUBJECTS.values())) == len(FEATURES)


def test_sides_are_those_of_the_data() -> None:
    with pytest.raises(ConfigError, match="features take sides from is_buyer_maker"):
        TapeBuilder(BarSpec.parse("tick-100-tick_rule"))


def test_differences_and_products_are_those_of_the_decimals() -> None:
    one, other = np.array([100.3, 0.3, 5.0, np.pi, np.nan]), np.array([50.1, 0.1, 5.0, 1.0, 1.0])
    assert less(one, other)[:4].tolist() == [50.2, 0.2, 0.0, np.pi - 1.0]
    assert np.isnan(less(one, other)[4])
    assert less(one[:1], other[:1])[0] != one[0] - other[0]
    assert times(np.array([1.1, 2.2]), np.array([1.1, 0.3])).tolist() == [1.21, 0.66]
    assert times(np.array([np.pi]), np.array([1.1]))[0] == np.pi * 1.1
    assert places_of(np.array([1.5, 0.25, np.nan, 3.0])) == 2
    assert places_of(np.array([np.pi])) is None
    assert whole(np.array([1.5, np.nan])) is None
    numbers, places = whole(np.array([1.5, -0.25, 7.0])) or (np.zeros(0), 0)
    assert (numbers.tolist(), places) == ([150, -25, 700], 2)
    assert less(np.array([2.0**60, 1e-13]), np.array([1.0, 0.0])).tolist() == [2.0**60 - 1.0, 1e-13]


def test_windows_do_not_drift_and_forget() -> None:
    values = np.array([1e16, *[1.0] * 200, np.nan, *[0.1] * 200])
    for first in (0, 3, 7):
        found = sums(values, 10, first)
        assert np.isnan(found[:9]).all()
        assert found[9] == 1e16 + 9 or abs(found[9] - 1e16) <= 16
        assert found[10:201].tolist() == [10.0] * 191
        assert np.isnan(found[201:211]).all()
        assert found[211:] == pytest.approx(np.ones(191), rel=1e-15)
    assert amounts(np.array([0.1, 0.2, 0.3, -0.5]), 4)[3] == 0.1
    assert amounts(np.array([0.1, 0.2, -0.3]), 3)[2] == 0.0
    whole = sums(np.arange(50.0), 7, 5, decay=0.5)
    assert whole[20] == sum(0.5**back * (20 - back) for back in range(7))


def test_windows_in_which_nothing_changes() -> None:
    same = np.full(20, 0.1)
    assert [part[-1] for part in central(same, 7)] == [0.0, 0.0, 0.0]
    with np.errstate(invalid="ignore"):
        flat = Line(np.arange(20.0), same, 7)
        assert flat.slope[-1] == 0.0
        assert np.isnan(flat.t_value[-1])
        assert np.isnan(flat.correlation[-1])
        assert np.isnan(Line(same, np.arange(20.0), 7).slope[-1])
        straight = Line(np.arange(20.0), 0.3 * np.arange(20.0), 7)
    assert straight.slope[-1] == pytest.approx(0.3, rel=1e-14)
    assert np.isnan(straight.t_value[-1])
