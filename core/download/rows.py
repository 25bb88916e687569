"""Rows of the status database as nouns, and nouns as rows."""

import functools
from typing import Any

from sqlalchemy import Row

from core.types import ArchiveFile, Download, Market, Period, Proof, Series, State


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


@functools.lru_cache(maxsize=4096)
def series_named(market: str, dataset: str, symbol: str, interval: str | None) -> Series:
    return Series(Market(market), dataset, symbol, interval)


def to_download(row: Row[Any]) -> Download:
    """A row of `files`."""
    series = series_named(row.market, row.dataset, row.symbol, row.interval)
    file = ArchiveFile(series, Period.parse(row.period), row.key, row.size, row.etag, row.checksum_etag, row.modified)
    proof = Proof(row.proof) if row.proof else None
    fault = State(row.fault) if row.fault else None
    return Download(
        row.id,
        file,
        State(row.state),
        row.attempts,
        row.bytes_done,
        row.owner,
        row.sha256,
        proof,
        row.error,
        fault,
        row.asks,
    )
