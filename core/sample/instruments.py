"""What the sample exchange trades."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from core.datasets import DATASETS
from core.types import Market, Span


@dataclass(frozen=True, slots=True)
class Instrument:
    """One symbol and how it trades.

    `asset` names the price path: instruments of one asset share it, and so their `start_price`. A price is a whole
    number of ticks of `price_decimals`, a quantity of steps of `qty_decimals`; `lot` is the mean quantity of a fill
    in steps. `contract_usd` is the value of one contract in `cm`. The depth of the book is looked at every
    `depth_seconds`. Nothing trades in a halt; from the day `busy_from` on there are ten times as many orders.
    """

    market: Market
    symbol: str
    asset: str
    start_price: float
    price_decimals: int
    qty_decimals: int
    lot: int
    orders_per_hour: int
    listed_us: int
    delisted_us: int | None = None
    funding_hours: int = 8
    contract_usd: int = 0
    depth_seconds: int = 30
    halts: tuple[Span, ...] = ()
    busy_from: date | None = None

    @property
    def pair(self) -> str:
        """The symbol under which its index price is filed."""
        return DATASETS["index_price"].directory(self.symbol)

    @property
    def is_perpetual(self) -> bool:
        """Whether it has funding and a premium index: a future without a delivery date."""
        suffix = self.symbol.partition("_")[2]
        return self.market is not Market.SPOT and not suffix.isdigit()

    @property
    def value_decimals(self) -> int:
        """Decimals of a trade's value: exact in quote asset, rounded to 8 in the base asset of `cm`."""
        return 8 if self.market is Market.CM else self.price_decimals + self.qty_decimals


def moment(text: str) -> int:
    """Microseconds of a UTC moment written as `2024-03-29` or `2024-03-29 08:00`."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


DEMO_FIRST = date(2023, 12, 10)
DEMO_LAST = date(2025, 2, 17)
_OPENED = moment("2023-12-10")
_BUSY = date(2025, 2, 15)
_UM, _CM, _SPOT = Market.UM, Market.CM, Market.SPOT

DEMO_INSTRUMENTS = (
    Instrument(_UM, "BTCUSDT", "BTC", 43800.0, 1, 3, 60, 60, _OPENED, busy_from=_BUSY),
    Instrument(_UM, "ETHUSDT", "ETH", 2350.0, 2, 3, 900, 40, _OPENED, busy_from=_BUSY),
    Instrument(_UM, "SOLUSDT", "SOL", 72.0, 3, 0, 25, 25, moment("2024-01-17 09:30")),
    Instrument(_UM, "1000SHIBUSDT", "SHIB", 0.0099, 6, 0, 60000, 15, moment("2024-02-05 16:15")),
    Instrument(_UM, "币安人生USDT", "币安人生", 0.21, 5, 0, 4000, 25, moment("2024-11-20 12:30")),
    Instrument(_UM, "LUNAUSDT", "LUNA", 0.85, 4, 0, 900, 12, _OPENED, moment("2024-08-14 09:00")),
    Instrument(_UM, "ICPUSDT", "ICP", 9.4, 3, 0, 120, 10, moment("2024-03-08 07:45"), funding_hours=4),
    Instrument(_UM, "BTCUSDT_240329", "BTC", 43800.0, 1, 3, 40, 3, _OPENED, moment("2024-03-29 08:00")),
    Instrument(
        _SPOT,
        "BTCUSDT",
        "BTC",
        43800.0,
        2,
        5,
        4000,
        40,
        _OPENED,
        halts=(Span(moment("2024-06-11 04:00"), moment("2024-06-11 08:45")),),
    ),
    Instrument(_SPOT, "ETHUSDT", "ETH", 2350.0, 2, 4, 6000, 25, _OPENED),
    Instrument(_CM, "BTCUSD_PERP", "BTC", 43800.0, 1, 0, 40, 15, _OPENED, contract_usd=100),
    Instrument(_CM, "ETHUSD_PERP", "ETH", 2350.0, 2, 0, 150, 12, moment("2024-02-20 02:20"), contract_usd=10),
)
