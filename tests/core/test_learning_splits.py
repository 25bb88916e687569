"""Purged splits, held against brute force; scaling, against scikit-learn."""

from itertools import combinations, pairwise
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score
from sklearn.preprocessing import RobustScaler, StandardScaler

from core.errors import ConfigError
from core.learning.scaling import robust, standard
from core.learning.splits import CombinatorialPurgedKFold, PurgedKFold, split_by_time

Samples = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@st.composite
def samples(draw: st.DrawFn) -> Samples:
    """Spans that may begin at once, reach far, or end one inside the other."""
    found = sorted(draw(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 15)), min_size=12, max_size=40)))
    starts = np.array([start for start, _ in found])
    return starts, starts + np.array([length for _, length in found])


def overlaps_a_test(spans: Samples, sample: int, blocks: list[range], embargo: int) -> bool:
    """Instant by instant: is any of the sample's in a test block's span, or in the embargo behind it?"""
    starts, ends = spans
    own = set(range(starts[sample], ends[sample] + 1))
    for block in blocks:
        first, last = min(starts[t] for t in block), max(ends[t] for t in block)
        if own & set(range(first, last + embargo + 1)):
            return True
    return False


def assert_purged(spans: Samples, train: Any, test: Any, blocks: list[range], embargo: int) -> None:
    assert test.tolist() == [sample for block in blocks for sample in block]
    expected = [n for n in range(len(spans[0])) if not overlaps_a_test(spans, n, blocks, embargo)]
    assert train.tolist() == expected
    assert not set(train) & set(test)


@settings(max_examples=40, deadline=None)
@given(samples(), st.integers(2, 6), st.integers(0, 6))
def test_no_train_label_overlaps_a_test_span_or_its_embargo_and_no_other_is_left_out(
    spans: Samples, folds: int, embargo: int
) -> None:
    count = len(spans[0])
    blocks = [range(part[0], part[-1] + 1) for part in np.array_split(np.arange(count), folds)]
    splits = PurgedKFold(*spans, folds, embargo)
    assert splits.get_n_splits() == folds
    if any(all(overlaps_a_test(spans, n, [block], embargo) for n in range(count)) for block in blocks):
        with pytest.raises(ConfigError, match="nothing to train on behind purge and embargo"):
            list(splits.split())
        return
    found = list(splits.split(np.zeros((count, 1))))
    assert len(found) == folds
    for (train, test), block in zip(found, blocks, strict=True):
        assert_purged(spans, train, test, [block], embargo)


@settings(max_examples=30, deadline=None)
@given(samples(), st.integers(3, 6), st.integers(1, 3), st.integers(0, 3))
def test_combinations_are_purged_counted_and_put_together(
    spans: Samples, groups: int, tested: int, embargo: int
) -> None:
    tested = min(tested, groups - 1)
    count = len(spans[0])
    blocks = [range(part[0], part[-1] + 1) for part in np.array_split(np.arange(count), groups)]
    splits = CombinatorialPurgedKFold(*spans, groups, tested, embargo)
    assert splits.get_n_splits() == comb(groups, tested)
    assert splits.n_paths * groups == tested * comb(groups, tested)
    chosen = list(combinations(range(groups), tested))
    try:
        found = list(splits.split())
    except ConfigError:
        return
    for (train, test), numbers in zip(found, chosen, strict=True):
        assert_purged(spans, train, test, [blocks[number] for number in numbers], embargo)
    # every split's predictions go to a path once, and each path predicts each sample once, in order
    predictions = [np.array([(split, sample) for sample in test]) for split, (_, test) in enumerate(found)]
    paths = splits.assemble(predictions)
    assert paths.shape == (splits.n_paths, count, 2)
    assert all(path[:, 1].tolist() == list(range(count)) for path in paths)
    used = {(int(split), int(sample)) for path in paths for split, sample in path}
    assert used == {(split, int(sample)) for split, (_, test) in enumerate(found) for sample in test}
    assert len(used) == paths.shape[0] * count


@pytest.mark.parametrize(
    ("groups", "tested", "splits", "paths"), [(6, 2, 15, 5), (10, 2, 45, 9), (5, 1, 5, 1), (6, 3, 20, 10), (4, 3, 4, 3)]
)
def test_the_counts_of_the_book(groups: int, tested: int, splits: int, paths: int) -> None:
    rows = np.arange(60)
    found = CombinatorialPurgedKFold(rows, rows, groups, tested)
    assert (found.get_n_splits(), found.n_paths, len(list(found.split()))) == (splits, paths, splits)
    assert found.paths().shape == (paths, groups)


def test_the_paths_of_six_groups_are_those_of_the_book() -> None:
    """AFML 12.4.1, figure 12.1: path 1 takes its groups from the splits 1, 1, 2, 3, 4 and 5."""
    rows = np.arange(6)
    assert (CombinatorialPurgedKFold(rows, rows, 6, 2).paths()[:2] + 1).tolist() == [
        [1, 1, 2, 3, 4, 5],
        [2, 6, 6, 7, 8, 9],
    ]


def test_a_label_that_ends_within_the_first_test_label_is_purged() -> None:
    """A common mistake: to let the test span begin with the end of its first label."""
    starts = np.arange(20)
    ends = starts + 4
    for train, test in PurgedKFold(starts, ends, 4).split():
        first, last = starts[test[0]], ends[test].max()
        assert not any(first <= ends[n] <= last or first <= starts[n] <= last for n in train)
    train, test = list(PurgedKFold(starts, ends, 4).split())[2]
    assert (test.tolist(), train.tolist()) == ([10, 11, 12, 13, 14], [0, 1, 2, 3, 4, 5, 19])


def test_without_overlap_it_is_plain_k_fold() -> None:
    rows = np.arange(23)
    expected = [(a.tolist(), b.tolist()) for a, b in KFold(5).split(rows)]
    assert [(a.tolist(), b.tolist()) for a, b in PurgedKFold(rows, rows, 5).split()] == expected


def test_scikit_learn_takes_them_as_cv() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(120, 2))
    y = x @ [1.0, -2.0]
    rows = np.arange(120)
    assert cross_val_score(LinearRegression(), x, y, cv=PurgedKFold(rows, rows + 5, 4)) == pytest.approx([1] * 4)
    combined = CombinatorialPurgedKFold(rows, rows + 5, 5, 2)
    assert cross_val_score(LinearRegression(), x, y, cv=combined) == pytest.approx([1] * 10)
    predicted = cross_val_predict(LinearRegression(), x, y, cv=PurgedKFold(rows, rows + 5, 4))
    np.testing.assert_allclose(predicted, y, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(samples(), st.sampled_from([(0.7, 0.3), (0.6, 0.2, 0.2), (1.0,)]), st.integers(0, 6))
def test_parts_follow_each_other_and_no_label_reaches_the_next(
    spans: Samples, shares: tuple[float, ...], embargo: int
) -> None:
    starts, ends = (values.tolist() for values in spans)
    cuts = [round(len(starts) * float(share)) for share in np.cumsum(shares)[:-1]]
    bounds = [0, *(starts.index(starts[cut]) for cut in cuts), len(starts)]  # those that begin at once stay together
    expected = []
    for low, high in pairwise(bounds):
        limit = starts[high] if high < len(starts) else 10**9
        expected.append([n for n in range(low, high) if ends[n] + embargo < limit])
    if not all(expected):
        with pytest.raises(ConfigError, match="is empty"):
            split_by_time(*spans, shares, embargo)
        return
    parts = split_by_time(*spans, shares, embargo)
    assert [part.tolist() for part in parts] == expected
    for before, after in pairwise(parts):
        assert spans[1][before].max() + embargo < spans[0][after[0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PurgedKFold([1, 0], [1, 1], 2), "starts: samples have to be in order of time"),
        (lambda: PurgedKFold([0, 1], [0, 0], 2), "ends: sample 1 ends before it begins"),
        (lambda: PurgedKFold([0, 1], [0], 2), "ends: 1 for 2 starts"),
        (lambda: PurgedKFold([], [], 2), "ends: 0 for 0 starts"),
        (lambda: PurgedKFold([0.5], [1], 2), "starts: give one whole number for each event"),
        (lambda: PurgedKFold([0, 1], [0, 1], 1), "n_splits: 1 is not a whole number from 2 on"),
        (lambda: PurgedKFold([0, 1], [0, 1], 3), "n_splits: 3 parts of 2 samples"),
        (lambda: PurgedKFold([0, 1], [0, 1], 2, -1), "embargo: -1 is not a whole number from 0 on"),
        (lambda: list(PurgedKFold([0, 1], [0, 1], 2).split([1, 2, 3])), "X: 3 samples, and spans of 2 are known"),
        (lambda: list(PurgedKFold([0, 1], [9, 9], 2).split()), "fold 1 has nothing to train on"),
        (lambda: CombinatorialPurgedKFold([0, 1], [0, 1], 2, 2), "n_test_groups: 2 is not from 1 to 1"),
        (lambda: CombinatorialPurgedKFold([0, 1], [0, 1], 2, 1).assemble([[1]]), "predictions: 1 for 2 splits"),
        (lambda: CombinatorialPurgedKFold([0, 1], [0, 1], 2, 1).assemble([[1], [1, 2]]), "split 2 has 2 for 1"),
        (lambda: split_by_time([0, 1], [0, 1], (0.5, 0.4)), "shares: (0.5, 0.4) are not parts of 1"),
        (lambda: split_by_time([0, 1], [9, 9], (0.5, 0.5)), "part 1 of 2 is empty: 2 samples are too few"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert message in str(caught.value)


# scaling


def test_scaling_in_one_pass_is_what_scikit_learn_does_at_once() -> None:
    random = np.random.default_rng(5)
    values = random.normal(3, 10, (500, 4)) * [1, 1e-6, 1e6, 0] + [0, 0, 0, 7]
    values[random.random(values.shape) < 0.1] = np.nan
    batches = np.array_split(values, 7)
    scaler = standard(batches)
    whole = StandardScaler().fit(values)
    np.testing.assert_allclose(scaler.centers, whole.mean_, rtol=1e-12)
    np.testing.assert_allclose(scaler.scales, whole.scale_, rtol=1e-12)
    assert scaler.scales[3] == 1
    assert standard(np.array_split(values, 7)).centers.tolist() == scaler.centers.tolist()
    scaled = scaler.apply(values, fill=False)
    np.testing.assert_allclose(scaled, whole.transform(values), rtol=1e-9, atol=1e-9)
    filled = scaler.apply(values, fill=True)
    assert np.array_equal(filled, np.where(np.isnan(values), 0.0, scaled))


def test_a_column_may_begin_late_and_one_may_have_nothing() -> None:
    late = np.array([[1.0, np.nan, np.nan], [2.0, np.nan, np.nan], [4.0, 3.0, np.nan], [5.0, 5.0, np.nan]])
    for scaler in (standard([late[:2], late[2:]]), standard([late])):
        assert scaler.centers.tolist()[:2] == [3.0, 4.0]
        assert scaler.scales.tolist() == pytest.approx([np.sqrt(2.5), 1.0, 1.0])
        assert np.isnan(scaler.centers[2])
    assert robust(late.T).centers.tolist()[:2] == [3.0, 4.0]
    assert np.isnan(robust(late.T).centers[2])
    with pytest.raises(ConfigError, match="no rows to fit a scaler on"):
        standard([])


def test_robust_scaling_is_that_of_scikit_learn() -> None:
    values = np.random.default_rng(5).standard_cauchy((301, 3))
    values[::7, 1] = np.nan
    scaler = robust(values.T)
    whole = RobustScaler().fit(values)
    np.testing.assert_array_equal(scaler.centers, whole.center_)
    np.testing.assert_array_equal(scaler.scales, whole.scale_)
    assert np.array_equal(scaler.apply(values, fill=False), whole.transform(values), equal_nan=True)


def test_no_scaling_leaves_values_and_knows_their_means() -> None:
    values = np.array([[1.0, 2.0], [3.0, np.nan]])
    scaler = standard([values], "none")
    assert scaler.apply(values, fill=True).tolist() == [[1, 2], [3, 2]]
