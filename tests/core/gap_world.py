"""A data folder and the exchange that it is filled from: archive and API over the loopback, at a moment of our own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa
from defect_world import MARKET
from rest_world import FakeClock, api_at

from core.dates import DAY_US, HOUR_US
from core.download.asking import Asking
from core.download.smart import SmartDownloader
from core.download.tracker import DownloadTracker
from core.download.transport import open_transport
from core.events import Event, FindingRaised
from core.exchanges.binance.vision import DataVisionDownloader
from core.integrity.checker import IntegrityChecker
from core.jobs.filled import Filled
from core.jobs.gaps import GapFiller
from core.jobs.sync import Sync, SyncSummary
from core.layout import Layout
from core.sample.defects.plan import Planted, rest_holes
from core.sample.faults import Rule
from core.sample.market import SampleMarket
from core.sample.rest import SampleApi
from core.sample.server import ArchiveServer
from core.settings import DownloadSettings, QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import ArchiveFile, Gap, Series, Source, Span

END = MARKET.span.end_us
MORNING = END + 9 * HOUR_US
ALWAYS = Span(0, 2**60)


@dataclass
class World:
    """A data folder and the exchange that it is filled from; the clock says when that is."""

    folder: Path
    served: Path
    planted: tuple[Planted, ...]
    now_us: int = MORNING
    holes: dict[Series, tuple[Span, ...]] = field(default_factory=dict)
    faults: Rule | None = None
    has_api: bool = True
    market: SampleMarket = MARKET
    events: list[Event] = field(default_factory=list)
    hits: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layout = Layout(self.folder / "data")
        self.storage = StorageManager(self.layout, StorageSettings(parser="arrow"), QualitySettings())

    def begin(self, *series: Series, days: tuple[str, str] = ("2024-12-28", "2025-02-04")) -> "World":
        """Download what the exchange has of these series."""
        span = Span.of_days(date.fromisoformat(days[0]), date.fromisoformat(days[1]))

        async def wanted(vision: DataVisionDownloader) -> AsyncIterator[Sequence[ArchiveFile]]:
            for one in series:
                yield await vision.list_files(one, span)

        async def work(filler: GapFiller, vision: DataVisionDownloader) -> None:
            await filler.bring(wanted(vision))

        self._run(work, 30)
        return self

    def fill(self, *series: Series, most_days: int = 30) -> Filled:
        found: list[Filled] = []

        async def work(filler: GapFiller, _: DataVisionDownloader) -> None:
            found.append(await filler.fill(series))

        self.events.clear()
        self._run(work, most_days)
        return found[0]

    def _run(self, work: Callable[..., object], most_days: int) -> None:
        async def main() -> None:
            clock = FakeClock(self.now_us)
            api = SampleApi(self.market, now_us=clock.now_us, holes=rest_holes(self.planted) | self.holes)
            async with (
                ArchiveServer(self.served, faults=self.faults, api=api) as server,
                open_transport(8) as transport,
            ):
                settings = DownloadSettings(
                    source=server.url, listing=server.url, backoff_seconds=0.001, backoff_cap_seconds=0.002
                )
                smart = SmartDownloader(transport, settings, self.events.append, sleep=clock.sleep)
                vision = DataVisionDownloader(settings, self.layout, smart, self.events.append)
                with DownloadTracker(self.layout.database) as tracker:

                    async def bring(batches: AsyncIterator[Sequence[ArchiveFile]]) -> SyncSummary:
                        asking = Asking(self.now_us)
                        sync = Sync(vision, tracker, self.storage, self.layout, self.events.append, asking=asking)
                        return await sync.run(batches, "fill")

                    checker = IntegrityChecker(self.layout, self.storage, tracker, now_us=self.now_us)
                    rest = api_at(server.url, smart, clock) if self.has_api else None
                    filler = GapFiller(
                        *(vision, rest, tracker, self.storage, checker, bring),
                        *(self.now_us, most_days * DAY_US, self.events.append),
                    )
                    await work(filler, vision)  # type: ignore[misc]
                self.hits = dict(server.hits)

        asyncio.run(main())

    def rows(self, series: Series) -> pa.Table:
        truth = self.market.truth(series, ALWAYS)
        return pa.Table.from_batches(list(self.storage.scan(series, ALWAYS)), truth.schema)

    def between(self, series: Series, span: Span) -> pa.Table:
        return pa.Table.from_batches(list(self.storage.scan(series, span)), self.market.truth(series, span).schema)

    def is_true(self, series: Series) -> bool:
        return bool(self.rows(series).equals(self.market.truth(series, ALWAYS)))

    def sources(self, series: Series) -> list[Source]:
        return [source for part in self.storage.partitions(series) for source in part.sources]

    def gaps(self, series: Series) -> tuple[Gap, ...]:
        with DownloadTracker(self.layout.database) as tracker:
            return tracker.gaps(series)

    @property
    def findings(self) -> list[str]:
        return [event.finding.kind for event in self.events if isinstance(event, FindingRaised)]

    @property
    def api_calls(self) -> int:
        return sum(count for name, count in self.hits.items() if "api/v" in name)
