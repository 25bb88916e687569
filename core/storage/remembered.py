"""What a reader saw of folders and footers before, so that looking again costs one stat for each folder and file.

Nothing of it is believed by itself: a folder's names count while it has the same time of writing, which every rename
changes, and what is known of a file counts for the file that has the same size and time of writing.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from core.errors import storage_error
from core.layout import Layout
from core.storage.files import files_of
from core.types import PartitionFacts, Period, Series, Stamp

_REST_NS: Final = 3_000_000_000
"""A folder that was written to within the last ticks of its file system's clock may be again, and look the same."""
_MOST: Final = 100_000
"""So many files are remembered at most: half a kilobyte each."""


class Remembered:
    """Threads may share it: what is replaced is replaced whole."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folders: dict[Series, tuple[int, Mapping[Period, Path]]] = {}
        self._facts: dict[Path, PartitionFacts] = {}

    def files(self, series: Series) -> Mapping[Period, Path]:
        """The files of a series by their period. Raises StorageError if its folder cannot be read."""
        folder = self._layout.processed_folder(series)
        try:
            modified_ns = folder.stat().st_mtime_ns  # before the names: what comes meanwhile makes it another one
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise storage_error(error, folder) from error
        before = self._folders.get(series)
        if before is not None and before[0] == modified_ns:
            return before[1]
        files = files_of(self._layout, series)
        if time.time_ns() - modified_ns > _REST_NS:
            self._folders[series] = (modified_ns, files)
        return files

    def facts(self, path: Path) -> PartitionFacts | None:
        """What is known of the file that lies there now."""
        facts = self._facts.get(path)
        return facts if facts is not None and facts.stamp == stamp_at(path) else None

    def keep(self, found: Iterable[PartitionFacts]) -> None:
        """Remember what was found out."""
        if len(self._facts) > _MOST:
            self._facts = {}
        self._facts.update((facts.path, facts) for facts in found if facts.stamp is not None)


def stamp_at(path: Path) -> Stamp | None:
    """By what the file that lies there is known again; None if there is none."""
    try:
        return Stamp.of(path.stat())
    except OSError:
        return None
