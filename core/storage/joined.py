"""The rows of several archives as one: in the order of their key, and each once. Scans and the loader read so.

What two archives both have, identical in every column, is given once. Rows with one key and different content are
an error, with two exceptions: where files share a midnight (`Dataset.shares_midnight`) the later archive's row is
given, in whose time it lies; and a day's own archive is right where it differs from a longer one, and either where it
differs from the exchange's API (`core.storage.beside`), whose rows are left out where an archive has one of the same
time, to the dataset's grain. Nothing of this is stored: an archive that is published anew changes what is given, and
no other file.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import DATASETS, Dataset
from core.errors import StorageError
from core.events import LOGGER
from core.storage.arrays import key_values
from core.storage.beside import REST, first_keys, grain_of, grains, strength
from core.storage.holding import Holding
from core.storage.lanes import RANK, Lane, between, lanes_of, overlaps
from core.storage.order import in_key_order, repeats
from core.storage.survey import time_of
from core.types import Partition, Series, Source, Span


def joined(
    partitions: Sequence[Partition], span: Span, columns: Sequence[str] | None, rows_at_once: int
) -> Iterator[pa.RecordBatch]:
    """The rows of a series' partitions that lie in `span`; `columns` have to include time and key.

    Rows are streamed; only where archives overlap in their key are these rows, of each about a row group, in memory
    together. Rows that are given once though two archives have them are counted in the log. Raises StorageError, and
    FilesChanged where a file is no longer what its partition says: of few files that happens before the first row.
    """
    if not partitions:
        return
    grain_us = DATASETS[partitions[0].series.dataset].grain_us
    reach = Span(span.start_us - grain_us, span.end_us + grain_us) if grain_us > 1 else span
    near = [partition for partition in partitions if overlaps(partition, reach)]
    with Holding(near) as holding:
        if not near:
            return
        joining = _Joining(holding, near, reach, columns, rows_at_once)
        for batch in joining.batches():
            inside = batch if reach == span else between(batch, span)
            if inside.num_rows:
                yield inside
        if joining.dropped:
            LOGGER.warning("%s: %d rows that two archives both have are given once", near[0].series, joining.dropped)


class _Reading:
    """What is read of a lane and not given yet: never empty before the lane is at its end."""

    def __init__(self, batches: Iterator[pa.RecordBatch], dataset: Dataset) -> None:
        self._batches = batches
        self._dataset = dataset
        self.rows = next(batches, None)

    @property
    def last(self) -> int:
        """The first column of the key in the last row, to its grain."""
        assert self.rows is not None
        return int(first_keys(self._dataset, self.rows.slice(self.rows.num_rows - 1))[0])

    def taken_until(self, limit: int) -> Iterator[pa.RecordBatch]:
        """Takes out the rows in which the first column of the key is at most `limit`, also those not read yet."""
        while self.rows is not None:
            if self.last <= limit:
                yield self.rows
                self.rows = next(self._batches, None)
                continue
            keys = first_keys(self._dataset, self.rows)
            count = int(np.searchsorted(keys, limit, side="right"))
            rows, self.rows = self.rows, self.rows.slice(count)
            if count:
                yield rows.slice(0, count)
            return


class _Joining:
    """`dropped` counts the rows that were left out because an earlier archive has them too."""

    def __init__(
        self,
        holding: Holding,
        partitions: Sequence[Partition],
        span: Span,
        columns: Sequence[str] | None,
        rows_at_once: int,
    ) -> None:
        self._holding = holding
        self._partitions = partitions
        self._series = partitions[0].series
        self._dataset = DATASETS[self._series.dataset]
        self._span = span
        self._columns = columns
        self._rows_at_once = rows_at_once
        self._lanes = [lane for partition in partitions for lane in lanes_of(holding, partition, span)]
        self._archives = _in_order(self._series, self._lanes)
        self._strengths = np.array([strength(source) for source in self._archives])
        self.dropped = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        if len(self._lanes) == 1:
            yield from self._lanes[0].batches(self._holding, self._span, self._columns, self._rows_at_once)
            return
        waiting = deque(sorted(self._lanes, key=lambda lane: lane.low))
        opened: list[_Reading] = []
        while True:
            self._open(waiting, opened)
            if not opened:
                return
            limit = min(reading.last for reading in opened)
            if len(opened) == 1:
                yield from map(_without_rank, opened[0].taken_until(limit))
            else:
                yield from self._together([list(reading.taken_until(limit)) for reading in opened])
            opened = [reading for reading in opened if reading.rows is not None]

    def _open(self, waiting: deque[Lane], opened: list[_Reading]) -> None:
        """Begin to read the lanes that may have a row before the last of those that are held, of all of which the
        least is given next."""
        ranks = {source: rank for rank, source in enumerate(self._archives)}
        while waiting and (not opened or self._low(waiting[0]) <= min(reading.last for reading in opened)):
            batches = waiting.popleft().batches(self._holding, self._span, self._columns, self._rows_at_once, ranks)
            reading = _Reading(batches, self._dataset)
            if reading.rows is not None:
                opened.append(reading)

    def _low(self, lane: Lane) -> int:
        return grain_of(self._dataset, lane.low) if self._dataset.key[0] == "timestamp" else lane.low

    def _together(self, parts: Sequence[Sequence[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        """The rows of several lanes in key order."""
        some = [part for part in parts if part]
        if len(some) == 1:
            yield from map(_without_rank, some[0])
            return
        table = pa.Table.from_batches([batch for part in some for batch in part])
        table = in_key_order(table, [*self._dataset.key, RANK])
        table = self._each_once(self._without_known(table))
        yield from map(_without_rank, table.to_batches(max_chunksize=self._rows_at_once))

    def _without_known(self, table: pa.Table) -> pa.Table:
        """Without those rows of the API of which an archive has the time."""
        is_rest = self._strengths[table.column(RANK).to_numpy()] == REST
        if self._dataset.grain_us == 1 or not is_rest.any():
            return table  # equal times are equal keys
        times = grains(self._dataset, key_values(table.column("timestamp")))
        known = is_rest & np.isin(times, times[~is_rest])
        return table.filter(pa.array(~known)) if known.any() else table

    def _each_once(self, table: pa.Table) -> pa.Table:
        """Rows in the order of key and archive, without those that another one stands for."""
        repeated = repeats(table, self._dataset.key)
        if not repeated.any():
            return table
        strengths = self._strengths[table.column(RANK).to_numpy()]
        equals = repeated & (strengths[1:] == strengths[:-1])
        if self._dataset.shares_midnight:
            # Of equals the last one is given, of others the first: so the equals of each strength give way first.
            table = table.filter(pa.array(np.append(~equals, True)))
            repeated = repeats(table, self._dataset.key)
        elif equals.any():
            self._prove_identical(table, equals)
            self.dropped += int(np.count_nonzero(equals))
        return table.filter(pa.array(np.append(True, ~repeated)))

    def _prove_identical(self, table: pa.Table, repeated: npt.NDArray[np.bool_]) -> None:
        """Raises StorageError unless rows with one key are identical in every column, also in those not asked for."""
        if self._columns is not None:
            times = key_values(table.column("timestamp"))[np.append(repeated, False) | np.append(False, repeated)]
            span = Span(int(times.min()), int(times.max()) + 1)
            deque(_Joining(self._holding, self._partitions, span, None, self._rows_at_once).batches(), maxlen=0)
            return
        names = [name for name in table.column_names if name != RANK]
        different = np.flatnonzero(repeated & ~repeats(table, names))
        if len(different):
            raise self._contradiction(table.slice(int(different[0]), 2), names)

    def _contradiction(self, pair: pa.Table, names: Iterable[str]) -> StorageError:
        one, other = (self._archives[rank].key for rank in pair.column(RANK).to_pylist())
        key = ", ".join(f"{name} {pair.column(name)[0]}" for name in self._dataset.key)
        unlike = ", ".join(name for name in names if not repeats(pair, [name]).all())
        return StorageError(
            f"{self._series}: {one} and {other} contradict each other: both have a row of {key}, and they differ in "
            f"{unlike}; as published, neither can be told to be right: choose a time without this row, or wait until "
            "one of the two is published anew, which the next download takes"
        )


def _in_order(series: Series, lanes: Iterable[Lane]) -> list[Source]:
    """The strongest first, and those of one strength in order of time."""
    sources = {run.source for lane in lanes for run in lane.runs}
    return sorted(
        sources,
        key=lambda one: (strength(one), time_of(series, one).span.start_us, one.period.span, one.key),
    )


def _without_rank(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.drop_columns([RANK])
