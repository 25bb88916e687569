"""Archives become partitions: one writer, whether a partition is made anew or gets one more month.

A partition is written beside its place, synced and renamed once. Writers of one series take turns, also between
processes: each reads the partition as it is and writes it again with what is new.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby

import numpy as np
import pyarrow as pa

from core.datasets import DATASETS
from core.dates import DAY_US
from core.layout import Layout
from core.storage.archive_csv import ArchiveCsv
from core.storage.footer import WRITER, facts_of
from core.storage.order import Repairs, row_groups
from core.storage.output import Output
from core.storage.pieces import Extent, Piece, kept_rows, settle, source_of
from core.storage.repair import read_by_key
from core.types import Cadence, FetchedFile, Partition, Period, Series


def write_pieces(
    layout: Layout, series: Series, home: Period, pieces: Sequence[Piece], old: Partition | None, group_rows: int
) -> Partition:
    """The partition of a period out of these pieces, in the order of their periods. Raises StorageError, DiskFull."""
    ordered = sorted(pieces, key=lambda piece: piece.source.period.span)
    path = layout.processed(series, home)
    sources = tuple(piece.source for piece in ordered)
    with Output("parquet", path, series, group_rows) as output:
        for batch in row_groups(_rows(ordered, old, group_rows), group_rows):
            output.write(batch)
        output.finish(facts_of(series, home, sources))
        output.publish()
    return Partition(series, home, path, sources, WRITER, output.stamp)


def _rows(pieces: Iterable[Piece], old: Partition | None, group_rows: int) -> Iterator[pa.RecordBatch]:
    for is_kept, run in groupby(pieces, key=lambda piece: piece.batches is None):
        if is_kept:
            assert old is not None
            yield from kept_rows(old, [piece.source for piece in run], group_rows)
        else:
            yield from chain.from_iterable(piece.batches or () for piece in run)


def write_days(
    layout: Layout, fetched: FetchedFile, archive: ArchiveCsv, group_rows: int, copies: Callable[[], Sequence[Output]]
) -> list[Partition]:
    """A partition for each day of an archive, rows streamed; what is there already of these days is replaced.

    The rows stay in the order of their key: a day begins with the first row at or after its midnight, and a few rows
    with an earlier time behind that one stay with it. `copies` are written too, with all rows of the archive. Raises
    MalformedArchive, StorageError, DiskFull.
    """
    dataset = DATASETS[fetched.file.series.dataset]
    beside = layout.processed(fetched.file.series, fetched.file.period)
    return read_by_key(archive, dataset, beside, functools.partial(_write_days, layout, fetched, group_rows, copies))


def _write_days(
    layout: Layout,
    fetched: FetchedFile,
    group_rows: int,
    make_copies: Callable[[], Sequence[Output]],
    archive: ArchiveCsv,
    batches: Iterator[pa.RecordBatch],
    repairs: Repairs,
) -> list[Partition]:
    series = fetched.file.series
    with contextlib.ExitStack() as stack:
        copies = [stack.enter_context(copy) for copy in make_copies()]
        days: list[tuple[Period, Output, Extent]] = []
        for batch in row_groups(batches, group_rows):
            for copy in copies:
                copy.write(batch)
            for day, part in cut_by_day(batch, fetched.file.period, days[-1][0] if days else None):
                if not days or days[-1][0] != day:
                    path = layout.processed(series, day)
                    output = stack.enter_context(Output("parquet", path, series, group_rows))
                    days.append((day, output, Extent()))
                days[-1][1].write(part)
                days[-1][2].add(part)
        found = []
        for day, output, extent in days:
            source = source_of(fetched, archive, repairs, extent)
            output.finish(facts_of(series, day, [source]))
            path = layout.processed(series, day)
            found.append(Partition(series, day, path, (source,), WRITER, output.stamp))
        for copy in copies:
            copy.finish({})
        settle(archive, sum(extent.rows for _, _, extent in days), repairs)
        for output in (*copies, *(output for _, output, _ in days)):
            output.publish()
    return found


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
