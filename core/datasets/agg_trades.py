"""Aggregated trades. Spot joins the fills of one taker order at one price and time; futures join what happens within
100 ms at one price and side, and leave out insurance-fund and ADL trades."""

from core.datasets.clock import Beat, Clock
from core.datasets.dataset import Column, Dataset, Kind
from core.datasets.trades import BEST_MATCH, IS_BUYER_MAKER, TRADE_TIME
from core.types import Cadence, Market


def _columns(quantity_unit: str) -> tuple[Column, ...]:
    return (
        Column("agg_trade_id", "agg_trade_id", Kind.INTEGER, "aggregate id, rising", "id"),
        Column("price", "price", Kind.DECIMAL, "price", "quote asset per base asset"),
        Column("quantity", "quantity", Kind.DECIMAL, "sum of the quantities", quantity_unit, ("qty",)),
        Column("first_trade_id", "first_trade_id", Kind.INTEGER, "first trade in it", "id of `trades`"),
        Column("last_trade_id", "last_trade_id", Kind.INTEGER, "last trade in it", "id of `trades`"),
        Column("transact_time", "timestamp", Kind.TIME, "time of the trade", TRADE_TIME, ("timestamp",)),
        IS_BUYER_MAKER,
    )


AGG_TRADES = Dataset(
    name="agg_trades",
    remote="aggTrades",
    doc="aggregated trades of one symbol",
    columns={
        Market.SPOT: (*_columns("base asset"), BEST_MATCH),
        Market.UM: _columns("base asset"),
        Market.CM: _columns("contracts"),
    },
    key=("agg_trade_id", "first_trade_id"),
    closed=Cadence.DAILY,
    open=Cadence.DAILY,
    notes=(
        "Spot joins the fills of one taker order at one price and time; futures join what happens within 100 ms at one "
        "price and side, and leave out trades of the insurance fund and of auto-deleveraging. So candles of futures "
        "can be rebuilt from `trades`, not from these.",
        "Some um files have rows of quantity 0 (2023-03 to 2023-05); they are stored as published.",
    ),
    history={Market.UM: "BTCUSDT and ETHUSDT since 2019-12-31 by day, 2020-01 by month"},
    clock=Clock(Beat.TRADE_IDS, ids=("first_trade_id", "last_trade_id")),
)
