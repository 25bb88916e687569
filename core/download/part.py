"""A file on its way: `<name>.part` beside its target, and the digest of what is in it."""

import asyncio
import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

import aiofiles

from core.download.publish import Proves, Publisher, open_to_append, write_all
from core.errors import storage_error
from core.types import Proof

SMALL_BYTES: Final = 128 * 1024
"""Up to so many bytes are gathered in memory and written at once; of a longer file so many go to disk at a time, while
the next ones come. So a `kill -9` costs what comes while twice this is written."""
READ_BYTES: Final = 1 << 20
_WRITERS: Final = ThreadPoolExecutor(max(4, os.cpu_count() or 1), thread_name_prefix="write")


class PartFile:
    """The part of one target. Its length is the truth of progress; it becomes the target only through `publish`.

    With `presence` it is only looked for where that knows of it: for small files, of which a part is worth little.
    A long file is written and digested in threads, one block behind what arrives. Every OSError becomes a StorageError
    that names the file.
    """

    def __init__(self, target: Path, presence: "Presence | None" = None) -> None:
        self.target = target
        self._name = f"{target}.part"  # a Path is only made where one is wanted: it costs as much as opening the file
        self._presence = presence
        self._known = False
        self._file: int | None = None
        self._memory: list[bytes] = []
        self._in_memory = 0
        self._written = 0
        self._sha256 = hashlib.sha256()
        self._writing: Future[None] | None = None

    @property
    def path(self) -> Path:
        return Path(self._name)

    @property
    def size(self) -> int:
        """Bytes received so far, on disk, on the way there or in memory."""
        return self._written + self._in_memory

    async def reopen(self) -> int:
        """Take up what an earlier run left; returns its length. What this object wrote itself is known already."""
        if self._known:
            return self.size
        self._known = True
        if self._presence is not None and not self._presence.may_exist(self._name):
            return 0
        try:
            async with aiofiles.open(self.path, "rb") as stream:
                while block := await stream.read(READ_BYTES):
                    await asyncio.to_thread(self._sha256.update, block)
                    self._written += len(block)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise storage_error(error, self.path) from error
        return self._written

    def discard(self) -> None:
        """Start over at nothing."""
        if self._writing is not None:
            wait([self._writing])
            self._writing = None
        self._close()
        self._memory, self._in_memory, self._written = [], 0, 0
        self._sha256 = hashlib.sha256()
        self._known = True
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.path) from error

    async def write(self, data: bytes) -> None:
        """Append bytes. Raises StorageError for these or for the ones before them."""
        self._memory.append(data)
        self._in_memory += len(data)
        if self._in_memory > SMALL_BYTES:
            await self._settle()
            self._begin_writing()

    def flush(self) -> None:
        """Put on disk what is in memory, and close the file until more comes."""
        try:
            if self._writing is not None:
                writing, self._writing = self._writing, None
                writing.result()
            if self._in_memory:
                blocks, size = self._taken()
                _append(self._opened(), self.path, blocks, self._sha256)
                self._written += size
        finally:
            self._close()

    async def prove(self, publisher: Publisher, proves: Proves) -> tuple[str, Proof | None]:
        """Publish at once if what is known proves the digest; else the bytes stay a part. The SHA-256 and the proof.

        A small file that came in one go is digested, written, synced and renamed in a thread, together with others.
        """
        if self._written:
            sha256 = await self.sha256()
            proof = proves(sha256)
            if proof is not None:
                await self.publish(publisher)
            return sha256, proof
        blocks, size = self._taken()
        body = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        sha256, proof = await publisher.prove(body, self._name, self.target, proves)
        if proof is None:
            self._written = size
            self._sha256.update(body)
        return sha256, proof

    async def sha256(self) -> str:
        """The digest of all bytes, lower-case hex."""
        await self._all_written()
        return self._sha256.hexdigest()

    async def md5(self) -> str:
        """The MD5 of all bytes: only asked for where nothing better vouches for them, so it is not kept on the way."""
        await self._all_written()
        if self._written == 0:
            return hashlib.md5(b"", usedforsecurity=False).hexdigest()
        return await asyncio.to_thread(digest_of, self.path, "md5")

    async def append_from(self, path: Path, offset: int) -> None:
        """Append what `path` holds from `offset` on."""
        await self._all_written()
        file = self._opened()
        try:  # opened here and not in the thread: a cancelled download may remove it before it was copied
            source = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise storage_error(error, path) from error
        size = os.fstat(source).st_size - offset
        self._writing = _WRITERS.submit(_copy, source, path, offset, file, self._sha256)
        self._written += size
        await self._settle()

    async def publish(self, publisher: Publisher, target: Path | None = None) -> None:
        """Give the file its final name (or the one that is said), with everything synced."""
        await self._all_written()
        file = self._opened()
        self._file = None
        await publisher.publish(file, self._written, self._name, target or self.target)

    def _taken(self) -> tuple[list[bytes], int]:
        blocks, size = self._memory, self._in_memory
        self._memory, self._in_memory = [], 0
        return blocks, size

    def _begin_writing(self) -> None:
        file = self._opened()
        blocks, size = self._taken()
        self._writing = _WRITERS.submit(_append, file, self.path, blocks, self._sha256)
        self._written += size

    async def _settle(self) -> None:
        """Wait for what is on its way to the disk; it gets there also if whoever waits is cancelled."""
        if self._writing is not None:
            await asyncio.shield(asyncio.wrap_future(self._writing))
            self._writing = None

    async def _all_written(self) -> None:
        await self._settle()
        if self._in_memory:
            self._begin_writing()
            await self._settle()

    def _opened(self) -> int:
        if self._file is None:
            try:
                self._file = open_to_append(self._name, is_new=self._written == 0)
            except OSError as error:
                raise storage_error(error, self.path) from error
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)


class Presence:
    """What lay in each folder when it was first asked about: one look instead of several for every file.

    A name that was there may have gone; one that was not may have come, but then from another run, whose file it is.
    """

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def may_exist(self, path: Path | str) -> bool:
        """False: there was no such file."""
        folder, name = os.path.split(path)
        names = self._names.get(folder)
        if names is None:
            try:
                names = frozenset(entry.name for entry in os.scandir(folder))
            except FileNotFoundError:
                names = frozenset()
            except OSError as error:
                raise storage_error(error, Path(folder)) from error
            self._names[folder] = names
        return name in names


def _copy(source: int, path: Path, offset: int, file: int, digest: "hashlib._Hash") -> None:
    """Append what the descriptor `source`, which is closed, holds of `path` from `offset` on to an open file."""
    try:
        with open(source, "rb", buffering=0) as stream:
            stream.seek(offset)
            while block := stream.read(READ_BYTES):
                digest.update(block)
                write_all(file, block)
    except OSError as error:
        raise storage_error(error, path) from error


def _append(file: int, path: Path, blocks: list[bytes], digest: "hashlib._Hash") -> None:
    try:
        for block in blocks:
            write_all(file, block)
            digest.update(block)
    except OSError as error:
        raise storage_error(error, path) from error


def digest_of(path: Path, name: str = "sha256") -> str:
    """The SHA-256 (or MD5) of a file on disk. Raises StorageError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, name).hexdigest()
    except OSError as error:
        raise storage_error(error, path) from error
