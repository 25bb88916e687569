"""What the catalog says is stored, held against the files that lie there."""

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.download.tracker import DownloadTracker
from core.errors import StorageError
from core.jobs.store import Store
from core.layout import Layout
from core.types import ArchiveFile, Series

if TYPE_CHECKING:  # a download alone needs no Arrow
    from core.storage.survey import Survey


def not_held(
    storage: Store, tracker: DownloadTracker, layout: Layout, rows: Mapping[int, ArchiveFile]
) -> dict[int, ArchiveFile]:
    """Those of the rows whose partitions, as the catalog has them, are not all there.

    The catalog then follows the files: somebody may have copied or restored some. Where it names one that has gone,
    all footers are asked first: somebody may have been killed between merging partitions and saying so.
    """
    for series in {file.series for file in rows.values()}:
        _enter_changed(storage, tracker, series)
    missing = _missing(storage, tracker, rows)
    for series in {file.series for file in missing.values()}:
        with contextlib.suppress(StorageError), storage.turn(series):  # storing these again will say what is wrong
            put_right(storage, tracker, layout, series)
    return _missing(storage, tracker, missing) if missing else {}


def put_right(storage: Store, tracker: DownloadTracker, layout: Layout, series: Series) -> "Survey":
    """Finish what somebody was killed at: partitions whose rows a longer one has go, and the catalog says what is here.

    What was lost stays in the catalog, so that it is missed. Call it in a turn of the series. Raises StorageError.
    """
    found = storage.tidied(series)
    known = {partition.period: partition for partition in tracker.catalog(layout, series)}
    here = {partition.period: partition for partition in found.partitions}
    gone = [partition for period, partition in known.items() if period not in here and period not in found.damaged]
    moved = [(series, partition.period) for partition in found.moved(gone)]
    changed = [
        partition
        for period, partition in here.items()
        if period not in known or (known[period], known[period].stamp) != (partition, partition.stamp)
    ]
    if changed or moved:
        tracker.enter(changed, moved)
    return found


def _enter_changed(storage: Store, tracker: DownloadTracker, series: Series) -> None:
    """Enter files that are not those the catalog tells of."""
    known = tracker.stamps(series)
    changed = [period for period, stamp in storage.stamps(series).items() if known.get(period) != stamp]
    if changed:
        tracker.enter(storage.readable(series, changed))


def _missing(storage: Store, tracker: DownloadTracker, rows: Mapping[int, ArchiveFile]) -> dict[int, ArchiveFile]:
    """Those of the rows for which the catalog names a partition that is not there."""
    homes = tracker.homes(rows.values())
    here = {series: storage.stamps(series) for series in {file.series for file in rows.values()}}
    return {
        row: file
        for row, file in rows.items()
        if any(period not in here[series] for series, period in homes.get(file.key, ()))
    }
