"""Every trade, as matched. `is_buyer_maker` true means that the taker sold."""

from core.datasets.clock import Beat, Clock
from core.datasets.dataset import Column, Dataset, Kind
from core.types import Cadence, Market

TRADE_TIME = "UTC microseconds (source: ms; spot from 2025-01-01: µs)"
IS_BUYER_MAKER = Column(
    "is_buyer_maker", "is_buyer_maker", Kind.BOOLEAN, "the taker sold (false: the taker bought)", "true, false"
)

_FIRST = (
    Column("id", "id", Kind.INTEGER, "trade id, rising", "id"),
    Column("price", "price", Kind.DECIMAL, "price", "quote asset per base asset"),
)
_LAST = (
    Column("time", "timestamp", Kind.TIME, "time of the match", TRADE_TIME),
    IS_BUYER_MAKER,
)
_QUANTITY = Column("qty", "qty", Kind.DECIMAL, "quantity", "base asset")
_CONTRACTS = Column("qty", "qty", Kind.DECIMAL, "quantity", "contracts")
_QUOTE = Column("quote_qty", "quote_qty", Kind.DECIMAL, "value: price times quantity", "quote asset")
_BASE = Column(
    "base_qty",
    "base_qty",
    Kind.DECIMAL,
    "quantity: contracts times contract value / price",
    "base asset",
    ("quote_qty",),
)
BEST_MATCH = Column("is_best_match", None, Kind.BOOLEAN, "spot only, historical", optional=True)

TRADES = Dataset(
    name="trades",
    remote="trades",
    doc="single trades of one symbol",
    columns={
        Market.SPOT: (*_FIRST, _QUANTITY, _QUOTE, *_LAST, BEST_MATCH),
        Market.UM: (*_FIRST, _QUANTITY, _QUOTE, *_LAST),
        Market.CM: (*_FIRST, _CONTRACTS, _BASE, *_LAST),
    },
    key=("id",),
    closed=Cadence.DAILY,
    open=Cadence.DAILY,
    notes=(
        "Rows are in the order of `id`; times need not rise with it. Single ids are missing in futures, most likely "
        "trades of the insurance fund and of auto-deleveraging, which are left out.",
        "A jump in time without a jump in `id` is a halt of trading, not lost data.",
    ),
    history={Market.UM: "since 2019 by month, rows of 2019-10-11 are the earliest seen"},
    clock=Clock(Beat.TRADE_IDS, ids=("id", "id")),
)
