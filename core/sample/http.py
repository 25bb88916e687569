"""As much of HTTP/1.1 as the sample server speaks: requests without a body, ranges, answers of known length."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from io import BytesIO
from typing import BinaryIO
from urllib.parse import parse_qsl, unquote_to_bytes
from xml.sax.saxutils import escape

_RANGE = re.compile(r"bytes=(?:(\d+)-(\d*)|-(\d+))")


class BadRequest(Exception):
    """What was received is no request that can be answered."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `path` is decoded and begins with `/`; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def keeps_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: `length` bytes of `source` from `start` on."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    source: BinaryIO = field(default_factory=BytesIO)
    start: int = 0
    length: int = 0

    @classmethod
    def of(cls, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> "Reply":
        return cls(status, headers or {}, BytesIO(body), 0, len(body))

    def head(self) -> bytes:
        """The status line and the headers."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", f"Content-Length: {self.length}"]
        lines += [
            f"{name}: {value}" for name, value in ({"Date": formatdate(usegmt=True)} | dict(self.headers)).items()
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def truncated_to(self, length: int) -> "Reply":
        return replace(self, length=min(length, self.length))


def error_reply(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error in the form of S3."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    )
    return Reply.of(status, body.encode(), {"Content-Type": "application/xml"} | dict(headers or {}))


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None when the client has hung up. Raises BadRequest."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except asyncio.LimitOverrunError:
        raise BadRequest("the header is too long") from None
    return parse_request(head)


def parse_request(head: bytes) -> Request:
    """A request from its lines. Raises BadRequest."""
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    match first.split(" "):
        case [method, target, "HTTP/1.1"] if target.startswith("/"):
            pass
        case _:
            raise BadRequest("no request line")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise BadRequest("a request has no body here")
    path, _, query = target.partition("?")
    try:
        pairs = dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
        return Request(method, unquote_to_bytes(path).decode(), pairs, headers)
    except UnicodeDecodeError:
        raise BadRequest("the path is not UTF-8") from None


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """The half-open range that a Range header asks of `size` bytes; empty if there are no such bytes.

    None for a header that is not understood or names several ranges: it is ignored.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return max(size - int(suffix), 0), size
    end = min(int(last) + 1, size) if last else size
    if last and int(last) < int(first):
        return None
    return min(int(first), size), max(end, min(int(first), size))
