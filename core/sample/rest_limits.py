"""How the sample exchange counts what it is asked: windows of time, 429 over the limit, 418 for who does not listen."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from core.types import Market

WEIGHTS = {Market.SPOT: 6000, Market.UM: 2400, Market.CM: 1200}
"""A minute."""
FUNDING = ("fundingRate", "fundingInfo")
FUNDING_CALLS, FUNDING_SECONDS = 500, 300
"""um counts these calls by themselves."""
CANDLES = {
    "klines": "klines",
    "markPriceKlines": "mark_price",
    "indexPriceKlines": "index_price",
    "premiumIndexKlines": "premium_index",
}
"""Dataset by endpoint."""
_SECOND_US = 1_000_000
IGNORED_MOST = 3
"""Refusals in a row that are forgiven."""
BAN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Refusal:
    """429 or 418, and for how many seconds."""

    status: int
    retry_after: int
    text: str


class Gate:
    """At most `most` in each window of `seconds`, of whatever is counted."""

    def __init__(self, most: int, seconds: int = 60) -> None:
        self.most = most
        self.used = 0
        self._seconds = seconds
        self._window = -1
        self._ignored = 0
        self._banned_until_us = 0

    def enter(self, now_us: int, weight: int) -> Refusal | None:
        """Count a request; why it is not answered, if it is not."""
        if now_us < self._banned_until_us:
            return self._ban(now_us)
        length_us = self._seconds * _SECOND_US
        if now_us // length_us != self._window:
            self._window, self.used, self._ignored = now_us // length_us, 0, 0
        self.used += weight
        if self.used <= self.most:
            return None
        self._ignored += 1
        if self._ignored > IGNORED_MOST:
            self._banned_until_us = now_us + BAN_SECONDS * _SECOND_US
            return self._ban(now_us)
        wait = _seconds_up((self._window + 1) * length_us - now_us)
        text = f"Too many requests; current limit is {self.most} request weight per {self._seconds} SECONDS."
        return Refusal(429, wait, text)

    def _ban(self, now_us: int) -> Refusal:
        until_ms = self._banned_until_us // 1000
        text = f"Way too much request weight used; IP banned until {until_ms}."
        return Refusal(418, _seconds_up(self._banned_until_us - now_us), text)


def _seconds_up(us: int) -> int:
    return -(-us // _SECOND_US)


def weight_of(market: Market, name: str, query: Mapping[str, str]) -> int:
    """What a request costs; one that names no proper limit as much as by default."""
    if name == "exchangeInfo":
        return 20 if market is Market.SPOT else 1
    if name == "aggTrades":
        return 4 if market is Market.SPOT else 20
    if name in FUNDING:
        return 0 if market is Market.UM else 1
    if name not in CANDLES:
        return 1
    if market is Market.SPOT:
        return 2
    text = query.get("limit", "500")
    limit = int(text) if re.fullmatch("[0-9]{1,6}", text) else 500
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10
