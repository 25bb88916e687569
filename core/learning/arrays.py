"""What the functions of this room take: arrays of one declared type, checked at the door."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from core.errors import ConfigError

Integers: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]


def prices(values: npt.ArrayLike, what: str) -> Floats:
    """Prices as float64, one after the other. Raises ConfigError for one that is no price."""
    array = floats(values, what)
    wrong = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if len(wrong):
        raise ConfigError(f"{what}: row {wrong[0]} is {array[wrong[0]]}; every row needs a price above 0")
    return array


def floats(values: npt.ArrayLike, what: str) -> Floats:
    """Raises ConfigError for what is no line of numbers."""
    try:
        array = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{what}: these are no numbers") from None
    if array.ndim != 1:
        raise ConfigError(f"{what}: it has {array.ndim} dimensions; give one value per row")
    return array


def of_rows(values: npt.ArrayLike, rows: Integers, count: int, what: str) -> Floats:
    """A number for each event: one for all, or one per row of `count`, of which those at `rows` are taken."""
    if np.ndim(values) == 0:
        return np.full(len(rows), floats(np.atleast_1d(values), what)[0])
    array = floats(values, what)
    if len(array) != count:
        raise ConfigError(f"{what}: {len(array)} values for {count} rows; give one for each, or one for all")
    return array[rows]


def events_of(rows: npt.ArrayLike | None, count: int) -> Integers:
    """Rows of events, rising; None: every row. Raises ConfigError."""
    if rows is None:
        return np.arange(count, dtype=np.int64)
    array = integers(rows, "events")
    if len(array) and (array[0] < 0 or array[-1] >= count or np.any(array[1:] <= array[:-1])):
        raise ConfigError(f"events: rows have to rise, from 0 to at most {count - 1}")
    return array


def integers(values: npt.ArrayLike, what: str) -> Integers:
    array: npt.NDArray[Any] = np.asarray(values)
    if array.ndim != 1 or (len(array) and not np.issubdtype(array.dtype, np.integer)):
        raise ConfigError(f"{what}: give one whole number for each event")
    return np.ascontiguousarray(array, dtype=np.int64)


def spans(rows: npt.ArrayLike, ends: npt.ArrayLike) -> tuple[Integers, Integers]:
    """The rows and ends of labels. Raises ConfigError if they are not as many, or an end is not behind its row."""
    first, last = integers(rows, "rows"), integers(ends, "ends")
    if len(first) != len(last):
        raise ConfigError(f"ends: {len(last)} for {len(first)} rows; give one for each")
    wrong = np.flatnonzero((last <= first) | (first < 0))
    if len(wrong):
        raise ConfigError(f"ends: label {wrong[0]} begins at row {first[wrong[0]]} and ends at row {last[wrong[0]]}")
    return first, last
