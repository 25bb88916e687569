"""Where things lie in the arrays that go into kernels and come out of them. Constants only.

A bar, open or closed, is a line of whole numbers and a line of doubles. Exact sums are whole numbers that count units
of 10^-places; each takes two slots, for it is high * 2^61 + low, 0 <= low < 2^61. Behind the bar stands what is left
of the bars before it: how many there were, the last side, what is expected of the next one.
"""

from typing import Final

LIMB: Final = 61
"""Bits of the low part of a sum. One block of trades adds less than 2^61, so that no addition reaches 2^62."""
NEVER: Final = 1 << 62
"""A limit that no sum reaches."""

TRADES: Final = 0
BUYS: Final = 1
VOLUME: Final = 2
BUY_VOLUME: Final = 4
DOLLARS: Final = 6
BUY_DOLLARS: Final = 8
FIRST_TIME: Final = 10
LAST_TIME: Final = 11
FIRST_ID: Final = 12
LAST_ID: Final = 13
"""Of the bar, and the last one seen when the bar is empty; the least int64 before the first trade."""
BIN: Final = 14
"""Which step of the clock it is; the latest that a trade was in."""
BARS: Final = 15
"""How many were closed."""
CUT_LOW: Final = 16
CUT_HIGH: Final = 17
"""How many of them left an expected size that its bounds cut."""
SIDE: Final = 18
"""By the tick rule, 1 when the last trade was a sale."""
WHOLE_SLOTS: Final = 19

OPEN: Final = 0
HIGH: Final = 1
LOW: Final = 2
CLOSE: Final = 3
"""The last price seen, also when the bar is empty; NaN before the first trade."""
THRESHOLD: Final = 4
"""Of the bar; NaN while there is none: bars that are not adaptive, and the warm-up."""
SIZE: Final = 5
"""The expected size, in dollars or trades."""
MEAN: Final = 6
"""The expected imbalance; of runs, the share of buys."""
MEAN_BUY: Final = 7
MEAN_SELL: Final = 8
"""Of runs, the amount of one buy and of one sale."""
LEAST_SIZE: Final = 9
MOST_SIZE: Final = 10
"""Between what the expected size was, so far."""
FLOAT_SLOTS: Final = 11

FAMILY: Final = 0
AMOUNT: Final = 1
"""The slot of the sum that decides: TRADES, VOLUME or DOLLARS."""
LIMIT: Final = 2
"""Of a threshold in units of its sum; the length of a step; the trades of the warm-up."""
PRICE_PLACES: Final = 3
QUANTITY_PLACES: Final = 4
CONTRACT: Final = 5
"""What a contract is worth, in units of 10^-CONTRACT_PLACES; 0 where dollars are price times quantity."""
CONTRACT_PLACES: Final = 6
TICK_RULE: Final = 7
MAY_REPEAT: Final = 8
"""Whether two rows may have one id."""
RULE_SLOTS: Final = 9

ALPHA_SIZE: Final = 0
ALPHA_MEAN: Final = 1
LEAST: Final = 2
MOST: Final = 3
FLOOR: Final = 4
SIGNED: Final = 5
NUMBER_SLOTS: Final = 6

DONE: Final = 0
FULL: Final = 1
"""No room for another closed bar."""
UNREADABLE: Final = 2
"""Prices or quantities that are no decimals of so many places below 2^49 units."""
DISORDER: Final = 3
"""An id that does not rise."""
TOO_LARGE: Final = 4
"""Sums that might not fit; the trades are added up without kernels."""

BLOCK: Final = 256
"""Trades that are summed up together, and skipped together where no bar can close among them."""
BLOCK_VOLUME: Final = 0
BLOCK_SELL_VOLUME: Final = 1
BLOCK_DOLLARS: Final = 2
BLOCK_SELL_DOLLARS: Final = 3
BLOCK_TRADES: Final = 4
BLOCK_SELLS: Final = 5
BLOCK_HIGH: Final = 6
BLOCK_LOW: Final = 7
BLOCK_SLOTS: Final = 8
