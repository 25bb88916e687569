"""What Binance publishes: asked for in few pages, and verified by every proof there is."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from factories import publish

from core.datasets import DATASETS
from core.download.smart import SmartDownloader
from core.download.transport import open_transport
from core.errors import ChecksumMismatch, ConnectionLost, Disputed, NotPublished, RemoteError
from core.events import Event, FindingRaised
from core.exchanges.binance.urls import key_of
from core.exchanges.binance.vision import DataVisionDownloader
from core.layout import Layout
from core.sample.faults import Rule, flip, garbage, not_found, on, status, truncated, wrong_etag
from core.sample.server import ArchiveServer
from core.settings import DownloadSettings
from core.types import ArchiveFile, Download, FetchedFile, Market, Period, Proof, Series, Span, State

SERIES = Series(Market.UM, "klines", "BTCUSDT", "1h")
MONTH = Period.month(2024, 1)
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
                async with open_transport(8) as transport:
                    smart = SmartDownloader(transport, settings)
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
    world.add(SERIES, MONTH)
    assert world.list_files(Series(Market.UM, "klines", "NOSUCH", "1h"), date(2024, 1, 1), date(2024, 2, 1)) == []
    assert world.list_files(SERIES, date(2025, 1, 1), date(2025, 2, 1)) == []


def test_funding_comes_by_the_month_also_for_part_of_one(world: World) -> None:
    funding = Series(Market.UM, "funding_rate", "BTCUSDT")
    for month in (1, 2, 3):
        world.add(funding, Period.month(2024, month))
    assert labels(world.list_files(funding, date(2024, 1, 20), date(2024, 2, 5))) == ["2024-01", "2024-02"]
    assert world.listing_requests() == 1


@pytest.mark.parametrize("name", ["metrics", "book_depth", "liquidation_snapshot"])
def test_what_comes_by_the_day_only_is_asked_for_by_the_day_only(world: World, name: str) -> None:
    series = Series(Market.UM, name, "BTCUSDT")
    for day in days(date(2024, 1, 1), 40):
        world.add(series, day)
    found = labels(world.list_files(series, date(2024, 1, 20), date(2024, 2, 5)))
    assert found == [day.label for day in days(date(2024, 1, 20), 17)]
    assert world.listing_requests() == 1


@pytest.mark.parametrize("interval", ["3d", "1w", "1mo"])
def test_long_candles_are_asked_for_by_the_month_only(world: World, interval: str) -> None:
    series = Series(Market.UM, "klines", "BTCUSDT", interval)
    world.add(series, MONTH)
    stray = world.add(series, Period.day(date(2024, 2, 1)))
    assert labels(world.list_files(series, date(2024, 1, 10), date(2024, 2, 5))) == ["2024-01"]
    assert world.listing_requests() == 1
    assert (world.served / stray).exists()


def test_names_of_odd_shape_are_reported_and_left_alone(world: World) -> None:
    key = world.add(SERIES, MONTH)
    folder = (world.served / key).parent
    (folder / "BTCUSDT-1h-2020-8.zip").write_bytes(b"odd")
    (folder / "orphan.zip.CHECKSUM").write_bytes(b"odd")
    assert labels(world.list_files(SERIES, date(2020, 1, 1), date(2024, 12, 31))) == ["2024-01"]
    assert world.findings == ["odd-key"]


def test_an_archive_without_its_checksum_has_no_checksum_etag(world: World) -> None:
    key = world.add(SERIES, MONTH)
    (world.served / f"{key}.CHECKSUM").unlink()
    (file,) = world.list_files(SERIES, date(2024, 1, 1), date(2024, 1, 31))
    assert (file.checksum_etag, file.size) == (None, 1)


def test_symbols_come_from_the_folders_delisted_and_foreign_ones_too(world: World) -> None:
    for symbol in ("BTCUSDT", "币安人生USDT", "LUNAUSDT", "BTCUSDT_240329"):
        world.add(Series(Market.UM, "klines", symbol, "1h"), MONTH)
    world.add(Series(Market.UM, "klines", "NEWUSDT", "1h"), Period.day(date(2024, 2, 1)))
    (world.served / "data/futures/um/monthly/klines/odd name").mkdir()
    (world.served / "data/futures/um/monthly/klines/odd name/x.zip").write_bytes(b"x")
    found = world.run(lambda vision: vision.list_symbols(Market.UM, KLINES, "1h"))
    assert found == ("BTCUSDT", "BTCUSDT_240329", "LUNAUSDT", "NEWUSDT", "币安人生USDT")


def test_a_name_of_odd_shape_among_days_is_reported_once_however_many_holes_are_filled(world: World) -> None:
    for month in (1, 3, 5):
        world.add(SERIES, Period.month(2024, month))
    for period in days(date(2024, 1, 1), 200):
        key = world.add(SERIES, period)
    (world.served / key).with_name("BTCUSDT-1h-2024-6.zip").write_bytes(b"odd")
    (world.served / key).with_name("BTCUSDT-1h-9999-12-31.zip").write_bytes(b"beyond the calendar")
    files = world.list_files(SERIES, date(2024, 1, 1), date(2024, 6, 30))
    assert len(files) == 3 + 29 + 30 + 30
    assert sorted(event.finding.detail for event in world.events if isinstance(event, FindingRaised)) == [
        "data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-6.zip is listed, but is no name we know",
        "data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-9999-12-31.zip is listed, but is no name we know",
    ]
    assert world.findings == ["odd-key", "odd-key"]


def test_a_month_is_filled_by_days_while_it_is_open(world: World) -> None:
    for month in (1, 2):
        world.add(SERIES, Period.month(2024, month))
    for period in days(date(2024, 1, 1), 70):
        world.add(SERIES, period)
    files = world.list_files(SERIES, date(2024, 1, 1), date(2024, 3, 20))
    assert labels(files) == ["2024-01", "2024-02", *(f"2024-03-{n:02d}" for n in range(1, 11))]


def test_a_month_without_all_its_days_is_taken_whole_for_a_part_of_it(world: World) -> None:
    world.add(SERIES, MONTH)
    for period in days(date(2024, 1, 1), 20):
        world.add(SERIES, period)
    assert labels(world.list_files(SERIES, date(2024, 1, 10), date(2024, 1, 20))) == [
        f"2024-01-{n}" for n in range(10, 21)
    ]
    assert labels(world.list_files(SERIES, date(2024, 1, 10), date(2024, 1, 21))) == ["2024-01"]


def test_one_day_of_a_long_history_costs_two_pages(world: World) -> None:
    for period in days(date(2019, 12, 31), 1100):
        world.add(SERIES, period)
    assert labels(world.list_files(SERIES, date(2022, 3, 1), date(2022, 3, 1))) == ["2022-03-01"]
    assert world.listing_requests() == 2


def test_a_sidecar_on_the_next_page_still_belongs_to_its_archive(world: World) -> None:
    """The page of 1000 ends with the archive of the 500th day: an odd name shifts the pairs by one."""
    for period in days(date(2020, 1, 1), 500):
        key = world.add(SERIES, period)
    (world.served / key).with_name("BTCUSDT-1h-2020-01-01.zip.BAK").write_bytes(b"shifts")
    files = world.list_files(SERIES, date(2020, 1, 1), date(2021, 12, 31))
    assert len(files) == 500
    assert all(file.checksum_etag is not None for file in files)
    assert labels(files)[-1] == "2021-05-14"


def test_what_is_listed_is_kept_with_its_etags(world: World) -> None:
    key = world.add(SERIES, MONTH, b"content", "a checksum")
    (file,) = world.list_files(SERIES, date(2024, 1, 1), date(2024, 1, 31))
    assert (file.series, file.period, file.key, file.name) == (
        SERIES,
        MONTH,
        "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip",
        "BTCUSDT-1h-2024-01.zip",
    )
    assert key == file.key
    assert (file.size, file.etag, file.checksum_etag) == (7, md5("content"), md5("a checksum"))
    assert file.modified.endswith(".000Z")


def test_an_index_is_listed_under_the_pair_of_a_contract(world: World) -> None:
    index = DATASETS["index_price"]
    series = Series(Market.CM, "index_price", index.directory("BTCUSD_PERP"), "1h")
    world.add(series, MONTH)
    (file,) = world.list_files(series, date(2024, 1, 1), date(2024, 1, 31))
    assert file.key == "data/futures/cm/monthly/indexPriceKlines/BTCUSD/1h/BTCUSD-1h-2024-01.zip"
    assert world.run(lambda vision: vision.list_symbols(Market.CM, index, "1h")) == ("BTCUSD",)


def test_neighbours_whose_name_begins_alike_are_not_mixed_in(world: World) -> None:
    for symbol, interval in (("BTCUSDT", "1h"), ("BTCUSDT", "1m"), ("BTCUSDT_240329", "1h"), ("BTCUSDTSETTLED", "1h")):
        world.add(Series(Market.UM, "klines", symbol, interval), MONTH)
    (file,) = world.list_files(SERIES, date(2024, 1, 1), date(2024, 1, 31))
    assert file.series == SERIES
    assert world.findings == []


def test_more_symbols_than_a_page_holds_are_all_found(world: World) -> None:
    names = [f"S{number:04d}USDT" for number in range(1100)]
    for name in names:
        folder = world.served / "data/futures/um/monthly/fundingRate" / name
        folder.mkdir(parents=True)
        (folder / "x").write_bytes(b"x")
    found = world.run(lambda vision: vision.list_symbols(Market.UM, DATASETS["funding_rate"], None))
    assert found == tuple(names)
    assert world.hits == {"?data/futures/um/monthly/fundingRate/": 2}


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"", b"<Error><Code>AccessDenied</Code></Error>"])
def test_a_listing_that_is_none_is_an_error_and_not_an_empty_history(world: World, body: bytes) -> None:
    world.add(SERIES, MONTH)
    with pytest.raises(RemoteError, match=r"the answer to http://127\.0\.0\.1:\d+/\?prefix=.* is no bucket listing"):
        world.run(
            lambda vision: vision.list_files(SERIES, Span.of_days(date(2024, 1, 1), date(2024, 1, 31))),
            on("?", garbage(body)),
        )


def test_a_listing_that_breaks_off_is_an_error(world: World) -> None:
    for period in days(date(2020, 1, 1), 20):
        world.add(SERIES, period)
    with pytest.raises(RemoteError, match="it is not XML"):
        world.run(
            lambda vision: vision.list_files(SERIES, Span.of_days(date(2020, 1, 1), date(2020, 1, 20))),
            on("?data/futures/um/daily", truncated(2000)),
        )


def test_a_listing_that_fails_is_asked_for_again_and_then_given_up(world: World) -> None:
    world.add(SERIES, MONTH)
    span = Span.of_days(date(2024, 1, 1), date(2024, 1, 31))
    files = world.run(lambda vision: vision.list_files(SERIES, span), on("?", status(500), times=2))
    assert isinstance(files, tuple)
    assert len(files) == 1
    assert world.hits["?data/futures/um/monthly/klines/BTCUSDT/1h/"] == 3
    with pytest.raises(ConnectionLost, match="answered 500"):
        world.run(lambda vision: vision.list_files(SERIES, span), on("?", status(500)))
    assert world.hits == {"?data/futures/um/monthly/klines/BTCUSDT/1h/": 5}


# proofs

CONTENT = b"what a proof is about, be it a zip or not; the same in every process, for it is in the names of tests"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "BTCUSDT-1h-2024-01.zip"


def md5(text: str | bytes) -> str:
    return hashlib.md5(text.encode() if isinstance(text, str) else text).hexdigest()


def as_listed(etag: str = md5(CONTENT), checksum_etag: str | None = md5(f"{SHA256}  {NAME}\n")) -> ArchiveFile:
    period = MONTH
    return ArchiveFile(SERIES, period, key_of(SERIES, period), len(CONTENT), etag, checksum_etag, "")


def put(world: World, checksum: str | None = None) -> None:
    world.add(SERIES, MONTH, CONTENT, checksum)


@pytest.mark.parametrize("end", ["", "\n"], ids=["older", "newer"])
def test_two_listed_md5s_prove_the_sha256_without_a_second_request(world: World, end: str) -> None:
    put(world)
    fetched = world.fetch(as_listed(checksum_etag=md5(f"{SHA256}  {NAME}{end}")))
    assert (fetched.proof, fetched.sha256) == (Proof.SHA256_BY_ETAG, SHA256)
    assert fetched.path == world.layout.raw(SERIES, MONTH)
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
    "text",
    [f"{SHA256}  {NAME}", f"{SHA256} *{NAME}\n", f"{SHA256.upper()}  {NAME}  \r\n", f"{SHA256}\t{NAME}\n"],
    ids=["no newline", "star", "upper case and carriage return", "tab"],
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
        (f"{SHA256[:63]}  {NAME}\n", "is not a checksum line"),
        (f"{SHA256}\n", "is not a checksum line"),
        (f"{SHA256}  {NAME}\n{SHA256}  {NAME}\n", "is not a checksum line"),
        (f"{SHA256}  other/{NAME}\n", f"other/{NAME}"),
    ],
    ids=["digest", "name", "html", "empty", "short", "no name", "two lines", "path"],
)
def test_a_checksum_that_disagrees_is_asked_for_thrice_and_the_bytes_are_set_apart(
    world: World, text: str, said: str
) -> None:
    put(world, text)
    with pytest.raises(Disputed) as caught:
        world.fetch(as_listed(checksum_etag=None))
    assert said in str(caught.value)
    assert world.hits[as_listed().key] == 1  # its MD5 is the listed one: these are the bytes
    assert world.hits[as_listed().key + ".CHECKSUM"] == 3
    (apart,) = world.layout.root.rglob("*.zip*")
    assert (apart.name, apart.read_bytes()) == (f"{NAME}.disputed", CONTENT)


def test_disputed_bytes_cost_one_small_request_later_until_the_source_agrees_with_itself(world: World) -> None:
    put(world, f"{'1' * 64}  {NAME}\n")
    for _ in range(2):
        with pytest.raises(Disputed):
            world.fetch(as_listed(checksum_etag=None))
    assert as_listed().key not in world.hits  # of the second attempt
    assert world.hits[as_listed().key + ".CHECKSUM"] == 1
    put(world)
    fetched = world.fetch(as_listed(checksum_etag=None))
    assert (fetched.proof, fetched.transferred) == (Proof.SHA256_BY_CHECKSUM, 0)
    assert [path.name for path in world.layout.root.rglob("*.zip*")] == [NAME]
    assert fetched.path.read_bytes() == CONTENT


def test_where_the_etag_is_no_md5_the_same_bytes_must_come_twice_to_be_disputed(world: World) -> None:
    put(world, f"{'1' * 64}  {NAME}\n")
    with pytest.raises(Disputed):
        world.fetch(as_listed(etag=f"{md5(CONTENT)}-2", checksum_etag=None))
    assert world.hits[as_listed().key] == 2


def test_a_file_under_its_final_name_is_taken_if_it_verifies_and_replaced_if_not(world: World) -> None:
    put(world)
    target = world.layout.raw(SERIES, MONTH)
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    fetched = world.fetch(as_listed())
    assert (fetched.proof, fetched.transferred, world.hits) == (Proof.SHA256_BY_ETAG, 0, {})
    target.write_bytes(CONTENT[::-1])
    assert world.fetch(as_listed()).transferred == len(CONTENT)
    assert target.read_bytes() == CONTENT


def test_without_a_checksum_the_listed_md5_must_agree(world: World) -> None:
    put(world)
    faults = on(".CHECKSUM", not_found())
    assert world.fetch(as_listed(checksum_etag=None), faults).proof is Proof.UNVERIFIED
    assert world.findings == []  # whoever knows what was known before says it
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


def test_a_digest_that_disagrees_is_told_with_both(world: World) -> None:
    put(world, f"{'1' * 64}  {NAME}\n")
    with pytest.raises(ChecksumMismatch) as caught:
        world.fetch(as_listed(checksum_etag=md5(f"{'1' * 64}  {NAME}\n")))
    assert (caught.value.expected, caught.value.actual) == ("1" * 64, SHA256)
    assert str(caught.value) == (
        f"{as_listed().key}: the exchange's SHA-256 is {'1' * 64}, ours is {SHA256}; "
        "the source lists just these bytes, so asking again will not help: "
        f"they are kept apart in {world.layout.raw(SERIES, MONTH)}.disputed"
    )


def test_a_checksum_of_another_file_is_told_with_its_name(world: World) -> None:
    put(world, f"{SHA256}  OTHER-1h-2024-01.zip\n")
    with pytest.raises(ChecksumMismatch) as caught:
        world.fetch(as_listed(checksum_etag=None))
    assert (caught.value.expected, caught.value.actual) == ("OTHER-1h-2024-01.zip", NAME)


def test_the_md5_of_another_name_s_checksum_proves_nothing(world: World) -> None:
    """The right digest with a wrong name in a listed sidecar is no proof by ETag; the text is asked for."""
    put(world)
    fetched = world.fetch(as_listed(checksum_etag=md5(f"{SHA256}  OTHER.zip\n")))
    assert fetched.proof is Proof.SHA256_BY_CHECKSUM


def test_a_republished_archive_is_believed_only_by_its_own_checksum(world: World) -> None:
    """Replaced since it was listed, with the same length: the stale ETags neither prove nor refuse the new bytes."""
    new = CONTENT[::-1]
    world.add(SERIES, MONTH, new)
    fetched = world.fetch(as_listed())
    assert (fetched.proof, fetched.path.read_bytes()) == (Proof.SHA256_BY_CHECKSUM, new)


def test_an_etag_of_the_answer_that_differs_from_the_listing_is_not_a_proof_nor_a_refusal(world: World) -> None:
    put(world)
    assert world.fetch(as_listed(), on(NAME, wrong_etag())).proof is Proof.SHA256_BY_CHECKSUM


def test_the_listed_md5s_settle_what_an_archive_is_worth_unless_it_was_corrupt(world: World) -> None:
    """Asking again about an archive that cannot be read means the source, not the listing that vouched for it."""
    put(world)
    faults = on(".CHECKSUM", not_found())
    assert world.fetch(as_listed(), faults).proof is Proof.SHA256_BY_ETAG
    assert world.hits == {as_listed().key: 1}
    again = Download(1, as_listed(), State.ACTIVE, owner=1, fault=State.CORRUPT)
    fetched = world.run(lambda vision: vision.download(again))
    assert isinstance(fetched, FetchedFile)
    assert (fetched.proof, fetched.transferred) == (Proof.SHA256_BY_CHECKSUM, 0)
    assert world.hits == {f"{as_listed().key}.CHECKSUM": 1}


def test_without_a_checksum_a_different_md5_is_told_with_both(world: World) -> None:
    put(world)
    with pytest.raises(ChecksumMismatch) as caught:
        world.fetch(as_listed(etag="0" * 32, checksum_etag=None), on(".CHECKSUM", not_found()))
    assert (caught.value.expected, caught.value.actual) == ("0" * 32, md5(CONTENT))
    assert list(world.layout.root.rglob("*.zip*")) == []


def test_a_checksum_that_cannot_be_had_now_is_not_a_missing_one(world: World) -> None:
    """A failing server must not turn a verified archive into an unverified one."""
    put(world)
    with pytest.raises(ConnectionLost):
        world.fetch(as_listed(checksum_etag=None), on(".CHECKSUM", status(500)))
    assert world.findings == []
    assert not world.layout.raw(SERIES, MONTH).exists()
    assert world.fetch(as_listed(checksum_etag=None), on(".CHECKSUM", status(500), times=2)).proof is (
        Proof.SHA256_BY_CHECKSUM
    )


def test_a_page_instead_of_a_checksum_is_not_read_to_its_end(world: World) -> None:
    put(world)
    with pytest.raises(RemoteError, match="the answer is longer than 4096 bytes"):
        world.fetch(as_listed(checksum_etag=None), on(".CHECKSUM", garbage(b"<html>" * 1000)))


def test_a_foreign_symbol_is_fetched_under_its_own_name(world: World) -> None:
    series = Series(Market.UM, "klines", "币安人生USDT", "1h")
    world.add(series, Period.month(2025, 11), CONTENT)
    (file,) = world.list_files(series, date(2025, 11, 1), date(2025, 11, 30))
    fetched = world.fetch(file)
    assert fetched.proof is Proof.SHA256_BY_ETAG
    assert fetched.path == world.layout.root / "raw/um/klines/币安人生USDT/1h/币安人生USDT-1h-2025-11.zip"
    assert fetched.path.read_bytes() == CONTENT
