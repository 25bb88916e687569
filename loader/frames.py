"""From Arrow to what a caller asked for: the one place where a frame is made."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.errors import ConfigError
from core.nearest import one_of
from core.storage.arrays import arrow_of, texts_of
from loader.align import Integers
from loader.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, pa.ChunkedArray | pa.Array]
Frame: TypeAlias = Any
"""A frame of the kind that was asked for: pandas.DataFrame, polars.DataFrame, pyarrow.Table, a dict of NumPy arrays by
column, or a DuckDB relation."""
_TEXT: Final = pa.string().id
OUTPUTS: Final = ("pandas", "polars", "arrow", "numpy", "relation")


def checked_output(output: str) -> str:
    """Raises ConfigError for an output that there is not, or whose library is not installed."""
    if output not in OUTPUTS:
        raise ConfigError(f"unknown output {output!r}{one_of(str(output), OUTPUTS)}")
    if output == "polars":
        try:
            import polars  # noqa: F401
        except ImportError:
            raise ConfigError("output 'polars' needs polars, which is not installed: pip install polars") from None
    return output


def symbol_column(symbols: Sequence[str], counts: Integers) -> pa.DictionaryArray:
    """Each symbol as often as it has rows. All symbols are categories, so that the frames of one request agree."""
    codes = np.repeat(np.arange(len(symbols), dtype=np.int32), counts)
    return pa.DictionaryArray.from_arrays(arrow_of(codes, pa.int32()), texts_of(tuple(symbols)))


def long_columns(symbols: Sequence[str], rows: Rows) -> Columns:
    """Timestamp, symbol, and the other columns as they were asked for."""
    columns: Columns = {name: rows.table.column(name) for name in rows.table.column_names}
    return {"timestamp": columns.pop("timestamp"), "symbol": symbol_column(symbols, rows.counts)} | columns


def to_output(columns: Mapping[str, pa.ChunkedArray | pa.Array], output: str) -> Frame:
    """A frame of these columns; a relation is made elsewhere, as it reads by itself."""
    if output == "pandas":
        return to_pandas(columns)
    if output == "numpy":
        return {name: to_numpy(column) for name, column in columns.items()}
    table = pa.Table.from_arrays([_as_category(column) for column in columns.values()], names=list(columns))
    if output == "polars":
        import polars

        return polars.from_arrow(table, rechunk=False)
    return table


def to_pandas(columns: Mapping[str, pa.ChunkedArray | pa.Array]) -> "pd.DataFrame":
    """A frame that the caller may write to; one block per column, so that none is copied twice."""
    table = pa.table({name: _apart(_as_category(column)) for name, column in columns.items()})
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    return frame


def to_numpy(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[Any]:
    """Times as datetime64[us], words and symbols as fixed text, null words as empty ones, other nulls as NaN or NaT."""
    if pa.types.is_dictionary(column.type) and isinstance(column, pa.DictionaryArray) and column.null_count == 0:
        words = np.array(column.dictionary.to_pylist(), dtype=np.str_)
        return words[column.indices.to_numpy()] if len(words) else np.zeros(0, dtype=np.str_)
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    if pa.types.is_string(column.type):
        import pyarrow.compute as pc

        texts: npt.NDArray[Any] = pc.fill_null(column, "").to_numpy(zero_copy_only=False)
        return texts.astype(np.str_)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us"))
    values: npt.NDArray[Any] = (
        column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)
    )
    return values if values.flags.writeable else values.copy()


def _as_category(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Words as a categorical whose categories are those that occur, sorted; any other column as it is."""
    if column.type.id != _TEXT:
        return column
    import pyarrow.compute as pc  # takes a tenth of what a first frame takes

    words = pa.array(sorted(pc.unique(column).drop_null().to_pylist()), pa.string())
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
