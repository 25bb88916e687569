"""Candles of the mark price, from which unrealised profit and liquidations are computed."""

from core.datasets.dataset import Column, Dataset, Kind
from core.types import Market

PRICE_COLUMNS = (
    Column("open_time", "timestamp", Kind.TIME, "open of the candle"),
    Column("open", "open", Kind.DECIMAL, "first value"),
    Column("high", "high", Kind.DECIMAL, "highest value"),
    Column("low", "low", Kind.DECIMAL, "lowest value"),
    Column("close", "close", Kind.DECIMAL, "last value"),
    Column("volume", None, Kind.DECIMAL),
    Column("close_time", "close_time", Kind.TIME, "last instant of the candle as published (…59.999)"),
    Column("quote_volume", None, Kind.DECIMAL),
    Column("count", None, Kind.INTEGER),
    Column("taker_buy_volume", None, Kind.DECIMAL),
    Column("taker_buy_quote_volume", None, Kind.DECIMAL),
    Column("ignore", None, Kind.DECIMAL),
)
"""Candles of a price that nobody trades at: volumes are 0 and `count` is a number of samples, so they are read past."""

MARK_PRICE = Dataset(
    name="mark_price",
    remote="markPriceKlines",
    doc="candles of the mark price of one contract",
    columns={Market.UM: PRICE_COLUMNS, Market.CM: PRICE_COLUMNS},
    key=("timestamp",),
    has_interval=True,
)
