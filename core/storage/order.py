"""Rows in the order of their key: proved while streaming, sorted, compared with their neighbours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import Dataset
from core.errors import FaultyLine
from core.storage.archive_csv import ArchiveCsv
from core.storage.arrays import key_values


class OutOfOrder(Exception):
    """Rows are not strictly in the order of their key."""


class KeyConflict(FaultyLine):
    """Rows with one key and different content; `rows` are all that have such a key, counted from 0 in the file."""

    def __init__(self, message: str, rows: npt.NDArray[np.int64]) -> None:
        super().__init__(message)
        self.rows = rows


@dataclass(slots=True)
class Repairs:
    """What putting a file in order took: exact duplicate rows dropped, and rows that stood elsewhere.

    They are counted on the way, and known when the last row has been read.
    """

    duplicates: int = 0
    reordered: int = 0


def in_order(archive: ArchiveCsv, dataset: Dataset) -> Iterator[pa.RecordBatch]:
    """The batches, as long as the key rises strictly. Raises OutOfOrder."""
    last: tuple[int | float | str, ...] | None = None
    for batch in archive.batches():
        keys = _keys(batch, dataset)
        first = tuple(column[0].item() for column in keys)
        if not rises(batch, dataset).all() or (last is not None and first <= last):
            raise OutOfOrder
        last = tuple(column[-1].item() for column in keys)
        yield batch


def rises(rows: pa.RecordBatch, dataset: Dataset) -> npt.NDArray[np.bool_]:
    """For each row but the first: whether its key is higher than that of the one before it."""
    found = np.zeros(rows.num_rows - 1, dtype=np.bool_)
    ties = np.ones(rows.num_rows - 1, dtype=np.bool_)
    for column in _keys(rows, dataset):
        found |= ties & (column[1:] > column[:-1])
        ties &= column[1:] == column[:-1]
    return found


def in_key_order(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The rows sorted by these columns, the first one first."""
    keys = [key_values(table.column(name)) for name in names]
    return table.take(pa.array(np.lexsort(keys[::-1])))


def row_groups(batches: Iterator[pa.RecordBatch], rows: int, before: int = 0) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly `rows`, but the last: how a file was cut while reading leaves no trace.

    With `before`, as if so many rows had come already.
    """
    held: list[pa.RecordBatch] = []
    count = 0
    wanted = rows - before % rows
    for batch in batches:
        if not count and batch.num_rows == wanted:
            yield batch
            wanted = rows
            continue
        held.append(batch)
        count += batch.num_rows
        while count >= wanted:
            whole = pa.concat_batches(held)
            yield whole.slice(0, wanted)
            held, count, wanted = [whole.slice(wanted)], count - wanted, rows
    if count:
        yield pa.concat_batches(held)


def _keys(rows: pa.RecordBatch | pa.Table, dataset: Dataset) -> list[npt.NDArray[Any]]:
    return [key_values(rows.column(name)) for name in dataset.key]


def repeats(table: pa.Table, names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """For each row but the first: whether it equals the one before it in these columns; null (NaN) equals null."""
    equal = np.ones(table.num_rows - 1, dtype=np.bool_)
    for name in names:
        values = table.column(name).to_numpy()
        equal &= (values[1:] == values[:-1]) | ((values[1:] != values[1:]) & (values[:-1] != values[:-1]))
    return equal
