"""Locks as text: JSON with sorted keys, an entry on each line, so that two of them can be compared by any tool.

{
 "checksum": "...",                         of all else but `created`
 "content": "...",                          one digest of all rows
 "created": "2025-01-26T08:00:00Z",
 "end": "2025-02-01T00:00:00Z",
 "market": "um",
 "schema": 2,                               of the stored columns
 "series": {
  "um/klines/BTCUSDT/1h": {
   "content": {
    "2025-01": {"digest": "...", "first": "2025-01-01T00:00:00Z", "last": "2025-01-25T23:00:00Z", "rows": 600}
   },
   "partitions": {
    "2025-01": {
     "rows": 600,
     "sha256": "...",
     "sources": [
      {"first": ..., "key": "data/futures/um/daily/...", "last": ..., "proof": ..., "rows": 24, "sha256": "..."}
     ]
    }
   }
  }
 },
 "start": "2025-01-01T00:00:00Z",
 "tool": "tapevault 0.1.0",
 "version": 1
}
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from core.datasets import DATASETS, SCHEMA_VERSION
from core.errors import ConfigError, storage_error
from core.layout import sync_folder
from core.snapshot.lock import Content, Lock, LockedPartition, LockedSeries, Origin
from core.types import Market, Period, Proof, Series, Span

VERSION: Final = 1
"""Of the text's form."""
DEFAULT_NAME: Final = "data.lock"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNPROVED: Final = ("checksum", "created")


def save(lock: Lock, path: Path, force: bool = False) -> None:
    """Write a lock in one step. Raises ConfigError if something is there and not `force`, StorageError, DiskFull."""
    refuse_taken(path, force)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(to_text(lock))
            stream.flush()
            os.fsync(stream.fileno())
        refuse_taken(path, force)
        temporary.replace(path)
        sync_folder(path.absolute().parent)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):  # it has its name, or what went wrong is told already
            temporary.unlink()


def refuse_taken(path: Path, force: bool) -> None:
    """Raises ConfigError if there is a file already and it may not be replaced, or a folder."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name the lock's file, for example {path / DEFAULT_NAME}")
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already; --force replaces it, --output writes another")


def load(path: Path) -> Lock:
    """Read a lock. Raises ConfigError that says what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no lock {path}; scripts/snapshot.py create makes one") from None
    except OSError as error:
        raise ConfigError(f"cannot read the lock {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(_damaged(path, "it is no text")) from error
    return from_text(text, path)


def to_text(lock: Lock) -> str:
    """The text of a lock: the same but for `created` whenever and wherever the same was locked."""
    document = _document(lock)
    return "\n".join(_lines({**document, "checksum": _checksum(document)}, 0)) + "\n"


def from_text(text: str, path: Path) -> Lock:
    """The lock in a text; `path` is named in errors. Raises ConfigError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "no JSON"
        raise ConfigError(_damaged(path, where)) from error
    if not isinstance(document, dict) or type(document.get("version")) is not int:
        raise ConfigError(_damaged(path, "it names no version, so it is no lock"))
    if document["version"] > VERSION:
        raise ConfigError(
            f"{path} was made by a newer version ({document.get('tool', 'unknown')}, form {document['version']}; "
            f"this is form {VERSION}): update Tapevault"
        )
    if document.get("checksum") != _checksum(document):
        raise ConfigError(
            _damaged(path, "its checksum is not that of its content, so it was changed after it was made")
        )
    if document.get("schema") != SCHEMA_VERSION:
        raise ConfigError(
            f"{path} locks rows with other columns (schema {document.get('schema')}; this version stores "
            f"{SCHEMA_VERSION}): use {document.get('tool')}, or create it again"
        )
    try:
        return _lock(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConfigError(_damaged(path, f"{type(error).__name__}: {error}")) from error


def _damaged(path: Path, why: str) -> str:
    return f"{path} is damaged: {why}; get the original, or make one with scripts/snapshot.py create"


def _checksum(document: Mapping[str, Any]) -> str:
    proved = {name: value for name, value in document.items() if name not in _UNPROVED}
    return hashlib.sha256(json.dumps(proved, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _lines(value: Mapping[str, Any] | list[Any], depth: int) -> Iterator[str]:
    """JSON with sorted keys; what holds nothing but plain values stands on one line."""
    is_list = isinstance(value, list)
    items: list[tuple[str, Any]] = [("", each) for each in value] if is_list else sorted(dict(value).items())
    yield "[" if is_list else "{"
    pad = " " * (depth + 1)
    for number, (key, each) in enumerate(items, 1):
        name = "" if is_list else f"{json.dumps(key)}: "
        comma = "," if number < len(items) else ""
        if _is_flat(each):
            yield f"{pad}{name}{json.dumps(each, sort_keys=True)}{comma}"
        else:
            first, *middle, last = _lines(each, depth + 1)
            yield f"{pad}{name}{first}"
            yield from middle
            yield f"{last}{comma}"
    yield f"{' ' * depth}{']' if is_list else '}'}"


def _is_flat(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not any(isinstance(each, dict | list) for each in inner)


def _document(lock: Lock) -> dict[str, Any]:
    return {
        "content": lock.content,
        "created": lock.created,
        "end": _text(lock.span.end_us),
        "market": lock.market.value,
        "schema": SCHEMA_VERSION,
        "series": {str(one.series): _series_entry(one) for one in lock.series},
        "start": _text(lock.span.start_us),
        "tool": lock.tool,
        "version": VERSION,
    }


def _series_entry(one: LockedSeries) -> dict[str, Any]:
    return {
        "content": {each.period.label: {"digest": each.digest, **_extent(each)} for each in one.contents},
        "partitions": {
            part.period.label: {
                "rows": part.rows,
                "sha256": part.sha256,
                "sources": [
                    {"key": each.key, "sha256": each.sha256, "proof": each.proof.value, **_extent(each)}
                    for each in part.origins
                ],
            }
            for part in one.partitions
        },
    }


def _extent(each: Content | Origin) -> dict[str, Any]:
    return {"rows": each.rows, "first": _text(each.first_us), "last": _text(each.last_us)}


def _lock(document: Mapping[str, Any]) -> Lock:
    market = Market(document["market"])
    series = tuple(_series(name, entry, market) for name, entry in sorted(document["series"].items()))
    span = Span(_us(document["start"]), _us(document["end"]))
    lock = Lock(market, span, series, str(document["created"]), str(document["tool"]))
    if lock.content != document["content"]:
        raise ValueError("its digest of all rows is another one")
    return lock


def _series(name: str, entry: Mapping[str, Any], market: Market) -> LockedSeries:
    head, dataset, symbol, *rest = name.split("/")
    series = Series(Market(head), dataset, symbol, rest[0] if rest else None)
    if series.market is not market or dataset not in DATASETS or str(series) != name:
        raise ValueError(f"{name} is no series of {market}")
    contents = [Content(Period.parse(label), *_facts(each), each["digest"]) for label, each in entry["content"].items()]
    partitions = [_partition(label, each) for label, each in entry["partitions"].items()]
    return LockedSeries(
        series,
        tuple(sorted(contents, key=lambda each: each.period)),
        tuple(sorted(partitions, key=lambda each: (each.period.span.start_us, -each.period.span.end_us))),
    )


def _partition(label: str, entry: Mapping[str, Any]) -> LockedPartition:
    origins = tuple(
        Origin(each["key"], each["sha256"], Proof(each["proof"]), *_facts(each)) for each in entry["sources"]
    )
    return LockedPartition(Period.parse(label), entry["sha256"], int(entry["rows"]), origins)


def _facts(entry: Mapping[str, Any]) -> tuple[int, int, int]:
    return int(entry["rows"]), _us(entry["first"]), _us(entry["last"])


def _text(us: int) -> str:
    """An instant as `2025-01-01T08:00:00Z`, with microseconds where it has some."""
    return (_EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")


def _us(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
