"""What readers ask of partitions: which files have rows, without a look into each, and their rows, little at a time."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.layout import Layout
from core.storage.files import entries_of, stamp_of
from core.storage.footer import partition_at, unusable
from core.storage.partitions import longer_first, without_covered
from core.types import PartitionFacts, Period, Series, Span

Catalog = Callable[[Sequence[Series], Span | None], Mapping[Series, Mapping[Period, PartitionFacts]]]
"""What is known of the partitions of series. It may lag behind or know nothing: each entry counts only for the file
whose stamp it has."""


def nothing_known(_: Sequence[Series], __: Span | None) -> Mapping[Series, Mapping[Period, PartitionFacts]]:
    """The catalog where there is none."""
    return {}


def facts_in(
    layout: Layout, series: Series, span: Span | None, known: Mapping[Period, PartitionFacts]
) -> tuple[PartitionFacts, ...]:
    """As `partitions_of`. The folder says which files there are; of those that are known, no footer is read."""
    files = entries_of(layout, series)
    chosen = [period for period in files if span is None or period.span.overlaps(span)]
    read = [_facts_at(files[period], series, period, known) for period in sorted(chosen, key=longer_first)]
    found = [facts for facts in read if facts is not None]
    return tuple(without_covered(found))


def rows_between(
    path: Path, first: int, end: int, rows_at_once: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows from number `first` to before `end`; what has none of them is not read. Raises StorageError.

    A row group at a time and nothing ahead of it: otherwise the whole file is read before the first row is used.
    """
    place = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as parquet:
            for group in range(parquet.num_row_groups):
                behind = place + parquet.metadata.row_group(group).num_rows
                if place < end and first < behind:
                    for batch in parquet.iter_batches(rows_at_once, row_groups=[group], columns=columns):
                        start, stop = max(first, place), min(end, place + batch.num_rows)
                        if start < stop:
                            yield batch.slice(start - place, stop - start)
                        place += batch.num_rows
                place = behind
    except (OSError, pa.ArrowException) as error:
        raise unusable(path, error) from error


def _facts_at(
    entry: "os.DirEntry[str]", series: Series, period: Period, known: Mapping[Period, PartitionFacts]
) -> PartitionFacts | None:
    """What is known of the file that lies there, else what its footer says; None if it has gone meanwhile."""
    facts = known.get(period)
    if facts is not None and facts.stamp == stamp_of(entry):
        return facts
    partition = partition_at(Path(entry.path), series, period)
    if partition is None:
        return None
    return PartitionFacts(
        period,
        partition.path,
        partition.rows,
        partition.first_us,
        partition.last_us,
        partition.plain,
        partition.beside,
        partition.stamp,
    )
