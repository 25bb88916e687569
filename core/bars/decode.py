"""Columns of trades as arrays for the kernels, nothing copied; and which columns these are."""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.errors import ConfigError, StorageError
from core.nearest import one_of

Trades: TypeAlias = tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.uint8],
    int,
    npt.NDArray[np.int64],
]
"""Ids, prices, quantities, the bits that say that the buyer was the maker, the place of the first bit, and times."""

COLUMNS: Final = {
    "trades": ("id", "price", "qty", "is_buyer_maker", "timestamp"),
    "agg_trades": ("agg_trade_id", "price", "quantity", "is_buyer_maker", "timestamp"),
}
"""What bars are made of, for each dataset that they can be made of: id, price, quantity, side and time."""


def columns_of(dataset: str) -> tuple[str, ...]:
    """The columns that have to be read of a dataset. Raises ConfigError, with a near match, for one without trades."""
    if dataset not in COLUMNS:
        raise ConfigError(f"bars are made of trades, not of {dataset!r}{one_of(dataset, COLUMNS)}")
    return COLUMNS[dataset]


def dataset_of(names: list[str]) -> str:
    """The dataset that has these columns. Raises ConfigError if there is none."""
    for dataset, columns in COLUMNS.items():
        if set(columns) <= set(names):
            return dataset
    wanted = " or ".join(", ".join(columns) for columns in COLUMNS.values())
    raise ConfigError(f"bars are made of the columns {wanted}; there are {', '.join(names) or 'none'}")


def arrays(rows: pa.RecordBatch | pa.Table, dataset: str) -> Iterator[Trades]:
    """The columns of each batch of the rows. Raises StorageError for columns of other types or with gaps."""
    chosen = rows.select(list(COLUMNS[dataset]))
    for batch in chosen.to_batches() if isinstance(chosen, pa.Table) else [chosen]:
        if len(batch):
            number, price, quantity, maker, time = (_whole_column(batch, name) for name in COLUMNS[dataset])
            bits, bit = _bits(maker)
            yield (
                _numbers(number, np.int64),
                _numbers(price, np.float64),
                _numbers(quantity, np.float64),
                bits,
                bit,
                _numbers(time, np.int64),
            )


_TYPES: Final = {"price": pa.float64(), "qty": pa.float64(), "quantity": pa.float64(), "is_buyer_maker": pa.bool_()}


def _whole_column(batch: pa.RecordBatch, name: str) -> pa.Array:
    column = batch.column(name)
    if column.null_count:
        raise StorageError(f"{column.null_count} rows of trades have no {name}; bars cannot be made of them")
    if name == "timestamp":
        is_right = pa.types.is_timestamp(column.type) and column.type.unit == "us"
        wanted: Any = "timestamp[us]"
    else:
        wanted = _TYPES.get(name, pa.int64())
        is_right = column.type == wanted
    if not is_right:
        raise StorageError(f"{name} of trades is {column.type} and not {wanted}; give the columns as they are stored")
    return column


def _numbers(column: pa.Array, kind: Any) -> npt.NDArray[Any]:
    values = np.frombuffer(column.buffers()[1], dtype=kind)[column.offset : column.offset + len(column)]
    values.flags.writeable = False  # one kind of array, so that kernels are compiled once
    return values


def _bits(column: pa.Array) -> tuple[npt.NDArray[np.uint8], int]:
    bits = np.frombuffer(column.buffers()[1], dtype=np.uint8)[column.offset // 8 :]
    bits.flags.writeable = False
    return bits, column.offset % 8
