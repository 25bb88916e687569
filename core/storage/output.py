"""A file on its way to its place: written beside it, finished, renamed once; removed if anything goes wrong."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from core.datasets import DATASETS
from core.errors import storage_error
from core.layout import make_folder, sync_folder
from core.storage.formats import FORMATS
from core.types import Series

_TEMPORARY: Final = re.compile(r"\..+\.(\d+)\.tmp")


class Output:
    """One target in one format. Leaving the `with` block without `publish` leaves nothing on disk."""

    def __init__(self, name: str, path: Path, series: Series, row_group_rows: int) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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
                os.fsync(stream.fileno())

    def publish(self) -> None:
        """Give the finished file its name."""
        with self._guard():
            self._temporary.replace(self._path)
            sync_folder(self._path.parent)

    def __exit__(self, *_: object) -> None:
        if self._temporary.exists():
            with contextlib.suppress(OSError, pa.ArrowException):
                self._writer.abandon()
            self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(error, self._path) from error


def sweep(folder: Path) -> int:
    """Delete temporary files that dead processes left below a folder; returns how many."""
    count = 0
    for path in folder.rglob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and not _is_alive(int(match.group(1))):
            unlink(path)
            count += 1
    return count


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
