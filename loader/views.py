"""What is stored as DuckDB sees it: a relation for a request, and views of all series for SQL.

Files are named one by one, and no name of a caller's ever becomes SQL text: paths and bounds are values, and the names
of views are made of words that are ours. A series whose archives overlap is read as everywhere (`loader.reader`) and
takes part with those rows; so does every series under a snapshot, whose rows have to be proved.
"""

import itertools
import json
import re
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import duckdb
import pyarrow as pa

from core.datasets import DATASETS, Dataset
from core.dates import INTERVAL_US
from core.errors import ConfigError, FilesChanged, NoData, StorageError
from core.nearest import one_of
from core.storage.schema import schema_of
from core.storage.stored import StoredRows
from core.types import Market, PartitionFacts, Series, Span
from loader.arguments import ALWAYS, Request
from loader.duck import moment, pattern
from loader.frames import Columns, symbol_column
from loader.lookup import changed
from loader.pins import Pins
from loader.reader import PAUSES, RowReader

Relation = duckdb.DuckDBPyRelation
_DEFAULT: Final = Market.UM
_NUMBERS: Final = itertools.count(1)
_NO_TABLE: Final = re.compile(r"Table with name (\S+) does not exist")


class Views:
    """Relations over one loader's storage; `pins` where a snapshot decides which rows there are."""

    def __init__(self, storage: StoredRows, reader: RowReader, pins: Pins | None) -> None:
        self._storage = storage
        self._reader = reader
        self._pins = pins

    def of_request(self, request: Request) -> dict[str, Relation]:
        """The request's rows of each kind, by symbol and key, read when they are asked for: timestamp, symbol and the
        columns. They belong to one connection, so that they can be joined."""
        cursor = self._reader.duck.cursor()
        return {dataset.name: self._of_kind(cursor, request, dataset) for dataset in request.datasets}

    def of_columns(self, columns: Columns) -> Relation:
        """A relation over columns that were read."""
        return self._reader.duck.cursor().from_arrow(pa.table(dict(columns)))

    def sql(self, query: str, params: Mapping[str, Any] | None) -> pa.Table:
        """The answer to a query over views of all series: `klines_1h`, `funding_rate`, or with the market
        `spot.klines_1m`. It is of one moment: if a file changed while it was read, all is read again.

        Raises ConfigError for anything but one SELECT, an unknown view, or what DuckDB refuses; NoData if nothing of a
        view is stored; FilesChanged if files keep changing.
        """

        def answer(used: list[PartitionFacts]) -> pa.Table:
            relation = self.live(query, params, used)
            try:
                return _plain_table(relation)
            except duckdb.Error as error:
                raise _refused(error) from error

        return self._of_one_moment(answer)

    def live(self, query: str, params: Mapping[str, Any] | None, used: list[PartitionFacts] | None = None) -> Relation:
        """The same as a relation, which reads when its rows are asked for; `used` gets the files of its views."""
        if not isinstance(query, str):
            raise ConfigError(f"sql() takes a query as text, not {query!r}")
        if params is not None and not isinstance(params, Mapping):
            raise ConfigError(
                f"params: {params!r} is no dict of names and values, as {{'symbol': 'BTCUSDT'}} for $symbol"
            )
        cursor = self._reader.duck.cursor()
        tables = _tables_of(cursor, query)
        with _room(cursor) as room:
            for market, view in tables:
                named = _parsed(view)
                if named is not None:
                    self._create(cursor, room, market, view, *named, [] if used is None else used)
            cursor.execute(f"SET search_path = '{room}.{_DEFAULT.value}'")
            try:
                found = cursor.sql(query, params=dict(params)) if params else cursor.sql(query)
                found.columns  # noqa: B018  the query is bound here, not when its rows are read
            except duckdb.CatalogException as error:
                raise self._unknown(error) from error
            except duckdb.Error as error:
                raise _refused(error) from error
            weakref.finalize(found, _forget, room, cursor)
            return found

    def ask(
        self, query: str, params: Mapping[str, Any], candles: tuple[Sequence[Series], Dataset, Span], listed: pa.Table
    ) -> pa.Table:
        """The answer to a query of ours over `candles`, the rows of these series in a span, and the table `listed`.

        Raises StorageError, FilesChanged.
        """

        def answer(used: list[PartitionFacts]) -> pa.Table:
            cursor = self._reader.duck.cursor()
            with _room(cursor) as room:
                self._inside(self._of_series(cursor, *candles, used), candles[2]).create_view("candles")
                cursor.from_arrow(listed).create_view("listed")
                table = cursor.sql(query, params=dict(params)).to_arrow_table()
                _forget(room, cursor)
                return table

        return self._of_one_moment(answer)

    def _of_one_moment(self, answer: Callable[[list[PartitionFacts]], pa.Table]) -> pa.Table:
        """An answer during which none of the files that it used has changed."""
        for pause in PAUSES:
            time.sleep(pause)
            used: list[PartitionFacts] = []
            try:
                table = answer(used)
            except duckdb.Error as error:
                if not changed([used]):
                    raise StorageError(f"cannot read what is stored: {error}") from error
            except (StorageError, ConfigError):
                if not changed([used]):
                    raise
            else:
                if not changed([used]):
                    return table
        raise FilesChanged("the files keep changing while they are read; try again after the update")

    def _of_kind(self, cursor: duckdb.DuckDBPyConnection, request: Request, dataset: Dataset) -> Relation:
        wanted = [request.series(dataset, symbol) for symbol in request.symbols]
        names = ("timestamp", *request.columns_of(dataset))
        order = [*dict.fromkeys(("symbol", *dataset.key))]
        if any(one.symbol != symbol for one, symbol in zip(wanted, request.symbols, strict=True)):
            return cursor.from_arrow(self._rows(request, dataset))
        rows = self._of_series(cursor, wanted, dataset, request.span, [])
        inside = self._inside(rows, request.span).order(_quoted(order))
        return inside.project(_quoted(["timestamp", "symbol", *names[1:]]))

    def names(self) -> list[str]:
        """The views of which anything is stored: `um.klines_1h`."""
        return sorted({f"{one.market}.{_view_of(one)}" for one in self._storage.series()})

    def _inside(self, rows: Relation, span: Span) -> Relation:
        start, end = (duckdb.ConstantExpression(moment(us)) for us in (span.start_us, span.end_us))
        at = duckdb.ColumnExpression("timestamp")
        return rows.filter((at >= start) & (at < end))

    def _create(
        self,
        cursor: duckdb.DuckDBPyConnection,
        room: str,
        market: Market,
        view: str,
        dataset: Dataset,
        interval: str,
        used: list[PartitionFacts],
    ) -> None:
        wanted = [one for one in self._storage.series(market, dataset.name) if (one.interval or "") == interval]
        if not wanted:
            raise NoData(
                f"no {market} {dataset.name}{f' of {interval}' if interval else ''} is stored, so there is no "
                f"view {view}"
            )
        rows = self._of_series(cursor, wanted, dataset, ALWAYS, used)
        columns = dataset.stored_names(market)[1:]
        known = f', {_known_at(interval)} AS "available_at"' if interval else ""
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {room}.{market.value}")
        cursor.execute(f"SET schema = '{room}.{market.value}'")
        rows.project(f'"timestamp", "symbol"{known}, {_quoted(columns)}').create_view(view)

    def _of_series(
        self,
        cursor: duckdb.DuckDBPyConnection,
        wanted: Sequence[Series],
        dataset: Dataset,
        span: Span,
        used: list[PartitionFacts],
    ) -> Relation:
        """All rows of the files of these series that may have any in the span, in no order. `used` gets the files that
        are left to DuckDB to read."""
        near = None if span == ALWAYS else self._storage.around(span)
        each = dict(zip(wanted, self._storage.facts(wanted, near), strict=True))
        odd = [one for one, parts in each.items() if self._pins is not None or not _is_plain(parts)]
        plain = [part for one, parts in each.items() if one not in odd for part in parts]
        used += plain
        names = ["timestamp", *dataset.stored_names(wanted[0].market)[1:]]
        parts: list[Relation] = []
        if plain:
            place = -3 if dataset.has_interval else -2
            files = cursor.read_parquet([pattern(part.path) for part in plain], filename=True, hive_partitioning=False)
            # Of the path, so that DuckDB opens only the files of symbols that are asked for.
            parts.append(files.project(f"string_split(filename, '/')[{place}] AS \"symbol\", {_quoted(names)}"))
        if odd or not plain:
            span = span if self._pins is None or not odd else self._pins.reach(odd, span)
            request = Request(
                wanted[0].market,
                tuple(one.symbol for one in odd),
                span,
                (dataset,),
                wanted[0].interval,
                tuple(names[1:]),
            )
            table = self._rows(request, dataset) if odd else _empty(dataset, wanted[0].market)
            parts.append(cursor.from_arrow(table).project(f'"symbol", {_quoted(names)}'))
        return parts[0] if len(parts) == 1 else parts[0].union(parts[1])

    def _rows(self, request: Request, dataset: Dataset) -> pa.Table:
        rows = self._reader.rows(request, dataset)
        symbols = symbol_column(request.symbols, rows.counts).cast(pa.string())
        return rows.table.add_column(1, "symbol", symbols)

    def _unknown(self, error: duckdb.CatalogException) -> ConfigError:
        found = _NO_TABLE.search(str(error))
        if found is None:
            return ConfigError(f"the query cannot be run: {error}")
        views = [name.removeprefix(f"{_DEFAULT}.") for name in self.names()]
        if not views:
            return ConfigError(f"there is no view {found[1]}, for nothing is stored")
        return ConfigError(f"there is no view {found[1]}{one_of(found[1], views)}")


def _parsed(view: str) -> tuple[Dataset, str] | None:
    """`klines_1h` as dataset and interval; None if no view of ours is called so."""
    if view in DATASETS and not DATASETS[view].has_interval:
        return DATASETS[view], ""
    name, _, interval = view.rpartition("_")
    is_ours = name in DATASETS and DATASETS[name].has_interval and interval in INTERVAL_US
    return (DATASETS[name], interval) if is_ours else None


def _view_of(one: Series) -> str:
    return f"{one.dataset}_{one.interval}" if one.interval else one.dataset


def _tables_of(cursor: duckdb.DuckDBPyConnection, query: str) -> set[tuple[Market, str]]:
    """The views that a query names, with their market. Raises ConfigError if it is not one SELECT."""
    told = json.loads(cursor.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0][0])
    if told["error"]:
        why = told["error_message"]
        raise ConfigError(f"sql() takes one SELECT{'' if why.startswith('Only SELECT') else f': {why}'}")
    if len(told["statements"]) != 1:
        raise ConfigError(f"sql() takes one SELECT, not {len(told['statements'])} statements")
    return {
        (Market(schema.lower()) if schema else _DEFAULT, table.lower())
        for schema, table in _named_in(told)
        if schema.lower() in ("", *Market) and _parsed(table.lower())
    }


def _named_in(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        if node.get("type") == "BASE_TABLE":
            yield node["schema_name"], node["table_name"]
        for value in node.values():
            yield from _named_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from _named_in(value)


@contextmanager
def _room(cursor: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """A database of one's own for the views of one query, so that queries of threads do not meet."""
    room = f"query_{next(_NUMBERS)}"
    cursor.execute(f"ATTACH ':memory:' AS {room}")
    cursor.execute(f"CREATE SCHEMA {room}.{_DEFAULT.value}")
    cursor.execute(f"USE {room}")
    try:
        yield room
    except BaseException:
        _forget(room, cursor)
        raise


def _forget(room: str, cursor: duckdb.DuckDBPyConnection) -> None:
    """The views go with their query."""
    try:
        cursor.execute("USE memory")
        cursor.execute(f"DETACH {room}")
        cursor.close()
    except duckdb.Error:
        pass  # the loader was closed, and DuckDB with it


def _is_plain(parts: Sequence[PartitionFacts]) -> bool:
    """Whether no row of these files can be another one's again: times of their archives do not overlap."""
    if any(part.overlaps or part.beside for part in parts):
        return False
    return all(behind.first_us > part.last_us for part, behind in itertools.pairwise(parts))


def _refused(error: duckdb.Error) -> ConfigError:
    return ConfigError(f"the query cannot be run: {' '.join(str(error).split())}")


def _plain_table(relation: Relation) -> pa.Table:
    """The rows of a query: each column with a name of its own (`symbol`, `symbol_1`), sums of whole numbers as int64
    where they fit, else as doubles."""
    table = relation.to_arrow_table()
    names: list[str] = []
    for name in table.column_names:
        again = 0
        while (own := f"{name}_{again}" if again else name) in names:
            again += 1
        names.append(own)
    columns = [_narrowed(column) for column in table.columns]
    return pa.table(columns, names=names)


def _narrowed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """DuckDB's 128-bit sums, which no library computes with."""
    if not (pa.types.is_decimal128(column.type) and column.type.scale == 0 and column.type.precision == 38):
        return column
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column.cast(pa.float64())


def _known_at(interval: str) -> str:
    length_us = INTERVAL_US[interval]
    return '"timestamp" + INTERVAL 1 MONTH' if length_us is None else f'"timestamp" + to_microseconds({length_us})'


def _empty(dataset: Dataset, market: Market) -> pa.Table:
    schema = schema_of(dataset, market)
    return schema.insert(1, pa.field("symbol", pa.string())).empty_table()


def _quoted(names: Sequence[str]) -> str:
    """Columns of ours as SQL has them."""
    return ", ".join(f'"{name}"' for name in names)
