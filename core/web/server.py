"""The page's server: GET and HEAD, on this machine only, a fixed list of paths, and nothing that writes.

/             the page, with /page.css, /page.js and /icon.svg
/status.json  the whole data folder
/series.json?market=um&type=klines&symbol=BTCUSDT&interval=1h    one series, day by day
/bars.json    stored bars

Whoever may connect to a port of this machine may see it. Pages of others cannot: host names that may be given to this
machine by anybody are refused (DNS rebinding), and the browser is told to load nothing from elsewhere.
"""

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from core.errors import MarketDataError
from core.layout import Layout
from core.types import Market, Series
from core.web.documents import Body, Documents

HOST: Final = "127.0.0.1"
NAMES: Final = frozenset({"127.0.0.1", "localhost"})
POLICY: Final = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_PAGE: Final = Path(__file__).parent / "page"
_FILES: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_JSON: Final = "application/json"
_LONGEST_QUERY: Final = 1000


class StatusServer(ThreadingHTTPServer):
    """Serves the page of one data folder from `port` (0: any free one). Raises OSError where that is in use."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, layout: Layout, port: int) -> None:
        self.documents = Documents(layout)
        self.files = {path: _file(name, kind) for path, (name, kind) in _FILES.items()}
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone is nothing to tell of."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Tapevault"
    sys_version = ""
    timeout = 30
    server: StatusServer

    def do_GET(self) -> None:
        if not self._is_for_us():
            self._refuse(HTTPStatus.FORBIDDEN, "open this page as http://127.0.0.1 or http://localhost")
            return
        url = urlsplit(self.path)
        answers: Mapping[str, Callable[[], Body | None]] = {
            "/status.json": self.server.documents.status.body,
            "/bars.json": self.server.documents.bars.body,
            "/series.json": partial(self._series, url.query),
        }
        if url.path in self.server.files:
            self._send(*self.server.files[url.path])
        elif url.path in answers:
            self._answer(answers[url.path])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    do_HEAD = do_GET  # noqa: N815 (the library's names)

    def _only_read(self) -> None:
        if not self._is_for_us():
            self._refuse(HTTPStatus.FORBIDDEN, "open this page as http://127.0.0.1 or http://localhost")
            return
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "this page only shows", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _only_read  # noqa: N815

    def _is_for_us(self) -> bool:
        """Whether the browser asked for this machine by a name that cannot be given to another one."""
        hosts = self.headers.get_all("Host") or []
        name, _, port = hosts[0].strip().lower().partition(":") if len(hosts) == 1 else ("", "", "")
        return name in NAMES and (not port or (port.isascii() and port.isdigit()))

    def _series(self, query: str) -> Body | None:
        try:
            words = dict(parse_qsl(query[:_LONGEST_QUERY], keep_blank_values=True, errors="strict"))
            one = Series(Market(words["market"]), words["type"], words["symbol"], words.get("interval") or None)
        except (ValueError, KeyError):
            return None
        return self.server.documents.series(one)

    def _answer(self, make: Callable[[], Body | None]) -> None:
        try:
            body = make()
        except MarketDataError as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            return
        if body is None:
            self._refuse(HTTPStatus.NOT_FOUND, "nothing is known of such a series")
        else:
            self._send(body, _JSON)

    def _send(self, body: Body, kind: str) -> None:
        if body.etag in (self.headers.get("If-None-Match") or ""):
            self._head(HTTPStatus.NOT_MODIFIED, {"ETag": body.etag, "Vary": "Accept-Encoding"})
            return
        is_packed = "gzip" in (self.headers.get("Accept-Encoding") or "")
        content = body.packed if is_packed else body.plain
        packed = {"Content-Encoding": "gzip"} if is_packed else {}
        self._content(HTTPStatus.OK, content, kind, {"ETag": body.etag, "Vary": "Accept-Encoding"} | packed)

    def _refuse(self, code: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        """A body that was sent along is not read: the connection ends."""
        self.close_connection = True
        content = json.dumps({"message": message}).encode()
        self._content(code, content, _JSON, {"Connection": "close"} | dict(headers or {}))

    def _content(self, code: HTTPStatus, content: bytes, kind: str, headers: Mapping[str, str]) -> None:
        self._head(code, {"Content-Type": kind, "Content-Length": str(len(content))} | dict(headers))
        if self.command != "HEAD":
            self.wfile.write(content)

    def _head(self, code: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in (_HEADERS | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Who looked is not written down."""


def _file(name: str, kind: str) -> tuple[Body, str]:
    plain = (_PAGE / name).read_bytes()
    return Body.of_bytes(plain), kind
