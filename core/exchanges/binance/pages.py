"""How rows are asked for page by page, by the rules of each endpoint. Times here are the API's: milliseconds, and
`end_ms` is included."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from core.dates import INTERVAL_US, MICROSECONDS_FROM
from core.errors import RemoteError
from core.exchanges.binance.endpoints import (
    CM_WINDOW_MS,
    ENDPOINTS,
    FUNDING_SHORT,
    PAGE_ROWS,
    TRADES_WINDOW_MS,
    WEIGHT,
    candle_weight,
    funding_cost,
    interval_name,
    trades_weight,
)
from core.types import Market, Series

Ask = Callable[[str, Mapping[str, object], Mapping[str, int]], Awaitable[Any]]
"""Endpoint, query and cost to the parsed answer."""
_SHORTEST_MONTH_MS: Final = 28 * 86_400_000
_SHRINK: Final = 8
_DISORDER_MS: Final = 1000
"""Times of trades may go back a little while their ids rise."""


async def candles(ask: Ask, series: Series, start_ms: int, end_ms: int) -> AsyncIterator[list[Any]]:
    """All candles whose open time lies in the range, as the API's arrays, page by page."""
    step_ms = _step_ms(series)
    at_ms = start_ms
    while at_ms <= end_ms:
        limit, until_ms = _candle_page(series.market, at_ms, end_ms, step_ms)
        page = await _page(ask, series, {"startTime": at_ms, "endTime": until_ms, "limit": limit}, limit)
        yield page
        if len(page) < limit or series.market is Market.CM:
            at_ms = until_ms + 1
        else:
            # Not one interval on: around old halts of spot candles lie off the grid.
            at_ms = _advanced(at_ms, _time_ms(page[-1], 0, series) + 1, series)


def _candle_page(market: Market, at_ms: int, end_ms: int, step_ms: int) -> tuple[int, int]:
    """How many rows to ask for, and up to when; one row more than there can be, so that a page that is not full is the
    last one. cm answers with the newest rows of a range, so there a range holds no more than a page does."""
    until_ms = end_ms
    if market is Market.CM:
        until_ms = min(end_ms, at_ms + CM_WINDOW_MS, at_ms + PAGE_ROWS * step_ms - 1)
    return min(PAGE_ROWS, (until_ms - at_ms) // step_ms + 2), until_ms


def _step_ms(series: Series) -> int:
    step_us = INTERVAL_US[series.interval or ""]
    return _SHORTEST_MONTH_MS if step_us is None else step_us // 1000


async def _page(ask: Ask, series: Series, bounds: Mapping[str, object], limit: int) -> list[list[Any]]:
    endpoint = ENDPOINTS[series.dataset]
    query = {endpoint.symbol: series.symbol, "interval": interval_name(series.interval or ""), **bounds}
    return _list(await ask(endpoint.name, query, {WEIGHT: candle_weight(series.market, limit)}), series)


async def funding(ask: Ask, series: Series, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """All settlements of the range, as the API's objects."""
    rows: list[dict[str, Any]] = []
    at_ms = max(start_ms, 1)  # from 0 on the API gives the newest record
    while at_ms <= end_ms:
        query = {"symbol": series.symbol, "startTime": at_ms, "endTime": end_ms, "limit": PAGE_ROWS}
        page = _list(await ask(ENDPOINTS[series.dataset].name, query, funding_cost(series.market)), series)
        rows += page
        if len(page) < FUNDING_SHORT:
            break
        at_ms = _advanced(at_ms, _time_ms(page[-1], "fundingTime", series) + 1, series)
    return rows


async def funding_of_all(ask: Ask, market: Market, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """All settlements of all symbols of the range. Many symbols settle in one millisecond, so the next page begins with
    the last time of the one before; what comes twice is once here."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    series = Series(market, "funding_rate", "*")
    at_ms = max(start_ms, 1)
    while at_ms <= end_ms:
        query = {"startTime": at_ms, "endTime": end_ms, "limit": PAGE_ROWS}
        page = _list(await ask(ENDPOINTS[series.dataset].name, query, funding_cost(market)), series)
        times = [_time_ms(row, "fundingTime", series) for row in page]
        known = len(found)
        found |= {(str(row.get("symbol")), time): row for row, time in zip(page, times, strict=True)}
        if len(page) < FUNDING_SHORT or (len(page) < PAGE_ROWS and len(found) == known):
            break
        if times[-1] < at_ms:
            raise RemoteError(f"{series}: the API's pages do not get on at {at_ms}; check --rest")
        if times[-1] == at_ms and len(page) >= PAGE_ROWS:
            raise RemoteError(f"{series}: more symbols settle at {at_ms} than a page holds; ask for each symbol")
        at_ms = max(at_ms, times[-1])
    return list(found.values())


async def agg_trades(ask: Ask, series: Series, start_ms: int, end_ms: int) -> AsyncIterator[list[Any]]:
    """All aggregated trades of the range and some beside it, as the API's objects, page by page in the order of ids.

    The first is looked for in windows below an hour; from its id on pages follow without times, as both are not to be
    sent together.
    """
    # Spot's times have microseconds: whether a last millisecond is meant whole is nowhere said.
    first = await _first_trade(ask, series, start_ms, end_ms + 1)
    at = None if first is None else _whole(first, "a", series)
    while at is not None:
        page = await _trades(ask, series, {"fromId": at})
        yield page
        is_over = len(page) < PAGE_ROWS or _time_ms(page[-1], "T", series) > end_ms + _DISORDER_MS
        at = None if is_over else _advanced(at, _whole(page[-1], "a", series) + 1, series)


async def _first_trade(ask: Ask, series: Series, start_ms: int, end_ms: int) -> dict[str, Any] | None:
    """The first one of the range. A window with more trades than a page may come without its first ones, so it is made
    smaller until it has fewer."""
    at_ms, width_ms = start_ms, TRADES_WINDOW_MS
    while at_ms <= end_ms:
        until_ms = min(at_ms + width_ms, end_ms)
        page = await _trades(ask, series, {"startTime": at_ms, "endTime": until_ms})
        if len(page) >= PAGE_ROWS and until_ms > at_ms:
            width_ms = (until_ms - at_ms) // _SHRINK
        elif page:
            return page[0]
        else:
            at_ms, width_ms = until_ms + 1, min(TRADES_WINDOW_MS, (width_ms + 1) * _SHRINK)
    return None


async def _trades(ask: Ask, series: Series, bounds: Mapping[str, object]) -> list[dict[str, Any]]:
    query = {"symbol": series.symbol, **bounds, "limit": PAGE_ROWS}
    return _list(await ask(ENDPOINTS[series.dataset].name, query, {WEIGHT: trades_weight(series.market)}), series)


def _list(answer: Any, series: Series) -> list[Any]:
    if not isinstance(answer, list):
        raise RemoteError(f"{series}: the API answered {str(answer)[:80]!r} where rows were asked for")
    return answer


def _whole(row: Any, place: int | str, series: Series) -> int:
    """A whole number of a row."""
    try:
        cell = row[place]
    except (LookupError, TypeError) as error:
        raise RemoteError(f"{series}: the API answered with a row without {place!r}: {str(row)[:80]}") from error
    if type(cell) is not int:
        raise RemoteError(f"{series}: the API answered with {cell!r} where a whole number belongs")
    return cell


def _time_ms(row: Any, place: int | str, series: Series) -> int:
    time = _whole(row, place, series)
    return time // 1000 if time >= MICROSECONDS_FROM else time


def _advanced(before: int, after: int, series: Series) -> int:
    """Where the next page begins. Raises RemoteError if that is no further on."""
    if after <= before:
        raise RemoteError(f"{series}: the API's pages do not get on at {before}; check --rest")
    return after
