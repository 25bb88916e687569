"""The compiled loop that makes bars of trades: arrays and state in, closed bars and state out. Importing loads numba.

It knows no files, no Arrow and no settings. `slots` says what lies where, `blocks` how trades become exact numbers, the
modules of the families when a bar closes.
"""

import math
from typing import Any, Final

from numba import int64

from core.bars.blocks import carry, fill, gather, start_bar
from core.bars.clock import find_later
from core.bars.compiled import inner, kernel, plain
from core.bars.imbalance import (
    amount_needed,
    dollars_needed,
    expect_dollars,
    expect_ticks,
    find_imbalance,
)
from core.bars.rounding import least_reaching, nearest
from core.bars.rules import Family
from core.bars.runs import expect_run, find_run, run_needed
from core.bars.shared import ROWS, find_noted, gather_noted, note, put_columns, put_noted, put_row, sum_places
from core.bars.slots import (
    AMOUNT,
    BARS,
    BIN,
    BUY_DOLLARS,
    BUY_VOLUME,
    BUYS,
    CUT_HIGH,
    CUT_LOW,
    DOLLARS,
    DONE,
    FAMILY,
    FULL,
    LEAST,
    LEAST_SIZE,
    LIMIT,
    MOST,
    MOST_SIZE,
    QUANTITY_PLACES,
    SIZE,
    THRESHOLD,
    TOO_LARGE,
    TRADES,
    VOLUME,
)
from core.bars.threshold import find_sum

PARTS: Final = "09c604918a9a8b4c"
"""The beginning of the SHA-256 of the modules that are compiled into this one. numba keeps a compiled kernel until the
kernel's own file changes, whatever it calls: whoever changes those changes this line, and so this file."""
CLOCK: Final = int(Family.CLOCK)
FIXED: Final = int(Family.THRESHOLD)
IN_DOLLARS: Final = int(Family.DOLLAR_IMBALANCE)
IN_TICKS: Final = int(Family.IMBALANCE)
RUN: Final = int(Family.RUN)


@kernel
def run(
    trades: Any, at: Any, room: Any, rule: Any, numbers: Any, whole: Any, real: Any, bars: Any, bars_real: Any
) -> Any:
    """(first trade that is still to be taken, closed bars, DONE or what is in the way) of the trades from `at` on.

    `whole` and `real` are the open bar and what is expected, and are changed; closed bars become columns of `bars` and
    `bars_real`, whose lines are slots.
    """
    closed = 0
    while at < len(trades[0]):
        count, status = fill(trades, at, room, rule, whole, real)
        if status == DONE and is_too_large(rule, whole):
            status = TOO_LARGE
        if status != DONE:
            return at, closed, status
        place, closed = advance(trades, at, 0, count, room, rule, numbers, whole, real, bars, bars_real, closed)
        if place < count:
            return at + place, closed, FULL
        carry(whole)
        at += count
    return at, closed, DONE


@kernel
def run_many(
    trades: Any,
    at: Any,
    room: Any,
    noted: Any,
    seen: Any,
    seen_real: Any,
    rules: Any,
    numbers: Any,
    wholes: Any,
    reals: Any,
    done: Any,
    rows: Any,
    columns: Any,
    owners: Any,
) -> Any:
    """As `run`, for many sets of numbers at once: the line of each array with two dimensions is that of a set.

    Trades are made whole and summed up once for all sets (`shared`). `seen` and `seen_real` are the state before the
    scratch, `done` says how many of its trades each set has taken. Closed bars become rows of `columns`, and `owners`
    say whose they are.
    """
    closed = 0
    while at < len(trades[0]):
        count, status = fill(trades, at, room, rules[0], seen, seen_real)
        for each in range(len(rules)):
            if status == DONE and is_wide(wholes[each]):
                status = TOO_LARGE
        if status != DONE:
            put_columns(rows, closed % ROWS, rules[0], columns, closed - closed % ROWS)
            return at, closed, status
        note(trades, at, count, room, rules[0], noted)
        for each in range(len(rules)):
            before = closed
            done[each], closed = advance_noted(
                trades,
                at,
                done[each],
                count,
                room,
                noted,
                rules[each],
                numbers[each],
                wholes[each],
                reals[each],
                rows,
                columns,
                closed,
            )
            owners[before:closed] = each
            if done[each] < count:
                put_columns(rows, closed % ROWS, rules[0], columns, closed - closed % ROWS)
                return at, closed, FULL
        for each in range(len(rules)):
            carry(wholes[each])
        done[:] = 0
        copy(wholes[0], seen)
        copy(reals[0], seen_real)
        at += count
    put_columns(rows, closed % ROWS, rules[0], columns, closed - closed % ROWS)
    return at, closed, DONE


@plain
def advance(
    trades: Any,
    at: Any,
    place: Any,
    count: Any,
    room: Any,
    rule: Any,
    numbers: Any,
    whole: Any,
    real: Any,
    bars: Any,
    bars_real: Any,
    closed: Any,
) -> Any:
    """(the next trade of the scratch, closed bars); the former is `count` unless there is no room for bars."""
    limit = need(rule, numbers, whole, real)
    while place < count and closed < bars.shape[1]:
        if rule[FAMILY] == CLOCK:
            if whole[TRADES] == 0:
                whole[BIN] = trades[5][at + place] // rule[LIMIT]
            end = find_later(trades[5], at, place, count, rule, whole)
            does_close = end < count
        else:
            last = find(trades, at, place, count, room, rule, whole, limit)
            does_close = last < count
            end = last + 1 if does_close else count
        gather(trades, at, place, end, count, room, rule, whole, real)
        place = end
        if does_close:
            for slot in range(len(bars)):
                bars[slot, closed] = whole[slot]
            for slot in range(len(bars_real)):
                bars_real[slot, closed] = real[slot]
            closed += 1
            expect_open(rule, numbers, whole, real)
            whole[BARS] += 1
            start_bar(whole)
            limit = need(rule, numbers, whole, real)
    return place, closed


@plain
def advance_noted(
    trades: Any,
    at: Any,
    place: Any,
    count: Any,
    room: Any,
    noted: Any,
    rule: Any,
    numbers: Any,
    whole: Any,
    real: Any,
    rows: Any,
    columns: Any,
    closed: Any,
) -> Any:
    """As `advance`, of trades that are noted for many sets.

    A bar that begins and ends within the scratch, as most do where they are short, never comes into `whole`.
    """
    limit = need(rule, numbers, whole, real)
    while place < count and closed < columns[0].shape[1]:
        last = find_noted(place, count, noted, rule, whole, limit)
        end = min(last + 1, count)
        if whole[TRADES] == 0 and end < count:
            number, buys, total, bought = put_noted(trades, at, place, end, noted, rule, real, rows, closed % ROWS)
            expect(rule, numbers, whole, real, number, buys, total, bought)
        else:
            gather_noted(trades, at, place, end, room, noted, whole, real)
            if last < count:
                put_row(whole, real, rows, closed % ROWS)
                expect_open(rule, numbers, whole, real)
                start_bar(whole)
        place = end
        if last < count:
            whole[BARS] += 1
            closed += 1
            limit = need(rule, numbers, whole, real)
            if closed % ROWS == 0:
                put_columns(rows, ROWS, rule, columns, closed - ROWS)
    return place, closed


@plain
def copy(line: Any, into: Any) -> Any:
    """The beginning of a line; an assignment of slices would allocate memory."""
    for slot in range(len(into)):
        into[slot] = line[slot]


@plain
def is_too_large(rule: Any, whole: Any) -> Any:
    """Whether the sum that decides has a high part already."""
    return rule[AMOUNT] != TRADES and whole[rule[AMOUNT] + 1] != 0


@plain
def is_wide(whole: Any) -> Any:
    """Whether any sum has a high part."""
    return (whole[VOLUME + 1] | whole[BUY_VOLUME + 1] | whole[DOLLARS + 1] | whole[BUY_DOLLARS + 1]) != 0


@inner
def find(trades: Any, at: Any, place: Any, count: Any, room: Any, rule: Any, whole: Any, limit: Any) -> Any:
    """The trade of the scratch with which the bar closes; `count` if none does."""
    if rule[FAMILY] == FIXED:
        return find_sum(trades, at, place, count, room, rule, whole, rule[AMOUNT], limit)
    if whole[BARS] == 0 and rule[FAMILY] != IN_DOLLARS:
        return find_sum(trades, at, place, count, room, rule, whole, TRADES, limit)
    if rule[FAMILY] == RUN:
        return find_run(trades, at, place, count, room, rule, whole, limit)
    return find_imbalance(trades, at, place, count, room, rule, whole, limit)


@plain
def need(rule: Any, numbers: Any, whole: Any, real: Any) -> Any:
    """The whole number that the open bar has to reach; an adaptive one's threshold is noted with it."""
    if rule[FAMILY] == CLOCK or rule[FAMILY] == FIXED:
        return rule[LIMIT]
    if rule[FAMILY] == IN_DOLLARS:
        real[THRESHOLD] = dollars_needed(real)
    elif whole[BARS] == 0:
        return rule[LIMIT]
    elif rule[FAMILY] == IN_TICKS:
        real[THRESHOLD] = amount_needed(real, numbers)
    else:
        real[THRESHOLD] = run_needed(real)
    return least_reaching(real[THRESHOLD], places_of_amount(rule))


@plain
def places_of_amount(rule: Any) -> Any:
    """In units of how many places the sum counts that decides."""
    if rule[AMOUNT] == TRADES:
        return int64(0)
    if rule[AMOUNT] != DOLLARS:
        return rule[QUANTITY_PLACES]
    return sum_places(rule)[1]


@plain
def expect_open(rule: Any, numbers: Any, whole: Any, real: Any) -> Any:
    """What the open bar, which closes, makes of the expectations."""
    slot = rule[AMOUNT]
    bought = whole[slot + 1] if slot == TRADES else whole[slot + 2]
    expect(rule, numbers, whole, real, whole[TRADES], whole[BUYS], whole[slot], bought)


@inner
def expect(rule: Any, numbers: Any, whole: Any, real: Any, trades: Any, buys: Any, total: Any, bought: Any) -> Any:
    """What a bar that closes makes of the expectations: its trades and buys, and all and the bought of what decides."""
    if rule[FAMILY] == CLOCK or rule[FAMILY] == FIXED:
        return
    places, sold, count = places_of_amount(rule), total - bought, float(trades)
    theta = math.copysign(nearest(abs(bought - sold), places), float(bought - sold))
    if rule[FAMILY] == IN_DOLLARS:
        uncut = expect_dollars(real, numbers, whole[BARS], theta, nearest(total, places))
    elif rule[FAMILY] == IN_TICKS:
        uncut = expect_ticks(real, numbers, whole[BARS], theta, count)
    else:
        more, less = nearest(bought, places), nearest(sold, places)
        uncut = expect_run(real, numbers, whole[BARS], count, float(buys), more, less)
    whole[CUT_LOW] += uncut < numbers[LEAST]
    whole[CUT_HIGH] += uncut > numbers[MOST]
    real[LEAST_SIZE], real[MOST_SIZE] = min(real[LEAST_SIZE], real[SIZE]), max(real[MOST_SIZE], real[SIZE])
