"""Scalers that are fitted on the past and kept as numbers. scikit-learn computes them, and is loaded by calling."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from core.errors import ConfigError
from core.learning.arrays import Floats
from core.nearest import one_of

SCALERS = ("standard", "robust", "none")


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
    """Mean and deviation of the columns in one pass over batches of rows, NaN left out; of a column that does not vary
    the scale is 1. `kind='none'`: nothing is scaled, and only the means are kept.

    Batches cut otherwise give the same but for rounding: who wants the same bits cuts them the same.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for batch in batches:
        if len(batch):
            scaler.partial_fit(batch)
    means, scales = np.asarray(scaler.mean_), np.asarray(scaler.scale_)
    if kind == "none":
        return Scaler(kind, np.zeros(len(means)), np.ones(len(means)), means)
    return Scaler(kind, means, scales, means)


def robust(columns: Iterable[Floats]) -> Scaler:
    """Median and interquartile range of each column, whole columns one after the other, NaN left out."""
    from sklearn.preprocessing import RobustScaler

    centers, scales = [], []
    for column in columns:
        scaler = RobustScaler().fit(column.reshape(-1, 1))
        centers.append(float(scaler.center_[0]))
        scales.append(float(scaler.scale_[0]))
    return Scaler("robust", np.array(centers), np.array(scales), np.array(centers))
