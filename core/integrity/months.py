"""A month equals its days, where archives of both lie in `raw/`: both are read again and held against each other.

Months are known to be short or wrong where the days are whole (D4, D30), so the day is right where they differ.
"""

from collections.abc import Container, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import DATASETS
from core.dates import DAY_US, format_us
from core.errors import MalformedArchive
from core.integrity.archives import DAY_GIVEN, MONTH_DIFFERS
from core.layout import Layout, period_in
from core.settings import QualitySettings
from core.storage.archive_csv import ArchiveCsv
from core.storage.order import in_key_order, key_values, repeats
from core.types import Cadence, Finding, Period, Series, Span

_DAYS_HELD: Final = 2
"""Rows of a day may come a little later than those of the next one: a day is complete when so many have begun."""


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

    def against(self, days: list[Period]) -> Iterator[Finding]:
        waiting = {each.span.start_us // DAY_US: each for each in days}
        try:
            for number, rows in self._by_day():
                day = waiting.pop(number, None)
                if day is not None:
                    yield from self._compare(day, rows)
        except MalformedArchive as error:
            yield Finding(self._series, self._month.span, "archive-unreadable", str(error))
            return
        for day in waiting.values():
            yield from self._compare(day, None)

    def _by_day(self) -> Iterator[tuple[int, pa.Table]]:
        """The month's rows, a day at a time."""
        held: dict[int, list[pa.RecordBatch]] = {}
        for batch in self._read(self._month).batches():
            days = batch.column("timestamp").cast(pa.int64()).to_numpy() // DAY_US
            for day in np.unique(days).tolist():
                held.setdefault(day, []).append(batch.filter(pa.array(days == day)))
            for day in [each for each in held if each < int(days.min()) - _DAYS_HELD]:
                yield day, pa.Table.from_batches(held.pop(day))
        for day, parts in sorted(held.items()):
            yield day, pa.Table.from_batches(parts)

    def _read(self, period: Period) -> ArchiveCsv:
        series = self._series
        return ArchiveCsv(
            self._layout.raw(series, period), DATASETS[series.dataset], series.market, period, self._quality
        )

    def _compare(self, day: Period, month: pa.Table | None) -> Iterator[Finding]:
        try:
            batches = list(self._read(day).batches())
        except MalformedArchive as error:
            yield Finding(self._series, day.span, "archive-unreadable", str(error))
            return
        times = [batch.column("timestamp").cast(pa.int64()).to_numpy() for batch in batches]
        inside = [
            batch.filter(pa.array((each >= day.span.start_us) & (each < day.span.end_us)))
            for batch, each in zip(batches, times, strict=True)
        ]
        ours = self._ordered(pa.Table.from_batches(inside))
        theirs = ours.slice(0, 0) if month is None else self._ordered(month)
        if not ours.equals(theirs):
            yield from self._different(day, ours, theirs)

    def _ordered(self, rows: pa.Table) -> pa.Table:
        """In key order, exact duplicates once."""
        ordered = in_key_order(rows, self._key)
        if ordered.num_rows > 1:
            ordered = ordered.filter(pa.array(np.append(True, ~repeats(ordered, ordered.column_names))))
        return ordered.combine_chunks()

    def _different(self, day: Period, ours: pa.Table, theirs: pa.Table) -> Iterator[Finding]:
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


def _unlike(one: pa.ChunkedArray, other: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    a, b = one.to_numpy(), other.to_numpy()
    unlike: npt.NDArray[np.bool_] = (a != b) & ((a == a) | (b == b))  # NaN is null here, on both sides
    return unlike


def _at(rows: pa.Table, which: npt.NDArray[np.int64]) -> str:
    return format_us(int(rows.column("timestamp").cast(pa.int64())[int(which[0])].as_py()))
