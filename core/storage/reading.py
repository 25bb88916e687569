"""What readers ask of partitions: which files have rows, without a look into each, and their rows, little at a time."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.layout import Layout
from core.storage.files import entries_of, stamp_of, stamps_of
from core.storage.footer import partition_at
from core.storage.partitions import LOOKS, keeps_changing, longer_first, without_covered
from core.storage.remembered import Remembered
from core.types import PartitionFacts, Period, Series, Span

Catalog = Callable[[Sequence[Series], Span | None], Mapping[Series, Mapping[Period, PartitionFacts]]]
"""What is known of the partitions of series. It may lag behind or know nothing: each entry counts only for the file
whose stamp it has."""


def nothing_known(_: Sequence[Series], __: Span | None) -> Mapping[Series, Mapping[Period, PartitionFacts]]:
    """The catalog where there is none."""
    return {}


def facts_of_each(
    layout: Layout, wanted: Sequence[Series], span: Span | None, catalog: Catalog, remembered: Remembered
) -> list[tuple[PartitionFacts, ...]]:
    """For each series as `partitions_of`. The folders say which files there are; of those that are remembered, or that
    the catalog knows, no footer is read. Raises StorageError if one of the others cannot be read, FilesChanged if they
    keep changing."""
    found = [remembered.facts(series, span) for series in wanted]
    others = [series for series, facts in zip(wanted, found, strict=True) if facts is None]
    known = catalog(others, span) if others else {}
    return [
        _facts_in(layout, series, span, known.get(series, {}), remembered)
        if facts is None
        else tuple(without_covered(facts) if len(facts) > 1 else facts)
        for series, facts in zip(wanted, found, strict=True)
    ]


def _facts_in(
    layout: Layout,
    series: Series,
    span: Span | None,
    known: Mapping[Period, PartitionFacts],
    remembered: Remembered,
) -> tuple[PartitionFacts, ...]:
    for _ in range(LOOKS):
        files = entries_of(layout, series)
        chosen = [period for period in files if span is None or period.span.overlaps(span)]
        read = [_facts_at(files[period], series, period, known) for period in sorted(chosen, key=longer_first)]
        found = [facts for facts in read if facts is not None]
        if len(found) == len(read) and _is_of_one_moment(layout, series, span, known, found):
            remembered.keep(series, found)
            return tuple(without_covered(found))
    raise keeps_changing(series)


def _is_of_one_moment(
    layout: Layout,
    series: Series,
    span: Span | None,
    known: Mapping[Period, PartitionFacts],
    found: Sequence[PartitionFacts],
) -> bool:
    """Whether these are all partitions as they were once. If all are as the catalog has them, they are."""
    if all(known.get(facts.period) is facts for facts in found):
        return True
    return stamps_of(layout, series, span) == {facts.period: facts.stamp for facts in found}


def rows_in(
    parquet: pq.ParquetFile, first: int, end: int, rows_at_once: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows from number `first` to before `end` of a file; what has none of them is not read.

    A row group at a time and nothing ahead of it (the file is opened with `pre_buffer=False`): otherwise the whole file
    is read before the first row is used.
    """
    place = 0
    for group in range(parquet.num_row_groups):
        behind = place + parquet.metadata.row_group(group).num_rows
        if place < end and first < behind:
            for batch in _batches(parquet, group, behind - place, rows_at_once, columns):
                start, stop = max(first, place), min(end, place + batch.num_rows)
                if start < stop:
                    yield batch.slice(start - place, stop - start)
                place += batch.num_rows
        place = behind


def _batches(
    parquet: pq.ParquetFile, group: int, rows: int, rows_at_once: int, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    """The rows of a row group; at once if they are no more than that, which spares a copy of each column."""
    if rows > rows_at_once:
        return iter(parquet.iter_batches(rows_at_once, row_groups=[group], columns=columns))
    return iter(parquet.read_row_group(group, columns=columns).to_batches())


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
        partition.overlaps,
    )
