"""The one CSV inside a published zip, as a bounded stream of bytes that is checked to its end.

zipfile reads the directory; the bytes are inflated by ISA-L, which takes a third of zlib's time.
"""

import errno
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from isal import igzip_lib, isal_zlib

from core.errors import MalformedArchive, storage_error
from core.settings import QualitySettings

_SMALL: Final = 1_000_000
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_BROKEN: Final = (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError, struct.error)
_MISLED: Final = {None, errno.EINVAL}
"""What a seek or a read fails with that a damaged zip sent to a place that is none; anything else is the disk's."""
_LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")
_PACKED_BYTES: Final = 1 << 18


class MemberStream:
    """Reads the member. A stream that was read to its end is whole: its length and CRC-32 are those declared."""

    def __init__(self, path: Path, file: IO[bytes], info: zipfile.ZipInfo) -> None:
        self._path = path
        self._file = file
        self._declared = info.file_size
        self._crc = info.CRC
        self._packed_left = info.compress_size
        self._inflate = isal_zlib.decompressobj(-15) if info.compress_type == zipfile.ZIP_DEFLATED else None
        self._pending = b""
        self._found_crc = 0
        self.size = 0

    def read(self, count: int = -1) -> bytes:
        """The next `count` bytes, fewer only at the end. Raises MalformedArchive where they cannot be trusted."""
        wanted = self._declared + 1 - self.size if count < 0 else count
        parts = []
        while wanted > 0 and (data := self._next(wanted)):
            parts.append(data)
            wanted -= len(data)
        data = b"".join(parts) if len(parts) != 1 else parts[0]
        self.size += len(data)
        self._found_crc = isal_zlib.crc32(data, self._found_crc)
        if self.size > self._declared:
            raise self._damaged(f"it declares {self._declared} bytes")
        if wanted > 0:
            self._check_end()
        return data

    def _next(self, most: int) -> bytes:
        """Up to `most` bytes; none at the end."""
        if self._inflate is None:
            return self._packed(min(most, self._packed_left))
        while not self._inflate.eof:
            packed = self._pending or self._packed(min(_PACKED_BYTES, self._packed_left))
            try:
                data: bytes = self._inflate.decompress(packed, most)
            except igzip_lib.IsalError as error:  # type: ignore[misc]
                raise self._damaged(str(error)) from error
            self._pending = self._inflate.unconsumed_tail
            if data:
                return data
            if not packed:
                raise self._damaged("its deflate stream is cut off")
        return b""

    def _packed(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise self._damaged("it is cut off")
        self._packed_left -= count
        return data

    def _check_end(self) -> None:
        if self.size != self._declared:
            raise self._damaged(f"it declares {self._declared} bytes")
        if self._found_crc != self._crc:
            raise self._damaged("Bad CRC-32")

    @property
    def declared(self) -> int:
        """How many bytes the member has, as the zip says."""
        return self._declared

    def _damaged(self, why: str) -> MalformedArchive:
        return MalformedArchive(f"{self._path.name}: the zip is damaged ({why}); it will be fetched again")


@contextmanager
def open_member(path: Path, quality: QualitySettings) -> Iterator[MemberStream]:
    """The member of a zip that has exactly one, named after it. Raises MalformedArchive, StorageError."""
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) == 0:
                raise MalformedArchive(f"{path.name} has zero bytes; the exchange's file is broken")
            with zipfile.ZipFile(file) as archive:
                info = _only_member(path, archive)
            _refuse_bomb(path, info, quality)
            _seek_member(file, info)
            yield MemberStream(path, file, info)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    except OSError as error:
        raise (_unreadable(path, error) if error.errno in _MISLED else storage_error(error, path)) from error


def _seek_member(file: IO[bytes], info: zipfile.ZipInfo) -> None:
    """To the first byte behind the local header, which has to speak of the same member as the directory."""
    file.seek(info.header_offset)
    signature, _, flags, method, _, _, _, _, _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(
        file.read(_LOCAL_HEADER.size)
    )
    if signature != b"PK\3\4":
        raise zipfile.BadZipFile("no member where the directory says")
    name = file.read(name_bytes).decode("utf-8" if flags & 0x800 else "cp437")
    if (name, method) != (info.orig_filename, info.compress_type):
        raise zipfile.BadZipFile(f"directory and member differ: {info.orig_filename!r} and {name!r}")
    file.seek(extra_bytes, 1)


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
    if info.flag_bits & 0x20:
        raise MalformedArchive(f"{path.name} holds compressed patched data; only plain deflate is read")
    if info.flag_bits & 0x40:
        raise MalformedArchive(f"{path.name} is strongly encrypted")
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
