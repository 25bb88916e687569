"""A served archive that grows night by night, and a data folder that is updated from it with a clock of our own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from factories import kline_csv, publish, zip_bytes

from core.datasets import DATASETS
from core.download.asking import Asking
from core.download.smart import SmartDownloader
from core.download.tracker import DownloadTracker
from core.download.transport import open_transport
from core.events import Event, FindingRaised
from core.exchanges.binance.urls import key_of
from core.exchanges.binance.vision import DataVisionDownloader
from core.jobs.request import Request, find_files
from core.jobs.selection import Selection
from core.jobs.sync import Sync, SyncSummary
from core.jobs.update import UpdateSummary, update
from core.layout import Layout, stem
from core.sample.faults import Rule
from core.sample.server import ArchiveServer
from core.settings import DownloadSettings, QualitySettings, StorageSettings, SymbolSettings
from core.storage.manager import StorageManager
from core.types import ArchiveFile, Market, Period, Series, Span, State

HOUR_MS = 3_600_000
ROWS = {"klines": 24, "mark_price": 24, "index_price": 24, "premium_index": 24, "funding_rate": 3}


def klines(symbol: str) -> Series:
    return Series(Market.UM, "klines", symbol, "1h")


def day(text: str) -> Period:
    return Period.parse(text)


def text_of(series: Series, period: Period) -> bytes:
    """Whole hours of candles, or funding every eight hours."""
    start_ms = period.span.start_us // 1000
    hours = (period.span.end_us - period.span.start_us) // 1_000_000 // 3600
    if series.dataset == "funding_rate":
        lines = [f"{start_ms + n * 8 * HOUR_MS},8,0.0001" for n in range(hours // 8)]
        return ("calc_time,funding_interval_hours,last_funding_rate\n" + "\n".join(lines) + "\n").encode()
    days = [kline_csv(24, start_ms + n * 24 * HOUR_MS).splitlines(keepends=True) for n in range(hours // 24)]
    return b"".join([days[0][0], *(line for lines in days for line in lines[1:])])  # a month has its days' rows


class World:
    def __init__(self, folder: Path) -> None:
        self.served = folder / "served"
        self.served.mkdir()
        self.layout = Layout(folder / "data")
        self.events: list[Event] = []
        self.hits: dict[str, int] = {}
        self.accept: frozenset[State] = frozenset()

    # at the source

    def publish(self, series: Series, *periods: Period | str, checksum: str | None = None) -> Path:
        """Archives with every row of their time; returns the last of them."""
        for one in periods:
            period = Period.parse(one) if isinstance(one, str) else one
            content = zip_bytes({f"{stem(series, period)}.csv": text_of(series, period)})
            path = publish(self.served, key_of(series, period), content, checksum)
        return path

    def publish_days(self, series: Series, first: str, last: str) -> None:
        start, end = date.fromisoformat(first), date.fromisoformat(last)
        self.publish(series, *(Period.day(start + timedelta(days=n)) for n in range((end - start).days + 1)))

    def withdraw(self, series: Series, period: str, what: str = "") -> None:
        """Take an archive away, or only what lies beside it."""
        path = self.served / (key_of(series, Period.parse(period)) + what)
        path.unlink()
        if not what:
            path.with_name(f"{path.name}.CHECKSUM").unlink(missing_ok=True)

    # here

    def begin(self, *series: Series, last: str, first: str = "2024-01-01") -> SyncSummary:
        """What download_all does for these series."""
        span = Span.of_days(date.fromisoformat(first), date.fromisoformat(last))

        async def work(vision: DataVisionDownloader, tracker: DownloadTracker) -> SyncSummary:
            async def wanted() -> AsyncIterator[Sequence[ArchiveFile]]:
                for one in series:
                    request = Request(
                        one.market, (DATASETS[one.dataset],), one.interval or "1h", span, (one.symbol,), True
                    )
                    async for files in find_files(request, vision):
                        yield files

            return await Sync(vision, tracker, self.storage, self.layout, self.events.append).run(wanted(), "begin")

        summary = self._run(work, None)
        assert isinstance(summary, SyncSummary)
        return summary

    def night(
        self, today: str, faults: Rule | None = None, selection: Selection | None = None, **options: Any
    ) -> UpdateSummary:
        """One update at 09:15 of a day."""
        now = datetime.fromisoformat(f"{today}T09:15:00").replace(tzinfo=UTC)

        async def work(vision: DataVisionDownloader, tracker: DownloadTracker) -> UpdateSummary:
            asking = Asking(int(now.timestamp() * 1_000_000), self.accept)
            sync = Sync(vision, tracker, self.storage, self.layout, self.events.append, asking=asking)
            return await update(selection or Selection(), sync, symbols=SymbolSettings({}, {}), **options)

        self.events.clear()
        summary = self._run(work, faults)
        assert isinstance(summary, UpdateSummary)
        return summary

    def nights(self, *days: str, faults: Rule | None = None) -> list[UpdateSummary]:
        return [self.night(one, faults) for one in days]

    @property
    def storage(self) -> StorageManager:
        return StorageManager(self.layout, StorageSettings(parser="arrow"), QualitySettings())

    def _run(self, work: Any, faults: Rule | None) -> object:
        async def main() -> object:
            async with ArchiveServer(self.served, faults=faults) as server:
                settings = DownloadSettings(
                    source=server.url, listing=server.url, backoff_seconds=0.001, backoff_cap_seconds=0.002
                )
                async with open_transport(8) as transport:
                    smart = SmartDownloader(transport, settings, self.events.append)
                    vision = DataVisionDownloader(settings, self.layout, smart, self.events.append)
                    try:
                        with DownloadTracker(self.layout.database) as tracker:
                            return await work(vision, tracker)
                    finally:
                        self.hits = dict(server.hits)

        return asyncio.run(main())

    # what came of it

    @property
    def findings(self) -> list[tuple[str, int]]:
        """Kind and count of tonight's findings."""
        found = [event.finding for event in self.events if isinstance(event, FindingRaised)]
        return sorted((finding.kind, finding.count) for finding in found)

    @property
    def zips(self) -> list[str]:
        """The archives that were asked for tonight, by name."""
        return sorted(Path(name).name for name in self.hits if name.endswith(".zip"))

    @property
    def probes(self) -> int:
        return sum(count for name, count in self.hits.items() if name.endswith(".CHECKSUM"))

    @property
    def listings(self) -> int:
        return sum(count for name, count in self.hits.items() if name.startswith("?"))

    def state(self, series: Series, period: str) -> State | None:
        with DownloadTracker(self.layout.database) as tracker:
            return tracker.recent(date(2020, 1, 1)).get(series, {}).get(Period.parse(period))

    def days(self, series: Series) -> list[str]:
        """The days of which all rows are stored, each once."""
        times: list[int] = []
        for batch in self.storage.scan(series, Span.of_days(date(2020, 1, 1), date(2030, 1, 1)), ["timestamp"]):
            times += batch.column("timestamp").cast("int64").to_pylist()
        assert times == sorted(set(times))
        counted: dict[str, int] = {}
        for time in times:
            label = datetime.fromtimestamp(time // 1_000_000, UTC).date().isoformat()
            counted[label] = counted.get(label, 0) + 1
        assert set(counted.values()) <= {ROWS[series.dataset]}
        return sorted(counted)


def every_day(first: str, last: str, without: Sequence[str] = ()) -> list[str]:
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    days = [(start + timedelta(days=n)).isoformat() for n in range((end - start).days + 1)]
    return [one for one in days if one not in without]
