"""`RestApi`: rows from Binance's API, for what its archive lacks or does not have yet."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import DATASETS
from core.dates import DAY_US, INTERVAL_US, format_us
from core.download.smart import SmartDownloader
from core.errors import RemoteError
from core.exchanges.api import ApiRows
from core.exchanges.binance import pages
from core.exchanges.binance.answers import (
    candle_table,
    funding_hours,
    funding_table,
    funding_time_us,
    joined,
    rules_hours,
    trade_table,
)
from core.exchanges.binance.endpoints import ENDPOINTS, REACH_MARGIN_US, TRADES_REACH_US, funding_cost
from core.exchanges.binance.session import Count, Session
from core.exchanges.binance.weights import SYSTEM_CLOCK, Clock
from core.settings import DownloadSettings
from core.storage.digest import content_sha256
from core.types import Market, Series, Span

_LONGEST_MONTH_US: Final = 31 * DAY_US
_STANDARD_HOURS: Final = 8
"""The interval of funding of a symbol that has no rules of its own."""
_AROUND_US: Final = DAY_US
"""So far beside a span neighbouring settlements are looked for."""
_NO_ENDPOINT: Final = {
    "trades": "single trades need an API key and reach back a month at most",
    "metrics": "open interest and ratios reach back 30 days only",
    "book_depth": "past depths of the book are not served",
    "book_ticker": "past best quotes are not served",
    "liquidation_snapshot": "liquidations are not served any more",
}


class RestApi:
    """Satisfies `core.exchanges.api.Api` for Binance. One for a run: it knows what was asked already in this minute."""

    def __init__(self, settings: DownloadSettings, smart: SmartDownloader, clock: Clock = SYSTEM_CLOCK) -> None:
        self._sessions = {market: Session(market, settings.rest, smart, clock) for market in Market}

    def reason_against(self, series: Series, span: Span, now_us: int) -> str | None:
        """Why the API cannot be asked for these rows; None: it can."""
        dataset = DATASETS[series.dataset]
        if series.dataset not in ENDPOINTS:
            return f"the API has no {series.dataset}: {_NO_ENDPOINT.get(series.dataset, 'there is no endpoint')}"
        if series.market not in dataset.markets:
            return f"{series.market} has no {series.dataset}"
        if dataset.has_interval and series.interval not in dataset.intervals(series.market):
            return f"{series.market} {series.dataset} has no interval {series.interval}"
        if span.start_us >= now_us:
            return f"{format_us(span.start_us)} UTC lies in the future"
        if series.dataset == "agg_trades" and series.market is not Market.SPOT:
            oldest_us = now_us - TRADES_REACH_US + REACH_MARGIN_US
            if span.start_us < oldest_us:
                return f"the API has aggregated trades of futures for 48 hours only, since {format_us(oldest_us)} UTC"
        return None

    async def server_time_us(self, market: Market) -> int:
        """The server's time, asked now."""
        return await self._sessions[market].time_us(Count())

    async def rows(self, series: Series, span: Span) -> ApiRows:
        """The rows of a span as the archive has them or will; see `Api.rows`.

        The time is asked once for a market, and again only where a row could be younger than that.
        """
        session, count = self._sessions[series.market], Count()
        reason = self.reason_against(series, span, span.start_us + 1)
        if reason is None:
            await session.open(series.symbol, count)
            if session.server_us < _last_end_us(series, span) or _ages(series):
                await session.time_us(count)
            reason = self.reason_against(series, span, session.server_us)
        if reason is not None:
            raise RemoteError(f"{series} of {format_us(span.start_us)} UTC cannot be asked for: {reason}")
        server_us = session.server_us
        asked = Span(span.start_us, max(span.start_us, min(span.end_us, server_us)))

        ask = _asking(session, count)
        table = _within(await _READERS.get(series.dataset, _candles)(ask, series, asked), asked)
        if DATASETS[series.dataset].has_interval:
            table = table.filter(pc.less(table["close_time"].cast(pa.int64()), server_us))
        table = table.combine_chunks()
        return ApiRows(table, count.requests, server_us, await asyncio.to_thread(content_sha256, table))

    async def funding_of_all(self, market: Market, span: Span) -> Mapping[str, ApiRows] | None:
        """The settlements of every symbol by symbol; only um answers for all, see `Api.funding_of_all`."""
        if market is not Market.UM:
            return None
        session, count = self._sessions[market], Count()
        await session.open("", count)
        if session.server_us < span.end_us:
            await session.time_us(count)
        server_us = session.server_us
        asked = Span(span.start_us, max(span.start_us, min(span.end_us, server_us)))
        ask = _remembering(_asking(session, count))
        by_symbol: dict[str, list[Any]] = {}
        for row in await pages.funding_of_all(ask, market, *_bounds_ms(_around(asked))):
            by_symbol.setdefault(str(row.get("symbol")), []).append(row)
        found = {}
        for symbol, rows in by_symbol.items():
            series = Series(market, "funding_rate", symbol)
            table = _within(await _settlements(ask, series, rows, asked), asked).combine_chunks()
            if table.num_rows:
                found[symbol] = (table, content_sha256(table))
        return {symbol: ApiRows(table, count.requests, server_us, sha) for symbol, (table, sha) in found.items()}


def _asking(session: Session, count: Count) -> pages.Ask:
    async def ask(name: str, query: Mapping[str, object], cost: Mapping[str, int]) -> Any:
        return await session.ask(name, query, cost, count)

    return ask


def _remembering(ask: pages.Ask) -> pages.Ask:
    """Questions without a parameter are asked once."""
    answers: dict[str, Any] = {}

    async def remembered(name: str, query: Mapping[str, object], cost: Mapping[str, int]) -> Any:
        if query:
            return await ask(name, query, cost)
        if name not in answers:
            answers[name] = await ask(name, query, cost)
        return answers[name]

    return remembered


async def _candles(ask: pages.Ask, series: Series, span: Span) -> pa.Table:
    found = pages.candles(ask, series, *_bounds_ms(span))
    return joined(series, [candle_table(series, page) async for page in found])


async def _agg_trades(ask: pages.Ask, series: Series, span: Span) -> pa.Table:
    found = pages.agg_trades(ask, series, *_bounds_ms(span))
    return joined(series, [trade_table(series, page) async for page in found])


async def _funding(ask: pages.Ask, series: Series, span: Span) -> pa.Table:
    rows = await pages.funding(ask, series, *_bounds_ms(_around(span)))
    return await _settlements(ask, series, rows, span)


async def _settlements(ask: pages.Ask, series: Series, rows: list[Any], span: Span) -> pa.Table:
    """Settlements, each with the interval that the archive gives it.

    The API does not say it: it is the hours since the settlement before, which is asked for too. Where there is none
    it is the hours to the next one; where there is neither, what `fundingInfo` says of the symbol; a symbol that is not
    in there has the standard interval.
    """
    rows = sorted(rows, key=lambda row: funding_time_us(series, row))
    times = [funding_time_us(series, row) for row in rows]
    hours = funding_hours(times, 0)
    wanted = [span.start_us <= time < span.end_us for time in times]
    if any(each == 0 and is_wanted for each, is_wanted in zip(hours, wanted, strict=True)):
        rules = rules_hours(series, await ask("fundingInfo", {}, funding_cost(series.market)))
        hours = funding_hours(times, rules or _STANDARD_HOURS)
    found = zip(rows, hours, wanted, strict=True)
    return funding_table(series, [row | {"interval": each} for row, each, is_wanted in found if is_wanted])


def _around(span: Span) -> Span:
    return Span(max(0, span.start_us - _AROUND_US), span.end_us + _AROUND_US)


_READERS: Final = {"agg_trades": _agg_trades, "funding_rate": _funding}


def _last_end_us(series: Series, span: Span) -> int:
    """When the last row of a span has ended: candles of up to a day end at multiples of their length."""
    if series.interval is None:
        return span.end_us
    step_us = INTERVAL_US[series.interval] or _LONGEST_MONTH_US
    return -(-span.end_us // step_us) * step_us if step_us <= DAY_US else span.end_us + step_us


def _ages(series: Series) -> bool:
    """Whether what is asked for goes as time passes."""
    return series.dataset == "agg_trades" and series.market is not Market.SPOT


def _bounds_ms(span: Span) -> tuple[int, int]:
    """The first and the last millisecond that a row of the span may be in."""
    return span.start_us // 1000, (span.end_us + 999) // 1000 - 1 if span.end_us > span.start_us else -1


def _within(table: pa.Table, span: Span) -> pa.Table:
    times = table["timestamp"].cast(pa.int64())
    inside = pc.and_(pc.greater_equal(times, span.start_us), pc.less(times, span.end_us))
    return table.filter(inside)
