"""What a reader saw of folders and footers before, so that looking again costs one stat for each folder and file.

Nothing of it is believed by itself: a folder's names count while it has the same time of writing, which every rename
changes, and what is known of a file counts for the file that has the same size and time of writing.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from core.errors import storage_error
from core.layout import Layout
from core.storage.files import files_of
from core.storage.partitions import longer_first
from core.types import PartitionFacts, Period, Series, Span, Stamp

_REST_NS: Final = 3_000_000_000
"""A folder that was written to within the last ticks of its file system's clock may be again, and look the same."""
_MOST: Final = 100_000
"""So many files are remembered at most: half a kilobyte each."""


@dataclass(slots=True)
class _Folder:
    """The files of a series, those that begin earlier and are longer first, as long as the folder was written at that
    time, if it was at rest then; `facts` of those that were looked into."""

    path: str
    modified_ns: int
    files: list[tuple[Period, Span, str]]
    is_at_rest: bool
    facts: dict[Period, PartitionFacts] = field(default_factory=dict)


class Remembered:
    """Threads may share it: what is replaced is replaced whole."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folders: dict[Series, _Folder] = {}
        self._count = 0

    def facts(self, series: Series, span: Span | None) -> list[PartitionFacts] | None:
        """The facts of all files of a series in a span, longer ones before those within them; None if any is not known
        of what lies there now. Raises StorageError if the folder cannot be read."""
        folder = self._folder(series)
        found = []
        for period, own, path in folder.files:
            if span is not None and not own.overlaps(span):
                continue
            facts = folder.facts.get(period)
            if facts is None or facts.stamp is None:
                return None
            try:
                status = os.stat(path)  # noqa: PTH116  a Path takes twice as long, for each of thousands of files
            except OSError:
                return None
            if status.st_mtime_ns != facts.stamp.modified_ns or status.st_size != facts.stamp.size:
                return None
            found.append(facts)
        return found

    def keep(self, series: Series, found: Iterable[PartitionFacts]) -> None:
        """Remember what was found out of files of a series."""
        if self._count > _MOST:
            self._folders, self._count = {}, 0
        folder = self._folders.get(series)
        if folder is not None:
            before = len(folder.facts)
            folder.facts = folder.facts | {facts.period: facts for facts in found}
            self._count += len(folder.facts) - before

    def _folder(self, series: Series) -> _Folder:
        known = self._folders.get(series)
        path = str(self._layout.processed_folder(series)) if known is None else known.path
        try:
            modified_ns = os.stat(path).st_mtime_ns  # noqa: PTH116  before the names: what comes meanwhile changes it
        except FileNotFoundError:
            return _Folder(path, 0, [], False)
        except OSError as error:
            raise storage_error(error, Path(path)) from error
        if known is not None and known.is_at_rest and known.modified_ns == modified_ns:
            return known
        files = files_of(self._layout, series)
        ordered = [(period, period.span, str(files[period])) for period in sorted(files, key=longer_first)]
        is_at_rest = time.time_ns() - modified_ns > _REST_NS
        folder = _Folder(path, modified_ns, ordered, is_at_rest, known.facts if known is not None else {})
        self._folders[series] = folder
        return folder


def stamp_at(path: Path) -> Stamp | None:
    """By what the file that lies there is known again; None if there is none."""
    try:
        return Stamp.of(path.stat())
    except OSError:
        return None
