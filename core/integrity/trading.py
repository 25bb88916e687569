"""Checks of trades, aggregates, best quotes and liquidations."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.datasets.contracts import contract_usd
from core.datasets.grid import Bools, Grid, Ints
from core.dates import format_us
from core.decimals import places_of, text
from core.integrity.candles import PLACE
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
    return jumps_between(rows.ints(first), rows.ints(last), rows.time)


def jumps_between(first: Ints, last: Ints, time: Ints) -> IdJumps:
    """Of rows with these first and last trade ids."""
    missing = first[1:] - last[:-1] - 1
    lone = (missing == 1) | ((missing > 0) & (missing <= FEW_IDS) & (np.abs(np.diff(time)) <= AT_ONCE_US))
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
    contract = contract_usd(rows.series.market, rows.series.symbol)
    if contract is not None:
        worth = rows.floats("base_qty")
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.abs(worth - quantity * contract / price)
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


class LoneIds:
    """The single ids that trades lack, by the slots of a grid in which these trades may have been."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._last: tuple[int, int] | None = None
        self._found: list[tuple[Ints, Ints, Ints]] = []

    def update(self, rows: Rows) -> None:
        """Trades in the order of their ids, behind those before."""
        ids, times = rows.ints("id"), rows.time
        if self._last is not None:
            ids, times = np.append(self._last[0], ids), np.append(self._last[1], times)
        self._last = int(ids[-1]), int(times[-1])
        jumps = jumps_between(ids, ids, times)
        at = np.flatnonzero(jumps.lone)
        if len(at):
            slots = self._grid.slots(times)
            ends = np.minimum(slots[at], slots[at + 1]), np.maximum(slots[at], slots[at + 1])
            self._found.append((*ends, jumps.missing[at]))

    def forget(self, slot: int) -> None:
        """What lies before a slot is asked for no more."""
        self._found = [each for each in self._found if each[1].max() >= slot]

    def make_up(self, slots: Ints, lacking: Ints) -> Bools:
        """Whether the missing ids are as many as these slots lack trades; of those at a slot's edge, some may be."""
        if not self._found:
            return np.zeros(len(slots), dtype=np.bool_)
        first, last, missing = (np.concatenate(column) for column in zip(*self._found, strict=True))
        fits = np.zeros(len(slots), dtype=np.bool_)
        for row in np.flatnonzero(lacking > 0).tolist():
            near = (first <= slots[row]) & (last >= slots[row])
            inside = near & (first == last)
            fits[row] = missing[inside].sum() <= lacking[row] <= missing[near].sum()
        return fits
