"""A CSV in which lines are at fault, as its good rows and those lines.

The text is read in blocks cut at line ends. A block is given to Arrow whole; only where that fails is it halved until
few lines are left, which are looked at one by one. Behind a block that is full of faults the next is not halved.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import Column, Kind
from core.dates import MICROSECONDS_FROM
from core.errors import MalformedArchive
from core.storage.csv_arrow import ArrowReader, OddBytes
from core.storage.csv_faults import fault_of
from core.storage.member import MemberStream

LONGEST_LINE: Final = 1 << 20
"""What goes on for longer without an end is no line of a CSV."""
_FEW: Final = 64
_DENSE: Final = 400
"""From one fault in so many lines on, looking at every line takes less time than halving."""
_LOOKED_AT: Final = 1000
_UNREADABLE: Final = (pa.ArrowInvalid, OddBytes)

Misfit = tuple[npt.NDArray[np.int64], Callable[[int], tuple[str, bytes]]]
"""Rows that do not belong with the others, by their places, and for each why, with the cell that says so."""


class Salvager:
    """Reads rows and sets lines aside, both in the order of the text; `lines` counts all of them.

    `misfits` says which rows of a batch may not stay, and raises ArrowInvalid for a batch with a cell that cannot be
    read. `conflicts` are rows, counted without the lines at fault, of which others have the key. `first` is the number
    of the first line.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        symbol: str,
        misfits: Callable[[pa.RecordBatch], Iterator[Misfit]],
        set_aside: Callable[[int, str, bytes], None],
        conflicts: npt.NDArray[np.int64],
        first: int,
    ) -> None:
        self._columns = columns
        self._symbol = symbol
        self._misfits = misfits
        self._set_aside = set_aside
        self._conflicts = conflicts
        self._first = first
        self._rows = 0
        self._is_dense = False
        self.lines = 0

    def batches(self, texts: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
        """The good rows of texts that end where lines end, as they are in the file."""
        for text in texts:
            count = text.count(b"\n") + (not text.endswith(b"\n"))
            faults: dict[int, str] = {}
            rows, places = self._whole(text, count, faults)
            self._is_dense = len(faults) * _DENSE > count
            if rows is not None:
                keep = self._fitting(rows, places, faults)
                rows = rows if keep.all() else rows.filter(pa.array(keep))
            if faults:
                lines = _split(text)
                for place in sorted(faults):
                    self._set_aside(self._first + self.lines + place, faults[place], lines[place])
            self.lines += count
            if rows is not None and rows.num_rows:
                yield rows

    def _whole(
        self, text: bytes, count: int, faults: dict[int, str]
    ) -> tuple[pa.RecordBatch | None, npt.NDArray[np.int64]]:
        """The rows of a text, and which of its lines they are."""
        try:
            return self._parsed(text, count), np.arange(count)
        except _UNREADABLE:
            lines = _split(text)
            parts = list(self._halves(lines, range(len(lines)), faults))
        if not parts:
            return None, np.arange(0)
        return pa.concat_batches([rows for rows, _ in parts]), np.concatenate([places for _, places in parts])

    def _some(
        self, lines: Sequence[bytes], places: Sequence[int], faults: dict[int, str]
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64]]]:
        """The rows that these lines are."""
        if not places:
            return
        try:
            yield self._parsed(b"".join(lines[place] + b"\n" for place in places), len(places)), np.array(places)
        except _UNREADABLE as error:
            if len(places) > _FEW and not self._is_dense:
                yield from self._halves(lines, places, faults)
                return
            found = {place: why for place in places if (why := fault_of(lines[place], self._columns, self._symbol))}
            if not found and len(places) == 1:
                found = {places[0]: f"it cannot be read: {error}"}
            faults.update(found)
            if found:
                yield from self._some(lines, [place for place in places if place not in found], faults)
            else:
                yield from self._halves(lines, places, faults)

    def _halves(
        self, lines: Sequence[bytes], places: Sequence[int], faults: dict[int, str]
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64]]]:
        half = len(places) // 2
        yield from self._some(lines, places[:half], faults)
        yield from self._some(lines, places[half:], faults)

    def _parsed(self, text: bytes, count: int) -> pa.RecordBatch:
        """All of a text, or nothing of it: raises ArrowInvalid, OddBytes."""
        reader = ArrowReader(self._columns, len(text) + 1, self._symbol)
        rows = pa.concat_batches(list(reader.batches(BytesIO(text), 0)))
        if rows.num_rows != count:
            raise pa.ArrowInvalid("lines end in more than one way")
        for _ in self._misfits(rows):
            pass
        return rows

    def _fitting(
        self, rows: pa.RecordBatch, places: npt.NDArray[np.int64], faults: dict[int, str]
    ) -> npt.NDArray[np.bool_]:
        """Which rows stay; the faults of the others are noted by the places of their lines."""
        keep = np.ones(rows.num_rows, dtype=np.bool_)
        for odd, why in self._misfits(rows):
            for row in odd[keep[odd]].tolist():
                faults[int(places[row])] = why(row)[0]
            keep[odd] = False
        good = np.flatnonzero(keep)
        start, end = np.searchsorted(self._conflicts, [self._rows, self._rows + len(good)])
        for row in good[self._conflicts[start:end] - self._rows].tolist():
            faults[int(places[row])] = "another row has its key and says something else"
            keep[row] = False
        self._rows += len(good)
        return keep


def whole_lines(member: MemberStream, block_bytes: int, name: str) -> Iterator[bytes]:
    """The rest of a member cut behind line ends. Raises MalformedArchive for what has none for too long."""
    rest = b""
    while data := member.read(block_bytes):
        cut = data.rfind(b"\n") + 1
        if len(rest) + (data.index(b"\n") if cut else len(data)) > LONGEST_LINE:
            raise MalformedArchive(f"{name} has a line of more than {LONGEST_LINE:,} bytes; it is no CSV")
        if cut:
            yield rest + data[:cut]
        rest = data[cut:] if cut else rest + data
    if rest:
        yield rest


def form_of(
    lines: Iterable[bytes], choices: Sequence[tuple[Column, ...]], symbol: str, is_near: Callable[[int], bool]
) -> tuple[tuple[Column, ...], str] | None:
    """The columns, out of these choices, and the time unit that most of the first thousand good rows have.

    So a single odd line in front decides nothing; of forms that as many rows have it is the first. None if no line is a
    good row.
    """
    forms: Counter[tuple[int, str]] = Counter()
    for line in lines:
        for columns in choices:
            unit = "" if fault_of(line, columns, symbol) else _unit_of(line, columns, is_near)
            if unit:
                forms[len(columns), unit] += 1
        if forms.total() >= _LOOKED_AT:
            break
    if not forms:
        return None
    ((width, unit), _) = forms.most_common(1)[0]
    return next(columns for columns in choices if len(columns) == width), unit


def _unit_of(line: bytes, columns: Sequence[Column], is_near: Callable[[int], bool]) -> str:
    """The unit of a good row's time, "" if the row is of another period."""
    place = next(place for place, column in enumerate(columns) if column.name == "timestamp")
    if columns[place].kind is Kind.TEXT_TIME:
        return "s"
    time = int(line.split(b",")[place])
    unit, scale = ("us", 1) if time >= MICROSECONDS_FROM else ("ms", 1000)
    return unit if is_near(time * scale) else ""


def _split(text: bytes) -> list[bytes]:
    return text.removesuffix(b"\n").split(b"\n")
