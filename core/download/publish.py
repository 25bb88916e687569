"""Final names for finished files, many at a time: bytes synced, then renamed, then the folders synced."""

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.errors import StorageError, storage_error
from core.layout import sync_folder

THREADS: Final = 8
SLOW_SECONDS: Final = 0.0003
"""From this time per file on, a batch is spread over threads: a journalling file system writes what is synced together
in one go. Below it (a RAM disk) the hops would cost more than the syncs."""


@dataclass(slots=True)
class _Finished:
    file: int
    path: Path
    target: Path
    done: "asyncio.Future[None]"
    error: StorageError | None = None


class Publisher:
    """Turns written files into published ones: synced, under their final name, and the name synced too.

    While one batch is on its way to the disk the next one gathers, so that the slower the disk, the more files share
    its syncs; no file waits for a timer.
    """

    def __init__(self) -> None:
        self._gathered: list[_Finished] = []
        self._running: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="publish")
        self._spread = THREADS

    async def publish(self, file: int, path: Path, target: Path) -> None:
        """Publish the file behind a descriptor (which is closed) from `path` to `target`. Raises StorageError."""
        finished = _Finished(file, path, target, asyncio.get_running_loop().create_future())
        self._gathered.append(finished)
        if self._running is None:
            self._running = asyncio.create_task(self._publish_gathered())
        await finished.done

    async def _publish_gathered(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._gathered:
                batch, self._gathered = self._gathered, []
                parts = [batch[start :: self._spread] for start in range(min(self._spread, len(batch)))]
                took = await asyncio.gather(*(loop.run_in_executor(self._threads, _name_all, part) for part in parts))
                self._spread = THREADS if sum(took) / len(batch) > SLOW_SECONDS else 1
                await loop.run_in_executor(self._threads, _sync_folders, batch)
                _tell(batch)
        finally:
            self._running = None


def _name_all(batch: Sequence[_Finished]) -> float:
    """Sync and rename; errors are noted. Returns the seconds it took."""
    began = time.perf_counter()
    for each in batch:
        try:
            try:
                os.fsync(each.file)
            finally:
                os.close(each.file)
            os.replace(each.path, each.target)  # noqa: PTH105 (half the time of Path.replace)
        except OSError as error:
            each.error = storage_error(error, each.target)
    return time.perf_counter() - began


def _sync_folders(batch: Sequence[_Finished]) -> None:
    """Sync every folder once; what cannot be synced was not published."""
    errors: dict[Path, StorageError] = {}
    for folder in {each.target.parent for each in batch}:
        try:
            sync_folder(folder)
        except OSError as error:
            errors[folder] = storage_error(error, folder)
    for each in batch:
        each.error = each.error or errors.get(each.target.parent)


def _tell(batch: Sequence[_Finished]) -> None:
    for each in batch:
        if each.done.cancelled():
            continue
        if each.error is not None:
            each.done.set_exception(each.error)
        else:
            each.done.set_result(None)
