"""The race of `loader.py`: ways to answer one question, proved to give the same rows, then timed in random order."""

import gc
import random
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from loader_ways import Read, Subject

CLOSE: Final = 1e-12
"""How much a sum of doubles depends on the order of adding."""

_COMPARABLE: Final = ({"i"}, {"f"}, {"i", "f"}, {"b"}, {"O"})
"""Kinds of numpy's that may be the same value: whole numbers are doubles where some are missing."""

Facts = dict[str, Any]
"""What another process says of its rows: `rows`, and `sums` and `nans` by column."""


@dataclass(frozen=True)
class Way(ABC):
    """One way to answer. `asks` names what it answers: ways that answer the same give the same rows. A slow one is
    timed in `at_most` so many rounds."""

    name: str
    asks: str = field(default="rows", kw_only=True)
    at_most: int = field(default=1000, kw_only=True)

    @abstractmethod
    def seconds(self, one: Subject) -> float: ...

    @abstractmethod
    def check(self, one: Subject, reference: "Reference") -> str | None:
        """How its rows differ from those of the first way that answers the same; None: they do not."""


class Reference:
    """The rows that ways of one question are held against: those of the first."""

    def __init__(self) -> None:
        self.columns: dict[str, npt.NDArray[Any]] | None = None
        self.line: str | None = None

    def difference(self, columns: dict[str, npt.NDArray[Any]]) -> str | None:
        """The first difference to the rows that came first; None: none."""
        if self.columns is None:
            self.columns = columns
            return None
        return next((text for text in self._differences(columns) if text), None)

    def difference_to(self, facts: Facts) -> str | None:
        """The same where only rows, sums and the number of NaN are known."""
        assert self.columns is not None
        for name, total in facts["sums"].items():
            values = self.columns[name]
            if len(values) != facts["rows"]:
                return f"{facts['rows']:,} rows instead of {len(values):,}"
            wanted, nans = _sum(values)
            if nans != facts["nans"][name] or abs(total - wanted) > CLOSE * abs(wanted):
                return f"{name}: sum {total!r} and {facts['nans'][name]} NaN instead of {wanted!r} and {nans}"
        return None

    def difference_of_lines(self, line: str) -> str | None:
        """The same where a program says all that is known in one line."""
        self.line = line if self.line is None else self.line
        return None if line == self.line else f"{line.strip()!r} instead of {self.line.strip()!r}"

    def _differences(self, columns: dict[str, npt.NDArray[Any]]) -> Iterator[str | None]:
        assert self.columns is not None
        shared = [name for name in self.columns if name in columns]
        yield None if len(shared) >= 3 else f"it has the columns {', '.join(columns)}"
        for name in shared:
            wanted, found = self.columns[name], columns[name]
            if len(wanted) != len(found):
                yield f"{len(found):,} rows instead of {len(wanted):,}"
            elif {wanted.dtype.kind, found.dtype.kind} not in _COMPARABLE:
                yield f"{name} is {found.dtype} instead of {wanted.dtype}"
            elif not np.array_equal(wanted, found, equal_nan=wanted.dtype.kind in "if"):
                row = int(np.flatnonzero(~_same(wanted, found))[0])
                yield f"row {row:,}, {name}: {found[row]} instead of {wanted[row]}"


@dataclass(frozen=True)
class InProcess(Way):
    """A way of this process. `in_order` false: its rows are sorted before they are compared, outside the time."""

    read: Read
    in_order: bool = field(default=True, kw_only=True)

    def seconds(self, one: Subject) -> float:
        gc.collect()
        gc.disable()
        began = time.perf_counter()
        result = self.read(one)
        taken = time.perf_counter() - began
        gc.enable()
        del result
        return taken

    def check(self, one: Subject, reference: Reference) -> str | None:
        columns = columns_of(self.read(one))
        return reference.difference(columns if self.in_order else _sorted(columns))


@dataclass
class Figure:
    """What one way took, in milliseconds, or another number that a goal is about."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def best(self) -> float:
        return min(self.values)


Figures = dict[str, Figure]


@dataclass(frozen=True)
class Goal:
    """A bound on a figure, or on how many times `over` is of `under`."""

    over: str
    limit: float
    under: str = ""
    is_least: bool = False
    aim: float | None = None
    unit: str = "ms"

    @property
    def what(self) -> str:
        if not self.under:
            return self.over
        return f"{self.over} / {self.under}"

    def value(self, figures: Mapping[str, Figure]) -> float | None:
        """None where a way of it did not take part."""
        if self.over not in figures or (self.under and self.under not in figures):
            return None
        return figures[self.over].median / (figures[self.under].median if self.under else 1)

    def is_met(self, value: float, limit: float) -> bool:
        return value >= limit if self.is_least else value <= limit

    @property
    def bound(self) -> str:
        sign, unit = (">=" if self.is_least else "<="), ("x" if self.under else f" {self.unit}")
        hoped = f" (aim {self.aim:g}{unit})" if self.aim is not None else ""
        return f"{sign} {self.limit:g}{unit}{hoped}"

    def verdict(self, value: float | None) -> str:
        if value is None:
            return "not measured"
        if not self.is_met(value, self.limit):
            return "NOT reached"
        return "reached" if self.aim is None or not self.is_met(value, self.aim) else "reached, the aim too"


def at_most(way: str, limit: float, aim: float | None = None, unit: str = "ms") -> Goal:
    return Goal(way, limit, aim=aim, unit=unit)


def at_least(way: str, limit: float, unit: str) -> Goal:
    return Goal(way, limit, is_least=True, unit=unit)


def faster(ours: str, peer: str, times: float, aim: float | None = None) -> Goal:
    """So many times faster than a peer."""
    return Goal(peer, times, under=ours, is_least=True, aim=aim)


def within(way: str, times: float, of: str) -> Goal:
    """At most so many times what another takes."""
    return Goal(way, times, under=of)


@dataclass(frozen=True)
class Task:
    """A question, or several alike that are asked in turn; `rounds` for one of the command line."""

    name: str
    title: str
    subjects: Sequence[Subject]
    ways: Sequence[Way]
    goals: Sequence[Goal] = ()
    rounds: int = 1


def race(task: Task, rounds: int, say: Callable[[str], None]) -> Figures:
    """Every way proved on every subject, then rounds in random order, the first of them not counted."""
    for one in task.subjects:
        _prove(task, one)
    gc.collect()
    gc.freeze()  # what is there now stays; looking through it before every call would take a tenth of a second
    figures: Figures = {way.name: Figure() for way in task.ways}
    shuffled = random.Random(task.name)
    for number in range(-1, rounds * task.rounds):
        one = task.subjects[number % len(task.subjects)]
        for way in shuffled.sample(list(task.ways), len(task.ways)):
            if number < way.at_most:
                seconds = way.seconds(one)
                if number >= 0:
                    figures[way.name].values.append(seconds * 1000)
    gc.unfreeze()
    say(table_of(task.title, figures))
    return figures


def _prove(task: Task, one: Subject) -> None:
    references: dict[str, Reference] = {}
    for way in task.ways:
        wrong = way.check(one, references.setdefault(way.asks, Reference()))
        if wrong:
            raise SystemExit(f"{task.name}: the rows of {way.name} differ: {wrong}")


def table_of(title: str, figures: Figures) -> str:
    """The times of a task as Markdown, those of the first way being the measure."""
    first = next(iter(figures.values())).median
    lines = [f"\n{title}\n", "| | median ms | best | times the first | rounds |", "| --- | --: | --: | --: | --: |"]
    for name, figure in figures.items():
        times = figure.median / first
        lines.append(
            f"| {name} | {_short(figure.median)} | {_short(figure.best)} | {times:.2f} | {len(figure.values)} |"
        )
    return "\n".join(lines)


def table_of_streams(title: str, found: Mapping[str, Figures]) -> str:
    """The medians of every stream."""
    names = list(next(iter(found.values())))
    lines = [f"\n{title}\n", f"| | {' | '.join(names)} |", f"| --- |{' --: |' * len(names)}"]
    for way, figures in found.items():
        lines.append(f"| {way} | {' | '.join(_short(figures[name].median) for name in names)} |")
    return "\n".join(lines)


def goals_of(title: str, goals: Sequence[Goal], figures: Mapping[str, Figure]) -> list[str]:
    """A line for each goal."""
    lines = []
    for goal in goals:
        value = goal.value(figures)
        shown = "" if value is None else f"{value:.2f}x" if goal.under else f"{_short(value)} {goal.unit}"
        lines.append(f"| {title} | {goal.what} | {shown} | {goal.bound} | {goal.verdict(value)} |")
    return lines


def columns_of(result: Any) -> dict[str, npt.NDArray[Any]]:
    """The columns of whatever a way gives: times as microseconds, numbers as they are, symbols as words."""
    if isinstance(result, Mapping):
        frames = {name: columns_of(frame) for name, frame in result.items()}
        if len(frames) == 1:
            return next(iter(frames.values()))
        return {f"{kind} {name}": values for kind, columns in frames.items() for name, values in columns.items()}
    return {name: _values(column) for name, column in _arrow(result).items()}


def _arrow(frame: Any) -> dict[str, pa.ChunkedArray]:
    if hasattr(frame, "to_arrow"):  # polars
        frame = frame.to_arrow()
    if not isinstance(frame, pa.Table):
        frame = pa.Table.from_pandas(frame, preserve_index=False)
    return {name: frame.column(name) for name in frame.column_names}


def _values(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    elif pa.types.is_dictionary(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.string())
    if pa.types.is_integer(column.type) and not column.null_count:
        column = column.cast(pa.int64())
    values: npt.NDArray[Any] = column.to_numpy()  # nulls become NaN
    return values


def _sorted(columns: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    order = np.lexsort([columns["timestamp"], columns["symbol"].astype(np.str_)])
    return {name: values[order] for name, values in columns.items()}


def _same(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    same: npt.NDArray[np.bool_] = (one == other) | ((one != one) & (other != other))  # NaN is NaN
    return same


def _sum(values: npt.NDArray[Any]) -> tuple[float, int]:
    if values.dtype.kind != "f":
        return int(values.sum()), 0
    return float(np.nansum(values)), int(np.isnan(values).sum())


def _short(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
