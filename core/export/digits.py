"""Stored doubles as the decimals that the exchange published: how many digits there are, and exact fixed point.

A double stands for the shortest decimal that it is the nearest double of, which is what was published as long as that
had up to 15 significant digits. Nothing here rounds: what does not fit is an error.
"""

from decimal import Decimal
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import ContentError

Floats = npt.NDArray[np.float64]
_EXACT: Final = 2.0**51
"""Below this the product of a double and a power of ten is off by less than a half, so that rounding finds the one
integer; above it the text of the double is asked, which is slow and rare."""


def decimals_of(values: Floats, at_least: int, at_most: int) -> int:
    """The fewest decimals, `at_least` or more, that hold every value. Raises ContentError beyond `at_most`."""
    decimals, rest = at_least, values
    while len(rest):
        large = np.abs(rest * 10.0**decimals) >= _EXACT
        if not np.isfinite(rest).all():
            raise ContentError("a value is no finite number")
        decimals = max([decimals, *(_decimals(value) for value in rest[large].tolist())])
        rest = rest[~large & ~_fits(rest, decimals)]
        decimals += bool(len(rest))
        if decimals > at_most:
            raise ContentError(f"a value needs more than {at_most} decimals")
    return decimals


def fixed_point(values: Floats, decimals: int, scale: int) -> pa.Array:
    """Each value times `10**scale` as decimal128(38, 0), exactly. Raises ContentError if one has more than `decimals`
    decimals, or 38 digits are not enough."""
    scaled = np.rint(values * 10.0**decimals)
    if (np.abs(scaled) < _EXACT).all() and _fits(values, decimals).all():
        whole = pa.array(scaled.astype(np.int64)).cast(pa.decimal128(19, 0))
        return pc.multiply(whole, pa.scalar(Decimal(10 ** (scale - decimals)), pa.decimal128(18, 0)))
    for value in values.tolist():
        if _decimals(value) > decimals:
            raise ContentError(f"{value!r} has more than {decimals} decimals")
    return pa.array([Decimal(repr(value)).scaleb(scale) for value in values.tolist()], pa.decimal128(38, 0))


def _fits(values: Floats, decimals: int) -> npt.NDArray[np.bool_]:
    """Integer over power of ten is rounded to the nearest double, so this asks whether that one is ours."""
    power = 10.0**decimals
    return np.asarray(np.rint(values * power) / power == values)


def _decimals(value: float) -> int:
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 99
