"""Whether Parquet files hold the same rows: names, types, order and every value, doubles to the last bit."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

BATCH_ROWS: Final = 1 << 17


def difference(found: Sequence[Path], wanted: Sequence[Path]) -> str | None:
    """The first difference between the rows of some files, one after the other, and those of others; None: none."""
    columns = _columns(wanted[0])
    for path in (*found, *wanted):
        if _columns(path) != columns:
            return f"{path.name} has the columns {_columns(path)} instead of {columns}"
    row = 0
    for left, right in _abreast(_batches(found), _batches(wanted)):
        if left is None or right is None:
            return f"{'fewer' if left is None else 'more'} rows than the {row:,} that both have"
        for name, _ in columns:
            differing = np.flatnonzero(_differs(left.column(name), right.column(name)))
            if len(differing):
                at = int(differing[0])
                values = (left.column(name)[at], right.column(name)[at])
                return f"row {row + at:,}, {name}: {values[0]} instead of {values[1]}"
        row += left.num_rows
    return None


def _columns(path: Path) -> list[tuple[str, str]]:
    return [(field.name, str(field.type)) for field in pq.read_schema(path)]


def _batches(paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            yield from (batch for batch in file.iter_batches(BATCH_ROWS) if batch.num_rows)


def _abreast(
    left: Iterator[pa.RecordBatch], right: Iterator[pa.RecordBatch]
) -> Iterator[tuple[pa.RecordBatch | None, pa.RecordBatch | None]]:
    """Equally long pieces of both; when one ends before the other, a last pair with None in its place."""
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        count = min(one.num_rows, other.num_rows)
        yield one.slice(0, count), other.slice(0, count)
        one = one.slice(count) if one.num_rows > count else next(left, None)
        other = other.slice(count) if other.num_rows > count else next(right, None)
    if one is not None or other is not None:
        yield one, other


def _differs(found: pa.Array, wanted: pa.Array) -> NDArray[np.bool_]:
    """Where two columns differ; nulls are never right."""
    if pa.types.is_floating(found.type):
        bits = [np.asarray(each.fill_null(0.0)).view(np.int64) for each in (found, wanted)]
        same = bits[0] == bits[1]
    else:
        same = np.asarray(pc.fill_null(pc.equal(found, wanted), False))
    right: NDArray[np.bool_] = same & np.asarray(pc.and_(found.is_valid(), wanted.is_valid()))
    return ~right
