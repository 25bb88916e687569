"""CSV that is the same for every market and year: our column names, a header, times as ISO 8601 in UTC with
microseconds, floats in the shortest form that reads back as the same double."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv as pc

from core.datasets import Dataset
from core.storage.schema import schema_of
from core.types import Market

SUFFIX: Final = ".csv"


class Writer:
    """Appends record batches to a file."""

    def __init__(self, path: Path, dataset: Dataset, market: Market, row_group_rows: int) -> None:
        options = pc.WriteOptions(quoting_style="none", quoting_header="none", batch_size=row_group_rows)
        self._writer = pc.CSVWriter(path, schema_of(dataset, market), write_options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self, facts: Mapping[str, str]) -> None:
        """`facts` have no place in a CSV."""
        self._writer.close()

    def abandon(self) -> None:
        """Close without a promise; the file is of no use."""
        self._writer.close()


def read(path: Path) -> pa.Table:
    """All rows of a file, types as Arrow infers them."""
    return pc.read_csv(path)
