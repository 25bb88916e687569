"""Sample archives with many planted defects, downloaded and stored for real, and all that is said of them."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from core.datasets import DATASETS
from core.download.smart import SmartDownloader
from core.download.tracker import DownloadTracker
from core.download.transport import open_transport
from core.events import Event, FindingRaised
from core.exchanges.binance.vision import DataVisionDownloader
from core.integrity.checker import Examined, IntegrityChecker
from core.integrity.feed import with_feeds
from core.jobs.sync import Sync
from core.layout import Layout
from core.sample.archive import Shelf, files_of
from core.sample.instruments import Instrument, moment
from core.sample.market import SampleMarket
from core.sample.server import ArchiveServer
from core.settings import DownloadSettings, QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import ArchiveFile, Finding, Market, Series, Span


@dataclass(frozen=True)
class Seen:
    """What a researcher is told: what was said while downloading and storing, and by the checker afterwards."""

    examined: tuple[Examined, ...]
    raised: tuple[Finding, ...]

    @property
    def findings(self) -> list[Finding]:
        return [*self.raised, *(finding for each in self.examined for finding in each.findings)]


def linked(pristine: Path, folder: Path) -> Path:
    """A copy of an archive whose files are links: planting replaces files and writes through none."""
    shutil.copytree(pristine, folder, copy_function=os.link)
    return folder


@dataclass
class Lake:
    """A data folder that is filled from a served archive."""

    folder: Path
    market: SampleMarket
    shelves: tuple[Shelf, ...]
    events: list[Event] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        return Layout(self.folder)

    @property
    def storage(self) -> StorageManager:
        return StorageManager(self.layout, StorageSettings(csv_datasets=(), parser="arrow"), QualitySettings())

    def series(self) -> list[Series]:
        return sorted({series for series, _ in files_of(self.market, self.shelves)})

    def download(self, served: Path, clock_us: int | None = None) -> None:
        """Every archive of every series, months and days alike, as nightly updates bring them together."""

        async def listed(vision: DataVisionDownloader) -> AsyncIterator[Sequence[ArchiveFile]]:
            for one in self.series():
                if files := await vision.list_all(one):
                    yield files

        async def main() -> None:
            clock = None if clock_us is None else (lambda: clock_us)
            async with ArchiveServer(served, clock=clock) as server, open_transport(8) as transport:
                settings = DownloadSettings(
                    source=server.url, listing=server.url, backoff_seconds=0.001, backoff_cap_seconds=0.002
                )
                smart = SmartDownloader(transport, settings, self.events.append)
                vision = DataVisionDownloader(settings, self.layout, smart, self.events.append)
                with DownloadTracker(self.layout.database) as tracker:
                    await Sync(vision, tracker, self.storage, self.layout, self.events.append).run(
                        listed(vision), "download"
                    )

        asyncio.run(main())

    def seen(self, now_us: int | None = None) -> Seen:
        """All series through the checker, and the findings of the downloads."""
        raised = tuple(event.finding for event in self.events if isinstance(event, FindingRaised))
        with DownloadTracker(self.layout.database) as tracker:
            checker = IntegrityChecker(self.layout, self.storage, tracker, QualitySettings(), now_us=now_us)
            known = sorted({*self.storage.series(), *self.series()})
            examined = [checker.examine(series, deep=True) for series in known]
        return Seen(tuple(with_feeds(examined)), raised)


UM, CM, SPOT = Market.UM, Market.CM, Market.SPOT
HALT = Span(moment("2025-01-05 04:00"), moment("2025-01-05 08:45"))
NOON = moment("2024-12-18 12:31")
GONE = moment("2025-01-09 09:00")
MARKET = SampleMarket(
    11,
    (
        Instrument(UM, "BTCUSDT", "BTC", 95000.0, 1, 3, 60, 12, moment("2024-12-18"), depth_seconds=900, halts=(HALT,)),
        Instrument(UM, "币安人生USDT", "币安人生", 0.21, 5, 0, 4000, 6, NOON, GONE, depth_seconds=900),
        Instrument(SPOT, "ETHUSDT", "ETH", 3400.0, 2, 4, 6000, 24, NOON, halts=(HALT,)),
        Instrument(CM, "ETHUSD_PERP", "ETH", 3400.0, 2, 0, 150, 6, NOON, contract_usd=10, depth_seconds=900),
    ),
    date(2024, 12, 18),
    date(2025, 1, 12),
)
"""Four symbols over a month: listings at noon, a delisting, a halt, spot's change to microseconds."""
_DAYS = (date(2024, 12, 28), date(2025, 1, 12))
SHELVES = (
    *(Shelf(name, "1h", days=_DAYS) for name, kind in DATASETS.items() if kind.has_interval),
    Shelf("klines", "1m", days=_DAYS, symbols=("um/BTCUSDT",)),
    Shelf("funding_rate"),
    *(Shelf(name, days=_DAYS) for name in ("trades", "agg_trades")),
    *(Shelf(name) for name in ("metrics", "book_depth")),
    *(Shelf(name, symbols=("cm/ETHUSD_PERP",)) for name in ("book_ticker", "liquidation_snapshot")),
)
