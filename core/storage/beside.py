"""Rows that count besides a longer archive: where a month and a day differ, and where only the exchange's API has them.

Every archive is kept as published. A day's archive whose rows the month's has too, all of them and the same, is stored
with the month; one that has others is kept beside it, and where both have a row, the day's is given to readers: of
months it is known that they are short or wrong where the days are right. Of the API's answers only the rows are kept
that no archive has, so an archive that comes later takes their place.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import Dataset
from core.storage.arrays import key_values
from core.storage.digest import content_sha256
from core.storage.order import in_key_order, repeats
from core.types import Cadence, Source, Span

REST: Final = 2
"""The `strength` of the API's rows."""
NEAR_US: Final = 1_000_000
"""Rows with the id of a trade may have times that differ by so much: an archive's may be cut to the millisecond."""
_SIDE = "\0side"
_GRAIN = "\0grain"


def strength(source: Source) -> int:
    """Whose row is given where several have one: the least is the strongest. A day, a longer archive, the API."""
    return REST if source.is_rest else int(source.period.cadence is not Cadence.DAILY)


def place_of(source: Source) -> int:
    """Orders the sources of one time in a partition: longer archives, the day's, the API."""
    return 2 if source.is_rest else int(source.period.cadence is Cadence.DAILY)


def grain_of(dataset: Dataset, time_us: int) -> int:
    """Times with one such number are the same where the API is held against archives; it rises with the time.

    It counts grains to the nearest one, for a settlement that is stamped a little early is that of the full hour, too.
    """
    return (time_us + dataset.grain_us // 2) // dataset.grain_us


def grains(dataset: Dataset, times_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`grain_of` each time."""
    return (times_us + dataset.grain_us // 2) // dataset.grain_us


def first_keys(dataset: Dataset, batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """The first column of the key, a time to its grain."""
    values: npt.NDArray[np.int64] = key_values(batch.column(dataset.key[0]))
    return grains(dataset, values) if dataset.key[0] == "timestamp" else values


def is_near(one: Source, other: Source, dataset: Dataset) -> bool:
    """Whether one may have rows that the other has too, by their times."""
    slack_us = dataset.grain_us + NEAR_US
    return one.first_us <= other.last_us + slack_us and other.first_us <= one.last_us + slack_us


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows of one side held against those of another: `lacking` of them the other lacks, `more` it has besides, and
    `changed` both have with other content. `rows` are the lacking ones, where they were asked for."""

    lacking: int
    more: int
    changed: int
    rows: tuple[pa.RecordBatch, ...] = ()


class Comparison:
    """Holds rows, in key order, against others that come in key order batch by batch; little of either is in memory.

    Times of one grain of the dataset (`grain_of`) are the same where `by_grain`; `keeps` the lacking rows.
    """

    def __init__(
        self, dataset: Dataset, rows: Iterable[pa.RecordBatch], keeps: bool = False, by_grain: bool = False
    ) -> None:
        self._key = [_GRAIN if by_grain and name == "timestamp" else name for name in dataset.key]
        self._dataset = dataset
        self._rows = iter(rows)
        self._ahead: pa.RecordBatch | None = None
        self._held: list[pa.RecordBatch] = []
        self._keeps = keeps
        self._kept: list[pa.RecordBatch] = []
        self._lacking = self._more = self._changed = 0

    def add(self, others: pa.RecordBatch) -> None:
        """The next of the other rows."""
        come = pa.concat_batches([*self._held, self._graded(others)])
        firsts = self._firsts(come)
        cut = int(np.searchsorted(firsts, firsts[-1], side="left"))  # more may come with the key of the last
        if cut:
            self._compare(list(self._taken_below(int(firsts[cut]))), come.slice(0, cut))
        self._held = [come.slice(cut)]

    def finish(self) -> Difference:
        """What all of it came to."""
        held = pa.concat_batches(self._held) if self._held else None
        if held is not None and held.num_rows:
            limit = int(self._firsts(held)[-1]) + 1
            self._compare(list(self._taken_below(limit)), held)
        for batch in self._taken_below(None):
            self._compare([batch], batch.slice(0, 0))
        return Difference(self._lacking, self._more, self._changed, tuple(self._kept))

    def _taken_below(self, limit: int | None) -> Iterator[pa.RecordBatch]:
        """Takes out the rows whose first key is less than `limit`; None: all."""
        while True:
            batch = self._ahead
            if batch is None:
                read = next(self._rows, None)
                if read is None:
                    return
                batch = self._graded(read)
            cut = batch.num_rows if limit is None else int(np.searchsorted(self._firsts(batch), limit, side="left"))
            if cut:
                yield batch.slice(0, cut)
            self._ahead = batch.slice(cut) if cut < batch.num_rows else None
            if self._ahead is not None:
                return

    def _compare(self, ours: list[pa.RecordBatch], others: pa.RecordBatch) -> None:
        """All rows of a stretch of keys, of both sides."""
        count = sum(batch.num_rows for batch in ours)
        sides = pa.array(np.repeat(np.array([0, 1], dtype=np.int8), [count, others.num_rows]))
        table = pa.Table.from_batches([*ours, others]).append_column(_SIDE, sides)
        table = in_key_order(table, [*self._key, _SIDE])
        paired = repeats(table, self._key) if table.num_rows else np.zeros(0, dtype=np.bool_)
        names = [name for name in table.column_names if name not in (_SIDE, _GRAIN)]
        if paired.any():
            self._changed += int(np.count_nonzero(paired & ~repeats(table, names)))
        pairs = int(np.count_nonzero(paired))
        self._lacking += count - pairs
        self._more += others.num_rows - pairs
        if self._keeps and count > pairs:
            alone = (table.column(_SIDE).to_numpy() == 0) & ~np.append(paired, False)
            self._kept += table.filter(pa.array(alone)).select(names).combine_chunks().to_batches()

    def _graded(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if _GRAIN not in self._key:
            return batch
        times = batch.column("timestamp").cast(pa.int64()).to_numpy()
        return batch.append_column(_GRAIN, pa.array(grains(self._dataset, times)))

    def _firsts(self, batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
        values: npt.NDArray[np.int64] = key_values(batch.column(self._key[0]))
        return values


def settled(
    dataset: Dataset, source: Source, rows: Iterable[pa.RecordBatch], others: Iterable[pa.RecordBatch]
) -> tuple[Source, tuple[pa.RecordBatch, ...] | None] | None:
    """What counts of a source beside stronger or longer rows: None if nothing does.

    Of an archive all or nothing (the rows are None then, as they are); of the API the rows that the others lack.
    """
    comparison = Comparison(dataset, rows, keeps=source.is_rest, by_grain=source.is_rest)
    for batch in others:
        if batch.num_rows:
            comparison.add(batch)
    found = comparison.finish()
    if not source.is_rest:
        marked = replace(source, added=found.lacking, changed=found.changed)
        return (marked, None) if marked.is_beside else None
    return (of_rows(source, found.rows), found.rows) if found.rows else None


def of_rows(source: Source, batches: Iterable[pa.RecordBatch]) -> Source:
    """An answer of the API as the source of these rows, at least one: all that is said of it is said of them.

    `sha256` is their content's (`core.storage.digest.content_sha256`); `unit` is "us" where a time of theirs is finer
    than a millisecond, else "ms".
    """
    held = list(batches)
    bounds = [pc.min_max(batch.column("timestamp").cast(pa.int64())).as_py() for batch in held]
    rows = sum(batch.num_rows for batch in held)
    first, last = min(each["min"] for each in bounds), max(each["max"] for each in bounds)
    unit = "us" if any(map(_has_microseconds, held)) else "ms"
    sha256 = content_sha256(pa.Table.from_batches(held))
    return replace(source, sha256=sha256, unit=unit, rows=rows, first_us=first, last_us=last, added=rows)


def _has_microseconds(batch: pa.RecordBatch) -> bool:
    times = [values.cast(pa.int64()).to_numpy() for values in batch.columns if pa.types.is_timestamp(values.type)]
    return any(bool((values % 1000).any()) for values in times)


def around(source: Source, batches: Iterable[pa.RecordBatch], dataset: Dataset) -> Iterator[pa.RecordBatch]:
    """Those rows among which any of the source's can be."""
    slack_us = dataset.grain_us + NEAR_US
    span = Span(source.first_us - slack_us, source.last_us + slack_us)
    for batch in batches:
        times = batch.column("timestamp").cast(pa.int64())
        inside = pc.and_(pc.greater_equal(times, span.start_us), pc.less_equal(times, span.end_us))
        some = batch.filter(inside)
        if some.num_rows:
            yield some
