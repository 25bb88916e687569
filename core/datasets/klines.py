"""Candles of trades: `klines`.

In `cm` the exchange's header words mislead: `volume` counts contracts and `quote_volume` is base asset.
"""

from core.datasets.dataset import Column, Dataset, Kind
from core.types import Market


def _columns(volume: Column, turnover: Column, taker_volume: Column, taker_turnover: Column) -> tuple[Column, ...]:
    return (
        Column("open_time", "timestamp", Kind.TIME, "open of the candle"),
        Column("open", "open", Kind.DECIMAL, "first price"),
        Column("high", "high", Kind.DECIMAL, "highest price"),
        Column("low", "low", Kind.DECIMAL, "lowest price"),
        Column("close", "close", Kind.DECIMAL, "last price"),
        volume,
        Column("close_time", "close_time", Kind.TIME, "last instant of the candle as published (…59.999)"),
        turnover,
        Column("count", "trades", Kind.INTEGER, "number of trades"),
        taker_volume,
        taker_turnover,
        Column("ignore", None, Kind.DECIMAL),
    )


_LINEAR = _columns(
    Column("volume", "volume", Kind.DECIMAL, "traded quantity, base asset"),
    Column("quote_volume", "quote_volume", Kind.DECIMAL, "traded value, quote asset"),
    Column("taker_buy_volume", "taker_buy_base", Kind.DECIMAL, "quantity bought by takers, base asset"),
    Column("taker_buy_quote_volume", "taker_buy_quote", Kind.DECIMAL, "value bought by takers, quote asset"),
)
_INVERSE = _columns(
    Column("volume", "volume", Kind.DECIMAL, "traded quantity, contracts"),
    Column("quote_volume", "base_volume", Kind.DECIMAL, "traded quantity, base asset", ("base_volume",)),
    Column("taker_buy_volume", "taker_buy_volume", Kind.DECIMAL, "quantity bought by takers, contracts"),
    Column(
        "taker_buy_quote_volume",
        "taker_buy_base",
        Kind.DECIMAL,
        "quantity bought by takers, base asset",
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
)
