"""Bars that close at the first trade with which a sum reaches a threshold: trades, quantity or dollars."""

from typing import Any

from core.bars.blocks import open_block
from core.bars.compiled import plain
from core.bars.slots import BLOCK, BLOCK_DOLLARS, BLOCK_VOLUME, DOLLARS, TRADES


@plain
def find_sum(
    trades: Any, at: Any, first: Any, count: Any, room: Any, rule: Any, whole: Any, slot: Any, limit: Any
) -> Any:
    """The trade of the scratch, from `first` on, with which the sum in `slot` reaches `limit`; `count` if none does."""
    so_far = whole[slot]
    if slot == TRADES:
        return min(count, first + limit - so_far - 1)
    column = BLOCK_DOLLARS if slot == DOLLARS else BLOCK_VOLUME
    amounts, sums = room[2] if slot == DOLLARS else room[1], room[6]
    place = first
    while place < count:
        if place % BLOCK == 0 and so_far + sums[place // BLOCK, column] < limit:
            so_far += sums[place // BLOCK, column]
            place += BLOCK
            continue
        if not room[7][place // BLOCK]:
            open_block(trades, at, place, count, room, rule)
        stop = min(count, place - place % BLOCK + BLOCK)
        for k in range(place, stop):
            so_far += amounts[k]
            if so_far >= limit:
                return k
        place = stop
    return count
