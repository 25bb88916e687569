"""A published zip as Arrow record batches, without unpacking it to disk and in bounded memory.

What a file is, is decided by its own bytes, never by its date: a header where the first byte is not a digit, the number
of columns by the first row, microseconds or milliseconds by the size of the first time.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import Column, Dataset, Kind
from core.dates import HOUR_US, MICROSECONDS_FROM, format_us
from core.errors import FaultyLine, MalformedArchive
from core.settings import QualitySettings
from core.storage.ahead import ahead
from core.storage.csv_arrow import BLOCK_BYTES, ArrowReader, OddBytes
from core.storage.csv_faults import LATEST_US, fault_of, has_number, lines_of
from core.storage.member import MemberStream, open_member
from core.storage.parser import Irregular, Parser
from core.storage.quarantine import Quarantine
from core.storage.salvage import LONGEST_LINE, Misfit, Salvager, form_of, whole_lines
from core.storage.schema import schema_of
from core.storage.text_cells import TEXT_KINDS, from_text
from core.types import Market, Period

if TYPE_CHECKING:
    from core.storage.csv_compiled import CompiledReader

START_BYTES: Final = 4096
CHUNKS_AHEAD: Final = 4
LARGE_BYTES: Final = 1 << 23
"""From this many bytes of CSV on, inflating and parsing go on in threads of their own."""


@dataclass(slots=True)
class ArchiveCsv:
    """One archive being read. Iterate `batches()` to the end; then the facts below are known and checked.

    `rows`, `lines` behind the header, `source_unit` ("ms", "us", or "s" where times are written out), `has_header`,
    `outside_period`: rows beside the period of the file's name. A line at fault refuses the file; with a `quarantine`
    it may be read once more, `without_faults`.
    """

    path: Path
    dataset: Dataset
    market: Market
    period: Period
    quality: QualitySettings
    block_bytes: int = BLOCK_BYTES
    parser: Parser = field(default_factory=Parser)
    rows_at_once: int = 131_072
    quarantine: Quarantine | None = None
    rows: int = 0
    lines: int = 0
    source_unit: str = ""
    has_header: bool = False
    outside_period: int = 0
    _columns: tuple[Column, ...] = field(default=())
    _conflicts: npt.NDArray[np.int64] | None = field(default=None, compare=False)

    def again(self) -> "ArchiveCsv":
        """The same archive, not read yet."""
        return replace(self, rows=0, lines=0, source_unit="", has_header=False, outside_period=0)

    def without_faults(self, conflicts: npt.NDArray[np.int64]) -> "ArchiveCsv":
        """The same archive, not read yet; its batches leave out the lines at fault, which go into the quarantine.

        `conflicts` are rows, counted from 0 among those that are no such lines, of which others have the key.
        """
        return replace(self.again(), _conflicts=conflicts)

    @property
    def is_salvaged(self) -> bool:
        """Whether this reading leaves lines out."""
        return self._conflicts is not None

    @property
    def quarantined(self) -> int:
        """Lines that were left out."""
        return self.quarantine.lines if self.quarantine is not None and self.is_salvaged else 0

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """Batches in the dataset's schema, rows in the file's order. Raises MalformedArchive, StorageError; FaultyLine
        where all else may be good."""
        if self._conflicts is not None:
            yield from self._without_faults(self._conflicts)
            return
        with open_member(self.path, self.quality) as member, ExitStack() as stack:
            start = self._look(member)
            is_large = member.declared >= LARGE_BYTES
            batches = self._by_either(member, start, is_large)
            yield from stack.enter_context(ahead(batches)) if is_large else batches

    def text(self) -> bytes:
        """All lines behind the header, each with its end; the member was checked. Raises MalformedArchive, also for a
        text too large to be held."""
        with open_member(self.path, self.quality) as member:
            if member.declared >= LARGE_BYTES:
                raise MalformedArchive(f"{self.path.name} is large")
            whole = member.read()
        self._look_at(whole[:START_BYTES])
        lines = whole.partition(b"\n")[2] if self.has_header else whole
        return lines if lines.endswith(b"\n") else lines + b"\n"

    def joined(self, others: Sequence["ArchiveCsv"], period: Period) -> "ArchiveCsv | None":
        """This archive and others whose `text` was taken, as one of a longer period; None if their columns differ."""
        if any(other._columns != self._columns for other in others):
            return None
        return replace(self.again(), period=period, quarantine=None)

    def batches_of(self, texts: Sequence[bytes]) -> Iterator[pa.RecordBatch]:
        """The rows of texts of the same columns, checked as those of one archive. Raises MalformedArchive."""
        reader: ArrowReader | CompiledReader
        try:
            if self.parser.takes(self._columns, sum(map(len, texts))):
                reader = self.parser.reader(self._columns, self.rows_at_once)
                raws = reader.batches(texts)
            else:
                reader = ArrowReader(self._columns, self.block_bytes, self._symbol)
                raws = reader.batches(BytesIO(b"".join(texts)), 0)
            yield from map(self._convert, raws)
        except (Irregular, pa.ArrowInvalid, OddBytes) as error:
            raise MalformedArchive(f"{self.path.name} and others are not regular: {error}") from error
        self._check_rows(reader.lines)

    def _by_either(self, member: MemberStream, start: bytes, is_large: bool) -> Iterator[pa.RecordBatch]:
        if self.parser.takes(self._columns, member.declared):
            try:
                yield from self._compiled(member, start, is_large)
                return
            except (Irregular, pa.ArrowInvalid):
                pass  # the other one reads it, or finds the line that is at fault
        yield from self._any_form(self._header_bytes(start))

    def _compiled(self, member: MemberStream, start: bytes, is_large: bool) -> Iterator[pa.RecordBatch]:
        """By the compiled parser, until there is something that it does not read."""
        rows_at_once = min(self.rows_at_once, member.declared // len(self._columns) + 1)
        reader = self.parser.reader(self._columns, rows_at_once)
        with ExitStack() as stack:
            chunks = _chunks(member, start.partition(b"\n")[2] if self.has_header else start, self.block_bytes)
            for raw in reader.batches(stack.enter_context(ahead(chunks, CHUNKS_AHEAD)) if is_large else chunks):
                yield self._convert(raw)
        self._check_rows(reader.lines)

    def _any_form(self, header_bytes: int) -> Iterator[pa.RecordBatch]:
        """By pyarrow, from the beginning; what was given out before is read, checked and not given out again."""
        given_out, self.rows, self.outside_period, self.source_unit = self.rows, 0, 0, ""
        reader = ArrowReader(self._columns, self.block_bytes, self._symbol)
        with open_member(self.path, self.quality) as member:
            try:
                for raw in reader.batches(member, header_bytes):
                    batch = self._convert(raw)
                    fresh = batch.slice(max(0, batch.num_rows - max(0, self.rows - given_out)))
                    if fresh.num_rows:
                        yield fresh
            except (pa.ArrowInvalid, OddBytes) as error:
                self._refuse_line(error)
        self._check_rows(reader.lines)

    def _without_faults(self, conflicts: npt.NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """By pyarrow, the lines at fault set aside."""
        assert self.quarantine is not None
        self.quarantine.restart()
        with open_member(self.path, self.quality) as member:
            header_bytes = self._header_bytes(self._look(member))
        first = 1 + self.has_header
        salvager = Salvager(self._columns, self._symbol, self._misfits, self.quarantine.add, conflicts, first)
        with open_member(self.path, self.quality) as member:
            member.read(header_bytes)
            for raw in salvager.batches(whole_lines(member, self.block_bytes, self.path.name)):
                yield self._convert(raw)
        if not self.rows:
            raise MalformedArchive(f"{self.path.name}: none of its {salvager.lines} lines is a row that can be stored")
        self._check_rows(salvager.lines)

    def _check_rows(self, lines: int) -> None:
        self.lines = lines
        if self.rows + self.quarantined != lines:
            raise FaultyLine(f"{self.path.name}: {self.rows} rows were read, but it has {lines}")

    def _header_bytes(self, start: bytes) -> int:
        return len(start.partition(b"\n")[0]) + 1 if self.has_header else 0

    def _look(self, member: MemberStream) -> bytes:
        """Header and number of columns, from the first two lines; returns what was read for it."""
        start = b""
        while start.count(b"\n") < 2 and len(start) < START_BYTES and (data := member.read(START_BYTES)):
            start += data
        self._look_at(start)
        return start

    def _look_at(self, start: bytes) -> None:
        """The same, from what a file begins with."""
        lines = start.split(b"\n")
        self.has_header = bool(start) and not start[:1].isdigit()
        if self.is_salvaged and has_number(lines[0]):
            self.has_header = False  # a row with something in front, which refuses the file unless it is salvaged
        if self.has_header:
            self._check_header(lines[0])
        if not start[len(lines[0]) + 1 if self.has_header else 0 :].strip(b"\r\n"):
            raise MalformedArchive(f"{self.path.name}: the CSV is empty")
        if self.is_salvaged:
            self._choose_form(lines[0])
        else:
            self._choose_columns(lines)

    def _choose_form(self, header: bytes) -> None:
        """Number of columns and time unit by the good rows; where there is a header, it has as many."""
        columns = self.dataset.columns[self.market]
        widths: Sequence[int] = [header.count(b",") + 1] if self.has_header else self._widths
        first_us, end_us = self._near_us
        with open_member(self.path, self.quality) as member:
            lines = islice(lines_of(member), int(self.has_header), None)
            choices = [columns[:width] for width in widths]
            form = form_of(lines, choices, self._symbol, lambda time_us: first_us <= time_us < end_us)
        if form is None:
            raise MalformedArchive(f"{self.path.name}: none of its lines is a row of {self.period.label}")
        self._columns, self.source_unit = form

    def _choose_columns(self, lines: list[bytes]) -> None:
        """As many as the first row has; where there is a header, it has to have as many."""
        line = lines[self.has_header]
        count, said = line.count(b",") + 1, lines[0].count(b",") + 1
        allowed = self._widths if not self.has_header else range(said, said + 1)
        if count not in allowed:
            self._refuse(1 + self.has_header, f"{count} columns instead of {allowed[-1]}", line)
        self._columns = self.dataset.columns[self.market][:count]

    @property
    def _symbol(self) -> str:
        """The symbol by the file's name."""
        return self.path.name.partition("-")[0]

    @property
    def _widths(self) -> range:
        """How many columns a row may have."""
        columns = self.dataset.columns[self.market]
        return range(sum(not column.optional for column in columns), len(columns) + 1)

    def _check_header(self, line: bytes) -> None:
        words = line.decode("utf-8", "replace").strip("\ufeff\r").split(",")
        columns = self.dataset.columns[self.market]
        known = len(words) in self._widths and all(
            word == column.source or word in column.aliases for word, column in zip(words, columns, strict=False)
        )
        if not known:
            expected = ",".join(column.source for column in columns)
            self._refuse(1, f"the header is not {expected}", line, is_row=has_number(line))

    def _convert(self, raw: pa.RecordBatch) -> pa.RecordBatch:
        arrays: dict[str, pa.Array] = {}
        for column, values in self._cells(raw):
            if column.kind is Kind.TIME:
                self._refuse_first(self._of_other_unit(values))
            if column.name is not None:
                arrays[column.name] = self._microseconds(values) if column.kind is Kind.TIME else values
        self._refuse_first(self._of_other_period(arrays["timestamp"]))
        self._count_outside(arrays["timestamp"])
        schema = schema_of(self.dataset, self.market)
        self.rows += raw.num_rows
        return pa.RecordBatch.from_arrays([_as(arrays[field.name], field.type) for field in schema], schema=schema)

    def _misfits(self, raw: pa.RecordBatch) -> Iterator[Misfit]:
        """The rows of a batch that `_convert` would refuse; raises ArrowInvalid as it does."""
        cells = list(self._cells(raw))
        for column, values in cells:
            if column.kind is Kind.TIME:
                yield self._of_other_unit(values)
        for column, values in cells:
            if column.name == "timestamp":
                yield self._of_other_period(self._microseconds(values) if column.kind is Kind.TIME else values)

    def _cells(self, raw: pa.RecordBatch) -> Iterator[tuple[Column, pa.Array]]:
        """The columns that are kept or checked. Raises ArrowInvalid for a cell that cannot be read."""
        for column in self._columns:
            if column.name is not None or column.kind in TEXT_KINDS:
                yield column, self._values(raw, column)

    def _values(self, raw: pa.RecordBatch, column: Column) -> pa.Array:
        """A column as it is stored, times that are numbers as they are in the file."""
        values = raw.column(column.source)
        if values.null_count and not column.nullable:
            raise pa.ArrowInvalid(f"{column.source} is empty")
        if column.kind in TEXT_KINDS:
            self.source_unit = "s" if column.kind is Kind.TEXT_TIME else self.source_unit
            return from_text(values, column, self._symbol)
        if column.kind is Kind.TIME:
            times = values.to_numpy()
            if times.min() < 0 or times.max() >= LATEST_US:
                raise pa.ArrowInvalid("a time is beyond the calendar")
        return values

    def _of_other_unit(self, values: pa.Array) -> Misfit:
        """Every time must agree with the first one, which decides the unit; of a salvaged file, with the most."""
        times = values.to_numpy()
        in_us = times >= MICROSECONDS_FROM
        if not self.source_unit:
            self.source_unit = "us" if in_us[0] else "ms"
        said = f"a time that is not in {self.source_unit} like the {'others' if self.is_salvaged else 'first'}"
        return np.flatnonzero(in_us != (self.source_unit == "us")), lambda row: (said, str(times[row]).encode())

    def _microseconds(self, values: pa.Array) -> pa.Array:
        return values if self.source_unit == "us" else pc.multiply(values, 1000)

    @property
    def _near_us(self) -> tuple[int, int]:
        """From when until when a row may be of this file."""
        span, slack = self.period.span, self.quality.period_slack_hours * HOUR_US
        return span.start_us - slack, span.end_us + slack

    def _of_other_period(self, timestamps: pa.Array) -> Misfit:
        times: npt.NDArray[np.int64] = timestamps.to_numpy()
        first_us, end_us = self._near_us

        def why(row: int) -> tuple[str, bytes]:
            return f"a row of {format_us(int(times[row]))}, but the name says {self.period.label}", b""

        return np.flatnonzero((times < first_us) | (times >= end_us)), why

    def _count_outside(self, timestamps: pa.Array) -> None:
        times, span = timestamps.to_numpy(), self.period.span
        last_us = self.dataset.last_us(span)
        self.outside_period += int(np.count_nonzero((times < span.start_us) | (times > last_us)))

    def _refuse_first(self, misfit: Misfit) -> None:
        rows, why = misfit
        if len(rows):
            self._refuse(self.rows + int(rows[0]) + 1 + self.has_header, *why(int(rows[0])))

    def _refuse_line(self, error: Exception) -> NoReturn:
        """Find the line that cannot be read, by a slow second pass, and say it."""
        if self.quarantine is not None:  # which finds all of them, and faster
            raise FaultyLine(f"{self.path.name}: the CSV cannot be read: {error}") from error
        with open_member(self.path, self.quality) as member:
            for number, line in enumerate(lines_of(member), start=1):
                if number > self.has_header and (why := fault_of(line, self._columns, self._symbol)):
                    self._refuse(number, why, line)
        raise FaultyLine(f"{self.path.name}: the CSV cannot be read: {error}") from error

    def _refuse(self, line: int, why: str, text: bytes, is_row: bool = True) -> NoReturn:
        shown = f": {text[:120].decode('utf-8', 'replace')}" if text else ""
        refused = FaultyLine if is_row and len(text) <= LONGEST_LINE else MalformedArchive
        raise refused(f"{self.path.name}, line {line}: {why}{shown}")


def _as(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return values if values.type == kind else values.view(kind)


def _chunks(member: MemberStream, start: bytes, count: int) -> Iterator[bytes]:
    """The rest of a member behind what was read of it."""
    yield start
    while data := member.read(count):
        yield data
