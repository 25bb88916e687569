"""Differences, products and sums of the decimals that doubles stand for: what is equal differs by 0, not by 1e-17."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.bars.compiled import kernel

PLACES: Final = 12
"""More than the exchange publishes."""
_TEN: Final = np.array([10.0**places for places in range(2 * PLACES + 1)])
_EXACT: Final = float(2**53)


def less(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The doubles nearest to the differences of the decimals that these doubles stand for; equal ones differ by 0.

    Of numbers with more than 12 places, or too long for a double, the differences of the doubles.
    """
    found = np.empty(len(one))
    _less(np.ascontiguousarray(one), np.ascontiguousarray(other), found)
    return found


def ln(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """ln(one / other), of prices; made of the difference, which is exact, so that small ones keep their digits."""
    return np.log1p(less(one, other) / other)


def times(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The doubles nearest to the products of decimals, where a double holds them; else the products of the doubles."""
    places = [places_of(each) for each in (one, other)]
    product = one * other
    if None in places:
        return product
    scale = 10.0 ** sum(each for each in places if each is not None)
    whole = np.rint(product * scale)
    return np.where(np.abs(whole) < _EXACT / 4, whole / scale, product)


def places_of(values: npt.NDArray[np.float64]) -> int | None:
    """In how many places all finite values are decimals that a double holds; None if they are not."""
    places = int(_whole(np.ascontiguousarray(values), np.empty(0, dtype=np.int64)))
    return None if places < 0 else places


def whole(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], int] | None:
    """The values as whole numbers, and of how many places these count units; None if they are no such decimals."""
    if not np.isfinite(values).all():
        return None
    found = np.empty(len(values), dtype=np.int64)
    places = int(_whole(np.ascontiguousarray(values), found))
    return None if places < 0 else (found, places)


@kernel
def _less(one: Any, other: Any, found: Any) -> None:
    places = 0
    for at in range(len(one)):
        tried = -1
        while True:
            a, b = np.rint(one[at] * _TEN[places]), np.rint(other[at] * _TEN[places])
            fits = abs(a) < _EXACT and abs(b) < _EXACT
            if fits and a / _TEN[places] == one[at] and b / _TEN[places] == other[at]:
                found[at] = (a - b) / _TEN[places]
                break
            tried += 1
            if tried > PLACES:
                found[at] = one[at] - other[at]
                places = 0
                break
            places = tried


@kernel
def _whole(values: Any, found: Any) -> Any:
    places = 0
    at = 0
    while at < len(values):
        number = np.rint(values[at] * _TEN[places])
        if not np.isfinite(values[at]) or (abs(number) < _EXACT and number / _TEN[places] == values[at]):
            if len(found):
                found[at] = int(number)
            at += 1
        elif places == PLACES or abs(number) >= _EXACT:
            return -1
        else:
            places += 1
            at = 0
    return places
