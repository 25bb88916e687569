"""Rows of the status database as nouns, and nouns as rows."""

import functools
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.dialects.sqlite import insert as upsert

from core.download.tables import PARTITIONS
from core.types import ArchiveFile, Download, Market, Partition, Period, Proof, Series, State


def file_row(file: ArchiveFile, now_us: int) -> dict[str, Any]:
    """A planned row of a listed file."""
    return {
        "key": file.key,
        "market": file.series.market.value,
        "dataset": file.series.dataset,
        "symbol": file.series.symbol,
        "interval": file.series.interval,
        "period": file.period.label,
        "size": file.size,
        "etag": file.etag,
        "checksum_etag": file.checksum_etag,
        "modified": file.modified,
        "state": State.PLANNED.value,
        "changed_us": now_us,
    }


def partition_row(file_id: int, partition: Partition) -> dict[str, Any]:
    """What an archive became."""
    return {
        "file_id": file_id,
        "rows": partition.rows,
        "first_us": partition.first_us,
        "last_us": partition.last_us,
        "source_unit": partition.source_unit,
        "duplicates": partition.duplicates,
        "reordered": partition.reordered,
    }


_NEW: Final = upsert(PARTITIONS)
UPSERT_PARTITION: Final = _NEW.on_conflict_do_update(
    set_={column.name: _NEW.excluded[column.name] for column in PARTITIONS.c if not column.primary_key}
)
"""Record what archives became; takes rows of `partition_row`."""


@functools.lru_cache(maxsize=4096)
def _series(market: str, dataset: str, symbol: str, interval: str | None) -> Series:
    return Series(Market(market), dataset, symbol, interval)


def to_download(row: Row[Any]) -> Download:
    """A row of `files`."""
    series = _series(row.market, row.dataset, row.symbol, row.interval)
    file = ArchiveFile(series, Period.parse(row.period), row.key, row.size, row.etag, row.checksum_etag, row.modified)
    proof = Proof(row.proof) if row.proof else None
    return Download(
        row.id, file, State(row.state), row.attempts, row.bytes_done, row.owner, row.sha256, proof, row.error
    )
