"""Scalers that are fitted on the past and kept as numbers; scikit-learn's StandardScaler and RobustScaler, in batches.

Its own StandardScaler is not asked: in batches it gives NaN for a column whose first batch has no value at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.errors import ConfigError
from core.learning.arrays import Floats
from core.nearest import one_of

SCALERS: Final = ("standard", "robust", "none")
_EPSILON: Final = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Scaler:
    """`(x - center) / scale` for each column; `kind` is one of SCALERS. `fills` are the columns' own centers, also
    where nothing is scaled: what a value that is not known is taken for."""

    kind: str
    centers: Floats
    scales: Floats
    fills: Floats

    def apply(self, values: Floats, fill: bool) -> Floats:
        """New values, a line per row; NaN stays NaN, or with `fill` becomes the column's center."""
        known = np.where(np.isnan(values), self.fills, values) if fill else values
        scaled: Floats = (known - self.centers) / self.scales
        return scaled


def checked_scaler(kind: str) -> str:
    if kind not in SCALERS:
        raise ConfigError(f"scaler: {kind!r}{one_of(str(kind), SCALERS)}")
    return kind


def standard(batches: Iterable[Floats], kind: str = "standard") -> Scaler:
    """Mean and population deviation of the columns in one pass over batches of rows, NaN left out.

    Of a column that does not vary the scale is 1; of one without any value the center is NaN. `kind='none'`: nothing
    is scaled, and only the means are kept. Batches cut otherwise give the same but for rounding: who wants the same
    bits cuts them the same. Raises ConfigError if there is no row.
    """
    count: Floats | None = None
    for batch in batches:
        if count is None:
            count, mean, squares = (np.zeros(batch.shape[1]) for _ in range(3))
        is_known = ~np.isnan(batch)
        more = is_known.sum(axis=0)
        some = np.maximum(more, 1)
        values = np.where(is_known, batch, 0.0)
        own = values.sum(axis=0) / some
        spread = np.where(is_known, values - own, 0.0)
        own_squares = (spread * spread).sum(axis=0)
        total = np.maximum(count + more, 1)
        off = np.where(more > 0, own - mean, 0.0)
        mean = mean + off * (more / total)
        squares = squares + own_squares + off * off * (count * more / total)
        count = count + more
    if count is None:
        raise ConfigError("there are no rows to fit a scaler on")
    seen = np.maximum(count, 1)
    variance = squares / seen
    noise = seen * _EPSILON * variance + (seen * mean * _EPSILON) ** 2
    means = np.where(count > 0, mean, np.nan)
    if kind == "none":
        return Scaler(kind, np.zeros(len(means)), np.ones(len(means)), means)
    return Scaler(kind, means, np.where(variance <= noise, 1.0, np.sqrt(variance)), means)


def robust(columns: Iterable[Floats]) -> Scaler:
    """Median and interquartile range of each column, whole columns one after the other, NaN left out; 1 and NaN as in
    `standard`."""
    found = []
    for column in columns:
        known = column[~np.isnan(column)]
        low, center, high = np.percentile(known, (25, 50, 75)) if len(known) else (np.nan,) * 3
        wide = high - low
        found.append((center, wide if wide >= 10 * _EPSILON else 1.0))
    centers, scales = np.array(found).reshape(-1, 2).T.copy()
    return Scaler("robust", centers, scales, centers)
