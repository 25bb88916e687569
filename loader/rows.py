"""Rows of many symbols, one symbol behind the other, each in the order of its key and without a repeated one."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.errors import StorageError
from core.storage.arrays import key_values, numpy_of
from core.types import Span
from loader.align import Integers, rising


@dataclass(frozen=True)
class Rows:
    """Rows of one dataset: `offsets[s]:offsets[s + 1]` are those of symbol `s`.

    The table has `timestamp` and the columns asked for, typed as the dataset says; null only where it says `nullable`.
    """

    table: pa.Table
    offsets: Integers

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def counts(self) -> Integers:
        """How many rows each symbol has."""
        return np.diff(self.offsets)

    @cached_property
    def times_us(self) -> Integers:
        return integers(self.table, "timestamp")

    def values(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers, in its own type."""
        return numpy_of(self.table.column(name))

    def of(self, schema: pa.Schema) -> "Rows":
        """The same rows in the columns and types of a schema."""
        if self.table.schema.equals(schema):
            return self
        table = self.table.select(schema.names)
        return Rows(table if table.schema.equals(schema) else table.cast(schema), self.offsets)


def by_symbol(table: pa.Table, symbols: Integers, count: int) -> Rows:
    """Rows of which the numbers of their symbols are known, one symbol behind the other, each one's in the order they
    had; those of -1 are left out."""
    order = np.argsort(symbols, kind="stable")
    offsets = np.searchsorted(symbols[order], np.arange(count + 1))
    return Rows(table.take(pa.array(order[offsets[0] :])), (offsets - offsets[0]).astype(np.int64))


def no_rows(schema: pa.Schema, symbols: int) -> Rows:
    return Rows(schema.empty_table(), np.zeros(symbols + 1, dtype=np.int64))


def in_order(
    table: pa.Table,
    key: Sequence[str],
    files: Sequence[Sequence[Path]],
    again: Callable[[int, int], pa.Table],
    doubtful: Collection[int] = (),
) -> Rows:
    """The rows of each symbol's files by symbol and key; `file_index` says from which file a row comes.

    Rows that already are in order, as they should be, are not moved. Where a key repeats within a symbol, archives
    overlap: the symbol's rows are those that `again` gives for it, from its earliest time on; so are those of the
    `doubtful` symbols, whose keys do not tell. Raises StorageError that names the files if a key still repeats: to join
    such rows would multiply them.
    """
    file_index = integers(table, "file_index")
    if np.any(file_index[1:] < file_index[:-1]):
        table = table.take(np.argsort(file_index, kind="stable"))
        file_index = integers(table, "file_index")
    first_files = np.cumsum([0, *(len(of_symbol) for of_symbol in files)])
    offsets = np.searchsorted(file_index, first_files).astype(np.int64)
    table = table.drop_columns(["file_index"])
    asked = {symbol for symbol in doubtful if offsets[symbol] < offsets[symbol + 1]}
    if asked or not _rises(table, key, offsets).all():
        table = _sorted(table, key, offsets)
        overlapping = _symbols(offsets)[1:][~_rises(table, key, offsets)]
        asked.update(np.unique(overlapping).tolist())
        for symbol in sorted(asked):
            table, offsets = _replaced(table, offsets, symbol, again)
        if asked:
            table = _sorted(table, key, offsets)
            _refuse_repeated(table, key, offsets, files)
    return Rows(table, offsets)


def within(rows: Rows, bounds: Sequence[Span]) -> Rows:
    """The rows of each symbol that lie within its own bounds."""
    starts, ends = np.array([(span.start_us, span.end_us) for span in bounds])[_symbols(rows.offsets)].T
    inside = (rows.times_us >= starts) & (rows.times_us < ends)
    if inside.all():
        return rows
    offsets = np.append(0, np.cumsum(inside))[rows.offsets].astype(np.int64)
    return Rows(rows.table.filter(pa.array(inside)), offsets)


def integers(table: pa.Table, name: str) -> Integers:
    """A time or integer column as int64, times in microseconds."""
    return key_values(table.column(name))


def _rises(table: pa.Table, key: Sequence[str], offsets: Integers) -> npt.NDArray[np.bool_]:
    return rising([key_values(table.column(name)) for name in key], offsets)


def _sorted(table: pa.Table, key: Sequence[str], offsets: Integers) -> pa.Table:
    return table.take(np.lexsort([*(key_values(table.column(name)) for name in reversed(key)), _symbols(offsets)]))


def _symbols(offsets: Integers) -> Integers:
    """Of each row the symbol."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _replaced(
    table: pa.Table, offsets: Integers, symbol: int, again: Callable[[int, int], pa.Table]
) -> tuple[pa.Table, Integers]:
    """With other rows of a symbol."""
    start, end = offsets[symbol : symbol + 2].tolist()
    rows = again(symbol, int(integers(table.slice(start, end - start), "timestamp").min()))
    moved = offsets + np.where(np.arange(len(offsets)) > symbol, len(rows) - (end - start), 0)
    parts = [table.slice(0, start), rows.select(table.column_names).cast(table.schema), table.slice(end)]
    return pa.concat_tables(parts), moved


def _refuse_repeated(table: pa.Table, key: Sequence[str], offsets: Integers, files: Sequence[Sequence[Path]]) -> None:
    repeated = np.flatnonzero(~_rises(table, key, offsets))
    if len(repeated) == 0:
        return
    at = int(repeated[0])
    what = ", ".join(f"{name} {table[name][at]}" for name in key)
    where = " or ".join(str(path) for path in files[_symbols(offsets)[at]])
    raise StorageError(
        f"{len(repeated)} rows repeat within one archive, the first at {what} in {where}, which was not stored so; "
        "delete the file and run the download again"
    )
