"""What the catalog says is stored, held against the files that lie there."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.download.tracker import DownloadTracker
from core.types import ArchiveFile, Period, Series, Stamp

if TYPE_CHECKING:  # a download alone needs no Arrow
    from core.storage.manager import StorageManager


def not_held(
    storage: "StorageManager", tracker: DownloadTracker, rows: Mapping[int, ArchiveFile]
) -> dict[int, ArchiveFile]:
    """Those of the rows whose partitions, as the catalog has them, are not all there.

    The catalog then follows the files: somebody may have copied, restored or removed some.
    """
    homes = tracker.homes(rows.values())
    here = {series: storage.stamps(series) for series in {file.series for file in rows.values()}}
    for series, stamps in here.items():
        _mend_catalog(storage, tracker, series, stamps)
    return {
        row: file
        for row, file in rows.items()
        if any(period not in here[series] for series, period in homes.get(file.key, ()))
    }


def _mend_catalog(
    storage: "StorageManager", tracker: DownloadTracker, series: Series, stamps: Mapping[Period, Stamp]
) -> None:
    known = tracker.stamps(series)
    other = [period for period, stamp in stamps.items() if known.get(period) != stamp]
    gone = [(series, period) for period in known if period not in stamps]
    if other or gone:
        tracker.enter(storage.readable(series, other), gone)
