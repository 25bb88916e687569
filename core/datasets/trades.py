"""Every trade, as matched. `is_buyer_maker` true means that the taker sold."""

from core.datasets.dataset import Column, Dataset, Kind
from core.types import Cadence, Market

_FIRST = (
    Column("id", "id", Kind.INTEGER, "trade id, rising"),
    Column("price", "price", Kind.DECIMAL, "price"),
)
_LAST = (
    Column("time", "timestamp", Kind.TIME, "time of the match"),
    Column("is_buyer_maker", "is_buyer_maker", Kind.BOOLEAN, "true: the taker sold"),
)
_QUANTITY = Column("qty", "qty", Kind.DECIMAL, "quantity, base asset")
_CONTRACTS = Column("qty", "qty", Kind.DECIMAL, "quantity, contracts")
_QUOTE = Column("quote_qty", "quote_qty", Kind.DECIMAL, "value, quote asset")
_BASE = Column("base_qty", "base_qty", Kind.DECIMAL, "quantity, base asset", ("quote_qty",))
_BEST_MATCH = Column("is_best_match", None, Kind.BOOLEAN, optional=True)

TRADES = Dataset(
    name="trades",
    remote="trades",
    doc="single trades of one symbol",
    columns={
        Market.SPOT: (*_FIRST, _QUANTITY, _QUOTE, *_LAST, _BEST_MATCH),
        Market.UM: (*_FIRST, _QUANTITY, _QUOTE, *_LAST),
        Market.CM: (*_FIRST, _CONTRACTS, _BASE, *_LAST),
    },
    key=("id",),
    closed=Cadence.DAILY,
    open=Cadence.DAILY,
)
