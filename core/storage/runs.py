"""Rows in any order become rows in the order of their key, in bounded memory.

Batches are gathered into runs, each sorted by itself. One run stays in memory; where there are more, they go to a
temporary file and are merged from there, a piece of each at a time. Every row carries its number in the file, which
decides between rows with one key: the order is that of one stable sort of all rows.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from core.datasets import Dataset
from core.errors import storage_error
from core.layout import make_folder
from core.storage.arrays import key_values
from core.storage.order import row_groups

ROW: Final = "row in the file"
RUN_ROWS: Final = 1 << 18
"""Sorting takes three times a run's size; trades are 41 bytes a row, book tickers 56."""
PIECE_ROWS: Final = 1 << 12
"""So much of each run that takes part in the merge is in memory; in a file that is nearly sorted only few do."""

_Place = tuple[Any, ...]
"""A row's key and its number in the file: no two rows have the same."""


class Runs:
    """The rows of a file, taken in once with `fill`; `merged` gives them in order, as often as it is asked.

    Leaving the `with` block leaves nothing on disk. The file is named so that `core.storage.output.sweep` removes it
    if the process is killed.
    """

    def __init__(self, beside: Path, dataset: Dataset, run_rows: int = RUN_ROWS, piece_rows: int = PIECE_ROWS) -> None:
        self._path = beside.with_name(f".{beside.name}.rows.{os.getpid()}.tmp")
        self._names = (*dataset.key, ROW)
        self._run_rows = run_rows
        self._piece_rows = piece_rows
        self._held: pa.RecordBatch | None = None
        self._rows = 0
        self._bounds: list[tuple[_Place, int, int]] = []
        """Of each run in the file: the place of its first row, its first piece, the one behind its last."""

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def fill(self, batches: Iterator[pa.RecordBatch]) -> None:
        """Take in all rows. Raises StorageError, DiskFull, and whatever `batches` raises."""
        with self._guard(), contextlib.ExitStack() as stack:
            writer = None
            for run in row_groups(batches, self._run_rows):
                if self._held is not None:
                    writer = stack.enter_context(self._writer(self._held.schema))
                    self._write(writer)
                self._held = self._sorted(run)
                del run  # neither is kept while the next one is read
                if writer is not None:
                    self._write(writer)

    def merged(self) -> Iterator[pa.RecordBatch]:
        """All rows in the order of their key, equal keys in the order of the file. Raises StorageError."""
        if self._held is not None:
            yield self._held
            return
        with self._guard(), pa.OSFile(str(self._path)) as file:
            reader = pa.ipc.open_file(file)
            yield from self._merge([_Run(self._names, reader, *bounds) for bounds in self._bounds])

    def _sorted(self, run: pa.RecordBatch) -> pa.RecordBatch:
        numbers = np.arange(self._rows, self._rows + run.num_rows)
        self._rows += run.num_rows
        return _in_order(run.append_column(ROW, pa.array(numbers)), self._names)

    @contextlib.contextmanager
    def _writer(self, schema: pa.Schema) -> Iterator[Any]:
        make_folder(self._path.parent)
        with pa.OSFile(str(self._path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            yield writer

    def _write(self, writer: Any) -> None:
        """The run in memory goes to the file."""
        run, self._held = self._held, None
        assert run is not None
        begun = self._bounds[-1][2] if self._bounds else 0
        pieces = range(0, run.num_rows, self._piece_rows)
        self._bounds.append((_place(run, self._names, 0), begun, begun + len(pieces)))
        for start in pieces:
            writer.write_batch(run.slice(start, self._piece_rows))

    def _merge(self, waiting: list["_Run"]) -> Iterator[pa.RecordBatch]:
        """Again and again, all rows up to the nearest end of a piece: what follows in any run is behind them."""
        waiting.sort(key=lambda run: run.first, reverse=True)
        active: list[_Run] = []
        while waiting or active:
            if not active:
                active.append(waiting.pop().opened())
            last = min(run.last for run in active)
            while waiting and waiting[-1].first < last:
                active.append(waiting.pop().opened())
                last = min(last, active[-1].last)
            parts = [part for run in active if (part := run.upto(last)).num_rows]
            active = [run for run in active if not run.is_over]
            yield _in_order(pa.concat_batches(parts), self._names) if len(parts) > 1 else parts[0]

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(error, self._path) from error


class _Run:
    """One sorted run in the file, a piece of it at a time; `first` is the place of its first row, `last` that of the
    last row that is in memory."""

    last: _Place

    def __init__(self, names: Sequence[str], reader: Any, first: _Place, begin: int, end: int) -> None:
        self.first = first
        self.is_over = False
        self._names = names
        self._reader = reader
        self._left = iter(range(begin, end))
        self._rows: pa.RecordBatch

    def opened(self) -> "_Run":
        """This run, with its first piece in memory."""
        self._next()
        return self

    def upto(self, last: _Place) -> pa.RecordBatch:
        """The rows in memory up to a place, which are passed with that."""
        rows, count = self._rows, self._count(last)
        if count == rows.num_rows:
            self._next()
        else:
            self._rows = rows.slice(count)
        return rows.slice(0, count)

    def _next(self) -> None:
        piece = next(self._left, None)
        self.is_over = piece is None
        if piece is not None:
            self._rows = self._reader.get_batch(piece)
            self.last = _place(self._rows, self._names, -1)

    def _count(self, last: _Place) -> int:
        if self.last <= last:
            return int(self._rows.num_rows)
        before = np.zeros(self._rows.num_rows, dtype=np.bool_)
        ties = np.ones(self._rows.num_rows, dtype=np.bool_)
        for name, bound in zip(self._names, last, strict=True):
            values = key_values(self._rows.column(name))
            before |= ties & (values < bound)
            ties &= values == bound
        return int(np.count_nonzero(before | ties))


def _place(rows: pa.RecordBatch, names: Sequence[str], row: int) -> _Place:
    at = row % rows.num_rows
    return tuple(key_values(rows.column(name).slice(at, 1))[0].item() for name in names)


def _in_order(rows: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    order = np.lexsort([key_values(rows.column(name)) for name in reversed(names)])
    return rows if (order[1:] > order[:-1]).all() else rows.take(pa.array(order))
