"""What a dataset's columns are in Arrow."""

from typing import Final

import pyarrow as pa

from core.datasets import Dataset
from core.datasets.dataset import Kind
from core.types import Market

ARROW_TYPES: Final = {
    Kind.TIME: pa.timestamp("us", tz="UTC"),
    Kind.TEXT_TIME: pa.timestamp("us", tz="UTC"),
    Kind.DECIMAL: pa.float64(),
    Kind.INTEGER: pa.int64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.TEXT: pa.string(),
    Kind.SYMBOL: pa.string(),
}


def schema_of(dataset: Dataset, market: Market) -> pa.Schema:
    """The Arrow schema of stored rows; null only where the column says `nullable`."""
    return pa.schema(
        [
            pa.field(str(column.name), ARROW_TYPES[column.kind], nullable=column.nullable)
            for column in dataset.stored_columns(market)
        ]
    )
