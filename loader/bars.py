"""Bars from stored trades, streamed: a row group of trades is in memory at a time."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from core.bars.builder import BarBuilder, columns_of, schema_of
from core.bars.spec import BarSpec
from core.datasets import Dataset
from core.errors import ConfigError
from core.types import Market
from loader.arguments import Request
from loader.frames import Columns, symbol_column
from loader.reader import RowReader
from loader.rows import Rows


class BarsDrift(UserWarning):
    """The expected size of adaptive bars has run away from its start, or its bounds make the bars."""


def spec_of(bars: str | BarSpec, threshold: Any, options: Mapping[str, Any]) -> BarSpec:
    """The bars asked for: a BarSpec, its text (`dollar-40000000`), or a kind and its numbers. Raises ConfigError."""
    if isinstance(bars, BarSpec) or (isinstance(bars, str) and "-" in bars):
        if threshold is not None or options:
            given = ", ".join(["threshold"] * (threshold is not None) + list(options))
            raise ConfigError(f"bars: {bars} says everything; leave out {given}, or give the kind alone")
        return bars if isinstance(bars, BarSpec) else BarSpec.parse(bars)
    return BarSpec.of(bars, threshold, **options)


def contract_value(request: Request) -> int | None:
    """What a contract of the request's symbol is worth in USD; None where quantities are no contracts."""
    if request.market is not Market.CM:
        return None
    return 100 if request.symbols[0].startswith("BTCUSD") else 10


def read_bars(reader: RowReader, request: Request, dataset: Dataset, spec: BarSpec, unfinished: bool) -> Rows:
    """The bars of each symbol of the request, from its first trade on. Warns of BarsDrift."""
    tables, counts = [], [0]
    for symbol in request.symbols:
        one = replace(request, symbols=(symbol,), columns=tuple(columns_of(dataset.name)))
        found = _of_symbol(reader, one, dataset, spec, unfinished)
        tables.append(found)
        counts.append(counts[-1] + found.num_rows)
    return Rows(pa.concat_tables(tables), pa.array(counts).to_numpy())


def bar_columns(request: Request, rows: Rows) -> Columns:
    """The columns of the frame: `symbol` first."""
    symbols: Columns = {"symbol": symbol_column(request.symbols, rows.counts)}
    return symbols | {name: rows.table.column(name) for name in rows.table.column_names}


def _of_symbol(reader: RowReader, request: Request, dataset: Dataset, spec: BarSpec, unfinished: bool) -> pa.Table:
    builder = BarBuilder(spec, contract_value=contract_value(request))
    tables = [builder.update(batch) for batch in reader.batches(request, dataset)]
    if unfinished:
        tables.append(builder.finish())
    drift = builder.drift()
    if drift is not None and drift.is_much:
        warnings.warn(BarsDrift(str(drift)), stacklevel=5)
    return pa.concat_tables([schema_of(spec).empty_table(), *tables])
