"""Candles of the premium index, the ratio by which a perpetual trades above its index; it drives funding."""

from core.datasets.dataset import Dataset
from core.datasets.mark_price import PRICE_COLUMNS
from core.types import Market

PREMIUM_INDEX = Dataset(
    name="premium_index",
    remote="premiumIndexKlines",
    doc="candles of the premium index of one perpetual (a ratio, may be negative)",
    columns={Market.UM: PRICE_COLUMNS, Market.CM: PRICE_COLUMNS},
    key=("timestamp",),
    has_interval=True,
)
