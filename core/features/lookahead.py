"""Does a function of one's own look into the future? It is run on data that end earlier, and what changes is named.

Removing what came later must not change what was known before. So a column of which some value changes is made of
something that came later: a shift the wrong way, a window around its row, a mean or a quantile of all rows, a gap
filled from behind.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.errors import ConfigError

ROWS: Final = "(rows)"
"""The column that is named where a row itself is there or is not."""
_SERIES: Final = "value"


@dataclass(frozen=True, slots=True)
class Peek:
    """A column that looks ahead: with the first `cut` rows of the data its `row` is `given`, with all it is `later`.

    `row` is the label of a pandas index, else the number of the row: the first one at the least cut that shows it.
    """

    column: str
    row: Any
    cut: int
    given: Any
    later: Any

    def __str__(self) -> str:
        return f"{self.column}: row {self.row} is {self.given} with the first {self.cut} rows, {self.later} with all"


@dataclass(frozen=True, slots=True)
class _Result:
    labels: Any
    """A pandas index, None where rows have no labels."""
    columns: Mapping[str, npt.NDArray[Any]]
    rows: int


def check_lookahead(
    feature_function: Callable[[Any], Any],
    data: Any,
    cuts: int | Sequence[int] = 50,
    tolerance: float = 1e-9,
    seed: int = 0,
) -> tuple[Peek, ...]:
    """The columns of `feature_function(data)` that look ahead, none if it is clean as far as these cuts show.

    `data` is a frame of pandas, polars or Arrow or a dict of arrays, its rows in order of time; the function gives a
    frame, a series or a dict with a row for each of them (pandas: it may leave rows out; they are told by their index).
    It is called twice with all rows, then with the first n for each of the cuts, each time with a copy. `cuts` is how
    many there are, or the numbers n themselves; those that are chosen lie close to the end, behind rows with a NaN, and
    anywhere. Numbers are the same up to a relative `tolerance`, NaN is NaN. A row that appears or disappears counts as
    a change of the column `(rows)`.

    Raises ConfigError if the function fails, gives something else, or not the same twice.
    """
    rows = _rows_of(data)
    whole = _run(feature_function, data, rows, rows)
    again = _run(feature_function, data, rows, rows)
    if _peeks(whole, again, data, rows, tolerance):
        raise ConfigError("the feature function does not give the same twice for the same data; give it a fixed seed")
    found: dict[str, Peek] = {}
    for cut in _chosen(data, rows, cuts, seed):
        for peek in _peeks(whole, _run(feature_function, data, cut, rows), data, cut, tolerance):
            found.setdefault(peek.column, peek)
    order = {name: place for place, name in enumerate((ROWS, *whole.columns))}
    return tuple(sorted(found.values(), key=lambda peek: order.get(peek.column, len(order))))


def _chosen(data: Any, rows: int, cuts: int | Sequence[int], seed: int) -> list[int]:
    """The cuts in rising order."""
    if rows < 2:
        raise ConfigError(f"data: there is nothing to cut from {rows} rows; give at least 2")
    if not isinstance(cuts, int):
        wanted = sorted({int(cut) for cut in cuts})
        if not wanted or wanted[0] < 1 or wanted[-1] >= rows:
            raise ConfigError(f"cuts: numbers from 1 to {rows - 1} are wanted, not {list(cuts)}")
        return wanted
    if cuts < 1:
        raise ConfigError(f"cuts: at least 1 is wanted, not {cuts}")
    if cuts >= rows - 1:
        return list(range(1, rows))
    random = np.random.default_rng(seed)
    missing = np.zeros(rows, dtype=np.bool_)
    for values in _result(data).columns.values():
        missing |= _is_missing(values)
    behind = np.flatnonzero(missing[:-1]) + 1
    chosen = {rows - 1} | set(random.permutation(behind)[: cuts // 4].tolist())
    chosen |= set(range(max(1, rows - 1 - cuts // 10), rows))
    others = (int(cut) for cut in random.permutation(rows - 1) + 1)
    while len(chosen) < cuts:
        chosen.add(next(others))
    return sorted(chosen)


def _run(function: Callable[[Any], Any], data: Any, cut: int, rows: int) -> _Result:
    try:
        made = function(_head(data, cut))
    except Exception as error:
        raise ConfigError(
            f"the feature function fails on the first {cut} of {rows} rows: {type(error).__name__}: {error}"
        ) from error
    result = _result(made)
    if result.labels is None and result.rows != cut:
        raise ConfigError(
            f"the feature function gives {result.rows} rows for {cut}; only rows of pandas can be told by their index"
        )
    if result.labels is not None and not result.labels.is_unique:
        raise ConfigError("the feature function gives an index that repeats; give data with an index without repeats")
    return result


def _peeks(whole: _Result, part: _Result, data: Any, cut: int, tolerance: float) -> list[Peek]:
    """What differs between a run on the first rows and the rows of a run on all that are of the same rows."""
    found = []
    if whole.labels is None or part.labels is None:
        labels: Any = np.arange(cut)
        here = there = np.arange(cut)
    else:
        expected = whole.labels[whole.labels.isin(_head(data, cut).index)] if _has_index(data) else whole.labels[:cut]
        for label in expected.symmetric_difference(part.labels, sort=False)[:1]:
            is_given = label in part.labels
            found.append(Peek(ROWS, label, cut, *(("there", "not there") if is_given else ("not there", "there"))))
        labels = part.labels[part.labels.isin(expected)]
        here, there = whole.labels.get_indexer(labels), part.labels.get_indexer(labels)
    for name in dict.fromkeys((*whole.columns, *part.columns)):
        if name not in whole.columns or name not in part.columns:
            is_given = name in part.columns
            found.append(Peek(name, None, cut, *(("there", "not there") if is_given else ("not there", "there"))))
            continue
        later, given = whole.columns[name][here], part.columns[name][there]
        changed = np.flatnonzero(~_same(given, later, tolerance))
        if len(changed):
            at = int(changed[0])
            found.append(Peek(name, labels[at], cut, given[at], later[at]))
    return found


def _same(one: npt.NDArray[Any], other: npt.NDArray[Any], tolerance: float) -> npt.NDArray[np.bool_]:
    both_missing: npt.NDArray[np.bool_] = _is_missing(one) & _is_missing(other)
    numbers = "biuf"
    if one.dtype.kind in numbers and other.dtype.kind in numbers:
        a, b = one.astype(np.float64), other.astype(np.float64)
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= tolerance * np.maximum(np.abs(a), np.abs(b))
        numbers_agree: npt.NDArray[np.bool_] = (a == b) | near | both_missing
        return numbers_agree
    equal = [a == b for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    return np.array([each is True or each is np.True_ for each in equal], dtype=np.bool_) | both_missing


def _is_missing(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    if values.dtype.kind in "mM":
        return np.asarray(np.isnat(values))
    if values.dtype.kind == "O":
        import pandas as pd

        return np.asarray(pd.isna(values), dtype=np.bool_)  # pandas.NA is neither the same as itself nor another
    return np.zeros(len(values), dtype=np.bool_)


# frames of several kinds


def _kind(data: Any) -> str:
    return type(data).__module__.partition(".")[0]


def _has_index(data: Any) -> bool:
    return _kind(data) == "pandas"


def _rows_of(data: Any) -> int:
    if not isinstance(data, Mapping) and _kind(data) not in ("pandas", "polars", "pyarrow"):
        raise ConfigError(f"data: a frame of pandas, polars or Arrow is wanted, not {type(data).__name__}")
    return _result(data).rows


def _head(data: Any, rows: int) -> Any:
    """The first rows, which may be written to."""
    if _kind(data) == "pandas":
        return data.iloc[:rows].copy()
    if isinstance(data, Mapping):
        return {name: np.array(values[:rows]) for name, values in data.items()}
    return data.slice(0, rows)


def _result(made: Any) -> _Result:
    """The columns of a frame, series or dict. Raises ConfigError for anything else."""
    kind = _kind(made)
    labels = None
    if isinstance(made, Mapping):
        columns = {str(name): np.asarray(values) for name, values in made.items()}
    elif kind == "pandas" and hasattr(made, "iloc"):
        labels = made.index
        named = made.items() if made.ndim == 2 else [(_SERIES if made.name is None else made.name, made)]
        columns = {str(name): values.to_numpy() for name, values in named}
    elif kind == "polars" and hasattr(made, "to_numpy"):
        series = [made] if not hasattr(made, "get_columns") else made.get_columns()
        columns = {each.name or _SERIES: each.to_numpy() for each in series}
    elif kind == "pyarrow" and hasattr(made, "column_names"):  # a table or a batch
        columns = {name: _of_arrow(made.column(name)) for name in made.column_names}
    elif isinstance(made, np.ndarray) and made.ndim == 1:
        columns = {_SERIES: made}
    else:
        raise ConfigError(f"the feature function gives {type(made).__name__}, and no frame, series or dict of columns")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise ConfigError("the feature function gives columns of different lengths")
    return _Result(labels, columns, len(labels) if labels is not None else max(lengths, default=0))


def _of_arrow(column: Any) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = column.to_numpy(**({} if hasattr(column, "chunks") else {"zero_copy_only": False}))
    return values
