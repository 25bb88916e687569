"""A table on its way to a Parquet file of its own, which says in its footer what it is."""

import json
import os
from collections.abc import Mapping
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from core.layout import make_folder
from core.storage.draft import Draft, unlink


class TableDraft(Draft):
    """A Parquet file under its temporary name; leaving the block takes away what was not put in place.

    Raises StorageError, DiskFull.
    """

    def __enter__(self) -> Self:
        with self._guard():
            make_folder(self._path.parent)
        return self

    def put(self, table: pa.Table, key: bytes, said: Mapping[str, Any], **options: Any) -> None:
        """Write the table with `said` as JSON under `key` in the footer, sync it and give it its name; `options` are
        those of `pyarrow.parquet.write_table`."""
        table = table.replace_schema_metadata({key: json.dumps(said)})
        with self._guard():
            pq.write_table(table, self._temporary, compression="lz4", version="2.6", **options)
            with self._temporary.open("rb") as stream:
                os.fsync(stream.fileno())
        self.publish()

    def __exit__(self, *_: object) -> None:
        unlink(self._temporary)
