"""What a series has on disk, merged or not: which partitions count, and whose rows each of them has."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.datasets import DATASETS
from core.dates import day_of
from core.errors import StorageError
from core.layout import Layout, home_of
from core.storage.files import files_of
from core.storage.footer import is_outdated, partition_at
from core.storage.partitions import longer_first, uncovered
from core.types import Cadence, Partition, Period, Series, Source


@dataclass(frozen=True, slots=True)
class Survey:
    """The partitions of a series, in order of time.

    `covered` are those whose rows a longer one has too: readers leave them out. `damaged` cannot be read, and why; so
    can those of an earlier version, until they are made again from the archives. `dropped` went, and others have all
    rows of theirs.
    """

    partitions: tuple[Partition, ...]
    covered: tuple[Partition, ...]
    damaged: Mapping[Period, StorageError]
    dropped: frozenset[Period] = frozenset()

    def moved(self, gone: Iterable[Partition]) -> list[Partition]:
        """Of partitions that have gone, those whose rows are here: merged, split, or those of a longer archive."""
        here = [(time_of(one.series, source), source) for one in self.partitions for source in one.sources]
        by_archive = {(source.key, time) for time, source in here}
        by_time = defaultdict(set)
        for time, source in here:
            if not source.is_rest:
                by_time[time].add(source.period)

        def is_here(series: Series, source: Source) -> bool:
            time = time_of(series, source)
            around = {period for cadence in Cadence for period in by_time.get(time.within(cadence), ())}
            if source.is_rest and around:
                return True  # of these, rows are kept only as far as no archive has them
            longer = [period for period in around if period != source.period and period.contains(source.period)]
            return (source.key, time) in by_archive or (bool(longer) and not source.is_beside)

        return [
            one
            for one in gone
            if one.period in self.dropped or all(is_here(one.series, source) for source in one.sources)
        ]


def survey(layout: Layout, series: Series) -> Survey:
    """All partitions of a series. Raises StorageError if its folder cannot be read."""
    found = []
    damaged = {}
    for period, path in sorted(files_of(layout, series).items()):
        try:
            partition = partition_at(path, series, period)
        except StorageError as error:
            damaged[period] = error
            continue
        if partition is not None:
            found.append(partition)
    return Survey(*divided(found), damaged)


def near(layout: Layout, series: Series, period: Period) -> tuple[tuple[Partition, ...], tuple[Partition, ...]]:
    """The partitions that may have rows of archives of that home, and those of them that are covered.

    Those are its own, the shorter ones in it and the longer ones around it, and all that lie in a merged one of these.
    One of an earlier version counts for nothing: it is made again from the archives. Raises StorageError.
    """
    found = _around(layout, series, period)
    merged = [one.period for one in found if is_merged(one)]
    widest = min((period, *merged), key=longer_first)
    return divided(found if widest == period else _around(layout, series, widest))


def divided(found: Iterable[Partition]) -> tuple[tuple[Partition, ...], tuple[Partition, ...]]:
    """The partitions that count and those whose rows a longer one has too, each in order of time."""
    here = sorted(found, key=lambda one: longer_first(one.period))
    counting = uncovered(here)
    periods = {one.period for one in counting}
    return counting, tuple(one for one in here if one.period not in periods)


def is_by_day(series: Series) -> bool:
    """Whether `store` makes a partition for each day, so that a month's archive is split."""
    return DATASETS[series.dataset].closed is Cadence.DAILY


def time_of(series: Series, source: Source) -> Period:
    """The time whose rows a source of a partition is: its archive's, and the day where archives are split by day."""
    span = source.period.span
    if source.period.cadence is Cadence.DAILY or not is_by_day(series):
        return source.period
    return Period.day(day_of(min(max(source.last_us, span.start_us), span.end_us - 1)))


def is_merged(partition: Partition) -> bool:
    """Whether it has rows that `store` would have put into a shorter one."""
    series = partition.series
    return any(home_of(series, time_of(series, source)) != partition.period for source in partition.sources)


def _around(layout: Layout, series: Series, period: Period) -> list[Partition]:
    files = files_of(layout, series)
    read = []
    for other in sorted(files):
        if other.contains(period) or period.contains(other):
            try:
                read.append(partition_at(files[other], series, other))
            except StorageError:
                if not is_outdated(files[other]):
                    raise
    return [partition for partition in read if partition is not None]
