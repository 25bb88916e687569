"""Bars that close when what was bought less what was sold is larger, up or down, than was expected.

`dollar_imbalance` expects dollars: |theta| >= T * |I|, where T is the expected sum of dollars and I the expected
imbalance of a bar, a share of it. The others are those of M. López de Prado, "Advances in Financial Machine Learning",
ch. 2.3.2.1: |theta| >= E[T] * max(|E[b]|, least), where E[T] is the expected number of trades and E[b] the expected
signed amount of one; the first bar is a warm-up of `init_ticks` trades.
"""

import math
from typing import Any

from numba import int64

from core.bars.blocks import column_of, open_block
from core.bars.compiled import plain
from core.bars.slots import (
    ALPHA_MEAN,
    ALPHA_SIZE,
    AMOUNT,
    BLOCK,
    DOLLARS,
    FLOOR,
    LEAST,
    MEAN,
    MOST,
    SIGNED,
    SIZE,
    TRADES,
)


@plain
def find_imbalance(trades: Any, at: Any, first: Any, count: Any, room: Any, rule: Any, whole: Any, limit: Any) -> Any:
    """The trade of the scratch, from `first` on, with which |bought - sold| reaches `limit`; `count` if none does."""
    slot = rule[AMOUNT]
    buys = slot + 1 if slot == TRADES else slot + 2
    theta = 2 * whole[buys] - whole[slot]
    column = column_of(rule)
    amounts = room[3] if slot == TRADES else room[2] if slot == DOLLARS else room[1]
    sales, sums = room[5], room[6]
    place = first
    while place < count:
        stop = min(count, place - place % BLOCK + BLOCK)
        if place % BLOCK == 0 and abs(theta) + sums[place // BLOCK, column] < limit:
            theta += sums[place // BLOCK, column] - 2 * sums[place // BLOCK, column + 1]
        else:
            if slot != TRADES and not room[7][place // BLOCK]:
                open_block(trades, at, place, count, room, rule)
            part, sold = amounts[place:stop], sales[place:stop]
            for k in range(len(part)):
                sale = -int64(sold[k])
                theta += (part[k] ^ sale) - sale
                if abs(theta) >= limit:
                    return place + k
        place = stop
    return count


@plain
def expect_dollars(real: Any, numbers: Any, bars: Any, theta: Any, total: Any) -> Any:
    """What a closed bar of `theta` and `total` dollars makes of the expectations T and I; `bars` were closed before.

    Like every `expect`, it gives the expected size before bounds cut it.
    """
    share = theta / total if total != 0.0 else 0.0
    if numbers[SIGNED] == 0.0:
        share = abs(share)
    if bars == 0:
        real[SIZE], real[MEAN] = total, share
    else:
        real[SIZE] += numbers[ALPHA_SIZE] * (total - real[SIZE])
        real[MEAN] += numbers[ALPHA_MEAN] * (share - real[MEAN])
    uncut = real[SIZE]
    real[SIZE] = min(max(uncut, numbers[LEAST]), numbers[MOST])
    if abs(real[MEAN]) < numbers[FLOOR]:
        real[MEAN] = math.copysign(numbers[FLOOR], real[MEAN])
    return uncut


@plain
def expect_ticks(real: Any, numbers: Any, bars: Any, theta: Any, trades: Any) -> Any:
    """What a closed bar of `trades` trades makes of the expectations E[T] and E[b]; `bars` were closed before."""
    mean = theta / trades
    if bars == 0:
        real[SIZE], real[MEAN] = trades, mean
    else:
        real[SIZE] += numbers[ALPHA_SIZE] * (trades - real[SIZE])
        real[MEAN] += numbers[ALPHA_MEAN] * (mean - real[MEAN])
    uncut = real[SIZE]
    real[SIZE] = min(max(uncut, numbers[LEAST]), numbers[MOST])
    return uncut


@plain
def dollars_needed(real: Any) -> Any:
    """How large |theta| has to be, in dollars."""
    return real[SIZE] * abs(real[MEAN])


@plain
def amount_needed(real: Any, numbers: Any) -> Any:
    """How large |theta| has to be behind the warm-up."""
    return real[SIZE] * max(abs(real[MEAN]), numbers[FLOOR])
