"""Longer candles out of shorter ones.

A period is `[k * step, (k + 1) * step)` counted from 1970-01-01 UTC (weeks begin on Mondays, `1mo` is the calendar's);
its candle is stamped with its beginning. It is built from all its shorter candles, wherever the request begins or ends,
and only once it is over: a period whose last shorter candle is missing is not, until a later candle is stored. Open and
close are those of the first and the last shorter candle; volumes are the exact sums of the published decimals, as the
exchange's own candles have them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import Dataset
from core.datasets.grid import Grid
from core.dates import DAY_US, INTERVAL_US, MONDAY_US, format_us
from core.decimals import summed
from core.errors import ConfigError
from core.nearest import one_of
from core.storage.stored import StoredRows
from core.types import Series, Span
from loader.align import Integers
from loader.arguments import ALWAYS, Request
from loader.frames import Columns, symbol_column
from loader.gaps import lacking
from loader.missing import Lack, Missing
from loader.reader import RowReader
from loader.rows import Rows

PARTIAL: Final = ("drop", "keep")
_INTERVAL: Final = re.compile(r"([1-9][0-9]{0,4})(s|m|h|d|w)")
_UNITS_US: Final = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": DAY_US, "w": 7 * DAY_US}


@dataclass(frozen=True)
class Resampled:
    """Longer candles of many symbols, one symbol behind the other; `candles` says of how many shorter ones each is."""

    rows: Rows
    available_at: Integers
    candles: npt.NDArray[np.int32]


def period_grid(interval: str) -> Grid:
    """The grid of any interval: of the exchange's, or like `10m`, `90m`, `3d`. Raises ConfigError."""
    if interval == "1mo":
        return Grid(None)
    found = _INTERVAL.fullmatch(interval) if isinstance(interval, str) else None
    if found is None:
        known = one_of(str(interval), [*INTERVAL_US])
        raise ConfigError(f"unknown interval {interval!r}{known}, or any number of s, m, h, d, w")
    return Grid(int(found[1]) * _UNITS_US[found[2]], MONDAY_US if found[2] == "w" else 0)


def source_interval(storage: StoredRows, request: Request, dataset: Dataset, target: str, source: str | None) -> str:
    """The interval to build from: the one asked for, else the longest that fits and of which every symbol that has any
    has something stored. Raises ConfigError if there is none."""
    fitting = [name for name in dataset.intervals(request.market) if _fits(period_grid(target), name)]
    if source is not None:
        if source not in fitting:
            raise ConfigError(
                f"source: candles of {source!r} do not make those of {target}{one_of(str(source), fitting)}"
            )
        return source
    if not fitting:
        raise ConfigError(f"candles of {target} are made of none that the exchange has")
    have = [_stored_intervals(storage, request, dataset, symbol, fitting) for symbol in request.symbols]
    common = set(fitting).intersection(*filter(None, have)) if any(have) else {fitting[0]}
    if not common:
        each = "; ".join(f"{one}: {', '.join(sorted(names))}" for one, names in zip(request.symbols, have, strict=True))
        raise ConfigError(f"no candles that make those of {target} are stored for all of these symbols ({each})")
    return max(common, key=fitting.index)


def _stored_intervals(
    storage: StoredRows, request: Request, dataset: Dataset, symbol: str, names: Sequence[str]
) -> set[str]:
    return {name for name in names if storage.stamps(replace(request, interval=name).series(dataset, symbol))}


def _fits(target: Grid, name: str) -> bool:
    """Whether candles of an interval fill periods exactly."""
    step_us = INTERVAL_US[name]
    if step_us is None or name in ("3d", "1w"):  # these may begin on other days
        return False
    if target.step_us is None:
        return DAY_US % step_us == 0
    return target.step_us > step_us and target.step_us % step_us == 0


def resampled(
    reader: RowReader, request: Request, dataset: Dataset, target: str, keep: bool, ended: Callable[[Series, int], bool]
) -> tuple[Resampled, list[Missing]]:
    """The longer candles of a request for shorter ones, symbol by symbol, so that one symbol is in memory at a time;
    and what was left out as its shorter candles are not all there. `keep` gives those that are over all the same."""
    grid = period_grid(target)
    whole = _whole(grid, request.span)
    parts = [
        _of_symbol(reader, replace(request, symbols=(symbol,), span=whole), dataset, grid, keep, ended)
        for symbol in request.symbols
    ]
    counts = [len(part[0].available_at) for part in parts]
    rows = Rows(pa.concat_tables([part[0].rows.table for part in parts]), np.cumsum([0, *counts], dtype=np.int64))
    joined = Resampled(
        rows,
        np.concatenate([part[0].available_at for part in parts]),
        np.concatenate([part[0].candles for part in parts]),
    )
    return joined, [missing for _, found in parts for missing in found]


def resampled_columns(request: Request, found: Resampled) -> Columns:
    """The columns of the frame, in their order."""
    table = found.rows.table
    return {
        "timestamp": table.column("timestamp"),
        "symbol": symbol_column(request.symbols, found.rows.counts),
        "available_at": pa.array(found.available_at).cast(pa.timestamp("us", tz="UTC")),
        **{name: table.column(name) for name in table.column_names if name != "timestamp"},
        "candles": pa.array(found.candles),
    }


def _whole(grid: Grid, span: Span) -> Span:
    """The periods that begin in the span, from the first one's beginning to the last one's end."""
    before, last = grid.slots(np.array([span.start_us - 1, span.end_us - 1], dtype=np.int64)).tolist()
    start_us, end_us = max(0, grid.start(before + 1)), grid.start(last + 1)
    return Span(start_us, max(start_us, end_us))


def _of_symbol(
    reader: RowReader,
    request: Request,
    dataset: Dataset,
    grid: Grid,
    keep: bool,
    ended: Callable[[Series, int], bool],
) -> tuple[Resampled, list[Missing]]:
    request = reader.locked(request, dataset)
    rows = reader.rows(request, dataset)
    times = rows.times_us
    step_us = INTERVAL_US[str(request.interval)]
    assert step_us is not None
    slots = grid.slots(times)
    first = np.flatnonzero(np.append(True, slots[1:] != slots[:-1])) if len(slots) else np.zeros(0, dtype=np.int64)
    starts, ends = grid.starts(slots[first]), grid.starts(slots[first] + 1)
    counts = np.diff(np.append(first, len(times)))
    is_whole = counts == (ends - starts) // step_us
    known_us = _known_us(reader, request, dataset, step_us, times, first, ends)
    is_over = known_us > 0
    given = is_over if keep else is_whole
    table = _aggregated(rows.table, times, first, starts).filter(pa.array(given))
    found = Resampled(
        Rows(table, np.array([0, table.num_rows], dtype=np.int64)), known_us[given], counts[given].astype(np.int32)
    )
    open_ones = ~is_over & ~is_whole
    missing = [
        *lacking(request, dataset, rows, ended),
        *_left_out(request, dataset, starts[is_over & ~given]),
        *_unfinished(request, dataset, starts[open_ones], counts[open_ones]),
    ]
    return found, missing


def _known_us(
    reader: RowReader,
    request: Request,
    dataset: Dataset,
    step_us: int,
    times: Integers,
    first: Integers,
    ends: Integers,
) -> Integers:
    """Since when each period was known to be over: its end, if its last shorter candle is there; else the end of the
    next candle that is, for until then nothing that is stored tells. 0 where there is none."""
    if len(first) == 0:
        return np.zeros(0, dtype=np.int64)
    has_end = times[np.append(first[1:], len(times)) - 1] + step_us >= ends
    behind = np.append(times[first[1:]], 0)
    if not has_end[-1]:
        later = replace(request, span=Span(int(ends[-1]), ALWAYS.end_us), columns=("timestamp",))
        batch = next(reader.batches(later, dataset), None)
        behind[-1] = batch.column("timestamp").cast(pa.int64())[0].as_py() if batch is not None else -step_us
    return np.where(has_end, ends, behind + step_us)


def _left_out(request: Request, dataset: Dataset, starts: Integers) -> Iterator[Missing]:
    """Periods that are over, and of which some candles are missing."""
    if len(starts) == 0:
        return
    one = request.series(dataset, request.symbols[0])
    longer = "1 longer candle is" if len(starts) == 1 else f"{len(starts)} longer candles are"
    detail = (
        f"{one}: {longer} left out as shorter ones are missing, the first of {format_us(int(starts[0]))}; "
        "partial='keep' gives what there is"
    )
    yield Missing(one, request.symbols[0], None, detail, Lack.PARTIAL, len(starts))


def _unfinished(request: Request, dataset: Dataset, starts: Integers, counts: Integers) -> Iterator[Missing]:
    """The last period, whose last candle is missing and behind which nothing is stored."""
    for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
        one = request.series(dataset, request.symbols[0])
        detail = (
            f"{one}: the last {count} candles, from {format_us(start)} on, make no longer one, for nothing behind them "
            "is stored that says that it is over"
        )
        yield Missing(one, request.symbols[0], None, detail, Lack.PARTIAL, 1)


def _aggregated(table: pa.Table, times: Integers, first: Integers, starts: Integers) -> pa.Table:
    """A row for each run of rows that begins at `first`."""
    last = np.append(first[1:], len(times)) - 1
    columns: dict[str, pa.Array] = {"timestamp": pa.array(starts).cast(table.schema.field("timestamp").type)}
    for name in table.column_names[1:]:
        values = table.column(name).to_numpy()
        if len(first) == 0:
            columns[name] = pa.array(values[:0])
        elif name == "open":
            columns[name] = pa.array(values[first])
        elif name == "close":
            columns[name] = pa.array(values[last])
        elif name in ("high", "low"):
            columns[name] = pa.array((np.maximum if name == "high" else np.minimum).reduceat(values, first))
        elif values.dtype == np.int64:
            columns[name] = pa.array(np.add.reduceat(values, first))
        else:
            columns[name] = pa.array(summed(values, first))
    return pa.table(columns)
