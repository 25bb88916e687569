"""The checks of rows, by name, and `check_rows`, which runs them on rows that are about to be stored.

To add one: a function `(rows) -> Iterator[Faults]` in the module of its subject, and its line in `CHECKS`. A check
looks at each row by itself or at a row and the one before; what needs more is in `core.integrity.runs`.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import pyarrow as pa

from core.datasets import DATASETS
from core.datasets.clock import Beat
from core.datasets.grid import Grid
from core.integrity import candles, form, positions, trading
from core.integrity.rows import Faults, Findings, Rows
from core.settings import QualitySettings
from core.types import Finding, Series

_CANDLES: Final = ("klines", "mark_price", "index_price", "premium_index")
_PRICES: Final = ("klines", "mark_price", "index_price")
_TRADES: Final = ("trades", "agg_trades")
_EVENTS: Final = ("trades", "agg_trades", "book_ticker", "liquidation_snapshot")


class Check(NamedTuple):
    """A function that looks at rows, and the datasets whose rows it understands."""

    run: Callable[[Rows], Iterator[Faults]]
    datasets: tuple[str, ...]


CHECKS: Final[dict[str, Check]] = {
    "numbers": Check(form.numbers, tuple(DATASETS)),
    "empty_cells": Check(form.empty_cells, ("metrics",)),
    "keys": Check(form.keys, tuple(DATASETS)),
    "time_back": Check(form.time_back, ("trades", "agg_trades", "book_ticker")),
    "off_grid": Check(candles.off_grid, _CANDLES),
    "close_time": Check(candles.close_time, _CANDLES),
    "ohlc": Check(candles.ohlc, _CANDLES),
    "positive_prices": Check(candles.positive_prices, _PRICES),
    "price_jump": Check(candles.price_jump, _PRICES),
    "flat_without_volume": Check(candles.flat_without_volume, ("klines",)),
    "taker_parts": Check(candles.taker_parts, ("klines",)),
    "value_in_range": Check(candles.value_in_range, ("klines",)),
    "lone_ids": Check(trading.lone_ids, _TRADES),
    "ids_overlap": Check(trading.ids_overlap, ("agg_trades",)),
    "aggregate_ids": Check(trading.aggregate_ids, ("agg_trades",)),
    "quantities": Check(trading.quantities, _EVENTS),
    "prices": Check(trading.prices, _EVENTS),
    "trade_jump": Check(trading.price_jump, _TRADES),
    "trade_value": Check(trading.trade_value, ("trades",)),
    "crossed": Check(trading.crossed, ("book_ticker",)),
    "fills": Check(trading.fills, ("liquidation_snapshot",)),
    "schedule": Check(positions.schedule, ("funding_rate",)),
    "off_steps": Check(positions.off_steps, ("metrics",)),
    "not_negative": Check(positions.not_negative, ("metrics", "book_depth")),
    "band_prices": Check(positions.band_prices, ("book_depth",)),
}
"""`schema` (`core.integrity.form`) comes before all of these: they trust it."""


def faults_in(rows: Rows) -> Iterator[Faults]:
    """What all checks of the dataset say of the new rows; of rows without the right columns only that."""
    wrong = list(form.schema(rows))
    yield from wrong
    if not wrong:
        for check in CHECKS.values():
            if rows.series.dataset in check.datasets:
                yield from check.run(rows)


def check_rows(series: Series, table: pa.Table, quality: QualitySettings | None = None) -> list[Finding]:
    """What is wrong with some rows of a series in the order of its key, by themselves: nothing else is read.

    A few milliseconds for 100,000 rows, so it can be called while rows are stored.
    """
    if not table.num_rows:
        return []
    rows = Rows(series, table, quality or QualitySettings(), grid=grid_of(series, table))
    found = Findings()
    for faults in faults_in(rows):
        for finding in faults.findings(series):
            found.add(finding)
    return found.all()


def grid_of(series: Series, table: pa.Table) -> Grid | None:
    """The grid of a series that begins with these rows; None where times follow no grid."""
    clock = DATASETS[series.dataset].clock
    if clock.beat not in (Beat.CANDLES, Beat.STEPS) or "timestamp" not in table.column_names:
        return None
    return Grid.of(clock, series.interval, int(table.column("timestamp").cast(pa.int64())[0].as_py()))
