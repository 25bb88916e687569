"""A server on the loopback for any folder in the archive's layout: objects with ranges, and listing pages.

It answers like the exchange, or, where a rule of `core.sample.faults` says so, like the exchange on a bad day.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

from core.sample.bucket import MAX_KEYS, Bucket, Clock, ListingQuery
from core.sample.faults import NO_FAULT, Fault, RequestInfo, Rule
from core.sample.http import BadRequest, Reply, Request, error_reply, read_request
from core.sample.objects import object_reply
from core.sample.rest import SampleApi, api_error
from core.sample.wire import Wire

HOST = "127.0.0.1"

Handler = Callable[[Request], Awaitable[Reply]]


class ArchiveServer:
    """Serves `folder` on 127.0.0.1 while entered: `async with ArchiveServer(folder) as server: server.url`.

    `requests` keeps every request in order, `hits` counts them by name (see `RequestInfo.name`) and `body_bytes` the
    bytes of bodies sent; `sending` counts the answers that are on their way. `latency_seconds` delays every answer,
    `bytes_per_second` limits every connection. With a `clock` it serves what was published by then; see `Bucket`, whose
    `listing_until_us` makes the listing older than that. `api` is served too, where one is given.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        faults: Rule | None = None,
        latency_seconds: float = 0.0,
        bytes_per_second: int | None = None,
        api: SampleApi | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.bucket = Bucket(folder, clock)
        self.port = port
        self.faults = faults
        self.latency_seconds = latency_seconds
        self.bytes_per_second = bytes_per_second
        self.requests: list[RequestInfo] = []
        self.hits: Counter[str] = Counter()
        self.body_bytes: Counter[str] = Counter()
        self.sending: Counter[str] = Counter()
        # The exact paths that are no objects; further endpoints are further lines.
        self.routes: dict[str, Handler] = {
            "/": self._listing,
            "/data.binance.vision": self._listing,
            "/data.binance.vision/": self._listing,
        }
        self._api_routes = api.routes() if api else {}
        self.routes |= self._api_routes
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        # A connection that was just accepted needs some rounds of the loop until it is known here, and Python 3.11
        # leaks it if the server is closed before. So: accept no more, wait, close.
        for listener in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        for _ in range(5):
            await asyncio.sleep(0)
        self._server.close()
        connections = dict(self._connections)
        for task, writer in connections.items():
            task.cancel()
            writer.transport.abort()  # a client that does not read must not hold up the shutdown
        await asyncio.gather(*connections, return_exceptions=True)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(Wire(reader, writer, self.bytes_per_second)))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve(self, wire: Wire) -> None:
        """Answer the requests of one connection until it ends."""
        try:
            with contextlib.suppress(ConnectionError):
                while await self._answer_next(wire):
                    pass
        finally:
            await wire.close()

    async def _answer_next(self, wire: Wire) -> bool:
        """Answer one request; whether the connection lives on."""
        try:
            request = await read_request(wire.reader)
        except BadRequest as error:
            await wire.send(error_reply(400, "BadRequest", str(error)), NO_FAULT, _uncounted)
            return False
        if request is None:
            return False
        info = self._recorded(request)
        fault = (self.faults(info) if self.faults else None) or NO_FAULT
        await asyncio.sleep(self.latency_seconds)
        reply = await self._reply(request, fault)
        with reply.source:
            if request.method == "HEAD":
                return await wire.send_head(reply) and request.keeps_alive
            self.sending[info.name] += 1
            try:
                return await wire.send(reply, fault, self._counter(info.name)) and request.keeps_alive
            finally:
                self.sending[info.name] -= 1

    def _recorded(self, request: Request) -> RequestInfo:
        is_listing = self.routes.get(request.path) == self._listing
        name = f"?{request.query.get('prefix', '')}" if is_listing else request.path.removeprefix("/")
        self.hits[name] += 1
        info = RequestInfo(request.method, name, request.query, request.headers, self.hits[name])
        self.requests.append(info)
        return info

    def _counter(self, name: str) -> Callable[[int], None]:
        def count(size: int) -> None:
            self.body_bytes[name] += size

        return count

    async def _reply(self, request: Request, fault: Fault) -> Reply:
        if fault.status is not None:
            wait = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            if request.path in self._api_routes:
                return api_error(fault.status, "on request", wait)
            return error_reply(fault.status, HTTPStatus(fault.status).phrase.replace(" ", ""), "on request", wait)
        if request.method not in ("GET", "HEAD"):
            return error_reply(405, "MethodNotAllowed", "only GET and HEAD", {"Allow": "GET, HEAD"})
        if handler := self.routes.get(request.path):
            reply = await handler(request)
            if fault.content is not None:
                reply = Reply.of(200, fault.content, reply.headers)
        else:
            found = await asyncio.to_thread(self.bucket.find, request.path.removeprefix("/"))
            reply = object_reply(found, request, fault)
        return reply if fault.truncated_to is None else reply.truncated_to(fault.truncated_to)

    async def _listing(self, request: Request) -> Reply:
        try:
            query = listing_query(request)
        except ValueError as error:
            return error_reply(400, "InvalidArgument", str(error))
        page = await asyncio.to_thread(self.bucket.page, query)
        return Reply.of(200, page.xml().encode(), {"Content-Type": "application/xml"})


def _uncounted(size: int) -> None:
    """Bytes of an answer to nothing that has a name."""


def listing_query(request: Request) -> ListingQuery:
    """What a request for a listing asks for. Raises ValueError for what S3 would refuse, and for odd delimiters."""
    query = request.query
    delimiter, wanted = query.get("delimiter", ""), query.get("max-keys", str(MAX_KEYS))
    if delimiter not in ("", "/"):
        raise ValueError("the delimiter is a slash here")
    if not (wanted.isascii() and wanted.isdigit()):
        raise ValueError("max-keys is no number")
    return ListingQuery(query.get("prefix", ""), delimiter, query.get("marker", ""), min(int(wanted), MAX_KEYS))


@contextlib.contextmanager
def running_server(
    folder: Path,
    *,
    port: int = 0,
    faults: Rule | None = None,
    latency_seconds: float = 0.0,
    bytes_per_second: int | None = None,
    api: SampleApi | None = None,
    clock: Clock | None = None,
) -> Iterator[ArchiveServer]:
    """The same server in a thread with a loop of its own, for code that is not async."""
    server = ArchiveServer(
        folder,
        port=port,
        faults=faults,
        latency_seconds=latency_seconds,
        bytes_per_second=bytes_per_second,
        api=api,
        clock=clock,
    )
    started: Future[Callable[[], object]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, started)), name="sample-server", daemon=True)
    thread.start()
    try:
        stop = started.result()
    except BaseException:
        thread.join()
        raise
    try:
        yield server
    finally:
        stop()
        thread.join()


async def _serve(server: ArchiveServer, started: Future[Callable[[], object]]) -> None:
    """Serve until the function that `started` is given is called; a failure to start goes there too."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(lambda: loop.call_soon_threadsafe(stopped.set))
        await stopped.wait()
