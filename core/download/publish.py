"""Final names for finished files, many at a time: bytes synced, then renamed, then the folders synced."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.errors import StorageError, storage_error
from core.layout import make_folder, sync_folder
from core.types import Proof

THREADS: Final = 8
SLOW_SECONDS: Final = 0.0003
"""From this time per file on, a batch is spread over threads: a journalling file system writes what is synced together
in one go. Below it (a RAM disk) the hops would cost more than the syncs."""

Proves = Callable[[str], Proof | None]
"""Whether a SHA-256 is vouched for by what is known already; without asking anybody, and in any thread."""


@dataclass(slots=True)
class _Finished:
    """A file to publish: already written behind the descriptor `file`, or a whole `body` in memory, which is only
    published if `proves` says so of its digest."""

    path: Path | str
    target: Path
    done: "asyncio.Future[None]"
    file: int = -1
    body: bytes = b""
    size: int = 0
    proves: Proves | None = None
    sha256: str = ""
    proof: Proof | None = None
    error: StorageError | None = None


class Publisher:
    """Turns received files into published ones: synced, under their final name, and the name synced too.

    While one batch is on its way to the disk the next one gathers, so that the slower the disk, the more files share
    its syncs; no file waits for a timer.
    """

    def __init__(self) -> None:
        self._gathered: list[_Finished] = []
        self._running: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="publish")
        self._spread = THREADS

    async def publish(self, file: int, size: int, path: Path | str, target: Path) -> None:
        """Publish the file behind a descriptor (which is closed) from `path` to `target`.

        Raises StorageError, also if the file is not `size` bytes long: then somebody else has written to it too.
        """
        await self._finish(_Finished(path, target, asyncio.get_running_loop().create_future(), file=file, size=size))

    async def prove(self, body: bytes, path: Path | str, target: Path, proves: Proves) -> tuple[str, Proof | None]:
        """Digest a body that is in memory, write it to `path`, and publish it if its digest is proved at once.

        Returns its SHA-256 and what proved it; without a proof it stays at `path`. Raises StorageError.
        """
        done = asyncio.get_running_loop().create_future()
        finished = _Finished(path, target, done, body=body, size=len(body), proves=proves)
        await self._finish(finished)
        return finished.sha256, finished.proof

    async def _finish(self, finished: _Finished) -> None:
        self._gathered.append(finished)
        if self._running is None:
            self._running = asyncio.create_task(self._publish_gathered())
        await finished.done

    async def _publish_gathered(self) -> None:
        loop = asyncio.get_running_loop()
        batch: list[_Finished] = []
        try:
            while self._gathered:
                batch, self._gathered = self._gathered, []
                if self._spread == 1:
                    took = await loop.run_in_executor(self._threads, _publish_all, batch)
                else:
                    parts = [batch[start :: self._spread] for start in range(min(self._spread, len(batch)))]
                    jobs = [loop.run_in_executor(self._threads, _name_all, part) for part in parts]
                    took = sum(await asyncio.gather(*jobs))
                    await loop.run_in_executor(self._threads, _sync_folders, batch)
                self._spread = THREADS if took / len(batch) > SLOW_SECONDS else 1
                _tell(batch)
        except BaseException as error:
            for each in (*batch, *self._gathered):  # nobody else would ever tell them
                if not each.done.done():
                    each.done.set_exception(error) if isinstance(error, Exception) else each.done.cancel()
            raise
        finally:
            self._running = None


def _publish_all(batch: Sequence[_Finished]) -> float:
    """All of it in one thread. Returns the seconds that the files took."""
    took = _name_all(batch)
    _sync_folders(batch)
    return took


def _name_all(batch: Sequence[_Finished]) -> float:
    """Write, sync and rename; errors are noted. Returns the seconds that the syncs took."""
    took = 0.0
    for each in batch:
        try:
            try:
                if each.proves is not None:
                    _write(each, each.proves)
                if each.proves is None or each.proof is not None:
                    began = time.perf_counter()
                    os.fsync(each.file)
                    _expect_size(each)
                    took += time.perf_counter() - began
            finally:
                if each.file >= 0:
                    os.close(each.file)
            if each.proves is None or each.proof is not None:
                os.replace(each.path, each.target)  # noqa: PTH105 (half the time of Path.replace)
        except OSError as error:
            each.error = storage_error(error, each.target)
        except StorageError as error:
            each.error = error
    return took


def _expect_size(each: _Finished) -> None:
    """The digest is of what we wrote, so what lies there has to be that and nothing else."""
    size = os.fstat(each.file).st_size
    if size != each.size:
        raise StorageError(
            f"{each.path} has {size} bytes instead of {each.size}: another process writes to it; stop that one and run "
            "the same command again"
        )


def _write(each: _Finished, proves: Proves) -> None:
    each.sha256 = hashlib.sha256(each.body).hexdigest()
    each.proof = proves(each.sha256)
    each.file = open_to_append(each.path, is_new=True)
    write_all(each.file, each.body)


def _sync_folders(batch: Sequence[_Finished]) -> None:
    """Sync every folder once; what cannot be synced was not published."""
    errors: dict[str, StorageError] = {}
    for folder in {_folder_of(each) for each in batch if each.proves is None or each.proof is not None}:
        try:
            sync_folder(Path(folder))
        except OSError as error:
            errors[folder] = storage_error(error, Path(folder))
    for each in batch:
        each.error = each.error or (errors.get(_folder_of(each)) if errors else None)


def _folder_of(each: _Finished) -> str:
    return os.path.dirname(each.target)  # noqa: PTH120 (a tenth of the time of Path.parent)


def _tell(batch: Sequence[_Finished]) -> None:
    for each in batch:
        if each.done.cancelled():
            continue
        if each.error is not None:
            each.done.set_exception(each.error)
        else:
            each.done.set_result(None)


def open_to_append(path: Path | str, is_new: bool = False) -> int:
    """A descriptor; what lay there is cut off if the file is new. A folder is made when it is missed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if is_new else 0) | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        make_folder(Path(path).parent)
        return os.open(path, flags, 0o666)


def write_all(file: int, data: bytes) -> None:
    """Write every byte; one call may write fewer."""
    written = os.write(file, data)
    while written < len(data):
        written += os.write(file, memoryview(data)[written:])
