"""HTTP/1.1 for many small requests to one host: an `httpx.AsyncBaseTransport` on asyncio protocols and httptools.

The stock transport walks its whole pool of connections on every request and every close; with 32 connections that is
most of its time. Here idle connections are a stack and a request takes the top one. Timeouts, TLS, cancellation and
back-pressure are those of httpx: `extensions["timeout"]` is obeyed, a response of which not all has come takes its
connection with it when it is closed, and a body that nobody reads stops the socket.

Proxies and HTTP/2 are not spoken here: where they are wanted, `open_transport` gives httpx's own client instead.
"""

import asyncio
import ssl
import weakref
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.request import getproxies

import httptools
import httpx

from core.errors import ConfigError

PAUSE_BYTES: Final = 1 << 17
"""Received bytes that wait to be read before the socket is paused; it goes on at a quarter of that."""
RAW_BYTES: Final = 1 << 16
"""From so many bytes left on, a body passes the parser by: it would only copy them."""
_PROXIED: Final = {"http", "https", "all"}

Host = tuple[bool, str, int]
"""TLS or not, name, port."""
AtEnd = Callable[[int], None]
"""Told, with the status, when an exchange needs its connection no more."""


def open_transport(connections: int, http2: bool = False) -> httpx.AsyncBaseTransport:
    """A transport with at most so many connections in use to a host: ours, or the stock one where a proxy or HTTP/2 is
    wanted. Raises ConfigError for a proxy that cannot be used.

    Proxies (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`) and CA bundles (`SSL_CERT_FILE`, `SSL_CERT_DIR`) are
    read from the environment (and the system's settings, where it has some), as httpx reads them.
    """
    if http2 or _PROXIED & getproxies().keys():
        return StockTransport(connections, http2)
    return PoolTransport(connections)


class StockTransport(httpx.AsyncBaseTransport):
    """httpx's own client, with its proxies and HTTP/2, behind the same seam."""

    def __init__(self, connections: int, http2: bool = False) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        try:
            self._client = httpx.AsyncClient(limits=limits, http2=http2)
        except (ValueError, httpx.InvalidURL) as error:
            raise ConfigError(
                f"a proxy in the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) cannot be used: {error}"
            ) from error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        target = request.extensions.pop("target", None)
        if target is not None:  # a proxy wants the whole URL in its place
            request.url = request.url.copy_with(raw_path=target)
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        await self._client.aclose()


class Exchange:
    """One request and what has come of its answer. It outlives its hold on the connection: when the last byte has come
    the connection serves the next request, while the body here still waits to be read."""

    def __init__(self, connection: "Connection", at_end: AtEnd) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_complete = self.complete = self.until_close = False
        self.received = 0
        self._connection = connection
        self._at_end: AtEnd | None = at_end
        self._body: deque[bytes] = deque()
        self._waiting = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    # what the connection brings

    def take(self, body: bytes) -> bool:
        """A piece of the body; whether the sender should pause."""
        self._body.append(body)
        self._waiting += len(body)
        self.received += len(body)
        return self._waiting > PAUSE_BYTES

    def fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error

    def end(self) -> None:
        """The connection is not needed any more; told once."""
        if self._at_end is not None:
            at_end, self._at_end = self._at_end, None
            at_end(self.status)

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # what the reader takes

    async def read_head(self, seconds: float | None) -> None:
        while not self.head_complete:
            self._raise_if_broken()
            await self._wait(seconds)

    async def read_body(self, seconds: float | None) -> bytes:
        """The next piece of the body; empty at its end."""
        while not self._body:
            if self.complete:
                return b""
            self._raise_if_broken()
            await self._wait(seconds)
        if len(self._body) == 1 or len(self._body[0]) >= RAW_BYTES:
            data = self._body.popleft()
        else:  # many small pieces are dearer than one copy
            data = b"".join(self._body)
            self._body.clear()
        self._waiting -= len(data)
        if self._waiting <= PAUSE_BYTES // 4 and not self.complete:
            self._connection.resume()
        return data

    def close(self) -> None:
        """Nobody reads on; an answer that is not here whole takes its connection with it."""
        if not self.complete:
            self._connection.abort()
        self.end()

    def _raise_if_broken(self) -> None:
        if self._error is not None:
            raise self._error

    async def _wait(self, seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        handle = loop.call_later(seconds, self._expire) if seconds else None
        try:
            await self._waiter
        finally:
            self._waiter = None
            if handle is not None:
                handle.cancel()

    def _expire(self) -> None:
        self.fail(httpx.ReadTimeout("no byte came in time"))
        self.wake()


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time, the parser's callbacks fill it; `idle` takes the connection back when an
    answer has come and another request may follow."""

    def __init__(self, idle: "list[Connection]") -> None:
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._idle = idle
        self._exchange: Exchange | None = None
        self._paused = False
        self._keeps_alive = False
        self._has_excess = False
        self._raw_left = 0
        self._parser = httptools.HttpResponseParser(self)  # goes on to the next response of a kept connection

    def start(self, head: bytes, at_end: AtEnd) -> Exchange:
        """Send a request."""
        assert self._transport is not None
        self._exchange = Exchange(self, at_end)
        self._transport.write(head)
        return self._exchange

    def resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        self.closed = True
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        if self.closed:  # whoever asked for it was cancelled meanwhile
            self.abort()

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()  # nobody asked: the server sends what we cannot place
            return
        if self._raw_left:
            self._take_raw(exchange, data)
        else:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as error:
                self._fail(httpx.RemoteProtocolError(f"not HTTP/1.1: {error}"))
            else:
                if exchange.head_complete and not exchange.complete:
                    self._go_raw(exchange)
        if exchange.complete:
            self._end(exchange)
        exchange.wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        exchange = self._exchange
        if exchange is None:
            return
        if error is None and exchange.head_complete and exchange.until_close:
            exchange.complete = True
            self._end(exchange)
        else:
            reason = str(error) if error else "the server closed the connection"
            self._fail(httpx.ReadError(reason) if error else httpx.RemoteProtocolError(reason))
        exchange.wake()

    # httptools

    def on_message_begin(self) -> None:
        self._has_excess = self._exchange is None or self._exchange.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_excess:
            self._asked.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._has_excess:
            return
        exchange = self._asked
        exchange.status = self._parser.get_status_code()
        if exchange.status < 200:
            exchange.headers = []
            return
        names = {name.lower() for name, _ in exchange.headers}
        exchange.until_close = b"content-length" not in names and b"transfer-encoding" not in names
        exchange.head_complete = True

    def on_body(self, body: bytes) -> None:
        if not self._has_excess:
            self._take(self._asked, body)

    def on_message_complete(self) -> None:
        if not self._has_excess and self._asked.status >= 200:
            self._asked.complete = True
            self._keeps_alive = self._parser.should_keep_alive() and not self._asked.until_close

    # long bodies

    def _go_raw(self, exchange: Exchange) -> None:
        """What is left of a long body needs no parser: it is as long as Content-Length said."""
        fields = [(name.lower(), value) for name, value in exchange.headers]
        lengths = [value for name, value in fields if name == b"content-length"]
        if len(lengths) == 1 and not any(name == b"transfer-encoding" for name, _ in fields):
            left = int(lengths[0]) - exchange.received
            if left >= RAW_BYTES:
                self._raw_left = left
                self._keeps_alive = self._parser.should_keep_alive()

    def _take_raw(self, exchange: Exchange, data: bytes) -> None:
        if len(data) > self._raw_left:
            self._fail(httpx.RemoteProtocolError("more came than Content-Length announced"))
            return
        self._raw_left -= len(data)
        self._take(exchange, data)
        if not self._raw_left:
            self._parser = httptools.HttpResponseParser(self)
            exchange.complete = True

    # one exchange

    @property
    def _asked(self) -> Exchange:
        assert self._exchange is not None
        return self._exchange

    def _take(self, exchange: Exchange, body: bytes) -> None:
        if exchange.take(body) and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _end(self, exchange: Exchange) -> None:
        """The answer is here whole: the connection can serve another, if the server lets it and has sent no more."""
        self._exchange = None
        if self._keeps_alive and not self._has_excess and not self.closed:
            self.resume()
            self._idle.append(self)
        else:
            self.abort()
        exchange.end()

    def _fail(self, error: Exception) -> None:
        if self._exchange is not None:
            self._exchange.fail(error)
        self.abort()


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchange: Exchange, timeout: float | None) -> None:
        self._exchange = exchange
        self._timeout = timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._exchange.read_body(self._timeout):
            yield data

    async def aclose(self) -> None:
        self._exchange.close()


class PoolTransport(httpx.AsyncBaseTransport):
    """Keep-alive connections to any number of hosts, at most `limit` to each in use at once.

    A connection is in use until the last byte of the answer has come, whether or not it was read by then. Then
    `extensions["done"]` of the request is called, if it has one: whoever waits for a place may ask now. Not so for an
    error: it may mean that nobody should ask.
    """

    def __init__(self, limit: int, tls: ssl.SSLContext | None = None) -> None:
        self._free: defaultdict[Host, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(limit))
        self._tls = tls
        self._idle: defaultdict[Host, list[Connection]] = defaultdict(list)
        self._made: weakref.WeakSet[Connection] = weakref.WeakSet()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts: dict[str, Any] = request.extensions.get("timeout", {})
        url = request.url
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"a URL starts with http:// or https://, not {url.scheme}:")
        is_tls = url.scheme == "https"
        host = (is_tls, url.raw_host.decode("ascii"), url.port or (443 if is_tls else 80))
        free = self._free[host]
        if free.locked():
            await _acquire(free, timeouts.get("pool"))
        else:
            await free.acquire()  # at once
        done: Callable[[], None] | None = request.extensions.get("done")
        is_free = False

        def at_end(status: int) -> None:
            nonlocal is_free
            is_free = True
            free.release()
            if done is not None and status < httpx.codes.BAD_REQUEST:
                done()

        try:
            exchange = await self._answered(host, _head(request), timeouts, at_end)
        except BaseException:
            if not is_free:
                free.release()
            raise
        return httpx.Response(
            exchange.status, headers=exchange.headers, stream=_Body(exchange, timeouts.get("read")), request=request
        )

    async def _answered(self, host: Host, head: bytes, timeouts: dict[str, Any], at_end: AtEnd) -> Exchange:
        """An exchange in which the request was sent and the head of its answer has come."""
        idle = self._idle_one(host)
        if idle is not None:
            exchange = idle.start(head, at_end)
            try:
                return await _with_head(exchange, idle, timeouts)
            except (httpx.ReadError, httpx.RemoteProtocolError):
                if exchange.headers:
                    raise
                # The server closed it while it lay idle: that says nothing about this request.
        connection = await self._connect(host, timeouts)
        return await _with_head(connection.start(head, at_end), connection, timeouts)

    async def aclose(self) -> None:
        for connection in list(self._made):  # also one of a request that was cancelled at a bad moment
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)

    def _idle_one(self, host: Host) -> Connection | None:
        idle = self._idle[host]
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _connect(self, host: Host, timeouts: dict[str, Any]) -> Connection:
        is_tls, name, port = host
        loop = asyncio.get_running_loop()
        connection = Connection(self._idle[host])
        self._made.add(connection)
        try:
            async with asyncio.timeout(timeouts.get("connect")):
                await loop.create_connection(lambda: connection, name, port, ssl=self._context() if is_tls else None)
        except TimeoutError as error:
            connection.abort()
            raise httpx.ConnectTimeout(f"no connection to {name}:{port} in time") from error
        except (OSError, ssl.SSLError) as error:
            raise httpx.ConnectError(str(error)) from error
        except asyncio.CancelledError:
            connection.abort()
            raise
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls


async def _acquire(free: asyncio.Semaphore, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await free.acquire()
    except TimeoutError as error:
        raise httpx.PoolTimeout("no connection became free in time") from error


async def _with_head(exchange: Exchange, connection: Connection, timeouts: dict[str, Any]) -> Exchange:
    try:
        await exchange.read_head(timeouts.get("read"))
    except BaseException:
        if not exchange.complete:
            connection.abort()
        raise
    return exchange


def _head(request: httpx.Request) -> bytes:
    target = request.extensions.get("target") or request.url.raw_path
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), target)]
    lines += [b"%s: %s" % (name, value) for name, value in request.headers.raw]
    return b"\r\n".join([*lines, b"", b""])
