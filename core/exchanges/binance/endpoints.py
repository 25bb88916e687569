"""Binance's API as a form: where each market answers, what a request costs there, what may be asked of it."""

from dataclasses import dataclass
from typing import Final

from core.dates import DAY_US, HOUR_US
from core.types import Market

WEIGHT: Final = "REQUEST_WEIGHT"
RAW: Final = "RAW_REQUESTS"
FUNDING: Final = "FUNDING_REQUESTS"
"""Our name for what `exchangeInfo` does not list: calls for funding of um, counted by themselves."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` of a kind in each window of so many seconds, counted by the exchange for each address."""

    kind: str
    seconds: int
    most: int


@dataclass(frozen=True, slots=True)
class Venue:
    """Where a market answers. `limits` are those of the documentation: `exchangeInfo` says the true ones."""

    base: str
    path: str
    limits: tuple[Limit, ...]
    info_weight: int


VENUES: Final = {
    Market.SPOT: Venue("https://api.binance.com", "/api/v3", (Limit(WEIGHT, 60, 6000), Limit(RAW, 300, 61_000)), 20),
    Market.UM: Venue("https://fapi.binance.com", "/fapi/v1", (Limit(WEIGHT, 60, 2400), Limit(FUNDING, 300, 500)), 1),
    Market.CM: Venue("https://dapi.binance.com", "/dapi/v1", (Limit(WEIGHT, 60, 1200),), 1),
}
"""For spot alone there is https://data-api.binance.vision too, without accounts: `--rest` names it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One kind of data. `symbol`: the name of the parameter that says of what."""

    name: str
    symbol: str = "symbol"


ENDPOINTS: Final = {
    "klines": Endpoint("klines"),
    "mark_price": Endpoint("markPriceKlines"),
    "index_price": Endpoint("indexPriceKlines", "pair"),
    "premium_index": Endpoint("premiumIndexKlines"),
    "agg_trades": Endpoint("aggTrades"),
    "funding_rate": Endpoint("fundingRate"),
}
"""By dataset. Trades by id need a key, the ratios of `metrics` reach back 30 days, and books are not kept at all."""

PAGE_ROWS: Final = 1000
"""Rows of a page. Candles of futures may have 1500, but those cost 10 where 1000 cost 5."""
FUNDING_SHORT: Final = 100
"""A page of funding with fewer rows is the last one: no market's limit is said to be lower."""
TRADES_WINDOW_MS: Final = HOUR_US // 1000 - 1
TRADES_REACH_US: Final = 48 * HOUR_US
REACH_MARGIN_US: Final = HOUR_US // 6
"""Trades of futures at the edge of what is kept would go while we page towards them."""
CM_WINDOW_MS: Final = 200 * DAY_US // 1000 - 1


def candle_weight(market: Market, limit: int) -> int:
    """What a page of candles costs."""
    if market is Market.SPOT:
        return 2
    return 1 if limit < 100 else 2 if limit < 500 else 5


def trades_weight(market: Market) -> int:
    """What a page of aggregated trades costs."""
    return 4 if market is Market.SPOT else 20


def funding_cost(market: Market) -> dict[str, int]:
    """What a page of funding costs, and the symbols with funding rules of their own."""
    return {FUNDING: 1} if market is Market.UM else {WEIGHT: 1}


def interval_name(interval: str) -> str:
    """The API writes the month `1M`."""
    return "1M" if interval == "1mo" else interval
