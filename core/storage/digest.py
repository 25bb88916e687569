"""What rows come to, column by column: enough to prove that two files have the same rows in the same order."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FACTS: Final = ("nulls", "least value", "greatest value", "")


class Digest:
    """Count, and for each column its nulls, least and greatest value and a checksum of all values in their order.

    However the rows are cut into batches, the same rows come to the same; floats are compared bit by bit.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._columns: dict[str, _Column] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            self._columns.setdefault(name, _Column()).add(values, self.rows)
        self.rows += batch.num_rows

    def through(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, each added on its way."""
        for batch in batches:
            self.add(batch)
            yield batch

    def difference(self, other: "Digest") -> str:
        """What the other has otherwise, "" if nothing."""
        if self.rows != other.rows:
            return f"{other.rows} rows, not {self.rows}"
        if list(self._columns) != list(other._columns):
            return f"columns {', '.join(other._columns)}, not {', '.join(self._columns)}"
        for name, column in self._columns.items():
            for fact, wanted, found in zip(_FACTS, column.facts(), other._columns[name].facts(), strict=True):
                if wanted != found:
                    return f"column {name}: {fact} {found}, not {wanted}" if fact else f"column {name}: other values"
        return ""


class Checksum:
    """A checksum of all values of a column in their order, however they are cut into batches; floats bit by bit."""

    def __init__(self) -> None:
        self._values = hashlib.blake2b(digest_size=16)
        self._lengths = hashlib.blake2b(digest_size=16)
        self._empty = hashlib.blake2b(digest_size=16)

    def add(self, values: pa.Array, before: int) -> None:
        """The next values, `before` rows having come already."""
        plain = _plain(values)
        if values.null_count:
            places = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)) + before
            self._empty.update(places.astype(np.int64).tobytes())
            plain = plain.fill_null("" if pa.types.is_string(plain.type) else 0)
        if pa.types.is_string(plain.type):
            self._lengths.update(_bytes_of(pc.binary_length(plain)))
            self._values.update(_text_of(plain))
        else:
            self._values.update(_bytes_of(plain))

    def parts(self) -> tuple[str, str, str]:
        """Of the values, of the lengths of texts, and of the places without a value."""
        return self._values.hexdigest(), self._lengths.hexdigest(), self._empty.hexdigest()


def content_sha256(table: pa.Table) -> str:
    """SHA-256 of rows in their order: names and types of the columns, and each one's values, whole numbers and doubles
    of 8 bytes, little end first, true and false of one; where there are nulls, behind that their places.

    Of text, each one's length in bytes comes before all of it. However rows are cut, packed and stored, the same rows
    come to the same.
    """
    digest = hashlib.sha256()
    for field, values in zip(table.schema, table.columns, strict=True):
        digest.update(f"{field.name}:{field.type}\n".encode())
        for part in _content(values):
            digest.update(part)
    return digest.hexdigest()


def _content(values: pa.ChunkedArray) -> Iterator[bytes]:
    if pa.types.is_string(values.type):
        texts = [(text or "").encode() for text in values.to_pylist()]
        yield np.array([len(text) for text in texts], dtype="<i8").tobytes()
        yield b"".join(texts)
    elif pa.types.is_boolean(values.type):
        yield values.cast(pa.uint8()).fill_null(0).to_numpy().tobytes()
    elif pa.types.is_floating(values.type):
        yield values.fill_null(0).to_numpy().astype("<f8").tobytes()
    else:
        yield values.cast(pa.int64()).fill_null(0).to_numpy().astype("<i8").tobytes()
    if values.null_count:
        yield np.flatnonzero(values.is_null().to_numpy()).astype("<i8").tobytes()


class _Column:
    def __init__(self) -> None:
        self._kind: pa.DataType | None = None
        self._nulls = 0
        self._least: Any = None
        self._greatest: Any = None
        self._checksum = Checksum()

    def add(self, values: pa.Array, before: int) -> None:
        """The next values, `before` rows having come already."""
        self._kind = values.type
        ends = pc.min_max(_plain(values)).as_py()
        self._least = _least_of(self._least, ends["min"])
        self._greatest = _greatest_of(self._greatest, ends["max"])
        self._nulls += values.null_count
        self._checksum.add(values, before)

    def facts(self) -> tuple[object, ...]:
        return self._nulls, self._least, self._greatest, (str(self._kind), *self._checksum.parts())


def _plain(values: pa.Array) -> pa.Array:
    """Times as whole numbers, true and false as a byte each; all else as it is."""
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.int64())
    return values.cast(pa.uint8()) if pa.types.is_boolean(values.type) else values


def _bytes_of(values: pa.Array) -> memoryview:
    """The values' own bytes, without those that a slice leaves out."""
    width = values.type.bit_width // 8
    whole = memoryview(values.buffers()[1] or b"").cast("B")
    return whole[values.offset * width : (values.offset + len(values)) * width]


def _text_of(values: pa.Array) -> memoryview:
    offsets = np.frombuffer(values.buffers()[1] or b"", dtype=np.int32)[values.offset :][: len(values) + 1]
    whole = memoryview(values.buffers()[2] or b"").cast("B")
    return whole[int(offsets[0]) : int(offsets[-1])] if len(offsets) else whole[:0]


def _least_of(one: Any, other: Any) -> Any:
    return one if other is None or other != other else other if one is None else min(one, other)


def _greatest_of(one: Any, other: Any) -> Any:
    return one if other is None or other != other else other if one is None else max(one, other)
