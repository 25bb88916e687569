"""What lies under a data root: which files are ours, and what each of them is. No link is ever followed.

A file is ours if its path is one that `core.layout` gives; whatever else lies there belongs to somebody else.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from core.bars.spec import BarSpec
from core.datasets import DATASETS
from core.errors import ConfigError, storage_error
from core.layout import SYMBOL, Layout, is_folder, period_in, period_in_bars
from core.storage.draft import TEMPORARY
from core.storage.formats import FORMATS
from core.types import Market, Period, Series

ROOMS: Final = ("raw", "extracted", "processed", "quarantine", "cache", "metadata", "logs")
"""The folders of a data root."""
_PART: Final = re.compile(r"(.+)\.zip\.(part|part@[0-9]+|disputed)")
_DATABASE: Final = re.compile(r"download_status(\.rebuilt)?\.db(\.[0-9]{8}T[0-9]{6}Z\.old)?(-wal|-shm|-journal)?")
_METADATA: Final = re.compile(r"symbols_info\.json|\.writable\.[0-9]+")
_LINK: Final = "a link, which is not followed"
_LOCK: Final = re.compile(r"[\w.-]+\.(lock|json)")
_LIVE: Final = re.compile(r"[\w.-]+-[0-9]+\.json|\.[\w.-]+\.json\.tmp")
_LOG: Final = re.compile(r"tapevault\.log(\.[0-9]+)?|\.tapevault\.log\.lock")


class What(StrEnum):
    """What a file of ours is."""

    RAW = "archive"
    PART = "unfinished archive"
    DISPUTED = "disputed archive"
    EXTRACTED = "rows as text"
    PROCESSED = "partition"
    BARS = "bars"
    CROSS_SECTION = "cross-section"
    QUARANTINE = "quarantined lines"
    DATABASE = "status database"
    FORMER_DATABASE = "former status database"
    METADATA = "what a run has noted"
    LOG = "log"
    TEMPORARY = "temporary file"


@dataclass(frozen=True, slots=True)
class Held:
    """A file of ours. `series` and `period` are those of its path, None where it has none; `detail` is the format of
    rows as text, or the spec of bars."""

    path: Path
    what: What
    size: int
    modified_ns: int
    series: Series | None = None
    period: Period | None = None
    detail: str = ""
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something under a data root that is none of ours."""

    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class _Identity:
    what: What
    series: Series | None = None
    period: Period | None = None
    detail: str = ""


def holdings(layout: Layout, room: str = "") -> Iterator[Held | Foreign]:
    """Everything under a data root, or in one room of it, folder by folder. Raises StorageError."""
    top = layout.root / room
    for entry in _walk(top) if _link_to(layout.root, top) is None else ():
        yield _held(layout, entry)


def held_of(layout: Layout, series: Series) -> list[Held]:
    """The files of one series in all rooms, and the bars of its trades. Raises StorageError."""
    return [one for one in holdings_of(layout, series) if isinstance(one, Held)]


def holdings_of(layout: Layout, series: Series) -> Iterator[Held | Foreign]:
    """Everything that lies in the folders of one series. Raises StorageError."""
    for folder in _folders_of(layout, series):
        link = _link_to(layout.root, folder)
        if link is not None:
            yield Foreign(link, _LINK)
            continue
        for entry in _entries(folder):
            if not entry.is_dir(follow_symlinks=False):
                yield _held(layout, entry)


def tidy(layout: Layout, series: Series) -> None:
    """Remove the folders of a series that are empty, and those above them. Raises StorageError."""
    for folder in _folders_of(layout, series):
        while folder != layout.root and _is_inside(layout.root, folder) and not _entries(folder):
            _remove_folder(folder)
            folder = folder.parent


def tidy_all(layout: Layout) -> None:
    """Remove every folder of ours that is empty. Raises StorageError."""
    for room in ROOMS:
        if _is_inside(layout.root, layout.root / room):
            _tidy_below(layout.root / room)


def _tidy_below(folder: Path) -> None:
    for inside in _folders(folder):
        _tidy_below(inside)
    if not _entries(folder):
        _remove_folder(folder)


def _remove_folder(folder: Path) -> None:
    try:
        folder.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise storage_error(error, folder) from error


def _folders_of(layout: Layout, series: Series) -> list[Path]:
    """The folders in which files of one series may lie."""
    inside = Path(series.market, series.dataset, series.symbol, series.interval or "")
    found = [layout.root / room / inside for room in ("raw", "extracted", "processed", "quarantine")]
    return found + ([layout.bars_folder(spec, series) for spec in _specs(layout)] if series.interval is None else [])


def series_held(layout: Layout) -> list[Series]:
    """Every series of which a folder is there, sorted. Raises StorageError."""
    found: set[Series] = set()
    tops = [layout.root / room for room in ("raw", "extracted", "processed", "quarantine")]
    tops += [layout.root / "processed" / "bars" / spec for spec in _specs(layout)]
    for top in [top for top in tops if _is_inside(layout.root, top)]:
        for market in _folders(top):
            for dataset in _folders(market):
                for symbol in _folders(dataset):
                    inside = _folders(symbol)
                    parts = symbol.relative_to(top).parts
                    deeper = [_series(*parts, folder.name) for folder in inside]
                    found |= {one for one in (_series(*parts), *deeper) if one is not None}
    return sorted(found, key=str)


def identified(layout: Layout, path: Path) -> _Identity | None:
    """What a file of that path is; None if it is none of ours."""
    *folders, name = path.relative_to(layout.root).parts
    if not folders or folders[0] not in ROOMS:
        return None
    room, *inside = folders
    if TEMPORARY.fullmatch(name):
        return _Identity(What.TEMPORARY)
    if room == "metadata":
        return _metadata(inside, name)
    if room == "logs":
        return _Identity(What.LOG) if not inside and _LOG.fullmatch(name) else None
    if room == "cache":
        return _cross_section(layout, path, inside, name)
    if room == "processed" and inside[:1] == ["bars"]:
        return _bars(inside[1:], name)
    series = _series(*inside)
    return None if series is None else _of_series(room, series, name)


def _of_series(room: str, series: Series, name: str) -> _Identity | None:
    if room == "raw":
        part = _PART.fullmatch(name)
        what = What.RAW if part is None else What.DISPUTED if part.group(2) == "disputed" else What.PART
        period = period_in(part.group(1) if part else name.removesuffix(".zip"), series)
        return _Identity(what, series, period) if period and (part or name.endswith(".zip")) else None
    if room == "extracted":
        for form, module in FORMATS.items():
            period = period_in(name.removesuffix(module.SUFFIX), series) if name.endswith(module.SUFFIX) else None
            if period is not None:
                return _Identity(What.EXTRACTED, series, period, form)
        return None
    suffix, what = (".parquet", What.PROCESSED) if room == "processed" else (".csv", What.QUARANTINE)
    period = period_in(name.removesuffix(suffix), series) if name.endswith(suffix) else None
    return _Identity(what, series, period) if period is not None else None


def _bars(inside: list[str], name: str) -> _Identity | None:
    series = _series(*inside[1:])
    period = period_in_bars(name, series) if series is not None else None
    return _Identity(What.BARS, series, period, inside[0]) if period and _is_spec(inside[0]) else None


def _cross_section(layout: Layout, path: Path, inside: list[str], name: str) -> _Identity | None:
    if inside[:1] != ["cross_sections"] or len(inside) != 4:
        return None
    like = _series(inside[1], inside[2], "ANY", inside[3])
    try:
        period = Period.parse(name.removesuffix(".parquet"))
    except ValueError:
        return None
    is_ours = like is not None and layout.cross_section(like, period) == path
    return _Identity(What.CROSS_SECTION, like, period) if is_ours else None


def _metadata(inside: list[str], name: str) -> _Identity | None:
    if inside == ["locks"]:
        return _Identity(What.METADATA) if _LOCK.fullmatch(name) else None
    if inside == ["live"]:
        return _Identity(What.METADATA) if _LIVE.fullmatch(name) else None
    database = _DATABASE.fullmatch(name)
    if inside:
        return None
    if database is not None:
        is_former = database.group(1) is not None or database.group(2) is not None
        return _Identity(What.FORMER_DATABASE if is_former else What.DATABASE)
    return _Identity(What.METADATA) if _METADATA.fullmatch(name) else None


def _series(*parts: str) -> Series | None:
    """The series whose files lie in such a folder."""
    if len(parts) not in (3, 4) or parts[0] not in set(Market) or parts[1] not in DATASETS:
        return None
    market, dataset = Market(parts[0]), DATASETS[parts[1]]
    interval = parts[3] if len(parts) == 4 else None
    is_ours = market in dataset.markets and SYMBOL.fullmatch(parts[2])
    has_interval = interval in (dataset.intervals(market) or (None,))
    return Series(market, dataset.name, parts[2], interval) if is_ours and has_interval else None


def _specs(layout: Layout) -> list[str]:
    folder = layout.root / "processed" / "bars"
    return [one.name for one in _folders(folder) if _is_spec(one.name)] if _is_inside(layout.root, folder) else []


def _is_spec(text: str) -> bool:
    try:
        return str(BarSpec.parse(text)) == text
    except ConfigError:
        return False


def _held(layout: Layout, entry: "os.DirEntry[str]") -> Held | Foreign:
    path = Path(entry.path)
    if entry.is_symlink():
        return Foreign(path, _LINK)
    if not entry.is_file(follow_symlinks=False):
        return Foreign(path, "no plain file")
    found = identified(layout, path)
    if found is None:
        return Foreign(path, "no file of Tapevault's")
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return Held(path, found.what, 0, 0, found.series, found.period, found.detail)
    stamp = (status.st_size, status.st_mtime_ns)
    return Held(path, found.what, *stamp, found.series, found.period, found.detail, status.st_ino)


def _walk(folder: Path) -> Iterator["os.DirEntry[str]"]:
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        else:
            yield entry


def _folders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if entry.is_dir(follow_symlinks=False)]


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What lies in a folder, by name; nothing where it is none, or a link."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise storage_error(error, folder) from error


def _is_inside(root: Path, folder: Path) -> bool:
    """Whether a folder is there, and no link leads to it."""
    return is_folder(folder) and _link_to(root, folder) is None


def _link_to(root: Path, folder: Path) -> Path | None:
    """The first link on the way from the data root to a folder."""
    return next(
        (path for path in (*reversed(folder.parents), folder) if root in path.parents and path.is_symlink()), None
    )
