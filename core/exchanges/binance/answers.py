"""The API's JSON as rows of the stored schema, equal to the bit to those of the archive."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import DATASETS, Column, Kind
from core.datasets.funding_rate import FUNDING_HOURS
from core.dates import HOUR_US, MICROSECONDS_FROM
from core.errors import RemoteError
from core.storage.schema import schema_of
from core.types import Market, Series

_TRADE_KEYS: Final = {
    "agg_trade_id": "a",
    "price": "p",
    "quantity": "q",
    "first_trade_id": "f",
    "last_trade_id": "l",
    "transact_time": "T",
    "is_buyer_maker": "m",
}
_FUNDING_KEYS: Final = {
    "calc_time": "fundingTime",
    "funding_interval_hours": "interval",
    "last_funding_rate": "fundingRate",
}
_TIME: Final = pa.timestamp("us", tz="UTC")
_MICROSECONDS_SINCE_US: Final = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
"""From here on the archive of spot has microseconds; before, what the API says beyond milliseconds is left out."""


def candle_table(series: Series, rows: Sequence[Any]) -> pa.Table:
    """Candles from arrays of twelve. They and the archive's lines have the same places, in cm too: there place 5 counts
    contracts and place 7 is base asset."""
    columns = DATASETS[series.dataset].columns[series.market]
    for row in rows:
        if not isinstance(row, list) or len(row) != len(columns):
            raise _odd(series, row)
    cells = zip(*rows, strict=True) if rows else [[] for _ in columns]
    return _table(series, {column.source: list(values) for column, values in zip(columns, cells, strict=True)})


def trade_table(series: Series, rows: Sequence[Any]) -> pa.Table:
    """Aggregated trades from objects."""
    return _table(series, _columns(series, rows, _TRADE_KEYS))


def funding_table(series: Series, rows: Sequence[Any]) -> pa.Table:
    """Settlements from objects to which their `interval` in hours was added."""
    return _table(series, _columns(series, rows, _FUNDING_KEYS))


def joined(series: Series, tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of several pages in the order of their key, each once. Raises RemoteError if two rows have one key and
    different content."""
    empty = schema_of(DATASETS[series.dataset], series.market).empty_table()
    return _in_order(series, pa.concat_tables([empty, *tables]))


def funding_time_us(series: Series, row: Any) -> int:
    """When a settlement was."""
    time_ms = row.get("fundingTime") if isinstance(row, dict) else None
    if type(time_ms) is not int:
        raise _odd(series, row)
    return time_ms * 1000


def funding_hours(times_us: Sequence[int], otherwise: int) -> list[int]:
    """The interval of each settlement: the hours since the one before, or where there is none, or that is no interval
    that exists (settlements are missing), the hours to the next one, or `otherwise`. Times rise."""
    hours = [_hours_between(one, other) for one, other in pairwise(times_us)]
    before, after = [0, *hours], [*hours, 0]
    return [
        next((each for each in pair if each in FUNDING_HOURS), otherwise)
        for pair in zip(before[: len(times_us)], after[: len(times_us)], strict=True)
    ]


def rules_hours(series: Series, rules: Any) -> int | None:
    """The interval in `fundingInfo`; None for a symbol that is not adjusted."""
    if not isinstance(rules, list):
        raise _odd(series, rules)
    for rule in rules:
        if isinstance(rule, dict) and rule.get("symbol") == series.symbol:
            hours = rule.get("fundingIntervalHours")
            return hours if type(hours) is int else None
    return None


def _hours_between(one_us: int, other_us: int) -> int:
    return round((other_us - one_us) / HOUR_US)


def _columns(series: Series, rows: Sequence[Any], keys: Mapping[str, str]) -> dict[str, list[Any]]:
    try:
        return {source: [row[key] for row in rows] for source, key in keys.items()}
    except (LookupError, TypeError) as error:
        raise RemoteError(f"{series}: the API answered with rows that have no {error}") from error


def _table(series: Series, cells: Mapping[str, list[Any]]) -> pa.Table:
    """Rows in the order of their key, each once."""
    dataset = DATASETS[series.dataset]
    kept = dataset.stored_columns(series.market)
    arrays = {column.source: _array(series, column, cells[column.source]) for column in kept}
    times = {column.source: arrays[column.source] for column in kept if column.kind is Kind.TIME}
    arrays |= {name: pa.array(values, _TIME) for name, values in _as_archived(series, times).items()}
    table = pa.table([arrays[column.source] for column in kept], schema=schema_of(dataset, series.market))
    return _in_order(series, table)


def _as_archived(series: Series, times: Mapping[str, Any]) -> dict[str, Any]:
    """Microseconds of each time column as the archive has them. The first one says when a row is."""
    if series.market is not Market.SPOT:
        return {name: _microseconds(values) for name, values in times.items()}
    row_times = next(iter(times.values()))
    is_new = _microseconds(row_times) >= _MICROSECONDS_SINCE_US
    if bool(np.any(is_new & (row_times < MICROSECONDS_FROM))):
        raise RemoteError(
            f"{series}: the API answered in milliseconds though asked for microseconds, which the archive has from "
            "2025 on; check --rest"
        )
    return {
        name: np.where(is_new, _microseconds(values), _microseconds(values) // 1000 * 1000)
        for name, values in times.items()
    }


def _microseconds(times: Any) -> Any:
    return np.where(times >= MICROSECONDS_FROM, times, times * 1000)


def _array(series: Series, column: Column, cells: list[Any]) -> Any:
    """A column; times as they were said, as NumPy's int64."""
    if column.kind is Kind.DECIMAL:
        return _doubles(series, cells)
    wanted = bool if column.kind is Kind.BOOLEAN else int
    for cell in cells:
        if type(cell) is not wanted or (wanted is int and not -(2**63) <= cell < 2**63):
            raise _odd(series, cell)
    if column.kind is Kind.TIME:
        return np.array(cells, dtype=np.int64)
    return pa.array(cells, pa.bool_() if wanted is bool else pa.int64())


def _doubles(series: Series, cells: list[Any]) -> pa.Array:
    """The double nearest to each decimal text."""
    try:
        values = pa.array([str(cell) if type(cell) is int else cell for cell in cells], pa.string()).cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise RemoteError(f"{series}: the API answered with what is no number ({error})") from error
    if values.null_count or not pc.all(pc.is_finite(values), min_count=0).as_py():
        raise RemoteError(f"{series}: the API answered with a number that is missing or not finite")
    return values


def _in_order(series: Series, table: pa.Table) -> pa.Table:
    """Sorted by key. Raises RemoteError if two rows have one key and different content; the same row comes once."""
    key = DATASETS[series.dataset].key
    table = table.sort_by([(name, "ascending") for name in key])
    if table.num_rows < 2:
        return table.combine_chunks()
    one, other = table.slice(0, table.num_rows - 1), table.slice(1)
    same_key = _all_equal(one, other, key)
    if same_key.any() and not _all_equal(one, other, table.schema.names)[same_key].all():
        raise RemoteError(f"{series}: the API answered with two rows of one key and different content; ask again later")
    return table.filter(pa.array(np.append(True, ~same_key))).combine_chunks() if same_key.any() else table


def _all_equal(one: pa.Table, other: pa.Table, names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    equal = np.ones(one.num_rows, dtype=np.bool_)
    for name in names:
        equal &= np.asarray(pc.equal(one[name], other[name]).to_numpy())
    return equal


def _odd(series: Series, what: Any) -> RemoteError:
    return RemoteError(
        f"{series}: the API answered with {str(what)[:80]!r}, which is no row that we know; check --rest"
    )
