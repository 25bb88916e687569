"""Candles of the index price: the spot price of a pair, averaged over exchanges."""

from core.datasets.dataset import Dataset
from core.datasets.mark_price import PRICE_COLUMNS
from core.types import Market

INDEX_PRICE = Dataset(
    name="index_price",
    remote="indexPriceKlines",
    doc="candles of the index price of one pair",
    columns={Market.UM: PRICE_COLUMNS, Market.CM: PRICE_COLUMNS},
    key=("timestamp",),
    has_interval=True,
    per_pair=True,
)
