"""Rows of a CSV in any form that numbers, true and false are written in, by pyarrow's streaming reader."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from core.datasets import Column, Kind
from core.storage.member import MemberStream
from core.storage.schema import ARROW_TYPES
from core.storage.text_cells import EMPTY, alphabet

BLOCK_BYTES: Final = 1 << 18
_READ_AS: Final = {Kind.TIME: pa.int64(), Kind.TEXT_TIME: pa.string()}
"""What Arrow reads the cells as, where that is not what they become."""


class OddBytes(Exception):
    """A byte that no cell is written with: the line is looked for next."""


class ArrowReader:
    """Batches in blocks of the text; times and numbers as they are in the file. `lines` are counted apart."""

    def __init__(self, columns: Sequence[Column], block_bytes: int, symbol: str) -> None:
        self._columns = columns
        self._allowed = alphabet(columns, symbol)
        self._block_bytes = block_bytes
        self._watched: _Watched | None = None

    @property
    def lines(self) -> int:
        """Lines behind the header."""
        return self._watched.lines if self._watched else 0

    def batches(self, member: MemberStream | BytesIO, header_bytes: int) -> Iterator[pa.RecordBatch]:
        """The rows behind the header. Raises pyarrow's ArrowInvalid, and OddBytes."""
        member.read(header_bytes)
        self._watched = _Watched(member, self._allowed)
        reader = pyarrow.csv.open_csv(
            pa.PythonFile(self._watched, mode="r"),
            read_options=pyarrow.csv.ReadOptions(
                column_names=[column.source for column in self._columns],
                block_size=self._block_bytes,
                use_threads=False,
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
        try:
            for batch in reader:
                if batch.num_rows:  # a first block without a line end gives none
                    self._refuse_infinite(batch)
                    yield batch
        finally:
            self._watched.end()
            with suppress(Exception):  # whatever is wrong with what nobody wants any more, and StopIteration
                while True:  # Arrow reads ahead in a thread of its own, which may not outlive the interpreter
                    reader.read_next_batch()

    def _refuse_infinite(self, batch: pa.RecordBatch) -> None:
        for column in self._columns:
            if column.kind is Kind.DECIMAL and column.name and not _is_finite(batch.column(column.source)):
                raise pa.ArrowInvalid(f"{column.source} is beyond any double")


def _is_finite(values: pa.Array) -> bool:
    return bool(pc.all(pc.is_finite(values), min_count=0).as_py())


class _Watched:
    """A member whose lines are counted; refuses bytes that are not among the `allowed` ones."""

    def __init__(self, member: MemberStream | BytesIO, allowed: bytes) -> None:
        self._member = member
        self._allowed = allowed
        self._newlines = 0
        self._is_ended = True
        self._reading = threading.Lock()
        self._is_over = False
        self.closed = False

    @property
    def lines(self) -> int:
        return self._newlines + (not self._is_ended)

    def read(self, count: int = -1) -> bytes:
        with self._reading:
            data = b"" if self._is_over else self._member.read(count)
            if data:
                self._newlines += data.count(b"\n")
                self._is_ended = data.endswith(b"\n")
                if data.translate(None, self._allowed):
                    raise OddBytes
            return data

    def end(self) -> None:
        """Nobody is reading any more, and whoever tries it still is at the end."""
        with self._reading:
            self._is_over = True

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return False

    def flush(self) -> None:
        """Nothing to do; file objects have it."""

    def close(self) -> None:
        self.closed = True
