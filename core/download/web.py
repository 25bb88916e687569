"""One GET at a time through httpx's transport seam: our headers, the pace of each host, and our errors for httpx's."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from core import VERSION
from core.download.limits import LONGEST_WAIT_SECONDS, Hold, parse_retry_after
from core.download.pace import Pace
from core.errors import ConfigError, ConnectionLost, MarketDataError, NotPublished, RemoteError, Throttled
from core.events import Emit, PaceChanged
from core.settings import DownloadSettings

CONNECT_SECONDS: Final = 10.0
MOST_REDIRECTS: Final = 5
_HEADERS: Final = httpx.Headers({"User-Agent": f"tapevault/{VERSION}", "Accept": "*/*", "Accept-Encoding": "identity"})
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_WORDS_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Manner:
    """How a host is talked to that counts what it is asked, and says in words why it refuses.

    `headers` go with every request. `turn` is awaited before each one, retries included, and may raise; `heard` sees
    each answer, whatever its status. `meaning` turns status, the beginning of the body and our error for it into the
    error that is raised. A pause that the host asks for is then kept by `turn`, not by the host's pace.
    """

    headers: Mapping[str, str]
    turn: Callable[[], Awaitable[None]]
    heard: Callable[["Answer"], None]
    meaning: Callable[[int, bytes, MarketDataError], MarketDataError]


class Web:
    """Asks hosts. `transport` carries the requests; `settings` say how many at once and how patiently; nobody is asked
    while `hold` holds."""

    def __init__(
        self, transport: httpx.AsyncBaseTransport, settings: DownloadSettings, emit: Emit, hold: Hold | None = None
    ) -> None:
        self._hold = hold or Hold()
        self._transport = transport
        self._most = settings.workers
        self._emit = emit
        connect = min(CONNECT_SECONDS, settings.timeout_seconds)
        self._timeout = httpx.Timeout(settings.timeout_seconds, connect=connect, pool=None).as_dict()
        self._hosts: dict[str, Host] = {}

    async def get(
        self, url: str, label: str, headers: dict[str, str] | None = None, manner: Manner | None = None
    ) -> "Answer":
        """The answer to a GET, its body still to come; whoever gets it closes it.

        Redirects are followed within the same host only. A 416 is an answer like 200 and 206. Raises NotPublished for
        404 and 410, Throttled, ConnectionLost, RemoteError for what else is no success, ConfigError for what is no URL;
        with a manner, what that makes of them.
        """
        here = url
        for _ in range(MOST_REDIRECTS + 1):
            answer = await self._ask(here, label, headers, manner)
            if answer.status not in _REDIRECTS:
                return answer
            await answer.close()
            here = _same_host(here, answer.header("Location"), label)
        raise RemoteError(f"{label}: {url} redirects in circles; check --source and --listing")

    def pace_of(self, url: str) -> Pace:
        """The pace of a URL's host."""
        return self._host(url).pace

    def paces(self) -> dict[str, Pace]:
        """The hosts that were asked so far, by name, each with its pace."""
        return {host.name: host.pace for host in self._hosts.values()}

    async def _ask(self, url: str, label: str, headers: dict[str, str] | None, manner: Manner | None) -> "Answer":
        host = self._host(url)
        if manner is not None:
            headers = {**manner.headers, **(headers or {})}
            await manner.turn()
        await self._hold.passed()
        visit = Visit(host, label, await host.pace.enter())
        try:
            if self._hold.is_held:  # since we wait for a place
                await self._hold.passed()
            request = host.request(url[_origin_end(url) :], headers, self._timeout)
            request.extensions["done"] = visit.leave
            answer = Answer(visit, await self._transport.handle_async_request(request))
        except (httpx.TransportError, UnicodeError) as error:
            visit.leave()
            raise visit.failed(error) from error
        except BaseException:
            visit.leave()
            raise
        await answer.expect_success(manner)
        return answer

    def _host(self, url: str) -> "Host":
        origin = url[: _origin_end(url)]
        known = self._hosts.get(origin)
        if known is None:
            try:
                known = Host(httpx.URL(origin), Pace(self._most), self._emit)
            except httpx.InvalidURL as error:
                raise ConfigError(f"not a URL: {url!r} ({error})") from error
            self._hosts[origin] = known
        return known


class Host:
    """A host: its URL, its pace, and who hears when the pace changes."""

    def __init__(self, url: httpx.URL, pace: Pace, emit: Emit) -> None:
        self.url = url
        self.pace = pace
        self.name = url.netloc.decode("ascii", "replace")
        self.emit = emit
        self._plain = httpx.Request("GET", url, headers=_HEADERS)

    def request(self, path: str, headers: dict[str, str] | None, timeout: dict[str, float | None]) -> httpx.Request:
        """A GET of a path. URL and headers are parsed once a host: only the target differs from request to request,
        and httpx has an extension for that."""
        if headers:
            request = httpx.Request("GET", self.url, headers=[*_HEADERS.items(), *headers.items()])
        else:
            request = httpx.Request.__new__(httpx.Request)
            request.__dict__.update(self._plain.__dict__)  # its own copy.copy takes ten times as long
        request.extensions = {"timeout": timeout, "target": path.encode("ascii") or b"/"}
        return request


class Visit:
    """One request to a host, from the moment it was given its place; says what its failures mean."""

    def __init__(self, host: Host, label: str, entered: float) -> None:
        self.host = host
        self.label = label
        self._entered = entered
        self._is_inside = True

    def leave(self) -> None:
        """Give the place at the host back, the first time it is called: when the last byte of the answer has come, or
        nobody wants the rest."""
        if self._is_inside:
            self._is_inside = False
            self.host.pace.leave()

    def failed(self, error: Exception) -> MarketDataError:
        """httpx's error as ours."""
        name = self.host.name
        if not isinstance(error, httpx.TransportError) or isinstance(error, httpx.UnsupportedProtocol):
            return ConfigError(f"cannot use the URL of {self.label}: {error}")
        if isinstance(error, httpx.TimeoutException):
            self.slow_down("it did not answer in time")
            return ConnectionLost(f"{name} did not answer in time ({type(error).__name__})")
        self.host.pace.failing.add(self.label)
        return ConnectionLost(f"connection to {name} failed: {error or type(error).__name__}")

    def slow_down(self, why: str, pause_seconds: float = 0.0) -> None:
        """Ask the host less from now on, and for so long nothing."""
        pace = self.host.pace
        pace.failing.add(self.label)
        if pace.slow_down(self._entered, pause_seconds):
            self.host.emit(PaceChanged(self.host.name, int(pace.limit), why))


class Answer:
    """What a host answered; whoever has it closes it."""

    def __init__(self, visit: Visit, response: httpx.Response) -> None:
        self._visit = visit
        self._response = response
        self._fields = {name.lower(): value for name, value in response.headers.raw}

    @property
    def status(self) -> int:
        return self._response.status_code

    def header(self, name: str) -> str | None:
        value = self._fields.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")

    @property
    def length(self) -> int | None:
        """Content-Length, if it is a number."""
        text = self.header("Content-Length") or ""
        return int(text) if text.isascii() and text.isdigit() else None

    @property
    def etag(self) -> str | None:
        """The ETag without its quotes."""
        text = self.header("ETag")
        return None if text is None else text.removeprefix("W/").strip('"')

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ConnectionLost."""
        stream, is_first = self._response.stream, True
        assert isinstance(stream, httpx.AsyncByteStream)
        try:
            async for data in stream:
                if is_first:
                    is_first = False
                    self._visit.host.pace.answered()
                yield data
        except httpx.TransportError as error:
            raise self._visit.failed(error) from error

    async def close(self) -> None:
        """Give connection and place back; a body that has not come to its end costs the connection."""
        try:
            await self._response.aclose()
        finally:
            self._visit.leave()

    def fields(self, prefix: str) -> dict[str, str]:
        """The headers whose names begin so; names in lower case."""
        start = prefix.lower()
        found = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._fields.items())
        return {name: value for name, value in found if name.startswith(start)}

    async def expect_success(self, manner: Manner | None = None) -> None:
        """Close and raise unless the answer is one (or a redirect)."""
        if manner is not None:
            manner.heard(self)
        error = self._error(pauses=manner is None)
        if error is None:
            return
        try:
            words = await self._words() if manner is not None else b""
        finally:
            await self.close()
        raise error if manner is None else manner.meaning(self.status, words, error)

    async def _words(self) -> bytes:
        """The beginning of what an error says; nothing if it does not come."""
        stream, body = self._response.stream, bytearray()
        assert isinstance(stream, httpx.AsyncByteStream)
        with contextlib.suppress(httpx.TransportError):
            async for data in stream:
                body += data
                if len(body) >= _WORDS_BYTES:
                    break
        return bytes(body[:_WORDS_BYTES])

    def _error(self, pauses: bool) -> MarketDataError | None:
        status, host = self.status, self._visit.host
        where = f"{self._visit.label}: {host.name}"
        if status in (429, 418, 503):
            wait = parse_retry_after(self.header("Retry-After"), time.time())
            pause = min(wait or 0.0, LONGEST_WAIT_SECONDS) if pauses else 0.0
            self._visit.slow_down(f"it answered {status}", pause)
            return Throttled(f"{where} asks us to slow down ({status})", wait)
        if status in (403, 408) or status >= 500:
            # 403 was an outage of the whole archive (2024-03-07), not a missing object.
            host.pace.failing.add(self._visit.label)
            return ConnectionLost(f"{where} answered {status}")
        if status in (200, 206):
            return None  # whether the host is well is seen when bytes come
        host.pace.answered()
        if status == 416 or status in _REDIRECTS:
            return None
        if status in (404, 410):
            return NotPublished(f"{where} has no such object")
        return RemoteError(f"{where} answered {status}; check --source and --listing")


def _same_host(url: str, location: str | None, label: str) -> str:
    """Where a redirect leads. Raises RemoteError if that is another host: who serves the bytes is the user's choice."""
    here = httpx.URL(url)
    try:
        there = here.join(location or "")
    except httpx.InvalidURL as error:
        raise RemoteError(f"{label}: redirected to {location!r}, which is no URL") from error
    if not location or (there.scheme, there.netloc) != (here.scheme, here.netloc):
        raise RemoteError(
            f"{label}: {here.host} redirects to {location!r}; only the same host is followed, "
            "name another with --source or --listing"
        )
    return str(there)


def _origin_end(url: str) -> int:
    """Where the path begins; before it stands `https://host:port`."""
    start = url.find("://")
    slash = url.find("/", start + 3 if start >= 0 else 0)
    return len(url) if slash < 0 else slash
