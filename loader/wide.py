"""One wide row per candle: candles, mark, index and premium prices, and funding, as they were known at its close."""

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa

from core.datasets import Dataset
from core.dates import DAY_US
from core.errors import ConfigError
from core.storage.arrays import arrow_of
from core.storage.stored import StoredRows
from core.types import Series, Span
from loader.align import Integers, Joined, available_at, join_last_known
from loader.arguments import Request
from loader.frames import Columns, symbol_column
from loader.gaps import lacking
from loader.lookup import absent, stored_spans
from loader.missing import Lack, Missing
from loader.reader import RowReader
from loader.resample import period_grid
from loader.rows import Rows

PREFIXES: Final = {"mark_price": "mark", "index_price": "index", "premium_index": "premium"}
"""The kinds of data whose candles join, and the prefix of their columns."""
WIDE: Final = ("klines", *PREFIXES, "funding_rate")
"""Every kind of data in a wide row."""
STALE_US: Final = DAY_US
"""Contracts settle every 8 hours or more often: a settlement older than a day means that later ones are not stored."""

_FEW: Final = 8
"""Up to so many symbols the kinds of data are read side by side."""

_TIME: Final = pa.timestamp("us", tz="UTC")
_NOTHING: Final = re.compile(r"0[smhdw]?")


@dataclass(frozen=True)
class Wide:
    """The rows of every kind, and how they join. `max_age_us`: how much older than a candle's close the close of a
    joined candle may be; None: however old."""

    request: Request
    rows: Mapping[str, Rows]
    max_age_us: int | None

    @property
    def bars(self) -> Rows:
        return self.rows["klines"]

    @cached_property
    def known_us(self) -> Integers:
        """When each candle was complete."""
        return available_at(self.bars.times_us, str(self.request.interval))

    @cached_property
    def joins(self) -> Mapping[str, Joined]:
        """By kind, for each candle the row that was the last one known when it closed."""
        return {name: self._join(name) for name in (*PREFIXES, "funding_rate")}

    def since_us(self, name: str) -> Integers:
        """Since when each row of a kind was known: a candle's close, a settlement's own time."""
        times_us = self.rows[name].times_us
        return available_at(times_us, str(self.request.interval)) if name in PREFIXES else times_us

    def _join(self, name: str) -> Joined:
        oldest_us = self.max_age_us if name in PREFIXES else None
        right = self.rows[name]
        return join_last_known(self.known_us, self.bars.offsets, self.since_us(name), right.offsets, oldest_us)


def parse_max_age(value: object) -> int | None:
    """How old a joined value may be, in microseconds: `0`, a text like `3h`, a timedelta, or None for however old.

    Raises ConfigError.
    """
    if value is None:
        return None
    if isinstance(value, timedelta) and value >= timedelta(0):
        return value // timedelta(microseconds=1)
    if (type(value) is int and value == 0) or (isinstance(value, str) and _NOTHING.fullmatch(value)):
        return 0
    if isinstance(value, str) and value != "1mo":
        return period_grid(value).step_us
    raise ConfigError(f"max_age: {value!r} is no age; write '0', a text like '3h', a timedelta, or None for any age")


def read_wide(reader: RowReader, request: Request, max_age_us: int | None) -> Wide:
    """The rows of every kind, each with the last one that was known before the first candle, where that may join."""
    bars, *candles, funding = request.datasets
    asked = request.span
    since_us = asked.start_us if max_age_us is None else max(0, asked.start_us - max_age_us)
    near = replace(request, span=Span(since_us, asked.end_us))

    def prices(dataset: Dataset) -> Rows:
        if max_age_us is None:
            return reader.rows_known_until(request, dataset, asked.end_us)
        return reader.rows(near, dataset)

    is_small = len(request.symbols) <= _FEW  # else each kind is read by all processors anyway
    with ThreadPoolExecutor(2) if is_small else nullcontext() as pool:
        found = pool.map(prices, candles) if pool is not None else map(prices, candles)
        rows = {bars.name: reader.rows(request, bars)}
        known_us = available_at(rows[bars.name].times_us, str(request.interval))
        end_us = int(known_us.max(initial=asked.start_us)) + 1
        settled = reader.rows_known_until(request, funding, end_us)
        rows |= {dataset.name: each for dataset, each in zip(candles, found, strict=True)}
        rows[funding.name] = settled
    return Wide(request, rows, max_age_us)


def wide_columns(wide: Wide, ages: bool) -> Columns:
    """The columns of the wide frame, in their order; `ages` says of each kind how old its value was."""
    bars = wide.bars
    columns: Columns = {
        "timestamp": bars.table.column("timestamp"),
        "symbol": symbol_column(wide.request.symbols, bars.counts),
        "available_at": _times(wide.known_us),
    }
    columns |= {name: bars.table.column(name) for name in bars.table.column_names if name != "timestamp"}
    for name, prefix in PREFIXES.items():
        table, joined = wide.rows[name].table, wide.joins[name]
        columns |= {f"{prefix}_{each}": joined.pick(table.column(each)) for each in table.column_names[1:]}
        if ages:
            columns[f"{prefix}_age"] = _age(wide, name)
    columns |= _funding(wide)
    return columns | ({"funding_age": _age(wide, "funding_rate")} if ages else {})


def wide_missing(storage: StoredRows, wide: Wide, ended: Callable[[Series, int], bool]) -> Iterator[Missing]:
    """Symbols without candles; and of those with candles, what they lack and where their funding is out of date."""
    request = wide.request
    bars, *others = request.datasets
    has_bars = wide.bars.counts > 0
    yield from absent(storage, request, bars, has_bars)
    yield from lacking(request, bars, wide.bars, ended)
    for dataset in others:
        yield from absent(storage, request, dataset, (wide.rows[dataset.name].counts > 0) | ~has_bars)
    yield from _without(wide)
    yield from _stale(storage, wide)


def _without(wide: Wide) -> Iterator[Missing]:
    """Of each symbol that has some rows of a kind, how many candles are without."""
    for dataset in wide.request.datasets[1:-1]:
        rows = wide.rows[dataset.name]
        if all(run.indices is None for run in wide.joins[dataset.name].runs):
            continue
        is_none = np.append(0, np.cumsum(wide.joins[dataset.name].indices() < 0))
        counts = np.diff(is_none[wide.bars.offsets])
        for number in np.flatnonzero((counts > 0) & (rows.counts > 0)).tolist():
            symbol = wide.request.symbols[number]
            one = wide.request.series(dataset, symbol)
            own = rows.times_us[rows.offsets[number] : rows.offsets[number + 1]]
            detail = f"{one}: {counts[number]} candles have none that was known"
            yield Missing(one, symbol, Span(int(own[0]), int(own[-1]) + 1), detail, Lack.GAP, int(counts[number]))


def _stale(storage: StoredRows, wide: Wide) -> Iterator[Missing]:
    request, bars, settlements = wide.request, wide.bars, wide.joins["funding_rate"].indices()
    age_us = wide.known_us - _settled_us(wide, settlements)
    stale = np.append(0, np.cumsum((age_us > STALE_US) & (settlements >= 0)))
    counts = dict(zip(request.symbols, np.diff(stale[bars.offsets]), strict=True))
    symbols = [symbol for symbol, count in counts.items() if count]
    wanted = [request.series(request.datasets[-1], symbol) for symbol in symbols]
    for symbol, series, span in zip(symbols, wanted, stored_spans(storage, wanted), strict=True):
        detail = (
            f"{series}: {counts[symbol]} rows carry a rate settled more than a day before, later ones are not stored"
        )
        yield Missing(series, symbol, span, detail, Lack.STALE, int(counts[symbol]))


def _funding(wide: Wide) -> Columns:
    joined, table = wide.joins["funding_rate"], wide.rows["funding_rate"].table
    columns: Columns = {name: joined.pick(table.column(name)) for name in ("funding_rate", "funding_interval_hours")}
    settlements = joined.indices()
    return columns | {"funding_time": _times(_settled_us(wide, settlements), missing=settlements < 0)}


def _settled_us(wide: Wide, settlements: Integers) -> Integers:
    """The times of these settlements; 0 where there is none."""
    return np.append(wide.rows["funding_rate"].times_us, 0)[settlements]


def _age(wide: Wide, name: str) -> pa.Array:
    """How long the value of each row had been known when its candle closed."""
    indices = wide.joins[name].indices()
    since_us = np.append(wide.since_us(name), 0)[indices]
    return arrow_of(wide.known_us - since_us, pa.duration("us"), indices < 0)


def _times(us: Integers, missing: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None) -> pa.Array:
    return arrow_of(us, _TIME, missing)
