"""Rows that say "done" while their partitions are not where the catalog has them: lost, or only elsewhere."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from core.download.tracker import DownloadTracker
from core.errors import StorageError
from core.layout import Layout
from core.types import ArchiveFile, Partition, Series

if TYPE_CHECKING:  # a download alone needs no Arrow
    from core.storage.manager import StorageManager
    from core.storage.survey import Survey


def not_held(
    storage: "StorageManager", tracker: DownloadTracker, layout: Layout, rows: Mapping[int, ArchiveFile]
) -> dict[int, ArchiveFile]:
    """Those of the rows whose partitions are not all there.

    Where the catalog names a partition that has gone, the footers are asked: somebody may have been killed between
    merging partitions and saying so. Then the catalog is put right, and nothing was lost.
    """
    homes = tracker.homes(rows.values())
    here = {series: storage.paths(series) for series in {file.series for file in rows.values()}}
    gone = {
        row: file
        for row, file in rows.items()
        if any(period not in here[series] for series, period in homes.get(file.key, ()))
    }
    for series in {file.series for file in gone.values()}:
        before = _rows_by_archive(tracker.catalog(layout, series))
        try:
            with storage.turn(series):
                after = _rows_by_archive(put_right(storage, tracker, layout, series).partitions)
        except StorageError:
            continue  # storing these archives again will say what is wrong
        held = {key for (key, digest), count in before.items() if after[key, digest] == count}
        gone = {row: file for row, file in gone.items() if file.key not in held}
    return gone


def put_right(storage: "StorageManager", tracker: DownloadTracker, layout: Layout, series: Series) -> "Survey":
    """Finish what somebody was killed at: partitions whose rows a longer one has go, and the catalog says what is here.

    Call it in a turn of the series.
    """
    found = storage.tidied(series)
    known = {partition.period: partition for partition in tracker.catalog(layout, series)}
    here = {partition.period: partition for partition in found.partitions}
    changed = [partition for period, partition in here.items() if known.get(period) != partition]
    gone = [(series, period) for period in known if period not in here and period not in found.damaged]
    if changed or gone:
        tracker.enter(changed, gone)
    return found


def _rows_by_archive(partitions: Iterable[Partition]) -> Counter[tuple[str, str]]:
    """How many rows of an archive's bytes are in these partitions."""
    rows: Counter[tuple[str, str]] = Counter()
    for partition in partitions:
        for source in partition.sources:
            rows[source.key, source.sha256] += source.rows
    return rows
