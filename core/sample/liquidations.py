"""Liquidations of the sample market: some of the orders whose trades are on the tape."""

import numpy as np

from core.sample.book import runs_of
from core.sample.instruments import Instrument
from core.sample.tape import Tape
from core.sample.values import Columns, Decimals, divide_half_up, random_stream

_RARE = 15
"""Of the moments with trades, one in so many is a liquidation of whoever was the taker, or of both sides."""


def liquidations(seed: int, instrument: Instrument, tape: Tape) -> Columns:
    """Each once, in the order of the dataset's key: time, then BUY before SELL."""
    name = f"{instrument.market}/{instrument.symbol}"
    runs = runs_of(tape)
    count = len(runs.first)
    is_new = np.append(np.ones(min(1, count), dtype=np.bool_), np.diff(runs.time_us) != 0)
    moment = np.cumsum(is_new) - 1
    chosen = (random_stream(seed, name, "liquidated").integers(0, _RARE, count) == 0)[moment]
    limit_away = random_stream(seed, name, "limit").integers(5, 25, count)
    # A third run of one millisecond would be of the first one's side again, and might agree with it in everything.
    place = np.arange(count) - np.flatnonzero(is_new)[moment]
    rows = np.flatnonzero(chosen & (place < 2))
    rows = rows[np.lexsort((runs.is_sell[rows], runs.time_us[rows]))]
    quantity = np.add.reduceat(tape.qty, runs.first)
    paid = np.add.reduceat(tape.qty * tape.price, runs.first)
    worst = tape.price[runs.last] + np.where(runs.is_sell, -limit_away, limit_away)
    ticks, steps = instrument.price_decimals, instrument.qty_decimals
    return {
        "time": runs.time_us[rows],
        "side": np.where(runs.is_sell, "SELL", "BUY")[rows],
        "order_type": np.full(len(rows), "LIMIT"),
        "time_in_force": np.full(len(rows), "IOC"),
        "original_quantity": Decimals(quantity[rows], steps),
        "price": Decimals(np.maximum(worst, 1)[rows], ticks),
        "average_price": Decimals(divide_half_up(paid, quantity)[rows], ticks),
        "order_status": np.full(len(rows), "FILLED"),
        "last_fill_quantity": Decimals(tape.qty[runs.last][rows], steps),
        "accumulated_fill_quantity": Decimals(quantity[rows], steps),
    }
