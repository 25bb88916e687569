"""Cross-sections: the candles of all symbols of a month (of short ones, a day) in one file, by time, then symbol.

A day of five hundred symbols lies in as many files; here it is one read. It is a cache, which may be deleted at any
time: each file says of which partition files its rows are, by size and time of writing, and counts for nothing where
these are others now. Rows are those that every reader gets (`StoredRows.scan`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.datasets import DATASETS
from core.dates import DAY_US, INTERVAL_US, MINUTE_US, day_of
from core.layout import Layout
from core.storage.draft import unlink
from core.storage.partitions import LOOKS, keeps_changing
from core.storage.remembered import stamp_at
from core.storage.schema import schema_of
from core.storage.stored import StoredRows
from core.storage.table_draft import TableDraft
from core.types import Cadence, PartitionFacts, Period, Series, Span, Stamp

VERSION: Final = 1
_KEY: Final = b"tapevault.cross_section"
_GROUP_ROWS: Final = 16_384
"""About a day of five hundred symbols' hours."""
_BY_DAY_BELOW_US: Final = 5 * MINUTE_US
"""A month of shorter candles of all symbols would not fit in memory."""

Parts = frozenset[tuple[str, int, int, int, int]]
"""Partition files: period, size, time of writing in ns, first and last timestamp."""


@dataclass(frozen=True, slots=True)
class CrossSection:
    """What a file says of itself. Rows have the number of their symbol in `symbols`; `parts` are its partition files
    when it was made."""

    path: Path
    stamp: Stamp
    period: Period
    rows: int
    symbols: tuple[str, ...]
    parts: Mapping[str, Parts]

    @property
    def facts(self) -> PartitionFacts:
        """As any file is read."""
        span = self.period.span
        return PartitionFacts(self.period, self.path, self.rows, span.start_us, span.end_us - 1, (), (), self.stamp)

    def has(self, symbol: str, found: Sequence[PartitionFacts], span: Span) -> bool:
        """Whether its rows of a symbol in `span` are still those of the files that were found."""
        return parts_in(found, span) == {part for part in self.parts.get(symbol, ()) if _overlaps(part, span)}


class CrossSections:
    """The cross-sections under one data root; what they say is kept while they are the same files."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: dict[Path, CrossSection] = {}

    def at(self, like: Series, span: Span) -> CrossSection | None:
        """The cross-section of which `span` is a part, for the market, data type and interval of a series."""
        if like.interval is None:
            return None
        period = period_around(like.interval, span.start_us)
        if not period.span.contains(span):
            return None
        path = self._layout.cross_section(like, period)
        stamp = stamp_at(path)
        if stamp is None:
            return None
        known = self._known.get(path)
        if known is None or known.stamp != stamp:
            known = _read(path, period, stamp)
            if known is not None:
                self._known[path] = known
        return known


def period_around(interval: str, time_us: int) -> Period:
    """The period of the cross-section in which a time lies."""
    step_us = INTERVAL_US[interval] or DAY_US
    cadence = Cadence.DAILY if step_us < _BY_DAY_BELOW_US else Cadence.MONTHLY
    return Period.day(day_of(time_us)).within(cadence)


def periods_of(storage: StoredRows, wanted: Sequence[Series]) -> list[Period]:
    """The periods in which any of these series, of one interval, has rows."""
    found: set[Period] = set()
    for one, parts in zip(wanted, storage.facts(wanted), strict=True):
        for part in parts:
            at_us = part.first_us
            while at_us <= part.last_us:
                period = period_around(str(one.interval), at_us)
                found.add(period)
                at_us = period.span.end_us
    return sorted(found)


def is_current(sections: CrossSections, storage: StoredRows, wanted: Sequence[Series], period: Period) -> bool:
    """Whether the cross-section of these series and that period is there and right."""
    known = sections.at(wanted[0], period.span)
    if known is None or set(known.parts) - {one.symbol for one in wanted}:
        return False
    facts = zip(wanted, storage.facts(wanted, storage.around(period.span)), strict=True)
    return all(known.has(one.symbol, parts, period.span) for one, parts in facts)


def make(layout: Layout, storage: StoredRows, wanted: Sequence[Series], period: Period) -> tuple[Path, int]:
    """Make the cross-section of series of one market, data type and interval; its path and rows.

    Raises StorageError, DiskFull.
    """
    tables, parts = [], {}
    for number, one in enumerate(wanted):
        rows, own = _at_rest(storage, one, period.span)
        if own:
            parts[one.symbol] = own
        tables.append(rows.append_column("symbol", pa.array(np.full(rows.num_rows, number, dtype=np.int32))))
    table = pa.concat_tables(tables)
    order = np.argsort(table.column("timestamp").cast(pa.int64()).to_numpy(), kind="stable")
    path = layout.cross_section(wanted[0], period)
    names = [one.symbol for one in wanted]
    said = {"version": VERSION, "symbols": names, "parts": {name: sorted(own) for name, own in parts.items()}}
    options = {"row_group_size": _GROUP_ROWS, "use_dictionary": False, "column_encoding": _encodings(table.schema)}
    with TableDraft(path) as draft:
        draft.put(table.take(pa.array(order)), _KEY, said, **options)
    return path, table.num_rows


def remove_all(layout: Layout) -> int:
    """Delete all cross-sections; how many there were."""
    paths = sorted(layout.cross_sections.rglob("*.parquet"))
    for path in paths:
        unlink(path)
    return len(paths)


def parts_in(found: Sequence[PartitionFacts], span: Span) -> set[tuple[str, int, int, int, int]]:
    """Those of the files that have rows in the span."""
    return {
        (one.period.label, one.stamp.size, one.stamp.modified_ns, one.first_us, one.last_us)
        for one in found
        if one.stamp is not None and one.first_us < span.end_us and one.last_us >= span.start_us
    }


def _overlaps(part: tuple[str, int, int, int, int], span: Span) -> bool:
    return part[3] < span.end_us and part[4] >= span.start_us


def _at_rest(storage: StoredRows, one: Series, span: Span) -> tuple[pa.Table, Parts]:
    """The rows of a series in a span, and the files that they are of, which did not change meanwhile."""
    around = storage.around(span)
    for _ in range(LOOKS):
        before = storage.facts([one], around)[0]
        batches = list(storage.scan(one, span))
        if storage.facts([one], around)[0] == before:
            schema = schema_of(DATASETS[one.dataset], one.market)
            return pa.Table.from_batches(batches, schema), frozenset(parts_in(before, span))
    raise keeps_changing(one)


def _encodings(schema: pa.Schema) -> dict[str, str]:
    return {
        field.name: "BYTE_STREAM_SPLIT" if pa.types.is_floating(field.type) else "DELTA_BINARY_PACKED"
        for field in schema
    }


def _read(path: Path, period: Period, stamp: Stamp) -> CrossSection | None:
    """What a file says; None if it is none of ours or has gone, for then it is worth nothing."""
    try:
        metadata = pq.read_metadata(path)
        said = json.loads((metadata.metadata or {})[_KEY])
        if said["version"] != VERSION or stamp_at(path) != stamp:
            return None
        parts = {symbol: frozenset(map(tuple, each)) for symbol, each in said["parts"].items()}
        return CrossSection(path, stamp, period, metadata.num_rows, tuple(said["symbols"]), parts)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def groups_of(wanted: Sequence[Series]) -> Iterator[list[Series]]:
    """Series by market, data type and interval, of those that have intervals."""
    groups: dict[tuple[str, str, str], list[Series]] = {}
    for one in sorted(wanted, key=str):
        if one.interval is not None:
            groups.setdefault((one.market, one.dataset, one.interval), []).append(one)
    yield from groups.values()
