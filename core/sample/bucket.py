"""A folder as an S3 bucket: keys, ETags and listing pages.

A key is a file's path below the root, in UTF-8. Names that begin with a dot are no keys, and symbolic links are never
followed, so nothing outside the folder can be reached.

With a clock the bucket is what it was at that moment: an object is there from its modification time on. What it was
before it was replaced lies beside it under `.<name>@<any digits>`, dated when that version was published.
"""

import hashlib
import os
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import islice
from pathlib import Path
from xml.sax.saxutils import escape

MAX_KEYS = 1000
_NAME = "data.binance.vision"
_SETTLED_SECONDS = 2.0
_QUOTE = {'"': "&quot;"}
_EARLIER = re.compile(rb"\.(.+)@\d+")

Clock = Callable[[], int]
"""Says what time it is, in microseconds."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One file behind a key; `etag` is its MD5 in hex, without quotes."""

    key: str
    path: Path
    size: int
    modified: datetime
    etag: str

    @property
    def http_date(self) -> str:
        return format_datetime(self.modified, usegmt=True)


@dataclass(frozen=True, slots=True)
class ListingQuery:
    """What a listing request asks for. `delimiter` is `/` or empty."""

    prefix: str = ""
    delimiter: str = ""
    marker: str = ""
    max_keys: int = MAX_KEYS


@dataclass(frozen=True, slots=True)
class ListingPage:
    """One page: objects and rolled-up prefixes, in byte order of their keys, and whether more follow."""

    query: ListingQuery
    objects: tuple[StoredObject, ...]
    prefixes: tuple[str, ...]
    is_truncated: bool

    @property
    def last(self) -> str:
        """The greatest key or prefix of the page."""
        names = [*(each.key for each in self.objects[-1:]), *self.prefixes[-1:]]
        return max(names, key=os.fsencode, default="")

    def xml(self) -> str:
        """The answer of S3's ListObjects (version 1), in the exchange's form."""
        query = self.query
        head = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
            f"  <Name>{_NAME}</Name>",
            f"  <Prefix>{_escaped(query.prefix)}</Prefix>",
            f"  <Marker>{_escaped(query.marker)}</Marker>",
            f"  <MaxKeys>{query.max_keys}</MaxKeys>",
            *([f"  <Delimiter>{query.delimiter}</Delimiter>"] if query.delimiter else []),
            f"  <IsTruncated>{str(self.is_truncated).lower()}</IsTruncated>",
            *([f"  <NextMarker>{_escaped(self.last)}</NextMarker>"] if self.is_truncated and query.delimiter else []),
        ]
        rolled = [f"  <CommonPrefixes>\n    <Prefix>{_escaped(p)}</Prefix>\n  </CommonPrefixes>" for p in self.prefixes]
        return "\n".join([*head, *map(_contents, self.objects), *rolled, "</ListBucketResult>"]) + "\n"


def _contents(found: StoredObject) -> str:
    return (
        "  <Contents>\n"
        f"    <Key>{_escaped(found.key)}</Key>\n"
        f"    <LastModified>{found.modified:%Y-%m-%dT%H:%M:%S}.000Z</LastModified>\n"
        f"    <ETag>&quot;{found.etag}&quot;</ETag>\n"
        f"    <Size>{found.size}</Size>\n"
        "    <StorageClass>STANDARD</StorageClass>\n"
        "  </Contents>"
    )


def _escaped(text: str) -> str:
    return escape(text, _QUOTE)


_Histories = Mapping[bytes, list[tuple[int, Path]]]
"""The versions of files by name, oldest first: since when each was there, and where it lies now."""


@dataclass(slots=True)
class Bucket:
    """The objects under one folder. Files may change while it is served; safe for use from several threads.

    With a `clock`, only what was published by then is listed and served; where `listing_until_us` is set, the listing
    is that of an earlier moment: what came later is served and not listed. A file is dated before it is moved to its
    place, and not again there.
    """

    root: Path
    clock: Clock | None = None
    listing_until_us: int | None = None
    _etags: dict[Path, tuple[tuple[int, int, int], str]] = field(default_factory=dict)
    _folders: dict[Path, tuple[int, list[bytes]]] = field(default_factory=dict)
    _histories: dict[Path, tuple[int, _Histories]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.root.resolve(strict=True)

    def find(self, key: str) -> StoredObject | None:
        """The object of that key, or None."""
        if not self._is_inside(key) or not (self.root / key).is_file():
            return None
        return self._listed(key, None if self.clock is None else self.clock())

    def page(self, query: ListingQuery) -> ListingPage:
        """The keys after the marker that start with the prefix, at most `max_keys` of keys and common prefixes.

        A common prefix is listed if it is itself greater than the marker.
        """
        now_us = self._listing_us()
        entries = list(islice(self._entries(query, now_us), query.max_keys + 1)) if query.max_keys else []
        kept = entries[: query.max_keys]
        keys = [name.decode() for name in kept]
        found = (self._listed(key, now_us) for key in keys if not key.endswith("/"))
        return ListingPage(
            query,
            tuple(each for each in found if each is not None),
            tuple(key for key in keys if key.endswith("/")),
            len(entries) > len(kept),
        )

    def _listing_us(self) -> int | None:
        """The moment of which the listing speaks; None: everything that is there."""
        moments = [self.listing_until_us, None if self.clock is None else self.clock()]
        return min((each for each in moments if each is not None), default=None)

    def _entries(self, query: ListingQuery, now_us: int | None) -> Iterator[bytes]:
        """Keys, and with a delimiter common prefixes, in byte order from the marker on."""
        folder, slash, start = query.prefix.rpartition("/")
        if slash and not self._is_inside(folder):
            return iter(())
        above = f"{folder}/".encode() if folder else b""
        return self._walk(above, start.encode(), query.marker.encode(), bool(query.delimiter), now_us)

    def _walk(self, above: bytes, start: bytes, marker: bytes, rolled_up: bool, now_us: int | None) -> Iterator[bytes]:
        folder = self.root / os.fsdecode(above)
        names = self._names(folder)
        histories = {} if now_us is None else self._histories_in(folder)
        # The entry in which the marker lies sorts at or before it, so the walk begins one before.
        begin = max(bisect_left(names, max(marker[len(above) :], start) if marker.startswith(above) else start) - 1, 0)
        for name in names[begin:]:
            key = above + name
            if not name.startswith(start):
                if name > start:
                    return
            elif not name.endswith(b"/"):
                if key > marker and (now_us is None or _version_at(histories, name, now_us) is not None):
                    yield key
            elif rolled_up:
                if key > marker and any(True for _ in self._walk(key, b"", b"", rolled_up=False, now_us=now_us)):
                    yield key
            elif key > marker or marker.startswith(key):
                yield from self._walk(key, b"", marker, rolled_up, now_us)

    def _names(self, folder: Path) -> list[bytes]:
        """The entries of a folder in the order of their keys; a folder's name ends with a slash."""
        try:
            changed = folder.stat().st_mtime_ns
            known = self._folders.get(folder)
            if known is not None and known[0] == changed:
                return known[1]
            names = sorted(_entry_names(folder))
        except OSError:
            return []
        # A folder that changed a moment ago may change again without a new time.
        if time.time() - changed / 1e9 > _SETTLED_SECONDS:
            self._folders[folder] = (changed, names)
        return names

    def _histories_in(self, folder: Path) -> _Histories:
        """When each file of a folder was published, by name; looked up again only when the folder has changed."""
        try:
            changed = folder.stat().st_mtime_ns
            known = self._histories.get(folder)
            if known is not None and known[0] == changed:
                return known[1]
            histories = _histories(folder)
        except OSError:
            return {}
        if time.time() - changed / 1e9 > _SETTLED_SECONDS:
            self._histories[folder] = (changed, histories)
        return histories

    def _is_inside(self, name: str) -> bool:
        """Whether a key or prefix leads to a place below the root without a detour."""
        if "\0" in name or any(not part or part.startswith(".") for part in name.split("/")):
            return False
        path = self.root / name
        return path.resolve() == path

    def _listed(self, key: str, now_us: int | None) -> StoredObject | None:
        path = self.root / key
        if now_us is not None:
            version = _version_at(self._histories_in(path.parent), os.fsencode(path.name), now_us)
            if version is None:
                return None
            path = version
        try:
            stat = path.stat()
            return StoredObject(
                key, path, stat.st_size, datetime.fromtimestamp(int(stat.st_mtime), UTC), self._etag(path, stat)
            )
        except OSError:  # removed since it was found
            return None

    def _etag(self, path: Path, stat: os.stat_result) -> str:
        version = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._etags.get(path)
        if known is not None and known[0] == version:
            return known[1]
        with path.open("rb") as file:
            etag = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        self._etags[path] = (version, etag)
        return etag


def _histories(folder: Path) -> _Histories:
    """The versions of each file, oldest first."""
    found: dict[bytes, list[tuple[int, Path]]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            earlier = _EARLIER.fullmatch(name)
            if entry.is_file(follow_symlinks=False):
                versions = found.setdefault(earlier[1] if earlier else name, [])
                versions.append((entry.stat().st_mtime_ns // 1000, Path(entry.path)))
    return {name: sorted(versions) for name, versions in found.items()}


def _version_at(histories: _Histories, name: bytes, now_us: int) -> Path | None:
    """The version of a file that was there at a moment; None: there was none yet."""
    versions = histories.get(name)
    if versions is None or versions[0][0] > now_us:
        return None
    return next(path for since_us, path in reversed(versions) if since_us <= now_us)


def _entry_names(folder: Path) -> Iterator[bytes]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if name.startswith(b".") or not _is_utf8(name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield name + b"/"
            elif entry.is_file(follow_symlinks=False):
                yield name


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
