"""From rows of features to samples: which rows have a label, which part each is in, what it weighs, how it is scaled.

The matrix comes in chunks, one for each UTC day, and is held in memory or in files; everything is computed chunk by
chunk in the same order, so that both give the same bits. What is kept of all rows at once is a few numbers of each:
times, prices, label, weight.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.dates import DAY_US, HOUR_US, format_us
from core.errors import ConfigError, NoData, StorageError, storage_error
from core.features import FEATURES
from core.learning.arrays import Floats, Integers
from core.learning.events import cusum_events
from core.learning.labels import Labels, fixed_horizon, triple_barrier, volatility
from core.learning.scaling import Scaler, robust, standard
from core.learning.splits import split_by_time
from core.learning.weights import average_uniqueness, return_attribution, time_decay
from core.nearest import one_of
from core.types import Span
from loader.recipe import Recipe

OF_ROWS: Final = ("timestamp", "symbol", "available_at")
"""Columns of a frame of features that are none."""
OF_SAMPLES: Final = ("timestamp", "available_at", "label_end", "row", "end_row", "label", "label_return", "weight")
"""Columns of a file of samples before its features."""
PRICES: Final = ("close", "high", "low")
_LATEST_START: Final = 0.5
"""Of the train part's samples: a feature that has no value in the first half of them is left out."""
_LATE: Final = 0.05
"""Of the train part's samples: so much later than its warm-up says may a feature begin; the others lose these."""


class Matrix(Protocol):
    """Rows of features by chunks; float64, NaN where a value is not known."""

    def add(self, values: Floats) -> None: ...
    def chunk(self, number: int) -> Floats: ...
    def column(self, place: int) -> Floats: ...


class InMemory:
    """Chunks as they came."""

    def __init__(self) -> None:
        self._chunks: list[Floats] = []

    def add(self, values: Floats) -> None:
        self._chunks.append(values)

    def chunk(self, number: int) -> Floats:
        return self._chunks[number]

    def column(self, place: int) -> Floats:
        return np.concatenate([chunk[:, place] for chunk in self._chunks])


class OnDisk:
    """Each chunk in a file of its own in a folder that is there; one of them, or one column, is in memory at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[Path] = []

    def add(self, values: Floats) -> None:
        path = self._folder / f"{len(self._files):06d}.parquet"
        columns = [pa.array(np.ascontiguousarray(column)) for column in values.T]
        table = pa.table(columns, names=[str(n) for n in range(len(columns))])
        try:
            pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
        except OSError as error:
            raise storage_error(error, path) from error
        self._files.append(path)

    def chunk(self, number: int) -> Floats:
        table = self._read(self._files[number])
        values = np.empty((table.num_rows, table.num_columns))
        for place, column in enumerate(table.columns):
            values[:, place] = column.to_numpy()
        return values

    def column(self, place: int) -> Floats:
        return np.concatenate([self._read(path, [str(place)]).column(0).to_numpy() for path in self._files])

    def _read(self, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
        try:
            return pq.read_table(path, columns=columns, partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"cannot read {path}, which was written just now: {error}") from error


@dataclass
class Rows:
    """What is known of all rows, gathered as they come; the first row is the first with a price."""

    matrix: Matrix
    side: str | None = None
    """The column whose sign is the side of labels."""
    is_known_at_timestamp: bool = False
    """That a caller says so, of rows without `available_at`."""
    names: tuple[str, ...] = ()
    not_features: tuple[str, ...] = ()
    """Columns that are no numbers, where features were not named."""
    symbol: Any = None
    without_price: int = 0
    chunks: list[int] = field(default_factory=lambda: [0])
    """Where each chunk begins, and where the last one ends."""
    first_known: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of each feature its first row with a value; the number of rows if there is none."""
    quarantined: int = 0
    _parts: dict[str, list[npt.NDArray[Any]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.chunks[-1]

    def values(self, name: str) -> npt.NDArray[Any]:
        """`timestamp` or `available_at` (int64, microseconds), `close`, `high`, `low` or `side` of all rows."""
        return np.concatenate(self._parts[name])[: len(self)]

    def keep_out(self, days: int) -> None:
        """Forget the rows that were known only in the last so many UTC days of them. Raises NoData if all were."""
        if not len(self):
            return
        available = self.values("available_at")
        cut_us = ((int(available[-1]) - 1) // DAY_US - days + 1) * DAY_US
        count = int(np.searchsorted(available, cut_us, side="right"))
        if not count:
            raise NoData(
                f"the quarantine keeps out everything from {format_us(cut_us)} on, and no row with a price was known "
                "before; give earlier rows, or leave out quarantine"
            )
        self.quarantined = len(self) - count
        self.chunks = [*(bound for bound in self.chunks if bound < count), count]
        self.first_known = np.minimum(self.first_known, count)

    def has(self, name: str) -> bool:
        return name in self._parts

    def add(self, frame: pd.DataFrame, features: Sequence[str] | None) -> None:
        """The rows of the next day. Raises ConfigError for frames that are not of one kind, or not in order."""
        if "close" not in frame or "timestamp" not in frame:
            raise ConfigError("rows of features need the columns timestamp and close: labels are made of them")
        self._check_symbol(frame)
        if not self.chunks[-1]:
            known = np.flatnonzero(np.isfinite(_doubles(frame, ["close"])[:, 0]))
            start = int(known[0]) if len(known) else len(frame)
            self.without_price += start
            frame = frame.iloc[start:]
            self._take_names(frame, features)
        if not len(frame):
            return
        absent = [name for name in self.names if name not in frame]
        if absent:
            raise ConfigError(f"rows from {frame['timestamp'].iloc[0]} on have no {absent[0]}, and earlier ones have")
        self._add_rows(frame)
        values = np.array(_doubles(frame, self.names), order="C")  # the frame stays its owner's
        values[~np.isfinite(values)] = np.nan
        is_known = ~np.isnan(values)
        before = self.first_known == len(self)
        first = np.where(is_known.any(axis=0), is_known.argmax(axis=0), len(values)) + len(self)
        self.first_known = np.where(before, first, self.first_known)
        self.matrix.add(values)
        self.chunks.append(len(self) + len(frame))

    def _take_names(self, frame: pd.DataFrame, features: Sequence[str] | None) -> None:
        if features is None:
            others = [name for name in frame.columns if name not in OF_ROWS]
            names = [name for name in others if _is_number(frame[name])]
            self.not_features = tuple(map(str, (name for name in others if name not in names)))
        else:
            names = list(features)
        taken = [name for name in names if name in OF_SAMPLES]
        if taken:
            raise ConfigError(
                f"a feature cannot be called {taken[0]}: samples have such a column; give it another name"
            )
        absent = [name for name in names if name not in frame]
        if absent or not names:
            raise ConfigError(f"there is no feature {absent[0]!r}" if absent else "there is no feature to learn from")
        self.names = tuple(names)
        self.first_known = np.zeros(len(names), np.int64)

    def _check_symbol(self, frame: pd.DataFrame) -> None:
        """Raises ConfigError for rows of several symbols: windows and labels would go from one to the other."""
        found = [] if "symbol" not in frame else frame["symbol"].unique().tolist()
        others = [one for one in found if self.symbol is not None and one != self.symbol]
        if len(found) > 1 or others:
            first, other = (self.symbol, others[0]) if others else found[:2]
            raise ConfigError(f"rows of features are of one symbol, and these are of {first} and {other}")
        self.symbol = found[0] if found else self.symbol

    def _add_rows(self, frame: pd.DataFrame) -> None:
        if ("available_at" in frame) is self.is_known_at_timestamp:
            raise ConfigError(
                "rows have available_at, so known_at_timestamp cannot be true of them"
                if self.is_known_at_timestamp
                else "rows of features need available_at, when each was known: of a candle its close, not its "
                "timestamp, which is its open. If your rows were known at their timestamp, say known_at_timestamp=True"
            )
        times = {name: microseconds(frame[name]) for name in ("timestamp", "available_at") if name in frame}
        known = times.setdefault("available_at", times["timestamp"])
        early = np.flatnonzero(known < times["timestamp"])
        if len(early):
            raise ConfigError(f"available_at: the row of {frame['timestamp'].iloc[early[0]]} was known before that")
        last = self._parts["available_at"][-1][-1] if self._parts else None
        if np.any(known[1:] < known[:-1]) or (last is not None and known[0] < last):
            raise ConfigError("rows of features have to be in order of time")
        prices = {name: _doubles(frame, [name])[:, 0] for name in PRICES if name in frame}
        if self.side is not None:
            if self.side not in frame:
                raise ConfigError(f"side: there is no column {self.side!r}{one_of(self.side, map(str, frame.columns))}")
            prices["side"] = _doubles(frame, [self.side])[:, 0]
        for name, values in (times | prices).items():
            self._parts.setdefault(name, []).append(values)


@dataclass(frozen=True)
class Plan:
    """Which samples there are. `parts` are numbers of `labels`, by part; `weights` theirs; `columns` the places of the
    features that are kept."""

    columns: Integers
    labels: Labels
    parts: Mapping[str, Integers]
    weights: Mapping[str, Floats]
    counts: Mapping[str, int]
    left_out: tuple[str, ...]
    ties: Mapping[str, int]
    """By part the samples whose price touched both barriers in one row."""
    slowest: Mapping[str, int]
    """The kept feature that begins last, and its first row with a value, as `times` number rows."""


def by_day(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The rows of each UTC day by its timestamp, however the frames are cut."""
    waiting: list[pd.DataFrame] = []
    for frame in frames:
        days = microseconds(frame["timestamp"]) // DAY_US
        for start, end in runs(days):
            piece = frame.iloc[start:end]
            if waiting and microseconds(waiting[-1]["timestamp"].iloc[-1:])[0] // DAY_US != days[start]:
                yield pd.concat(waiting, ignore_index=True) if len(waiting) > 1 else waiting[0]
                waiting = []
            waiting.append(piece)
    if waiting:
        yield pd.concat(waiting, ignore_index=True) if len(waiting) > 1 else waiting[0]


def plan_of(rows: Rows, recipe: Recipe, gaps: Sequence[Span] = ()) -> Plan:
    """What becomes of the rows. `gaps`: times in order of which no file is stored; no sample touches one. Raises NoData
    if nothing becomes of them, ConfigError if too little does for these parts."""
    if not len(rows):
        raise NoData("there is no row with a price, so nothing can be labelled; take a longer time")
    labels = _labels(rows, recipe)
    counts = {
        "rows": len(rows) + rows.without_price + rows.quarantined,
        "without_price": rows.without_price,
        "quarantined": rows.quarantined,
        "not_events": len(rows) - len(labels) - labels.unfinished - labels.undefined,
        "unfinished": labels.unfinished,
        "undefined": labels.undefined,
    }
    if not len(labels):
        raise NoData(
            f"none of {len(rows)} rows has a label: {labels.unfinished} reach beyond the last row with a horizon of "
            f"{recipe.label_horizon} rows; take a longer time, or a shorter label_horizon"
        )
    columns, left_out = _columns(rows, labels, recipe)
    warm_up = int(rows.first_known[columns].max(initial=0))
    slowest = rows.names[int(columns[rows.first_known[columns].argmax()])]
    is_warm = labels.rows >= warm_up
    counts["warm_up"] = len(labels) - int(is_warm.sum())
    if not is_warm.any():
        raise NoData(f"no row is left behind the warm-up: {slowest} has no value in the first {warm_up} rows")
    known = np.flatnonzero(is_warm & ~_in_gaps(rows, labels, gaps))
    counts["no_file"] = int(is_warm.sum()) - len(known)
    if not len(known):
        raise NoData(f"each sample meets one of {len(gaps)} times of which no file is stored; download them")
    shares = recipe.parts
    try:
        parts = split_by_time(labels.rows[known], labels.ends[known], tuple(shares.values()), recipe.gap)
    except ConfigError as error:
        raise ConfigError(f"too few samples for the parts {', '.join(shares)}: {error}") from None
    by_part = {name: known[part] for name, part in zip(shares, parts, strict=True)}
    counts["purged"] = len(known) - sum(map(len, by_part.values()))
    if recipe.missing == "drop":
        whole = _whole(rows, columns)
        dropped = {name: part[whole[labels.rows[part]]] for name, part in by_part.items()}
        counts["dropped"] = sum(map(len, by_part.values())) - sum(map(len, dropped.values()))
        by_part = dropped
    for name, part in by_part.items():
        counts[name] = len(part)
        if not len(part):
            raise NoData(
                f"the {name} part is empty: each of its rows lacks a value; choose features, or missing='fill'"
            )
    weights = {name: _weights(rows, labels, part, recipe) for name, part in by_part.items()}
    begins = {slowest: warm_up + rows.without_price}
    ties = {name: int(labels.is_tie[part].sum()) for name, part in by_part.items()}
    return Plan(columns, labels, by_part, weights, counts, left_out, ties, begins)


def fit_scaler(rows: Rows, plan: Plan, kind: str) -> Scaler:
    """The scaler of the train part's rows. Raises NoData for a feature that none of them knows."""
    train = plan.labels.rows[plan.parts["train"]]
    if kind == "robust":
        scaler = robust(rows.matrix.column(int(place))[train] for place in plan.columns)
    else:
        batches = (
            np.ascontiguousarray(rows.matrix.chunk(number)[train[inside] - rows.chunks[number]][:, plan.columns])
            for number, inside in _by_chunk(rows, train)
        )
        scaler = standard(batches, kind)
    unknown = np.flatnonzero(np.isnan(scaler.fills))
    if len(unknown):
        name = rows.names[int(plan.columns[unknown[0]])]
        raise NoData(f"{name} has no value in any sample of the train part; leave it out of the features, or take more")
    return scaler


def samples(
    rows: Rows, plan: Plan, scaler: Scaler, part: str, recipe: Recipe
) -> Iterator[tuple[pd.DataFrame, Floats, Integers]]:
    """The samples of a part, a day at a time: the columns OF_SAMPLES, the scaled features, and how many values of each
    were not known."""
    numbers, weights = plan.parts[part], plan.weights[part]
    at, ends = plan.labels.rows[numbers], plan.labels.ends[numbers]
    available = rows.values("available_at")
    timestamp = rows.values("timestamp")
    for number, inside in _by_chunk(rows, at):
        values = np.ascontiguousarray(rows.matrix.chunk(number)[at[inside] - rows.chunks[number]][:, plan.columns])
        of_part = numbers[inside]
        about = pd.DataFrame(
            {
                "timestamp": _times(timestamp[at[inside]]),
                "available_at": _times(available[at[inside]]),
                "label_end": _times(available[ends[inside]]),
                "row": at[inside] + rows.without_price,
                "end_row": ends[inside] + rows.without_price,
                "label": plan.labels.labels[of_part],
                "label_return": plan.labels.returns[of_part],
                "weight": weights[inside],
            }
        )
        yield about, scaler.apply(values, fill=recipe.missing == "fill"), np.isnan(values).sum(axis=0)


def _labels(rows: Rows, recipe: Recipe) -> Labels:
    close = rows.values("close")
    events = None if recipe.cusum is None else cusum_events(close, recipe.cusum)
    if recipe.label == "fixed_horizon":
        return fixed_horizon(close, recipe.label_horizon, recipe.threshold, events)
    width: Floats | float
    if recipe.width is None:
        width = volatility(close, recipe.volatility_span) * np.sqrt(recipe.label_horizon)
    else:
        width = recipe.width
    high, low = (rows.values(name) if rows.has("high") and rows.has("low") else None for name in ("high", "low"))
    side: Floats | None = None
    if recipe.side is not None:
        side = np.sign(rows.values("side"))
        taken = np.flatnonzero(np.isin(side, (-1, 1)))  # unknown, or 0: nothing to follow
        events = taken if events is None else np.intersect1d(events, taken)
    return triple_barrier(
        close,
        recipe.label_horizon,
        width,
        recipe.profit,
        recipe.loss,
        events,
        side=side,
        high=high,
        low=low,
        ties=recipe.ties,
        vertical=recipe.vertical,
    )


def _is_number(column: "pd.Series[Any]") -> bool:
    kind = column.dtype
    return bool(pd.api.types.is_numeric_dtype(kind)) and not pd.api.types.is_complex_dtype(kind)


def _doubles(frame: pd.DataFrame, names: Sequence[str]) -> Floats:
    """These columns as float64, a line per row. Raises ConfigError for one that is no numbers."""
    for name in names:
        if not _is_number(frame[name]):
            raise ConfigError(
                f"{name}: its values are {frame[name].dtype}, not numbers; give it as numbers, or leave it out"
            )
    found: Floats = frame[list(names)].to_numpy(np.float64, na_value=np.nan)
    return found


def _columns(rows: Rows, labels: Labels, recipe: Recipe) -> tuple[Integers, tuple[str, ...]]:
    """The features that have values soon enough to learn from, and the names of those that have not. Decided by rows of
    the train part alone."""
    train = len(labels) * recipe.parts["train"]
    latest = labels.rows[min(len(labels) - 1, int(train * _LATEST_START))]
    warm = np.searchsorted(labels.rows, [_declared(rows, name) for name in rows.names]) + int(train * _LATE)
    last = np.minimum(labels.rows[np.minimum(warm, len(labels) - 1)], latest)
    is_soon = rows.first_known <= last
    left_out = tuple(name for name, soon in zip(rows.names, is_soon, strict=True) if not soon)
    if not is_soon.any():
        raise NoData(f"no feature has a value in the first {last.max()} rows; take a longer time")
    return np.flatnonzero(is_soon), left_out


def _declared(rows: Rows, name: str) -> int:
    """The first row that has a value by what is said of the feature; 0 for one of a caller's own."""
    if name not in FEATURES:
        return 0
    feature = FEATURES[name]
    if not feature.hours:
        return feature.warm_up
    times = rows.values("timestamp")
    begins_us = (int(times[0]) // HOUR_US + 1 + feature.hours) * HOUR_US
    return max(feature.warm_up, int(np.searchsorted(times, begins_us)))


def _in_gaps(rows: Rows, labels: Labels, gaps: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """Of each label, whether its row, or one up to its end, has any of these times in it."""
    if not gaps:
        return np.zeros(len(labels), np.bool_)
    starts = np.array([*(gap.start_us for gap in gaps), np.iinfo(np.int64).max])
    ends = np.array([gap.end_us for gap in gaps])
    next_gap = np.searchsorted(ends, rows.values("timestamp")[labels.rows], side="right")
    found: npt.NDArray[np.bool_] = starts[next_gap] < rows.values("available_at")[labels.ends]
    return found


def _whole(rows: Rows, columns: Integers) -> npt.NDArray[np.bool_]:
    """Of each row, whether all its features are known."""
    chunks = range(len(rows.chunks) - 1)
    return np.concatenate([~np.isnan(rows.matrix.chunk(number)[:, columns]).any(axis=1) for number in chunks])


def _weights(rows: Rows, labels: Labels, part: Integers, recipe: Recipe) -> Floats:
    """By the labels of the same part alone, so that those of the train part do not depend on what comes later. 1 on
    average: what a model's regularization comes to must not depend on how far labels overlap."""
    at, ends = labels.rows[part], labels.ends[part]
    unique = average_uniqueness(at, ends)
    if recipe.weights == "return":
        own = return_attribution(rows.values("close")[: int(ends.max()) + 1], at, ends)
    else:
        own = unique if recipe.weights == "uniqueness" else np.ones(len(part))
    found = own * time_decay(unique, recipe.oldest_weight)
    mean = float(found.mean())
    return found / mean if mean > 0 else found


def _by_chunk(rows: Rows, at: Integers) -> Iterator[tuple[int, slice]]:
    """The chunks that have any of these rows, and which they are."""
    bounds = np.searchsorted(at, rows.chunks)
    for number, (start, end) in enumerate(pairwise(bounds.tolist())):
        if start < end:
            yield number, slice(start, end)


def runs(numbers: Integers) -> Iterator[tuple[int, int]]:
    """Where each run of equal numbers begins and ends."""
    cuts = (np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist()
    if len(numbers):
        yield from pairwise([0, *cuts, len(numbers)])


def microseconds(times: "pd.Series[Any]") -> Integers:
    """Since 1970."""
    found: Integers = times.dt.as_unit("us").astype("int64").to_numpy()
    return found


def _times(us: Integers) -> "pd.Series[Any]":
    return pd.Series(us.view("datetime64[us]")).dt.tz_localize("UTC")
