"""One URL to one verified file, against a server that resets, cuts, lies, throttles and replaces."""

import asyncio
import hashlib
import os
import subprocess
import sys
import textwrap
import time
import tomllib
from pathlib import Path

import pytest
from download_world import BODY, OTHER, QUICK, World, expecting
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.download.limits import RateLimit, backoff_seconds, parse_retry_after
from core.download.smart import Fetched, SmartDownloader
from core.download.transport import open_transport
from core.errors import (
    ChecksumMismatch,
    ConfigError,
    ConnectionLost,
    MarketDataError,
    NotPublished,
    RemoteError,
    SourceDown,
    Throttled,
)
from core.events import FileRetrying, FileStarted
from core.sample.faults import (
    Fault,
    RequestInfo,
    cut,
    first_of,
    flip,
    ignore_range,
    on,
    replaced,
    reset,
    shifted,
    stall,
    status,
)
from core.sample.http import Reply, Request
from core.sample.server import ArchiveServer
from core.settings import DownloadSettings
from core.types import Proof


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_whole_file_arrives_verified_under_its_name(world: World) -> None:
    fetched = world.fetch()
    assert world.is_right
    assert fetched == Fetched(
        world.target,
        len(BODY),
        hashlib.sha256(BODY).hexdigest(),
        Proof.SHA256_BY_CHECKSUM,
        len(BODY),
        hashlib.md5(BODY).hexdigest(),
    )
    assert (world.hits, world.ranges) == (1, [None])


@given(offset=st.integers(1, len(BODY) - 1))
@hypothesis_settings(max_examples=25, deadline=None)
def test_a_part_is_continued_from_any_byte(tmp_path_factory: pytest.TempPathFactory, offset: int) -> None:
    world = World(tmp_path_factory.mktemp("resume"))
    world.leave_part(BODY[:offset])
    fetched = world.fetch()
    assert world.is_right
    assert world.ranges == [f"bytes={offset}-"]
    assert fetched.transferred == world.sent == len(BODY) - offset


def test_every_request_says_who_asks_and_wants_the_bytes_as_they_are(world: World) -> None:
    async def run() -> list[tuple[str, str]]:
        async with ArchiveServer(world.served) as server, open_transport(8) as transport:
            await SmartDownloader(transport, QUICK).read(f"{server.url}/file.zip", 1 << 30, "file.zip")
            world.leave_part(BODY[:100])
            url = f"{server.url}/file.zip"
            await SmartDownloader(transport, QUICK).fetch(url, world.target, expecting(BODY), "file.zip")
            return [(each.headers["user-agent"], each.headers["accept-encoding"]) for each in server.requests]

    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    assert asyncio.run(run()) == [(f"tapevault/{project['version']}", "identity")] * 2


def test_an_empty_object_is_an_empty_file(tmp_path: Path) -> None:
    world = World(tmp_path, body=b"")
    fetched = world.fetch(expected=expecting(b""))
    assert (fetched.size, world.target.read_bytes(), world.part.exists()) == (0, b"", False)


def test_a_complete_part_needs_no_request(world: World) -> None:
    world.leave_part(BODY)
    assert world.fetch().transferred == 0
    assert (world.is_right, world.hits) == (True, 0)


def test_a_part_longer_than_the_object_is_thrown_away(world: World) -> None:
    world.leave_part(BODY + b"more")
    world.fetch()
    assert (world.is_right, world.ranges) == (True, [None])


def test_a_part_of_another_object_is_caught_by_the_digest_and_started_over(world: World) -> None:
    world.leave_part(OTHER[:1000])
    world.fetch()
    assert (world.is_right, world.ranges) == (True, ["bytes=1000-", None])


def test_a_part_is_not_continued_when_the_object_has_another_etag(world: World) -> None:
    world.leave_part(BODY[:1000])
    world.fetch(expected=expecting(BODY, etag="f" * 32))
    assert (world.is_right, world.ranges) == (True, ["bytes=1000-"])
    assert world.sent == len(BODY)  # If-Range disagreed, so the answer was 200 and the whole


@pytest.mark.parametrize(
    ("name", "fault", "requests"),
    [
        ("reset in mid-body", reset(200_000), 2),
        ("cut in mid-body", cut(200_000), 2),
        ("cut at once", cut(0), 2),
        ("503", status(503), 2),
        ("429", status(429, retry_after=0), 2),
        ("500", status(500), 2),
        ("403, an outage of the archive", status(403), 2),
        ("one wrong byte", flip(300_000), 2),
    ],
)
def test_one_fault_is_survived(world: World, name: str, fault, requests: int) -> None:  # type: ignore[no-untyped-def]
    world.fetch(on("file.zip", fault, times=1))
    assert world.is_right, name
    assert world.hits == requests
    assert len([event for event in world.events if isinstance(event, FileRetrying)]) == requests - 1


def test_after_a_cut_only_the_rest_is_asked_for(world: World) -> None:
    world.fetch(on("file.zip", cut(200_000), times=1))
    assert world.ranges == [None, "bytes=200000-"]
    assert [event.offset for event in world.events if isinstance(event, FileStarted)] == [0, 200_000]


def test_a_stalled_answer_is_given_up_after_the_timeout(world: World) -> None:
    settings = DownloadSettings(timeout_seconds=0.3, backoff_seconds=0.001, max_attempts=3)
    world.fetch(on("file.zip", stall(150_000), times=1), settings=settings)
    assert world.is_right
    assert world.ranges == [None, "bytes=150000-"]


def test_a_range_answered_with_the_whole_body_starts_over(world: World) -> None:
    world.leave_part(BODY[:5000])
    world.fetch(on("file.zip", ignore_range()))
    assert (world.is_right, world.ranges) == (True, ["bytes=5000-"])


@pytest.mark.parametrize("by", [-10, 10])
def test_a_shifted_range_is_not_appended(world: World, by: int) -> None:
    world.leave_part(BODY[:5000])
    world.fetch(on("file.zip", shifted(by), times=1))
    assert (world.is_right, world.ranges) == (True, ["bytes=5000-", None])


def test_an_object_replaced_between_part_and_rest_is_started_over(world: World) -> None:
    faults = first_of(on("file.zip", cut(100_000), times=1), on("file.zip", replaced(OTHER), after=1))
    world.fetch(faults, expected=expecting(OTHER, etag=hashlib.md5(BODY).hexdigest()))
    assert world.target.read_bytes() == OTHER


def test_a_digest_that_never_agrees_fails_with_both_digests_and_leaves_nothing(world: World) -> None:
    with pytest.raises(ChecksumMismatch) as caught:
        world.fetch(on("file.zip", flip(7)))
    assert caught.value.expected == hashlib.sha256(BODY).hexdigest()
    damaged = BODY[:7] + bytes([BODY[7] ^ 0xFF]) + BODY[8:]
    assert caught.value.actual == hashlib.sha256(damaged).hexdigest()
    assert world.hits == 3
    assert not world.target.exists()
    assert not world.part.exists()


def test_not_found_is_final_and_not_retried(world: World) -> None:
    with pytest.raises(NotPublished, match=r"file\.zip: .* has no such object"):
        world.fetch(on("file.zip", status(404)))
    assert world.hits == 1


def test_attempts_are_counted_since_the_last_progress(world: World) -> None:
    """Ten cuts with 30 kB between them are more than three attempts, but each one got further."""
    world.fetch(on("file.zip", cut(30_000), times=10))
    assert world.is_right
    assert world.hits == 11
    assert world.sent == len(BODY)


def test_what_a_broken_off_answer_brought_is_on_disk_before_the_next_attempt(world: World) -> None:
    seen: list[int] = []

    def look(request: RequestInfo) -> Fault | None:
        seen.append(world.part.stat().st_size if world.part.exists() else 0)
        return cut(30_000) if request.number == 1 else None

    world.fetch(look)
    assert seen == [0, 30_000]


def test_a_part_that_another_run_left_meanwhile_is_continued(world: World) -> None:
    """What a folder held is remembered, but not for files of which a part is worth something."""
    (world.served / "other.zip").write_bytes(b"small")

    async def run() -> None:
        async with ArchiveServer(world.served) as server, open_transport(8) as transport:
            smart = SmartDownloader(transport, QUICK)
            other = world.target.with_name("other.zip")
            await smart.fetch(f"{server.url}/other.zip", other, expecting(b"small"), "other.zip")
            world.leave_part(BODY[:300_000])  # a run that died
            await smart.fetch(f"{server.url}/file.zip", world.target, expecting(BODY), "file.zip")
            assert server.body_bytes["file.zip"] == len(BODY) - 300_000

    asyncio.run(run())
    assert world.is_right


def test_without_progress_the_attempts_end_and_the_part_stays(world: World) -> None:
    faults = first_of(on("file.zip", cut(30_000), times=1), on("file.zip", status(503)))
    with pytest.raises(Throttled, match="503"):
        world.fetch(faults)
    assert world.hits == 3  # the one that got further counts as the first
    assert world.part.read_bytes() == BODY[:30_000]


def test_retry_after_is_obeyed(world: World) -> None:
    began = time.monotonic()
    world.fetch(on("file.zip", status(429, retry_after=1), times=1))
    assert time.monotonic() - began >= 1
    (retry,) = [event for event in world.events if isinstance(event, FileRetrying)]
    assert retry.wait_seconds == 1


def test_a_source_that_asks_for_hours_is_left_alone(world: World) -> None:
    with pytest.raises(SourceDown, match=r"left alone for 24\.0 hours"):
        world.fetch(on("file.zip", status(418, retry_after=86_400)))
    assert world.hits == 1


def read(url: str, max_bytes: int = 1000) -> bytes:
    async def run() -> bytes:
        async with open_transport(8) as transport:
            return await SmartDownloader(transport, QUICK).read(url, max_bytes, "page")

    return asyncio.run(run())


def test_a_source_that_does_not_answer_is_named() -> None:
    with pytest.raises(ConnectionLost, match=r"connection to 127\.0\.0\.1:1 failed"):
        read("http://127.0.0.1:1/x")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "http://[::1/x", "nonsense"])
def test_a_url_that_is_none_is_a_mistake_of_the_user(url: str) -> None:
    with pytest.raises(ConfigError, match=r"URL|cannot use"):
        read(url)


def test_an_answer_longer_than_allowed_is_refused(world: World) -> None:
    async def run() -> None:
        async with ArchiveServer(world.served) as server, open_transport(8) as transport:
            await SmartDownloader(transport, QUICK).read(f"{server.url}/file.zip", 1000, "page")

    with pytest.raises(RemoteError, match="longer than 1000 bytes"):
        asyncio.run(run())


def fetch_moved(world: World, location: str) -> Fetched:
    async def run() -> Fetched:
        async with ArchiveServer(world.served) as server, open_transport(8) as transport:

            async def moved(_: Request) -> Reply:
                return Reply.of(302, b"", {"Location": location.replace("HERE", server.url)})

            server.routes["/moved.zip"] = moved
            smart = SmartDownloader(transport, QUICK)
            return await smart.fetch(f"{server.url}/moved.zip", world.target, expecting(BODY), "moved.zip")

    return asyncio.run(run())


@pytest.mark.parametrize("location", ["/file.zip", "file.zip", "HERE/file.zip"])
def test_a_redirect_within_the_host_is_followed(world: World, location: str) -> None:
    fetch_moved(world, location)
    assert world.is_right


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://127.0.0.1:1/file.zip", "redirects to 'http://127.0.0.1:1/file.zip'; only the same host is followed"),
        ("//example.invalid/file.zip", "only the same host"),
        ("", "redirects to"),
        ("http://[::1/", "which is no URL"),
        ("/moved.zip", "redirects in circles"),
    ],
)
def test_a_redirect_elsewhere_or_in_circles_is_refused(world: World, location: str, said: str) -> None:
    with pytest.raises(RemoteError) as caught:
        fetch_moved(world, location)
    assert said in str(caught.value)
    assert not world.target.exists()


FULL_DISK = """
    import asyncio, resource, sys
    from pathlib import Path
    sys.path.insert(0, "tests/core")
    from download_world import World
    from core.errors import DiskFull
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    world = World.__new__(World)
    world.served, world.target = Path(sys.argv[1]) / "served", Path(sys.argv[1]) / "here" / "file.zip"
    world.events = []
    try:
        world.fetch()
    except DiskFull as error:
        print(error)
        sys.exit(7)
"""


def test_a_full_disk_is_said_and_nothing_gets_the_final_name(world: World) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(world.served.parent)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 7, done.stderr
    assert "no room left for" in done.stdout
    assert not world.target.exists()


def test_the_rate_limit_holds_over_all_takers() -> None:
    async def take_all() -> float:
        limit = RateLimit(100_000)
        began = time.monotonic()
        await asyncio.gather(*(limit.take(5000) for _ in range(5)))
        return time.monotonic() - began

    assert asyncio.run(take_all()) >= 0.19  # the first takes at once, each other waits for those before it


def test_waits_double_with_jitter_up_to_the_cap_and_never_undercut_the_source() -> None:
    settings = DownloadSettings(backoff_seconds=1.0, backoff_cap_seconds=6.0)
    for failures, longest in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0), (60, 6.0)]:
        assert longest / 2 <= backoff_seconds(failures, settings, None) <= longest
    assert backoff_seconds(1, settings, 17.0) == 17.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Fri, 01 Mar 2024 00:00:10 GMT", 10.0),
        ("Fri, 01 Mar 2024 00:00:00 GMT", 0.0),
        ("soon", None),
        ("²", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, now=1709251200.0) == seconds


def test_every_error_of_a_fetch_is_one_of_ours() -> None:
    assert issubclass(ChecksumMismatch, MarketDataError)
    assert issubclass(ConnectionLost, MarketDataError)
