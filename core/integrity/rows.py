"""What checks look at, and what they say: columns of some rows as NumPy arrays, and faults in them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import DATASETS, Dataset
from core.datasets.dataset import Kind
from core.datasets.grid import Bools, Grid, Ints
from core.dates import DAY_US, format_us
from core.decimals import text
from core.settings import QualitySettings
from core.types import Finding, Series, Span

Floats: TypeAlias = npt.NDArray[np.float64]

NEAR_US: Final = DAY_US
"""Findings of one kind and cause that are no further apart than this are told as one."""


@dataclass(slots=True, eq=False)
class Rows:
    """Some rows of a series in the order of its key.

    The first `before` rows (0 or 1) were looked at already: they are there to be compared with what follows. `grid` is
    the series' own where the dataset has one.
    """

    series: Series
    table: pa.Table
    quality: QualitySettings
    before: int = 0
    grid: Grid | None = None
    _arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def dataset(self) -> Dataset:
        return DATASETS[self.series.dataset]

    @property
    def count(self) -> int:
        """How many rows are new."""
        return int(self.table.num_rows) - self.before

    @property
    def time(self) -> Ints:
        return self.ints("timestamp")

    def ints(self, name: str) -> Ints:
        """A column of times (microseconds), ids or counts."""
        if name not in self._arrays:
            column = self.table.column(name)
            self._arrays[name] = column.cast(pa.int64()).to_numpy()
        return self._arrays[name]

    def floats(self, name: str) -> Floats:
        """A column of decimals; null is NaN."""
        if name not in self._arrays:
            self._arrays[name] = self.table.column(name).to_numpy()
        return self._arrays[name]

    def bools(self, name: str) -> Bools:
        if name not in self._arrays:
            self._arrays[name] = self.table.column(name).to_numpy()
        return self._arrays[name]

    def decimals(self) -> Iterator[str]:
        """The names of the columns of decimals."""
        for column in self.dataset.stored_columns(self.series.market):
            if column.kind is Kind.DECIMAL:
                yield str(column.name)

    def ends(self) -> Ints:
        """Where the time of each row ends: that of a candle behind its interval, any other at once."""
        if self.grid is None or not self.dataset.has_interval:
            return self.time + 1
        return np.maximum(self.grid.starts(self.grid.slots(self.time) + 1), self.time + 1)

    def faults(
        self, kind: str, wrong: Bools, say: Callable[[int], str], cause: str | None = None
    ) -> "Iterator[Faults]":
        """The new rows of which `wrong` is true; `say` gets the number of a row."""
        at = np.flatnonzero(wrong)
        at = at[at >= self.before]
        if len(at):
            starts, ends = self.time[at], self.ends()[at]
            yield Faults(kind, starts, ends, lambda n: f"{say(int(at[n]))} at {format_us(int(starts[n]))}", cause)

    def pairs(self, kind: str, wrong: Bools, say: Callable[[int], str], cause: str | None = None) -> "Iterator[Faults]":
        """As `faults`, of the second rows of neighbours: shape of `wrong` is `(rows - 1,)`, for pairs."""
        if len(wrong):
            yield from self.faults(kind, np.append(False, wrong), say, cause)


def told(name: str, what: str) -> Callable[[int], str]:
    """Says the same of every row."""
    return lambda _: f"{name} {what}"


def told_value(name: str, values: Floats) -> Callable[[int], str]:
    """Says the value of a row."""
    return lambda row: f"{name} is {text(values[row])}"


@dataclass(frozen=True, slots=True, eq=False)
class Faults:
    """Some faults of one kind in order of time, each from `starts` to before `ends`; `say` tells the n-th."""

    kind: str
    starts: Ints
    ends: Ints
    say: Callable[[int], str]
    cause: str | None = None
    counts: Ints | None = None

    def findings(self, series: Series) -> Iterator[Finding]:
        """The faults, neighbours told as one."""
        reach = np.maximum.accumulate(self.ends)
        first = np.flatnonzero(np.append(True, self.starts[1:] > reach[:-1] + NEAR_US))
        counts = np.ones(len(self.starts), dtype=np.int64) if self.counts is None else self.counts
        totals = np.add.reduceat(counts, first)
        last = np.append(first[1:], len(self.starts)) - 1
        low = np.minimum.reduceat(self.starts, first)
        for number, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            span = Span(int(low[number]), int(reach[end]))
            yield Finding(series, span, self.kind, self.say(begin), int(totals[number]), self.cause)


class Findings:
    """Findings of one series as they come; neighbours of one kind and cause become one with their count."""

    def __init__(self) -> None:
        self._by_kind: dict[tuple[str, str | None], list[Finding]] = {}

    def add(self, finding: Finding, is_single: bool = False) -> None:
        """`is_single`: is told apart from its neighbours."""
        held = self._by_kind.setdefault((finding.kind, finding.cause), [])
        if held and not is_single and finding.span.start_us <= held[-1].span.end_us + NEAR_US:
            held[-1] = _joined(held[-1], finding)
        else:
            held.append(finding)

    def all(self) -> list[Finding]:
        """In order of time."""
        return sorted((each for held in self._by_kind.values() for each in held), key=lambda one: (one.span, one.kind))


def _joined(one: Finding, other: Finding) -> Finding:
    start, end = min(one.span.start_us, other.span.start_us), max(one.span.end_us, other.span.end_us)
    return replace(one, span=Span(start, end), count=one.count + other.count)


def chunks(batches: Iterator[pa.RecordBatch], rows: int, together: str | None = None) -> Iterator[pa.Table]:
    """The rows in tables of exactly `rows`, but the last, however they came; `together`: rows with one value in this
    column stay in one table."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        while count >= rows + (together is not None):
            table = pa.Table.from_batches(held).combine_chunks()
            cut = rows if together is None else _cut(table, rows, together)
            if cut == count:
                break
            yield table.slice(0, cut)
            rest: Sequence[pa.RecordBatch] = table.slice(cut).to_batches()
            held, count = list(rest), count - cut
    if count:
        yield pa.Table.from_batches(held).combine_chunks()


def _cut(table: pa.Table, rows: int, name: str) -> int:
    """The first row at or behind `rows` with another value than the one before; all rows if there is none."""
    values = table.column(name).cast(pa.int64()).to_numpy()
    changes = np.flatnonzero(values[rows:] != values[rows - 1 : -1])
    return rows + int(changes[0]) if len(changes) else len(values)
