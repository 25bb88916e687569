"""The compiled parser: numbers, true and false, commas, line ends, and nothing else. Importing this module loads numba.

Text lies at an address, whole lines between bytes that may be read (see `csv_vectors`). The ends of all cells are found
first; then each column is read in a loop of its own, so that no value waits for the one before it. What is read cell by
cell answers with the address behind it, 0 where the text is not in the regular form.

Decimals become the nearest double. A mantissa below 2^53 with at most 22 decimals is divided once by a power of ten,
both exact, so that IEEE division rounds correctly (W. Clinger, "How to read floating point numbers accurately", 1990).
A longer one, up to 19 digits, is divided as an integer, with a sticky remainder, and rounded once, half to even.
"""

import math
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import float64, int64, njit, types, uint8, uint64
from numba.extending import intrinsic

from core.division import long_division
from core.storage.csv_vectors import bytes_equal, decimal_before, ones_in, whole_before

VECTORS: Final = "efd12ba8a288b807"
"""The beginning of the SHA-256 of csv_vectors.py. numba keeps a compiled kernel until the kernel's own file changes,
whatever it calls: whoever changes the vectors changes this line, and so this file."""
_TEN: Final = np.array([10.0**power for power in range(23)])
_TEN_WHOLE: Final = np.array([10**power for power in range(20)], dtype=np.uint64)
_TRUE: Final = np.array([int.from_bytes(word, "little") for word in (b"true", b"True", b"TRUE")], dtype=np.uint64)
_FALSE: Final = np.array([int.from_bytes(word, "little") for word in (b"false", b"False", b"FALSE")], dtype=np.uint64)
_COMMA: Final = 44
_LINE_END: Final = 10
_POINT: Final = 46
_MINUS: Final = 45
_INLINE: Final = njit(inline="always")
_KERNEL: Final = njit(nogil=True, cache=True)


@intrinsic
def _word_at(context: Any, place: Any) -> Any:
    """Eight bytes, the first one lowest."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = builder.load(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(types.int64), code


@intrinsic
def _byte_at(context: Any, place: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(8).as_pointer()))

    return types.uint8(types.int64), code


@intrinsic
def _trailing_zeros(context: Any, word: Any) -> Any:
    """How many of the lowest bits are 0; 64 for 0."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), code


@_INLINE
def _digits_in(word: Any) -> Any:
    """How many of eight bytes, each xored with "0", are digits before the first that is none."""
    # A carry only goes upwards, so the lowest marked byte is right whatever stands behind it.
    odd = (word | (word + uint64(0x7676767676767676))) & uint64(0x8080808080808080)
    return int64(_trailing_zeros(odd) >> uint64(3))


@_INLINE
def _value_of(word: Any, digits: Any) -> Any:
    """The number that the first `digits` (1 to 8) of such bytes spell, three multiplications for all of them."""
    word = word << uint64(64 - 8 * digits)
    word = word * uint64(10) + (word >> uint64(8))
    low = (word & uint64(0x000000FF000000FF)) * uint64(0x000F424000000064)
    high = ((word >> uint64(16)) & uint64(0x000000FF000000FF)) * uint64(0x0000271000000001)
    return ((low + high) >> uint64(32)) & uint64(0xFFFFFFFF)


@_INLINE
def _more_digits(place: Any, value: Any) -> Any:
    """The digits from `place` on, appended to a number; wraps around when they are more than 19 in all."""
    step = 8
    while step == 8:
        word = _word_at(place) ^ uint64(0x3030303030303030)
        step = _digits_in(word)
        if step:
            value = value * _TEN_WHOLE[step] + _value_of(word, step)
            place += step
    return place, value


@_INLINE
def _whole(place: Any) -> Any:
    """A whole number of 1 to 18 digits."""
    start = place
    word = _word_at(place) ^ uint64(0x3030303030303030)
    step = _digits_in(word)
    if step == 0:
        return 0, int64(0)
    value = _value_of(word, step)
    place += step
    if step == 8:
        place, value = _more_digits(place, value)
    return place if place - start <= 18 else 0, int64(value)


@_INLINE
def _decimal(place: Any) -> Any:
    """A decimal such as 12, -0.25 or 007.50, as the nearest double."""
    is_negative = _byte_at(place) == _MINUS
    place += is_negative
    start = place
    word = _word_at(place) ^ uint64(0x3030303030303030)
    step = _digits_in(word)
    if step == 0:
        return 0, 0.0
    mantissa = _value_of(word, step)
    place += step
    if step == 8:
        place, mantissa = _more_digits(place, mantissa)
    decimals = 0
    digits = place - start
    if _byte_at(place) == _POINT:
        place += 1
        word = _word_at(place) ^ uint64(0x3030303030303030)
        step = _digits_in(word)
        if step == 0:
            return 0, 0.0
        mantissa = mantissa * _TEN_WHOLE[step] + _value_of(word, step)
        place += step
        if step == 8:
            place, mantissa = _more_digits(place, mantissa)
        decimals = place - start - digits - 1
        digits += decimals
    if digits <= 19 and mantissa < uint64(1) << uint64(53):
        value = float64(int64(mantissa)) / _TEN[decimals]
    else:
        value = _long_decimal(start, place)
        if math.isnan(value):
            return 0, 0.0
    return place, -value if is_negative else value


@_INLINE
def _boolean(place: Any) -> Any:
    """true or false, in the three spellings that occur."""
    word = _word_at(place)
    four, five = word & uint64(0xFFFFFFFF), word & uint64(0xFFFFFFFFFF)
    is_true = (four == _TRUE[0]) | (four == _TRUE[1]) | (four == _TRUE[2])
    is_false = (five == _FALSE[0]) | (five == _FALSE[1]) | (five == _FALSE[2])
    return place + 5 - is_true if is_true | is_false else 0, uint8(is_true)


_long_division = njit(nogil=True)(long_division)


@njit(float64(uint64, int64), nogil=True, cache=True)
def divided(mantissa: Any, decimals: int) -> float:
    """mantissa / 10^decimals, rounded once, half to even; for a mantissa from 2^53 on and at most 18 decimals."""
    return _long_division(mantissa, _TEN_WHOLE[decimals])


@njit(float64(int64, int64), nogil=True, cache=True)
def _long_decimal(start: int, end: int) -> float:
    """A decimal without sign of many digits; NaN where it has more than are divided exactly here."""
    point = end
    for place in range(start, end):
        if _byte_at(place) == _POINT:
            point = place
    while end > point and _byte_at(end - 1) == 48:
        end -= 1
    mantissa, digits, decimals = uint64(0), 0, 0
    for place in range(start, end):
        if place != point:
            mantissa = mantissa * uint64(10) + uint64(_byte_at(place) - 48)
            digits += digits > 0 or _byte_at(place) != 48
            decimals += place > point
            if digits > 19:
                return math.nan
    if mantissa < uint64(1) << uint64(53) and decimals <= 22:
        return float64(int64(mantissa)) / _TEN[decimals]
    return divided(mantissa, decimals) if decimals <= 18 else math.nan


@_KERNEL
def find_cells(place: Any, count: Any, ends: Any) -> Any:
    """(cells, lines) in `count` bytes; `ends` gets -1 and then the offset of the comma or line end behind each cell.

    It has room for `count` + 18 numbers.
    """
    ends[0] = -1
    cells, lines = uint64(1), uint64(0)
    for offset in range(0, count, 64):
        line_ends = bytes_equal(place + offset, uint8(_LINE_END))
        bits = line_ends | bytes_equal(place + offset, uint8(_COMMA))
        if count - offset < 64:
            inside = (uint64(1) << uint64(count - offset)) - uint64(1)
            bits, line_ends = bits & inside, line_ends & inside
        found = int64(ones_in(bits))
        lines += ones_in(line_ends)
        # Eight at once, wanted or not: how many there are is hard to foresee for the processor.
        for step in range(0, found, 8):
            for at in range(8):
                ends[cells + uint64(step + at)] = offset + int64(_trailing_zeros(bits))
                bits &= bits - uint64(1)
        cells += uint64(found)
    return int64(cells) - 1, int64(lines)


@_KERNEL
def read_cells(
    place: Any,
    ends: Any,
    kinds: Any,
    slots: Any,
    whole: Any,
    decimal: Any,
    boolean: Any,
    first: Any,
    count: Any,
    row: Any,
) -> Any:
    """Whether `count` lines from line `first` on are regular; they are read column by column, into row `row` and on.

    `kinds` says what each column is (0 whole number, 1 decimal, 2 true or false), `slots` in which line of the array of
    its kind it is kept.
    """
    width = len(kinds)
    for column in range(width):
        kind, slot, cells = kinds[column], slots[column], ends[first * width + column :]
        if column == width - 1 and not _end_lines(place, cells, width, count):
            return False
        if kind == 1:
            is_regular = _read_decimals(place, cells, width, decimal[slot, row : row + count])
        elif kind == 0:
            is_regular = _read_wholes(place, cells, width, whole[slot, row : row + count])
        else:
            is_regular = _read_booleans(place, cells, width, boolean[slot, row : row + count])
        if not is_regular:
            return False
    return True


@njit(nogil=True)
def _end_lines(place: Any, cells: Any, width: Any, rows: Any) -> Any:
    """Whether the last cell of each row ends its line."""
    for row in range(rows):
        end = uint64(row * width + 1)
        if _byte_at(place + cells[end]) != _LINE_END:
            return False
    return True


@njit(nogil=True, error_model="numpy")
def _read_decimals(place: Any, cells: Any, width: Any, into: Any) -> Any:
    for row in range(len(into)):
        at = uint64(row * width)
        start, end = place + cells[at] + 1, place + cells[at + uint64(1)]
        mantissa, decimals, odd = decimal_before(end, end - start)
        if odd == 0 and uint64(end - start - 1) < uint64(16) and mantissa < uint64(1) << uint64(53):
            into[uint64(row)] = float64(int64(mantissa)) / _TEN[uint64(decimals)]
        else:
            here, into[uint64(row)] = _decimal(start)
            if here != end:
                return False
    return True


@njit(nogil=True)
def _read_wholes(place: Any, cells: Any, width: Any, into: Any) -> Any:
    for row in range(len(into)):
        at = uint64(row * width)
        start, end = place + cells[at] + 1, place + cells[at + uint64(1)]
        number, odd = whole_before(end, end - start)
        if odd == 0 and uint64(end - start - 1) < uint64(16):
            into[uint64(row)] = int64(number)
        else:
            here, into[uint64(row)] = _whole(start)
            if here != end:
                return False
    return True


@njit(nogil=True)
def _read_booleans(place: Any, cells: Any, width: Any, into: Any) -> Any:
    for row in range(len(into)):
        at = uint64(row * width)
        here, into[uint64(row)] = _boolean(place + cells[at] + 1)
        if here != place + cells[at + uint64(1)]:
            return False
    return True
