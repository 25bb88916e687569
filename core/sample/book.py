"""The order book of the sample market: best bid and ask around each order, and the depth around the mark price."""

from dataclasses import dataclass

import numpy as np

from core.sample.instruments import Instrument, moment
from core.sample.prices import PLACES, POINT_US, points_of
from core.sample.tape import Tape
from core.sample.values import Bools, Columns, Decimals, Ints, divide_half_up, integers, random_stream
from core.types import Market, Span

NARROW_BANDS_FROM = moment("2025-01-15")
"""From some day on the exchange has bands of 0.2 % and writes `-5.00` for `-5`; this day is the sample's choice."""

_BANDS = np.array([-500, -400, -300, -200, -100, -20, 20, 100, 200, 300, 400, 500], dtype=np.int64)
"""Hundredths of a percent."""
_COIN_PLACES = 3
_COIN_STEPS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Neighbouring trades of one time and side, which took from one side of the book: `first` to `last` included."""

    first: Ints
    last: Ints
    time_us: Ints
    is_sell: Bools


def runs_of(tape: Tape) -> Runs:
    """The runs of a tape, in order."""
    begins = np.ones(len(tape.id), dtype=np.bool_)
    begins[1:] = (np.diff(tape.time_us) != 0) | np.diff(tape.is_buyer_maker)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(tape.id)) - 1
    return Runs(first, last, tape.time_us[first], tape.is_buyer_maker[first])


def best_quotes(seed: int, instrument: Instrument, tape: Tape) -> Columns:
    """The book that each run of trades met: its best trade is at the best price of that side, and no larger than what
    stood there."""
    name = f"{instrument.market}/{instrument.symbol}"
    runs = runs_of(tape)
    count = len(runs.first)
    highest, lowest = np.maximum.reduceat(tape.price, runs.first), np.minimum.reduceat(tape.price, runs.first)
    best = np.where(runs.is_sell, highest, lowest)
    at_best = tape.price == np.repeat(best, runs.last - runs.first + 1)
    met = np.add.reduceat(np.where(at_best, tape.qty, 0), runs.first)
    met += random_stream(seed, name, "left at best").integers(0, 10 * instrument.lot, count)
    other = 1 + random_stream(seed, name, "other side").integers(0, 10 * instrument.lot, count)
    spread = random_stream(seed, name, "spread").integers(1, 4, count)
    late_ms = random_stream(seed, name, "event").integers(0, 6, count)
    ticks, steps = instrument.price_decimals, instrument.qty_decimals
    return {
        "update_id": 10**12 + np.cumsum(random_stream(seed, name, "update").integers(1, 50, count)),
        "best_bid_price": Decimals(np.where(runs.is_sell, best, best - spread), ticks),
        "best_bid_qty": Decimals(np.where(runs.is_sell, met, other), steps),
        "best_ask_price": Decimals(np.where(runs.is_sell, best + spread, best), ticks),
        "best_ask_qty": Decimals(np.where(runs.is_sell, other, met), steps),
        "transaction_time": runs.time_us,
        "event_time": runs.time_us + late_ms * 1000,
    }


def depth_snapshots(seed: int, instrument: Instrument, history: Span, life: Span) -> Columns:
    """When the depth is looked at, and what makes it: a row a snapshot, of which `banded` makes the published ones."""
    name = f"{instrument.market}/{instrument.symbol}"
    step = instrument.depth_seconds * 1_000_000
    times = np.arange(history.start_us, history.end_us, step, dtype=np.int64)
    times = times + random_stream(seed, name, "snapshots").integers(0, 6, len(times)) * 1_000_000
    mark = points_of(seed, instrument, history).mark[(times - history.start_us) // POINT_US]
    snapshots: Columns = {
        "timestamp": times,
        "mid": divide_half_up(mark, 10 ** (PLACES - instrument.price_decimals)),
        "bids": random_stream(seed, name, "bids").integers(700, 1301, len(times)),
        "asks": random_stream(seed, name, "asks").integers(700, 1301, len(times)),
    }
    alive = (times >= life.start_us) & (times < life.end_us)
    return {column: values[alive] for column, values in snapshots.items()}


def banded(instrument: Instrument, snapshots: Columns) -> Columns:
    """A row for each band of each snapshot. A band's value is its depth at the price in the middle of it."""
    times, mid, bids, asks = (integers(snapshots[name]) for name in ("timestamp", "mid", "bids", "asks"))
    shown = (times[:, None] >= NARROW_BANDS_FROM) | (np.abs(_BANDS) >= 100)[None, :]
    strength = np.where(_BANDS[None, :] < 0, bids[:, None], asks[:, None])
    depth = 1 + _depth_of_a_percent(instrument) * strength * np.abs(_BANDS)[None, :] // 100_000
    notional = divide_half_up(depth * mid[:, None] * (20_000 + _BANDS)[None, :], 20_000)
    places = _depth_places(instrument)
    return {
        "timestamp": np.broadcast_to(times[:, None], shown.shape)[shown],
        "percentage": Decimals(np.broadcast_to(_BANDS[None, :], shown.shape)[shown], 2),
        "depth": Decimals(depth[shown], places),
        "notional": Decimals(notional[shown], places + instrument.price_decimals),
    }


def _depth_places(instrument: Instrument) -> int:
    """Depth is in coins, also where quantities are contracts."""
    return _COIN_PLACES if instrument.market is Market.CM else instrument.qty_decimals


def _depth_of_a_percent(instrument: Instrument) -> int:
    steps = 50 * instrument.lot
    if instrument.market is not Market.CM:
        return steps
    return steps * instrument.contract_usd * _COIN_STEPS // int(instrument.start_price)
