"""The sample server at a moment: what was published by then, what the listing knows of it, and what came later."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.sample.bucket import Bucket, ListingQuery
from core.sample.server import ArchiveServer, running_server

SECOND = 1_000_000


def put(path: Path, content: bytes, at: int) -> None:
    """A file that was published `at` so many seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (at, at))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "data/a/1.zip", b"one", 100)
    put(tmp_path / "data/a/2.zip", b"two, corrected", 500)
    put(tmp_path / "data/a/.2.zip@200", b"two", 200)
    put(tmp_path / "data/b/3.zip", b"three", 300)
    return tmp_path


class Clock:
    """A clock that is set."""

    def __init__(self, seconds: int) -> None:
        self.now_us = seconds * SECOND

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def served(folder: Path) -> Iterator[tuple[Clock, ArchiveServer, httpx.Client]]:
    clock = Clock(0)
    with (
        running_server(folder, clock=clock) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        yield clock, server, client


def keys(bucket: Bucket, delimiter: str = "", prefix: str = "data/") -> list[str]:
    page = bucket.page(ListingQuery(prefix, delimiter))
    return [*page.prefixes, *(each.key for each in page.objects)]


@pytest.mark.parametrize(
    ("second", "flat", "rolled"),
    [
        (99, [], []),
        (100, ["data/a/1.zip"], ["data/a/"]),
        (299, ["data/a/1.zip", "data/a/2.zip"], ["data/a/"]),
        (300, ["data/a/1.zip", "data/a/2.zip", "data/b/3.zip"], ["data/a/", "data/b/"]),
    ],
)
def test_the_listing_is_that_of_the_moment(folder: Path, second: int, flat: list[str], rolled: list[str]) -> None:
    bucket = Bucket(folder, Clock(second))
    assert (keys(bucket), keys(bucket, "/")) == (flat, rolled)


def test_an_object_is_404_until_it_is_published_and_changes_when_it_is_replaced(
    served: tuple[Clock, ArchiveServer, httpx.Client],
) -> None:
    clock, _, client = served
    seen = []
    for second in (199, 200, 499, 500):
        clock.now_us = second * SECOND
        answer = client.get("/data/a/2.zip")
        seen.append((answer.status_code, answer.content if answer.status_code == 200 else b""))
    assert seen == [(404, b""), (200, b"two"), (200, b"two"), (200, b"two, corrected")]
    assert answer.headers["Last-Modified"] == "Thu, 01 Jan 1970 00:08:20 GMT"
    clock.now_us = 499 * SECOND
    before = client.get("/data/a/2.zip").headers
    assert before["ETag"] != answer.headers["ETag"]
    assert before["Last-Modified"] == "Thu, 01 Jan 1970 00:03:20 GMT"
    assert before["ETag"] in client.get("/", params={"prefix": "data/a/2"}).text.replace("&quot;", '"')


def test_an_earlier_version_is_no_key_of_its_own(served: tuple[Clock, ArchiveServer, httpx.Client]) -> None:
    clock, _, client = served
    clock.now_us = 10**9 * SECOND
    assert client.get("/data/a/.2.zip@200").status_code == 404
    assert "@" not in client.get("/").text


def test_a_stale_listing_lacks_what_is_served(served: tuple[Clock, ArchiveServer, httpx.Client]) -> None:
    clock, server, client = served
    clock.now_us, server.bucket.listing_until_us = 600 * SECOND, 250 * SECOND
    assert keys(server.bucket) == ["data/a/1.zip", "data/a/2.zip"]
    assert server.bucket.page(ListingQuery("data/a/2")).objects[0].size == len(b"two")  # as it was then
    assert client.get("/data/b/3.zip").content == b"three"
    assert client.get("/data/a/2.zip").content == b"two, corrected"
    server.bucket.listing_until_us = None
    assert keys(server.bucket) == ["data/a/1.zip", "data/a/2.zip", "data/b/3.zip"]


def test_without_a_clock_everything_is_published(folder: Path) -> None:
    bucket = Bucket(folder)
    assert keys(bucket) == ["data/a/1.zip", "data/a/2.zip", "data/b/3.zip"]
    found = bucket.find("data/a/2.zip")
    assert found is not None
    assert found.size == len(b"two, corrected")


def test_a_folder_that_rested_is_looked_at_once_and_again_when_a_file_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scanned.append(str(path)) or scandir(path))
    for name in ("data/a", "data/b", "data", "."):
        os.utime(folder / name, (1000, 1000))
    clock = Clock(250)
    bucket = Bucket(folder, clock)
    for second in range(250, 600):
        clock.now_us = second * SECOND
        assert len(keys(bucket)) == 2 + (second >= 300)
        assert (bucket.find("data/b/3.zip") is not None) == (second >= 300)
    assert max(scanned.count(name) for name in scanned) <= 2  # names and times, once each
    put(folder / "data/a/.new.tmp", b"two, again", 550)
    (folder / "data/a/.new.tmp").replace(folder / "data/a/2.zip")
    found = bucket.find("data/a/2.zip")
    assert found is not None
    assert found.size == len(b"two, again")


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 50), min_size=1), st.integers(0, 55), st.integers(1, 4)
)
def test_pages_at_a_moment_are_the_sorted_names_published_by_then(
    tmp_path_factory: pytest.TempPathFactory, published: dict[str, int], now: int, size: int
) -> None:
    folder = tmp_path_factory.mktemp("bucket")
    for name, second in published.items():
        put(folder / name, b"x", second)
    bucket, found, marker = Bucket(folder, Clock(now)), [], ""
    while True:
        page = bucket.page(ListingQuery(marker=marker, max_keys=size))
        found += [each.key for each in page.objects]
        if not page.is_truncated:
            break
        marker = page.last
    assert found == sorted(name for name, second in published.items() if second <= now)
