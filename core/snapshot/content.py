"""Digests of rows, whatever the files look like in which they lie.

A digest covers the rows of one series and one calendar month (where archives are stored by day: one day) in the order
of their key, all stored columns, each value in its 64 bits (true and false in 8, words in UTF-8), nulls by their
places. How rows are cut into batches, row groups, partitions and archives, and how they are packed, leaves no trace.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import DATASETS
from core.dates import DAY_US, day_of
from core.errors import StorageError
from core.layout import cadences_of
from core.snapshot.lock import Content
from core.storage.digest import Checksum
from core.storage.schema import schema_of
from core.types import Cadence, Period, Series, Span

_METHOD: Final = "tapevault rows 1"
"""Part of every digest; raised when the same rows would come to another one."""


def cadence_of(series: Series) -> Cadence:
    """How much time one digest covers: a day where archives are stored by day, else a month."""
    return Cadence.DAILY if cadences_of(series)[0] is Cadence.DAILY else Cadence.MONTHLY


def periods_in(series: Series, span: Span) -> Iterator[Period]:
    """The periods of a series' digests that overlap a span, in order."""
    if span.start_us >= span.end_us:
        return
    numbers = _numbers(series, np.array([span.start_us, span.end_us - 1]))
    yield from (_period(series, number) for number in range(int(numbers[0]), int(numbers[1]) + 1))


def contents_of(series: Series, batches: Iterable[pa.RecordBatch]) -> tuple[Content, ...]:
    """The digests of rows that come in the order of their key with all stored columns, by period in order of time.

    Raises StorageError if they have other columns.
    """
    schema = schema_of(DATASETS[series.dataset], series.market)
    found: dict[int, _Unit] = {}
    for batch in batches:
        rows = _typed(series, batch, schema)
        times = rows.column("timestamp").cast(pa.int64()).to_numpy()
        numbers = _numbers(series, times)
        starts = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(times)]
        for start, end in pairwise(starts):
            if start < end:
                unit = found.setdefault(int(numbers[start]), _Unit(schema))
                unit.add(rows.slice(start, end - start), times[start:end])
    return tuple(found[number].content(_period(series, number)) for number in sorted(found))


class _Unit:
    """The rows of one period, as they come."""

    def __init__(self, schema: pa.Schema) -> None:
        self._names = schema.names
        self._checksums = [Checksum() for _ in schema.names]
        self._rows = 0
        self._first_us = self._last_us = -1

    def add(self, rows: pa.RecordBatch, times: npt.NDArray[np.int64]) -> None:
        for checksum, values in zip(self._checksums, rows.columns, strict=True):
            checksum.add(values, self._rows)
        first_us, last_us = int(times.min()), int(times.max())
        self._first_us = min(self._first_us, first_us) if self._rows else first_us
        self._last_us = max(self._last_us, last_us)
        self._rows += rows.num_rows

    def content(self, period: Period) -> Content:
        digest = hashlib.blake2b(f"{_METHOD} {self._rows}\n".encode(), digest_size=16)
        for name, checksum in zip(self._names, self._checksums, strict=True):
            digest.update(f"{name} {' '.join(checksum.parts())}\n".encode())
        return Content(period, self._rows, self._first_us, self._last_us, digest.hexdigest())


def _typed(series: Series, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema.equals(schema):
        return batch
    try:
        return batch.select(schema.names).cast(schema)
    except (KeyError, pa.ArrowException) as error:
        raise StorageError(f"{series}: its rows have other columns than they should ({error})") from error


def _numbers(series: Series, times_us: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Of each time the day or the month, counted from 1970."""
    if cadence_of(series) is Cadence.DAILY:
        return times_us // DAY_US
    return times_us.view("datetime64[us]").astype("datetime64[M]").astype(np.int64)


def _period(series: Series, number: int) -> Period:
    if cadence_of(series) is Cadence.DAILY:
        return Period.day(day_of(number * DAY_US))
    return Period.month(1970 + number // 12, number % 12 + 1)
