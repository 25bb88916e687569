"""Bars that close when one side, buys or sells, has done more than was expected.

M. López de Prado, "Advances in Financial Machine Learning", ch. 2.3.2.2: theta = max(bought, sold) reaches
E[T] * max(P * Eb, (1 - P) * Es), where E[T] is the expected number of trades, P the expected share of buys, Eb and Es
the expected amount of one buy and of one sale. The first bar is a warm-up of `init_ticks` trades. A side that no bar
had yet is not known (NaN) and counts for 0; it is then expected with the mean of the first bar that has it.
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
    LEAST,
    MEAN,
    MEAN_BUY,
    MEAN_SELL,
    MOST,
    SIZE,
    TRADES,
)


@plain
def find_run(trades: Any, at: Any, first: Any, count: Any, room: Any, rule: Any, whole: Any, limit: Any) -> Any:
    """The trade of the scratch, from `first` on, with which the larger side reaches `limit`; `count` if none does."""
    slot = rule[AMOUNT]
    bought = whole[slot + 1 if slot == TRADES else slot + 2]
    sold = whole[slot] - bought
    column = column_of(rule)
    amounts = room[3] if slot == TRADES else room[2] if slot == DOLLARS else room[1]
    sales, sums = room[5], room[6]
    place = first
    while place < count:
        if place % BLOCK == 0:
            more_sold = sums[place // BLOCK, column + 1]
            more_bought = sums[place // BLOCK, column] - more_sold
            if bought + more_bought < limit and sold + more_sold < limit:
                bought += more_bought
                sold += more_sold
                place += BLOCK
                continue
        stop = min(count, place - place % BLOCK + BLOCK)
        if slot != TRADES and not room[7][place // BLOCK]:
            open_block(trades, at, place, count, room, rule)
        part, sides = amounts[place:stop], sales[place:stop]
        for k in range(len(part)):
            sale = -int64(sides[k])
            sold += part[k] & sale
            bought += part[k] & ~sale
            if max(bought, sold) >= limit:
                return place + k
        place = stop
    return count


@plain
def expect_run(real: Any, numbers: Any, bars: Any, trades: Any, buys: Any, bought: Any, sold: Any) -> Any:
    """What a closed bar makes of the expectations E[T], P, Eb and Es; `bars` were closed before. All are doubles."""
    share = buys / trades
    if bars == 0:
        real[SIZE], real[MEAN] = trades, share
    else:
        real[SIZE] += numbers[ALPHA_SIZE] * (trades - real[SIZE])
        real[MEAN] += numbers[ALPHA_MEAN] * (share - real[MEAN])
    if buys > 0.0:
        mean = bought / buys
        before = mean if math.isnan(real[MEAN_BUY]) else real[MEAN_BUY]
        real[MEAN_BUY] = before + numbers[ALPHA_MEAN] * (mean - before)
    if trades > buys:
        mean = sold / (trades - buys)
        before = mean if math.isnan(real[MEAN_SELL]) else real[MEAN_SELL]
        real[MEAN_SELL] = before + numbers[ALPHA_MEAN] * (mean - before)
    uncut = real[SIZE]
    real[SIZE] = min(max(uncut, numbers[LEAST]), numbers[MOST])
    return uncut


@plain
def run_needed(real: Any) -> Any:
    """How large the larger side has to be behind the warm-up."""
    buy = 0.0 if math.isnan(real[MEAN_BUY]) else real[MEAN_BUY]
    sell = 0.0 if math.isnan(real[MEAN_SELL]) else real[MEAN_SELL]
    return real[SIZE] * max(real[MEAN] * buy, (1.0 - real[MEAN]) * sell)
