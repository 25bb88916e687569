"""Arrow's IPC file format, uncompressed: a reader maps it into memory and copies nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.ipc

from core.datasets import Dataset
from core.storage.schema import schema_of
from core.types import Market

SUFFIX: Final = ".arrow"


class Writer:
    """Appends record batches to a file."""

    def __init__(self, path: Path, dataset: Dataset, market: Market, row_group_rows: int) -> None:
        self._row_group_rows = row_group_rows
        self._writer = pa.ipc.new_file(path, schema_of(dataset, market))

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_table(pa.Table.from_batches([batch]), max_chunksize=self._row_group_rows)

    def close(self, facts: Mapping[str, str]) -> None:
        """`facts` have no place in a file whose schema is written first."""
        self._writer.close()

    def abandon(self) -> None:
        """Close without a promise; the file is of no use."""
        self._writer.close()


def read(path: Path) -> pa.Table:
    """All rows of a file, mapped into memory."""
    with pa.memory_map(str(path)) as mapped:
        return pa.ipc.open_file(mapped).read_all()
