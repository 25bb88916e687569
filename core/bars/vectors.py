"""Instructions that numba has no word for."""

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

EIGHT: Final = 8
"""Numbers that are compared at once."""


@intrinsic
def multiply_add(context: Any, one: Any, other: Any, more: Any) -> Any:
    """one * other + more of doubles, rounded once."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), code


@intrinsic
def bits_of(context: Any, number: Any) -> Any:
    """The 64 bits of a double."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), code


@intrinsic
def double_of(context: Any, bits: Any) -> Any:
    """The double that has these 64 bits."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), code


@intrinsic
def where_beyond(context: Any, ups: Any, downs: Any, first: Any, high: Any, low: Any) -> Any:
    """Of the eight places from `first` on, a bit for each where `ups` is at least `high` or `downs` at most `low`.

    Both are contiguous, of int64, and have so many places.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        ups, downs, first, high, low = arguments
        is_up = builder.icmp_signed(">=", _eight(context, builder, signature.args[0], ups, first), _same(builder, high))
        is_down = builder.icmp_signed(
            "<=", _eight(context, builder, signature.args[1], downs, first), _same(builder, low)
        )
        bits = builder.bitcast(builder.or_(is_up, is_down), ir.IntType(EIGHT))
        return builder.zext(bits, ir.IntType(64))

    return types.int64(ups, downs, types.int64, types.int64, types.int64), code


@intrinsic
def between(context: Any, lows: Any, highs: Any, first: Any, end: Any) -> Any:
    """The lowest of `lows` and the highest of `highs` from place `first` to before `end`, which is later.

    Both are contiguous, of doubles that are numbers, and have seven more places.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lows, highs, first, end = arguments
        lanes = ir.VectorType(ir.IntType(64), EIGHT)
        places = ir.Constant(lanes, list(range(EIGHT)))
        found = []
        for place, values, sign in ((0, lows, "<"), (1, highs, ">")):
            kind = signature.args[place]
            start = _same(builder, builder.extract_element(_eight(context, builder, kind, values, first), _ZERO))
            found.append((kind, values, sign, cgutils.alloca_once_value(builder, start)))
        with cgutils.for_range_slice(builder, first, end, ir.Constant(ir.IntType(64), EIGHT)) as (at, _):
            is_there = builder.icmp_signed("<", places, _same(builder, builder.sub(end, at)))
            for kind, values, sign, best in found:
                here, so_far = _eight(context, builder, kind, values, at), builder.load(best)
                is_better = builder.and_(is_there, builder.fcmp_ordered(sign, here, so_far))
                builder.store(builder.select(is_better, here, so_far), best)
        return context.make_tuple(
            builder, signature.return_type, [_best(builder, best, sign) for *_, sign, best in found]
        )

    return types.UniTuple(types.float64, 2)(lows, highs, types.int64, types.int64), code


_ZERO: Final = ir.IntType(32)(0)


def _eight(context: Any, builder: Any, kind: Any, array: Any, first: Any) -> Any:
    """Eight elements of an array."""
    data = context.make_array(kind)(context, builder, array).data
    line = ir.VectorType(context.get_data_type(kind.dtype), EIGHT)
    return builder.load(builder.bitcast(builder.gep(data, [first]), line.as_pointer()), align=8)


def _same(builder: Any, number: Any) -> Any:
    """One number eight times."""
    one = builder.insert_element(ir.Constant(ir.VectorType(number.type, EIGHT), ir.Undefined), number, _ZERO)
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), EIGHT), [0] * EIGHT))


def _best(builder: Any, best: Any, sign: str) -> Any:
    """The one of eight that is before the others."""
    eight, width = builder.load(best), EIGHT
    while width > 1:
        width //= 2
        order = [(lane + width) % EIGHT for lane in range(EIGHT)]
        other = builder.shuffle_vector(eight, eight, ir.Constant(ir.VectorType(ir.IntType(32), EIGHT), order))
        eight = builder.select(builder.fcmp_ordered(sign, other, eight), other, eight)
    return builder.extract_element(eight, _ZERO)


@intrinsic
def lowest_bit(context: Any, bits: Any) -> Any:
    """The place of the lowest bit that is 1; there is one."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.int64), code
