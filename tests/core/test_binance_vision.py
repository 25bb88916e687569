"""What Binance publishes: asked for in few pages, and verified by every proof there is."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from factories import publish, zip_bytes

from core.datasets import DATASETS
from core.download.smart import SmartDownloader, open_client
from core.errors import ChecksumMismatch, NotPublished
from core.events import Event, FindingRaised
from core.exchanges.binance.urls import key_of
from core.exchanges.binance.vision import DataVisionDownloader
from core.layout import Layout
from core.sample.faults import Rule, flip, not_found, on, status
from core.sample.server import ArchiveServer
from core.settings import DownloadSettings
from core.types import ArchiveFile, Download, FetchedFile, Market, Period, Proof, Series, Span, State

SERIES = Series(Market.UM, "klines", "BTCUSDT", "1h")
KLINES = DATASETS["klines"]


class World:
    def __init__(self, folder: Path) -> None:
        self.served = folder / "served"
        self.layout = Layout(folder / "data")
        self.events: list[Event] = []
        self.hits: dict[str, int] = {}

    def add(self, series: Series, period: Period, content: bytes = b"x", checksum: str | None = None) -> str:
        key = key_of(series, period)
        publish(self.served, key, content, checksum)
        return key

    def run(self, work: Callable[[DataVisionDownloader], Awaitable[object]], faults: Rule | None = None) -> object:
        async def main() -> object:
            async with ArchiveServer(self.served, faults=faults) as server:
                settings = DownloadSettings(
                    source=server.url, listing=server.url, backoff_seconds=0.001, backoff_cap_seconds=0.002
                )
                async with open_client(settings) as client:
                    smart = SmartDownloader(client, settings)
                    try:
                        return await work(DataVisionDownloader(settings, self.layout, smart, self.events.append))
                    finally:
                        self.hits = dict(server.hits)

        return asyncio.run(main())

    def list_files(self, series: Series, first: date, last: date) -> list[ArchiveFile]:
        files = self.run(lambda vision: vision.list_files(series, Span.of_days(first, last)))
        assert isinstance(files, tuple)
        return list(files)

    def listing_requests(self) -> int:
        return sum(count for name, count in self.hits.items() if name.startswith("?"))

    def fetch(self, file: ArchiveFile, faults: Rule | None = None) -> FetchedFile:
        download = Download(1, file, State.ACTIVE, owner=1)
        fetched = self.run(lambda vision: vision.download(download), faults)
        assert isinstance(fetched, FetchedFile)
        return fetched

    @property
    def findings(self) -> list[str]:
        return [event.finding.kind for event in self.events if isinstance(event, FindingRaised)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def days(first: date, count: int) -> list[Period]:
    return [Period.day(first + timedelta(days=n)) for n in range(count)]


def labels(files: list[ArchiveFile]) -> list[str]:
    return [file.period.label for file in files]


def test_a_series_of_more_than_a_page_is_listed_to_its_end(world: World) -> None:
    """One page holds 500 days; who stops there ends a series of 2019 in May 2021."""
    published = days(date(2019, 12, 31), 1234)
    for period in published:
        world.add(SERIES, period)
    files = world.list_files(SERIES, date(1970, 1, 1), date(2026, 1, 1))
    assert labels(files) == [period.label for period in published]
    assert all(file.checksum_etag is not None and len(file.etag) == 32 for file in files)


def test_a_long_history_in_whole_months_costs_few_pages(world: World) -> None:
    for number in range(60):
        world.add(SERIES, Period.month(2020 + number // 12, number % 12 + 1))
    for period in [*days(date(2019, 12, 31), 1), *days(date(2020, 1, 1), 900), *days(date(2025, 1, 1), 9)]:
        world.add(SERIES, period)
    files = world.list_files(SERIES, date(1970, 1, 1), date(2025, 1, 9))
    assert labels(files)[:2] == ["2019-12-31", "2020-01"]
    assert labels(files)[-10:] == ["2024-12", *(f"2025-01-0{n}" for n in range(1, 10))]
    assert len(files) == 1 + 60 + 9
    assert world.listing_requests() == 3


def test_a_hole_between_months_is_filled_by_days(world: World) -> None:
    for month in (1, 2, 4):
        world.add(SERIES, Period.month(2024, month))
    for period in days(date(2024, 2, 20), 60):
        world.add(SERIES, period)
    files = world.list_files(SERIES, date(2024, 1, 1), date(2024, 4, 30))
    assert labels(files) == ["2024-01", "2024-02", *(f"2024-03-{n:02d}" for n in range(1, 32)), "2024-04"]


def test_what_is_not_there_is_no_error(world: World) -> None:
    world.add(SERIES, Period.month(2024, 1))
    assert world.list_files(Series(Market.UM, "klines", "NOSUCH", "1h"), date(2024, 1, 1), date(2024, 2, 1)) == []
    assert world.list_files(SERIES, date(2025, 1, 1), date(2025, 2, 1)) == []


def test_funding_comes_by_the_month_also_for_part_of_one(world: World) -> None:
    funding = Series(Market.UM, "funding_rate", "BTCUSDT")
    for month in (1, 2, 3):
        world.add(funding, Period.month(2024, month))
    assert labels(world.list_files(funding, date(2024, 1, 20), date(2024, 2, 5))) == ["2024-01", "2024-02"]
    assert world.listing_requests() == 1


def test_names_of_odd_shape_are_reported_and_left_alone(world: World) -> None:
    key = world.add(SERIES, Period.month(2024, 1))
    folder = (world.served / key).parent
    (folder / "BTCUSDT-1h-2020-8.zip").write_bytes(b"odd")
    (folder / "orphan.zip.CHECKSUM").write_bytes(b"odd")
    assert labels(world.list_files(SERIES, date(2020, 1, 1), date(2024, 12, 31))) == ["2024-01"]
    assert world.findings == ["odd-key"]


def test_an_archive_without_its_checksum_has_no_checksum_etag(world: World) -> None:
    key = world.add(SERIES, Period.month(2024, 1))
    (world.served / f"{key}.CHECKSUM").unlink()
    (file,) = world.list_files(SERIES, date(2024, 1, 1), date(2024, 1, 31))
    assert (file.checksum_etag, file.size) == (None, 1)


def test_symbols_come_from_the_folders_delisted_and_foreign_ones_too(world: World) -> None:
    for symbol in ("BTCUSDT", "币安人生USDT", "LUNAUSDT", "BTCUSDT_240329"):
        world.add(Series(Market.UM, "klines", symbol, "1h"), Period.month(2024, 1))
    world.add(Series(Market.UM, "klines", "NEWUSDT", "1h"), Period.day(date(2024, 2, 1)))
    (world.served / "data/futures/um/monthly/klines/odd name").mkdir()
    (world.served / "data/futures/um/monthly/klines/odd name/x.zip").write_bytes(b"x")
    found = world.run(lambda vision: vision.list_symbols(Market.UM, KLINES, "1h"))
    assert found == ("BTCUSDT", "BTCUSDT_240329", "LUNAUSDT", "NEWUSDT", "币安人生USDT")


# proofs

CONTENT = zip_bytes({"BTCUSDT-1h-2024-01.csv": b"1,2,3\n"})
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "BTCUSDT-1h-2024-01.zip"


def md5(text: str | bytes) -> str:
    return hashlib.md5(text.encode() if isinstance(text, str) else text).hexdigest()


def as_listed(etag: str = md5(CONTENT), checksum_etag: str | None = md5(f"{SHA256}  {NAME}\n")) -> ArchiveFile:
    period = Period.month(2024, 1)
    return ArchiveFile(SERIES, period, key_of(SERIES, period), len(CONTENT), etag, checksum_etag, "")


def put(world: World, checksum: str | None = None) -> None:
    world.add(SERIES, Period.month(2024, 1), CONTENT, checksum)


@pytest.mark.parametrize("end", ["", "\n"])
def test_two_listed_md5s_prove_the_sha256_without_a_second_request(world: World, end: str) -> None:
    put(world)
    fetched = world.fetch(as_listed(checksum_etag=md5(f"{SHA256}  {NAME}{end}")))
    assert (fetched.proof, fetched.sha256) == (Proof.SHA256_BY_ETAG, SHA256)
    assert fetched.path == world.layout.raw(SERIES, Period.month(2024, 1))
    assert fetched.path.read_bytes() == CONTENT
    assert world.hits == {as_listed().key: 1}


@pytest.mark.parametrize(
    "file",
    [
        as_listed(etag=f"{md5(CONTENT)}-12"),
        as_listed(etag="0" * 32),
        as_listed(checksum_etag=None),
        as_listed(checksum_etag="0" * 32),
    ],
    ids=["multipart", "stale etag", "no sidecar listed", "stale sidecar"],
)
def test_where_the_listing_does_not_settle_it_the_checksum_is_fetched(world: World, file: ArchiveFile) -> None:
    put(world)
    assert world.fetch(file).proof is Proof.SHA256_BY_CHECKSUM
    assert world.hits[f"{file.key}.CHECKSUM"] == 1


@pytest.mark.parametrize(
    "text", [f"{SHA256}  {NAME}", f"{SHA256} *{NAME}\n", f"{SHA256.upper()}  {NAME}  \r\n", f"{SHA256}\t{NAME}\n"]
)
def test_a_checksum_line_may_be_written_in_several_ways(world: World, text: str) -> None:
    put(world, text)
    assert world.fetch(as_listed(checksum_etag=None)).proof is Proof.SHA256_BY_CHECKSUM


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{'1' * 64}  {NAME}\n", "1" * 64),
        (f"{SHA256}  OTHER-1h-2024-01.zip\n", "OTHER-1h-2024-01.zip"),
        ("<html>busy</html>", "is not a checksum line"),
        ("", "is not a checksum line"),
    ],
)
def test_a_checksum_that_disagrees_is_tried_thrice_and_leaves_nothing(world: World, text: str, said: str) -> None:
    put(world, text)
    with pytest.raises(ChecksumMismatch) as caught:
        world.fetch(as_listed(checksum_etag=None))
    assert said in str(caught.value)
    assert world.hits[as_listed().key] == 3
    assert list(world.layout.root.rglob("*.zip*")) == []


def test_without_a_checksum_the_listed_md5_must_agree_and_it_is_said(world: World) -> None:
    put(world)
    faults = on(".CHECKSUM", not_found())
    assert world.fetch(as_listed(checksum_etag=None), faults).proof is Proof.UNVERIFIED
    assert world.findings == ["no-checksum"]
    for etag in ("0" * 32, f"{md5(CONTENT)}-2", ""):
        with pytest.raises(ChecksumMismatch, match=r"no \.CHECKSUM is published"):
            World(world.served.parent).fetch(as_listed(etag=etag, checksum_etag=None), faults)


def test_one_damaged_answer_is_fetched_again(world: World) -> None:
    put(world)
    fetched = world.fetch(as_listed(), on(NAME, flip(5), times=1))
    assert fetched.path.read_bytes() == CONTENT
    assert world.hits[as_listed().key] == 2


def test_listed_but_gone_is_not_published(world: World) -> None:
    put(world)
    with pytest.raises(NotPublished):
        world.fetch(as_listed(), on(NAME, status(404)))
