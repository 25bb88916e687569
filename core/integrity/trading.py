"""Checks of trades, aggregates, best quotes and liquidations."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.datasets.grid import Bools, Ints
from core.dates import format_us
from core.integrity.candles import CONTRACT_USD, PLACE
from core.integrity.exact import places_of, text
from core.integrity.rows import Faults, Rows, told_value
from core.types import Market

FEW_IDS = 50
AT_ONCE_US = 1_000_000
LEFT_OUT = "futures leave out trades of the insurance fund and of auto-deleveraging"
_QUANTITY = {
    "trades": ("qty",),
    "agg_trades": ("quantity",),
    "book_ticker": ("best_bid_qty", "best_ask_qty"),
    "liquidation_snapshot": ("original_quantity", "last_fill_quantity", "accumulated_fill_quantity"),
}
_PRICES = {
    "trades": ("price",),
    "agg_trades": ("price",),
    "book_ticker": ("best_bid_price", "best_ask_price"),
    "liquidation_snapshot": ("price", "average_price"),
}


@dataclass(frozen=True, slots=True, eq=False)
class IdJumps:
    """Between each row and the next, shape `(rows - 1,)`: how many ids are `missing`, and whether they are `lone`
    ones, which futures leave out. Trades are `lost` where many ids are missing, or several and time has passed."""

    missing: Ints
    lone: Bools
    lost: Bools


def id_jumps(rows: Rows) -> IdJumps:
    """Of a dataset with trade ids."""
    first, last = rows.dataset.clock.ids
    missing = rows.ints(first)[1:] - rows.ints(last)[:-1] - 1
    lone = (missing == 1) | ((missing > 0) & (missing <= FEW_IDS) & (np.abs(np.diff(rows.time)) <= AT_ONCE_US))
    return IdJumps(missing, lone, (missing > 0) & ~lone)


def lone_ids(rows: Rows) -> Iterator[Faults]:
    """Trade ids run on; single ones are missing in futures."""
    jumps = id_jumps(rows)
    if jumps.lone.any():
        ids = rows.ints(rows.dataset.clock.ids[1])
        cause = LEFT_OUT if rows.series.market is not Market.SPOT else None
        for each in rows.pairs("lone-ids", jumps.lone, lambda n: f"no trade {ids[n - 1] + 1}", cause):
            at = np.flatnonzero(np.append(False, jumps.lone))
            counts = jumps.missing[at[at >= rows.before] - 1]
            yield Faults(each.kind, each.starts, each.ends, each.say, each.cause, counts)


def ids_overlap(rows: Rows) -> Iterator[Faults]:
    """No trade is in two aggregates, no aggregate ends before it begins, and none is there under one id twice."""
    number, first, last = (rows.ints(name) for name in ("agg_trade_id", "first_trade_id", "last_trade_id"))
    twice = np.diff(number) == 0
    if twice.any():
        yield from rows.pairs("id-twice", twice, lambda n: f"aggregate {number[n]} is two different ones")
    overlap = (first[1:] <= last[:-1]) & ~twice
    if overlap.any():
        yield from rows.pairs("ids-overlap", overlap, lambda n: f"trades to {last[n - 1]} come before {first[n]}")
    backwards = last < first
    if backwards.any():
        yield from rows.faults("ids-overlap", backwards, lambda n: f"trades {first[n]} to {last[n]}")


def aggregate_ids(rows: Rows) -> Iterator[Faults]:
    """Aggregates count on where their trades do."""
    missing = np.diff(rows.ints("agg_trade_id")) - 1
    wrong = (missing > 0) & (id_jumps(rows).missing == 0)
    if wrong.any():
        number = rows.ints("agg_trade_id")
        yield from rows.pairs("aggregate-ids", wrong, lambda n: f"aggregate {number[n]} follows {number[n - 1]}")


def quantities(rows: Rows) -> Iterator[Faults]:
    """Quantities are above 0."""
    for name in _QUANTITY[rows.series.dataset]:
        values = rows.floats(name)
        wrong = ~(values > 0)
        if wrong.any():
            yield from rows.faults("zero-quantity", wrong, told_value(name, values))


def prices(rows: Rows) -> Iterator[Faults]:
    """Prices are above 0."""
    for name in _PRICES[rows.series.dataset]:
        values = rows.floats(name)
        if not (values > 0).all():
            yield from rows.faults("price-not-positive", ~(values > 0), told_value(name, values))


def price_jump(rows: Rows) -> Iterator[Faults]:
    """A trade's price is near that of the one before."""
    price = rows.floats(_PRICES[rows.series.dataset][0])
    before, after = price[:-1], price[1:]
    lower = np.minimum(before, after)
    jumps = (np.maximum(before, after) > rows.quality.max_price_jump * lower) & (lower > 0)
    if jumps.any():
        yield from rows.pairs("price-jump", jumps, lambda n: f"from {text(price[n - 1])} to {text(price[n])}")


def trade_value(rows: Rows) -> Iterator[Faults]:
    """The value of a trade is price times quantity (cm: contracts times contract value over price), to its decimals."""
    price, quantity = rows.floats("price"), rows.floats("qty")
    if rows.series.market is Market.CM:
        worth = rows.floats("base_qty")
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.minimum.reduce([np.abs(worth - quantity * usd / price) for usd in CONTRACT_USD])
    else:
        worth = rows.floats("quote_qty")
        off = np.abs(worth - price * quantity)
    wrong = ~(off <= PLACE + 1e-15 * np.abs(worth) * 8)
    if wrong.any():
        unit = 10.0 ** -places_of(worth)  # some files have fewer decimals than price times quantity needs
        wrong &= ~(off < unit * 0.999)
        yield from rows.faults(
            "trade-value",
            wrong,
            lambda n: f"{text(worth[n])} for {text(quantity[n])} at a price of {text(price[n])}",
        )


def crossed(rows: Rows) -> Iterator[Faults]:
    """The best bid is below the best ask."""
    bid, ask = rows.floats("best_bid_price"), rows.floats("best_ask_price")
    wrong = ~(bid < ask)
    if wrong.any():
        yield from rows.faults("crossed-quotes", wrong, lambda n: f"bid {text(bid[n])}, ask {text(ask[n])}")


def fills(rows: Rows) -> Iterator[Faults]:
    """A liquidation is filled to no more than its quantity."""
    original, filled = rows.floats("original_quantity"), rows.floats("accumulated_fill_quantity")
    wrong = ~(filled <= original)
    if wrong.any():
        yield from rows.faults("overfilled", wrong, lambda n: f"{text(filled[n])} of {text(original[n])}")


def lost_detail(rows: Rows, row: int) -> str:
    """The trades that are missing before a row: last id, next id and seconds in between."""
    first, last = rows.dataset.clock.ids
    before, after = int(rows.ints(last)[row - 1]), int(rows.ints(first)[row])
    seconds = (int(rows.time[row]) - int(rows.time[row - 1])) / 1_000_000
    when = format_us(int(rows.time[row - 1]))
    return f"trades {before + 1} to {after - 1}: last id {before} at {when}, next id {after} {seconds:g} seconds later"
