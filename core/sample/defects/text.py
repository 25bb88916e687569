"""The rows of a published archive as they are written: lines and cells that are changed without touching others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from core.datasets import DATASETS, Kind
from core.dates import MICROSECONDS_FROM
from core.sample.values import Bools, Ints
from core.types import Series

Cells = list[bytes]


@dataclass(frozen=True, slots=True)
class Text:
    """The CSV of one archive: its header, if it has one, and its lines without their ends."""

    series: Series
    header: bytes | None
    lines: tuple[bytes, ...]

    @classmethod
    def of(cls, series: Series, content: bytes) -> "Text":
        """A header is a first line that does not begin with a digit or a minus."""
        lines = content.splitlines()
        has_header = bool(lines) and not (lines[0][:1].isdigit() or lines[0][:1] == b"-")
        return cls(series, lines[0] if has_header else None, tuple(lines[1:] if has_header else lines))

    def content(self) -> bytes:
        lines = self.lines if self.header is None else (self.header, *self.lines)
        return b"".join(line + b"\n" for line in lines)

    def place(self, source: str) -> int:
        """The place of the exchange's column in a row."""
        return [column.source for column in DATASETS[self.series.dataset].columns[self.series.market]].index(source)

    @property
    def time_place(self) -> int:
        columns = DATASETS[self.series.dataset].columns[self.series.market]
        return next(number for number, column in enumerate(columns) if column.name == "timestamp")

    @property
    def unit_us(self) -> int:
        """Microseconds in a unit of the file's times."""
        first = self.lines[0].split(b",")[self.time_place]
        return 1 if int(first) >= MICROSECONDS_FROM else 1000

    def cell(self, row: int, source: str) -> bytes:
        return self.lines[row].split(b",")[self.place(source)]

    def column(self, source: str) -> list[bytes]:
        place = self.place(source)
        return [line.split(b",")[place] for line in self.lines]

    def times_us(self) -> Ints:
        """When each row is."""
        if not self.lines:
            return np.zeros(0, dtype=np.int64)
        place = self.time_place
        cells = [line.split(b",")[place].decode() for line in self.lines]
        if DATASETS[self.series.dataset].columns[self.series.market][place].kind is Kind.TEXT_TIME:
            times: Ints = np.array(cells, dtype="datetime64[us]").astype(np.int64)
            return times
        return np.array(cells, dtype=np.int64) * self.unit_us

    def only(self, kept: Bools | Ints) -> "Text":
        """The rows of a mask, or of numbers in their order."""
        rows = np.flatnonzero(kept) if kept.dtype == np.bool_ else kept
        return replace(self, lines=tuple(self.lines[row] for row in rows))

    def edited(self, rows: Bools | Ints, edit: Callable[[Cells], Cells]) -> "Text":
        """The same text with the cells of some rows edited."""
        lines = list(self.lines)
        for row in np.flatnonzero(rows) if rows.dtype == np.bool_ else rows:
            lines[row] = b",".join(edit(lines[row].split(b",")))
        return replace(self, lines=tuple(lines))

    def with_cells(self, rows: Bools | Ints, cells: Mapping[str, Callable[[bytes], bytes]]) -> "Text":
        """The same text with these columns of some rows edited."""
        places = {self.place(source): change for source, change in cells.items()}
        return self.edited(rows, lambda row: [places[n](c) if n in places else c for n, c in enumerate(row)])


def as_in(cell: bytes, value: Decimal) -> bytes:
    """A value with as many decimals as a cell shows, or as many as it needs."""
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return f"{value:.{max(places_of(cell), -exponent, 0)}f}".encode()


def places_of(cell: bytes) -> int:
    """How many decimals a cell shows."""
    return len(cell.partition(b".")[2])


def a_little_more(cell: bytes) -> bytes:
    """One unit of the last decimal more."""
    return as_in(cell, Decimal(cell.decode()) + Decimal(1).scaleb(-places_of(cell)))


def zero(cell: bytes) -> bytes:
    """Nothing, written with as many decimals."""
    return as_in(cell, Decimal(0))
