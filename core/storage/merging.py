"""Partitions become one longer partition, or a merged one becomes what it was made of: proved before anything goes.

The new file is written by the writer of all partitions, read back from disk, and held against the rows as they were
read: count, and for each column nulls, least and greatest value and a checksum of all values in their order. Then it
is renamed, and only then what it was made of is deleted. Whenever this is cut short, readers see each row once: until
the rename the new file has no name, and behind it what is left of the old ones is covered (`core.storage.partitions`).
Callers hold the lock of the series (`core.storage.writing.taking_turns`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import pyarrow as pa

from core.errors import StorageError, storage_error
from core.layout import Layout, home_of
from core.storage.digest import Digest
from core.storage.draft import unlink
from core.storage.footer import WRITER, facts_of, partition_at
from core.storage.holding import Holding
from core.storage.order import row_groups
from core.storage.output import Output
from core.storage.survey import Survey, is_by_day, is_merged, time_of
from core.types import Cadence, Partition, Period, Series, Source


@dataclass(frozen=True, slots=True)
class Group:
    """Partitions that fit into one of `period`; `sizes` are their files' in bytes."""

    series: Series
    period: Period
    partitions: tuple[Partition, ...]
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        return sum(self.sizes)


@dataclass(frozen=True, slots=True)
class _Run:
    """The rows of one source: those of its partition from `first` to before `end`."""

    partition: Partition
    source: Source
    first: int
    end: int

    @property
    def time(self) -> Period:
        return time_of(self.partition.series, self.source)


def groups_of(survey: Survey, most_bytes: int, today: date) -> Iterator[Group]:
    """What can be merged: all partitions of a year, else all of a month, if together they have at most so many bytes.

    The period has to be over and none of its files damaged. Raises StorageError if a size cannot be read.
    """
    sizes = {one.period: _size_of(one) for one in survey.partitions}
    for year in sorted({one.period.within(Cadence.YEARLY) for one in survey.partitions}):
        yield from _groups_in(year, survey, sizes, most_bytes, today)


def smaller_groups(group: Group, most_bytes: int) -> Iterator[Group]:
    """The months of a group, where the year has turned out too large."""
    sizes = dict(zip((one.period for one in group.partitions), group.sizes, strict=True))
    if group.period.cadence is Cadence.YEARLY:
        yield from _months_in(Survey(group.partitions, (), {}), sizes, most_bytes, date.max)


def merged(
    layout: Layout, period: Period, partitions: Sequence[Partition], group_rows: int, most_bytes: int | None = None
) -> Partition | None:
    """One partition out of these, which go; None if it is larger than `most_bytes`, and they stay.

    Raises StorageError, DiskFull.
    """
    runs = sorted((run for one in partitions for run in _runs_of(one)), key=lambda run: run.time.span)
    for one, other in pairwise(run for run in runs if not run.source.is_beside):
        if one.time.span.overlaps(other.time.span):
            raise StorageError(
                f"{one.partition.path} and {other.partition.path} both have rows of {other.time.label}; delete one and "
                "run the download again"
            )
    whole = _write(layout, period, runs, group_rows, most_bytes=most_bytes)
    if whole is not None:
        remove([one for one in partitions if one.period != period])
    return whole


def opened(layout: Layout, partitions: Sequence[Partition], group_rows: int) -> list[Partition]:
    """The same rows, none of them merged: what `store` would have made of their archives.

    Raises StorageError, DiskFull.
    """
    left = list(partitions)
    found: list[Partition] = []
    while left:
        one = left.pop(0)
        within = [other for other in left if one.period.contains(other.period)]
        if not is_merged(one):
            found.append(one)
            continue
        left = [other for other in left if other not in within]
        whole = merged(layout, one.period, [one, *within], group_rows) if within else one
        assert whole is not None
        found += _split(layout, whole, group_rows)
    return found


def remove(partitions: Sequence[Partition]) -> None:
    """Delete partitions whose rows another one has. Raises StorageError."""
    for one in partitions:
        unlink(one.path)


def _groups_in(
    year: Period, survey: Survey, sizes: Mapping[Period, int], most_bytes: int, today: date
) -> Iterator[Group]:
    group = _group(year, survey, sizes, most_bytes, today)
    if group is not None:
        yield group
    else:
        inside = tuple(one for one in survey.partitions if year.contains(one.period))
        yield from _months_in(Survey(inside, (), survey.damaged), sizes, most_bytes, today)


def _months_in(survey: Survey, sizes: Mapping[Period, int], most_bytes: int, today: date) -> Iterator[Group]:
    shorter = [one.period for one in survey.partitions if one.period.cadence is not Cadence.YEARLY]
    for month in sorted({period.within(Cadence.MONTHLY) for period in shorter}):
        group = _group(month, survey, sizes, most_bytes, today)
        if group is not None:
            yield group


def _group(period: Period, survey: Survey, sizes: Mapping[Period, int], most_bytes: int, today: date) -> Group | None:
    inside = tuple(one for one in survey.partitions if period.contains(one.period))
    is_whole = not any(period.contains(other) or other.contains(period) for other in survey.damaged)
    group = Group(inside[0].series, period, inside, tuple(sizes[one.period] for one in inside))
    return group if period.last < today and is_whole and len(inside) > 1 and group.size <= most_bytes else None


def _split(layout: Layout, partition: Partition, group_rows: int) -> list[Partition]:
    """What a merged partition was made of. What keeps its name is written last: until then it covers the others."""
    by_home: dict[Period, list[_Run]] = {}
    begun: dict[Period, list[int]] = {}
    rows: Counter[str] = Counter()
    for run in _runs_of(partition):
        home = home_of(partition.series, run.time)
        begun.setdefault(home, []).append(rows[run.source.key])  # where row groups were cut when it was split by day
        rows[run.source.key] += run.source.rows
        by_home.setdefault(home, []).append(run)
    own = by_home.pop(partition.period, None)
    is_split = is_by_day(partition.series)
    found = [
        _made(_write(layout, home, runs, group_rows, begun[home] if is_split else ())) for home, runs in by_home.items()
    ]
    if own:
        return [_made(_write(layout, partition.period, own, group_rows)), *found]
    remove([partition])
    return found


def _runs_of(partition: Partition) -> Iterator[_Run]:
    first = 0
    for source in partition.sources:
        yield _Run(partition, source, first, first + source.rows)
        first += source.rows


def _write(
    layout: Layout,
    period: Period,
    runs: Sequence[_Run],
    group_rows: int,
    begun: Sequence[int] = (),
    most_bytes: int | None = None,
) -> Partition | None:
    """Write rows, prove that they are there, and give the file its name; None if it is larger than `most_bytes`.

    Row groups are cut through all rows, or, with `begun`, in each run as if so many rows had come before it.
    """
    series = runs[0].partition.series
    path = layout.processed(series, period)
    sources = tuple(run.source for run in runs)
    digest = Digest()
    with Output("parquet", path, series, group_rows) as output:
        cuts = zip(([run] for run in runs), begun, strict=True) if begun else [(runs, 0)]
        for some, before in cuts:
            for batch in row_groups(digest.through(_rows_of(some, group_rows)), group_rows, before):
                output.write(batch)
        output.finish(facts_of(series, period, sources))
        if most_bytes is not None and output.temporary.stat().st_size > most_bytes:
            return None
        _prove(output, series, period, runs, digest, group_rows)
        output.publish()
    return Partition(series, period, path, sources, WRITER, output.stamp)


def _prove(
    output: Output, series: Series, period: Period, runs: Sequence[_Run], wanted: Digest, group_rows: int
) -> None:
    """Raises StorageError, with what differs, unless the file that was written has these rows and says so."""
    found = Digest()
    try:
        whole = _made(partition_at(output.temporary, series, period))
        for batch in _rows_of(list(_runs_of(whole)), group_rows):
            found.add(batch)
        difference = wanted.difference(found)
        if [run.source for run in runs] != list(whole.sources):
            difference = difference or "its footer names other sources"
    except StorageError:
        difference = "it cannot be read back"
    if difference:
        raise StorageError(
            f"{series} {period.label}: what was written is not what was read ({difference}); nothing was changed. "
            "Check disk and memory, and try again"
        )


def _rows_of(runs: Sequence[_Run], rows_at_once: int) -> Iterator[pa.RecordBatch]:
    """The rows of runs, neighbours read together."""
    start = 0
    for place in range(1, len(runs) + 1):
        if place == len(runs) or not _is_next(runs[place - 1], runs[place]):
            yield from Holding().rows(runs[start].partition, runs[start].first, runs[place - 1].end, rows_at_once)
            start = place


def _is_next(one: _Run, other: _Run) -> bool:
    return one.partition is other.partition and one.end == other.first


def _size_of(partition: Partition) -> int:
    try:
        return partition.path.stat().st_size
    except OSError as error:
        raise storage_error(error, partition.path) from error


def _made(partition: Partition | None) -> Partition:
    assert partition is not None
    return partition
