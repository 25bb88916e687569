"""Labels and events: held against slow twins that say what the definitions say, and their law of truncation."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from core.learning.events import cusum_events
from core.learning.labels import Labels, fixed_horizon, triple_barrier, volatility

PATHS = st.lists(st.sampled_from([98.0, 99.0, 99.5, 100.0, 100.5, 101.0, 102.0]), min_size=1, max_size=40)
"""Of few values, so that barriers and thresholds are often met exactly."""


def walk(rows: int, seed: int = 7, size: float = 0.01) -> np.ndarray[Any, Any]:
    return np.exp(np.cumsum(np.random.default_rng(seed).normal(0, size, rows))) * 100


@settings(deadline=None)
@given(path=PATHS, horizon=st.integers(1, 12), threshold=st.sampled_from([0.0, 0.005, 0.01, 100.5 / 100 - 1]))
def test_a_fixed_horizon_is_what_its_definition_says(path: list[float], horizon: int, threshold: float) -> None:
    found = fixed_horizon(path, horizon, threshold)
    expected = []
    for row in range(len(path) - horizon):
        change = path[row + horizon] / path[row] - 1
        expected.append((row, row + horizon, 1 if change > threshold else -1 if change < -threshold else 0, change))
    assert list(zip(found.rows, found.ends, found.labels, found.returns, strict=True)) == expected
    assert found.unfinished == min(horizon, len(path))


def test_a_change_up_to_the_threshold_is_neutral() -> None:
    assert fixed_horizon([100, 101, 100, 99], 1, 101 / 100 - 1).labels.tolist() == [0, 0, 0]
    assert fixed_horizon([100, 101, 100, 99], 1, 0.0099).labels.tolist() == [1, -1, -1]


def twin_of_barriers(
    path: Sequence[float],
    rows: Sequence[int],
    horizon: int,
    widths: Sequence[float],
    multiples: tuple[float, float],
    sides: Sequence[int] | None = None,
    extremes: tuple[Sequence[float], Sequence[float]] | None = None,
    ties: str | None = None,
) -> list[tuple[int, int, int, int]]:
    """(row, end, label, touched) of each event, written as the book says it."""
    highs, lows = extremes or (path, path)
    taken = ties or ("neutral" if sides is None else "loss")
    found = []
    for row in rows:
        if row + horizon >= len(path) or not widths[row] > 0:
            continue
        side = 1 if sides is None else sides[row]
        up, down = multiples if side == 1 else multiples[::-1]
        above = path[row] * (1 + widths[row] * up) if up else math.inf
        below = path[row] * (1 - widths[row] * down) if down else -math.inf
        end, touched = row + horizon, 0
        for later in range(row + 1, row + horizon + 1):
            reached = [
                barrier for barrier, is_met in ((1, highs[later] >= above), (-1, lows[later] <= below)) if is_met
            ]
            if reached:
                wanted = {"profit": side, "loss": -side, "neutral": 0}[taken]
                end, touched = later, wanted if len(reached) == 2 else reached[0]
                break
        label = touched if sides is None else int(touched * side > 0)
        found.append((row, end, label, touched))
    return found


@settings(deadline=None)  # the first call compiles
@given(
    path=PATHS,
    horizon=st.integers(1, 9),
    multiples=st.sampled_from([(1.0, 1.0), (2.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.5, 0.5)]),
    ties=st.sampled_from(["loss", "profit", "neutral", None]),
    kind=st.sampled_from(["closes", "extremes", "sides", "all"]),
    data=st.data(),
)
def test_barriers_are_touched_where_a_literal_twin_touches_them(
    path: list[float], horizon: int, multiples: tuple[float, float], ties: str | None, kind: str, data: st.DataObject
) -> None:
    count = len(path)
    widths = data.draw(st.lists(st.sampled_from([0.0, 0.005, 0.01, 0.02, math.nan]), min_size=count, max_size=count))
    rows = sorted(data.draw(st.sets(st.integers(0, count - 1))))
    sides = extremes = None
    if kind in ("sides", "all"):
        sides = data.draw(st.lists(st.sampled_from([1, -1]), min_size=count, max_size=count))
    if kind in ("extremes", "all"):
        reach = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=count, max_size=count)
        ups, downs = data.draw(reach), data.draw(reach)
        extremes = [p + u for p, u in zip(path, ups, strict=True)], [p - d for p, d in zip(path, downs, strict=True)]
    high, low = extremes or (None, None)
    found = triple_barrier(
        path, horizon, widths, *multiples, events=np.array(rows, np.int64), side=sides, high=high, low=low, ties=ties
    )
    expected = twin_of_barriers(path, rows, horizon, widths, multiples, sides, extremes, ties)
    assert list(zip(found.rows, found.ends, found.labels, found.touched, strict=True)) == expected
    assert len(found) + found.unfinished + found.undefined == len(rows)
    assert found.unfinished == sum(row + horizon >= count for row in rows)


def test_a_row_that_touches_both_barriers_loses_with_a_side_and_else_is_neutral() -> None:
    path, high, low = [100.0, 100.0, 100.0], [100.0, 102.0, 100.0], [100.0, 98.0, 100.0]
    for side, ties, label, gained in (
        (None, None, 0, 0.0),
        (None, "neutral", 0, 0.0),
        ([1, 1, 1], None, 0, -0.01),
        ([-1, -1, -1], "neutral", 0, 0.0),
        (None, "loss", -1, -0.01),
        (None, "profit", 1, 0.01),
        ([1, 1, 1], "loss", 0, -0.01),
        ([1, 1, 1], "profit", 1, 0.01),
        ([-1, -1, -1], "loss", 0, 0.01),
        ([-1, -1, -1], "profit", 1, -0.01),
    ):
        found = triple_barrier(path, 2, 0.01, events=[0], side=side, high=high, low=low, ties=ties)
        assert (found.labels.tolist(), found.ends.tolist()) == ([label], [1])
        assert found.returns.tolist() == pytest.approx([gained])
        assert found.is_tie.tolist() == [True]
        signed = triple_barrier(path, 2, 0.01, events=[0], high=high, low=low, vertical="sign")
        assert signed.labels.tolist() == [0]


@pytest.mark.parametrize("width", [0.0, 1e-17])
def test_barriers_at_the_entry_itself_are_none(width: float) -> None:
    found = triple_barrier([100.0] * 5, 2, width)
    assert (len(found), found.unfinished, found.undefined) == (0, 2, 3)
    flat = [100.0] * 30 + [100.0, 101.0, 100.0, 101.0, 100.0, 101.0]
    found = triple_barrier(flat, 3, volatility(flat, 10))
    assert found.rows.tolist() == [31, 32]
    assert found.undefined == 31


def test_the_end_is_neutral_or_the_sign_of_the_return() -> None:
    path = [100.0, 100.2, 100.4, 100.2, 100.0]
    assert triple_barrier(path, 2, 0.01).labels.tolist() == [0, 0, 0]
    assert triple_barrier(path, 2, 0.01, vertical="sign").labels.tolist() == [1, 0, -1]
    assert triple_barrier(path, 2, 0.01, side=[1] * 5, vertical="sign").labels.tolist() == [1, 0, 0]
    assert triple_barrier(path, 2, 0.01, side=[-1] * 5, vertical="sign").labels.tolist() == [0, 0, 1]


def same_start(whole: Labels, other: Labels, count: int) -> None:
    """The first so many events, all that were decided by then."""
    for name in ("rows", "ends", "labels", "returns", "touched", "is_tie"):
        np.testing.assert_array_equal(getattr(whole, name)[:count], getattr(other, name)[:count])


def test_labels_do_not_change_with_what_comes_behind_their_end() -> None:
    """Rows from a cut on are taken away, or other ones: what was decided before stays, event by event."""
    path = walk(400)
    spread = np.abs(np.random.default_rng(1).normal(0, 0.3, 400))
    high, low = path + spread, path - spread
    changed = 0
    for cut in range(40, 400, 7):
        later = np.concatenate([path[:cut], walk(400 - cut, seed=cut, size=0.2)])
        wider = np.where(np.arange(400) < cut, spread, 40 * spread)
        for other, more in ((path[:cut], spread[:cut]), (later, np.minimum(wider, later / 2))):
            whole, found = fixed_horizon(path, 20, 0.01), fixed_horizon(other, 20, 0.01)
            decided = int((whole.ends < cut).sum())
            assert decided == cut - 20
            same_start(whole, found, decided)
            for width in (lambda values: 0.02, lambda values: volatility(values, 30)):
                whole = triple_barrier(path, 20, width(path), high=high, low=low)
                found = triple_barrier(other, 20, width(other), high=other + more, low=other - more)
                decided = int(np.argmax(np.append(whole.rows + 20, cut) >= cut))
                assert decided > 0
                same_start(whole, found, decided)
                early = np.flatnonzero(whole.ends[: len(found)] < cut)  # decided by the cut, of whatever horizon
                np.testing.assert_array_equal(whole.labels[early], found.labels[early])
                changed += len(found) > decided and not np.array_equal(
                    whole.labels[decided : len(found)], found.labels[decided:][: len(whole.labels) - decided]
                )
            assert cusum_events(other, 0.03)[: np.sum(cusum_events(other, 0.03) < cut)].tolist() == [
                row for row in cusum_events(path, 0.03).tolist() if row < cut
            ]
    assert changed > 50  # so what comes later is not the same


def test_volatility_is_the_deviation_that_pandas_computes() -> None:
    path = walk(2000)
    for span in (2, 10, 300):
        expected = pd.Series(np.log(path)).diff().ewm(span=span).std().to_numpy()
        np.testing.assert_allclose(volatility(path, span), expected, rtol=1e-9)
    assert np.isnan(volatility([100.0], 5)).tolist() == [True]


@settings(deadline=None)
@given(path=PATHS, data=st.data())
def test_cusum_fires_where_the_book_says(path: list[float], data: st.DataObject) -> None:
    limits = data.draw(st.lists(st.sampled_from([0.004, 0.01, 0.03, math.nan]), min_size=len(path), max_size=len(path)))
    up = down = 0.0
    expected = []
    for row, limit in enumerate(limits):
        change = 0.0 if row == 0 else float(np.log(path[row]) - np.log(path[row - 1]))
        if math.isnan(limit):
            continue
        up, down = max(0.0, up + change), min(0.0, down + change)
        if up >= limit or down <= -limit:
            expected.append(row)
        up, down = 0.0 if up >= limit else up, 0.0 if down <= -limit else down
    assert cusum_events(path, limits).tolist() == expected


def test_cusum_of_a_staircase() -> None:
    path = np.exp(np.array([0, 1, 2, 3, 2, 1, 0, -1, -1, -1]) * 0.25)
    assert cusum_events(path, 0.49).tolist() == [2, 5, 7]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fixed_horizon([1.0, 0.0], 1), "close: row 1 is 0.0; every row needs a price above 0"),
        (lambda: fixed_horizon([1.0, math.nan], 1), "close: row 1 is nan"),
        (lambda: fixed_horizon([[1.0]], 1), "close: it has 2 dimensions"),
        (lambda: fixed_horizon(["a"], 1), "close: these are no numbers"),
        (lambda: fixed_horizon([1.0, 2.0], 0), "horizon: 0 is not a number of rows from 1 on"),
        (lambda: fixed_horizon([1.0, 2.0], True), "horizon: True"),
        (lambda: fixed_horizon([1.0, 2.0], 1, -0.1), "threshold: -0.1 is below 0"),
        (lambda: fixed_horizon([1.0, 2.0], 1, [0.1]), "threshold: 1 values for 2 rows"),
        (lambda: fixed_horizon([1.0, 2.0], 1, events=[1, 0]), "events: rows have to rise, from 0 to at most 1"),
        (lambda: fixed_horizon([1.0, 2.0], 1, events=[0.5]), "events: give one whole number"),
        (lambda: triple_barrier([1.0, 2.0], 1, 0.1, ties="los"), "ties: 'los'; did you mean 'loss'?"),
        (lambda: triple_barrier([1.0, 2.0], 1, 0.1, vertical="x"), "vertical: 'x'"),
        (lambda: triple_barrier([1.0, 2.0], 1, 0.1, profit=-1), "profit and loss are multiples"),
        (lambda: triple_barrier([1.0, 2.0], 1, 0.1, high=[1, 2]), "high and low: give both"),
        (lambda: triple_barrier([1.0, 2.0], 1, 0.1, high=[1, 1], low=[1, 1]), "high: row 1 is 1.0, and its close 2.0"),
        (lambda: triple_barrier([1.0, 2.0], 1, 0.1, high=[1, 2], low=[1, 3]), "low: row 1 is 3.0"),
        (lambda: triple_barrier([1.0, 2.0], 1, 0.1, side=[0, 1]), "side: an event has 0; it is 1"),
        (lambda: triple_barrier([1.0, 2.0], 1, -0.1), "width: -0.1 is below 0"),
        (lambda: volatility([1.0, 2.0], 1), "span: 1 is not a number of rows from 2 on"),
        (lambda: cusum_events([1.0, 2.0], 0), "threshold: 0.0 is not above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert message in str(caught.value)


def test_nothing_gives_nothing() -> None:
    assert len(fixed_horizon([], 3)) == len(triple_barrier([], 3, 0.1)) == len(cusum_events([], 0.1)) == 0
