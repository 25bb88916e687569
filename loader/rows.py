"""Rows of many symbols, one symbol behind the other, each in the order of its key and without a repeated one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.errors import StorageError
from core.storage.order import key_values
from loader.align import Integers, rising


@dataclass(frozen=True, slots=True)
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

    @property
    def times_us(self) -> Integers:
        return integers(self.table, "timestamp")

    def values(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers, in its own type."""
        values: npt.NDArray[Any] = self.table.column(name).to_numpy()
        return values


def no_rows(schema: pa.Schema, symbols: int) -> Rows:
    return Rows(schema.empty_table(), np.zeros(symbols + 1, dtype=np.int64))


def in_order(
    table: pa.Table, key: Sequence[str], files: Sequence[Sequence[Path]], shares_midnight: bool = False
) -> Rows:
    """The rows of each symbol's files by symbol and key; `file_index` says from which file a row comes.

    Rows that already are in order, as they should be, are not moved. Raises StorageError that names the files if a key
    repeats within a symbol: to join such rows would multiply them. Where neighbouring files share a midnight, a row
    that two files have is taken from the later one, in whose time it lies.
    """
    file_index = integers(table, "file_index")
    if np.any(file_index[1:] < file_index[:-1]):
        table = table.take(np.argsort(file_index, kind="stable"))
        file_index = integers(table, "file_index")
    first_files = np.cumsum([0, *(len(of_symbol) for of_symbol in files)])
    offsets = np.searchsorted(file_index, first_files).astype(np.int64)
    if not _rises(table, key, offsets).all():
        table = _sorted(table, key, offsets)
        if shares_midnight:
            table, offsets = _later_of_two(table, key, offsets)
        _refuse_repeated(table, key, offsets, [path for of_symbol in files for path in of_symbol])
    return Rows(table, offsets)


def integers(table: pa.Table, name: str) -> Integers:
    """A time or integer column as int64, times in microseconds."""
    values: Integers = table.column(name).cast(pa.int64()).to_numpy()
    return values


def _rises(table: pa.Table, key: Sequence[str], offsets: Integers) -> npt.NDArray[np.bool_]:
    return rising([key_values(table.column(name)) for name in key], offsets)


def _sorted(table: pa.Table, key: Sequence[str], offsets: Integers) -> pa.Table:
    symbols = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return table.take(np.lexsort([*(key_values(table.column(name)) for name in reversed(key)), symbols]))


def _later_of_two(table: pa.Table, key: Sequence[str], offsets: Integers) -> tuple[pa.Table, Integers]:
    """Without the rows behind which a later archive's row of the same key stands.

    Sorting kept the order of archives, within a partition and between two; within one archive no key repeats.
    """
    kept = np.append(_rises(table, key, offsets), np.ones(min(1, len(table)), dtype=np.bool_))
    before = np.append(0, np.cumsum(kept))
    return table.filter(pa.array(kept)), before[offsets].astype(np.int64)


def _refuse_repeated(table: pa.Table, key: Sequence[str], offsets: Integers, names: Sequence[Path]) -> None:
    repeated = np.flatnonzero(~_rises(table, key, offsets))
    if len(repeated) == 0:
        return
    at = int(repeated[0])
    what = ", ".join(f"{name} {table[name][at]}" for name in key)
    where = " and ".join(dict.fromkeys(str(names[i]) for i in integers(table, "file_index")[at : at + 2]))
    raise StorageError(f"{len(repeated)} rows repeat, the first at {what} in {where}; remove one and download it again")
