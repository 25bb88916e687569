"""Aggregated trades. Spot joins the fills of one taker order at one price and time; futures join what happens within
100 ms at one price and side, and leave out insurance-fund and ADL trades."""

from core.datasets.dataset import Column, Dataset, Kind
from core.types import Cadence, Market


def _columns(quantity_unit: str) -> tuple[Column, ...]:
    return (
        Column("agg_trade_id", "agg_trade_id", Kind.INTEGER, "aggregate id, rising"),
        Column("price", "price", Kind.DECIMAL, "price"),
        Column("quantity", "quantity", Kind.DECIMAL, f"quantity, {quantity_unit}", ("qty",)),
        Column("first_trade_id", "first_trade_id", Kind.INTEGER, "first trade in it"),
        Column("last_trade_id", "last_trade_id", Kind.INTEGER, "last trade in it"),
        Column("transact_time", "timestamp", Kind.TIME, "time of the trade", ("timestamp",)),
        Column("is_buyer_maker", "is_buyer_maker", Kind.BOOLEAN, "true: the taker sold"),
    )


_BEST_MATCH = Column("is_best_match", None, Kind.BOOLEAN, optional=True)

AGG_TRADES = Dataset(
    name="agg_trades",
    remote="aggTrades",
    doc="aggregated trades of one symbol",
    columns={
        Market.SPOT: (*_columns("base asset"), _BEST_MATCH),
        Market.UM: _columns("base asset"),
        Market.CM: _columns("contracts"),
    },
    key=("agg_trade_id", "first_trade_id"),
    closed=Cadence.DAILY,
    open=Cadence.DAILY,
)
