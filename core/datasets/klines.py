"""Candles of trades: `klines`.

In `cm` the exchange's header words mislead: `volume` counts contracts and `quote_volume` is base asset.
"""

from core.datasets.clock import Beat, Clock
from core.datasets.dataset import Column, Dataset, Kind
from core.types import Market

_PRICE = "quote asset per base asset"
CLOSE_TIME = Column(
    "close_time",
    "close_time",
    Kind.TIME,
    "last instant of the candle as published: one source unit before its end (…59.999, or …59.999999)",
    "UTC microseconds",
)


def _columns(volume: Column, turnover: Column, taker_volume: Column, taker_turnover: Column) -> tuple[Column, ...]:
    return (
        Column("open_time", "timestamp", Kind.TIME, "open of the candle, included", "UTC microseconds, open time"),
        Column("open", "open", Kind.DECIMAL, "price of the first trade", _PRICE),
        Column("high", "high", Kind.DECIMAL, "highest price", _PRICE),
        Column("low", "low", Kind.DECIMAL, "lowest price", _PRICE),
        Column("close", "close", Kind.DECIMAL, "price of the last trade", _PRICE),
        volume,
        CLOSE_TIME,
        turnover,
        Column("count", "trades", Kind.INTEGER, "number of trades", "trades"),
        taker_volume,
        taker_turnover,
        Column("ignore", None, Kind.DECIMAL, "without meaning"),
    )


_LINEAR = _columns(
    Column("volume", "volume", Kind.DECIMAL, "traded quantity", "base asset"),
    Column("quote_volume", "quote_volume", Kind.DECIMAL, "traded value", "quote asset"),
    Column("taker_buy_volume", "taker_buy_base", Kind.DECIMAL, "quantity bought by takers", "base asset"),
    Column("taker_buy_quote_volume", "taker_buy_quote", Kind.DECIMAL, "value bought by takers", "quote asset"),
)
_INVERSE = _columns(
    Column("volume", "volume", Kind.DECIMAL, "traded quantity", "contracts"),
    Column("quote_volume", "base_volume", Kind.DECIMAL, "traded quantity", "base asset", ("base_volume",)),
    Column("taker_buy_volume", "taker_buy_volume", Kind.DECIMAL, "quantity bought by takers", "contracts"),
    Column(
        "taker_buy_quote_volume",
        "taker_buy_base",
        Kind.DECIMAL,
        "quantity bought by takers",
        "base asset",
        ("taker_buy_base_volume",),
    ),
)

KLINES = Dataset(
    name="klines",
    remote="klines",
    doc="candles of the trades of one symbol",
    columns={Market.SPOT: _LINEAR, Market.UM: _LINEAR, Market.CM: _INVERSE},
    key=("timestamp",),
    has_interval=True,
    notes=(
        "A row was known one interval after `timestamp`.",
        "Spot has no rows while trading is halted; futures have flat rows of zero volume. Around old halts of spot, "
        "open and close times lie off the grid; they are stored as published.",
        "In cm the exchange's header says `quote_volume` for what is base asset; ours are named for what they are.",
    ),
    history={
        Market.SPOT: "BTCUSDT since 2017-08-17",
        Market.UM: "BTCUSDT and ETHUSDT since 2019-12-31 by day, 2020-01 by month",
    },
    clock=Clock(Beat.CANDLES),
)
