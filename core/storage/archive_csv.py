"""A published zip as Arrow record batches, without unpacking it to disk and in bounded memory.

What a file is, is decided by its own bytes, never by its date: a header where the first byte is not a digit, the number
of columns by the first row, microseconds or milliseconds by the size of the first time.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from core.datasets import Column, Dataset, Kind
from core.dates import HOUR_US, MICROSECONDS_FROM, format_us
from core.errors import MalformedArchive
from core.settings import QualitySettings
from core.storage.member import MemberStream, OddBytes, open_member
from core.storage.schema import ARROW_TYPES, schema_of
from core.storage.text_cells import EMPTY, TEXT_KINDS, alphabet, from_text, text_fault
from core.types import Market, Period

BLOCK_BYTES: Final = 1 << 20
LONGEST_LINE: Final = 4096
LATEST_US: Final = 253_402_300_800_000_000
"""The year 10000, where the calendar ends."""
_CELLS: Final = {
    Kind.TIME: re.compile(r"\d+"),
    Kind.INTEGER: re.compile(r"-?\d+"),
    Kind.DECIMAL: re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"),
    Kind.BOOLEAN: re.compile("true|True|TRUE|false|False|FALSE"),
}
_READ_AS: Final = {Kind.TIME: pa.int64(), Kind.TEXT_TIME: pa.string()}
"""What Arrow reads the cells as, where that is not what they become."""


@dataclass(slots=True)
class ArchiveCsv:
    """One archive being read. Iterate `batches()` to the end; then the facts below are known and checked.

    `rows`, `source_unit` ("ms", "us", or "s" where times are written out), `has_header`, `outside_period`: rows beside
    the period of the file's name.
    """

    path: Path
    dataset: Dataset
    market: Market
    period: Period
    quality: QualitySettings
    block_bytes: int = BLOCK_BYTES
    rows: int = 0
    source_unit: str = ""
    has_header: bool = False
    outside_period: int = 0
    _columns: tuple[Column, ...] = field(default=())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches in the dataset's schema, rows in the file's order. Raises MalformedArchive, StorageError."""
        header_bytes = self._look()
        allowed = alphabet(self._columns, self._symbol)
        with open_member(self.path, self.quality, header_bytes, allowed) as member:
            try:
                for raw in self._read(member):
                    yield self._convert(raw)
            except (pa.ArrowInvalid, OddBytes) as error:
                self._refuse_line(error)
            expected = member.lines - self.has_header
            if self.rows != expected:
                raise MalformedArchive(f"{self.path.name}: {self.rows} rows were read, but it has {expected}")

    def _look(self) -> int:
        """Header and number of columns, from the first two lines; returns the header's length in bytes."""
        with open_member(self.path, self.quality, header_bytes=2**62) as member:
            start = b""
            while start.count(b"\n") < 2 and len(start) < LONGEST_LINE and (data := member.read(LONGEST_LINE)):
                start += data
        lines = start.split(b"\n")
        self.has_header = bool(start) and not start[:1].isdigit()
        if self.has_header:
            self._check_header(lines[0])
        header_bytes = len(lines[0]) + 1 if self.has_header else 0
        if not start[header_bytes:].strip(b"\r\n"):
            raise MalformedArchive(f"{self.path.name}: the CSV is empty")
        self._choose_columns(lines)
        return header_bytes

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
            self._refuse(1, f"the header is not {expected}", line)

    def _read(self, member: MemberStream) -> pa.csv.CSVStreamingReader:
        return pyarrow.csv.open_csv(
            pa.PythonFile(member, mode="r"),
            read_options=pyarrow.csv.ReadOptions(
                column_names=[column.source for column in self._columns],
                block_size=self.block_bytes,
                use_threads=False,
                skip_rows=int(self.has_header),
            ),
            parse_options=pyarrow.csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={c.source: _READ_AS.get(c.kind, ARROW_TYPES[c.kind]) for c in self._columns},
                null_values=list(EMPTY) if any(column.nullable for column in self._columns) else [],
                strings_can_be_null=False,
                true_values=["true", "True", "TRUE"],
                false_values=["false", "False", "FALSE"],
            ),
        )

    def _convert(self, raw: pa.RecordBatch) -> pa.RecordBatch:
        arrays: dict[str, pa.Array] = {}
        for column in self._columns:
            values = raw.column(column.source)
            if values.null_count and not column.nullable:
                raise pa.ArrowInvalid(f"{column.source} is empty")
            if column.kind in TEXT_KINDS:
                values = from_text(values, column, self._symbol)
                self.source_unit = "s" if column.kind is Kind.TEXT_TIME else self.source_unit
            elif column.kind is Kind.TIME:
                values = self._microseconds(values)
            elif column.kind is Kind.DECIMAL and column.name and not pc.all(pc.is_finite(values), min_count=0).as_py():
                raise pa.ArrowInvalid(f"{column.source} is beyond any double")
            if column.name:
                arrays[column.name] = values
        self._check_period(arrays["timestamp"])
        schema = schema_of(self.dataset, self.market)
        self.rows += raw.num_rows
        return pa.RecordBatch.from_arrays([arrays[field.name].cast(field.type) for field in schema], schema=schema)

    def _microseconds(self, values: pa.Array) -> pa.Array:
        """int64 microseconds; the file's first time decides the unit, and every other one must agree."""
        times = values.to_numpy()
        if times.min() < 0 or times.max() >= LATEST_US:
            raise pa.ArrowInvalid("a time is beyond the calendar")
        in_us = times >= MICROSECONDS_FROM
        if not self.source_unit:
            self.source_unit = "us" if in_us[0] else "ms"
        odd = np.flatnonzero(in_us != (self.source_unit == "us"))
        if len(odd):
            line = self.rows + int(odd[0]) + 1 + self.has_header
            self._refuse(line, f"a time that is not in {self.source_unit} like the first", str(times[odd[0]]).encode())
        return values if self.source_unit == "us" else pc.multiply(values, 1000)

    def _check_period(self, timestamps: pa.Array) -> None:
        times: npt.NDArray[np.int64] = timestamps.to_numpy()
        span, slack = self.period.span, self.quality.period_slack_hours * HOUR_US
        far = np.flatnonzero((times < span.start_us - slack) | (times >= span.end_us + slack))
        if len(far):
            line = self.rows + int(far[0]) + 1 + self.has_header
            when = format_us(int(times[far[0]]))
            self._refuse(line, f"a row of {when}, but the name says {self.period.label}", b"")
        # Where files share their midnights, the last one is a row of this file like any other.
        last_us = span.end_us if self.dataset.shares_midnight else span.end_us - 1
        self.outside_period += int(np.count_nonzero((times < span.start_us) | (times > last_us)))

    def _refuse_line(self, error: Exception) -> NoReturn:
        """Find the line that cannot be read, by a slow second pass, and say it."""
        with open_member(self.path, self.quality, header_bytes=2**62) as member:
            for number, line in enumerate(_lines(member), start=1):
                if number > self.has_header and (why := self._fault_of(line)):
                    self._refuse(number, why, line)
        raise MalformedArchive(f"{self.path.name}: the CSV cannot be read: {error}") from error

    def _fault_of(self, line: bytes) -> str:
        cells = line.decode("utf-8", "replace").removesuffix("\r").split(",")
        if len(cells) != len(self._columns):
            return f"{len(cells)} columns instead of {len(self._columns)}"
        for cell, column in zip(cells, self._columns, strict=True):
            if column.nullable and cell in EMPTY:
                continue
            if column.kind in TEXT_KINDS:
                if fault := text_fault(cell, column, self._symbol):
                    return fault
                continue
            if not _CELLS[column.kind].fullmatch(cell):
                return f"{column.source} is {cell!r}"
            if beyond := _beyond(cell, column):
                return f"{column.source} is {cell!r}, beyond {beyond}"
        return ""

    def _refuse(self, line: int, why: str, text: bytes) -> NoReturn:
        shown = f": {text[:120].decode('utf-8', 'replace')}" if text else ""
        raise MalformedArchive(f"{self.path.name}, line {line}: {why}{shown}")


def _beyond(cell: str, column: Column) -> str:
    """What a number in the right form is too large for."""
    if column.kind is Kind.DECIMAL and column.name and not np.isfinite(float(cell)):
        return "any double"
    if column.kind is Kind.TIME and int(cell[:40]) >= LATEST_US:
        return "the calendar"
    if column.kind is Kind.INTEGER and not -(2**63) <= int(cell[:40]) < 2**63:
        return "64 bits"
    return ""


def _lines(member: MemberStream) -> Iterator[bytes]:
    """The lines of a member; one that is longer than a block ends there, and the rest is not looked at."""
    rest = b""
    while len(rest) <= BLOCK_BYTES and (data := member.read(BLOCK_BYTES)):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
    if rest:
        yield rest
