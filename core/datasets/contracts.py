"""What a contract of a coin-margined market is worth."""

from core.types import Market

_BITCOIN_USD = 100
_OTHER_USD = 10


def contract_usd(market: Market, symbol: str) -> int | None:
    """The dollars of one contract: 100 of bitcoin, 10 of all else; None where quantities are no contracts."""
    if market is not Market.CM:
        return None
    return _BITCOIN_USD if symbol.startswith("BTCUSD") else _OTHER_USD
