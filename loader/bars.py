"""Bars from stored trades, streamed: a row group of trades is in memory at a time."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from core.bars.builder import BarBuilder, columns_of, schema_of
from core.bars.rules import Family
from core.bars.spec import BarSpec
from core.bars.together import Builders
from core.datasets import Dataset
from core.datasets.contracts import contract_usd
from core.errors import ConfigError, StorageError
from core.layout import Layout
from core.storage.bar_files import BarFiles, digest_of, is_right, origins_of
from core.storage.stored import StoredRows
from core.types import Period, Series, Span
from loader.align import Integers
from loader.arguments import Request
from loader.frames import Columns, symbol_column
from loader.missing import Missing
from loader.reader import RowReader
from loader.rows import Rows, integers

_END_US: Final = 2**62


class BarsDrift(UserWarning):
    """The expected size of adaptive bars has run away from its start, or its bounds make the bars."""


def specs_of(
    bars: str | BarSpec | Iterable[str | BarSpec], threshold: Any, options: Mapping[str, Any]
) -> tuple[BarSpec, ...]:
    """The bars asked for, one or several, each once: a BarSpec, its text (`dollar-40000000`), or a kind, whose numbers
    are `threshold` and `options`. Raises ConfigError."""
    if isinstance(bars, str | BarSpec) or not isinstance(bars, Iterable):
        return (_spec_of(bars, threshold, options),)
    specs = tuple(dict.fromkeys(_spec_of(one, threshold, options) for one in bars))
    if not specs:
        raise ConfigError("bars: nothing is asked for; give at least one")
    return specs


def _spec_of(bars: str | BarSpec, threshold: Any, options: Mapping[str, Any]) -> BarSpec:
    if isinstance(bars, BarSpec) or (isinstance(bars, str) and "-" in bars):
        if threshold is not None or options:
            given = ", ".join(["threshold"] * (threshold is not None) + list(options))
            raise ConfigError(f"bars: {bars} says everything; leave out {given}, or give the kind alone")
        return bars if isinstance(bars, BarSpec) else BarSpec.parse(bars)
    return BarSpec.of(bars, threshold, **options)


@dataclass(frozen=True, slots=True)
class Unmade:
    """Of which symbols bars are `present`, of which they are `missing` though there are trades, and what to do."""

    present: list[bool]
    missing: list[Missing]
    advice: str | None


def lacking_bars(
    layout: Layout, request: Request, dataset: Dataset, specs: Sequence[BarSpec], present: Sequence[bool]
) -> Unmade:
    """Whether the symbols of which trades are present have stored bars of all specs."""
    has_all, missing, unmade = [], [], {}
    for symbol, has_trades in zip(request.symbols, present, strict=True):
        one = request.series(dataset, symbol)
        lacking = [spec for spec in specs if has_trades and not BarFiles(layout, str(spec), one).months()]
        for spec in lacking:
            missing.append(Missing(one, symbol, None, f"no bars {spec} of {one} are stored"))
            unmade[spec, symbol] = one
        has_all.append(has_trades and not lacking)
    if not unmade:
        return Unmade(has_all, [], None)
    return Unmade(has_all, missing, f"To make them: {_command([spec for spec, _ in unmade], list(unmade.values()))}")


def stored_bars(layout: Layout, storage: StoredRows, request: Request, specs: Sequence[BarSpec]) -> dict[BarSpec, Rows]:
    """The bars that `pipeline.py features` made, as far as they close in the span; of symbols without them none. Raises
    StorageError if their trades are others by now."""
    return {spec: _stored(layout, storage, request, spec) for spec in specs}


def _stored(layout: Layout, storage: StoredRows, request: Request, spec: BarSpec) -> Rows:
    tables, counts = [], [0]
    for symbol in request.symbols:
        one = request.series(request.datasets[0], symbol)
        files = BarFiles(layout, str(spec), one)
        months = files.months()
        builder = BarBuilder(spec, contract_value=contract_usd(one.market, one.symbol))
        if months and not is_right(months, origins_of(storage, one), digest_of(builder.state())):
            advice = f"make them again: {_command([spec], [one])}"
            raise StorageError(f"bars {spec} of {one} are of other trades than are stored now; {advice}")
        near = _near(files, months, request.span, storage.slack_us)
        table = _within(pa.concat_tables([schema_of(spec).empty_table(), *near]), request.span)
        tables.append(table)
        counts.append(counts[-1] + table.num_rows)
    return Rows(pa.concat_tables(tables), np.array(counts, dtype=np.int64))


def _near(files: BarFiles, months: Iterable[Period], span: Span, slack_us: int) -> Iterator[pa.Table]:
    """The bars of months that may close in the span. One that has ended in it may be in the file of a later month, that
    of the trade that says so: up to the first one with a bar that ends behind it."""
    for month in months:
        if month.span.end_us + slack_us <= span.start_us:
            continue
        bars = files.read(month)
        yield bars
        if month.span.start_us >= span.end_us + slack_us and (_closes(bars) >= span.end_us).any():
            return


def _within(bars: pa.Table, span: Span) -> pa.Table:
    """Those that close in the span."""
    closed = _closes(bars)
    return bars.filter(pa.array((closed >= span.start_us) & (closed < span.end_us)))


def _closes(bars: pa.Table) -> Integers:
    """When they close, in microseconds."""
    return integers(bars, "time_close")


def _command(specs: Iterable[BarSpec], series: Sequence[Series]) -> str:
    """What makes these bars."""
    kind = "" if series[0].dataset == "trades" else f" --data-types {series[0].dataset}"
    symbols = ",".join(dict.fromkeys(one.symbol for one in series))
    texts = ",".join(dict.fromkeys(map(str, specs)))
    return f"python scripts/pipeline.py features --bars {texts} --market {series[0].market} --symbols {symbols}{kind}"


def read_bars(
    reader: RowReader,
    storage: StoredRows,
    request: Request,
    dataset: Dataset,
    specs: Sequence[BarSpec],
    unfinished: bool,
) -> dict[BarSpec, Rows]:
    """The bars of each symbol of the request, from its first trade on; those of the clock from the beginning of their
    step on. Warns of BarsDrift."""
    tables: dict[BarSpec, list[pa.Table]] = {spec: [] for spec in specs}
    for symbol in request.symbols:
        one = replace(request, symbols=(symbol,), columns=tuple(columns_of(dataset.name)))
        for spec, table in zip(specs, _of_symbol(reader, storage, one, dataset, specs, unfinished), strict=True):
            tables[spec].append(table)
    found = {}
    for spec, parts in tables.items():
        offsets = np.cumsum([0, *(part.num_rows for part in parts)])
        found[spec] = Rows(pa.concat_tables(parts), offsets)
    return found


def bar_columns(request: Request, rows: Rows) -> Columns:
    """The columns of the frame: `symbol` first."""
    symbols: Columns = {"symbol": symbol_column(request.symbols, rows.counts)}
    return symbols | {name: rows.table.column(name) for name in rows.table.column_names}


def _of_symbol(
    reader: RowReader,
    storage: StoredRows,
    request: Request,
    dataset: Dataset,
    specs: Sequence[BarSpec],
    unfinished: bool,
) -> list[pa.Table]:
    """The bars of each spec. Those of the clock whose step begins before the request are read from there on; with steps
    in which nobody traded, from the last trade before it on."""
    begins = [_begin_of(reader, request, dataset, spec) for spec in specs]
    found: dict[BarSpec, pa.Table] = {}
    for begin_us in dict.fromkeys(begins):
        own = [spec for spec, its in zip(specs, begins, strict=True) if its == begin_us]
        one = replace(request, span=Span(begin_us, request.span.end_us))
        found |= zip(own, _from_there(reader, storage, one, dataset, own, unfinished), strict=True)
        if begin_us < request.span.start_us:
            found |= {spec: _within(found[spec], Span(request.span.start_us, _END_US)) for spec in own}
    return [found[spec] for spec in specs]


def _begin_of(reader: RowReader, request: Request, dataset: Dataset, spec: BarSpec) -> int:
    start_us = request.span.start_us
    if spec.rule.family is not Family.CLOCK:
        return start_us
    begin_us = start_us - start_us % int(spec.size)
    if spec.empty:
        before = reader.rows_known_until(
            replace(request, columns=("price",), span=Span(begin_us, begin_us)), dataset, begin_us
        )
        last_us = int(before.times_us[-1]) if len(before) else begin_us
        begin_us = last_us - last_us % int(spec.size)
    return begin_us


def _from_there(
    reader: RowReader,
    storage: StoredRows,
    request: Request,
    dataset: Dataset,
    specs: Sequence[BarSpec],
    unfinished: bool,
) -> list[pa.Table]:
    contract = contract_usd(request.market, request.symbols[0])
    builders = [BarBuilder(spec, contract_value=contract) for spec in specs]
    together = Builders(builders)
    closed = [[schema_of(spec).empty_table()] for spec in specs]
    for batch in reader.batches(request, dataset):
        for bars, tables in zip(together.update(batch), closed, strict=True):
            tables.append(bars)
    is_clock = [spec.rule.family is Family.CLOCK for spec in specs]
    behind = _next_trade(reader, storage, request, dataset, builders) if any(is_clock) else None
    for builder, tables, is_of_clock in zip(builders, closed, is_clock, strict=True):
        still_open = builder.finish()
        if is_of_clock and behind is not None:
            tables.append(_within(pa.concat_tables([builder.update(behind), builder.finish()]), request.span))
            still_open = still_open.filter(pa.array(_closes(still_open) >= request.span.end_us))
        if unfinished:
            tables.append(still_open)
        drift = builder.drift()
        if drift is not None and drift.is_much:
            warnings.warn(BarsDrift(str(drift)), stacklevel=5)
    return [pa.concat_tables(tables) for tables in closed]


def _next_trade(
    reader: RowReader, storage: StoredRows, request: Request, dataset: Dataset, builders: Sequence[BarBuilder]
) -> pa.RecordBatch | None:
    """The first trade behind the span and behind those that were taken; it says that a step of the clock is over."""
    ids, last_id = columns_of(dataset.name)[0], builders[0].last_id
    (parts,) = storage.facts([request.series(dataset, request.symbols[0])])
    end_us = request.span.end_us
    until_us = min((part.last_us for part in parts if part.last_us >= end_us), default=None)
    if last_id is None or until_us is None:
        return None
    for batch in reader.batches(replace(request, span=Span(end_us, until_us + 1)), dataset):
        later = np.flatnonzero(batch.column(ids).to_numpy() > last_id)
        if len(later):
            return batch.slice(int(later[0]), 1)
    return None
