"""Parquet, encoded so that reading is fast: floats of candles split by byte, times and ids as deltas, the few prices of
trades and all words by dictionary. The footer says where the rows came from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from core.datasets import Dataset
from core.storage.schema import schema_of
from core.types import Market

SUFFIX: Final = ".parquet"
_REPEATING: Final = ("price", "qty", "quantity", "percentage", "best_bid_price", "best_ask_price")


class Writer:
    """Appends record batches to a file; `close` writes the footer with `facts` in it."""

    def __init__(self, path: Path, dataset: Dataset, market: Market, row_group_rows: int) -> None:
        self._row_group_rows = row_group_rows
        self._writer = pq.ParquetWriter(path, schema_of(dataset, market), **_encoding(dataset, market))

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch, row_group_size=self._row_group_rows)

    def close(self, facts: Mapping[str, str]) -> None:
        self._writer.add_key_value_metadata(dict(facts))
        self._writer.close()

    def abandon(self) -> None:
        """Close without a promise; the file is of no use."""
        self._writer.close()


def read(path: Path) -> pa.Table:
    """All rows of a file."""
    return pq.ParquetFile(path).read()


def _encoding(dataset: Dataset, market: Market) -> dict[str, Any]:
    is_tape = dataset.key != ("timestamp",)
    encodings: dict[str, str] = {}
    for field in schema_of(dataset, market):
        if pa.types.is_floating(field.type):
            encodings[field.name] = "BYTE_STREAM_SPLIT"
        elif not pa.types.is_boolean(field.type) and not pa.types.is_string(field.type):
            encodings[field.name] = "DELTA_BINARY_PACKED"
    repeating = [name for name in _REPEATING if is_tape and name in encodings]
    words = [field.name for field in schema_of(dataset, market) if pa.types.is_string(field.type)]
    names = schema_of(dataset, market).names
    # What is split by byte hardly compresses (zstd takes 5 % off more than lz4); deltas and dictionaries do.
    packed = [name for name in names if is_tape and (name in repeating or encodings.get(name) != "BYTE_STREAM_SPLIT")]
    return {
        "compression": {name: "zstd" if name in packed else "lz4" for name in names},
        "compression_level": dict.fromkeys(packed, 1) or None,
        "use_dictionary": [*repeating, *words],
        "column_encoding": {name: encoding for name, encoding in encodings.items() if name not in repeating},
        "version": "2.6",
    }
