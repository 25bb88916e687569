"""What is on disk: of each series from when to when, how much, what is missing and what the exchange replaced."""

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa

from core.datasets import DATASETS
from core.datasets.dataset import Kind
from core.download.known import known_revisions
from core.integrity.checker import IntegrityChecker
from core.layout import Layout
from core.settings import Settings, load_known_gaps
from core.snapshot.take import each_in_threads
from core.storage.manager import StorageManager
from core.storage.stored import StoredRows
from core.types import Gap, Market, PartitionFacts, Series, Span
from loader.frames import Columns

_TIME: Final = pa.timestamp("us", tz="UTC")
_TYPES: Final = {
    Kind.TIME: "datetime64[us, UTC]",
    Kind.TEXT_TIME: "datetime64[us, UTC]",
    Kind.DECIMAL: "float64",
    Kind.INTEGER: "int64",
    Kind.BOOLEAN: "bool",
    Kind.TEXT: "category",
}


def coverage_columns(storage: StoredRows, settings: Settings, wanted: Sequence[Series], with_gaps: bool) -> Columns:
    """A row for each series; with gaps every series is read through once."""
    facts = storage.facts(wanted)
    stored = [(one, parts) for one, parts in zip(wanted, facts, strict=True) if parts]
    layout = Layout(settings.data_root)
    revisions = known_revisions(layout)
    columns: Columns = {
        "market": _words(one.market.value for one, _ in stored),
        "data_type": _words(one.dataset for one, _ in stored),
        "symbol": _words(one.symbol for one, _ in stored),
        "interval": _words(one.interval for one, _ in stored),
        "first": _times(min(part.first_us for part in parts) for _, parts in stored),
        "last": _times(max(part.last_us for part in parts) for _, parts in stored),
        "rows": _integers(sum(part.rows for part in parts) for _, parts in stored),
        "files": _integers(len(parts) for _, parts in stored),
        "bytes": _integers(_bytes(parts) for _, parts in stored),
    }
    if with_gaps:
        reading = StorageManager(layout, settings.storage, settings.quality)
        checker = IntegrityChecker(layout, reading, None, settings.quality, load_known_gaps())
        own = {one: Span(min(p.first_us for p in parts), max(p.last_us for p in parts) + 1) for one, parts in stored}
        gaps = each_in_threads(checker.gaps, list(own))
        found: list[list[Gap]] = [
            [gap for gap in each if span.contains(gap.span)] for each, span in zip(gaps, own.values(), strict=True)
        ]
        columns["gaps"] = _integers(len(gaps) for gaps in found)
        columns["missing_rows"] = _integers(sum(gap.rows for gap in gaps) for gaps in found)
        columns["open_gaps"] = _integers(sum(gap.status == "open" for gap in gaps) for gaps in found)
    columns["revisions"] = _integers(revisions.get(one, 0) for one, _ in stored)
    return columns


def summary_columns(storage: StoredRows, wanted: Sequence[Series]) -> Columns:
    """A row for each market, data type and interval of which anything is stored."""
    facts = zip(wanted, storage.facts(wanted), strict=True)
    groups: dict[tuple[Market, str, str | None], list[tuple[PartitionFacts, ...]]] = {}
    for one, parts in facts:
        if parts:
            groups.setdefault((one.market, one.dataset, one.interval), []).append(parts)
    flat = [[part for parts in of_group for part in parts] for of_group in groups.values()]
    return {
        "market": _words(market.value for market, _, _ in groups),
        "data_type": _words(name for _, name, _ in groups),
        "interval": _words(interval for _, _, interval in groups),
        "symbols": _integers(len(of_group) for of_group in groups.values()),
        "first": _times(min(part.first_us for part in parts) for parts in flat),
        "last": _times(max(part.last_us for part in parts) for parts in flat),
        "rows": _integers(sum(part.rows for part in parts) for parts in flat),
        "files": _integers(map(len, flat)),
        "bytes": _integers(map(_bytes, flat)),
    }


def dictionary_columns(market: Market, data_type: str) -> Columns:
    """A row for each column of a data type: its type in a frame, its unit and what it means."""
    columns = DATASETS[data_type].stored_columns(market)
    return {
        "column": _words(column.name for column in columns),
        "dtype": _words(_TYPES[column.kind] for column in columns),
        "unit": _words(column.unit for column in columns),
        "meaning": _words(column.doc for column in columns),
    }


def _bytes(parts: Iterable[PartitionFacts]) -> int:
    return sum(part.stamp.size for part in parts if part.stamp is not None)


def _words(values: Iterable[str | None]) -> pa.Array:
    return pa.array(list(values), pa.string())


def _integers(values: Iterable[int]) -> pa.Array:
    return pa.array(list(values), pa.int64())


def _times(values: Iterable[int]) -> pa.Array:
    return pa.array(list(values), pa.int64()).cast(_TIME)
