"""Partition files as they were when they were looked up: rows never come from a file that took another one's place."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import FilesChanged
from core.storage.footer import unusable
from core.storage.reading import rows_in
from core.types import Partition, Stamp

HELD: Final = 32
"""So many files are held open at once. More are opened one by one, and each has to be what it was."""


class Holding:
    """The files of some partitions. Held ones stay as they are, for an open file keeps its content when its name goes.

    Raises FilesChanged where a file is no longer the one its partition tells of, StorageError if it cannot be read.
    """

    def __init__(self, partitions: Sequence[Partition] = ()) -> None:
        self._files: dict[Path, pa.NativeFile] = {}
        self._stack = contextlib.ExitStack()
        if len(partitions) <= HELD:
            with contextlib.ExitStack() as opening:
                self._files = {one.path: opening.enter_context(_opened(one)) for one in partitions}
                self._stack = opening.pop_all()

    def __enter__(self) -> "Holding":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def rows(
        self, partition: Partition, first: int, end: int, rows_at_once: int, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows from number `first` to before `end`, as `core.storage.reading.rows_in`."""
        with self.parquet(partition) as parquet:
            yield from rows_in(parquet, first, end, rows_at_once, columns)

    @contextlib.contextmanager
    def parquet(self, partition: Partition) -> Iterator[pq.ParquetFile]:
        """The file of a partition."""
        try:
            with contextlib.ExitStack() as stack:
                file = self._files.get(partition.path) or stack.enter_context(_opened(partition))
                yield stack.enter_context(pq.ParquetFile(file, pre_buffer=False))
        except (OSError, pa.ArrowException) as error:
            raise unusable(partition.path, error) from error


def _opened(partition: Partition) -> pa.NativeFile:
    """The file of a partition, if it is still the one that was looked up."""
    try:
        file = pa.OSFile(str(partition.path))
    except FileNotFoundError as error:
        raise _changed(partition) from error
    except OSError as error:
        raise unusable(partition.path, error) from error
    if partition.stamp not in (None, Stamp.of(os.fstat(file.fileno()))):
        file.close()
        raise _changed(partition)
    return file


def _changed(partition: Partition) -> FilesChanged:
    return FilesChanged(f"{partition.path} changed while {partition.series} was read; try again after the update")
