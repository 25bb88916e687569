"""`SmartDownloader`: one URL to one verified file, resumed from the exact byte.

Knows HTTP and files, not the exchange and not the database. The rules, each learnt from somebody's corrupted file:
the answer to a range request is not always that range, so `Content-Range` is believed and not the status; on a whole
answer we start over; a digest that disagrees discards the part; nothing gets its final name before it is verified.
Retries live here and nowhere else: a failure is counted since the last progress, and a progress is a new longest part.
"""

import asyncio
import functools
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import httpx

from core.download.limits import LONGEST_WAIT_SECONDS, Hold, RateLimit, backoff_seconds
from core.download.pace import Pace
from core.download.part import SMALL_BYTES, PartFile, Presence, digest_of
from core.download.publish import Proves, Publisher
from core.download.segments import Segment, Segments, even_step, leftovers
from core.download.web import Answer, Manner, Web
from core.errors import (
    ChecksumMismatch,
    ConnectionLost,
    Disputed,
    MarketDataError,
    RemoteError,
    SourceDown,
    Throttled,
    storage_error,
)
from core.events import Emit, FileProgressed, FileRetrying, FileStarted
from core.settings import DownloadSettings
from core.types import Proof

MAX_MISMATCHES: Final = 3
"""Whole bodies fetched before a digest that never agrees is final."""
MAX_REFUSED: Final = 3
"""Ranges of one object answered with the whole of it, one after another, before the source is taken to have none."""
_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
APART: Final = ".disputed"
_PLAIN_MD5: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Digests:
    """Of a whole file. `sha256` is lower-case hex; `md5()` gives the MD5, computed only where somebody asks for it."""

    size: int
    sha256: str
    md5: Callable[[], Awaitable[str]]


Verify = Callable[[Digests], Awaitable[Proof]]
"""Says what vouches for the bytes, or raises ChecksumMismatch."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known before asking: `size` in bytes, `etag` unquoted (goes into If-Range), and how to verify.

    `proves` says of a SHA-256 whether what is known vouches for it; where it cannot, `verify` is asked, which may take
    requests.
    """

    size: int | None
    etag: str | None
    verify: Verify
    proves: Proves = lambda _: None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A verified file under its final name; `transferred` body bytes came over the network for it. `etag` is the
    expected one, or that of another version which the source has answered with and whose own checksum agrees."""

    path: Path
    size: int
    sha256: str
    proof: Proof
    transferred: int
    etag: str | None


T = TypeVar("T")


class SmartDownloader:
    """Fetches and reads URLs through `transport`; `emit` hears of starts, progress and retries.

    `adopts`: a file that already lies under its final name is verified and taken, and not fetched again. `sleep` waits
    between attempts, so many seconds. While `hold` holds, nothing is asked for, and bodies under way are not read on;
    what their senders cut off meanwhile is asked for again from the exact byte.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        settings: DownloadSettings,
        emit: Emit = lambda _: None,
        adopts: bool = True,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.hold = Hold()
        self._web = Web(transport, settings, emit, self.hold)
        self._settings = settings
        self._emit = emit
        self._adopts = adopts
        self._sleep = sleep
        self._limit = RateLimit(settings.limit_rate_bytes)
        self._publisher = Publisher()
        self._presence = Presence()

    def paces(self) -> dict[str, Pace]:
        """The hosts that were asked so far, by name, each with its pace."""
        return self._web.paces()

    async def read(self, url: str, max_bytes: int, label: str, manner: Manner | None = None) -> bytes:
        """A small object. Raises NotPublished, RemoteError, SourceDown; ConnectionLost or Throttled in the end; with a
        manner, what that makes of them."""

        async def attempt() -> bytes:
            answer = await self._web.get(url, label, manner=manner)
            try:
                body = bytearray()
                async for data in answer.chunks():
                    await self._limit.take(len(data))
                    body += data
                    if len(body) > max_bytes:
                        raise RemoteError(
                            f"{label}: the answer is longer than {max_bytes} bytes; is {url} the right one?"
                        )
                return bytes(body)
            finally:
                await answer.close()

        return await self._persist(attempt, url, label)

    async def fetch(self, url: str, target: Path, expected: Expected, label: str) -> Fetched:
        """The verified body of `url` under `target`; what an earlier attempt left in `<target>.part` is continued.

        Raises NotPublished (404), ChecksumMismatch after three bodies that were damaged on their way, Disputed when the
        bytes are as listed and the source's own checksum is against them three times (they are kept as
        `<target>.disputed`), RemoteError, SourceDown, StorageError; ConnectionLost or Throttled after the last attempt
        without progress, and then the part stays for the next run.
        """
        presence = self._presence if (expected.size or SMALL_BYTES) < SMALL_BYTES else None
        transfer = _Transfer(url, label, expected, PartFile(target, presence))
        if self._adopts and (adopted := await self.adopt(target, expected)) is not None:
            return adopted
        try:
            return await self._fetched(transfer)
        finally:
            transfer.part.flush()

    async def _fetched(self, transfer: "_Transfer") -> Fetched:
        part = transfer.part
        mismatches = 0
        while True:
            try:
                await self._persist(lambda: self._attempt(transfer), transfer.url, transfer.label, lambda: part.size)
                return await self._finish(transfer)
            except _GivenUp as given_up:
                raise given_up.error from given_up.error.__cause__
            except ChecksumMismatch as error:
                mismatches += 1
                if not await _is_what_is_listed(transfer):
                    part.discard()  # damaged on its way
                elif mismatches >= MAX_MISMATCHES:
                    raise await self._set_apart(transfer, error) from error
                await self._wait_or_raise(error, mismatches, transfer.url, transfer.label, MAX_MISMATCHES)

    async def _persist(
        self, attempt: Callable[[], Awaitable[T]], url: str, label: str, progress: Callable[[], int] = lambda: 0
    ) -> T:
        """`attempt` until it succeeds, or has failed too often since the last progress."""
        failures = longest = 0
        while True:
            try:
                return await attempt()
            except ChecksumMismatch:
                raise
            except MarketDataError as error:
                here = progress()
                failures = 1 if here > longest else failures + 1
                longest = max(longest, here)
                await self._wait_or_raise(error, failures, url, label)

    async def _wait_or_raise(
        self, error: MarketDataError, failures: int, url: str, label: str, most: int | None = None
    ) -> None:
        if not error.retryable:
            raise error
        retry_after = error.retry_after if isinstance(error, Throttled) else None
        if retry_after is not None and retry_after > LONGEST_WAIT_SECONDS:
            raise SourceDown(
                f"the source wants to be left alone for {retry_after / 3600:.1f} hours ({error}); all that is here is "
                "kept, run the same command again after that"
            ) from error
        if failures >= (most or self._settings.max_attempts):
            if isinstance(error, RemoteError) and self._web.pace_of(url).is_dead:
                raise SourceDown(
                    f"the source does not answer any more ({error}); all that is here is kept, "
                    "run the same command again when it does"
                ) from error
            raise error
        wait = backoff_seconds(failures, self._settings, retry_after)
        self._emit(FileRetrying(label, str(error), failures, wait))
        await self._sleep(wait)

    async def _attempt(self, transfer: "_Transfer") -> None:
        try:
            await self._receive(transfer)
        except RemoteError:
            transfer.part.flush()  # the next attempt may be minutes away
            raise

    async def _receive(self, transfer: "_Transfer") -> None:
        """One request that brings the part to its full length."""
        part, expected = transfer.part, transfer.expected
        offset = await part.reopen()
        if self._splits(transfer) and offset <= (expected.size or 0):
            return await self._receive_ranges(transfer)
        if offset and (
            expected.etag is None or transfer.whole or (expected.size is not None and offset > expected.size)
        ):
            part.discard()  # what we hold cannot be continued safely
            offset = 0
        self._emit(FileStarted(transfer.label, expected.size or 0, offset))
        if expected.size and offset == expected.size:
            return None
        headers = {"Range": f"bytes={offset}-", "If-Range": f'"{expected.etag}"'} if offset else None
        answer = await self._web.get(transfer.url, transfer.label, headers)
        try:
            declared = _place_body(answer, transfer)
            total = expected.size if declared is None else declared
            if answer.status != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                await self._receive_body(answer, transfer, total)
            _expect_length(transfer, total)
        finally:
            await answer.close()

    async def _receive_body(self, answer: Answer, transfer: "_Transfer", total: int | None) -> None:
        part = transfer.part
        async for data in answer.chunks():
            if self._limit.bytes_per_second is not None:
                await self._limit.take(len(data))
            await part.write(data)
            transfer.transferred += len(data)
            if total != part.size:
                self._emit(FileProgressed(transfer.label, part.size))
                if total is not None and part.size > total:
                    return
                if self.hold.is_held:
                    await self.hold.passed()

    async def _finish(self, transfer: "_Transfer") -> Fetched:
        part, size = transfer.part, transfer.part.size
        sha256, proof = await part.prove(self._publisher, functools.partial(_proved_by, transfer))
        if proof is None:
            transfer.bodies.append(sha256)
            proof = await transfer.expected.verify(Digests(size, sha256, part.md5))
            await part.publish(self._publisher)
        return Fetched(part.target, size, sha256, proof, transfer.transferred, _version_of(transfer))

    # several connections for one file

    def _splits(self, transfer: "_Transfer") -> bool:
        """Whether a file is large, and there are connections to spare for it or pieces of it here already."""
        expected, settings = transfer.expected, self._settings
        least = min(SMALL_BYTES, 2 * settings.range_bytes)  # not a look at the folder for every small file
        if expected.size is None or expected.size < least or expected.etag is None or transfer.serial:
            return False
        if any(leftovers(transfer.part)):
            return True
        if expected.size < 2 * settings.range_bytes or settings.ranges == 1:
            return False
        return self._web.pace_of(transfer.url).spare > 1

    async def _receive_ranges(self, transfer: "_Transfer") -> None:
        """Bring the part to its full length over as many connections as the host has to spare."""
        part, size = transfer.part, transfer.expected.size
        assert size is not None
        step = even_step(size, self._settings.range_bytes, self._settings.ranges)
        segments = Segments(part, size, step)
        self._emit(FileStarted(transfer.label, size, segments.bytes_done))
        try:
            async with asyncio.TaskGroup() as group:
                merging = group.create_task(segments.merge_all())
                lanes = [group.create_task(self._work_lane(transfer, segments))]
                while len(lanes) < self._settings.ranges and self._web.pace_of(transfer.url).spare > len(lanes):
                    lanes.append(group.create_task(self._work_lane(transfer, segments)))
                await asyncio.gather(*lanes)
                if transfer.serial:
                    merging.cancel()
        except* MarketDataError as errors:
            error = errors.exceptions[0]
            assert isinstance(error, MarketDataError)
            raise _GivenUp(error) from None
        finally:
            segments.close()
        if transfer.serial:
            for path in leftovers(part):
                path.unlink(missing_ok=True)
            raise ConnectionLost(f"{transfer.label}: no ranges from the source; asking for it in one piece")

    async def _work_lane(self, transfer: "_Transfer", segments: Segments) -> None:
        while not transfer.serial and (segment := segments.take()) is not None:
            await self._have_segment(transfer, segments, segment)
            segments.note_progress()

    async def _have_segment(self, transfer: "_Transfer", segments: Segments, segment: Segment) -> None:
        """One piece to its end, however many requests that takes."""

        async def receive() -> None:
            await self._receive_segment(transfer, segments, segment)

        await self._persist(receive, transfer.url, transfer.label, lambda: segment.size)

    async def _receive_segment(self, transfer: "_Transfer", segments: Segments, segment: Segment) -> None:
        start = segment.start + segment.size
        headers = {"Range": f"bytes={start}-{segment.stop - 1}", "If-Range": f'"{transfer.expected.etag}"'}
        answer = await self._web.get(transfer.url, transfer.label, headers)
        try:
            is_range = answer.status == httpx.codes.PARTIAL_CONTENT
            transfer.refused = 0 if is_range else transfer.refused + 1
            if answer.etag not in (transfer.expected.etag, None) or transfer.refused >= MAX_REFUSED:
                transfer.serial = True  # replaced, or no ranges here: one connection finds out which
                return
            if not is_range:
                raise ConnectionLost(f"{transfer.label}: asked for a range, got the whole object")
            if _content_range(answer) != (start, transfer.expected.size):
                raise ConnectionLost(f"{transfer.label}: asked for bytes from {start}, got others")
            async for data in answer.chunks():
                if self._limit.bytes_per_second is not None:
                    await self._limit.take(len(data))
                segment.write(data[: segment.stop - segment.start - segment.size])
                transfer.transferred += len(data)
                self._emit(FileProgressed(transfer.label, segments.bytes_done))
                if segment.is_complete:
                    break
                if self.hold.is_held:
                    await self.hold.passed()
        finally:
            await answer.close()
        if not segment.is_complete:
            raise ConnectionLost(f"{transfer.label}: the answer ended {segment.size} bytes into a range")

    # what lies here already

    async def adopt(self, target: Path, expected: Expected) -> Fetched | None:
        """The file that lies under its final name, or apart as disputed, if it verifies now; no byte is fetched.

        Raises Disputed for bytes that the source lists and whose checksum still contradicts them.
        """
        if expected.size is None:
            return None
        for name in (target, f"{target}{APART}"):
            if expected.size < SMALL_BYTES and not self._presence.may_exist(name):
                continue
            if _size_of(path := Path(name)) != expected.size:
                continue
            sha256 = await asyncio.to_thread(digest_of, path)
            digests = Digests(expected.size, sha256, functools.partial(asyncio.to_thread, digest_of, path, "md5"))
            if not await _is_listed(digests, expected):
                continue  # an older version, whatever a checksum says that may be as old
            try:
                proof = expected.proves(sha256) or await expected.verify(digests)
            except ChecksumMismatch as error:
                if path != target:
                    raise _disputed(error, path, sha256) from error
                continue
            if path != target:
                await self._publisher.publish(os.open(path, os.O_RDONLY), expected.size, path, target)
            return Fetched(target, expected.size, sha256, proof, 0, expected.etag)
        return None

    async def _set_apart(self, transfer: "_Transfer", error: ChecksumMismatch) -> Disputed:
        """Keep bytes that the source lists and contradicts: asking for them again would bring the same."""
        apart = apart_of(transfer.part.target)
        await transfer.part.publish(self._publisher, apart)
        return _disputed(error, apart, transfer.bodies[-1])


class _GivenUp(Exception):
    """A piece could not be had, after all the attempts that there are: the file is not tried as a whole again."""

    def __init__(self, error: MarketDataError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class _Transfer:
    """One fetch over all its attempts. `whole`: ask without a range next time; `serial`: over one connection; `refused`
    ranges since the last one that came; `etag`: of the last answer; `bodies`: the digests of whole bodies so far."""

    url: str
    label: str
    expected: Expected
    part: PartFile
    whole: bool = False
    serial: bool = False
    refused: int = 0
    transferred: int = 0
    etag: str | None = None
    bodies: list[str] = field(default_factory=list)


def apart_of(target: Path) -> Path:
    """Where bytes are kept that the source's own checksum contradicts."""
    return Path(f"{target}{APART}")


def unfinished(target: Path) -> Iterator[Path]:
    """Everything but the verified file that may lie there for a target."""
    part = PartFile(target)
    yield part.path
    yield apart_of(target)
    yield from leftovers(part)


def _place_body(answer: Answer, transfer: _Transfer) -> int | None:
    """Make the part ready for the body that follows; returns the object's full length if the answer says it."""
    part = transfer.part
    transfer.etag = answer.etag
    if answer.status == httpx.codes.PARTIAL_CONTENT:
        start, total = _content_range(answer)
        if start != part.size or total is None:
            transfer.whole = True
            raise ConnectionLost(
                f"{transfer.label}: asked for bytes from {part.size}, got from {start}; asking for the whole file"
            )
        return total
    if answer.status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        _, total = _content_range(answer)
        if total == part.size:
            return total
        part.discard()
        raise ConnectionLost(f"{transfer.label}: the part is longer than the object ({total} bytes); starting over")
    if part.size:
        part.discard()
    return answer.length


def _expect_length(transfer: _Transfer, total: int | None) -> None:
    size = transfer.part.size
    if total is None or size == total:
        return
    if size < total:
        raise ConnectionLost(f"{transfer.label}: the answer ended after {size} of {total} bytes")
    raise ChecksumMismatch(f"{transfer.label}: more than the announced {total} bytes came", str(total), str(size))


def _content_range(answer: Answer) -> tuple[int | None, int | None]:
    """First byte and total length of `Content-Range`, None where it does not say."""
    match = _CONTENT_RANGE.fullmatch(answer.header("Content-Range") or "")
    if match is None:
        return None, None
    start, _, total = match.groups()
    return (int(start) if start else None), (int(total) if total != "*" else None)


def _proved_by(transfer: _Transfer, sha256: str) -> Proof | None:
    """By what is known of the listed object, if the answer was that object."""
    etag = transfer.etag
    return transfer.expected.proves(sha256) if etag is None or etag == transfer.expected.etag else None


def _version_of(transfer: _Transfer) -> str | None:
    """The ETag of the bytes that came: the listed one, unless the answer named another that is an MD5 as it is."""
    listed, answered = transfer.expected.etag, transfer.etag
    return answered if answered is not None and _PLAIN_MD5.fullmatch(answered) else listed


async def _is_listed(digests: Digests, expected: Expected) -> bool:
    """Whether bytes are those that the listing speaks of, as far as its ETag can say."""
    if expected.etag is None or not _PLAIN_MD5.fullmatch(expected.etag):
        return digests.size == expected.size
    return await digests.md5() == expected.etag


async def _is_what_is_listed(transfer: _Transfer) -> bool:
    """The same of what a transfer brought; where the ETag is no MD5, the same bytes must have come twice."""
    part, expected, bodies = transfer.part, transfer.expected, transfer.bodies
    if part.size != expected.size or not bodies:
        return False
    if expected.etag is not None and _PLAIN_MD5.fullmatch(expected.etag):
        return await part.md5() == expected.etag
    return len(bodies) >= 2 and bodies[-1] == bodies[-2]


def _disputed(error: ChecksumMismatch, path: Path, sha256: str) -> Disputed:
    text = f"{error}; the source lists just these bytes, so asking again will not help: they are kept apart in {path}"
    return Disputed(text, error.expected, error.actual, path, sha256)


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(error, path) from error
