"""Rows out of Parquet files by the shortest road: files are named, footers kept, and of each file only the row groups
are read that may have rows of the time asked for.

What comes so is proved to be in order: within each file and from one to the next the key rises strictly. Where it does
not, there is no answer here, and whoever asks takes the long road (`loader.reader`), which gives the same rows wherever
both give any.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import FilesChanged, StorageError
from core.storage.arrays import key_values
from core.storage.footer import unusable
from core.types import PartitionFacts, Span, Stamp
from loader.align import Integers, rising
from loader.rows import Rows, no_rows

_FOOTERS: Final = 8192
"""So many footers are kept: about 20 kB each of candles, and of a day of trades with 200 row groups ten times that."""
_WORTH_A_THREAD: Final = 100_000
"""Rows below which starting threads takes longer than they save."""
_AT_ONCE: Final = 4
"""So many files a thread takes at a time: handing over one takes a tenth as long as reading it."""
_RUN_ROWS: Final = 1 << 17
"""A large file is read in runs of row groups of at least so many rows, so that threads share it."""
_NEVER: Final = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True)
class _Footer:
    """A file's footer, and of each row group its rows, its earliest and its latest timestamp in microseconds."""

    stamp: Stamp | None
    metadata: pq.FileMetaData
    places: dict[str, int]
    rows: Integers
    earliest: Integers
    latest: Integers


@dataclass(frozen=True, slots=True)
class _Run:
    """Row groups of one file that are read together."""

    part: PartitionFacts
    footer: _Footer
    groups: list[int]

    @property
    def rows(self) -> int:
        return int(self.footer.rows[self.groups].sum())


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows in one span of one file; `first` and `last` are their first and last key."""

    table: pa.Table
    first: tuple[Any, ...] = ()
    last: tuple[Any, ...] = ()
    rises: bool = True


class ParquetFiles:
    """Footers of files, kept while the files stay what they are. Threads may share it."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._footers: OrderedDict[Path, _Footer] = OrderedDict()
        self._lock = Lock()

    def read(
        self, found: Sequence[Sequence[PartitionFacts]], columns: Sequence[str], key: Sequence[str], span: Span
    ) -> Rows | None:
        """The rows of `span` of many symbols, one symbol behind the other, in these columns.

        None where the rows of a symbol are not in the order of `key`, or a key repeats. Raises StorageError that names
        the file that cannot be read, FilesChanged if one is no longer what its facts say.
        """
        runs = [[run for part in of_symbol for run in self._runs(part, span)] for of_symbol in found]
        flat = [run for of_symbol in runs for run in of_symbol]
        threads = min(self._threads, len(flat))
        if threads > 1 and sum(run.rows for run in flat) >= _WORTH_A_THREAD:
            size = _AT_ONCE if len(flat) >= _AT_ONCE**2 * threads else 1
            shares = [flat[place : place + size] for place in range(0, len(flat), size)]
            with ThreadPoolExecutor(threads) as pool:
                each = pool.map(lambda share: [_piece(run, columns, key, span) for run in share], shares)
                pieces = [piece for share in each for piece in share]
        else:
            pieces = [_piece(run, columns, key, span) for run in flat]
        if not pieces:
            schema = next(self._footer(part).metadata.schema for of_symbol in found for part in of_symbol)
            return no_rows(pa.schema([schema.to_arrow_schema().field(name) for name in columns]), len(found))
        return _one_behind_the_other(pieces, [len(of_symbol) for of_symbol in runs])

    def groups(self, part: PartitionFacts) -> npt.NDArray[np.int64]:
        """Earliest and latest time and rows of each row group; of the whole file where it cannot be asked."""
        try:
            footer = self._footer(part)
        except StorageError:
            return np.array([[part.first_us, part.last_us, part.rows]], dtype=np.int64)
        earliest = np.maximum(footer.earliest, part.first_us)
        return np.stack([earliest, np.maximum(earliest, np.minimum(footer.latest, part.last_us)), footer.rows], axis=1)

    def _runs(self, part: PartitionFacts, span: Span) -> list[_Run]:
        footer = self._footer(part)
        wanted = np.flatnonzero((footer.latest >= span.start_us) & (footer.earliest < span.end_us)).tolist()
        if len(wanted) <= 1:
            return [_Run(part, footer, wanted)] if wanted else []
        before = np.cumsum(footer.rows[wanted]) // _RUN_ROWS
        cuts = np.flatnonzero(np.diff(before)) + 1
        return [_Run(part, footer, groups.tolist()) for groups in np.split(np.array(wanted), cuts)]

    def _footer(self, part: PartitionFacts) -> _Footer:
        known = self._footers.get(part.path)
        if known is not None and known.stamp == part.stamp:
            return known
        try:
            with _opened(part) as file:
                footer = _footer_of(pq.read_metadata(file), part.stamp)
        except (OSError, pa.ArrowException) as error:
            raise unusable(part.path, error) from error
        with self._lock:
            self._footers[part.path] = footer
            while len(self._footers) > _FOOTERS:
                self._footers.popitem(last=False)
        return footer


def _footer_of(metadata: pq.FileMetaData, stamp: Stamp | None) -> _Footer:
    places = {metadata.schema.column(place).name: place for place in range(metadata.num_columns)}
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    bounds = [_bounds(group.column(places["timestamp"])) for group in groups]
    earliest, latest = np.array(bounds, dtype=np.int64).reshape(-1, 2).T
    rows = np.array([group.num_rows for group in groups], dtype=np.int64)
    return _Footer(stamp, metadata, places, rows, earliest, latest)


def _bounds(column: Any) -> tuple[int, int]:
    """Earliest and latest time of a row group; any time where the file does not say."""
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return _NEVER.min, _NEVER.max
    return statistics.min_raw, statistics.max_raw


def _opened(part: PartitionFacts) -> pa.NativeFile:
    """The file, if it is the one of which the facts are true: what stands in a footer is nonsense in another file."""
    try:
        file = pa.OSFile(str(part.path))
    except FileNotFoundError as error:
        raise FilesChanged(f"{part.path} has gone while it was read; try again after the update") from error
    if part.stamp is not None and Stamp.of(os.fstat(file.fileno())) != part.stamp:
        file.close()
        raise FilesChanged(f"{part.path} changed while it was read; try again after the update")
    return file


def _piece(run: _Run, columns: Sequence[str], key: Sequence[str], span: Span) -> _Piece:
    try:
        with _opened(run.part) as file:
            # By the places of columns: looking their names up takes longer than reading a year of candles.
            parquet = pq.ParquetFile(file, metadata=run.footer.metadata, pre_buffer=False)
            places = sorted(run.footer.places[name] for name in columns)
            table = parquet.reader.read_row_groups(run.groups, column_indices=places, use_threads=False)
    except (OSError, pa.ArrowException, KeyError) as error:
        why = " ".join(str(error).split())
        raise StorageError(f"cannot read {run.part.path}: {why}; delete it and download it again") from error
    table, times = _within(table.select(list(columns)), span)
    if table.num_rows == 0:
        return _Piece(table)
    keys = [times if name == "timestamp" else key_values(table.column(name)) for name in key]
    ends = (tuple(values[0].item() for values in keys), tuple(values[-1].item() for values in keys))
    return _Piece(table, *ends, _rises(keys))


def _within(table: pa.Table, span: Span) -> tuple[pa.Table, Integers]:
    """The rows in the span, and their times. Times that rise are cut, as they nearly always do."""
    times = key_values(table.column("timestamp"))
    never_falls = bool((times[1:] >= times[:-1]).all())
    if len(times) == 0 or (never_falls and times[0] >= span.start_us and times[-1] < span.end_us):
        return table, times
    if never_falls:
        start, end = np.searchsorted(times, (span.start_us, span.end_us)).tolist()
        return table.slice(start, end - start), times[start:end]
    inside = (times >= span.start_us) & (times < span.end_us)
    return (table, times) if inside.all() else (table.filter(pa.array(inside)), times[inside])


def _rises(keys: Sequence[npt.NDArray[Any]]) -> bool:
    if len(keys) == 1:
        return bool((keys[0][1:] > keys[0][:-1]).all())
    return bool(rising(keys, np.array([0, len(keys[0])], dtype=np.int64)).all())


def _one_behind_the_other(pieces: Sequence[_Piece], counts: Sequence[int]) -> Rows | None:
    if not all(piece.rises for piece in pieces):
        return None
    rows = np.zeros(len(counts) + 1, dtype=np.int64)
    place = 0
    for symbol, count in enumerate(counts):
        last: tuple[Any, ...] | None = None
        for piece in pieces[place : place + count]:
            if piece.table.num_rows == 0:
                continue
            if last is not None and piece.first <= last:
                return None
            last = piece.last
            rows[symbol + 1] += piece.table.num_rows
        place += count
    tables = [piece.table for piece in pieces if piece.table.num_rows] or [pieces[0].table]
    return Rows(pa.concat_tables(tables) if len(tables) > 1 else tables[0], np.cumsum(rows, dtype=np.int64))
