"""Weights and the sequential bootstrap: the book's own example, and slow twins."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from core.learning.bootstrap import sequential_bootstrap
from core.learning.weights import average_uniqueness, concurrency, return_attribution, time_decay

SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8)), min_size=1, max_size=15).map(sorted)


def twin_matrix(rows: Any, ends: Any) -> np.ndarray[Any, Any]:
    """The indicator matrix: a line per row, a column per label (AFML 4.3)."""
    matrix = np.zeros((int(max(ends)) + 1, len(rows)))
    for label, (row, end) in enumerate(zip(rows, ends, strict=True)):
        matrix[row + 1 : end + 1, label] = 1
    return matrix


def twin_uniqueness(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    shared = matrix / np.maximum(matrix.sum(axis=1), 1)[:, None]
    found: np.ndarray[Any, Any] = shared.sum(axis=0) / matrix.sum(axis=0)
    return found


@settings(deadline=None)
@given(SPANS)
def test_concurrency_and_uniqueness_are_those_of_the_indicator_matrix(found: list[tuple[int, int]]) -> None:
    rows = np.array([row for row, _ in found])
    ends = rows + [length for _, length in found]
    matrix = twin_matrix(rows, ends)
    assert concurrency(rows, ends).tolist() == matrix.sum(axis=1).tolist()
    assert concurrency(rows, ends, 40).tolist() == matrix.sum(axis=1).tolist() + [0] * (40 - len(matrix))
    np.testing.assert_allclose(average_uniqueness(rows, ends), twin_uniqueness(matrix), rtol=1e-14)
    close = np.exp(np.random.default_rng(1).normal(0, 0.1, len(matrix)))
    change = np.diff(np.log(close), prepend=np.log(close[0]))
    own = np.abs((matrix * (change / np.maximum(matrix.sum(axis=1), 1))[:, None]).sum(axis=0))
    np.testing.assert_allclose(return_attribution(close, rows, ends), own * len(rows) / own.sum(), rtol=1e-9)


def test_attribution_by_hand() -> None:
    close = np.exp([0.0, 0.1, 0.3, 0.2])
    # label 0 has the returns of rows 1 and 2, label 1 those of 2 and 3; row 2 is shared
    raw = np.array([0.1 + 0.2 / 2, 0.2 / 2 - 0.1])
    np.testing.assert_allclose(return_attribution(close, [0, 1], [2, 3]), raw * 2 / raw.sum(), atol=1e-12)
    assert return_attribution([5.0, 5.0, 5.0], [0, 1], [1, 2]).tolist() == [1.0, 1.0]


def test_the_example_of_the_book() -> None:
    """AFML 4.5.3: labels over the returns 1-3, 3-4 and 5-6; the second is drawn first."""
    rows, ends = np.array([0, 2, 4]), np.array([3, 4, 6])
    assert concurrency(rows, ends).tolist() == [0, 1, 1, 2, 1, 1, 1]
    assert average_uniqueness(rows, ends).tolist() == pytest.approx([5 / 6, 3 / 4, 1])
    chances = []
    for label in range(3):
        both = np.array([1, label])
        chances.append(float(average_uniqueness(rows[both], ends[both])[1]))
    assert np.array(chances) / sum(chances) == pytest.approx([5 / 14, 3 / 14, 6 / 14])


def twin_draws(rows: Any, ends: Any, size: int, seed: int) -> list[int]:
    matrix = twin_matrix(rows, ends)
    drawn: list[int] = []
    for uniform in np.random.default_rng(seed).random(size):
        chances = []
        for label in range(len(rows)):
            chances.append(twin_uniqueness(matrix[:, [*drawn, label]])[-1])
        reached = np.cumsum(chances)
        drawn.append(int(np.searchsorted(reached, uniform * reached[-1], side="right")))
    return drawn


@settings(deadline=None, max_examples=30)
@given(SPANS, st.integers(0, 1000))
def test_draws_are_those_of_the_literal_algorithm(found: list[tuple[int, int]], seed: int) -> None:
    rows = np.array([row for row, _ in found])
    ends = rows + [length for _, length in found]
    assert sequential_bootstrap(rows, ends, 12, seed).tolist() == twin_draws(rows, ends, 12, seed)


def test_the_second_draw_has_the_chances_of_the_book() -> None:
    rows, ends = np.array([0, 2, 4]), np.array([3, 4, 6])
    draws = np.array([sequential_bootstrap(rows, ends, 2, seed) for seed in range(6000)])
    seconds = draws[draws[:, 0] == 1, 1]
    share = np.bincount(seconds, minlength=3) / len(seconds)
    sigma = 0.5 / np.sqrt(len(seconds))
    np.testing.assert_allclose(share, [5 / 14, 3 / 14, 6 / 14], atol=4 * sigma)


def test_a_sequential_sample_is_more_unique_than_one_drawn_blindly() -> None:
    """The experiment of AFML 4.5.4: ten labels of up to four returns in a hundred rows; each run has its own spans."""
    found = []
    for seed in range(1000):
        random = np.random.default_rng(seed)
        rows = np.sort(random.integers(0, 100, 10))
        ends = rows + random.integers(1, 5, 10)
        chosen, blind = sequential_bootstrap(rows, ends, seed=seed), random.integers(0, 10, 10)
        found.append([float(average_uniqueness(rows[drawn], ends[drawn]).mean()) for drawn in (chosen, blind)])
    sequential, plain = np.array(found).T
    gain = sequential - plain
    assert gain.mean() > 5 * gain.std() / np.sqrt(len(gain))
    assert np.median(plain) == pytest.approx(0.6, abs=0.05)  # the book's figures
    assert np.median(sequential) == pytest.approx(0.7, abs=0.05)


def test_the_same_seed_draws_the_same() -> None:
    rows = np.arange(200)
    ends = rows + 9
    assert sequential_bootstrap(rows, ends, seed=3).tolist() == sequential_bootstrap(rows, ends, seed=3).tolist()
    assert sequential_bootstrap(rows, ends, seed=3).tolist() != sequential_bootstrap(rows, ends, seed=4).tolist()
    assert len(sequential_bootstrap(rows, ends, 0)) == 0


def test_decay_is_a_line_over_uniqueness() -> None:
    assert time_decay([1, 1, 2], 1.0).tolist() == [1, 1, 1]
    assert time_decay([1, 1, 2], 0.0).tolist() == pytest.approx([0.25, 0.5, 1])
    assert time_decay([1, 1, 2], 0.5).tolist() == pytest.approx([0.625, 0.75, 1])
    assert time_decay([1, 1, 2], -0.5).tolist() == pytest.approx([0, 0, 1])
    assert time_decay([1, 1, 1, 1], -0.5).tolist() == pytest.approx([0, 0, 0.5, 1])
    assert time_decay([], 0.5).tolist() == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: concurrency([0, 1], [1]), "ends: 1 for 2 rows"),
        (lambda: concurrency([2], [2]), "label 0 begins at row 2 and ends at row 2"),
        (lambda: concurrency([0], [5], 3), "count: a label ends at row 5, and there are 3 rows"),
        (lambda: return_attribution([1.0, 2.0], [0], [2]), "count: a label ends at row 2"),
        (lambda: time_decay([1.0], -1), "oldest: -1 is not above -1"),
        (lambda: time_decay([0.0], 1), "uniqueness: every label has some"),
        (lambda: sequential_bootstrap([], []), "size: 0 labels cannot be drawn of 0"),
        (lambda: sequential_bootstrap([0], [1], -1), "size: -1 labels"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert message in str(caught.value)
