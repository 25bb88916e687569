"""DuckDB as we use it: one in-memory database for each process, a cursor for each query, files named one by one.

What DuckDB 2.0 taught us, each held by a test:
- A file name is a pattern to it even as a parameter: under a folder `a[x]` it read the files of a folder `ax`, without
  a word. So the characters of patterns are escaped. Beside a backslash they cannot be, and such a path is refused.
- A folder called `symbol=X` adds a column unless `hive_partitioning` is off.
- A setting made with SET stays in its cursor; SET GLOBAL reaches the cursors of other threads.
- A forked process that uses its parent's connection waits for ever: the threads of DuckDB stayed behind. So each
  process opens its own, and leaves that of its parent alone.
- Nothing promises the order of rows. So each result is proved to rise by key within each symbol, and sorted if not;
  and what is asked as a relation is ordered by the query.
"""

import os
import tempfile
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from core.errors import ConfigError, StorageError
from core.settings import LoaderSettings
from core.types import Span

_SELECT: Final = (
    "SELECT {columns}, file_index::BIGINT AS file_index FROM read_parquet(?, hive_partitioning = false) "
    'WHERE "timestamp" >= ? AND "timestamp" < ?'
)
_ESCAPED: Final = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Duck:
    """Opened by the first use; threads may share it."""

    def __init__(self, settings: LoaderSettings) -> None:
        self._settings = settings
        self._connections: dict[int, duckdb.DuckDBPyConnection] = {}

    def close(self) -> None:
        """Lets go of DuckDB and its memory. A later use opens a new one."""
        connection = self._connections.pop(os.getpid(), None)
        if connection is not None:
            connection.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of one's own to this process's database."""
        process = os.getpid()
        connection = self._connections.get(process)
        if connection is None:
            connection = self._connections.setdefault(process, _connect(self._settings))
        cursor = connection.cursor()
        cursor.execute("SET enable_progress_bar = false")  # it would be drawn on standard output
        return cursor

    def read(self, paths: Sequence[Path], columns: Sequence[str], span: Span) -> pa.Table:
        """Rows of these files in `span`, with `file_index`, the place of each row's file. Raises StorageError."""
        query = _SELECT.format(columns=", ".join(f'"{name}"' for name in columns))
        bounds = [moment(us) for us in (span.start_us, span.end_us)]
        try:
            with closing(self.cursor()) as cursor:
                return cursor.sql(query, params=[[pattern(path) for path in paths], *bounds]).to_arrow_table()
        except duckdb.Error as error:
            if len(paths) == 1:
                raise StorageError(f"cannot read {paths[0]}: {error}; delete it and download it again") from error
            for path in paths:  # DuckDB does not always name the file
                self.read([path], columns, span)
            raise StorageError(f"cannot read {paths[0]} and {len(paths) - 1} more files: {error}") from error


def moment(us: int) -> datetime:
    """An instant as DuckDB takes it."""
    return _EPOCH + timedelta(microseconds=us)


def pattern(path: Path) -> str:
    """The pattern that matches this file and no other."""
    name = path.as_posix()
    escaped = name.translate(_ESCAPED)
    if escaped != name and "\\" in name:
        raise ConfigError(f"{path}: a data folder with both a backslash and * ? or [ cannot be read; rename it")
    return escaped


def _connect(settings: LoaderSettings) -> duckdb.DuckDBPyConnection:
    """A DuckDB that fetches no extension, spills to the system's temporary folder and thinks in UTC."""
    # not the name, which is not known of every user; where there are no numbers, temporary folders are apart anyway
    user = os.getuid() if hasattr(os, "getuid") else "user"
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "temp_directory": str(Path(tempfile.gettempdir(), f"tapevault-duckdb-{user}")),
    }
    if settings.threads is not None:
        config["threads"] = settings.threads
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute(f"SET GLOBAL parquet_metadata_cache = {str(settings.cache_parquet_metadata).lower()}")
    return connection
