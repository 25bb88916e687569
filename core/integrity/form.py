"""Checks of form that every kind of data has to pass: schema, numbers that are numbers, keys that rise."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core.dates import MINUTE_US, format_us
from core.integrity.rows import Faults, Rows, told, told_value
from core.storage.arrays import key_values
from core.storage.order import rises
from core.storage.schema import schema_of

BACK_US = MINUTE_US


def schema(rows: Rows) -> Iterator[Faults]:
    """Columns are those of the dataset, in its order and of its types, and empty only where they may be."""
    wanted = schema_of(rows.dataset, rows.series.market)
    have = rows.table.schema
    if [(f.name, f.type) for f in have] != [(f.name, f.type) for f in wanted]:
        detail = f"columns are {', '.join(f'{f.name} {f.type}' for f in have)}"
        everywhere = np.ones(rows.table.num_rows, dtype=np.bool_)
        if "timestamp" in have.names:
            yield from rows.faults("schema", everywhere, lambda _: detail)
        else:
            start = np.zeros(1, dtype=np.int64)
            yield Faults("schema", start, start + 1, lambda _: detail, counts=np.array([rows.table.num_rows]))
        return
    for column in wanted:
        if not column.nullable and rows.table.column(column.name).null_count:
            empty = rows.table.column(column.name).is_null().to_numpy()
            yield from rows.faults("empty-cells", empty, told(column.name, "is empty"))


def numbers(rows: Rows) -> Iterator[Faults]:
    """Decimals are finite."""
    for name in rows.decimals():
        column = rows.table.column(name)
        values = rows.floats(name)
        if not np.isfinite(values.sum()):
            wrong = ~np.isfinite(values) & column.is_valid().to_numpy()
            yield from rows.faults("not-a-number", wrong, told_value(name, values))


def empty_cells(rows: Rows) -> Iterator[Faults]:
    """Cells that the exchange left empty are null, never 0; they are counted."""
    empty = np.zeros(rows.table.num_rows, dtype=np.bool_)
    for name in rows.decimals():
        column = rows.table.column(name)
        if column.null_count:
            empty |= column.is_null().to_numpy()
    if empty.any():
        yield from rows.faults(
            "empty-cells", empty, lambda _: "cells are empty", "published so: empty is null here, never 0"
        )


def keys(rows: Rows) -> Iterator[Faults]:
    """The key rises from row to row."""
    if rows.table.num_rows < 2:
        return
    wrong = ~rises(rows.table, rows.dataset)
    if wrong.any():
        names = ", ".join(rows.dataset.key)
        values = [key_values(rows.table.column(name)) for name in rows.dataset.key]
        yield from rows.pairs(
            "key-order",
            wrong,
            lambda n: f"{names} {_key(values, n)} follows {_key(values, n - 1)}",
        )


def _key(values: Sequence[npt.NDArray[Any]], row: int) -> str:
    return ", ".join(str(column[row]) for column in values)


def time_back(rows: Rows) -> Iterator[Faults]:
    """Times do not go back while ids rise, or by little: the exchange's clock was not always monotone."""
    back = -np.diff(rows.time)
    if (back > 0).any():
        time = rows.time

        def say(n: int) -> str:
            return f"the id rises and the time goes back from {format_us(int(time[n - 1]))}"

        cause = "as published: ids give the order, times need not rise with them"
        yield from rows.pairs("time-back", (back > 0) & (back <= BACK_US), say, cause)
        yield from rows.pairs("time-back", back > BACK_US, say)
