"""The one CSV inside a published zip, as a bounded stream of bytes that is checked to its end."""

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from core.errors import MalformedArchive, storage_error
from core.settings import QualitySettings

_SMALL: Final = 1_000_000
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_BROKEN: Final = (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError, struct.error)
_MISLED: Final = {None, errno.EINVAL}
"""What a seek or a read fails with that a damaged zip sent to a place that is none; anything else is the disk's."""
NUMERIC: Final = b"0123456789.,-+\r\neEtrualsfTRUALSF"
"""Everything that numbers, true and false are written with."""


class MemberStream:
    """Reads the member; counts its lines and refuses bytes that are not among the `allowed` ones.

    zipfile checks the CRC-32 when the end is reached, so a stream that was read to its end is whole.
    """

    def __init__(self, path: Path, stream: IO[bytes], declared: int, header_bytes: int, allowed: bytes) -> None:
        self._path = path
        self._stream = stream
        self._declared = declared
        self._header_left = header_bytes
        self._allowed = allowed
        self.size = 0
        self.newlines = 0
        self.ends_with_newline = True
        self.closed = False

    def read(self, count: int = -1) -> bytes:
        """The next bytes. Raises MalformedArchive where they cannot be trusted."""
        try:
            data = self._stream.read(count)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise MalformedArchive(
                f"{self._path.name}: the zip is damaged ({error}); it will be fetched again"
            ) from error
        self.size += len(data)
        if self.size > self._declared or (not data and self.size != self._declared):
            raise MalformedArchive(f"{self._path.name}: the zip is damaged (it declares {self._declared} bytes)")
        if data:
            self.newlines += data.count(b"\n")
            self.ends_with_newline = data.endswith(b"\n")
            self._refuse_odd_bytes(data)
        return data

    def _refuse_odd_bytes(self, data: bytes) -> None:
        body = data[self._header_left :]
        self._header_left = max(0, self._header_left - len(data))
        if body.translate(None, self._allowed):
            raise OddBytes

    @property
    def lines(self) -> int:
        return self.newlines + (0 if self.ends_with_newline else 1)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return False

    def flush(self) -> None:
        """Nothing to do; file objects have it."""

    def close(self) -> None:
        self.closed = True


class OddBytes(Exception):
    """A byte that no cell is written with: the line is looked for next."""


@contextmanager
def open_member(
    path: Path, quality: QualitySettings, header_bytes: int = 0, allowed: bytes = NUMERIC
) -> Iterator[MemberStream]:
    """The member of a zip that has exactly one, named after it; `allowed` are the bytes that may stand in it behind
    the header. Raises MalformedArchive, StorageError."""
    try:
        if path.stat().st_size == 0:
            raise MalformedArchive(f"{path.name} has zero bytes; the exchange's file is broken")
        with zipfile.ZipFile(path) as archive:
            info = _only_member(path, archive)
            _refuse_bomb(path, info, quality)
            with archive.open(info) as stream:
                yield MemberStream(path, stream, info.file_size, header_bytes, allowed)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    except OSError as error:
        raise (_unreadable(path, error) if error.errno in _MISLED else storage_error(error, path)) from error


def _unreadable(path: Path, error: Exception) -> MalformedArchive:
    return MalformedArchive(f"{path.name} is no readable zip ({error}); the exchange's file is broken")


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = archive.infolist()
    if len(members) != 1:
        raise MalformedArchive(f"{path.name} has {len(members)} members; one is expected")
    wanted, info = f"{path.stem}.csv", members[0]
    if info.filename != wanted:
        raise MalformedArchive(f"{path.name} holds {info.filename!r} instead of {wanted!r}")
    if info.flag_bits & 1:
        raise MalformedArchive(f"{path.name} is encrypted")
    if info.compress_type not in _METHODS:
        raise MalformedArchive(f"{path.name} is compressed by method {info.compress_type}; only deflate is read")
    return info


def _refuse_bomb(path: Path, info: zipfile.ZipInfo, quality: QualitySettings) -> None:
    ratio = info.file_size / max(1, info.compress_size)
    if info.file_size > quality.max_csv_bytes:
        raise MalformedArchive(
            f"{path.name} would unpack to {info.file_size:,} bytes; quality.max_csv_bytes is {quality.max_csv_bytes:,}"
        )
    if info.file_size > _SMALL and ratio > quality.max_compression_ratio:
        raise MalformedArchive(
            f"{path.name} would unpack to {ratio:.0f} times its size; "
            f"quality.max_compression_ratio is {quality.max_compression_ratio}"
        )
