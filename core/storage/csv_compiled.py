"""Rows of a regular CSV, by the compiled parser of `csv_kernels`.

What is not in its form (an exponent, a plus sign, a missing cell, more digits than fit) is left to `csv_arrow`, which
reads every form and finds the line of a fault; where both read a file they give the same rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import Column, Kind
from core.storage.csv_kernels import find_cells, read_cells
from core.storage.csv_vectors import END_PAD, START_PAD
from core.storage.parser import Irregular

KINDS: Final = {Kind.TIME: 0, Kind.INTEGER: 0, Kind.DECIMAL: 1, Kind.BOOLEAN: 2}
"""The kinds of cells that are read here, and their codes."""
_BEFORE: Final = bytes(START_PAD)
_BEHIND: Final = bytes(END_PAD)
_LONGEST_LINE: Final = 1 << 20


class CompiledReader:
    """Batches of `rows_at_once` rows, the last one shorter; times and numbers as they are in the file.

    `lines` are counted apart from the parsing.
    """

    def __init__(self, columns: Sequence[Column], rows_at_once: int) -> None:
        self._columns = columns
        self._rows_at_once = rows_at_once
        self._kinds = np.array([KINDS[column.kind] for column in columns], dtype=np.int8)
        self._slots = _slots(columns)
        self._ends = np.empty(0, dtype=np.int32)
        self.lines = 0

    def batches(self, chunks: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
        """The rows of the bytes behind the header, cut anywhere. Raises Irregular."""
        table = self._table()
        for text in _whole_lines(chunks):
            place = pa.py_buffer(text).address + len(_BEFORE)
            rows, first = self._rows_in(place, len(text) - len(_BEFORE) - len(_BEHIND)), 0
            while first < rows:
                count = min(rows - first, self._rows_at_once - table.rows)
                if not read_cells(
                    *(place, self._ends, self._kinds, self._slots),
                    *(table.whole, table.decimal, table.boolean, first, count, table.rows),
                ):
                    raise Irregular
                table.rows += count
                first += count
                if table.rows == self._rows_at_once:
                    yield table.batch()
                    table = self._table()
        if table.rows:
            yield table.batch()

    def _rows_in(self, place: int, count: int) -> int:
        """How many rows there are; the ends of their cells are known then."""
        if len(self._ends) < count + 18:
            self._ends = np.empty(count + 18, dtype=np.int32)
        cells, lines = find_cells(place, count, self._ends)
        self.lines += lines
        if cells != lines * len(self._columns):
            raise Irregular
        return int(lines)

    def _table(self) -> "_Table":
        return _Table(self._columns, self._kinds, self._slots, self._rows_at_once)


class _Table:
    """The rows of one batch on their way: an array for each kind, in it a line for each column and one for the rest."""

    def __init__(
        self, columns: Sequence[Column], kinds: npt.NDArray[np.int8], slots: npt.NDArray[np.int64], rows: int
    ) -> None:
        self._kept = [each for each in zip(columns, kinds, slots, strict=True) if each[0].name]
        count = [1 + sum(kind == code for _, kind, _ in self._kept) for code in range(3)]
        self.whole = np.empty((count[0], rows), dtype=np.int64)
        self.decimal = np.empty((count[1], rows))
        self.boolean = np.empty((count[2], rows), dtype=np.uint8)
        self.rows = 0

    def batch(self) -> pa.RecordBatch:
        arrays = [self._array(kind, slot) for _, kind, slot in self._kept]
        return pa.RecordBatch.from_arrays(arrays, [column.source for column, _, _ in self._kept])

    def _array(self, kind: Any, slot: Any) -> pa.Array:
        # From buffers: pa.array() would import pandas to see whether it is given any of its arrays.
        if kind == 0:
            return _array(pa.int64(), self.whole[slot, : self.rows], self.rows)
        if kind == 1:
            return _array(pa.float64(), self.decimal[slot, : self.rows], self.rows)
        return _array(pa.bool_(), np.packbits(self.boolean[slot, : self.rows], bitorder="little"), self.rows)


def try_out() -> None:
    """Read one line of all kinds: the kernels are compiled, or loaded, and their cache is written, if they can be."""
    columns = [Column(kind.name, kind.name, kind) for kind in KINDS]
    list(CompiledReader(columns, 1).batches([b"1,1,1.5,true\n"]))


def _array(kind: pa.DataType, values: npt.NDArray[Any], rows: int) -> pa.Array:
    return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(values)], null_count=0)


def _slots(columns: Sequence[Column]) -> npt.NDArray[np.int64]:
    """In which line of the array of its kind a column is kept; behind these comes the line of all that is not kept."""
    kinds = [KINDS[column.kind] for column in columns]
    kept = [kind for kind, column in zip(kinds, columns, strict=True) if column.name]
    number = {kind: iter(range(len(columns))) for kind in kinds}
    places = [
        next(number[kind]) if column.name else kept.count(kind) for kind, column in zip(kinds, columns, strict=True)
    ]
    return np.array(places, dtype=np.int64)


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes cut behind line ends, padded; a last line without an end is given one."""
    rest = b""
    for chunk in chunks:
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield b"".join((_BEFORE, rest, memoryview(chunk)[:cut], _BEHIND))
        rest = chunk[cut:] if cut else rest + chunk
        if len(rest) > _LONGEST_LINE:
            raise Irregular
    if rest:
        yield b"".join((_BEFORE, rest, b"\n", _BEHIND))
