"""Candles of the premium index, the ratio by which a perpetual trades above its index; it drives funding."""

from core.datasets.clock import Beat, Clock
from core.datasets.dataset import Dataset
from core.datasets.mark_price import KNOWN_LATER, price_columns
from core.types import Market

_COLUMNS = price_columns("ratio, may be negative")

PREMIUM_INDEX = Dataset(
    name="premium_index",
    remote="premiumIndexKlines",
    doc="candles of the premium index of one perpetual (a ratio, may be negative)",
    columns={Market.UM: _COLUMNS, Market.CM: _COLUMNS},
    key=("timestamp",),
    has_interval=True,
    notes=(KNOWN_LATER, "0.0005 means that the perpetual trades 0.05 % above its index. Perpetuals only."),
    clock=Clock(Beat.CANDLES),
)
