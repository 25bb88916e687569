"""Candles of the mark price, from which unrealised profit and liquidations are computed."""

from core.datasets.clock import Beat, Clock
from core.datasets.dataset import Column, Dataset, Kind
from core.datasets.klines import CLOSE_TIME
from core.types import Market

PRICE_HISTORY = {Market.UM: "since 2019-12-23 11:58 by day, 2020-01 by month"}
KNOWN_LATER = "A row was known one interval after `timestamp`."


def price_columns(unit: str) -> tuple[Column, ...]:
    """Candles of a value that nobody trades at: volumes are 0 and `count` is a number of samples, so they are read
    past."""
    return (
        Column("open_time", "timestamp", Kind.TIME, "open of the candle, included", "UTC microseconds, open time"),
        Column("open", "open", Kind.DECIMAL, "first value", unit),
        Column("high", "high", Kind.DECIMAL, "highest value", unit),
        Column("low", "low", Kind.DECIMAL, "lowest value", unit),
        Column("close", "close", Kind.DECIMAL, "last value", unit),
        Column("volume", None, Kind.DECIMAL, "always 0"),
        CLOSE_TIME,
        Column("quote_volume", None, Kind.DECIMAL, "always 0"),
        Column("count", None, Kind.INTEGER, "number of samples, not of trades"),
        Column("taker_buy_volume", None, Kind.DECIMAL, "always 0"),
        Column("taker_buy_quote_volume", None, Kind.DECIMAL, "always 0"),
        Column("ignore", None, Kind.DECIMAL, "without meaning"),
    )


_COLUMNS = price_columns("quote asset per base asset")

MARK_PRICE = Dataset(
    name="mark_price",
    remote="markPriceKlines",
    doc="candles of the mark price of one contract",
    columns={Market.UM: _COLUMNS, Market.CM: _COLUMNS},
    key=("timestamp",),
    has_interval=True,
    notes=(KNOWN_LATER, "Archives may begin before the contract was listed."),
    history=PRICE_HISTORY,
    clock=Clock(Beat.CANDLES),
)
