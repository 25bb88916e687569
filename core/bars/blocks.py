"""Trades as exact whole numbers, a few thousand at a time, and their sums block by block.

Every rule stands on three steps: `fill` turns the next trades into whole numbers and sums up each block of 256 of
them; a `find` of the family says which trade closes the bar; `gather` adds a run of trades to the open bar, whole
blocks by their sums. The scratch is small enough for the processor's nearest cache.

Nothing wraps around: a number has at most 15 digits, and the sum of a scratch is below 2^61, for it is at most the
highest price times the sum of the quantities, which is looked at before products are added up.
"""

from typing import Any, Final

import numpy as np
from numba import int64, njit, uint64

from core.bars.slots import (
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

_PLAIN: Final = njit(nogil=True, error_model="numpy")
_TEN: Final = np.array([10.0**power for power in range(19)])
_MAGIC: Final = 6755399441055744.0
"""3 * 2^51: what is added to it, and taken away again, is rounded to a whole number, half to even."""
MOST_DIGITS: Final = 1e15
"""A decimal of up to 15 digits is the only one of so few for its double, so that no other can be meant."""
_ROOM: Final = 2.3e18
"""Below 2^61, by more than doubles round."""


def scratch(trades: int) -> tuple[Any, ...]:
    """Room for that many trades at once, a multiple of 256: price, quantity, dollars, 1 for each, sales, sums."""
    numbers = np.zeros((3, trades), dtype=np.int64)
    sales = np.zeros(trades // 8 + 1, dtype=np.uint64)
    sums = np.zeros((trades // BLOCK, BLOCK_SLOTS), dtype=np.int64)
    return numbers[0], numbers[1], numbers[2], np.ones(trades, dtype=np.int64), sales, sales.view(np.uint8), sums


@_PLAIN
def fill(trades: Any, at: Any, room: Any, rule: Any, whole: Any, real: Any) -> Any:
    """(trades taken, DONE or what is in the way): the trades from `at` on as whole numbers, and their blocks.

    `trades` are ids, prices, quantities, the bits that say that the buyer was the maker, the place of the first bit,
    and times. The state is only read.
    """
    ids, price, quantity, maker, bit, _ = trades
    prices, quantities, dollars, _, sale_words, sales, sums = room
    count = min(len(prices), len(ids) - at)
    if not _rising(ids[at : at + count], whole[LAST_ID], rule[MAY_REPEAT]):
        return count, DISORDER
    odd = _to_whole(price[at : at + count], _TEN[rule[PRICE_PLACES]], prices)
    odd |= _to_whole(quantity[at : at + count], _TEN[rule[QUANTITY_PLACES]], quantities)
    if odd:
        return count, UNREADABLE
    if rule[TICK_RULE]:
        _sides_of_ticks(prices, count, price[at], real[CLOSE], whole[SIDE], sales)
    else:
        _sides_of_takers(maker, bit + at, count, sale_words)
    most = int64(0)
    for k in range(count):
        most = max(most, prices[k])
    total = int64(0)
    for k in range(count):
        total += quantities[k]
    if float(max(most, rule[CONTRACT], 1)) * float(total) >= _ROOM:
        return count, TOO_LARGE
    for block in range((count + BLOCK - 1) // BLOCK):
        first, last = block * BLOCK, min(count, block * BLOCK + BLOCK)
        _sum_up(
            prices[first:last],
            quantities[first:last],
            dollars[first:last],
            sales[first:last],
            rule[CONTRACT],
            sums[block],
        )
    return count, DONE


@_PLAIN
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


@_PLAIN
def _to_whole(values: Any, scale: Any, into: Any) -> Any:
    """Whether some value is not a whole number / scale, or has too many digits, is below 0 or no number."""
    odd = False
    for k in range(len(values)):
        value = values[k]
        number = (value * scale + _MAGIC) - _MAGIC
        odd |= (number / scale != value) | (number >= MOST_DIGITS) | (number < 0.0)
        into[k] = int64(number)
    return odd


@_PLAIN
def _sides_of_takers(maker: Any, bit: Any, count: Any, words: Any) -> Any:
    """Bits, lowest first, to bytes of 0 and 1, eight at once."""
    last = len(maker) - 1
    down = uint64(bit & 7)
    for k in range((count + 7) // 8):
        place = bit // 8 + k
        bits = uint64(maker[place]) | (uint64(maker[min(place + 1, last)]) << uint64(8))
        bits = ((bits >> down) & uint64(0xFF)) * uint64(0x0101010101010101) & uint64(0x8040201008040201)
        words[k] = ((bits + uint64(0x7F7F7F7F7F7F7F7F)) >> uint64(7)) & uint64(0x0101010101010101)


@_PLAIN
def _sides_of_ticks(prices: Any, count: Any, first: Any, before: Any, side: Any, sales: Any) -> Any:
    """1 for a price below the last one; at the last one what that one was; 0 for the first of all (`before` is NaN)."""
    side = 1 if first < before else 0 if first > before else side
    sales[0] = side
    for k in range(1, count):
        side = 1 if prices[k] < prices[k - 1] else 0 if prices[k] > prices[k - 1] else side
        sales[k] = side


@_PLAIN
def _sum_up(prices: Any, quantities: Any, dollars: Any, sales: Any, contract: Any, sums: Any) -> Any:
    volume, sold, value, sold_value, sells = int64(0), int64(0), int64(0), int64(0), int64(0)
    high, low = int64(-1), int64(NEVER)
    if contract:
        for k in range(len(prices)):
            dollars[k] = quantities[k] * contract
    else:
        for k in range(len(prices)):
            dollars[k] = prices[k] * quantities[k]
    for k in range(len(prices)):
        sale = -int64(sales[k])
        volume += quantities[k]
        sold += quantities[k] & sale
        value += dollars[k]
        sold_value += dollars[k] & sale
        sells -= sale
        high = max(high, prices[k])
        low = min(low, prices[k])
    sums[BLOCK_VOLUME], sums[BLOCK_SELL_VOLUME] = volume, sold
    sums[BLOCK_DOLLARS], sums[BLOCK_SELL_DOLLARS] = value, sold_value
    sums[BLOCK_TRADES], sums[BLOCK_SELLS] = len(prices), sells
    sums[BLOCK_HIGH], sums[BLOCK_LOW] = high, low


@_PLAIN
def gather(trades: Any, at: Any, first: Any, end: Any, room: Any, rule: Any, whole: Any, real: Any) -> Any:
    """Add the trades `first` to `end` of the scratch, whose trade 0 is `at`, to the open bar."""
    if first == end:
        return
    ids, price, _, _, _, times = trades
    if whole[TRADES] == 0:
        whole[FIRST_TIME], whole[FIRST_ID] = times[at + first], ids[at + first]
        real[OPEN] = real[HIGH] = real[LOW] = price[at + first]
    high, low = int64(-1), int64(NEVER)
    place = first
    while place < end:
        if place % BLOCK == 0 and place + BLOCK <= end:
            sums = room[6][place // BLOCK]
            _add(whole, sums)
            high, low = max(high, sums[BLOCK_HIGH]), min(low, sums[BLOCK_LOW])
            place += BLOCK
        else:
            stop = min(end, place - place % BLOCK + BLOCK)
            most, least = _gather_part(place, stop, room, whole)
            high, low = max(high, most), min(low, least)
            place = stop
    scale = _TEN[rule[PRICE_PLACES]]
    real[HIGH], real[LOW] = max(real[HIGH], high / scale), min(real[LOW], low / scale)
    real[CLOSE] = price[at + end - 1]
    whole[LAST_TIME], whole[LAST_ID] = times[at + end - 1], ids[at + end - 1]
    whole[SIDE] = room[5][end - 1]


@_PLAIN
def _add(whole: Any, sums: Any) -> Any:
    whole[TRADES] += sums[BLOCK_TRADES]
    whole[BUYS] += sums[BLOCK_TRADES] - sums[BLOCK_SELLS]
    whole[VOLUME] += sums[BLOCK_VOLUME]
    whole[BUY_VOLUME] += sums[BLOCK_VOLUME] - sums[BLOCK_SELL_VOLUME]
    whole[DOLLARS] += sums[BLOCK_DOLLARS]
    whole[BUY_DOLLARS] += sums[BLOCK_DOLLARS] - sums[BLOCK_SELL_DOLLARS]


@_PLAIN
def _gather_part(first: Any, end: Any, room: Any, whole: Any) -> Any:
    """Some trades of one block, one by one; their highest and lowest price."""
    prices, quantities, dollars = room[0][first:end], room[1][first:end], room[2][first:end]
    sales = room[5][first:end]
    volume, sold, value, sold_value, sells = int64(0), int64(0), int64(0), int64(0), int64(0)
    high, low = int64(-1), int64(NEVER)
    for k in range(len(prices)):
        sale = -int64(sales[k])
        volume += quantities[k]
        sold += quantities[k] & sale
        value += dollars[k]
        sold_value += dollars[k] & sale
        sells -= sale
        high = max(high, prices[k])
        low = min(low, prices[k])
    whole[TRADES] += len(prices)
    whole[BUYS] += len(prices) - sells
    whole[VOLUME] += volume
    whole[BUY_VOLUME] += volume - sold
    whole[DOLLARS] += value
    whole[BUY_DOLLARS] += value - sold_value
    return high, low


@_PLAIN
def carry(whole: Any) -> Any:
    """Put what is beyond 61 bits of each sum into its high part; behind every scratch."""
    for low in (VOLUME, BUY_VOLUME, DOLLARS, BUY_DOLLARS):
        whole[low + 1] += whole[low] >> LIMB
        whole[low] &= (int64(1) << int64(LIMB)) - int64(1)


@_PLAIN
def start_bar(whole: Any) -> Any:
    """Forget the sums; ids, prices and sides that are needed later stay."""
    whole[TRADES:FIRST_TIME] = 0
