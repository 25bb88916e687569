"""One market's API: its address, what may still be asked of it, and the latest time that its clock is known to show."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from core.dates import MICROSECONDS_FROM, format_us
from core.download.limits import parse_retry_after
from core.download.smart import SmartDownloader
from core.download.web import Answer, Manner
from core.errors import ConnectionLost, MarketDataError, NotPublished, RemoteError, Throttled
from core.exchanges.binance.endpoints import RAW, VENUES, WEIGHT, Limit
from core.exchanges.binance.weights import Budget, Clock, Turn
from core.types import Market

ANSWER_BYTES: Final = 64_000_000
"""`exchangeInfo` with all symbols has some 20 MB; pages of rows have less than one."""
_USED: Final = "x-mbx-used-weight-"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_INTERVALS: Final = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400}
_BAN_SECONDS: Final = 120.0
"""The shortest ban there is, where a 418 does not say how long."""
_UNKNOWN_SYMBOL: Final = (-1121, -1122)


class Session:
    """Asks one market. `server_us` only grows: the exchange's clock shows at least this."""

    def __init__(self, market: Market, base: str | None, smart: SmartDownloader, clock: Clock) -> None:
        self.market = market
        self.server_us = 0
        self._venue = VENUES[market]
        self._base = f"{(base or self._venue.base).rstrip('/')}{self._venue.path}"
        self._smart = smart
        self._clock = clock
        self._budget = Budget(self._venue.limits, clock)
        self._opening = asyncio.Lock()
        self._is_open = False
        self._unreached: ConnectionLost | None = None

    async def open(self, symbol: str, count: "Count") -> None:
        """Learn the true limits and the time, the first time that it is called.

        A host that could not be reached with all attempts is not tried again: each series would wait for it anew.
        """
        async with self._opening:
            if self._is_open:
                return
            if self._unreached is not None:
                raise self._unreached
            # Spot's answer about all symbols is large, and the limits are in each.
            query = {"symbol": symbol} if self.market is Market.SPOT else {}
            try:
                info = await self.ask("exchangeInfo", query, {WEIGHT: self._venue.info_weight}, count)
            except ConnectionLost as error:
                self._unreached = error
                raise
            except NotPublished:
                return  # the documented limits serve, and the next symbol may be known
            self._note_time(info)
            self._budget.set_limits(_limits(info, self._label("exchangeInfo", query)))
            self._is_open = True

    async def time_us(self, count: "Count") -> int:
        """The exchange's time, asked now."""
        self._note_time(await self.ask("time", {}, {WEIGHT: 1}, count))
        return self.server_us

    def _note_time(self, answer: Any) -> None:
        time_ms = answer.get("serverTime") if isinstance(answer, dict) else None
        if not isinstance(time_ms, int):
            raise RemoteError(f"{self._base} does not say its time; check --rest")
        # Spot says it in the unit that was asked for; these two cannot be mistaken for each other.
        server_us = time_ms if time_ms >= MICROSECONDS_FROM else time_ms * 1000
        self._budget.set_time(server_us)
        self.server_us = max(self.server_us, server_us)

    async def ask(self, name: str, query: Mapping[str, object], cost: Mapping[str, int], count: "Count") -> Any:
        """The parsed JSON of one endpoint; decimal numbers that are no strings come as their text. `cost` without what
        every request costs. Raises what `Api.rows` says."""
        label = self._label(name, query)
        url = f"{self._base}/{name}" + (f"?{urlencode(query)}" if query else "")
        talk = _Talk(label, self._budget, {RAW: 1, **cost}, count, self._clock)
        headers = {"X-MBX-TIME-UNIT": "MICROSECOND"} if self.market is Market.SPOT else {}
        try:
            body = await self._smart.read(
                url, ANSWER_BYTES, label, Manner(headers, talk.turn, talk.heard, talk.meaning)
            )
        finally:
            talk.end()
        try:
            return json.loads(body, parse_float=str)
        except ValueError as error:
            raise RemoteError(f"{label}: the answer is no JSON ({body[:60]!r}); check --rest") from error

    def _label(self, name: str, query: Mapping[str, object]) -> str:
        of = [str(query[word]) for word in ("symbol", "pair", "interval") if word in query]
        return " ".join([self.market.value, name, *of])


class Count:
    """How many requests were sent for something."""

    def __init__(self) -> None:
        self.requests = 0


class _Talk:
    """One question over all its attempts."""

    def __init__(self, label: str, budget: Budget, cost: Mapping[str, int], count: Count, clock: Clock) -> None:
        self._label = label
        self._budget = budget
        self._cost = cost
        self._count = count
        self._clock = clock
        self._turn: Turn | None = None

    async def turn(self) -> None:
        self.end()
        self._turn = await self._budget.take(self._cost)
        self._count.requests += 1

    def heard(self, answer: Answer) -> None:
        assert self._turn is not None
        self._budget.heard(self._turn, _used_weights(answer.fields(_USED)))
        if answer.status in (418, 429):
            self._budget.pause(self._pause(answer.status, _retry_after(answer, self._clock)))

    def end(self) -> None:
        self._budget.settle(self._turn)

    def _pause(self, status: int, retry_after: float | None) -> float:
        if retry_after is not None:
            return retry_after
        return _BAN_SECONDS if status == 418 else 60.0 - self._budget.now_us / 1e6 % 60.0

    def _until(self, wait: float | None) -> str:
        """When the wait is over, to the second."""
        if wait is None:
            return ""
        return f" until {format_us((self._budget.now_us // 1_000_000 + round(wait)) * 1_000_000)} UTC"

    def meaning(self, status: int, body: bytes, error: MarketDataError) -> MarketDataError:
        code, said = _words(body)
        if isinstance(error, Throttled):
            wait = self._pause(status, error.retry_after) if status in (418, 429) else error.retry_after
            return Throttled(f"{error}{self._until(wait)}{said}", wait)
        if status == 451:
            return RemoteError(
                f"{self._label}: the API does not answer in this region (451{said}); go on without it, or name another "
                "address with --rest"
            )
        if status == 403:
            return RemoteError(
                f"{self._label}: the API's firewall refuses us (403{said}); ask less, or name another address with "
                "--rest"
            )
        if isinstance(error, ConnectionLost):
            return ConnectionLost(f"{error}{said}")
        if code in _UNKNOWN_SYMBOL:
            return NotPublished(f"{self._label}: the API does not know that symbol ({status}{said})")
        if status in (404, 410):
            return RemoteError(f"{self._label}: there is no such endpoint ({status}{said}); check --rest")
        return RemoteError(f"{self._label}: the API answered {status}{said}")


def _retry_after(answer: Answer, clock: Clock) -> float | None:
    return parse_retry_after(answer.header("Retry-After"), clock.now_us() / 1e6)


def _used_weights(fields: Mapping[str, str]) -> dict[int, int]:
    """Weight by the seconds of its window, from `x-mbx-used-weight-1m: 20` and the like."""
    used = {}
    for name, value in fields.items():
        match = re.fullmatch(r"([0-9]{1,4})([smhd])", name.removeprefix(_USED))
        if match and value.isascii() and value.isdigit():
            used[int(match[1]) * _SECONDS[match[2]]] = int(value)
    return used


def _limits(info: Any, label: str) -> tuple[Limit, ...]:
    try:
        return tuple(
            Limit(each["rateLimitType"], int(each["intervalNum"]) * _INTERVALS[each["interval"]], int(each["limit"]))
            for each in info["rateLimits"]
            if each["rateLimitType"] in (WEIGHT, RAW)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RemoteError(f"{label}: the limits cannot be read ({error!r}); check --rest") from error


def _words(body: bytes) -> tuple[int | None, str]:
    """Code and quotation of an error like `{"code":-1121,"msg":"Invalid symbol."}`; nothing where it says otherwise."""
    try:
        said = json.loads(body)
        code, message = said["code"], said["msg"]
    except (ValueError, KeyError, TypeError):
        return None, ""
    return (code if isinstance(code, int) else None), f": {code} {str(message)[:300]}"
