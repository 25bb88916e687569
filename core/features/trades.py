"""What single trades tell of each row, beyond what bars sum up: the compiled loops over trades.

Both take the trades of one clock hour or a part of it, from `at` to `end`, and `ends`, the places behind the last trade
of each row that is closed; what the open row has so far lies in `state`, which is changed.
"""

from typing import Any, Final

import numpy as np

from core.bars.compiled import kernel

COUNT: Final = 0
MAX: Final = 1
MEAN: Final = 2
SQUARES: Final = 3
GAPS: Final = 4
GAP_MEAN: Final = 5
GAP_SQUARES: Final = 6
SIDE: Final = 7
RUN: Final = 8
MAX_RUN: Final = 9
ROOTS: Final = 10
ROOTS_REST: Final = 11
LARGE: Final = 12
NODES: Final = 13
NODE: Final = 14
BOUGHT: Final = 15
"""Base asset of the row's buys, with what rounding left of it; of contracts alone."""
SOLD: Final = 17
BEFORE: Final = 19
"""The time of the trade before, not of the row alone; NaN if there was none."""
SLOTS: Final = 20

OF_ROW: Final = ("max_trade", "std_trade", "gap_mean", "gap_std", "signed_run", "max_run", "root_dollars")
OF_ROW_TOO: Final = ("large_volume", "phrases", "last_time", "buy_base", "sell_base")
LINES: Final = (*OF_ROW, *OF_ROW_TOO)


@kernel
def details(
    clock: Any,
    price: Any,
    quantity: Any,
    bits: Any,
    bit: Any,
    at: Any,
    end: Any,
    ends: Any,
    contract: Any,
    large: Any,
    tree: Any,
    state: Any,
    found: Any,
) -> None:
    """`found` has a line for each of LINES and a column for each of `ends`; `tree` room for two children of each node.

    `contract` is what a contract is worth where quantities are contracts, else 0; `large` the quantity above which a
    trade is large. `clock` is in microseconds and does not fall.
    """
    row = 0
    while at < end or (row < len(ends) and ends[row] == at):
        stop = min(end, ends[row]) if row < len(ends) else end
        for place in range(at, stop):
            number = quantity[place]
            is_sale = (bits[(bit + place) >> 3] >> ((bit + place) & 7)) & 1
            if state[COUNT] == 0.0:
                _begin(state, tree)
            state[COUNT] += 1.0
            state[MAX] = max(state[MAX], number)
            apart = number - state[MEAN]
            state[MEAN] += apart / state[COUNT]
            state[SQUARES] += apart * (number - state[MEAN])
            now = float(clock[place])
            if not np.isnan(state[BEFORE]):
                gap = (now - state[BEFORE]) * 1e-6
                state[GAPS] += 1.0
                apart = gap - state[GAP_MEAN]
                state[GAP_MEAN] += apart / state[GAPS]
                state[GAP_SQUARES] += apart * (gap - state[GAP_MEAN])
            state[BEFORE] = now
            side = -1.0 if is_sale else 1.0
            state[RUN] = state[RUN] + 1.0 if side == state[SIDE] else 1.0
            state[SIDE] = side
            state[MAX_RUN] = max(state[MAX_RUN], state[RUN])
            root = side * np.sqrt(number * (contract if contract > 0.0 else price[place]))
            total = state[ROOTS] + root
            if abs(state[ROOTS]) >= abs(root):
                state[ROOTS_REST] += (state[ROOTS] - total) + root
            else:
                state[ROOTS_REST] += (root - total) + state[ROOTS]
            state[ROOTS] = total
            if contract > 0.0:
                slot = SOLD if is_sale else BOUGHT
                coins = number * contract / price[place]
                total = state[slot] + coins
                if state[slot] >= coins:
                    state[slot + 1] += (state[slot] - total) + coins
                else:
                    state[slot + 1] += (coins - total) + state[slot]
                state[slot] = total
            if np.isnan(large):
                state[LARGE] = np.nan
            elif number > large:
                state[LARGE] += number
            node = int(state[NODE])
            child = tree[node, is_sale]
            if child > 0:
                state[NODE] = child
            else:
                state[NODES] += 1.0
                fresh = int(state[NODES])
                tree[node, is_sale] = fresh
                tree[fresh, 0] = 0
                tree[fresh, 1] = 0
                state[NODE] = 0.0
        at = stop
        if row < len(ends) and ends[row] == at:
            found[0, row] = state[MAX]
            found[1, row] = np.sqrt(state[SQUARES] / state[COUNT])
            found[2, row] = state[GAP_MEAN] if state[GAPS] > 0.0 else np.nan
            found[3, row] = np.sqrt(state[GAP_SQUARES] / state[GAPS]) if state[GAPS] > 0.0 else np.nan
            found[4, row] = state[SIDE] * state[RUN]
            found[5, row] = state[MAX_RUN]
            found[6, row] = state[ROOTS] + state[ROOTS_REST]
            found[7, row] = state[LARGE]
            found[8, row] = state[NODES]
            found[9, row] = state[BEFORE]
            found[10, row] = state[BOUGHT] + state[BOUGHT + 1]
            found[11, row] = state[SOLD] + state[SOLD + 1]
            state[COUNT] = 0.0
            row += 1


@kernel
def _begin(state: Any, tree: Any) -> None:
    for slot in range(BEFORE):
        state[slot] = 0.0
    tree[0, 0] = 0
    tree[0, 1] = 0
