"""Wide frames, as vectorbt computes on them: one Parquet file a field, a row a time, a column a symbol.

um/klines/1h/close.parquet      index `timestamp` (open time, datetime64[us, UTC]), columns BTCUSDT, ETHUSDT, ...

pandas reads one back with its index. Every cell is float64, counts too; NaN where a symbol has no row of that time.
`close_time` is left out: it follows from the open. A field is in memory at a time: times x symbols x 8 bytes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from core.datasets import DATASETS
from core.errors import StorageError
from core.export.draft import draft
from core.export.format import Options, Rows, Written
from core.types import Series, Span

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_TIME: Final = pa.timestamp("us", tz="UTC")
_NOT_A_FIELD: Final = ("timestamp", "close_time")


def write(rows: Rows, series: Sequence[Series], span: Span, folder: Path, options: Options) -> Iterator[Written]:
    """One file a field, of series that differ in nothing but their symbol; those without rows in `span` have no column.

    Raises StorageError if a series changes while it is read.
    """
    times = {one: _read(rows, one, span, "timestamp") for one in sorted(series)}
    times = {one: own for one, own in times.items() if len(own)}
    if not times:
        return
    index = np.unique(np.concatenate(list(times.values())))
    missing = len(index) * len(times) - sum(map(len, times.values()))
    notes = (f"cells without a row of that time, NaN: {missing} of {len(index) * len(times)}",) if missing else ()
    one = next(iter(times))
    for field in DATASETS[one.dataset].stored_names(one.market):
        if field not in _NOT_A_FIELD:
            path = folder / one.market / one.dataset / (one.interval or "") / f"{field}.parquet"
            columns = {one.symbol: _cells(rows, one, span, field, index, own) for one, own in times.items()}
            _file(path, index, columns)
            yield Written(path, len(index), tuple(times), notes)


def _read(rows: Rows, one: Series, span: Span, name: str) -> Integers:
    batches = [batch.column(name).cast(pa.int64()).to_numpy() for batch in rows.scan(one, span, [name])]
    return np.concatenate([np.empty(0, np.int64), *batches])


def _cells(rows: Rows, one: Series, span: Span, field: str, index: Integers, times: Integers) -> Floats:
    cells = np.full(len(index), np.nan)
    places, done = np.searchsorted(index, times), 0
    for batch in rows.scan(one, span, ["timestamp", field]):
        part = slice(done, done + batch.num_rows)
        if not np.array_equal(batch.column("timestamp").cast(pa.int64()).to_numpy(), times[part]):
            break
        cells[places[part]] = batch.column(field).to_numpy()
        done += batch.num_rows
    if done != len(times):
        raise StorageError(f"{one} changed while it was read; run the same command again")
    return cells


def _file(path: Path, index: Integers, columns: Mapping[str, Floats]) -> None:
    arrays = {"timestamp": pa.array(index).cast(_TIME)} | {name: pa.array(cells) for name, cells in columns.items()}
    table = pa.table(arrays).replace_schema_metadata({"pandas": json.dumps(_pandas(columns))})
    with draft(path.parent, path.name) as made:
        pq.write_table(table, made.temporary, compression="zstd")
        made.publish(path)


def _pandas(columns: Mapping[str, Floats]) -> dict[str, object]:
    """What pandas writes into a Parquet file so that its index is found again; without it, this room needs none."""
    time = {"pandas_type": "datetimetz", "numpy_type": "datetime64[us]", "metadata": {"timezone": "UTC"}}
    cell = {"pandas_type": "float64", "numpy_type": "float64", "metadata": None}
    names = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}
    return {
        "index_columns": ["timestamp"],
        "column_indexes": [names | {"metadata": {"encoding": "UTF-8"}}],
        "columns": [
            {"name": "timestamp", "field_name": "timestamp", **time},
            *({"name": name, "field_name": name, **cell} for name in columns),
        ],
        "pandas_version": "2.2.0",
    }
