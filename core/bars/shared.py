"""What many sets of numbers ask of the same trades, noted once for all of them.

Running sums of a scratch say in one subtraction what any run of its trades sums up to. What bars close by is noted as
two lines of numbers: a bar closes with the first trade where `up` is at least one number or `down` at most another;
steps of 32 trades whose highest and lowest do not reach are passed over. So a bar costs hardly more for being long,
and nothing is done trade by trade that is not done eight at once.
"""

from typing import Any, Final

import numpy as np
from numba import float64, int64

from core.bars.blocks import column_of, whole_number
from core.bars.compiled import inner, plain
from core.bars.rounding import TEN, nearest
from core.bars.rules import Family
from core.bars.slots import (
    AMOUNT,
    BARS,
    BIN,
    BLOCK_DOLLARS,
    BLOCK_SELL_DOLLARS,
    BLOCK_SELL_VOLUME,
    BLOCK_SELLS,
    BLOCK_TRADES,
    BLOCK_VOLUME,
    BUY_DOLLARS,
    BUY_VOLUME,
    BUYS,
    CLOSE,
    CONTRACT,
    CONTRACT_PLACES,
    DOLLARS,
    FAMILY,
    FIRST_ID,
    FIRST_TIME,
    HIGH,
    LAST_ID,
    LAST_TIME,
    LOW,
    MEAN_SELL,
    NEVER,
    OPEN,
    PRICE_PLACES,
    QUANTITY_PLACES,
    SIDE,
    SIZE,
    THRESHOLD,
    TRADES,
    VOLUME,
)
from core.bars.vectors import EIGHT, between, lowest_bit, where_beyond

STEP: Final = 32
ROWS: Final = 256
"""Closed bars that are put into columns together."""
_LINE: Final = 8
"""Running sums of one trade: as many as a line of the processor's cache holds, of which six are used."""
_APART: Final = 3 * EIGHT
"""Lines as long as a power of two would push each other out of the cache."""
_FIXED: Final = int(Family.THRESHOLD)
_IN_DOLLARS: Final = int(Family.DOLLAR_IMBALANCE)
_RUN: Final = int(Family.RUN)
WHOLE_COLUMNS: Final = ("first_time", "last_time", "num_trades", "num_buys", "first_trade_id", "last_trade_id")
REAL_COLUMNS: Final = (
    *("price_open", "price_high", "price_low", "price_close"),
    *("volume", "buy_volume", "dollar_volume", "buy_dollar"),
)
"""What `put_columns` gives; of adaptive bars also theta, threshold, expected size, and what else is expected."""


def rows_of() -> tuple[Any, ...]:
    """Room for closed bars on their way into columns: a line for each slot."""
    return np.zeros((BIN, ROWS + _APART), dtype=np.int64), np.zeros((MEAN_SELL + 1, ROWS + _APART))


def notes(trades: int) -> tuple[Any, ...]:
    """Room for that many trades, a multiple of 32: running sums, prices, `up`, `down`; of each step the highest
    and lowest of prices, the highest of `up`, the lowest of `down`."""
    sums = np.zeros((trades + 1, _LINE), dtype=np.int64)
    lines = np.zeros((2, trades + _APART), dtype=np.int64)
    prices = np.zeros(trades + _APART)
    steps, heights = np.zeros((2, trades // STEP + _APART), dtype=np.int64), np.zeros((2, trades // STEP + _APART))
    return sums, prices, *lines, *heights, *steps


@plain
def note(trades: Any, at: Any, count: Any, room: Any, rule: Any, noted: Any) -> Any:
    """Note what the `count` trades from `at` on sum up to; `fill` has found them to be whole numbers."""
    sums, prices, ups, downs, highs, lows, tops, bottoms = noted
    price, quantity, sales = trades[1][at : at + count], trades[2][at : at + count], room[5]
    scale, quantity_scale = TEN[rule[PRICE_PLACES]], TEN[rule[QUANTITY_PLACES]]
    contract, family, column = rule[CONTRACT], rule[FAMILY], column_of(rule)
    volume, sold, value, sold_value, sells = int64(0), int64(0), int64(0), int64(0), int64(0)
    for step in range((count + STEP - 1) // STEP):
        high, low, top, bottom = -1.0, np.inf, int64(-NEVER), int64(NEVER)
        for k in range(step * STEP, min(count, step * STEP + STEP)):
            units = whole_number(price[k], scale)
            pieces = whole_number(quantity[k], quantity_scale)
            worth = pieces * (contract if contract else units)
            sale = -int64(sales[k])
            volume += pieces
            sold += pieces & sale
            value += worth
            sold_value += worth & sale
            sells -= sale
            line = sums[k + 1]
            line[BLOCK_VOLUME], line[BLOCK_SELL_VOLUME] = volume, sold
            line[BLOCK_DOLLARS], line[BLOCK_SELL_DOLLARS] = value, sold_value
            line[BLOCK_TRADES], line[BLOCK_SELLS] = k + 1, sells
            up, down = _goes(line[column], line[column + 1], family)
            prices[k], ups[k], downs[k] = price[k] + 0.0, up, down  # no -0.0
            high, low = _higher(high, prices[k]), _lower(low, prices[k])
            top, bottom = max(top, up), min(bottom, down)
        highs[step], lows[step], tops[step], bottoms[step] = high, low, top, bottom


@plain
def _goes(total: Any, sold: Any, family: Any) -> Any:
    """`up` and `down` of running sums."""
    if family == _FIXED:
        return total, int64(0)
    if family == _RUN:
        return total - sold, -sold
    return total - 2 * sold, total - 2 * sold


@inner
def find_noted(place: Any, count: Any, noted: Any, rule: Any, whole: Any, limit: Any) -> Any:
    """The trade of the scratch, from `place` on, with which the bar closes; `count` if none does."""
    family, slot = rule[FAMILY], rule[AMOUNT]
    if family != _IN_DOLLARS and (slot == TRADES if family == _FIXED else whole[BARS] == 0):
        return min(count, place + limit - whole[TRADES] - 1)
    total, bought = whole[slot], whole[slot + 1 if slot == TRADES else slot + 2]
    line, column = noted[0][place], column_of(rule)
    up, down = _goes(line[column], line[column + 1], family)
    more, less = _goes(total, total - bought, family)
    high = limit - more + up
    low = int64(-NEVER) if family == _FIXED else -limit - less + down
    stop = min(count, place - place % STEP + 2 * STEP)
    last = _first_beyond(noted[2], noted[3], place, stop, high, low)
    if last == stop < count:
        steps = (count + STEP - 1) // STEP
        step = _first_beyond(noted[6], noted[7], stop // STEP, steps, high, low)
        stop = min(count, step * STEP + STEP)
        last = _first_beyond(noted[2], noted[3], step * STEP, stop, high, low) if step < steps else count
    return last


@plain
def _first_beyond(ups: Any, downs: Any, first: Any, end: Any, high: Any, low: Any) -> Any:
    """The first place where `up` is at least `high` or `down` at most `low`; `end` if there is none before."""
    while first < end:
        bits = where_beyond(ups, downs, first, high, low)
        if bits:
            return min(end, first + lowest_bit(bits))
        first += EIGHT
    return end


@inner
def gather_noted(trades: Any, at: Any, first: Any, end: Any, room: Any, noted: Any, whole: Any, real: Any) -> Any:
    """Add the trades `first` to `end` of the scratch, whose trade 0 is `at`, to the open bar."""
    ids, price, times = trades[0], trades[1], trades[5]
    if whole[TRADES] == 0:
        whole[FIRST_TIME], whole[FIRST_ID] = times[at + first], ids[at + first]
        real[OPEN] = real[HIGH] = real[LOW] = price[at + first]
    number, buys, volume, buy_volume, value, buy_value = _sums_between(noted[0][first], noted[0][end])
    whole[TRADES] += number
    whole[BUYS] += buys
    whole[VOLUME] += volume
    whole[BUY_VOLUME] += buy_volume
    whole[DOLLARS] += value
    whole[BUY_DOLLARS] += buy_value
    low, high = _between(noted, first, end)
    real[HIGH], real[LOW] = max(real[HIGH], high), min(real[LOW], low)
    real[CLOSE] = price[at + end - 1]
    whole[LAST_TIME], whole[LAST_ID] = times[at + end - 1], ids[at + end - 1]
    whole[SIDE] = room[5][end - 1]


@inner
def put_noted(trades: Any, at: Any, first: Any, end: Any, noted: Any, rule: Any, real: Any, rows: Any, k: Any) -> Any:
    """The bar of the trades `first` to `end` of the scratch as row `k`, with what was expected of it.

    Its trades and buys, and all and the bought of what decides.
    """
    ids, price, times = trades[0], trades[1], trades[5]
    row, row_real = rows[0][:, k], rows[1][:, k]
    number, buys, volume, buy_volume, value, buy_value = _sums_between(noted[0][first], noted[0][end])
    row[TRADES], row[BUYS] = number, buys
    row[VOLUME], row[BUY_VOLUME], row[DOLLARS], row[BUY_DOLLARS] = volume, buy_volume, value, buy_value
    row[FIRST_TIME], row[LAST_TIME] = times[at + first], times[at + end - 1]
    row[FIRST_ID], row[LAST_ID] = ids[at + first], ids[at + end - 1]
    row_real[OPEN], row_real[CLOSE] = price[at + first], price[at + end - 1]
    row_real[LOW], row_real[HIGH] = _between(noted, first, end)
    for slot in range(THRESHOLD, MEAN_SELL + 1):
        row_real[slot] = real[slot]
    if rule[AMOUNT] == TRADES:
        return number, buys, number, buys
    if rule[AMOUNT] == DOLLARS:
        return number, buys, value, buy_value
    return number, buys, volume, buy_volume


@inner
def _sums_between(before: Any, behind: Any) -> Any:
    """Trades, buys, volume, bought volume, dollars and bought dollars between two running sums."""
    trades = behind[BLOCK_TRADES] - before[BLOCK_TRADES]
    volume, value = behind[BLOCK_VOLUME] - before[BLOCK_VOLUME], behind[BLOCK_DOLLARS] - before[BLOCK_DOLLARS]
    buys = trades - (behind[BLOCK_SELLS] - before[BLOCK_SELLS])
    buy_volume = volume - (behind[BLOCK_SELL_VOLUME] - before[BLOCK_SELL_VOLUME])
    return trades, buys, volume, buy_volume, value, value - (behind[BLOCK_SELL_DOLLARS] - before[BLOCK_SELL_DOLLARS])


@plain
def _between(noted: Any, first: Any, end: Any) -> Any:
    """The lowest and the highest price of some trades."""
    prices, highs, lows = noted[1], noted[4], noted[5]
    step, last = (first + STEP - 1) // STEP, end // STEP
    if step >= last:
        return between(prices, prices, first, end)
    low, high = between(lows, highs, step, last)
    if first < step * STEP:
        least, most = between(prices, prices, first, step * STEP)
        low, high = min(low, least), max(high, most)
    if last * STEP < end:
        least, most = between(prices, prices, last * STEP, end)
        low, high = min(low, least), max(high, most)
    return low, high


@plain
def _higher(one: Any, other: Any) -> Any:
    return one if one > other else other


@plain
def _lower(one: Any, other: Any) -> Any:
    return one if one < other else other


@plain
def sum_places(rule: Any) -> Any:
    """In units of how many places sums of quantities and of dollars count."""
    quantity = rule[QUANTITY_PLACES]
    return quantity, quantity + (rule[CONTRACT_PLACES] if rule[CONTRACT] else rule[PRICE_PLACES])


@inner
def put_row(whole: Any, real: Any, rows: Any, k: Any) -> Any:
    """The open bar as row `k`."""
    row, row_real = rows[0][:, k], rows[1][:, k]
    for slot in range(BIN):
        row[slot] = whole[slot]
    for slot in range(MEAN_SELL + 1):
        row_real[slot] = real[slot]


@plain
def put_columns(rows: Any, count: Any, rule: Any, columns: Any, at: Any) -> Any:
    """The first rows as columns, from place `at` on; none of their sums has a high part.

    Column by column: more lines at once than the processor can foresee are slow to write to.
    """
    whole, real = rows
    wholes, reals, sides, slots = columns
    quantity, dollar = sum_places(rule)
    for column, slot in enumerate((FIRST_TIME, LAST_TIME, TRADES, BUYS, FIRST_ID, LAST_ID)):
        into = wholes[column, at : at + count]
        for k in range(count):
            into[k] = whole[slot, k]
    for column, slot in enumerate((OPEN, HIGH, LOW, CLOSE)):
        _copy(real, slot, reals[column, at : at + count])
    for column, slot in enumerate((VOLUME, BUY_VOLUME)):
        _divide(whole[slot, :count], quantity, reals[4 + column, at : at + count])
    for column, slot in enumerate((DOLLARS, BUY_DOLLARS)):
        _divide(whole[slot, :count], dollar, reals[6 + column, at : at + count])
    for k in range(count):
        more = 2 * whole[BUY_DOLLARS, k] - whole[DOLLARS, k]
        sides[at + k] = int64(more > 0) - int64(more < 0)
    if len(reals) > len(REAL_COLUMNS):
        slot = rule[AMOUNT]
        buys, unit = slot + 1 if slot == TRADES else slot + 2, _unit(slot, quantity, dollar)
        for k in range(count):
            bought = whole[buys, k]
            sold = whole[slot, k] - bought
            whole[slot, k] = max(bought, sold) if rule[FAMILY] == _RUN else bought - sold
        _divide(whole[slot, :count], unit, reals[8, at : at + count])
        _copy(real, THRESHOLD, reals[9, at : at + count])
        _copy_known(real, SIZE, reals[10, at : at + count])
        for each in range(len(slots)):
            _copy_known(real, slots[each], reals[11 + each, at : at + count])


@plain
def _unit(slot: Any, quantity: Any, dollar: Any) -> Any:
    return int64(0) if slot == TRADES else dollar if slot == DOLLARS else quantity


@plain
def _copy(real: Any, slot: Any, into: Any) -> Any:
    for k in range(len(into)):
        into[k] = real[slot, k]


@plain
def _copy_known(real: Any, slot: Any, into: Any) -> Any:
    """What was expected is not known in a warm-up."""
    for k in range(len(into)):
        into[k] = np.nan if np.isnan(real[THRESHOLD, k]) else real[slot, k]


@plain
def _divide(sums: Any, places: Any, into: Any) -> Any:
    """The doubles nearest to sums, as `nearest`; all at once where none has more than 53 bits."""
    unit, most = TEN[places], int64(0)
    for k in range(len(into)):
        most |= abs(sums[k])
        into[k] = float64(sums[k]) / unit
    if most >= int64(1) << int64(53):
        for k in range(len(into)):
            number = nearest(abs(sums[k]), places)
            into[k] = number if sums[k] >= 0 else -number
