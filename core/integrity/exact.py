"""Decimals as whole numbers, so that sums are exact: doubles nearest to decimals of up to 12 places give them back."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.datasets.grid import Ints

PLACES: Final = 12
"""More than the exchange publishes."""
SCALE: Final = 10**PLACES
_EXACT: Final = float(2**53)


def places_of(values: npt.NDArray[np.float64]) -> int:
    """The fewest decimals with which all values are written, at most 12."""
    rest = values[np.isfinite(values)]
    for places in range(PLACES):
        scale = 10.0**places
        scaled = rest * scale
        whole = np.rint(scaled)
        rest = rest[(whole / scale != rest) & (np.abs(scaled) < _EXACT)]
        if not len(rest):
            return places
    return PLACES


def sums(values: npt.NDArray[np.float64], first: Ints, places: int) -> list[int]:
    """The exact sum of each run of values that begins at `first`, in units of 1e-12."""
    units = 10 ** (PLACES - places)
    whole = np.rint(values * 10.0**places)
    if np.abs(whole).sum() < _EXACT:
        return [int(each) * units for each in np.add.reduceat(whole, first)] if len(first) else []
    low = whole.astype(np.int64) if np.abs(whole).max() < 2.0**62 else None
    if low is None or float(np.abs(whole).sum()) > 2.0**62:
        return [sum(map(int, part)) * units for part in np.split(whole, first[1:])]
    return [each * units for each in np.add.reduceat(low, first).tolist()]


def doubles(sums_of: list[int]) -> npt.NDArray[np.float64]:
    """The doubles nearest to exact sums in units of 1e-12."""
    return np.array([each / SCALE for each in sums_of], dtype=np.float64)  # Python rounds this division correctly


def text(value: Any) -> str:
    """A number as short as it is exact."""
    return f"{value:.15g}" if float(f"{value:.15g}") == value else repr(float(value))
