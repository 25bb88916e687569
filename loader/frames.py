"""From Arrow to pandas: the one place where a frame is made."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loader.align import Integers
from loader.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, pa.ChunkedArray | pa.Array]


def symbol_column(symbols: Sequence[str], counts: Integers) -> pa.DictionaryArray:
    """Each symbol as often as it has rows. All symbols are categories, so that the frames of one request agree."""
    codes = np.repeat(np.arange(len(symbols), dtype=np.int32), counts)
    return pa.DictionaryArray.from_arrays(codes, pa.array(symbols, pa.string()))


def long_columns(symbols: Sequence[str], rows: Rows) -> Columns:
    """Timestamp, symbol, and the other columns as they were asked for."""
    columns: Columns = {name: rows.table.column(name) for name in rows.table.column_names}
    return {"timestamp": columns.pop("timestamp"), "symbol": symbol_column(symbols, rows.counts)} | columns


def to_frame(columns: Columns) -> "pd.DataFrame":
    """A frame of these columns that the caller may write to; one block per column, so that none is copied twice."""
    table = pa.table({name: _apart(_as_category(column)) for name, column in columns.items()})
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    return frame


def _as_category(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Words as a categorical whose categories are those that occur, sorted; any other column as it is."""
    if not pa.types.is_string(column.type):
        return column
    words = pa.array(sorted(pc.unique(column).to_pylist()), pa.string())
    codes = pc.index_in(column, value_set=words)
    chunks = codes.chunks if isinstance(codes, pa.ChunkedArray) else [codes]
    kind = pa.dictionary(pa.int32(), pa.string())
    return pa.chunked_array([pa.DictionaryArray.from_arrays(chunk, words) for chunk in chunks], kind)


def _apart(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    """The column in at least two chunks: Arrow then copies it into memory of pandas' own. Of one chunk it would lend
    its own memory, which is read-only: `frame.loc[0, "open"] = 1` would fail."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if len(chunks) == 1:
        chunks = [chunks[0].slice(0, 1), chunks[0].slice(1)]
    return pa.chunked_array(chunks, type=column.type)
