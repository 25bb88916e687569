"""Between Arrow and NumPy without a copy, and without pandas, which pyarrow's own ways load: that takes as long as to
read a year of candles of hundreds of symbols."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def numpy_of(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[Any]:
    """Numbers as they are, times and durations as int64 in their unit; not to be written to. Anything else, and numbers
    with nulls, as pyarrow gives them."""
    dtype = _dtype_of(column.type)
    if dtype is None or column.null_count:
        values: npt.NDArray[Any] = (
            column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)
        )
        return values
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_view(chunk, dtype) for chunk in chunks if len(chunk)]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def key_values(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """A key column as what can be compared and sorted: int64 (times in microseconds), float64 or text."""
    array: npt.NDArray[Any]
    if pa.types.is_string(values.type):
        array = values.to_numpy(zero_copy_only=False).astype(np.str_)
    elif pa.types.is_floating(values.type) or pa.types.is_timestamp(values.type):
        array = numpy_of(values)
    else:
        array = numpy_of(values.cast(pa.int64()))
    return array


def arrow_of(values: npt.NDArray[Any], kind: pa.DataType, missing: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """An array of that type over the same memory; null where `missing`. `kind` is as wide as the values."""
    values = np.ascontiguousarray(values)
    valid = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(values)])


def texts_of(words: tuple[str, ...] | list[str]) -> pa.Array:
    """An array of these texts."""
    encoded = [word.encode() for word in words]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(encoded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def _dtype_of(kind: pa.DataType) -> "np.dtype[Any] | None":
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_int64(kind):
        return np.dtype(np.int64)
    if pa.types.is_float64(kind):
        return np.dtype(np.float64)
    return np.dtype(np.int32) if pa.types.is_int32(kind) else None


def _view(chunk: pa.Array, dtype: "np.dtype[Any]") -> npt.NDArray[Any]:
    data = chunk.buffers()[1]
    return np.frombuffer(data, dtype, count=len(chunk), offset=chunk.offset * dtype.itemsize)
