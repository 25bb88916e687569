"""Bars of the clock: the trades of `[k * step, (k + 1) * step)`, counted from 1970.

A trade that is stamped earlier than the open bar, as it happens in futures, counts for the open bar: bars do not change
behind their close.
"""

from typing import Any

from core.bars.compiled import plain
from core.bars.slots import BIN, BLOCK, LIMIT


@plain
def find_later(times: Any, at: Any, first: Any, count: Any, rule: Any, whole: Any) -> Any:
    """The first trade of the scratch, from `first` on, of a later step than the open bar's; `count` if there is none.

    `times` are those of all trades, the scratch's begin at `at`.
    """
    end = (whole[BIN] + 1) * rule[LIMIT]
    place = first
    while place < count:
        stop = min(count, place + BLOCK)
        block = times[at + place : at + stop]
        later = 0
        for k in range(len(block)):
            later += block[k] >= end
        if later:
            for k in range(len(block)):
                if block[k] >= end:
                    return place + k
        place = stop
    return count
