"""Candles of the index price: the spot price of a pair, averaged over exchanges."""

from core.datasets.clock import Beat, Clock
from core.datasets.dataset import Dataset
from core.datasets.mark_price import KNOWN_LATER, PRICE_HISTORY, price_columns
from core.types import Market

_COLUMNS = price_columns("quote asset per base asset")

INDEX_PRICE = Dataset(
    name="index_price",
    remote="indexPriceKlines",
    doc="candles of the index price of one pair",
    columns={Market.UM: _COLUMNS, Market.CM: _COLUMNS},
    key=("timestamp",),
    has_interval=True,
    per_pair=True,
    notes=(KNOWN_LATER, "All contracts of a pair have one index: it is filed as `BTCUSD`, not as `BTCUSD_PERP`."),
    history=PRICE_HISTORY,
    clock=Clock(Beat.CANDLES),
)
