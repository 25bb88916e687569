"""Gaps of real stored series, filled from a served archive and its API; and what is said of those that stay."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from unittest.mock import ANY

import pyarrow as pa
import pytest
from defect_world import AGG_TRADES, FUNDING, KLINES, MARK, MARKET, SHELVES, SPOT_AGG_TRADES, SPOT_KLINES, TRADES
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
from core.jobs.sync import Sync
from core.layout import Layout
from core.sample.archive import key_of, write_archive
from core.sample.defects.plan import Plan, Planted, rest_holes
from core.sample.defects.planting import plant
from core.sample.faults import Rule, on, status
from core.sample.rest import SampleApi
from core.sample.server import ArchiveServer
from core.settings import DownloadSettings, QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import ArchiveFile, Gap, GapStatus, Period, Proof, Series, Source, Span

END = MARKET.span.end_us
MORNING = END + 9 * HOUR_US
ALWAYS = Span(0, 2**60)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_archive(MARKET, folder, SHELVES)
    return folder


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
            api = SampleApi(MARKET, now_us=lambda: self.now_us, holes=rest_holes(self.planted) | self.holes)
            async with (
                ArchiveServer(self.served, faults=self.faults, api=api) as server,
                open_transport(8) as transport,
            ):
                settings = DownloadSettings(
                    source=server.url, listing=server.url, backoff_seconds=0.001, backoff_cap_seconds=0.002
                )
                clock = FakeClock(self.now_us)
                smart = SmartDownloader(transport, settings, self.events.append, sleep=clock.sleep)
                vision = DataVisionDownloader(settings, self.layout, smart, self.events.append)
                with DownloadTracker(self.layout.database) as tracker:

                    async def bring(batches: AsyncIterator[Sequence[ArchiveFile]]) -> object:
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
        truth = MARKET.truth(series, ALWAYS)
        return pa.Table.from_batches(list(self.storage.scan(series, ALWAYS)), truth.schema)

    def is_true(self, series: Series) -> bool:
        return bool(self.rows(series).equals(MARKET.truth(series, ALWAYS)))

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


@pytest.fixture
def world(tmp_path: Path, published: Path) -> Callable[..., World]:
    def made(*plans: tuple[str, Series, str]) -> World:
        served = tmp_path / "served"
        shutil.copytree(published, served)
        planted = plant(MARKET, served, [Plan(name, series, Period.parse(label)) for name, series, label in plans])
        return World(tmp_path, served, planted)

    return made


def test_nothing_is_missing_and_nothing_is_asked(world: Callable[..., World]) -> None:
    here = world().begin(KLINES, MARK, TRADES)
    assert here.fill(KLINES, MARK, TRADES) == Filled()
    assert (here.hits, here.findings) == ({}, [])
    assert all(here.is_true(series) for series in (KLINES, MARK, TRADES))


def test_days_that_a_month_lacks_come_from_the_days(world: Callable[..., World]) -> None:
    here = world(("D4", KLINES, "2025-01")).begin(KLINES)
    assert not here.is_true(KLINES)
    filled = here.fill(KLINES)
    assert filled.status == {"filled": filled.looked_at}
    assert (filled.rows, here.api_calls, filled.failures) == (0, 0, ())
    assert here.is_true(KLINES)
    days = [source for source in here.sources(KLINES) if source.is_beside]
    assert sum(source.added for source in days) == here.planted[0].rows
    assert {gap.status for gap in here.gaps(KLINES)} == {GapStatus.FILLED}


@pytest.mark.parametrize("defect", ["D1", "D3"])
def test_a_day_that_the_archive_has_not_or_not_whole_comes_from_the_api(
    world: Callable[..., World], defect: str
) -> None:
    here = world((defect, KLINES, "2025-02-02")).begin(KLINES)
    assert not here.is_true(KLINES)
    filled = here.fill(KLINES)
    assert filled.status == {"filled": 1}
    assert here.is_true(KLINES)
    (rest,) = [source for source in here.sources(KLINES) if source.proof is Proof.REST]
    assert (rest.rows, rest.added) == (here.planted[0].rows, here.planted[0].rows)
    assert filled.rows == rest.rows
    assert here.fill(KLINES) == Filled()


def test_the_open_month_of_funding_comes_from_the_api(world: Callable[..., World]) -> None:
    here = world().begin(FUNDING)
    assert not here.is_true(FUNDING)
    filled = here.fill(FUNDING)
    assert filled.status == {"filled": 1}
    assert here.is_true(FUNDING)


def test_a_hole_that_every_source_has_is_confirmed_and_asked_about_once_a_week(world: Callable[..., World]) -> None:
    here = world(("D7", MARK, "2025-02-02")).begin(MARK)
    before = here.rows(MARK)
    filled = here.fill(MARK)
    (gap,) = here.gaps(MARK)
    assert (gap.status, gap.rows, gap.checked_us) == (GapStatus.CONFIRMED, here.planted[0].rows, MORNING)
    assert (filled.status, filled.confirmed) == ({"confirmed-hole": 1}, (gap,))
    assert here.findings == ["confirmed-hole"]
    assert here.rows(MARK).equals(before), "nothing is interpolated"
    for days, asked in ((1, 0), (6, 0), (7, 7)):  # the days of the market are over: only this gap counts
        here.now_us = MORNING + days * DAY_US
        here.fill(MARK)
        assert here.gaps(MARK)[0] == replace(gap, checked_us=MORNING + asked * DAY_US, detail=ANY)


def test_lost_trades_of_futures_cannot_be_had_again(world: Callable[..., World]) -> None:
    here = world(("D6", TRADES, "2025-02-01")).begin(TRADES)
    here.fill(TRADES)
    (gap,) = here.gaps(TRADES)
    assert (gap.status, gap.rows) == (GapStatus.CONFIRMED, here.planted[0].rows)
    assert "API: " in gap.detail


def test_a_halt_is_none_of_ours_to_fill(world: Callable[..., World]) -> None:
    here = world().begin(SPOT_AGG_TRADES, SPOT_KLINES)
    here.fill(SPOT_AGG_TRADES, SPOT_KLINES)
    assert {gap.status for one in (SPOT_AGG_TRADES, SPOT_KLINES) for gap in here.gaps(one)} <= {GapStatus.HALT}
    assert here.gaps(SPOT_KLINES) != ()
    assert here.api_calls == 0


def test_an_api_that_fails_leaves_the_gap_open(world: Callable[..., World]) -> None:
    here = world(("D1", KLINES, "2025-02-01")).begin(KLINES)
    here.faults = on("api/v1", status(403))
    filled = here.fill(KLINES)
    assert (filled.status, len(filled.failures)) == ({"open": 1}, 1)
    (gap,) = here.gaps(KLINES)
    assert (gap.status, gap.checked_us) == (GapStatus.OPEN, None)
    here.faults = None
    assert here.fill(KLINES).status == {"filled": 1}
    assert here.is_true(KLINES)


def test_without_an_api_nothing_is_confirmed(world: Callable[..., World]) -> None:
    here = world(("D1", KLINES, "2025-02-01")).begin(KLINES)
    here.has_api = False
    assert here.fill(KLINES).status == {"open": 1}


def test_a_gap_that_is_longer_than_allowed_is_left_alone(world: Callable[..., World]) -> None:
    here = world()
    for one in ("2025-01-10", "2025-01-13"):
        here.begin(KLINES, days=(one, one))
    filled = here.fill(KLINES, most_days=1)
    between, behind = here.gaps(KLINES)  # two days, and the 22 since
    assert (filled.status, filled.archives, here.api_calls) == ({"open": 2}, 0, 0)
    assert [gap.detail.rpartition("; ")[2] for gap in (between, behind)] == ["longer than 1 days"] * 2
    assert (between.rows, behind.rows) == (48, 22 * 24)
    filled = here.fill(KLINES, most_days=2)
    assert (filled.status, filled.archives, here.api_calls) == ({"filled": 1, "open": 1}, 2, 0)
    assert here.rows(KLINES).num_rows == 96


def test_yesterday_that_is_late_is_had_from_the_api_and_later_from_the_archive(world: Callable[..., World]) -> None:
    here = world()
    late = here.served / key_of(KLINES, Period.parse("2025-02-04"))
    aside = here.folder / late.name
    late.rename(aside)
    here.begin(KLINES)
    assert here.fill(KLINES).status == {"filled": 1}
    assert here.is_true(KLINES)
    assert [source.rows for source in here.sources(KLINES) if source.proof is Proof.REST] == [24]
    aside.rename(late)
    here.begin(KLINES)
    assert here.is_true(KLINES)
    assert Proof.REST not in {source.proof for source in here.sources(KLINES)}


def test_aggregates_of_spot_come_from_the_api_and_of_old_futures_not(world: Callable[..., World]) -> None:
    here = world(("D3", SPOT_AGG_TRADES, "2025-02-02"), ("D3", AGG_TRADES, "2025-02-01"))
    here.begin(SPOT_AGG_TRADES, AGG_TRADES)
    here.fill(SPOT_AGG_TRADES, AGG_TRADES)
    assert here.is_true(SPOT_AGG_TRADES)
    assert {gap.status for gap in here.gaps(SPOT_AGG_TRADES)} == {GapStatus.FILLED}
    assert {gap.status for gap in here.gaps(AGG_TRADES)} == {GapStatus.CONFIRMED}
