"""Rows for requests: which files, read as of one moment, proved to be in order and each once.

A plain read takes the shortest road (`loader.parquet`). Where that has no answer, as archives overlap or rows of the
exchange's API count beside them, DuckDB reads all of it and what overlaps is joined as everywhere
(`core.storage.joined`). Both give the same rows.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import DATASETS, Dataset
from core.errors import FilesChanged, StorageError
from core.settings import LoaderSettings
from core.storage.cross_sections import CrossSections
from core.storage.schema import schema_of
from core.storage.stored import StoredRows
from core.types import Market, PartitionFacts, Series, Span
from loader.arguments import Request
from loader.lookup import Choose, Found, changed, find, inside, known
from loader.parquet import ParquetFiles
from loader.rows import Rows, by_symbol, in_order, no_rows, within

if TYPE_CHECKING:
    from loader.duck import Duck
    from loader.pins import Pins

_MANY: Final = 16
"""So many symbols and more are looked for in a cross-section."""
PAUSES: Final = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each look at files that changed while they were read; after the last, that is an error."""


class RowReader:
    """Reads for one loader. Threads may share it; `only_duckdb` leaves the short road out, for comparison."""

    def __init__(
        self,
        storage: StoredRows,
        settings: LoaderSettings,
        pins: "Pins | None" = None,
        sections: CrossSections | None = None,
        only_duckdb: bool = False,
    ) -> None:
        self._storage = storage
        self._pins = pins
        self._sections = sections
        self._settings = settings
        self._files = None if only_duckdb else ParquetFiles(settings.threads)
        self._duck: Duck | None = None

    @property
    def duck(self) -> "Duck":
        """DuckDB, which is loaded when it is needed first."""
        from loader.duck import Duck

        if self._duck is None:
            self._duck = Duck(self._settings)
        return self._duck

    def rows(self, request: Request, dataset: Dataset) -> Rows:
        """The request's rows of one kind: timestamp and the columns asked for.

        Raises StorageError that names what is at fault if a file cannot be read or two archives contradict each other.
        """
        return self._rows(request, dataset, inside, request.span, request.span)

    def rows_known_until(self, request: Request, dataset: Dataset, end_us: int) -> Rows:
        """As `rows`, before `end_us`, and with the last row at or before the request's start, however old it is."""
        wanted = Span(request.span.start_us, end_us)
        return self._rows(request, dataset, known, wanted, Span(0, end_us))

    def locked(self, request: Request, dataset: Dataset) -> Request:
        """The request as far as a snapshot has rows for it; without one, as it is."""
        if self._pins is None:
            return request
        wanted = [request.series(dataset, symbol) for symbol in request.symbols]
        return replace(request, span=self._pins.reach(wanted, request.span))

    def groups(self, parts: Sequence[PartitionFacts]) -> npt.NDArray[np.int64]:
        """Earliest and latest time and rows of each row group of some files, shape `(groups, 3)`; of a file that has
        changed meanwhile, of the whole."""
        files = self._files or ParquetFiles(self._settings.threads)
        found = [files.groups(part) for part in parts]
        return np.concatenate(found) if found else np.zeros((0, 3), dtype=np.int64)

    def batches(self, request: Request, dataset: Dataset) -> Iterator[pa.RecordBatch]:
        """The rows of the request's one symbol in the order of their key, a row group at a time.

        They are those of one moment; if one of very many files changes behind the first row, FilesChanged is raised.
        """
        (one,) = (request.series(dataset, symbol) for symbol in request.symbols)
        names = list(dict.fromkeys(("timestamp", *request.columns_of(dataset))))
        if self._pins is None:
            yield from self._storage.scan(one, request.span, names)
            return
        reach = self._pins.reach([one], request.span)
        if reach.start_us == reach.end_us:
            return
        proof = self._pins.prove([one], reach)
        yield from self._storage.scan(one, reach, names)
        if not self._pins.still(proof):
            raise FilesChanged(f"files of {one} changed while they were read; try again after the update")

    def close(self) -> None:
        """Lets go of DuckDB and its memory. A later read opens a new one."""
        if self._duck is not None:
            self._duck.close()

    def _rows(self, request: Request, dataset: Dataset, choose: Choose, wanted: Span, read: Span) -> Rows:
        """The rows in `read` of the files that `choose` picks for `wanted`.

        An update writes files anew, and removes days once their month is in place: if one has changed or gone
        meanwhile, all are looked up again, so that rows are those of one moment; with pins they are proved again, too.
        """
        series = [request.series(dataset, symbol) for symbol in request.symbols]
        for pause in PAUSES:
            time.sleep(pause)
            found: Found = ()
            try:
                proof = self._pins.prove(series, read) if self._pins else None
                reach = self._pins.reach(series, read) if self._pins else read
                found = find(self._storage, series, wanted, choose)
                crossed = self._crossed(found, series, request, dataset, reach)
                if crossed is not None:
                    return crossed
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

    def _crossed(
        self, found: Found, series: Sequence[Series], request: Request, dataset: Dataset, span: Span
    ) -> Rows | None:
        """The rows from the cross-section of all symbols, if there is one, it is right, and they are many symbols'."""
        if self._files is None or self._sections is None or len(found) < _MANY:
            return None
        names = [one.symbol for one in series]
        section = self._sections.at(series[0], span)
        if section is None or len(set(names)) < len(names):
            return None
        if not all(section.has(name, parts, span) for name, parts in zip(names, found, strict=True)):
            return None
        schema = _schema(dataset.name, request.market, request.columns_of(dataset))
        try:
            rows = self._files.read([[section.facts]], [*schema.names, "symbol"], ("timestamp", "symbol"), span)
        except StorageError:
            return None  # it is gone, or damaged: the partitions have all that it had
        if rows is None:
            return None
        numbers = np.full(len(section.symbols), -1, dtype=np.int64)
        places = {name: place for place, name in enumerate(section.symbols)}
        known = [(places[name], number) for number, name in enumerate(names) if name in places]
        numbers[[place for place, _ in known]] = [number for _, number in known]
        return by_symbol(rows.table.select(schema.names), numbers[rows.values("symbol")], len(names)).of(schema)

    def _read(self, found: Found, request: Request, dataset: Dataset, span: Span) -> Rows:
        schema = _schema(dataset.name, request.market, request.columns_of(dataset))
        if not any(found):
            return no_rows(schema, len(found))
        wanted = tuple(dict.fromkeys((*schema.names, *dataset.key)))
        # Rows of the exchange's API, which count beside any archive, may be an archive's by another millisecond.
        is_fine = dataset.grain_us == 1
        doubtful = [] if is_fine else [n for n, parts in enumerate(found) if any(part.beside for part in parts)]
        rows = None
        if self._files is not None and not doubtful:
            rows = self._files.read(found, wanted, dataset.key, span)
        if rows is None:
            rows = self._read_by_duckdb(found, request, dataset, span, wanted, doubtful)
        return rows.of(schema)

    def _read_by_duckdb(
        self,
        found: Found,
        request: Request,
        dataset: Dataset,
        span: Span,
        wanted: Sequence[str],
        doubtful: Collection[int],
    ) -> Rows:
        files = [[part.path for part in of_symbol] for of_symbol in found]

        def again(symbol: int, earliest_us: int) -> pa.Table:
            one = request.series(dataset, request.symbols[symbol])
            start_us = max(span.start_us, earliest_us - dataset.grain_us)  # where that row is left out, for another one
            batches = list(self._storage.scan(one, Span(start_us, span.end_us), wanted))
            empty = schema_of(dataset, request.market).empty_table()
            return pa.Table.from_batches(batches) if batches else empty

        table = self.duck.read([path for of_symbol in files for path in of_symbol], wanted, span)
        return in_order(table, dataset.key, files, again, doubtful)


@lru_cache(maxsize=256)
def _schema(dataset: str, market: Market, columns: tuple[str, ...]) -> pa.Schema:
    """Timestamp and these columns, as they are stored."""
    stored = schema_of(DATASETS[dataset], market)
    return pa.schema([stored.field(name) for name in ("timestamp", *columns)])
