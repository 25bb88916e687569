"""A file on its way: `<name>.part` beside its target, and the digest of what is in it."""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Final

import aiofiles

from core.download.publish import Proves, Publisher, open_to_append, write_all
from core.errors import storage_error
from core.types import Proof

SMALL_BYTES: Final = 128 * 1024
"""Up to so many bytes are gathered in memory and written at once; with a longer file every piece goes to disk as it
comes. So this is what a `kill -9` can cost, per file."""
HASH_BYTES: Final = 1 << 20
"""Digested in one go in a thread: less would cost more in hops than in hashing."""
BACKLOG_BYTES: Final = 8 << 20
"""Bytes on disk that may wait to be digested before the download waits too."""


class PartFile:
    """The part of one target. Its length is the truth of progress; it becomes the target only through `publish`.

    Pieces go straight to the operating system, so that they survive the end of the process; the digest follows in a
    thread. Every OSError becomes a StorageError that names the file.
    """

    def __init__(self, target: Path, presence: "Presence | None" = None) -> None:
        self.path = target.parent / f"{target.name}.part"
        self.target = target
        self._presence = presence or Presence()
        self._known = False
        self._file: int | None = None
        self._memory = bytearray()
        self._written = 0
        self._sha256 = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._hashing: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        """Bytes received so far, on disk or in memory."""
        return self._written + len(self._memory)

    async def reopen(self) -> int:
        """Take up what an earlier run left; returns its length. What this object wrote itself is known already."""
        if self._known:
            return self.size
        self._known = True
        if not self._presence.may_exist(self.path):
            return 0
        try:
            async with aiofiles.open(self.path, "rb") as stream:
                while block := await stream.read(HASH_BYTES):
                    await asyncio.to_thread(self._sha256.update, block)
                    self._written += len(block)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise storage_error(error, self.path) from error
        return self._written

    def discard(self) -> None:
        """Start over at nothing."""
        self._close()
        self._memory = bytearray()
        self._written = 0
        self._sha256 = hashlib.sha256()
        self._waiting, self._waiting_bytes = [], 0
        self._known = True
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.path) from error

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        if self._written == 0 and len(self._memory) + len(data) <= SMALL_BYTES:
            self._memory += data
            return
        self._empty_memory()
        self._append(data)
        if self._waiting_bytes >= HASH_BYTES:
            await self._digest_on(BACKLOG_BYTES)

    def flush(self) -> None:
        """Put on disk what is in memory, and close the file until more comes."""
        self._empty_memory()
        self._close()

    async def sha256(self) -> str:
        """The digest of all bytes, lower-case hex."""
        self._empty_memory()
        await self._digest_on(0)
        return self._sha256.hexdigest()

    async def md5(self) -> str:
        """The MD5 of all bytes: only asked for where nothing better vouches for them, so it is not kept on the way."""
        self._empty_memory()
        if self._written == 0:
            return hashlib.md5(b"", usedforsecurity=False).hexdigest()
        return await asyncio.to_thread(digest_of, self.path, "md5")

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
        body, self._memory = bytes(self._memory), bytearray()
        sha256, proof = await publisher.prove(body, self.path, self.target, proves)
        if proof is None:
            self._written = len(body)
            self._sha256.update(body)
        return sha256, proof

    async def publish(self, publisher: Publisher, target: Path | None = None) -> None:
        """Give the file its final name (or the one that is said), with everything synced."""
        self._empty_memory()
        file = self._opened()
        self._file = None
        await publisher.publish(file, self.path, target or self.target)

    async def append_from(self, path: Path, offset: int) -> None:
        """Append what `path` holds from `offset` on."""
        self._empty_memory()
        await self._digest_on(0)
        self._written += await asyncio.to_thread(_copy, path, offset, self._opened(), self._sha256)

    def _empty_memory(self) -> None:
        if self._memory:
            data, self._memory = bytes(self._memory), bytearray()
            self._append(data)

    def _append(self, data: bytes) -> None:
        try:
            write_all(self._opened(), data)
        except OSError as error:
            self._close()
            raise storage_error(error, self.path) from error
        self._written += len(data)
        self._waiting.append(data)
        self._waiting_bytes += len(data)

    def _opened(self) -> int:
        if self._file is None:
            try:
                self._file = open_to_append(self.path, is_new=self._written == 0)
            except OSError as error:
                raise storage_error(error, self.path) from error
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    async def _digest_on(self, backlog: int) -> None:
        """Have waiting bytes digested, one thread at a time; returns when at most `backlog` still wait."""
        while self._waiting_bytes:
            if self._hashing is None or self._hashing.done():
                blocks, self._waiting, self._waiting_bytes = self._waiting, [], 0
                loop = asyncio.get_running_loop()
                self._hashing = loop.run_in_executor(None, _update, self._sha256, blocks)
            if self._waiting_bytes <= backlog:
                break
            await asyncio.shield(self._hashing)
        if backlog == 0 and self._hashing is not None:
            await asyncio.shield(self._hashing)


class Presence:
    """What lay in each folder when it was first asked about: one look instead of several for every file.

    A name that was there may have gone; one that was not may have come, but then from another run, whose file it is.
    """

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}

    def may_exist(self, path: Path) -> bool:
        """False: there was no such file."""
        folder = path.parent
        names = self._names.get(folder)
        if names is None:
            try:
                names = frozenset(entry.name for entry in os.scandir(folder))
            except FileNotFoundError:
                names = frozenset()
            except OSError as error:
                raise storage_error(error, folder) from error
            self._names[folder] = names
        return path.name in names


def _copy(source: Path, offset: int, file: int, digest: "hashlib._Hash") -> int:
    """Append the bytes of `source` from `offset` on to an open file; returns how many."""
    copied = 0
    try:
        with source.open("rb") as stream:
            stream.seek(offset)
            while block := stream.read(HASH_BYTES):
                digest.update(block)
                write_all(file, block)
                copied += len(block)
    except OSError as error:
        raise storage_error(error, source) from error
    return copied


def _update(digest: "hashlib._Hash", blocks: list[bytes]) -> None:
    for block in blocks:
        digest.update(block)


def _update_from(digest: "hashlib._Hash", path: Path) -> None:
    try:
        with path.open("rb") as stream:
            while block := stream.read(HASH_BYTES):
                digest.update(block)
    except OSError as error:
        raise storage_error(error, path) from error


def digest_of(path: Path, name: str = "sha256") -> str:
    """The SHA-256 (or MD5) of a file on disk. Raises StorageError if it cannot be read."""
    digest = hashlib.new(name, usedforsecurity=False)
    _update_from(digest, path)
    return digest.hexdigest()
