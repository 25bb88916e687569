"""What a symbol trades: base and quote, which the exchange writes without a sign between them."""

from dataclasses import dataclass
from typing import Final

from core.errors import ContentError
from core.types import Market

_STABLE: Final = "USDT USDC FDUSD TUSD BUSD USDP USDS DAI PAX UST USD1 XUSD RLUSD EURI"
_CRYPTO: Final = "BTC ETH BNB XRP TRX DOGE DOT SOL"
_STATE: Final = "EUR GBP AUD TRY BRL RUB UAH NGN ZAR PLN RON ARS JPY MXN CZK COP BIDR IDRT BKRW BVND"
QUOTES: Final[dict[Market, tuple[str, ...]]] = {
    Market.SPOT: tuple(f"{_STABLE} {_CRYPTO} {_STATE}".split()),
    Market.UM: ("USDT", "USDC", "BUSD", "FDUSD", "USD1", "BTC"),
    Market.CM: ("USD",),
}
"""The currencies in which each market quotes. None is the end of another, but for those in `_ODD`."""
_ODD: Final = {"BTCAEUR": "AEUR", "ETHAEUR": "AEUR"}
"""Read from the end, these are not what they look like: ADAEUR is ADA in EUR."""


@dataclass(frozen=True, slots=True)
class Pair:
    """`settle` is the currency of profit and loss, None in `spot`; `delivery` the date (YYMMDD) of a dated future."""

    base: str
    quote: str
    settle: str | None = None
    delivery: str | None = None


def pair_of(market: Market, symbol: str) -> Pair:
    """The pair of a symbol. Raises ContentError if its quote currency is not a known one."""
    name, _, suffix = symbol.partition("_")
    odd = [_ODD[name]] if market is Market.SPOT and name in _ODD else []
    for quote in (*odd, *QUOTES[market]):
        base = name.removesuffix(quote)
        if base and base != name:
            settle = {Market.SPOT: None, Market.UM: quote, Market.CM: base}[market]
            return Pair(base, quote, settle, suffix if suffix.isdigit() else None)
    raise ContentError(
        f"{market}/{symbol}: cannot tell base from quote, none of {', '.join(QUOTES[market])} is at its end; "
        "this format names files by both, use another or leave the symbol out"
    )
