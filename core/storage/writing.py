"""Archives become partitions: one writer, whether a partition is made anew or gets one more month.

A partition is written beside its place, synced and renamed once. Writers of one series take turns, also between
processes: each reads the partition as it is and writes it again with what is new.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import numpy as np
import pyarrow as pa

from core.datasets import DATASETS
from core.dates import DAY_US
from core.layout import Layout
from core.storage.archive_csv import ArchiveCsv
from core.storage.beside import place_of
from core.storage.days import Day
from core.storage.footer import WRITER, facts_of
from core.storage.looking import Looking
from core.storage.order import Repairs, row_groups
from core.storage.output import Output
from core.storage.pieces import Piece, kept_rows, settle, source_of
from core.storage.repair import read_by_key
from core.storage.survey import is_by_day, time_of
from core.types import Cadence, FetchedFile, Partition, Period, Series, Source


def write_pieces(
    layout: Layout, series: Series, home: Period, pieces: Sequence[Piece], old: Partition | None, group_rows: int
) -> Partition:
    """The partition of a period out of these pieces, in the order of their periods. Raises StorageError, DiskFull."""
    ordered = sorted(pieces, key=lambda piece: (time_of(series, piece.source).span, place_of(piece.source)))
    path = layout.processed(series, home)
    sources = tuple(piece.source for piece in ordered)
    with Output("parquet", path, series, group_rows) as output:
        for batch in _cut(series, ordered, old, group_rows):
            output.write(batch)
        output.finish(facts_of(series, home, sources))
        output.publish()
    return Partition(series, home, path, sources, WRITER, output.stamp)


def _cut(series: Series, pieces: Sequence[Piece], old: Partition | None, group_rows: int) -> Iterator[pa.RecordBatch]:
    """All rows by row group. Where archives are split by day, each piece is cut as if it were alone."""
    if not is_by_day(series):
        yield from row_groups(_rows(pieces, old, group_rows), group_rows)
        return
    for piece in pieces:
        rows = _rows([piece], old, group_rows)
        yield from rows if piece.batches is None else row_groups(rows, group_rows)


def _rows(pieces: Iterable[Piece], old: Partition | None, group_rows: int) -> Iterator[pa.RecordBatch]:
    for is_kept, run in groupby(pieces, key=lambda piece: piece.batches is None):
        if is_kept:
            assert old is not None
            yield from kept_rows(old, [piece.source for piece in run], group_rows)
        else:
            yield from chain.from_iterable(piece.batches or () for piece in run)


@dataclass(frozen=True, slots=True)
class Days:
    """What an archive was split into: the partitions that were written, and by day what of the archive is in each.

    A day without rows of its own, for a longer archive has the same, is among `sources` and has no partition here.
    """

    partitions: tuple[Partition, ...]
    sources: tuple[Source, ...]

    @property
    def periods(self) -> frozenset[Period]:
        return frozenset(partition.period for partition in self.partitions)


def write_days(
    layout: Layout,
    fetched: FetchedFile,
    archive: ArchiveCsv,
    here: Mapping[Period, Partition],
    group_rows: int,
    copies: Callable[[], Sequence[Output]],
    looking: Looking,
) -> Days:
    """A partition for each day of an archive, rows streamed. What is `here` of these days is replaced, but for what
    counts beside the archive (`core.storage.beside`).

    The rows stay in the order of their key: a day begins with the first row at or after its midnight, and a few rows
    with an earlier time behind that one stay with it. `copies` are written too, with all rows of the archive. Raises
    MalformedArchive, StorageError, DiskFull.
    """
    dataset = DATASETS[fetched.file.series.dataset]
    beside = layout.processed(fetched.file.series, fetched.file.period)
    write = functools.partial(_write_days, layout, fetched, here, group_rows, copies, looking)
    return read_by_key(archive, dataset, beside, write)


def _write_days(
    layout: Layout,
    fetched: FetchedFile,
    here: Mapping[Period, Partition],
    group_rows: int,
    make_copies: Callable[[], Sequence[Output]],
    looking: Looking,
    archive: ArchiveCsv,
    batches: Iterator[pa.RecordBatch],
    repairs: Repairs,
) -> Days:
    series = fetched.file.series
    with contextlib.ExitStack() as stack:
        copies = [stack.enter_context(copy) for copy in make_copies()]
        days: list[Day] = []
        for batch in row_groups(batches, group_rows):
            looking.at([batch])
            for copy in copies:
                copy.write(batch)
            for period, part in cut_by_day(batch, fetched.file.period, days[-1].period if days else None):
                if not days or days[-1].period != period:
                    if days:
                        days[-1].end()
                    output = stack.enter_context(
                        Output("parquet", layout.processed(series, period), series, group_rows)
                    )
                    days.append(Day(period, output, fetched.file, here.get(period), group_rows))
                days[-1].add(part)
        written = [day.finish(source_of(fetched, archive, repairs, day.extent)) for day in days]
        for copy in copies:
            copy.finish({})
        settle(archive, sum(day.extent.rows for day in days), repairs)
        for output in (*copies, *(day.output for day in days if day.is_needed)):
            output.publish()
    return Days(
        tuple(partition for _, partition in written if partition is not None), tuple(source for source, _ in written)
    )


def cut_by_day(batch: pa.RecordBatch, period: Period, day: Period | None) -> Iterator[tuple[Period, pa.RecordBatch]]:
    """The rows of a batch by day, in their order; `day` is that of the row before. Rows outside the period go to its
    first or last day."""
    if period.cadence is Cadence.DAILY:
        yield period, batch
        return
    times = batch.column("timestamp").cast(pa.int64()).to_numpy()
    first, last = period.span.start_us, period.span.end_us - 1
    start = 0
    current = day or _day_of(min(max(int(times[0]), first), last))
    while start < len(times):
        later = np.flatnonzero(times[start:] >= min(current.span.end_us, last + 1))
        is_last = current.span.end_us > last or not len(later)
        end = len(times) if is_last else start + int(later[0])
        if end > start:
            yield current, batch.slice(start, end - start)
        if end < len(times):
            current = _day_of(min(int(times[end]), last))
        start = end


def _day_of(moment_us: int) -> Period:
    return Period.day(np.datetime64(moment_us // DAY_US, "D").item())
