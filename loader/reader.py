"""Rows out of Parquet files that are named one by one, through DuckDB.

What DuckDB 2.0 taught us, each held by a test:
- A file name is a pattern to it even as a parameter: under a folder `a[x]` it read the files of a folder `ax`, without
  a word. So the characters of patterns are escaped. Beside a backslash they cannot be, and such a path is refused.
- A folder called `symbol=X` adds a column unless `hive_partitioning` is off.
- A setting made with SET stays in its cursor; SET GLOBAL reaches the cursors of other threads.
- A forked process that uses its parent's connection waits for ever: the threads of DuckDB stayed behind. So each
  process opens its own, and leaves that of its parent alone.
- Nothing promises the order of rows. So each result is proved to rise by key within each symbol, and sorted if not.
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

from core.datasets import Dataset
from core.errors import ConfigError, FilesChanged, StorageError
from core.settings import LoaderSettings
from core.storage.manager import StorageManager
from core.storage.schema import schema_of
from core.types import Span
from loader.arguments import Request
from loader.lookup import Choose, Found, changed, find, inside, known
from loader.pins import Pins
from loader.rows import Rows, in_order, no_rows, within

_SELECT: Final = (
    "SELECT {columns}, file_index::BIGINT AS file_index FROM read_parquet(?, hive_partitioning = false) "
    'WHERE "timestamp" >= ? AND "timestamp" < ?'
)
_ESCAPED: Final = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})
_LOOKUPS: Final = 4
"""How often files are looked up before those that keep changing are an error."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RowReader:
    """One in-memory DuckDB, opened by the first read, with a cursor for every read: threads may share it."""

    def __init__(self, storage: StorageManager, settings: LoaderSettings, pins: Pins | None = None) -> None:
        self._storage = storage
        self._pins = pins
        self._settings = settings
        self._connections: dict[int, duckdb.DuckDBPyConnection] = {}

    def rows(self, request: Request, dataset: Dataset) -> Rows:
        """The request's rows of one kind: timestamp and the columns asked for.

        Raises StorageError that names what is at fault if a file cannot be read or two archives contradict each other.
        """
        return self._rows(request, dataset, inside, request.span, request.span)

    def rows_known_until(self, request: Request, dataset: Dataset, end_us: int) -> Rows:
        """As `rows`, before `end_us`, and with the last row at or before the request's start, however old it is."""
        wanted = Span(request.span.start_us, end_us)
        return self._rows(request, dataset, known, wanted, Span(0, end_us))

    def close(self) -> None:
        """Lets go of DuckDB and its memory. A later read opens a new one."""
        connection = self._connections.pop(os.getpid(), None)
        if connection is not None:
            connection.close()

    def _rows(self, request: Request, dataset: Dataset, choose: Choose, wanted: Span, read: Span) -> Rows:
        """The rows in `read` of the files that `choose` picks for `wanted`.

        An update writes files anew, and removes days once their month is in place: if one has changed or gone
        meanwhile, all are looked up again, so that rows are those of one moment; with pins they are proved again, too.
        """
        series = [request.series(dataset, symbol) for symbol in request.symbols]
        for _ in range(_LOOKUPS):
            found: Found = ()
            try:
                proof = self._pins.prove(series, read) if self._pins else None
                reach = self._pins.reach(series, read) if self._pins else read
                found = find(self._storage, request, dataset, wanted, choose)
                rows = self._read(found, request, dataset, reach)
                if changed(found):
                    continue
                if self._pins is None or proof is None:
                    return rows
                if self._pins.still(proof):
                    return within(rows, [self._pins.bounds(one) for one in series])
            except StorageError as error:
                if not (changed(found) or isinstance(error.__cause__, FileNotFoundError)):
                    raise
        raise FilesChanged(f"files of {dataset.name} keep changing while they are read; try again after the update")

    def _read(self, found: Found, request: Request, dataset: Dataset, span: Span) -> Rows:
        stored = schema_of(dataset, request.market)
        schema = pa.schema([stored.field(name) for name in ("timestamp", *request.columns_of(dataset))])
        files = [[part.path for part in of_symbol] for of_symbol in found]
        paths = [path for of_symbol in files for path in of_symbol]
        if not paths:
            return no_rows(schema, len(files))
        wanted = tuple(dict.fromkeys((*schema.names, *dataset.key)))

        def again(symbol: int, earliest_us: int) -> pa.Table:
            one = request.series(dataset, request.symbols[symbol])
            start_us = max(span.start_us, earliest_us - dataset.grain_us)  # where that row is left out, for another one
            batches = list(self._storage.scan(one, Span(start_us, span.end_us), wanted))
            return pa.Table.from_batches(batches) if batches else stored.empty_table()

        # Rows of the exchange's API, which count beside any archive, may be an archive's by another millisecond.
        is_fine = dataset.grain_us == 1
        doubtful = [] if is_fine else [n for n, parts in enumerate(found) if any(part.beside for part in parts)]
        rows = in_order(self._query(paths, wanted, span), dataset.key, files, again, doubtful)
        return Rows(rows.table.select(schema.names).cast(schema), rows.offsets)

    def _query(self, paths: Sequence[Path], columns: Sequence[str], span: Span) -> pa.Table:
        query = _SELECT.format(columns=", ".join(f'"{name}"' for name in columns))
        bounds = [_EPOCH + timedelta(microseconds=us) for us in (span.start_us, span.end_us)]
        try:
            with closing(self._cursor()) as cursor:
                return cursor.sql(query, params=[[_pattern(path) for path in paths], *bounds]).to_arrow_table()
        except duckdb.Error as error:
            if len(paths) == 1:
                raise StorageError(f"cannot read {paths[0]}: {error}; delete it and download it again") from error
            for path in paths:  # DuckDB does not always name the file
                self._query([path], columns, span)
            raise StorageError(f"cannot read {paths[0]} and {len(paths) - 1} more files: {error}") from error

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        process = os.getpid()
        connection = self._connections.get(process)
        if connection is None:
            connection = self._connections.setdefault(process, _connect(self._settings))
        return connection.cursor()


def _connect(settings: LoaderSettings) -> duckdb.DuckDBPyConnection:
    """A DuckDB that fetches no extension, spills to the system's temporary folder and thinks in UTC."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "temp_directory": str(Path(tempfile.gettempdir(), "tapevault-duckdb")),
    }
    if settings.threads is not None:
        config["threads"] = settings.threads
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute(f"SET GLOBAL parquet_metadata_cache = {str(settings.cache_parquet_metadata).lower()}")
    return connection


def _pattern(path: Path) -> str:
    """The pattern that matches this file and no other."""
    name = path.as_posix()
    pattern = name.translate(_ESCAPED)
    if pattern != name and "\\" in name:
        raise ConfigError(f"{path}: a data folder with both a backslash and * ? or [ cannot be read; rename it")
    return pattern
