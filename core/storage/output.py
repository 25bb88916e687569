"""A file on its way to its place: written beside it, finished, renamed once; removed if anything goes wrong."""

import contextlib
import os
import time
from pathlib import Path

import pyarrow as pa

from core.datasets import DATASETS
from core.layout import make_folder
from core.storage.draft import Draft
from core.storage.formats import FORMATS
from core.types import Series, Stamp


class Output(Draft):
    """One target in one format. Leaving the `with` block without `publish` leaves nothing on disk.

    `stamp` is there when the file is finished, and is later than that of the file whose place it takes: the clock of
    some file systems ticks only every few milliseconds.
    """

    stamp: Stamp

    def __init__(self, name: str, path: Path, series: Series, row_group_rows: int) -> None:
        super().__init__(path)
        self._make = FORMATS[name].Writer
        self._arguments = (self._temporary, DATASETS[series.dataset], series.market, row_group_rows)

    def __enter__(self) -> "Output":
        with self._guard():
            make_folder(self._path.parent)
            try:
                self._writer = self._make(*self._arguments)
            except BaseException:
                self._temporary.unlink(missing_ok=True)
                raise
        return self

    @property
    def path(self) -> Path:
        """Where the file will lie."""
        return self._path

    @property
    def temporary(self) -> Path:
        """Where the file lies until it is published."""
        return self._temporary

    def write(self, batch: pa.RecordBatch) -> None:
        with self._guard():
            self._writer.write(batch)

    def finish(self, facts: dict[str, str]) -> None:
        """Write the end of the file and sync it: after this, no lack of room can stop it."""
        with self._guard():
            self._writer.close(facts)
            with self._temporary.open("rb+") as stream:
                moment = max(time.time_ns(), _modified_ns(self._path) + 1)
                os.utime(stream.fileno(), ns=(moment, moment))
                os.fsync(stream.fileno())
                self.stamp = Stamp.of(os.fstat(stream.fileno()))

    def __exit__(self, *_: object) -> None:
        if self._temporary.exists():
            with contextlib.suppress(OSError, pa.ArrowException):
                self._writer.abandon()
            self._temporary.unlink(missing_ok=True)


def _modified_ns(path: Path) -> int:
    """When the file that is to be replaced was written; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
