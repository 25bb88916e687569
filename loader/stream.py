"""Rows in chunks of time, in memory that does not follow their number.

Rows are read in blocks: as much time, in whole chunks, as has about as many rows as a block may have, by the row groups
of the files. So neither is a file read again for every chunk, nor is more than a block in memory, or one chunk.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import Dataset
from core.datasets.grid import Grid
from core.storage.stored import StoredRows
from core.types import PartitionFacts, Span
from loader.arguments import Request
from loader.lookup import inside
from loader.reader import RowReader
from loader.rows import Rows

BLOCK_ROWS: Final = 1 << 19
"""So many rows are read at once, if a chunk has no more: of trades 21 MB, of candles 40 MB."""


def chunks_of(reader: RowReader, storage: StoredRows, request: Request, grid: Grid) -> Iterator[dict[str, Rows]]:
    """The rows of each chunk in which any kind has some, in order of time: by kind, as `RowReader.rows` gives them for
    the chunk. A chunk is a period of the grid, the first and the last one cut to the request's span."""
    for block in _blocks(Spread.of(reader, storage, request), grid, request.span):
        rows = {kind.name: reader.rows(replace(request, span=block), kind) for kind in request.datasets}
        yield from _cut(rows, grid)


def has_files(storage: StoredRows, request: Request, kind: Dataset) -> list[bool]:
    """Of each symbol whether any file has rows near the span; no row is looked at."""
    wanted = [request.series(kind, symbol) for symbol in request.symbols]
    return [bool(parts) for parts in inside(storage, wanted, request.span)]


class Spread:
    """About how many rows lie before each time: those of a row group are spread evenly over its own."""

    def __init__(self, groups: npt.NDArray[np.int64]) -> None:
        starts, ends, rows = groups[:, 0], groups[:, 1] + 1, groups[:, 2]
        rates = rows / np.maximum(ends - starts, 1)
        times = np.concatenate([starts, ends])
        order = np.argsort(times, kind="stable")
        slopes = np.cumsum(np.concatenate([rates, -rates])[order])
        self._times = times[order].astype(np.float64)
        steps = np.maximum(slopes[:-1], 0.0) * np.diff(self._times)
        self._rows = np.concatenate([[0.0], np.cumsum(steps)]) if len(times) else np.zeros(0)

    @classmethod
    def of(cls, reader: RowReader, storage: StoredRows, request: Request) -> "Spread":
        """Of all files that may have rows for a request."""
        found: list[Sequence[PartitionFacts]] = []
        for kind in request.datasets:
            found += inside(storage, [request.series(kind, symbol) for symbol in request.symbols], request.span)
        return cls(reader.groups([part for parts in found for part in parts]))

    def until(self, time_us: int, rows: float) -> int | None:
        """Until when about so many rows follow a time; None if no more than that do to the end."""
        if len(self._rows) == 0:
            return None
        limit = float(np.interp(time_us, self._times, self._rows)) + rows
        return None if limit >= self._rows[-1] else int(np.interp(limit, self._rows, self._times))

    def next_after(self, time_us: int) -> int | None:
        """The time from which on rows may follow; None if none do."""
        if len(self._rows) == 0 or time_us >= self._times[-1]:
            return None
        here = float(np.interp(time_us, self._times, self._rows))
        ahead = int(np.searchsorted(self._rows, here, side="right"))
        return None if ahead >= len(self._rows) else max(time_us, int(self._times[max(ahead - 1, 0)]))


def _blocks(spread: Spread, grid: Grid, span: Span) -> Iterator[Span]:
    """Stretches of whole chunks with about a block's rows each, or of one chunk; where there are no rows, none."""
    start_us = span.start_us
    while start_us < span.end_us:
        begins_us = spread.next_after(start_us)
        if begins_us is None:
            return
        start_us = max(start_us, _start_of(grid, begins_us))
        until_us = spread.until(start_us, BLOCK_ROWS)
        end_us = span.end_us if until_us is None else max(_start_of(grid, until_us), _end_of(grid, start_us))
        if start_us < span.end_us:
            yield Span(start_us, min(end_us, span.end_us))
        start_us = end_us


def _start_of(grid: Grid, time_us: int) -> int:
    return grid.start(int(grid.slots(np.array([time_us], dtype=np.int64))[0]))


def _end_of(grid: Grid, time_us: int) -> int:
    return grid.start(int(grid.slots(np.array([time_us], dtype=np.int64))[0]) + 1)


def _cut(rows: Mapping[str, Rows], grid: Grid) -> Iterator[dict[str, Rows]]:
    """The rows of a block chunk by chunk, one at a time."""
    parts = {name: _ByChunk(read, grid) for name, read in rows.items()}
    for slot in np.unique(np.concatenate([part.slots for part in parts.values()])).tolist():
        yield {name: part.rows_of(slot) for name, part in parts.items()}


class _ByChunk:
    """Rows by the slot of their chunk, the order of rows within a symbol kept."""

    def __init__(self, rows: Rows, grid: Grid) -> None:
        slots = grid.slots(rows.times_us)
        self._count = len(rows.offsets) - 1
        self._table = rows.table
        self._symbols = np.repeat(np.arange(self._count), rows.counts)
        if not (slots[1:] >= slots[:-1]).all():
            order = np.argsort(slots, kind="stable")
            self._table, slots, self._symbols = rows.table.take(pa.array(order)), slots[order], self._symbols[order]
        first = np.flatnonzero(np.append(True, slots[1:] != slots[:-1])) if len(slots) else np.zeros(0, np.int64)
        self.slots = slots[first]
        self._bounds = np.append(first, len(slots))
        self._places = {int(slot): place for place, slot in enumerate(self.slots.tolist())}

    def rows_of(self, slot: int) -> Rows:
        place = self._places.get(slot)
        start, end = (0, 0) if place is None else self._bounds[place : place + 2].tolist()
        counts = np.bincount(self._symbols[start:end], minlength=self._count)
        return Rows(self._table.slice(start, end - start), np.append(0, np.cumsum(counts)).astype(np.int64))
