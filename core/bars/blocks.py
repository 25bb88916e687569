"""Trades as exact whole numbers, a few thousand at a time, and their sums block by block.

Every rule stands on three steps: `fill` sums up each block of 256 of the next trades; a `find` of the family says which
trade closes the bar; `gather` adds a run of trades to the open bar, whole blocks by their sums. Only blocks in which a
bar begins or ends are looked at trade by trade, and are turned into whole numbers for that.

A double v is the nearest one to the decimal n / 10^p if they differ by no more than half of v's last place. That is
what is tested, without a division: the rest v * 10^p - n is a multiple of 2^p times v's last place, and where it is
within that half one of at most 52 bits (p <= 22), so that a multiplication with addition gives it exactly. Ties
cannot be: such an n / 10^p would be a double itself. With n below 2^49, of at most 15 digits, no other decimal of so
few can be meant.

Nothing wraps around: the sum of a scratch is below 2^61, for each block's is at most its highest price times its sum of
quantities, and that is looked at.
"""

from typing import Any, Final

import numpy as np
from numba import int64, uint64

from core.bars.compiled import inner, plain
from core.bars.rounding import TEN
from core.bars.slots import (
    AMOUNT,
    BLOCK,
    BLOCK_DOLLARS,
    BLOCK_HIGH,
    BLOCK_LOW,
    BLOCK_SELL_DOLLARS,
    BLOCK_SELL_VOLUME,
    BLOCK_SELLS,
    BLOCK_SLOTS,
    BLOCK_TRADES,
    BLOCK_VOLUME,
    BUY_DOLLARS,
    BUY_VOLUME,
    BUYS,
    CLOSE,
    CONTRACT,
    DISORDER,
    DOLLARS,
    DONE,
    FIRST_ID,
    FIRST_TIME,
    HIGH,
    LAST_ID,
    LAST_TIME,
    LIMB,
    LOW,
    MAY_REPEAT,
    NEVER,
    OPEN,
    PRICE_PLACES,
    QUANTITY_PLACES,
    SIDE,
    TICK_RULE,
    TOO_LARGE,
    TRADES,
    UNREADABLE,
    VOLUME,
)
from core.bars.vectors import bits_of, double_of, multiply_add

_MAGIC: Final = 6755399441055744.0
"""3 * 2^51: a double to which it is added is rounded to a whole number, half to even, that stands in the low bits."""
_MAGIC_BITS: Final = int(np.float64(_MAGIC).view(np.int64))
_POWER_BITS: Final = 0x7FF0000000000000
"""Of a double, those that say which power of two is its greatest one not above it."""
_HALF_PLACE: Final = 2.0**-53
_MOST: Final = 1 << 49
"""Whole numbers of trades are below."""
_ROOM: Final = 2.3e18
"""Below 2^61, by more than doubles round."""


def scratch(trades: int) -> tuple[Any, ...]:
    """Room for that many trades at once, a multiple of 256.

    Prices, quantities and dollars as whole numbers, a 1 for each trade, sales as words and as bytes, sums of blocks;
    and of each block, whether it is whole numbers already.
    """
    numbers = np.zeros((3, trades), dtype=np.int64)
    sales = np.zeros(trades // 8 + 1, dtype=np.uint64)
    sums = np.zeros((trades // BLOCK, BLOCK_SLOTS), dtype=np.int64)
    ones, is_whole = np.ones(trades, dtype=np.int64), np.zeros(trades // BLOCK, dtype=np.bool_)
    return *numbers, ones, sales, sales.view(np.uint8), sums, is_whole


@plain
def column_of(rule: Any) -> Any:
    """Where the running sum lies that decides; that of sales lies behind it."""
    slot = rule[AMOUNT]
    return BLOCK_TRADES if slot == TRADES else BLOCK_DOLLARS if slot == DOLLARS else BLOCK_VOLUME


@plain
def fill(trades: Any, at: Any, room: Any, rule: Any, whole: Any, real: Any) -> Any:
    """(trades taken, DONE or what is in the way): the sides and the sums of blocks of the trades from `at` on.

    `trades` are ids, prices, quantities, the bits that say that the buyer was the maker, the place of the first bit,
    and times. The state is only read.
    """
    ids, price, quantity, maker, bit, _ = trades
    sales, sums = room[5], room[6]
    count = min(len(sales) - 8, len(ids) - at)
    if rule[TICK_RULE]:
        _sides_of_ticks(price[at : at + count], real[CLOSE], whole[SIDE], sales)
    else:
        _sides_of_takers(maker, bit + at, count, room[4])
    room[7][:] = False
    scale, quantity_scale = TEN[rule[PRICE_PLACES]], TEN[rule[QUANTITY_PLACES]]
    is_odd, most, has_risen, before = False, 0.0, True, whole[LAST_ID]
    for block in range((count + BLOCK - 1) // BLOCK):
        first, last = block * BLOCK, min(count, block * BLOCK + BLOCK)
        sold, here = sales[first:last], sums[block]
        first, last = first + at, last + at
        has_risen &= _rising(ids[first:last], before, rule[MAY_REPEAT])
        before = ids[last - 1]
        is_odd |= _sum_up(price[first:last], quantity[first:last], sold, scale, quantity_scale, rule[CONTRACT], here)
        most += float(max(here[BLOCK_HIGH], rule[CONTRACT], 1)) * float(here[BLOCK_VOLUME])
    if not has_risen:
        return count, DISORDER
    if is_odd:
        return count, UNREADABLE
    return count, DONE if most < _ROOM else TOO_LARGE


@plain
def _rising(ids: Any, last: Any, may_repeat: Any) -> Any:
    odd = ids[0] < last or (ids[0] == last and not may_repeat)
    behind, before = ids[1:], ids[:-1]
    if may_repeat:
        for k in range(len(behind)):
            odd |= behind[k] < before[k]
    else:
        for k in range(len(behind)):
            odd |= behind[k] <= before[k]
    return not odd


@plain
def _sides_of_takers(maker: Any, bit: Any, count: Any, words: Any) -> Any:
    """Bits, lowest first, to bytes of 0 and 1, eight at once."""
    down = uint64(bit & 7)
    bits, into = maker[bit // 8 :], words[: (count + 7) // 8]
    next_ones = bits[1:] if down else bits  # there is a next byte where bits are wanted of it
    last = len(next_ones) - 1
    for k in range(len(into)):
        pair = uint64(bits[k]) | (uint64(next_ones[min(k, last)]) << uint64(8))
        spread = ((pair >> down) & uint64(0xFF)) * uint64(0x0101010101010101) & uint64(0x8040201008040201)
        into[k] = ((spread + uint64(0x7F7F7F7F7F7F7F7F)) >> uint64(7)) & uint64(0x0101010101010101)


@plain
def _sides_of_ticks(price: Any, before: Any, side: Any, sales: Any) -> Any:
    """1 for a price below the last one; at the last one what that one was; 0 for the first of all (`before` is NaN)."""
    for k in range(len(price)):
        now = price[k]
        side = 1 if now < before else 0 if now > before else side
        sales[k] = side
        before = now


@inner
def _sum_up(price: Any, quantity: Any, sales: Any, scale: Any, quantity_scale: Any, contract: Any, sums: Any) -> Any:
    """The sums of some trades; whether some number among them is no decimal of so many places, or too large."""
    half, quantity_half = scale * _HALF_PLACE, quantity_scale * _HALF_PLACE
    volume, sold, value, sold_value, sells = int64(0), int64(0), int64(0), int64(0), int64(0)
    high, low, all_bits, is_odd = int64(-1), int64(NEVER), int64(0), False
    for k in range(len(price)):
        number = multiply_add(price[k], scale, _MAGIC)
        rest = multiply_add(price[k], scale, _MAGIC - number)
        is_odd |= abs(rest) > double_of(bits_of(price[k]) & _POWER_BITS) * half
        amount = multiply_add(quantity[k], quantity_scale, _MAGIC)
        amount_rest = multiply_add(quantity[k], quantity_scale, _MAGIC - amount)
        is_odd |= abs(amount_rest) > double_of(bits_of(quantity[k]) & _POWER_BITS) * quantity_half
        units, pieces = bits_of(number) - _MAGIC_BITS, bits_of(amount) - _MAGIC_BITS
        worth = pieces * (contract if contract else units)
        sale = -int64(sales[k])
        volume += pieces
        sold += pieces & sale
        value += worth
        sold_value += worth & sale
        sells -= sale
        high, low, all_bits = max(high, units), min(low, units), all_bits | pieces
    sums[BLOCK_VOLUME], sums[BLOCK_SELL_VOLUME] = volume, sold
    sums[BLOCK_DOLLARS], sums[BLOCK_SELL_DOLLARS] = value, sold_value
    sums[BLOCK_TRADES], sums[BLOCK_SELLS] = len(price), sells
    sums[BLOCK_HIGH], sums[BLOCK_LOW] = high, low
    return is_odd or low < 0 or high >= _MOST or all_bits < 0 or all_bits >= _MOST


@plain
def whole_number(number: Any, scale: Any) -> Any:
    """A double as a whole number of units; it is one of those, `fill` has looked at it."""
    return bits_of(multiply_add(number, scale, _MAGIC)) - _MAGIC_BITS


@plain
def open_block(trades: Any, at: Any, place: Any, count: Any, room: Any, rule: Any) -> Any:
    """Turn the trades of the block of `place` into whole numbers; calls are dear, so ask first whether they are."""
    block = place // BLOCK
    room[7][block] = True
    first, last = block * BLOCK, min(count, block * BLOCK + BLOCK)
    prices, quantities, dollars = room[0][first:last], room[1][first:last], room[2][first:last]
    price, quantity = trades[1][at + first : at + last], trades[2][at + first : at + last]
    scale, quantity_scale = TEN[rule[PRICE_PLACES]], TEN[rule[QUANTITY_PLACES]]
    contract = rule[CONTRACT]
    for k in range(len(prices)):
        units, pieces = whole_number(price[k], scale), whole_number(quantity[k], quantity_scale)
        prices[k], quantities[k], dollars[k] = units, pieces, pieces * (contract if contract else units)


@inner
def gather(trades: Any, at: Any, first: Any, end: Any, count: Any, room: Any, rule: Any, whole: Any, real: Any) -> Any:
    """Add the trades `first` to `end` of the `count` in the scratch, whose trade 0 is `at`, to the open bar."""
    if first == end:
        return
    ids, price, _, _, _, times = trades
    if whole[TRADES] == 0:
        whole[FIRST_TIME], whole[FIRST_ID] = times[at + first], ids[at + first]
        real[OPEN] = real[HIGH] = real[LOW] = price[at + first]
    high, low = int64(-1), int64(NEVER)
    place = first
    while place < end:
        stop = min(end, place - place % BLOCK + BLOCK)
        if place % BLOCK == 0 and (stop == place + BLOCK or stop == count):
            sums = room[6][place // BLOCK]
            _add(whole, sums)
            high, low = max(high, sums[BLOCK_HIGH]), min(low, sums[BLOCK_LOW])
        else:
            if not room[7][place // BLOCK]:
                open_block(trades, at, place, count, room, rule)
            part = room[0][place:stop], room[1][place:stop], room[2][place:stop]
            most, least = _gather_part(*part, room[5][place:stop], whole)
            high, low = max(high, most), min(low, least)
        place = stop
    scale = TEN[rule[PRICE_PLACES]]
    real[HIGH], real[LOW] = max(real[HIGH], high / scale), min(real[LOW], low / scale)
    real[CLOSE] = price[at + end - 1]
    whole[LAST_TIME], whole[LAST_ID] = times[at + end - 1], ids[at + end - 1]
    whole[SIDE] = room[5][end - 1]


@plain
def _add(whole: Any, sums: Any) -> Any:
    whole[TRADES] += sums[BLOCK_TRADES]
    whole[BUYS] += sums[BLOCK_TRADES] - sums[BLOCK_SELLS]
    whole[VOLUME] += sums[BLOCK_VOLUME]
    whole[BUY_VOLUME] += sums[BLOCK_VOLUME] - sums[BLOCK_SELL_VOLUME]
    whole[DOLLARS] += sums[BLOCK_DOLLARS]
    whole[BUY_DOLLARS] += sums[BLOCK_DOLLARS] - sums[BLOCK_SELL_DOLLARS]


@plain
def _gather_part(prices: Any, quantities: Any, dollars: Any, sales: Any, whole: Any) -> Any:
    """Some trades of one block, one by one; their highest and lowest price."""
    volume, sold, value, sold_value, sells = int64(0), int64(0), int64(0), int64(0), int64(0)
    high, low = int64(-1), int64(NEVER)
    for k in range(len(prices)):
        sale = -int64(sales[k])
        volume += quantities[k]
        sold += quantities[k] & sale
        value += dollars[k]
        sold_value += dollars[k] & sale
        sells -= sale
        high, low = max(high, prices[k]), min(low, prices[k])
    whole[TRADES] += len(prices)
    whole[BUYS] += len(prices) - sells
    whole[VOLUME] += volume
    whole[BUY_VOLUME] += volume - sold
    whole[DOLLARS] += value
    whole[BUY_DOLLARS] += value - sold_value
    return high, low


@plain
def carry(whole: Any) -> Any:
    """Put what is beyond 61 bits of each sum into its high part; behind every scratch."""
    for low in (VOLUME, BUY_VOLUME, DOLLARS, BUY_DOLLARS):
        whole[low + 1] += whole[low] >> LIMB
        whole[low] &= (int64(1) << int64(LIMB)) - int64(1)


@plain
def start_bar(whole: Any) -> Any:
    """Forget the sums; ids, prices and sides that are needed later stay."""
    whole[TRADES:FIRST_TIME] = 0
