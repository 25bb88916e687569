"""HTTP/1.1 by hand: reuse, limits, timeouts, cancellation, back-pressure, TLS, and answers that are none."""

import asyncio
import contextlib
import functools
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import trustme
import uvloop
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from core.download.transport import PAUSE_BYTES, RAW_BYTES, PoolTransport, StockTransport, open_transport
from core.errors import ConfigError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BODY = b"0123456789" * 1000


class Server:
    """Answers every request on a connection with `answer`; counts connections and requests."""

    def __init__(self, answer: Callable[[int], bytes], close_after: int | None = None) -> None:
        self.answer = answer
        self.close_after = close_after
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        served = 0
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.answer(len(self.requests)))
                await writer.drain()
                served += 1
                if self.close_after is not None and served >= self.close_after:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def ok(body: bytes = BODY, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), extra) + body


def run(
    handler: Handler,
    work: Callable[[PoolTransport, str], Awaitable[Any]],
    limit: int = 4,
    tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
    loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Any:
    """Serve on loopback, do the work with a fresh transport, stop."""

    async def main() -> Any:
        server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        async with server, PoolTransport(limit, client_tls) as transport:
            return await work(transport, f"{'https' if tls else 'http'}://127.0.0.1:{port}/x")

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


def request(url: str, seconds: float = 5.0, **timeouts: float) -> httpx.Request:
    limits = httpx.Timeout(seconds).as_dict() | timeouts
    return httpx.Request("GET", url, headers={"Range": "bytes=5-"}, extensions={"timeout": limits})


async def body_of(transport: PoolTransport, url: str, **timeouts: float) -> bytes:
    response = await transport.handle_async_request(request(url, **timeouts))
    try:
        return b"".join([data async for data in response.aiter_raw()])
    finally:
        await response.aclose()


def test_one_connection_serves_request_after_request() -> None:
    server = Server(lambda number: ok(b"%d" % number))

    async def work(transport: PoolTransport, url: str) -> list[bytes]:
        return [await body_of(transport, url) for _ in range(5)]

    assert run(server, work) == [b"1", b"2", b"3", b"4", b"5"]
    assert server.connections == 1
    assert server.requests[0].startswith(b"GET /x HTTP/1.1\r\n")
    assert b"\r\nRange: bytes=5-\r\n" in server.requests[0]
    assert server.requests[0].count(b"Host: 127.0.0.1:") == 1


def test_a_long_body_passes_the_parser_by_and_its_connection_serves_on() -> None:
    long = random.Random(5).randbytes(20 * RAW_BYTES + 13)
    bodies = [long, b"short", long[: RAW_BYTES + 1], b"", long]
    server = Server(lambda number: ok(bodies[number - 1]))

    async def work(transport: PoolTransport, url: str) -> list[bytes]:
        return [await body_of(transport, url) for _ in bodies]

    assert run(server, work) == bodies
    assert server.connections == 1


def test_a_long_body_after_which_the_connection_closes_is_whole() -> None:
    long = random.Random(6).randbytes(5 * RAW_BYTES)
    server = Server(lambda _: ok(long, b"Connection: close\r\n"), close_after=1)

    async def work(transport: PoolTransport, url: str) -> list[bytes]:
        return [await body_of(transport, url), await body_of(transport, url)]

    assert run(server, work) == [long, long]
    assert server.connections == 2


@pytest.mark.parametrize("missing", [1, RAW_BYTES, 4 * RAW_BYTES - 1])
def test_a_long_body_that_breaks_off_is_an_error(missing: int) -> None:
    server = Server(lambda _: ok(b"x" * 4 * RAW_BYTES)[: -missing or None], close_after=1)
    with pytest.raises(httpx.RemoteProtocolError, match="closed the connection"):
        run(server, body_of)


def test_more_of_a_long_body_than_was_announced_is_never_given_out_as_body() -> None:
    long = b"x" * 4 * RAW_BYTES

    async def work(transport: PoolTransport, url: str) -> list[bytes]:
        first = b""
        response = await transport.handle_async_request(request(url))
        with contextlib.suppress(httpx.RemoteProtocolError):
            async for data in response.aiter_raw():
                first += data
        await response.aclose()
        return [first, await body_of(transport, url)]

    server = Server(lambda number: ok(long) + b"and more" if number == 1 else ok(b"next"))
    first, second = run(server, work)
    assert long.startswith(first)
    assert second == b"next"
    assert server.connections == 2


def test_status_and_headers_are_those_sent() -> None:
    async def work(transport: PoolTransport, url: str) -> tuple[int, str]:
        response = await transport.handle_async_request(request(url))
        await response.aclose()
        return response.status_code, response.headers["ETag"]

    answer = b'HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\nETag: "abc"\r\n\r\n'
    assert run(Server(lambda _: answer), work) == (206, '"abc"')


def test_no_more_connections_than_allowed() -> None:
    open_now, most = [0], [0]

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now[0] += 1
        most[0] = max(most[0], open_now[0])
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.02)
        open_now[0] -= 1
        writer.write(ok(b"x", b"Connection: close\r\n"))
        writer.close()

    async def work(transport: PoolTransport, url: str) -> list[bytes]:
        return await asyncio.gather(*(body_of(transport, url) for _ in range(12)))

    assert run(slow, work, limit=3) == [b"x"] * 12
    assert most[0] == 3


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_bodies_of_every_form(answer: bytes, body: bytes) -> None:
    server = Server(lambda _: answer)

    async def work(transport: PoolTransport, url: str) -> list[bytes]:
        return [await body_of(transport, url), await body_of(transport, url)]

    assert run(server, work) == [body, body]
    assert server.connections == 1


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    server = Server(lambda _: b"HTTP/1.1 200 OK\r\n\r\nall there is", close_after=1)

    async def work(transport: PoolTransport, url: str) -> list[bytes]:
        return [await body_of(transport, url), await body_of(transport, url)]

    assert run(server, work) == [b"all there is"] * 2
    assert server.connections == 2


def test_a_connection_that_the_server_closed_while_idle_is_replaced() -> None:
    server = Server(lambda number: ok(b"%d" % number), close_after=1)

    async def work(transport: PoolTransport, url: str) -> list[bytes]:
        found = []
        for _ in range(4):
            found.append(await body_of(transport, url))
            await asyncio.sleep(0.01)
        return found

    assert run(server, work) == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-", httpx.RemoteProtocolError),
        (b"", httpx.RemoteProtocolError),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", httpx.RemoteProtocolError),
    ],
)
def test_what_is_no_whole_answer_is_an_error(answer: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        run(Server(lambda _: answer, close_after=1), body_of)


def test_silence_ends_after_the_read_timeout_and_the_place_is_free_again() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if first.pop(0):
            await reader.read()
        writer.write(ok(b"late", b"Connection: close\r\n"))
        writer.close()

    first = [True, False]

    async def work(transport: PoolTransport, url: str) -> bytes:
        with pytest.raises(httpx.ReadTimeout):
            await body_of(transport, url, read=0.05)
        return await body_of(transport, url)

    assert run(silent, work, limit=1) == b"late"


def test_no_free_connection_in_time_is_a_pool_timeout() -> None:
    async def work(transport: PoolTransport, url: str) -> None:
        response = await transport.handle_async_request(request(url))
        with pytest.raises(httpx.PoolTimeout):
            await body_of(transport, url, pool=0.05)
        await response.aclose()
        assert await body_of(transport, url, pool=5.0) == BODY

    run(Server(lambda number: ok()[: -10 if number == 1 else None]), work, limit=1)


def test_a_connection_is_free_when_the_last_byte_has_come_though_nobody_has_read_it() -> None:
    server = Server(lambda number: ok(b"%d" % number * 1000))

    async def work(transport: PoolTransport, url: str) -> list[bytes]:
        ended: list[int] = []
        asked = [request(url) for _ in range(5)]
        for number, each in enumerate(asked):
            each.extensions["done"] = functools.partial(ended.append, number)
        responses = [await transport.handle_async_request(each) for each in asked]
        assert ended == [0, 1, 2, 3, 4]
        bodies = [b"".join([data async for data in response.aiter_raw()]) for response in responses]
        for response in responses:
            await response.aclose()
        assert ended == [0, 1, 2, 3, 4]  # each once
        return bodies

    assert run(server, work, limit=1) == [b"%d" % number * 1000 for number in range(1, 6)]
    assert server.connections == 1


@pytest.mark.parametrize("answer", [ok(b"x" * 5000)[:-10], b"HTTP/1.1 200 OK\r\n"], ids=["body", "head"])
def test_whoever_waits_is_told_once_also_of_an_answer_that_broke_off(answer: bytes) -> None:
    ended: list[bool] = []

    async def work(transport: PoolTransport, url: str) -> None:
        asked = request(url)
        asked.extensions["done"] = lambda: ended.append(True)
        response = await transport.handle_async_request(asked)
        try:
            await response.aread()
        finally:
            await response.aclose()

    with pytest.raises(httpx.RemoteProtocolError):
        run(Server(lambda _: answer, close_after=1), work)
    assert len(ended) == (1 if b"x" in answer else 0)  # without a response it is the exception that says so


def test_bytes_after_an_answer_cost_the_connection_and_go_nowhere() -> None:
    server = Server(lambda number: ok(b"%d" % number) + ok(b"unasked")[: number * 9])

    async def work(transport: PoolTransport, url: str) -> list[bytes]:
        return [await body_of(transport, url) for _ in range(6)]

    assert run(server, work) == [b"%d" % number for number in range(1, 7)]
    assert server.connections == 6


def test_nobody_listening_is_a_connect_error() -> None:
    async def work() -> None:
        async with PoolTransport(1) as transport:
            with pytest.raises(httpx.ConnectError):
                await body_of(transport, "http://127.0.0.1:1/x")
            with pytest.raises(httpx.UnsupportedProtocol):
                await body_of(transport, "ftp://127.0.0.1/x")

    asyncio.run(work())


def test_a_cancelled_request_gives_back_its_place() -> None:
    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if waiting.pop(0):
            asked.set()
            await reader.read()
        writer.write(ok(b"free", b"Connection: close\r\n"))
        writer.close()

    waiting, asked = [True, False], asyncio.Event()

    async def work(transport: PoolTransport, url: str) -> bytes:
        task = asyncio.ensure_future(body_of(transport, url))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await body_of(transport, url)

    assert run(stuck, work, limit=1) == b"free"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_that_is_made_after_its_request_was_cancelled_is_closed(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """At whatever turn of the loop the cancel comes: none lies open when the transport is gone."""
    open_now, seen, none = 0, asyncio.Event(), asyncio.Event()

    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        seen.set()
        none.clear()
        await reader.read()
        writer.close()
        open_now -= 1
        if not open_now:
            none.set()

    async def work(transport: PoolTransport, url: str) -> None:
        for turns in range(12):
            task = asyncio.ensure_future(body_of(transport, url))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with asyncio.timeout(20):
            await seen.wait()
            await none.wait()

    run(patient, work, loop=loop)


def test_an_answer_that_nobody_ended_ends_with_the_transport() -> None:
    gone = asyncio.Event()

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok()[:-1])
        await reader.read()
        writer.close()
        gone.set()

    async def work(transport: PoolTransport, url: str) -> None:
        response = await transport.handle_async_request(request(url))
        assert response.status_code == httpx.codes.OK
        await transport.aclose()
        async with asyncio.timeout(20):
            await gone.wait()

    run(half, work)


def test_a_response_left_half_read_takes_its_connection_with_it() -> None:
    server = Server(lambda _: ok(b"x" * 3_000_000))

    async def work(transport: PoolTransport, url: str) -> int:
        response = await transport.handle_async_request(request(url))
        async for _ in response.aiter_raw():
            break
        await response.aclose()
        return len(await body_of(transport, url))

    assert run(server, work, limit=1) == 3_000_000
    assert server.connections == 2


def test_a_body_that_nobody_reads_stops_the_sender() -> None:
    sent = [0]

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.set_write_buffer_limits(high=65536)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        try:
            for _ in range(2000):
                writer.write(b"x" * 100_000)
                await writer.drain()
                sent[0] += 100_000
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def work(transport: PoolTransport, url: str) -> int:
        response = await transport.handle_async_request(request(url))
        before = -1
        while sent[0] != before:
            before = sent[0]
            await asyncio.sleep(0.1)
        size = 0
        async for data in response.aiter_raw():
            size += len(data)
        await response.aclose()
        assert before < PAUSE_BYTES + 20_000_000  # ours, and what the two sockets hold
        return size

    assert run(flood, work) == 200_000_000


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_tls_is_verified(authority: trustme.CA, server_tls: ssl.SSLContext) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    assert run(Server(lambda _: ok()), body_of, tls=server_tls, client_tls=trusting) == BODY
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        run(Server(lambda _: ok()), body_of, tls=server_tls)


def test_a_ca_bundle_is_read_from_the_environment(
    authority: trustme.CA, server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with authority.cert_pem.tempfile() as bundle:
        monkeypatch.setenv("SSL_CERT_FILE", bundle)
        assert run(Server(lambda _: ok()), body_of, tls=server_tls) == BODY


def test_a_proxy_in_the_environment_takes_the_stock_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(open_transport(2), PoolTransport)
    proxied: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxied.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ok(b"by proxy", b"Connection: close\r\n"))
        writer.close()

    async def work() -> bytes:
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        async with server, open_transport(2) as transport:
            assert isinstance(transport, StockTransport)
            asked = request("http://archive.invalid/")
            asked.extensions["target"] = b"/folder/x%20y?prefix=z"
            response = await transport.handle_async_request(asked)
            body = b"".join([data async for data in response.aiter_raw()])
            await response.aclose()
            return body

    assert asyncio.run(work()) == b"by proxy"
    assert proxied[0].startswith(b"GET http://archive.invalid/folder/x%20y?prefix=z HTTP/1.1\r\n")


async def stock_body(url: str, http2: bool = False) -> tuple[bytes, bytes]:
    """A body through `open_transport`, and the version of HTTP that carried it."""
    async with open_transport(2, http2) as transport:
        assert isinstance(transport, StockTransport)
        response = await transport.handle_async_request(request(url))
        body = b"".join([data async for data in response.aiter_raw()])
        await response.aclose()
        return body, response.extensions["http_version"]


def test_a_socks_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def socks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        *_, length = await reader.readexactly(5)  # version, connect, reserved, by name
        asked.append(await reader.readexactly(length + 2))
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(b"by socks", b"Connection: close\r\n"))
        writer.close()

    async def work() -> bytes:
        server = await asyncio.start_server(socks, "127.0.0.1", 0)
        async with server:
            monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            return (await stock_body("http://archive.invalid/x"))[0]

    assert asyncio.run(work()) == b"by socks"
    assert asked == [b"archive.invalid\x00\x50"]


@pytest.mark.parametrize("proxy", ["ftp://127.0.0.1:1", "http://[::"])
def test_a_proxy_that_cannot_be_used_is_a_mistake_of_the_user(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigError, match="a proxy in the environment"):
        open_transport(2)


async def speak_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = H2Connection(H2Configuration(client_side=False))
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    while data := await reader.read(65536):
        for event in connection.receive_data(data):
            if isinstance(event, RequestReceived):
                assert event.stream_id is not None
                connection.send_headers(event.stream_id, [(":status", "200"), ("content-length", "5")])
                connection.send_data(event.stream_id, b"by h2", end_stream=True)
        writer.write(connection.data_to_send())
    writer.close()


def test_a_source_that_speaks_only_http2_is_asked_by_the_stock_client(
    authority: trustme.CA, server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_tls.set_alpn_protocols(["h2"])

    async def work() -> tuple[bytes, bytes]:
        server = await asyncio.start_server(speak_http2, "127.0.0.1", 0, ssl=server_tls)
        async with server:
            return await stock_body(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/x", http2=True)

    with authority.cert_pem.tempfile() as bundle:
        monkeypatch.setenv("SSL_CERT_FILE", bundle)
        assert asyncio.run(work()) == (b"by h2", b"HTTP/2")
