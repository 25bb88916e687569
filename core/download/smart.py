"""`SmartDownloader`: one URL to one verified file, resumed from the exact byte.

Knows HTTP and files, not the exchange and not the database. The rules, each learnt from somebody's corrupted file:
the answer to a range request is not always that range, so `Content-Range` is believed and not the status; on a whole
answer we start over; a digest that disagrees discards the part; nothing gets its final name before it is verified.
Retries live here and nowhere else: a failure is counted since the last progress, and a progress is a new longest part.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from core import VERSION
from core.download.limits import RateLimit, backoff_seconds, parse_retry_after
from core.download.part import PartFile
from core.errors import (
    ChecksumMismatch,
    ConfigError,
    ConnectionLost,
    MarketDataError,
    NotPublished,
    RemoteError,
    Throttled,
)
from core.events import Emit, FileProgressed, FileRetrying, FileStarted
from core.settings import DownloadSettings
from core.types import Proof

MAX_MISMATCHES: Final = 3
"""Whole bodies fetched before a digest that never agrees is final."""
CONNECT_SECONDS: Final = 10.0
LONGEST_WAIT_SECONDS: Final = 300.0
"""A source that asks for a longer pause than this is left alone; the next run asks again."""
_HEADERS: Final = {"User-Agent": f"tapevault/{VERSION}", "Accept": "*/*", "Accept-Encoding": "identity"}
_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Digests:
    """Of a whole file; lower-case hex."""

    size: int
    md5: str
    sha256: str


Verify = Callable[[Digests], Awaitable[Proof]]
"""Says what vouches for the bytes, or raises ChecksumMismatch."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known before asking: `size` in bytes, `etag` unquoted (goes into If-Range), and how to verify."""

    size: int | None
    etag: str | None
    verify: Verify


@dataclass(frozen=True, slots=True)
class Fetched:
    """A verified file under its final name; `transferred` body bytes came over the network for it."""

    path: Path
    size: int
    sha256: str
    proof: Proof
    transferred: int


class SmartDownloader:
    """Fetches and reads URLs through `transport`; `emit` hears of starts, progress and retries."""

    def __init__(
        self, transport: httpx.AsyncBaseTransport, settings: DownloadSettings, emit: Emit = lambda _: None
    ) -> None:
        self._transport = transport
        self._settings = settings
        connect = min(CONNECT_SECONDS, settings.timeout_seconds)
        self._extensions = {"timeout": httpx.Timeout(settings.timeout_seconds, connect=connect, pool=None).as_dict()}
        self._emit = emit
        self._limit = RateLimit(settings.limit_rate_bytes)

    async def read(self, url: str, max_bytes: int, label: str) -> bytes:
        """A small object. Raises NotPublished, RemoteError; ConnectionLost or Throttled after the last attempt."""

        async def attempt() -> bytes:
            async with self._stream(url, {}) as response:
                _expect_success(response, label)
                body = bytearray()
                async for data in response.aiter_raw():
                    body += data
                    if len(body) > max_bytes:
                        raise RemoteError(
                            f"{label}: the answer is longer than {max_bytes} bytes; is {url} the right one?"
                        )
                return bytes(body)

        failures = 0
        while True:
            try:
                return await attempt()
            except MarketDataError as error:
                failures += 1
                await self._wait_or_raise(error, failures, label)

    async def fetch(self, url: str, target: Path, expected: Expected, label: str) -> Fetched:
        """The verified body of `url` under `target`; what an earlier attempt left in `<target>.part` is continued.

        Raises NotPublished (404), ChecksumMismatch after three whole bodies, RemoteError, StorageError; ConnectionLost
        or Throttled after the last attempt without progress, and then the part stays for the next run.
        """
        part = PartFile(target)
        transfer = _Transfer(url, label, expected, part)
        failures = mismatches = longest = 0
        while True:
            try:
                await self._receive(transfer)
                return await self._finish(transfer, target)
            except ChecksumMismatch as error:
                part.discard()
                mismatches += 1
                await self._wait_or_raise(error, mismatches, label, MAX_MISMATCHES)
            except MarketDataError as error:
                failures = 1 if part.size > longest else failures + 1
                longest = max(longest, part.size)
                await self._wait_or_raise(error, failures, label)

    async def _wait_or_raise(self, error: MarketDataError, failures: int, label: str, most: int | None = None) -> None:
        if not error.retryable or failures >= (most or self._settings.max_attempts):
            raise error
        retry_after = error.retry_after if isinstance(error, Throttled) else None
        if retry_after is not None and retry_after > LONGEST_WAIT_SECONDS:
            raise error
        wait = backoff_seconds(failures, self._settings, retry_after)
        self._emit(FileRetrying(label, str(error), failures, wait))
        await asyncio.sleep(wait)

    async def _receive(self, transfer: "_Transfer") -> None:
        """One request that brings the part to its full length."""
        part, expected = transfer.part, transfer.expected
        offset = await part.reopen()
        if offset and (
            expected.etag is None or transfer.whole or (expected.size is not None and offset > expected.size)
        ):
            part.discard()  # what we hold cannot be continued safely
            offset = 0
        self._emit(FileStarted(transfer.label, expected.size or 0, offset))
        if expected.size and offset == expected.size:
            return
        headers = {"Range": f"bytes={offset}-", "If-Range": f'"{expected.etag}"'} if offset else {}
        async with self._stream(transfer.url, headers) as response:
            declared = _place_body(response, transfer)
            total = expected.size if declared is None else declared
            if response.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                await self._receive_body(response, transfer, total)
            _expect_length(transfer, total)

    async def _receive_body(self, response: httpx.Response, transfer: "_Transfer", total: int | None) -> None:
        part = transfer.part
        try:
            async for data in response.aiter_raw():
                await self._limit.take(len(data))
                await part.write(data)
                transfer.transferred += len(data)
                self._emit(FileProgressed(transfer.label, part.size))
                if total is not None and part.size > total:
                    return
        finally:
            part.flush()

    async def _finish(self, transfer: "_Transfer", target: Path) -> Fetched:
        part = transfer.part
        md5, sha256 = part.digests
        proof = await transfer.expected.verify(Digests(part.size, md5, sha256))
        await asyncio.to_thread(part.publish)
        return Fetched(target, part.size, sha256, proof, transfer.transferred)

    @asynccontextmanager
    async def _stream(self, url: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """httpx's stream with its errors turned into ours."""
        try:
            request = httpx.Request("GET", url, headers=_HEADERS | headers, extensions=self._extensions)
            response = await self._transport.handle_async_request(request)
            try:
                yield response
            finally:
                await response.aclose()
        except httpx.TimeoutException as error:
            raise ConnectionLost(f"{_host(url)} did not answer in time ({type(error).__name__})") from error
        except httpx.TransportError as error:
            if isinstance(error, httpx.UnsupportedProtocol):
                raise ConfigError(f"cannot use {url!r}: {error}") from error
            raise ConnectionLost(f"connection to {_host(url)} failed: {error or type(error).__name__}") from error
        except httpx.InvalidURL as error:
            raise ConfigError(f"not a URL: {url!r} ({error})") from error


@dataclass(slots=True)
class _Transfer:
    """One fetch over all its attempts. `whole`: ask without a range next time."""

    url: str
    label: str
    expected: Expected
    part: PartFile
    whole: bool = False
    transferred: int = 0


def _place_body(response: httpx.Response, transfer: _Transfer) -> int | None:
    """Make the part ready for the body that follows; returns the object's full length if the answer says it."""
    part = transfer.part
    if response.status_code == 206:
        start, total = _content_range(response)
        if start != part.size or total is None:
            transfer.whole = True
            raise ConnectionLost(
                f"{transfer.label}: asked for bytes from {part.size}, got from {start}; asking for the whole file"
            )
        return total
    if response.status_code == 416:
        _, total = _content_range(response)
        if total == part.size:
            return total
        part.discard()
        raise ConnectionLost(f"{transfer.label}: the part is longer than the object ({total} bytes); starting over")
    _expect_success(response, transfer.label)
    if part.size:
        part.discard()
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _expect_length(transfer: _Transfer, total: int | None) -> None:
    size = transfer.part.size
    if total is None or size == total:
        return
    if size < total:
        raise ConnectionLost(f"{transfer.label}: the answer ended after {size} of {total} bytes")
    raise ChecksumMismatch(f"{transfer.label}: more than the announced {total} bytes came", str(total), str(size))


def _expect_success(response: httpx.Response, label: str) -> None:
    status, where = response.status_code, f"{label}: {_host(str(response.url))}"
    if status == 200:
        return
    if status in (404, 410):
        raise NotPublished(f"{where} has no such object")
    if status in (429, 418, 503):
        wait = parse_retry_after(response.headers.get("Retry-After"), time.time())
        raise Throttled(f"{where} asks us to slow down ({status})", wait)
    if status in (403, 408) or status >= 500:
        # 403 was an outage of the whole archive (2024-03-07), not a missing object.
        raise ConnectionLost(f"{where} answered {status}")
    raise RemoteError(f"{where} answered {status}; check --source and --listing")


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """First byte and total length of `Content-Range`, None where it does not say."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    start, _, total = match.groups()
    return (int(start) if start else None), (int(total) if total != "*" else None)


def _host(url: str) -> str:
    return httpx.URL(url).netloc.decode("ascii", "replace")
