"""The sample exchange's API: the endpoints from which Binance's own completes its archive, with limits and refusals.

/api/v3, /fapi/v1, /dapi/v1 + time, exchangeInfo, klines, aggTrades
/fapi/v1, /dapi/v1          + markPriceKlines, indexPriceKlines, premiumIndexKlines, fundingRate, fundingInfo
"""

import asyncio
import functools
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np

from core.datasets import DATASETS
from core.dates import DAY_US, HOUR_US
from core.sample.http import Reply, Request
from core.sample.market import SampleMarket, times_of
from core.sample.rest_limits import (
    CANDLES,
    FUNDING,
    FUNDING_CALLS,
    FUNDING_SECONDS,
    WEIGHTS,
    Gate,
    Refusal,
    weight_of,
)
from core.sample.rest_rows import Settlements, candles_json, rows_at, trades_json
from core.sample.values import Columns, integers
from core.types import Market, Series, Span

PATHS = {Market.SPOT: "/api/v3", Market.UM: "/fapi/v1", Market.CM: "/dapi/v1"}
_ALL = ("time", "exchangeInfo", "klines", "aggTrades")
_FUTURES = (*_ALL, "markPriceKlines", "indexPriceKlines", "premiumIndexKlines", "fundingRate", "fundingInfo")
_CM_RANGE_MS = 200 * DAY_US // 1000
_HOUR_MS = HOUR_US // 1000
_NEWEST_FUNDING = 200
_REFUSED = {418: -1003, 429: -1003}


class ApiError(Exception):
    """A request that is refused, with the exchange's code and words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class SampleApi:
    """Answers for `market` at `now_us()` (default: the end of its last day).

    `limits` are weights a minute by market. Rows whose time lies in one of `holes` of their series are not there. What
    was answered is counted in `statuses`.
    """

    def __init__(
        self,
        market: SampleMarket,
        *,
        now_us: Callable[[], int] | None = None,
        limits: Mapping[Market, int] | None = None,
        holes: Mapping[Series, tuple[Span, ...]] | None = None,
    ) -> None:
        self.statuses: Counter[int] = Counter()
        self._market = market
        self._now_us = now_us or (lambda: market.span.end_us)
        self._holes = holes or {}
        self._gates = {each: Gate((limits or {}).get(each, WEIGHTS[each])) for each in Market}
        self._settlements = Settlements(market)
        self._funding = Gate(FUNDING_CALLS, FUNDING_SECONDS)

    def routes(self) -> dict[str, Callable[[Request], Awaitable[Reply]]]:
        """Handlers by path."""
        return {
            f"{path}/{name}": functools.partial(self._answer, market, name)
            for market, path in PATHS.items()
            for name in (_ALL if market is Market.SPOT else _FUTURES)
        }

    async def _answer(self, market: Market, name: str, request: Request) -> Reply:
        now_us = self._now_us()
        refusal = self._enter(market, name, request, now_us)
        headers = {"X-MBX-USED-WEIGHT-1M": str(self._gates[market].used)}
        if refusal is not None:
            headers["Retry-After"] = str(refusal.retry_after)
            return self._counted(api_error(refusal.status, refusal.text, headers))
        try:
            question = _Question(self._market, market, request, now_us, self._holes, self._settlements)
            body = await asyncio.to_thread(question.answer, name)
        except ApiError as error:
            return self._counted(api_error(400, str(error), headers, error.code))
        return self._counted(Reply.of(200, _json(self._with_limits(market, name, body)), headers | _TYPE))

    def _enter(self, market: Market, name: str, request: Request, now_us: int) -> Refusal | None:
        if market is Market.UM and name in FUNDING and (refusal := self._funding.enter(now_us, 1)) is not None:
            return refusal
        return self._gates[market].enter(now_us, weight_of(market, name, request.query))

    def _with_limits(self, market: Market, name: str, body: Any) -> Any:
        if name != "exchangeInfo":
            return body
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        return body | {"rateLimits": [limit | {"limit": self._gates[market].most}]}

    def _counted(self, reply: Reply) -> Reply:
        self.statuses[reply.status] += 1
        return reply


_TYPE = {"Content-Type": "application/json;charset=UTF-8"}


def api_error(status: int, message: str, headers: Mapping[str, str] | None = None, code: int | None = None) -> Reply:
    """An error in the form of the API."""
    body = {"code": _REFUSED.get(status, -1000) if code is None else code, "msg": message}
    return Reply.of(status, _json(body), _TYPE | dict(headers or {}))


class _Question:
    """One request and what there is to answer it."""

    def __init__(
        self,
        sample: SampleMarket,
        market: Market,
        request: Request,
        now_us: int,
        holes: Mapping[Series, tuple[Span, ...]],
        settlements: Settlements,
    ) -> None:
        self._sample = sample
        self._settlements = settlements
        self._market = market
        self._query = request.query
        self._in_microseconds = (
            market is Market.SPOT and request.headers.get("x-mbx-time-unit", "").upper() == "MICROSECOND"
        )
        self._now_us = now_us
        self._holes = holes

    def answer(self, name: str) -> Any:
        """The body. Raises ApiError."""
        if name == "time":
            return {"serverTime": self._time(self._now_us)}
        if name == "exchangeInfo":
            return self._info()
        if name == "fundingInfo":
            return self._funding_rules()
        if name == "fundingRate":
            return self._funding()
        return self._trades() if name == "aggTrades" else self._candles(CANDLES[name])

    def _time(self, us: int) -> int:
        return us if self._in_microseconds else us // 1000

    # endpoints

    def _info(self) -> dict[str, Any]:
        wanted = self._query.get("symbol") if self._market is Market.SPOT else None
        symbols = [
            {"symbol": each.symbol, "status": "TRADING"}
            for each in self._sample.instruments
            if each.market is self._market
            and wanted in (None, each.symbol)
            and each.listed_us <= self._now_us
            and not (each.delisted_us is not None and each.delisted_us <= self._now_us)
        ]
        if wanted is not None and not symbols:
            raise ApiError(-1121, "Invalid symbol.")
        return {"timezone": "UTC", "serverTime": self._time(self._now_us), "symbols": symbols}

    def _funding_rules(self) -> list[dict[str, Any]]:
        return [
            {
                "symbol": each.symbol,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": each.funding_hours,
                "disclaimer": False,
            }
            for each in self._sample.instruments
            if each.market is self._market and each.is_perpetual and each.funding_hours != 8
        ]

    def _candles(self, dataset: str) -> list[Any]:
        name = "pair" if dataset == "index_price" else "symbol"
        limit = self._limit(500, 1000 if self._market is Market.SPOT else 1500)
        interval = {"1M": "1mo"}.get(self._text("interval"), self._text("interval"))
        if interval not in DATASETS[dataset].intervals(self._market) or self._text("interval") == "1mo":
            raise ApiError(-1120, "Invalid interval.")
        series, rows = self._rows(dataset, self._text(name), interval)
        start, end = self._bounds()
        if self._market is Market.CM:
            if start is not None and end is not None and end - start > _CM_RANGE_MS:
                raise ApiError(-4088, "Maximum time interval is 200 days.")
            end = start + _CM_RANGE_MS if start is not None and end is None else end
        rows = _between(series, rows, start, end)
        is_newest = start is None or self._market is Market.CM
        return candles_json(series, _limited(rows, limit, is_newest), self._in_microseconds)

    def _trades(self) -> list[Any]:
        limit = self._limit(500, 1000)
        series, rows = self._rows("agg_trades", self._text("symbol"), None)
        start, end = self._bounds()
        first = self._number("fromId")
        if first is not None:
            if start is not None or end is not None:
                raise ApiError(-1128, "Combination of optional parameters invalid.")
            later = integers(rows["agg_trade_id"]) >= first
            rows = {name: values[later] for name, values in rows.items()}
            return trades_json(series, _limited(rows, limit, False), self._in_microseconds)
        if start is not None and end is not None and end - start >= _HOUR_MS:
            raise ApiError(-1127, "More than 1 hours between startTime and endTime.")
        # A window with more than that has been seen to come without its first ones.
        is_newest = start is None or end is not None
        rows = _limited(_between(series, rows, start, end), limit, is_newest)
        return trades_json(series, rows, self._in_microseconds)

    def _funding(self) -> list[Any]:
        limit = self._limit(100, 1000)
        start, end = self._bounds()
        if start is None and end is None and "limit" not in self._query:
            limit = _NEWEST_FUNDING
        if start == 0:
            start, limit = None, 1
        rows = [
            row
            for series in self._funded()
            for row in self._settlements.until(series, self._now_us, self._holes)
            if (start is None or start <= row["fundingTime"]) and (end is None or row["fundingTime"] <= end)
        ]
        rows.sort(key=lambda row: (row["fundingTime"], row["symbol"]))
        return rows[-limit:] if start is None else rows[:limit]

    def _funded(self) -> list[Series]:
        """Of the symbol that is asked for; um answers for all of them where none is."""
        if self._market is Market.CM or "symbol" in self._query:
            return [self._series("funding_rate", self._text("symbol"))]
        return [each for each in self._sample.series("funding_rate") if each.market is self._market]

    # parameters

    def _rows(self, dataset: str, symbol: str, interval: str | None) -> tuple[Series, Columns]:
        series = self._series(dataset, symbol, interval)
        return series, rows_at(self._sample, series, self._now_us, self._holes.get(series, ()))

    def _series(self, dataset: str, symbol: str, interval: str | None = None) -> Series:
        """Raises ApiError for one that there is not."""
        series = Series(self._market, dataset, symbol, interval)
        if not self._sample.instruments_of(series) or series not in self._sample.series(dataset, interval):
            raise ApiError(-1121, "Invalid symbol.")
        return series

    def _text(self, name: str) -> str:
        text = self._query.get(name, "")
        if not text:
            raise ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return text

    def _number(self, name: str) -> int | None:
        text = self._query.get(name)
        if text is None:
            return None
        if not re.fullmatch("[0-9]{1,20}", text):
            legal = "legal range is '^[0-9]{1,20}$'."
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; {legal}")
        return int(text)

    def _limit(self, default: int, most: int) -> int:
        limit = self._number("limit")
        if limit is None:
            return default
        if not 1 <= limit <= most:
            raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
        return limit

    def _bounds(self) -> tuple[int | None, int | None]:
        start, end = self._number("startTime"), self._number("endTime")
        if start is not None and end is not None and start > end:
            raise ApiError(-1023, "Start time is greater than end time.")
        return start, end


def _between(series: Series, rows: Columns, start_ms: int | None, end_ms: int | None) -> Columns:
    """Both ends are included: with microseconds, the instant of that millisecond."""
    times = times_of(series, rows)
    first = 0 if start_ms is None else int(np.searchsorted(times, start_ms * 1000))
    last = len(times) if end_ms is None else int(np.searchsorted(times, end_ms * 1000, side="right"))
    return {name: values[first:last] for name, values in rows.items()}


def _limited(rows: Columns, limit: int, is_newest: bool) -> Columns:
    return {name: values[-limit:] if is_newest else values[:limit] for name, values in rows.items()}


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
