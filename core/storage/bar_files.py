"""Bars on disk: a file for each month of trades, which says what it was made of and how it goes on.

processed/bars/dollar-40000000/um/trades/BTCUSDT/BTCUSDT-2024-01.parquet

The bars of a month are those that its trades close. Its footer has the archives whose trades these are, what stood
before the first of them (as a digest), and the builder's state behind the last. So the next day goes on from there, and
a month whose archives are others by now, or before which something else stands, is known to be out of date. Pages have
checksums and the footer a digest, so that a damaged file is known, too, and is as good as none.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from core.dates import day_of
from core.errors import StorageError, storage_error
from core.layout import Layout, period_in_bars
from core.storage.draft import unlink
from core.storage.stored import StoredRows
from core.storage.table_draft import TableDraft
from core.types import Cadence, Period, Series, Span

VERSION: Final = 2
_KEY: Final = b"tapevault.bars"

Origin = tuple[str, str, int, int, int, int]
"""Trades of one archive that lie in one partition: its key and SHA-256, their number, first and last timestamp, and how
many of them count beside a longer archive."""


@dataclass(frozen=True, slots=True)
class BarMonth:
    """What the file of a month says. `state` is the builder's behind the month's last trade."""

    month: Period
    path: Path
    bars: int
    origins: tuple[Origin, ...]
    before: str
    state: Mapping[str, Any] = field(repr=False)

    @property
    def after(self) -> str:
        """What stands before the next month."""
        return digest_of(self.state)


class BarFiles:
    """The bars of one spec and series. Several processes may read while one writes."""

    def __init__(self, layout: Layout, spec: str, series: Series) -> None:
        self._layout = layout
        self._spec = spec
        self._series = series

    def months(self, are_read: bool = False) -> dict[Period, BarMonth]:
        """What is there, in order of time. A file that cannot be read is as good as none: bars can be made again. Only
        if `are_read` are the bars themselves read for that, too, and not only what is said of them."""
        folder = self._layout.bars_folder(self._spec, self._series)
        try:
            names = sorted(entry.name for entry in os.scandir(folder))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise storage_error(error, folder) from error
        periods = [period_in_bars(name, self._series) for name in names]
        found = [self._month(period) for period in periods if period is not None]
        return {one.month: one for one in found if one is not None and not (are_read and self._is_damaged(one.month))}

    def read(self, month: Period) -> pa.Table:
        """The bars of a month. Raises StorageError."""
        path = self._layout.bars(self._spec, self._series, month)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                return file.read().replace_schema_metadata(None)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"cannot read {path}: {error}; make the bars again with pipeline.py features") from error

    def write(
        self, month: Period, bars: pa.Table, origins: Sequence[Origin], before: str, state: Mapping[str, Any]
    ) -> None:
        """Put the bars of a month in place. Raises StorageError, DiskFull."""
        said = {
            "version": VERSION,
            "spec": self._spec,
            "series": str(self._series),
            "month": month.label,
            "bars": bars.num_rows,
            "schema": str(bars.schema.remove_metadata()),
            "origins": origins,
            "before": before,
            "state": state,
        }
        with TableDraft(self._layout.bars(self._spec, self._series, month)) as draft:
            draft.put(bars, _KEY, {**said, "digest": digest_of(said)}, write_page_checksum=True)

    def remove(self, month: Period) -> None:
        unlink(self._layout.bars(self._spec, self._series, month))

    def _month(self, month: Period) -> BarMonth | None:
        path = self._layout.bars(self._spec, self._series, month)
        try:
            with pq.ParquetFile(path) as file:
                metadata, schema = file.metadata, str(file.schema_arrow.remove_metadata())
            said = json.loads((metadata.metadata or {})[_KEY])
            own = (VERSION, self._spec, str(self._series), month.label, metadata.num_rows, schema)
            if tuple(said[name] for name in ("version", "spec", "series", "month", "bars", "schema")) != own:
                return None
            if said.pop("digest") != digest_of(said):
                return None
            origins = tuple(_origin(*one) for one in said["origins"])
            return BarMonth(month, path, metadata.num_rows, origins, said["before"], said["state"])
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, AttributeError):
            return None

    def _is_damaged(self, month: Period) -> bool:
        try:
            self.read(month)
        except StorageError:
            return True
        return False


def _origin(key: str, sha256: str, rows: int, first_us: int, last_us: int, beside: int) -> Origin:
    return key, sha256, rows, first_us, last_us, beside


def origins_of(storage: StoredRows, series: Series, span: Span | None = None) -> dict[Period, tuple[Origin, ...]]:
    """By month what its trades are of, in order of time; trades of one archive may touch two months.

    Trades of the time before a month that rows may lie outside of their file count as such, for a few are older than
    those before them: where one follows the first of the new month, that is its month. Raises StorageError if a
    partition cannot be read.
    """
    found: dict[Period, list[Origin]] = {}
    months: set[Period] = set()
    for partition in storage.partitions(series, span):
        for source in partition.sources:
            if source.rows == 0:
                continue
            beside = source.added + source.changed
            one: Origin = (source.key, source.sha256, source.rows, source.first_us, source.last_us, beside)
            months.update(_months(source.first_us, source.last_us))
            for month in _months(source.first_us, source.last_us + storage.slack_us):
                found.setdefault(month, []).append(one)
    return {month: tuple(sorted(found[month], key=lambda one: (one[3], one[0]))) for month in sorted(months)}


def digest_of(state: Mapping[str, Any]) -> str:
    """By which a builder's state, or what a footer says, is known again."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def is_right(months: Mapping[Period, BarMonth], current: Mapping[Period, Sequence[Origin]], start: str) -> bool:
    """Whether these are the bars of just these trades; `start` is what stands before the first month."""
    if list(months) != list(current):
        return False
    before = start
    for month, origins in current.items():
        if months[month].before != before or months[month].origins != tuple(origins):
            return False
        before = months[month].after
    return True


def _months(first_us: int, last_us: int) -> Iterator[Period]:
    month = Period.day(day_of(first_us)).within(Cadence.MONTHLY)
    while month.span.start_us <= last_us:
        yield month
        month = Period.day(day_of(month.span.end_us)).within(Cadence.MONTHLY)
