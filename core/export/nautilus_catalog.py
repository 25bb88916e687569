"""The names of files in a NautilusTrader catalog, and what may lie beside a new one.

A catalog reads every file of a folder, so rows that lie in two files would be read twice: intervals may not overlap.
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import StorageError

OURS: Final = {"written_by": "tapevault"}
"""In the footer of every file that we write, and may replace."""
_NAME: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)-(\d{9})Z_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)-(\d{9})Z\.parquet"
)


def file_name(first_ns: int, last_ns: int) -> str:
    """`2024-01-01T01-00-00-000000000Z_2024-01-31T23-00-00-000000000Z.parquet`."""
    return f"{_moment(first_ns)}_{_moment(last_ns)}.parquet"


def covered(folder: Path, first_ns: int, last_ns: int) -> list[Path]:
    """Files of ours that a new one of this interval replaces. Raises StorageError if anything else overlaps it."""
    found = []
    for path in sorted(folder.glob("*.parquet")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        first, last = _nanoseconds(match[1], match[2]), _nanoseconds(match[3], match[4])
        if last < first_ns or last_ns < first:
            continue
        if first < first_ns or last_ns < last or not is_ours(path):
            raise StorageError(
                f"{path} overlaps {file_name(first_ns, last_ns)} and its rows would be in the catalog twice; "
                "export at least what it holds, remove it, or choose another --out"
            )
        found.append(path)
    return found


def is_ours(path: Path) -> bool:
    """Whether an export wrote this file."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return all(metadata.get(name.encode()) == value.encode() for name, value in OURS.items())


def _moment(ns: int) -> str:
    moment = datetime.fromtimestamp(ns // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H-%M-%S}-{ns % 1_000_000_000:09d}Z"


def _nanoseconds(seconds: str, fraction: str) -> int:
    moment = datetime.strptime(seconds, "%Y-%m-%dT%H-%M-%S").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + int(fraction)
