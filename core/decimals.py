"""Decimals as whole numbers, so that sums are exact: doubles nearest to decimals of up to 12 places give them back."""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.datasets.grid import Ints

PLACES: Final = 12
"""More than the exchange publishes."""
SCALE: Final = 10**PLACES
_EXACT: Final = float(2**53)
_LONG: Final = float(2**62)


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
    return whole_sums(np.rint(values * 10.0**places), first, places)


def products(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], int]:
    """The exact products of decimals, as whole numbers, and of how many places these count units."""
    places = places_of(one), places_of(other)
    a, b = (np.rint(each * 10.0**n).astype(np.int64) for each, n in zip((one, other), places, strict=True))
    if len(a) and float(np.abs(a).max()) * float(np.abs(b).max()) >= _LONG:
        return a.astype(object) * b.astype(object), sum(places)
    return a * b, sum(places)


def whole_sums(whole: npt.NDArray[Any], first: Ints, places: int) -> list[int]:
    """As `sums`, of whole numbers that count units of that many places; of more than 12, the rest is cut off."""
    size = float(np.abs(whole).sum(dtype=None if whole.dtype == object else np.float64))
    if whole.dtype != object and size < _EXACT:
        added = [int(each) for each in np.add.reduceat(whole, first)]
    elif whole.dtype != object and size < _LONG:
        added = np.add.reduceat(whole.astype(np.int64), first).tolist()
    else:
        added = [sum(map(int, part)) for part in np.split(whole, first[1:])]
    if places > PLACES:
        return [each // 10 ** (places - PLACES) for each in added]
    return [each * 10 ** (PLACES - places) for each in added]


def doubles(sums_of: list[int]) -> npt.NDArray[np.float64]:
    """The doubles nearest to exact sums in units of 1e-12."""
    return np.array([each / SCALE for each in sums_of], dtype=np.float64)  # Python rounds this division correctly


def summed(values: npt.NDArray[np.float64], first: Ints) -> npt.NDArray[np.float64]:
    """Of each run of values that begins at `first`, the double nearest to the exact sum of its decimals.

    Each run is summed by itself, whatever stands beside it. A run with a value that is no decimal of up to 12 places,
    or not below 2^53 in units of its last one, gives the double nearest to the sum of the doubles.
    """
    if len(first) == 0:
        return np.zeros(0, dtype=np.float64)
    each = _places_of_each(values)
    places = np.maximum.reduceat(each, first)
    found = np.empty(len(first), dtype=np.float64)
    ends = np.append(first[1:], len(values))
    lengths = ends - first
    for place in np.unique(places).tolist():
        runs = np.flatnonzero(places == place)
        own = np.repeat(places == place, lengths)
        starts = np.append(0, np.cumsum(lengths[runs])[:-1])
        scaled = np.rint(values[own] * 10.0**place)
        sizes = np.add.reduceat(np.abs(scaled), starts)
        found[runs] = np.add.reduceat(scaled, starts) / 10.0**place  # exact below 2^53, then rounded once
        for at in np.flatnonzero(~((sizes < _EXACT) & (place <= PLACES))).tolist():
            run = int(runs[at])
            rest = slice(int(first[run]), int(ends[run]))
            if place <= PLACES:
                found[run] = _long_sum(values[rest], each[rest], place)
            else:
                found[run] = math.fsum(values[rest].tolist())
    return found


def _long_sum(values: npt.NDArray[np.float64], places: npt.NDArray[np.int8], most: int) -> float:
    """A sum of more digits than a double has: Python's whole numbers hold it, and their division is rounded once."""
    own = places.astype(np.int64)
    whole = np.rint(values * 10.0**own)
    total: int = sum(int(n) * 10 ** (most - p) for n, p in zip(whole.tolist(), own.tolist(), strict=True))
    return float(total / 10**most)


def _places_of_each(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
    """The fewest decimals of each value, one more than 12 where there are none that give it back exactly."""
    found = np.full(len(values), PLACES + 1, dtype=np.int8)
    left = np.arange(len(values))
    for places in range(PLACES + 1):
        scale = 10.0**places
        rest = values[left]
        whole = np.rint(rest * scale)
        fits = (whole / scale == rest) & (np.abs(whole) < _EXACT)
        found[left[fits]] = places
        left = left[~fits]
        if not len(left):
            break
    return found


def text(value: Any) -> str:
    """A number as short as it is exact."""
    return f"{value:.15g}" if float(f"{value:.15g}") == value else repr(float(value))
