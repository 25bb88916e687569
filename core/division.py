"""One division for compiled code: of whole numbers too large for a double, rounded once. Importing loads numba.

Rooms that read decimals and rooms that write sums compile it each in their own way. Their kernels are kept on disk, and
numba does not look into this file: whoever changes it changes a line of `core.storage.csv_kernels` too, and `PARTS` of
`core.bars.kernel`.
"""

import math
from typing import Any

from numba import float64, int64, uint64


def long_division(number: Any, divisor: Any) -> Any:
    """number / divisor as the nearest double, half to even; for uint64 from 2^53 on, and a divisor up to 10^18."""
    quotient, rest, bits = number // divisor, number % divisor, 0
    while quotient < uint64(1) << uint64(54):
        rest = rest << uint64(4)  # stays below 2^64, for the divisor is below 2^60
        quotient = (quotient << uint64(4)) + rest // divisor
        rest, bits = rest % divisor, bits + 4
    drop = 2
    while quotient >> uint64(drop) >= uint64(1) << uint64(53):
        drop += 1
    half = uint64(1) << uint64(drop - 1)
    low = quotient & (half + half - uint64(1))
    kept = int64(quotient >> uint64(drop))
    if low > half or (low == half and (rest != uint64(0) or kept & 1)):
        kept += 1
    return math.ldexp(float64(kept), drop - bits)
