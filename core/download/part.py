"""A file on its way: `<name>.part` beside its target, and the digests of what is in it."""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Final

import aiofiles

from core.errors import storage_error
from core.layout import sync_folder

BLOCK_BYTES: Final = 128 * 1024
"""Bytes gathered before they go to disk: what a `kill -9` can cost, per file."""


class PartFile:
    """The part of one target. Its length is the truth of progress; it becomes the target only through `publish`.

    Writes go through threads only where a file is larger than one block: for small ones the hop costs more than the
    write. Every OSError becomes a StorageError that names the file.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self._target = target
        self._opened = False
        self._buffer = bytearray()
        self._written = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    @property
    def size(self) -> int:
        """Bytes received so far, on disk or in the buffer."""
        return self._written + len(self._buffer)

    @property
    def digests(self) -> tuple[str, str]:
        """MD5 and SHA-256 of all bytes that were flushed."""
        return self._md5.hexdigest(), self._sha256.hexdigest()

    async def reopen(self) -> int:
        """Take up what an earlier attempt left; returns its length. What this object wrote itself is known already."""
        if self._opened:
            return self._written
        self._opened = True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                await asyncio.to_thread(self._digest_existing)
        except OSError as error:
            raise storage_error(error, self.path) from error
        return self._written

    def discard(self) -> None:
        """Start over at nothing."""
        self._forget()
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.path) from error

    async def write(self, data: bytes) -> None:
        """Append bytes; they reach the disk a block at a time."""
        self._buffer += data
        if len(self._buffer) >= BLOCK_BYTES:
            block, self._buffer = bytes(self._buffer), bytearray()
            await asyncio.to_thread(self._digest, block)
            try:
                async with aiofiles.open(self.path, "ab") as stream:
                    await stream.write(block)
            except OSError as error:
                raise storage_error(error, self.path) from error
            self._written += len(block)

    def flush(self) -> None:
        """Put the rest of the buffer on disk."""
        if not self._buffer and self.path.exists():
            return
        block, self._buffer = bytes(self._buffer), bytearray()
        self._digest(block)
        try:
            with self.path.open("ab") as stream:
                stream.write(block)
        except OSError as error:
            raise storage_error(error, self.path) from error
        self._written += len(block)

    def publish(self) -> None:
        """Sync the bytes, give them their final name, sync the name."""
        try:
            with self.path.open("rb+") as stream:
                os.fsync(stream.fileno())
            self.path.replace(self._target)
            sync_folder(self._target.parent)
        except OSError as error:
            raise storage_error(error, self._target) from error

    def _forget(self) -> None:
        self._buffer = bytearray()
        self._written = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def _digest(self, block: bytes) -> None:
        self._md5.update(block)
        self._sha256.update(block)

    def _digest_existing(self) -> None:
        with self.path.open("rb") as stream:
            while block := stream.read(1 << 20):
                self._digest(block)
                self._written += len(block)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file on disk. Raises StorageError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise storage_error(error, path) from error
