"""One wide row per candle: candles, mark, index and premium prices, and funding, as they were known at its close."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.dates import DAY_US
from core.storage.manager import StorageManager
from loader.align import Integers, available_at, last_known, pick, same_time, within_symbols
from loader.arguments import Request
from loader.frames import Columns, symbol_column
from loader.lookup import absent, stored_spans
from loader.missing import Missing
from loader.reader import RowReader
from loader.rows import Rows

PREFIXES: Final = {"mark_price": "mark", "index_price": "index", "premium_index": "premium"}
"""The kinds of data that join the candle of the same open time, and the prefix of their columns."""
WIDE: Final = ("klines", *PREFIXES, "funding_rate")
"""Every kind of data in a wide row."""
STALE_US: Final = DAY_US
"""Contracts settle every 8 hours or more often: a settlement older than a day means that later ones are not stored."""

_TIME: Final = pa.timestamp("us", tz="UTC")


def read_wide(reader: RowReader, request: Request) -> dict[str, Rows]:
    """The rows of every kind; of funding, those that were known to any of the candles."""
    *candles, funding = request.datasets
    rows = {dataset.name: reader.rows(request, dataset) for dataset in candles}
    known_us = _known_at(request, rows["klines"])
    end_us = int(known_us.max(initial=request.span.start_us)) + 1
    return rows | {funding.name: reader.rows_known_until(request, funding, end_us)}


def wide_columns(request: Request, rows: Mapping[str, Rows]) -> Columns:
    """The columns of the wide frame, in their order."""
    bars = rows["klines"]
    columns: Columns = {
        "timestamp": bars.table.column("timestamp"),
        "symbol": symbol_column(request.symbols, bars.counts),
        "available_at": _times(_known_at(request, bars)),
    }
    columns |= {name: bars.table.column(name) for name in bars.table.column_names if name != "timestamp"}
    for name, prefix in PREFIXES.items():
        columns |= _prices(prefix, bars, rows[name])
    return columns | _funding(rows["funding_rate"], _settlements(request, rows))


def wide_missing(storage: StorageManager, request: Request, rows: Mapping[str, Rows]) -> Iterator[Missing]:
    """Symbols without candles; and of those with candles, what they lack and where their funding is out of date."""
    bars, *others = request.datasets
    has_bars = rows["klines"].counts > 0
    yield from absent(storage, request, bars, has_bars)
    for dataset in others:
        yield from absent(storage, request, dataset, (rows[dataset.name].counts > 0) | ~has_bars)
    yield from _stale(storage, request, rows)


def _stale(storage: StorageManager, request: Request, rows: Mapping[str, Rows]) -> Iterator[Missing]:
    bars, settlements = rows["klines"], _settlements(request, rows)
    age_us = _known_at(request, bars) - _settled_us(rows["funding_rate"], settlements)
    stale = np.append(0, np.cumsum((age_us > STALE_US) & (settlements >= 0)))
    counts = dict(zip(request.symbols, np.diff(stale[bars.offsets]), strict=True))
    symbols = [symbol for symbol, count in counts.items() if count]
    wanted = [request.series(request.datasets[-1], symbol) for symbol in symbols]
    for symbol, series, span in zip(symbols, wanted, stored_spans(storage, wanted), strict=True):
        detail = (
            f"{series}: {counts[symbol]} rows carry a rate settled more than a day before, later ones are not stored"
        )
        yield Missing(series, symbol, span, detail)


def _known_at(request: Request, bars: Rows) -> Integers:
    return available_at(bars.times_us, str(request.interval))


def _settlements(request: Request, rows: Mapping[str, Rows]) -> Integers:
    """For each candle the row of the last settlement that was known when it closed."""
    bars, funding = rows["klines"], rows["funding_rate"]
    return within_symbols(last_known, _known_at(request, bars), bars.offsets, funding.times_us, funding.offsets)


def _prices(prefix: str, bars: Rows, prices: Rows) -> Columns:
    indices = within_symbols(same_time, bars.times_us, bars.offsets, prices.times_us, prices.offsets)
    names = [name for name in prices.table.column_names if name != "timestamp"]
    return {f"{prefix}_{name}": pa.array(pick(prices.values(name), indices)) for name in names}


def _funding(funding: Rows, settlements: Integers) -> Columns:
    names = ("funding_rate", "funding_interval_hours")
    columns: Columns = {name: pa.array(pick(funding.values(name), settlements)) for name in names}
    return columns | {"funding_time": _times(_settled_us(funding, settlements), missing=settlements < 0)}


def _settled_us(funding: Rows, settlements: Integers) -> Integers:
    """The times of these settlements; 0 where there is none."""
    times_us = np.append(funding.times_us, 0)
    return times_us[settlements]


def _times(us: Integers, missing: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(us, pa.int64(), mask=missing).cast(_TIME)
