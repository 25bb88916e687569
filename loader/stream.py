"""Rows in chunks of time, in memory that does not follow their number.

Rows are read in blocks of as many chunks as have about as many rows as a block may have, so that neither a file is read
again for every chunk nor more than a block is in memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import Dataset
from core.datasets.grid import Grid
from core.storage.manager import StorageManager
from core.types import Span
from loader.align import Integers
from loader.arguments import Request
from loader.lookup import inside
from loader.reader import RowReader
from loader.rows import Rows

Floats = npt.NDArray[np.float64]

BLOCK_ROWS: Final = 1 << 19
"""So many rows are read at once, if a chunk has no more: of trades 21 MB, of candles 40 MB."""


def chunks_of(reader: RowReader, storage: StorageManager, request: Request, grid: Grid) -> Iterator[dict[str, Rows]]:
    """The rows of each chunk in which any kind has some, in order of time: by kind, as `RowReader.rows` gives them for
    the chunk. A chunk is a period of the grid, the first and the last one cut to the request's span."""
    edges = _edges(grid, request.span)
    for first, last in _blocks(_expected(storage, request, edges)):
        block = Span(int(edges[first]), int(edges[last]))
        rows = {kind.name: reader.rows(replace(request, span=block), kind) for kind in request.datasets}
        yield from _cut(rows, edges[first : last + 1])


def _edges(grid: Grid, span: Span) -> Integers:
    """Where the chunks of a span begin, and its end."""
    first, last = grid.slots(np.array([span.start_us, span.end_us - 1], dtype=np.int64)).tolist()
    inner = grid.starts(np.arange(first + 1, last + 1, dtype=np.int64))
    return np.concatenate([[span.start_us], inner, [span.end_us]]).astype(np.int64)


def has_files(storage: StorageManager, request: Request, kind: Dataset) -> list[bool]:
    """Of each symbol whether any file has rows near the span; no row is looked at."""
    wanted = [request.series(kind, symbol) for symbol in request.symbols]
    return [bool(parts) for parts in inside(storage, wanted, request.span)]


def _expected(storage: StorageManager, request: Request, edges: Integers) -> Floats:
    """About how many rows each chunk has: those of a file are spread over its time."""
    found = np.zeros(len(edges) - 1)
    for kind in request.datasets:
        wanted = [request.series(kind, symbol) for symbol in request.symbols]
        for parts in storage.facts(wanted, storage.around(request.span)):
            for part in parts:
                a, b = np.searchsorted(edges, (part.first_us, part.last_us), side="right").tolist()
                first, last = max(a - 1, 0), min(b, len(found))
                if first < last:
                    shared = np.minimum(edges[first + 1 : last + 1], part.last_us + 1) - np.maximum(
                        edges[first:last], part.first_us
                    )
                    found[first:last] += np.maximum(shared, 0) * (part.rows / (part.last_us + 1 - part.first_us))
    return found


def _blocks(expected: Floats) -> Iterator[tuple[int, int]]:
    """Runs of chunks with rows, each of about a block's rows or of one chunk."""
    first, rows = 0, 0.0
    for place, count in enumerate(expected.tolist()):
        if place > first and rows + count > BLOCK_ROWS:
            yield first, place
            first, rows = place, 0.0
        rows += count
    if len(expected):
        yield first, len(expected)


def _cut(rows: Mapping[str, Rows], edges: Integers) -> Iterator[dict[str, Rows]]:
    if len(edges) == 2:
        if any(map(len, rows.values())):
            yield dict(rows)
        return
    parts = {name: _by_chunk(read, edges) for name, read in rows.items()}
    for chunk in range(len(edges) - 1):
        found = {name: part[chunk] for name, part in parts.items()}
        if any(map(len, found.values())):
            yield found


def _by_chunk(rows: Rows, edges: Integers) -> list[Rows]:
    """The rows of each chunk, the order of rows within a symbol kept."""
    chunk = np.searchsorted(edges, rows.times_us, side="right") - 1
    table, symbols = rows.table, np.repeat(np.arange(len(rows.offsets) - 1), rows.counts)
    if not (chunk[1:] >= chunk[:-1]).all():
        order = np.argsort(chunk, kind="stable")
        table, chunk, symbols = table.take(pa.array(order)), chunk[order], symbols[order]
    starts = np.searchsorted(chunk, np.arange(len(edges)))
    found = []
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        counts = np.bincount(symbols[start:end], minlength=len(rows.offsets) - 1)
        found.append(Rows(table.slice(start, end - start), np.append(0, np.cumsum(counts)).astype(np.int64)))
    return found
