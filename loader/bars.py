"""Bars from stored trades, streamed: a row group of trades is in memory at a time."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from core.bars.builder import BarBuilder, columns_of, schema_of
from core.bars.spec import BarSpec
from core.datasets import Dataset
from core.datasets.contracts import contract_usd
from core.dates import DAY_US
from core.errors import ConfigError, NoData, StorageError
from core.layout import Layout
from core.storage.bar_files import BarFiles, digest_of, is_right, origins_of
from core.storage.stored import StoredRows
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


def stored_bars(layout: Layout, storage: StoredRows, request: Request, spec: BarSpec) -> Rows:
    """The bars that `pipeline.py features` made, as far as they close in the span; raises NoData where there are none,
    StorageError if their trades are others by now."""
    tables, counts = [], [0]
    for symbol in request.symbols:
        one = request.series(request.datasets[0], symbol)
        files = BarFiles(layout, str(spec), one)
        months = files.months()
        advice = f"python scripts/pipeline.py features --bars {spec} --market {one.market} --symbols {symbol}"
        if not months:
            raise NoData(f"no bars {spec} of {one} are stored; make them: {advice}")
        builder = BarBuilder(spec, contract_value=contract_usd(one.market, one.symbol))
        if not is_right(months, origins_of(storage, one), digest_of(builder.state())):
            raise StorageError(
                f"bars {spec} of {one} are of other trades than are stored now; make them again: {advice}"
            )
        near = [files.read(month) for month in months if month.span.end_us + DAY_US > request.span.start_us]
        table = pa.concat_tables([schema_of(spec).empty_table(), *near])
        closed = table.column("time_close").cast(pa.int64()).to_numpy()
        table = table.filter(pa.array((closed >= request.span.start_us) & (closed < request.span.end_us)))
        tables.append(table)
        counts.append(counts[-1] + table.num_rows)
    return Rows(pa.concat_tables(tables), np.array(counts, dtype=np.int64))


def read_bars(reader: RowReader, request: Request, dataset: Dataset, spec: BarSpec, unfinished: bool) -> Rows:
    """The bars of each symbol of the request, from its first trade on. Warns of BarsDrift."""
    tables, counts = [], [0]
    for symbol in request.symbols:
        one = replace(request, symbols=(symbol,), columns=tuple(columns_of(dataset.name)))
        found = _of_symbol(reader, one, dataset, spec, unfinished)
        tables.append(found)
        counts.append(counts[-1] + found.num_rows)
    return Rows(pa.concat_tables(tables), np.array(counts, dtype=np.int64))


def bar_columns(request: Request, rows: Rows) -> Columns:
    """The columns of the frame: `symbol` first."""
    symbols: Columns = {"symbol": symbol_column(request.symbols, rows.counts)}
    return symbols | {name: rows.table.column(name) for name in rows.table.column_names}


def _of_symbol(reader: RowReader, request: Request, dataset: Dataset, spec: BarSpec, unfinished: bool) -> pa.Table:
    builder = BarBuilder(spec, contract_value=contract_usd(request.market, request.symbols[0]))
    tables = [builder.update(batch) for batch in reader.batches(request, dataset)]
    if unfinished:
        tables.append(builder.finish())
    drift = builder.drift()
    if drift is not None and drift.is_much:
        warnings.warn(BarsDrift(str(drift)), stacklevel=4)
    return pa.concat_tables([schema_of(spec).empty_table(), *tables])
