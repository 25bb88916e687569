"""The same CSV, compressed with gzip."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv as pc

from core.datasets import Dataset
from core.storage.schema import schema_of
from core.types import Market

SUFFIX: Final = ".csv.gz"


class Writer:
    """Appends record batches to a file; the same rows give the same bytes, for no name or time is written."""

    def __init__(self, path: Path, dataset: Dataset, market: Market, row_group_rows: int) -> None:
        options = pc.WriteOptions(quoting_style="none", quoting_header="none", batch_size=row_group_rows)
        self._file = path.open("wb")
        self._packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=self._file, mtime=0)
        self._writer = pc.CSVWriter(self._packed, schema_of(dataset, market), write_options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self, facts: Mapping[str, str]) -> None:
        """`facts` have no place in a CSV."""
        self._writer.close()
        self._packed.close()
        self._file.close()

    def abandon(self) -> None:
        """Close without a promise; the file is of no use."""
        self._file.close()


def read(path: Path) -> pa.Table:
    """All rows of a file, types as Arrow infers them."""
    with gzip.open(path) as packed:
        return pc.read_csv(packed)
