"""Rows that say "done" while their partitions are not where the catalog has them: lost, or only elsewhere."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.download.tracker import DownloadTracker
from core.errors import StorageError
from core.layout import Layout
from core.types import ArchiveFile, Series

if TYPE_CHECKING:  # a download alone needs no Arrow
    from core.storage.manager import StorageManager
    from core.storage.survey import Survey


def not_held(
    storage: "StorageManager", tracker: DownloadTracker, layout: Layout, rows: Mapping[int, ArchiveFile]
) -> dict[int, ArchiveFile]:
    """Those of the rows whose partitions are not all there.

    Where the catalog names a partition that has gone, the footers are asked first: somebody may have been killed
    between merging partitions and saying so.
    """
    missing = _missing(storage, tracker, rows)
    for series in {file.series for file in missing.values()}:
        try:
            with storage.turn(series):
                put_right(storage, tracker, layout, series)
        except StorageError:
            continue  # storing these archives again will say what is wrong
    return _missing(storage, tracker, missing) if missing else {}


def put_right(storage: "StorageManager", tracker: DownloadTracker, layout: Layout, series: Series) -> "Survey":
    """Finish what somebody was killed at: partitions whose rows a longer one has go, and the catalog says what is here.

    What was lost stays in the catalog, so that it is missed. Call it in a turn of the series.
    """
    found = storage.tidied(series)
    known = {partition.period: partition for partition in tracker.catalog(layout, series)}
    here = {partition.period: partition for partition in found.partitions}
    changed = [partition for period, partition in here.items() if known.get(period) != partition]
    gone = [partition for period, partition in known.items() if period not in here and period not in found.damaged]
    moved = [(series, partition.period) for partition in found.moved(gone)]
    if changed or moved:
        tracker.enter(changed, moved)
    return found


def _missing(
    storage: "StorageManager", tracker: DownloadTracker, rows: Mapping[int, ArchiveFile]
) -> dict[int, ArchiveFile]:
    """Those of the rows for which the catalog names a partition that is not there."""
    homes = tracker.homes(rows.values())
    here = {series: storage.paths(series) for series in {file.series for file in rows.values()}}
    return {
        row: file
        for row, file in rows.items()
        if any(period not in here[series] for series, period in homes.get(file.key, ()))
    }
