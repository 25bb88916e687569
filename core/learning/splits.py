"""Splits in time that leave no label of the train part any knowledge of the test part (AFML, chapters 7 and 12).

A sample begins where its features are known (`starts`) and ends where its label is decided (`ends`), both in one unit:
rows, or microseconds. A test block is a run of neighbouring samples; its span is closed, from its first start to its
latest end. A sample is in the train part only if it ends before that span begins, or begins more than `embargo` after
it ends. Each other sample is.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import ConfigError
from core.learning.arrays import Integers, integers

Split = tuple[Integers, Integers]
"""The numbers of the samples to train on, and of those to test on; both rising."""


def split_by_time(
    starts: npt.ArrayLike, ends: npt.ArrayLike, shares: Sequence[float], embargo: int = 0
) -> tuple[Integers, ...]:
    """Parts that follow each other in time, such as 70, 15 and 15 per cent of the samples: `shares` of about 1 in sum.

    Of each part but the last only those samples stay whose label ends more than `embargo` before the next part begins.
    Samples that begin at once stay in one part. Raises ConfigError if a part would be empty.
    """
    first, last = _checked(starts, ends, embargo)
    if len(shares) < 1 or not all(0 < share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-9:
        raise ConfigError(f"shares: {tuple(shares)} are not parts of 1, each above 0")
    cuts = [round(len(first) * float(share)) for share in np.cumsum(shares)[:-1]]
    bounds = [0, *(int(np.searchsorted(first, first[min(cut, len(first) - 1)])) for cut in cuts), len(first)]
    parts = []
    for number, (low, high) in enumerate(pairwise(bounds)):
        part = np.arange(low, high, dtype=np.int64)
        if high < len(first):
            part = part[last[low:high] + embargo < first[high]]
        if len(part) == 0:
            raise ConfigError(
                f"part {number + 1} of {len(shares)} is empty: {len(first)} samples are too few for shares "
                f"{tuple(shares)} with an embargo of {embargo}; take more data, or a shorter label horizon or embargo"
            )
        parts.append(part)
    return tuple(parts)


class PurgedKFold:
    """k-fold cross-validation over time, purged and with an embargo, for scikit-learn's `cv=`.

    `starts` rise; `split` gives as many folds as `n_splits`, each sample tested once. Raises ConfigError.
    """

    def __init__(self, starts: npt.ArrayLike, ends: npt.ArrayLike, n_splits: int = 5, embargo: int = 0) -> None:
        self._spans = _checked(starts, ends, embargo)
        self._embargo = embargo
        self._blocks = _blocks(len(self._spans[0]), n_splits, "n_splits")

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803
        return len(self._blocks)

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Split]:  # noqa: N803
        """Train and test numbers of each fold. Raises ConfigError if nothing is left to train on."""
        _same_length(X, len(self._spans[0]))
        for number, block in enumerate(self._blocks):
            yield _split(self._spans, [block], self._embargo, f"fold {number + 1}")


class CombinatorialPurgedKFold:
    """Every choice of `n_test_groups` out of `n_groups` is tested once: C(N, k) splits, which make C(N - 1, k - 1)
    paths, on each of which each sample is tested once. For scikit-learn's `cv=`, and `assemble` for the paths.
    """

    def __init__(
        self,
        starts: npt.ArrayLike,
        ends: npt.ArrayLike,
        n_groups: int = 6,
        n_test_groups: int = 2,
        embargo: int = 0,
    ) -> None:
        self._spans = _checked(starts, ends, embargo)
        self._embargo = embargo
        self._groups = _blocks(len(self._spans[0]), n_groups, "n_groups")
        if not 1 <= n_test_groups < n_groups:
            raise ConfigError(f"n_test_groups: {n_test_groups} is not from 1 to {n_groups - 1}")
        self._tested = list(combinations(range(n_groups), n_test_groups))

    @property
    def n_paths(self) -> int:
        return comb(len(self._groups) - 1, len(self._tested[0]) - 1)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803
        return len(self._tested)

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Split]:  # noqa: N803
        """Train and test numbers of each split, in the order of `itertools.combinations` of the groups."""
        _same_length(X, len(self._spans[0]))
        for tested in self._tested:
            blocks = [self._groups[group] for group in tested]
            named = ", ".join(str(group + 1) for group in tested)
            yield _split(self._spans, blocks, self._embargo, f"the split that tests groups {named}")

    def paths(self) -> Integers:
        """Of each path (a line) and group (a column), the split whose predictions it takes: the p-th that tests the
        group. Each split's group is taken by one path."""
        groups = range(len(self._groups))
        found = [[split for split, tested in enumerate(self._tested) if group in tested] for group in groups]
        return np.array(found, dtype=np.int64).T

    def assemble(self, predictions: Sequence[npt.ArrayLike]) -> npt.NDArray[Any]:
        """The predictions of all splits, each in the order of its test numbers, put together as paths: an array of
        paths by samples (by whatever else a prediction has). Raises ConfigError if one is of another length."""
        if len(predictions) != len(self._tested):
            raise ConfigError(f"predictions: {len(predictions)} for {len(self._tested)} splits")
        pieces: dict[tuple[int, int], npt.NDArray[Any]] = {}
        for split, (tested, values) in enumerate(zip(self._tested, predictions, strict=True)):
            array = np.asarray(values)
            ends = np.cumsum([len(self._groups[group]) for group in tested])
            if len(array) != ends[-1]:
                raise ConfigError(f"predictions: split {split + 1} has {len(array)} for {ends[-1]} test samples")
            for group, piece in zip(tested, np.split(array, ends[:-1]), strict=True):
                pieces[split, group] = piece
        lines = [[pieces[int(split), group] for group, split in enumerate(path)] for path in self.paths()]
        return np.stack([np.concatenate(line) for line in lines])


def _split(spans: Split, blocks: Sequence[range], embargo: int, what: str) -> Split:
    starts, ends = spans
    keep = np.ones(len(starts), np.bool_)
    for block in blocks:
        inside = slice(block.start, block.stop)
        keep &= (ends < starts[block.start]) | (starts > ends[inside].max() + embargo)
    train = np.flatnonzero(keep).astype(np.int64)
    if len(train) == 0:
        raise ConfigError(f"{what} has nothing to train on behind purge and embargo; take more data, or fewer folds")
    return train, np.concatenate([np.arange(block.start, block.stop, dtype=np.int64) for block in blocks])


def _blocks(count: int, parts: int, what: str) -> list[range]:
    """Runs of about the same length, the longer ones first, as scikit-learn's KFold makes them."""
    if isinstance(parts, bool) or not isinstance(parts, int | np.integer) or parts < 2:
        raise ConfigError(f"{what}: {parts!r} is not a whole number from 2 on")
    if parts > count:
        raise ConfigError(f"{what}: {parts} parts of {count} samples; take more data, or fewer parts")
    sizes = [count // parts + (number < count % parts) for number in range(parts)]
    ends = np.cumsum(sizes).tolist()
    return [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _checked(starts: npt.ArrayLike, ends: npt.ArrayLike, embargo: int) -> Split:
    first, last = integers(starts, "starts"), integers(ends, "ends")
    if len(first) != len(last) or len(first) == 0:
        raise ConfigError(f"ends: {len(last)} for {len(first)} starts; give one for each sample")
    if np.any(first[1:] < first[:-1]):
        raise ConfigError("starts: samples have to be in order of time")
    if np.any(last < first):
        raise ConfigError(f"ends: sample {np.flatnonzero(last < first)[0]} ends before it begins")
    if isinstance(embargo, bool) or not isinstance(embargo, int | np.integer) or embargo < 0:
        raise ConfigError(f"embargo: {embargo!r} is not a whole number from 0 on, in the unit of starts")
    return first, last


def _same_length(samples: Any, count: int) -> None:
    """Raises ConfigError if there are others than those whose spans are known."""
    shape = getattr(samples, "shape", None)
    length = count if samples is None else int(shape[0]) if shape is not None else len(samples)
    if length != count:
        raise ConfigError(f"X: {length} samples, and spans of {count} are known; give these splits all of them")
