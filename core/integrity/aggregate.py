"""Candles added up from trades or from shorter candles, exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from core.datasets.grid import Grid, Ints
from core.decimals import doubles, places_of, products, sums, whole_sums
from core.integrity.rows import Floats, Rows
from core.types import Market

Sums: TypeAlias = list[int]
"""Exact sums in units of 1e-12 (`core.decimals`)."""


@dataclass(slots=True, eq=False)
class Candles:
    """One candle for each slot in `slots`, which rise; `rows`: of how many rows it is made."""

    slots: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    rows: Ints
    totals: dict[str, Sums] = field(default_factory=dict)

    def total(self, name: str) -> Floats:
        """A sum as the doubles nearest to it."""
        return doubles(self.totals[name])


def added_up(parts: Sequence[Candles]) -> Candles | None:
    """Parts of candles in order of time, joined; None of no parts."""
    if not parts:
        return None
    slots = np.concatenate([part.slots for part in parts])
    order = np.argsort(slots, kind="stable")
    first = _firsts(slots[order])
    last = np.append(first[1:], len(slots)) - 1

    def of(name: str) -> Floats:
        joined: Floats = np.concatenate([getattr(part, name) for part in parts])[order]
        return joined

    totals = {}
    for name in parts[0].totals:
        held = [each for part in parts for each in part.totals[name]]
        ordered = [held[n] for n in order.tolist()]
        bounds = [*first.tolist(), len(ordered)]
        totals[name] = [sum(ordered[a:b]) for a, b in pairwise(bounds)]
    return Candles(
        slots[order][first],
        of("open")[first],
        np.maximum.reduceat(of("high"), first),
        np.minimum.reduceat(of("low"), first),
        of("close")[last],
        np.add.reduceat(np.concatenate([part.rows for part in parts])[order], first),
        totals,
    )


def of_trades(rows: Rows, grid: Grid) -> Candles:
    """Candles of trades in the order of their ids. Of their totals, `value` adds up what is published as each trade's
    value, `product` price times quantity (not in cm): some files publish values with fewer decimals than that."""
    slots = grid.slots(rows.time)
    order = np.argsort(slots, kind="stable") if (np.diff(slots) < 0).any() else slice(None)
    price, quantity = rows.floats("price")[order], rows.floats("qty")[order]
    worth = rows.floats("base_qty" if rows.series.market is Market.CM else "quote_qty")[order]
    taken = ~rows.bools("is_buyer_maker")[order]
    slots = slots[order]
    first = _firsts(slots)
    candles = _prices(slots, first, price, price, price, price)
    columns = {
        "volume": quantity,
        "value": worth,
        "taken": np.where(taken, quantity, 0.0),
        "taken_value": np.where(taken, worth, 0.0),
    }
    candles.totals = {name: _sums(column, first) for name, column in columns.items()}
    if rows.series.market is not Market.CM:
        whole, places = products(price, quantity)
        candles.totals["product"] = whole_sums(whole, first, places)
        candles.totals["taken_product"] = whole_sums(np.where(taken, whole, 0), first, places)
    candles.totals["count"] = [int(each) * 10**12 for each in candles.rows]
    return candles


def of_candles(rows: Rows, grid: Grid, names: Mapping[str, str]) -> Candles:
    """Longer candles of shorter ones; `names`: by the name of a total, the column that is added up.

    A short candle without trades is flat at the close before it, so its price says nothing, unless no other has any.
    """
    slots = grid.slots(rows.time)
    first = _firsts(slots)
    kept = np.ones(len(slots), dtype=np.bool_)
    if rows.series.dataset == "klines":
        traded = rows.ints("trades") > 0
        has = np.add.reduceat(traded.astype(np.int64), first) > 0
        kept = traded | ~np.repeat(has, np.diff(np.append(first, len(slots))))
    opens, high, low, closes = (rows.floats(name)[kept] for name in ("open", "high", "low", "close"))
    candles = _prices(slots[kept], _firsts(slots[kept]), opens, high, low, closes)
    candles.rows = np.diff(np.append(first, len(slots)))
    for name, column in names.items():
        values = rows.ints(column).astype(np.float64) if column == "trades" else rows.floats(column)
        candles.totals[name] = _sums(values, first)
    return candles


def _prices(slots: Ints, first: Ints, opens: Floats, high: Floats, low: Floats, closes: Floats) -> Candles:
    last = np.append(first[1:], len(slots)) - 1
    return Candles(
        slots[first],
        opens[first],
        np.maximum.reduceat(high, first),
        np.minimum.reduceat(low, first),
        closes[last],
        last - first + 1,
    )


def _sums(values: Floats, first: Ints) -> Sums:
    return sums(values, first, places_of(values))


def _firsts(slots: Ints) -> Ints:
    return np.flatnonzero(np.append(True, np.diff(slots) != 0))
