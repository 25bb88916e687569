"""A file on its way to its place: written beside it, finished, renamed once; removed if anything goes wrong."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from core.datasets import DATASETS
from core.errors import storage_error
from core.layout import make_folder, sync_folder
from core.storage.formats import FORMATS
from core.types import Series, Stamp

_TEMPORARY: Final = re.compile(r"\..+\.(\d+)\.tmp")


class Draft:
    """A file under its temporary name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def publish(self) -> None:
        """Give the finished file its name."""
        with self._guard():
            self._temporary.replace(self._path)
            sync_folder(self._path.parent)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(error, self._path) from error


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


def sweep(folder: Path) -> int:
    """Delete temporary files that dead processes left below a folder; returns how many."""
    count = 0
    for path in folder.rglob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and not _is_alive(int(match.group(1))):
            unlink(path)
            count += 1
    return count


def _modified_ns(path: Path) -> int:
    """When the file that is to be replaced was written; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def unlink(path: Path) -> None:
    """Delete a file, if it is there. Raises StorageError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # a run sweeps before it writes: what carries our number is of an earlier process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
