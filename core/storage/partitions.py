"""Which partitions a series has, from the names of its files and their footers."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from core.errors import FilesChanged
from core.layout import Layout
from core.storage.files import every_version_of, files_of, stamps_of
from core.storage.footer import is_outdated, partition_at
from core.types import Partition, PartitionFacts, Period, Series, Span

LOOKS: Final = 6
"""How often partitions are looked up before those that keep changing are an error."""
P = TypeVar("P", Partition, PartitionFacts)
T = TypeVar("T")


def outdated_in(layout: Layout, series: Series, partitions: Sequence[Partition]) -> list[Path]:
    """Files of an earlier version, under any name it gave them, whose archives these partitions have."""
    have = [source.period for partition in partitions for source in partition.sources]
    own = {partition.period for partition in partitions}
    found = [
        (period, Path(entry.path)) for period, entry in every_version_of(layout, series).items() if period not in own
    ]
    return [path for period, path in found if covers(period, have) and is_outdated(path)]


def partitions_of(layout: Layout, series: Series, span: Span | None = None) -> tuple[Partition, ...]:
    """The partitions that overlap `span`, in order of time. One whose archives a longer one has too is left out.

    They are those of one moment: where an update has changed any meanwhile, all are looked at again. Raises
    StorageError if one of them cannot be read, FilesChanged if they keep changing.
    """
    for _ in range(LOOKS):
        files = files_of(layout, series)
        chosen = [period for period in files if span is None or period.span.overlaps(span)]
        read = [partition_at(files[period], series, period) for period in chosen]
        found = [partition for partition in read if partition is not None]
        if len(found) == len(read) and stamps_of(layout, series, span) == {one.period: one.stamp for one in found}:
            return uncovered(found)
    raise keeps_changing(series)


def looked_again(look: Callable[[], T]) -> T:
    """What `look` gives, called again where files were replaced while it read. Raises FilesChanged if they always are,
    and whatever else `look` raises."""
    for _ in range(LOOKS - 1):
        with contextlib.suppress(FilesChanged):
            return look()
    return look()


def keeps_changing(series: Series) -> FilesChanged:
    """Why a series cannot be read now."""
    return FilesChanged(f"the files of {series} keep changing while they are read; try again after the update")


def uncovered(partitions: Iterable[Partition]) -> tuple[Partition, ...]:
    """In order of time, without those whose archives a longer one has too."""
    ordered = sorted(partitions, key=lambda one: longer_first(one.period))
    return tuple(without_covered(ordered))


def covers(period: Period, sources: Iterable[Period]) -> bool:
    """Whether any of the sources has what an archive of that period has, unless that one is kept beside."""
    return any(source.contains(period) for source in sources)


def longer_first(period: Period) -> tuple[int, int]:
    """Orders periods by their beginnings, and those that begin together so that one stands before what lies in it."""
    return period.span.start_us, -period.span.end_us


def without_covered(partitions: Iterable[P]) -> Iterator[P]:
    """Without those whose archives a longer one has too; longer ones come first.

    What is kept beside a longer archive is covered by nothing but itself, where it was merged into a longer partition.
    """
    around: list[P] = []
    for one in partitions:
        around = [other for other in around if other.period.contains(one.period)]
        if not _is_covered(one, around):
            yield one
        around.append(one)


def _is_covered(one: Partition | PartitionFacts, around: Sequence[Partition | PartitionFacts]) -> bool:
    again = {period for other in around for period in other.beside}
    have = [*again, *(period for other in around for period in other.plain)]
    return bool(have) and all(covers(period, have) for period in one.plain) and again.issuperset(one.beside)
