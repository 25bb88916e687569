"""HTTP/1.1 for many small requests to one host: an `httpx.AsyncBaseTransport` on asyncio protocols and httptools.

The stock transport walks its whole pool of connections on every request and every close; with 32 connections that is
most of its time. Here idle connections are a stack and a request takes the top one. Timeouts, TLS, cancellation and
back-pressure are those of httpx: `extensions["timeout"]` is obeyed, a response that is not read to its end takes its
connection with it, and a body that nobody reads stops the socket.

Proxies are not spoken here: where the environment names one, `open_transport` gives the stock client instead.
"""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.request import getproxies

import httptools
import httpx

PAUSE_BYTES: Final = 1 << 17
"""Received bytes that wait to be read before the socket is paused; it goes on at a quarter of that."""
RAW_BYTES: Final = 1 << 16
"""From so many bytes left on, a body passes the parser by: it would only copy them."""
_PROXIED: Final = {"http", "https", "all"}

Host = tuple[bool, str, int]
"""TLS or not, name, port."""


def open_transport(connections: int) -> httpx.AsyncBaseTransport:
    """A transport with at most so many connections in use to a host: ours, or the stock one where a proxy is wanted.

    Proxies (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`) and CA bundles (`SSL_CERT_FILE`, `SSL_CERT_DIR`) are
    read from the environment (and the system's settings, where it has some), as httpx reads them.
    """
    if _PROXIED & getproxies().keys():
        return StockTransport(connections)
    return PoolTransport(connections)


class StockTransport(httpx.AsyncBaseTransport):
    """httpx's own client, with its proxies, behind the same seam."""

    def __init__(self, connections: int) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._client = httpx.AsyncClient(limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        target = request.extensions.pop("target", None)
        if target is not None:  # a proxy wants the whole URL in its place
            request.url = request.url.copy_with(raw_path=target)
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        await self._client.aclose()


class Connection(asyncio.Protocol):
    """One connection, one request at a time. The parser's callbacks fill `status`, `headers` and the body queue."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.error: Exception | None = None
        self.closed = False
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.head_complete = self.complete = self.keeps_alive = False
        self._until_close = False
        self._body: deque[bytes] = deque()
        self._waiting = 0
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._idle = True
        self._raw_left = 0
        self._raw_keeps_alive = False
        self._taken = 0
        self._parser = httptools.HttpResponseParser(self)  # goes on to the next response of a kept connection

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._idle:
            self.abort()  # nobody asked: the server sends what we cannot place
            return
        if self._raw_left:
            self._take_raw(data)
            self._wake()
            return
        try:
            self._parser.feed_data(data)
            if self.head_complete and not self.complete:
                self._go_raw()
        except httptools.HttpParserError as error:
            self._fail(httpx.RemoteProtocolError(f"not HTTP/1.1: {error}"))
            self.abort()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if not self._idle and not self.complete:
            if error is None and self.head_complete and self._until_close:
                self.complete = True
            else:
                reason = str(error) if error else "the server closed the connection"
                self._fail(httpx.ReadError(reason) if error else httpx.RemoteProtocolError(reason))
        self._wake()

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers = []
            return
        names = {name.lower() for name, _ in self.headers}
        self._until_close = b"content-length" not in names and b"transfer-encoding" not in names
        self.head_complete = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._waiting += len(body)
        if self._waiting > PAUSE_BYTES and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self.complete = True
            self.keeps_alive = self._parser.should_keep_alive() and not self._until_close

    # long bodies

    def _go_raw(self) -> None:
        """What is left of a long body needs no parser: it is as long as Content-Length said."""
        fields = [(name.lower(), value) for name, value in self.headers]
        lengths = [value for name, value in fields if name == b"content-length"]
        if len(lengths) == 1 and not any(name == b"transfer-encoding" for name, _ in fields):
            left = int(lengths[0]) - self._waiting - self._taken
            if left >= RAW_BYTES:
                self._raw_left = left
                self._raw_keeps_alive = self._parser.should_keep_alive()

    def _take_raw(self, data: bytes) -> None:
        if len(data) > self._raw_left:
            self._fail(httpx.RemoteProtocolError("more came than Content-Length announced"))
            self.abort()
            return
        self._raw_left -= len(data)
        self.on_body(data)
        if not self._raw_left:
            self._parser = httptools.HttpResponseParser(self)
            self.complete, self.keeps_alive = True, self._raw_keeps_alive

    # one exchange

    def send(self, head: bytes) -> None:
        """Start an exchange."""
        self._idle = False
        self._body, self._waiting, self._taken, self._raw_left = deque(), 0, 0, 0
        self.headers, self.status = [], 0
        self.head_complete = self.complete = self.keeps_alive = self._until_close = False
        assert self.transport is not None
        self.transport.write(head)

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
        if len(self._body) == 1:
            data = self._body.popleft()
        else:
            data = b"".join(self._body)
            self._body.clear()
        self._waiting -= len(data)
        self._taken += len(data)
        if self._paused and self._waiting <= PAUSE_BYTES // 4 and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        return data

    def finish(self) -> bool:
        """The exchange is over; whether the connection can serve another."""
        reusable = self.complete and self.keeps_alive and not self.closed and not self._body
        self._idle = True
        return reusable

    def abort(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()

    def _raise_if_broken(self) -> None:
        if self.error is not None:
            raise self.error

    def _fail(self, error: Exception) -> None:
        if self.error is None:
            self.error = error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

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
        self._fail(httpx.ReadTimeout("no byte came in time"))
        self._wake()


class _Body(httpx.AsyncByteStream):
    def __init__(self, pool: "PoolTransport", host: Host, connection: Connection, timeout: float | None) -> None:
        self._pool = pool
        self._host = host
        self._connection: Connection | None = connection
        self._timeout = timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        connection = self._connection
        assert connection is not None
        while data := await connection.read_body(self._timeout):
            yield data

    async def aclose(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._pool.release(self._host, connection)


class PoolTransport(httpx.AsyncBaseTransport):
    """Keep-alive connections to any number of hosts, at most `limit` to each in use at once."""

    def __init__(self, limit: int, tls: ssl.SSLContext | None = None) -> None:
        self._free: defaultdict[Host, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(limit))
        self._tls = tls
        self._idle: dict[Host, list[Connection]] = {}

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
        try:
            connection = await self._exchange(host, _head(request), timeouts)
        except BaseException:
            free.release()
            raise
        stream = _Body(self, host, connection, timeouts.get("read"))
        return httpx.Response(connection.status, headers=connection.headers, stream=stream, request=request)

    async def _exchange(self, host: Host, head: bytes, timeouts: dict[str, Any]) -> Connection:
        """A connection on which the request was sent and the head of its response has come."""
        idle = self._idle_one(host)
        if idle is not None:
            try:
                return await _ask(idle, head, timeouts)
            except (httpx.ReadError, httpx.RemoteProtocolError):
                if idle.headers:
                    raise
                # The server closed it while it lay idle: that says nothing about this request.
        return await _ask(await self._connect(host, timeouts), head, timeouts)

    def release(self, host: Host, connection: Connection) -> None:
        """Take back a connection whose response is closed."""
        if connection.finish():
            self._idle.setdefault(host, []).append(connection)
        else:
            connection.abort()
        self._free[host].release()

    async def aclose(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)

    def _idle_one(self, host: Host) -> Connection | None:
        idle = self._idle.get(host)
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _connect(self, host: Host, timeouts: dict[str, Any]) -> Connection:
        is_tls, name, port = host
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeouts.get("connect")):
                _, connection = await loop.create_connection(
                    Connection, name, port, ssl=self._context() if is_tls else None
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection to {name}:{port} in time") from error
        except (OSError, ssl.SSLError) as error:
            raise httpx.ConnectError(str(error)) from error
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


async def _ask(connection: Connection, head: bytes, timeouts: dict[str, Any]) -> Connection:
    try:
        connection.send(head)
        await connection.read_head(timeouts.get("read"))
    except BaseException:
        connection.abort()
        raise
    return connection


def _head(request: httpx.Request) -> bytes:
    target = request.extensions.get("target") or request.url.raw_path
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), target)]
    lines += [b"%s: %s" % (name, value) for name, value in request.headers.raw]
    return b"\r\n".join([*lines, b"", b""])
