"""A small exchange whose API is asked over the loopback, and a clock that nobody waits for."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar

from core.datasets import DATASETS
from core.download.smart import SmartDownloader
from core.download.transport import open_transport
from core.events import Event
from core.exchanges.api import ApiRows
from core.exchanges.binance.rest import RestApi
from core.exchanges.binance.weights import Clock
from core.sample.faults import Rule
from core.sample.instruments import Instrument, moment
from core.sample.market import SampleMarket
from core.sample.rest import SampleApi
from core.sample.server import ArchiveServer
from core.settings import DownloadSettings
from core.types import Market, Series, Span

FIRST, LAST = date(2024, 12, 10), date(2025, 1, 25)
OPENED, NOON = moment("2024-12-10"), moment("2024-12-10 12:31")
HALT = Span(moment("2024-12-20 04:00"), moment("2024-12-20 08:45"))
MARKET = SampleMarket(
    11,
    (
        Instrument(Market.UM, "BTCUSDT", "BTC", 95000.0, 1, 3, 60, 20, OPENED),
        Instrument(Market.UM, "ICPUSDT", "ICP", 9.4, 3, 0, 120, 4, NOON, funding_hours=4),
        Instrument(Market.UM, "BTCUSDT_241227", "BTC", 95000.0, 1, 3, 40, 3, OPENED, moment("2024-12-27 08:00")),
        Instrument(Market.UM, "币安人生USDT", "币安人生", 0.21, 5, 0, 4000, 3, NOON, moment("2025-01-07 09:30")),
        Instrument(Market.SPOT, "ETHUSDT", "ETH", 3400.0, 2, 4, 6000, 15, NOON, halts=(HALT,)),
        Instrument(Market.CM, "ETHUSD_PERP", "ETH", 3400.0, 2, 0, 150, 4, NOON, contract_usd=10),
        Instrument(Market.CM, "BTCUSD_PERP", "BTC", 95000.0, 1, 0, 40, 3, OPENED, funding_hours=1, contract_usd=100),
    ),
    FIRST,
    LAST,
)
NOW = MARKET.span.end_us
QUICK = DownloadSettings(timeout_seconds=20.0, backoff_seconds=0.001, backoff_cap_seconds=0.002, max_attempts=3)
Answer = TypeVar("Answer")


class FakeClock:
    """Time that passes only while somebody sleeps; those who sleep at once wake at once."""

    def __init__(self, now_us: int = NOW) -> None:
        self.us = now_us
        self.waits: list[float] = []

    def now_us(self) -> int:
        return self.us

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        until = self.us + round(seconds * 1_000_000)
        await asyncio.sleep(0)
        self.us = max(self.us, until)


@dataclass
class World:
    """What is served and how it is asked; what came of it."""

    market: SampleMarket = MARKET
    faults: Rule | None = None
    limits: dict[Market, int] = field(default_factory=dict)
    holes: dict[Series, tuple[Span, ...]] = field(default_factory=dict)
    settings: DownloadSettings = QUICK
    clock: FakeClock = field(default_factory=FakeClock)
    prepare: Callable[[ArchiveServer], None] = lambda server: None
    events: list[Event] = field(default_factory=list)

    def ask(self, question: Callable[[RestApi], Awaitable[Answer]]) -> Answer:
        """The answer to one question over the loopback."""
        return asyncio.run(self._ask(question))

    def rows(self, series: Series, span: Span) -> ApiRows:
        return self.ask(lambda api: api.rows(series, span))

    async def _ask(self, question: Callable[[RestApi], Awaitable[Answer]]) -> Answer:
        self.api = SampleApi(self.market, now_us=self.clock.now_us, limits=self.limits, holes=self.holes)
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.server = await stack.enter_async_context(ArchiveServer(folder, faults=self.faults, api=self.api))
            self.prepare(self.server)
            transport = await stack.enter_async_context(open_transport(8))
            smart = SmartDownloader(transport, self.settings, self.events.append, sleep=self.clock.sleep)
            return await question(api_at(self.server.url, smart, self.clock))

    def asked(self, name: str) -> int:
        """How often an endpoint was asked."""
        return sum(hits for path, hits in self.server.hits.items() if path.endswith(f"/{name}"))


def api_at(url: str, smart: SmartDownloader, clock: FakeClock) -> RestApi:
    settings = DownloadSettings(rest=url)
    return RestApi(settings, smart, Clock(clock.now_us, clock.sleep))


def span(start: str, end: str) -> Span:
    return Span(moment(start), moment(end))


def every_series(market: SampleMarket, interval: str) -> list[Series]:
    """Each series that the API has, candles at one interval."""
    found: list[Series] = []
    for name in ("klines", "mark_price", "index_price", "premium_index", "funding_rate", "agg_trades"):
        found += market.series(name, interval if DATASETS[name].has_interval else None)
    return found
