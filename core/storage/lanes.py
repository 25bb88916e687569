"""Lanes: stretches of partitions in which the key rises, as many archives to one as come one behind the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import DATASETS
from core.storage.arrays import key_values
from core.storage.beside import grain_of
from core.storage.holding import Holding
from core.types import Partition, Source, Span

RANK = "\0rank"
"""The column that says of which archive a row is, by the archive's place among all that are read."""
_TIME = "timestamp"


@dataclass(frozen=True, slots=True)
class Run:
    """The rows of one source: those of its partition from `first` to before `end`."""

    source: Source
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Lane:
    """Runs of one partition, one behind the other, over which the key rises; in none of its rows is the first column of
    the key less than `low`."""

    partition: Partition
    runs: tuple[Run, ...]
    low: int

    def batches(
        self,
        holding: Holding,
        span: Span,
        columns: Sequence[str] | None,
        rows_at_once: int,
        ranks: Mapping[Source, int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Those of its rows that lie in `span`, with the column `RANK` if there are `ranks`. Raises StorageError."""
        place = first = self.runs[0].first
        is_inside = all(is_within(run.source, span) for run in self.runs)
        numbers = _Ranks(self.runs, ranks) if ranks is not None else None
        for batch in holding.rows(self.partition, first, self.runs[-1].end, rows_at_once, columns):
            ranked = batch if numbers is None else batch.append_column(RANK, numbers.of(place, batch.num_rows))
            place += batch.num_rows
            inside = ranked if is_inside else between(ranked, span)
            if inside.num_rows:
                yield inside


class _Ranks:
    """Ranks of rows that stand behind one another. Those of a batch of one archive are a part of an array that is made
    once, for as many batches as there are."""

    def __init__(self, runs: Sequence[Run], ranks: Mapping[Source, int]) -> None:
        self._ends = np.array([run.end for run in runs])
        self._ranks = np.array([ranks[run.source] for run in runs])
        self._alike = pa.array(self._ranks[:0])
        self._run = -1

    def of(self, place: int, rows: int) -> pa.Array:
        """The ranks of so many rows from number `place` on."""
        run = int(np.searchsorted(self._ends, place, side="right"))
        if place + rows > self._ends[run]:
            counts = np.diff(np.clip(self._ends - place, 0, rows), prepend=0)
            return pa.array(np.repeat(self._ranks, counts))
        if run != self._run or rows > len(self._alike):
            self._run, self._alike = run, pa.array(np.repeat(self._ranks[run], rows))
        return self._alike.slice(0, rows)


def lanes_of(holding: Holding, partition: Partition, span: Span) -> Iterator[Lane]:
    """The lanes of a partition that may have rows in `span`. Raises StorageError."""
    runs = [run for run in _runs_of(partition) if overlaps(run.source, span)]
    start = 0
    for place in range(1, len(runs) + 1):
        if place == len(runs) or not _rises(holding, partition, runs[place - 1], runs[place]):
            yield Lane(partition, tuple(runs[start:place]), _low(holding, partition, runs[start]))
            start = place


def overlaps(part: Source | Partition, span: Span) -> bool:
    """Whether it may have rows in `span`."""
    return part.first_us < span.end_us and part.last_us >= span.start_us


def is_within(part: Source | Partition, span: Span) -> bool:
    """Whether it has no row outside of `span`."""
    return span.start_us <= part.first_us and part.last_us < span.end_us


def _runs_of(partition: Partition) -> Iterator[Run]:
    ends = np.cumsum([0, *(source.rows for source in partition.sources)]).tolist()
    for source, (first, end) in zip(partition.sources, pairwise(ends), strict=True):
        yield Run(source, first, end)


def _rises(holding: Holding, partition: Partition, one: Run, other: Run) -> bool:
    """Whether the rows of a run stand right behind those of another, in the file and by their key."""
    if one.end != other.first:
        return False
    dataset = DATASETS[partition.series.dataset]
    if dataset.key[0] == _TIME:
        return grain_of(dataset, one.source.last_us) < grain_of(dataset, other.source.first_us)
    name = dataset.key[0]
    batches = list(holding.rows(partition, one.end - 1, one.end + 1, other.end, [name]))
    last, first = np.concatenate([key_values(batch.column(name)) for batch in batches])
    return bool(last < first)


def _low(holding: Holding, partition: Partition, run: Run) -> int:
    """The first column of the key is a time, or an id of which the file says the least of each row group."""
    dataset = DATASETS[partition.series.dataset]
    if dataset.key[0] == _TIME:
        return run.source.first_us
    with holding.parquet(partition) as parquet:
        metadata = parquet.metadata
    column = metadata.schema.names.index(dataset.key[0])
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    behind = np.cumsum([group.num_rows for group in groups])
    statistics = groups[int(np.searchsorted(behind, run.first, side="right"))].column(column).statistics
    return int(statistics.min) if statistics is not None and statistics.has_min_max else int(np.iinfo(np.int64).min)


def between(batch: pa.RecordBatch, span: Span) -> pa.RecordBatch:
    """The rows whose time lies in `span`."""
    times = batch.column(_TIME).cast(pa.int64())
    bounds = pc.min_max(times).as_py()
    if batch.num_rows and span.start_us <= bounds["min"] and bounds["max"] < span.end_us:
        return batch
    return batch.filter(pc.and_(pc.greater_equal(times, span.start_us), pc.less(times, span.end_us)))
