"""What the compiled parser does to many bytes at once, as LLVM vectors: nothing here is tied to one make of processor.

Text lies at an address. `END_PAD` bytes behind the text and `START_PAD` bytes before it may be read.
"""

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

START_PAD: Final = 32
END_PAD: Final = 64
_BIT, _BYTE, _HALF, _WORD, _LONG = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_BYTES: Final = ir.VectorType(_BYTE, 16)
_HALVES: Final = ir.VectorType(_HALF, 8)
_WORDS: Final = ir.VectorType(_WORD, 4)
_LONGS: Final = ir.VectorType(_LONG, 2)
_TUPLE: Final[Any] = types.Tuple
_FROM_END: Final = _BYTES(list(range(15, -1, -1)))
"""How many bytes lie behind each."""


@intrinsic
def bytes_equal(context: Any, place: Any, byte: Any) -> Any:
    """A bit for each of the 64 bytes from `place` on, the first one lowest: whether it equals `byte`."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        text = _load(builder, arguments[0], ir.VectorType(_BYTE, 64))
        return builder.bitcast(builder.icmp_unsigned("==", text, _splat(builder, arguments[1], 64)), _LONG)

    return types.uint64(types.int64, types.uint8), code


@intrinsic
def ones_in(context: Any, bits: Any) -> Any:
    """How many bits are set."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), code


@intrinsic
def whole_before(context: Any, end: Any, length: Any) -> Any:
    """(number, odd): the whole number that the `length` (1 to 16) digits before `end` spell; `odd` is 0 if they do."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        end, length = arguments
        inside = builder.icmp_unsigned("<", _FROM_END, _splat(builder, builder.trunc(length, _BYTE), 16))
        digits = builder.select(inside, _digits(builder, end, 16), _repeated(_BYTES, 0))
        return context.make_tuple(
            builder, signature.return_type, [_number(builder, digits), _above_nine(builder, digits)]
        )

    return _TUPLE((types.uint64, types.uint16))(types.int64, types.int64), code


@intrinsic
def decimal_before(context: Any, end: Any, length: Any) -> Any:
    """(mantissa, decimals, odd): what the `length` (1 to 16) digits before `end` spell, among which may be one point
    with a digit on both sides; `odd` is 0 if they do."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        end, length = arguments
        text, before = _digits(builder, end, 16), _digits(builder, end, 17)
        # A vector of lengths: arithmetic on single bytes makes each value wait for the one before it.
        lengths = _splat(builder, builder.trunc(length, _BYTE), 16)
        points = builder.and_(
            builder.icmp_unsigned("==", text, _repeated(_BYTES, ord(".") - ord("0") + 256)),
            builder.icmp_unsigned("<", _FROM_END, lengths),
        )
        bits = builder.zext(builder.bitcast(points, _HALF), _LONG)
        has_point = builder.icmp_unsigned("!=", bits, _LONG(0))
        place = builder.cttz(bits, _BIT(0))
        # The point goes out: what stands before it moves up by one byte, which the load from one byte earlier has done.
        upto_point = builder.trunc(builder.xor(bits, builder.sub(bits, _LONG(1))), _HALF)
        moved = builder.bitcast(builder.select(has_point, upto_point, _HALF(0)), ir.VectorType(_BIT, 16))
        point = _splat(builder, builder.select(has_point, _BYTE(1), _BYTE(0)), 16)
        inside = builder.icmp_unsigned("<", _FROM_END, builder.sub(lengths, point))
        digits = builder.select(inside, builder.select(moved, before, text), _repeated(_BYTES, 0))
        decimals = builder.select(has_point, builder.sub(_LONG(15), place), _LONG(0))
        is_first = builder.icmp_unsigned("==", builder.add(place, length), _LONG(16))
        is_last = builder.icmp_unsigned("==", place, _LONG(15))
        lone = builder.and_(has_point, builder.or_(is_first, is_last))
        odd = builder.or_(_above_nine(builder, digits), builder.zext(lone, _HALF))
        return context.make_tuple(builder, signature.return_type, [_number(builder, digits), decimals, odd])

    return _TUPLE((types.uint64, types.int64, types.uint16))(types.int64, types.int64), code


def _load(builder: Any, place: Any, kind: Any) -> Any:
    loaded = builder.load(builder.inttoptr(place, kind.as_pointer()))
    loaded.align = 1
    return loaded


def _splat(builder: Any, value: Any, count: int) -> Any:
    """A vector of one value."""
    nothing = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(nothing, value, _WORD(0))
    return builder.shuffle_vector(first, nothing, ir.VectorType(_WORD, count)([0] * count))


def _repeated(kind: Any, value: int) -> Any:
    return kind([value] * kind.count)


def _digits(builder: Any, end: Any, back: int) -> Any:
    """Sixteen bytes from `back` bytes before `end` on, less "0"."""
    text = _load(builder, builder.sub(end, _LONG(back)), _BYTES)
    return builder.sub(text, _repeated(_BYTES, ord("0")))


def _above_nine(builder: Any, digits: Any) -> Any:
    """A bit for each byte that is no digit."""
    return builder.bitcast(builder.icmp_unsigned(">", digits, _repeated(_BYTES, 9)), _HALF)


def _number(builder: Any, digits: Any) -> Any:
    """The number that sixteen digits spell: neighbours are joined, to pairs, fours, eights and all."""
    pairs = builder.bitcast(digits, _HALVES)
    tens = builder.mul(builder.and_(pairs, _repeated(_HALVES, 255)), _repeated(_HALVES, 10))
    pairs = builder.add(tens, builder.lshr(pairs, _repeated(_HALVES, 8)))
    fours = builder.bitcast(builder.mul(pairs, _HALVES([100, 1] * 4)), _WORDS)
    fours = builder.add(fours, builder.lshr(fours, _repeated(_WORDS, 16)))
    eights = builder.bitcast(builder.and_(fours, _repeated(_WORDS, 0xFFFF)), _LONGS)
    high = builder.mul(builder.and_(eights, _repeated(_LONGS, 0xFFFFFFFF)), _repeated(_LONGS, 10**4))
    eights = builder.add(high, builder.lshr(eights, _repeated(_LONGS, 32)))
    first, second = (builder.extract_element(eights, _WORD(half)) for half in (0, 1))
    return builder.add(builder.mul(first, _LONG(10**8)), second)
