"""Between exact sums and doubles: the nearest double of a sum, the least sum that reaches a double."""

import math
from typing import Any, Final

import numpy as np
from numba import float64, int64, uint64

from core.bars.compiled import plain
from core.bars.slots import NEVER
from core.bars.vectors import bits_of, multiply_add
from core.division import long_division

_FRACTION: Final = (1 << 52) - 1
"""The bits of a double below its greatest one."""
_MANY: Final = float(1 << 52)
TEN: Final = np.array([10.0**power for power in range(19)])
_TEN_WHOLE: Final = np.array([10**power for power in range(19)], dtype=np.uint64)


_long_division: Final = plain(long_division)


@plain
def nearest(number: Any, places: Any) -> Any:
    """number / 10^places, rounded once, half to even; for 0 <= number < 2^62 and at most 18 places."""
    if number < int64(1) << int64(53):
        return float64(number) / TEN[places]
    return _long_division(uint64(number), _TEN_WHOLE[places])


@plain
def least_reaching(value: Any, places: Any) -> Any:
    """The least whole number n with n / 10^places >= value, exactly; NEVER if it is none below 2^62. For value >= 0."""
    if not value < 4.6e18:
        return int64(NEVER)
    product = value * TEN[places]
    if product < _MANY:  # whole numbers near it are doubles; the sign of what is rounded only once says on which side
        least = math.ceil(product)
        least += multiply_add(value, TEN[places], -float(least)) > 0.0
        least -= multiply_add(value, TEN[places], 1.0 - float(least)) <= 0.0
        return int64(least)
    bits = bits_of(value)
    fraction = (bits & _FRACTION) | (_FRACTION + 1)
    high, low = _product(uint64(fraction), _TEN_WHOLE[places])
    down = 1075 - (bits >> 52)
    if down <= 0:  # a whole number of 2^53 and more, so of at most 62 bits
        if high != uint64(0) or low >> uint64(62 + down) != uint64(0):
            return int64(NEVER)
        return int64(low << uint64(-down))
    return _shifted_up(high, low, down)


@plain
def _shifted_up(high: Any, low: Any, down: Any) -> Any:
    """A number of 128 bits divided by 2^down, 0 < down < 64, rounded up; NEVER from 2^62 on."""
    cut = low & ((uint64(1) << uint64(down)) - uint64(1))
    if high >> uint64(down) != uint64(0):
        return int64(NEVER)
    kept = (high << uint64(64 - down)) | (low >> uint64(down))
    if kept >= uint64(NEVER):
        return int64(NEVER)
    return int64(kept) + int64(cut != uint64(0))


@plain
def _product(one: Any, other: Any) -> Any:
    """The 128 bits of a product, as two words."""
    mask = uint64(0xFFFFFFFF)
    a, b = one >> uint64(32), one & mask
    c, d = other >> uint64(32), other & mask
    middle = b * c + ((b * d) >> uint64(32))
    outer = a * d + (middle & mask)
    return a * c + (middle >> uint64(32)) + (outer >> uint64(32)), one * other
