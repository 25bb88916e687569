"""A month equals its days, where archives of both lie in `raw/`: both are read again and held against each other.

Months are known to be short or wrong where the days are whole (D4, D30), so the day is right where they differ. Rows
are compared in the order of their key, whatever that of the file is (D28); those of a day of the month are in memory.
"""

from collections.abc import Callable, Container, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import DATASETS
from core.dates import DAY_US, HOUR_US, format_us
from core.errors import MalformedArchive
from core.integrity.archives import DAY_GIVEN, MONTH_DIFFERS
from core.layout import Layout, period_in
from core.settings import QualitySettings
from core.storage.archive_csv import ArchiveCsv
from core.storage.arrays import key_values
from core.storage.repair import read_by_key
from core.storage.schema import schema_of
from core.types import Cadence, Finding, Period, Series, Span

_HELD_US: Final = HOUR_US
"""In the order of their ids, rows of a day may come a little later than those of the next one."""


def months_and_days(
    layout: Layout, quality: QualitySettings, series: Series, span: Span, given: Container[Period] = ()
) -> Iterator[Finding]:
    """The days of which the month says something else; of those `given` readers have the day's own rows. Archives that
    cannot be read are findings too (D22)."""
    names = (period_in(name.removesuffix(".zip"), series) for name in layout.archived(series) if name.endswith(".zip"))
    periods = sorted((each for each in names if each and each.span.overlaps(span)), key=lambda each: each.span)
    for month in (each for each in periods if each.cadence is Cadence.MONTHLY):
        days = {each.first: each for each in periods if each.cadence is Cadence.DAILY and month.contains(each)}
        if days:
            yield from _Month(layout, quality, series, month, given).against(
                sorted(days.values(), key=lambda d: d.first)
            )


class _Month:
    def __init__(
        self, layout: Layout, quality: QualitySettings, series: Series, month: Period, given: Container[Period]
    ) -> None:
        self._layout, self._quality, self._series, self._month = layout, quality, series, month
        self._given = given
        self._key = DATASETS[series.dataset].key
        self._schema = schema_of(DATASETS[series.dataset], series.market)

    def against(self, days: list[Period]) -> Iterator[Finding]:
        try:
            yield from self._by_key(self._month, lambda rows: list(self._of_month(rows, days)))
        except MalformedArchive as error:
            yield Finding(self._series, self._month.span, "archive-unreadable", str(error))

    def _of_month(self, rows: Iterator[pa.RecordBatch], days: list[Period]) -> Iterator[Finding]:
        waiting = {each.span.start_us // DAY_US: each for each in days}
        for number, some in _by_day(rows, waiting):
            yield from self._compare(waiting.pop(number), some)
        for day in waiting.values():
            yield from self._compare(day, self._schema.empty_table())

    def _compare(self, day: Period, month: pa.Table) -> list[Finding]:
        try:
            return self._by_key(day, lambda rows: list(self._of_day(day, rows, month)))
        except MalformedArchive as error:
            return [Finding(self._series, day.span, "archive-unreadable", str(error))]

    def _of_day(self, day: Period, rows: Iterator[pa.RecordBatch], month: pa.Table) -> Iterator[Finding]:
        """As long as the day's rows are the month's, none of them is kept."""
        kept: list[pa.RecordBatch] = []
        same = 0
        for batch in rows:
            some = _inside(batch, day.span)
            if not kept and pa.Table.from_batches([some]).equals(month.slice(same, some.num_rows)):
                same += some.num_rows
            else:
                kept.append(some)
        behind = month.slice(same)
        if kept or behind.num_rows:
            yield from self._different(day, pa.Table.from_batches(kept, self._schema).combine_chunks(), behind)

    def _by_key(self, period: Period, use: Callable[[Iterator[pa.RecordBatch]], list[Finding]]) -> list[Finding]:
        """What `use` makes of an archive's rows in the order of their key, exact duplicates once: rows that are out of
        order are sorted in a file beside the partitions, as when they were stored."""
        series, dataset = self._series, DATASETS[self._series.dataset]
        archive = ArchiveCsv(self._layout.raw(series, period), dataset, series.market, period, self._quality)
        beside = self._layout.processed(series, period)
        return read_by_key(archive, dataset, beside, lambda _archive, rows, _repairs: use(rows))

    def _different(self, day: Period, ours: pa.Table, theirs: pa.Table) -> Iterator[Finding]:
        theirs = theirs.combine_chunks()
        our_keys, their_keys = (key_values(side.column(self._key[0])) for side in (ours, theirs))
        missing, extra = np.flatnonzero(~np.isin(our_keys, their_keys)), np.flatnonzero(~np.isin(their_keys, our_keys))
        both = np.flatnonzero(np.isin(our_keys, their_keys))
        place = np.searchsorted(their_keys, our_keys[both])
        unlike = [
            (name, _unlike(ours.column(name).take(both), theirs.column(name).take(place))) for name in ours.column_names
        ]
        wrong = np.logical_or.reduce([each for _, each in unlike]) if len(both) else np.zeros(0, dtype=np.bool_)
        said = []
        if len(missing):
            said.append(f"the month lacks {len(missing)} rows, first {_at(ours, missing)}")
        if len(extra):
            said.append(f"the month has {len(extra)} rows more, first {_at(theirs, extra)}")
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            here, there = int(both[row]), int(place[row])
            pairs = [
                f"{name} {theirs.column(name)[there]} in the month, {ours.column(name)[here]} in the day"
                for name, each in unlike
                if each[row]
            ]
            said.append(f"{int(wrong.sum())} rows differ, first {_at(ours, both[wrong])}: {', '.join(pairs)}")
        count = len(missing) + len(extra) + int(wrong.sum())
        if count:
            times = [ours.column("timestamp").take(rows) for rows in (missing, both[wrong])]
            times.append(theirs.column("timestamp").take(extra))
            every = np.concatenate([each.cast(pa.int64()).to_numpy() for each in times])
            span = Span(int(every.min()), int(every.max()) + 1)
            cause = DAY_GIVEN if day in self._given else None
            detail = f"{day.label}: {'; '.join(said)}; the day is right"
            yield Finding(self._series, span, MONTH_DIFFERS, detail, count, cause)


def _by_day(rows: Iterator[pa.RecordBatch], wanted: Container[int]) -> Iterator[tuple[int, pa.Table]]:
    """The rows of those days, each day by itself; they come in the order of their key."""
    held: dict[int, list[pa.RecordBatch]] = {}
    for batch in rows:
        times = batch.column("timestamp").cast(pa.int64()).to_numpy()
        days = times // DAY_US
        for day in np.unique(days).tolist():
            if day in wanted:
                held.setdefault(day, []).append(batch.filter(pa.array(days == day)))
        for day in [each for each in held if (each + 1) * DAY_US + _HELD_US < int(times.min())]:
            yield day, pa.Table.from_batches(held.pop(day))
    for day in sorted(held):
        yield day, pa.Table.from_batches(held.pop(day))


def _inside(batch: pa.RecordBatch, span: Span) -> pa.RecordBatch:
    times = batch.column("timestamp").cast(pa.int64()).to_numpy()
    inside = (times >= span.start_us) & (times < span.end_us)
    return batch if inside.all() else batch.filter(pa.array(inside))


def _unlike(one: pa.ChunkedArray, other: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    a, b = one.to_numpy(), other.to_numpy()
    unlike: npt.NDArray[np.bool_] = (a != b) & ((a == a) | (b == b))  # NaN is null here, on both sides
    return unlike


def _at(rows: pa.Table, which: npt.NDArray[np.int64]) -> str:
    return format_us(int(rows.column("timestamp").cast(pa.int64())[int(which[0])].as_py()))
