"""Which partitions a series has, from the names in its folder and the footers of the files."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.errors import storage_error
from core.layout import Layout, cadences_of, period_in
from core.storage.footer import partition_at
from core.types import Cadence, Partition, Period, Series, Span


def files_of(layout: Layout, series: Series) -> dict[Period, Path]:
    """The files of a series by their period. Raises StorageError if its folder cannot be read."""
    folder = layout.processed_folder(series)
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise storage_error(error, folder) from error
    periods = {name: period_in(name.removesuffix(".parquet"), series) for name in names if name.endswith(".parquet")}
    cadences = list(Cadence)[list(Cadence).index(cadences_of(series)[1]) :]  # merged ones are longer than all others
    return {
        period: folder / name for name, period in periods.items() if period is not None and period.cadence in cadences
    }


def partitions_of(layout: Layout, series: Series, span: Span | None = None) -> tuple[Partition, ...]:
    """The partitions that overlap `span`, in order of time. One whose archives a longer one has too is left out.

    Raises StorageError if one of them cannot be read.
    """
    files = files_of(layout, series)
    chosen = [period for period in files if span is None or period.span.overlaps(span)]
    read = [partition_at(files[period], series, period) for period in sorted(chosen, key=longer_first)]
    found = [partition for partition in read if partition is not None]
    return tuple(without_covered(found))


def covers(period: Period, sources: Iterable[Period]) -> bool:
    """Whether any of the sources has what an archive of that period has."""
    return any(source.contains(period) for source in sources)


def longer_first(period: Period) -> tuple[int, int]:
    """Orders periods by their beginnings, and those that begin together so that one stands before what lies in it."""
    return period.span.start_us, -period.span.end_us


def without_covered(partitions: Iterable[Partition]) -> Iterator[Partition]:
    """Without those whose archives a longer one has too; longer ones come first."""
    around: list[Partition] = []
    for one in partitions:
        around = [other for other in around if other.period.contains(one.period)]
        have = [source.period for other in around for source in other.sources]
        if not (have and all(covers(source.period, have) for source in one.sources)):
            yield one
        around.append(one)
