"""A lean archive on the loopback, fast enough not to be the limit of what is measured against it.

    python benchmarks/archive_server.py FOLDER [--latency S] [--connection-rate BYTES] [--multipart-etags] [--invent N]

Small objects lie in memory with their heads and leave in one write; ETags are MD5s, as the exchange's, or look like
those of multipart uploads, which prove nothing. `--invent N` lists N symbols with 70 months of five kinds of futures
data, and holds no object. It says its URL on the first line and ends with its standard input.
"""

import argparse
import asyncio
import hashlib
import mmap
import sys
from bisect import bisect_left
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

import uvloop

PAGE_KEYS: Final = 1000
CHUNK_BYTES: Final = 1 << 18
SMALL_BYTES: Final = 1 << 20
KINDS: Final = (
    ("klines", "1h/", "1h"),
    ("markPriceKlines", "1h/", "1h"),
    ("indexPriceKlines", "1h/", "1h"),
    ("premiumIndexKlines", "1h/", "1h"),
    ("fundingRate", "", "fundingRate"),
)


class Archive:
    """Keys in order, with size, ETag and content; pages of the listing are made once."""

    def __init__(self, multipart: bool) -> None:
        self.multipart = multipart
        self.keys: list[str] = []
        self.facts: dict[str, tuple[int, str]] = {}
        self.bodies: dict[str, memoryview] = {}
        self._pages: dict[str, bytes] = {}
        self._ready: dict[str, bytes] = {}

    def add(self, key: str, size: int, etag: str, body: memoryview | None) -> None:
        etag = f"{etag}-2" if self.multipart else etag
        self.facts[key] = (size, etag)
        if body is not None:
            self.bodies[key] = body
            if size <= SMALL_BYTES:
                self._ready["/" + key] = _head("200 OK", size, etag) + bytes(body)

    def add_folder(self, folder: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as stream:
                    body = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
                digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
                self.add(path.relative_to(folder).as_posix(), len(body), digest, body)

    def invent(self, symbols: int) -> None:
        for kind, folder, middle in KINDS:
            for number in range(symbols):
                for month in range(70):
                    name = f"S{number:04d}USDT-{middle}-{2019 + month // 12}-{month % 12 + 1:02d}.zip"
                    key = f"data/futures/um/monthly/{kind}/S{number:04d}USDT/{folder}{name}"
                    for each in (key, f"{key}.CHECKSUM"):
                        self.add(each, 30_000, hashlib.md5(each.encode(), usedforsecurity=False).hexdigest(), None)

    def close_shelf(self) -> None:
        self.keys = sorted(self.facts)

    def answer(self, target: str, range_text: str | None) -> tuple[bytes, memoryview | None]:
        """The head, and the body if it is not in the same bytes."""
        if target.startswith("/?"):
            return self._page(target), None
        if range_text is None and (ready := self._ready.get(target)) is not None:
            return ready, None
        key = unquote(target[1:])
        body = self.bodies.get(key)
        if body is None:
            return _head("404 Not Found", 0, "none"), None
        size, etag = self.facts[key]
        if range_text is None:
            return _head("200 OK", size, etag), body
        first, _, last = range_text.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1 if last else size, size)
        if start >= size:
            return _head("416 Range Not Satisfiable", 0, etag, f"bytes */{size}"), None
        where = f"bytes {start}-{stop - 1}/{size}"
        return _head("206 Partial Content", stop - start, etag, where), body[start:stop]

    def _page(self, target: str) -> bytes:
        page = self._pages.get(target)
        if page is None:
            query = {name: values[0] for name, values in parse_qs(target[2:]).items()}
            body = self._listing(query.get("prefix", ""), query.get("marker", ""), query.get("delimiter", ""))
            page = self._pages[target] = _head("200 OK", len(body), "page") + body
        return page

    def _listing(self, prefix: str, marker: str, delimiter: str) -> bytes:
        contents: list[str] = []
        folders: list[str] = []
        last = ""
        at = max(bisect_left(self.keys, prefix), bisect_left(self.keys, marker + "\0") if marker else 0)
        while at < len(self.keys) and self.keys[at].startswith(prefix) and len(contents) + len(folders) < PAGE_KEYS:
            key = self.keys[at]
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                last = key[: cut + 1]
                if last > marker:
                    folders.append(last)
                at = bisect_left(self.keys, last + "\U0010ffff")
            else:
                last = key
                contents.append(key)
                at += 1
        is_truncated = at < len(self.keys) and self.keys[at].startswith(prefix)
        more = f"<NextMarker>{escape(last)}</NextMarker>" if is_truncated and delimiter else ""
        body = "".join(self._entry(key) for key in contents)
        body += "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>\n" for each in folders)
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>data.binance.vision</Name><Prefix>{escape(prefix)}</Prefix><MaxKeys>{PAGE_KEYS}</MaxKeys>"
            f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated>{more}\n{body}</ListBucketResult>"
        ).encode()

    def _entry(self, key: str) -> str:
        size, etag = self.facts[key]
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>\n"
        )


def _head(status: str, length: int, etag: str, content_range: str | None = None) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        "Content-Type: binary/octet-stream",
        f"Content-Length: {length}",
        f'ETag: "{etag}"',
        "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT",
        "Accept-Ranges: bytes",
        *([f"Content-Range: {content_range}"] if content_range else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class Connection(asyncio.Protocol):
    """One client: its requests in order, each answered after the latency, large bodies as fast as they may go."""

    def __init__(self, archive: Archive, latency: float, rate: int | None) -> None:
        self._archive = archive
        self._latency = latency
        self._rate = rate
        self._received = b""
        self._rest: memoryview | None = None
        self._paused = False
        self._pacing: asyncio.TimerHandle | None = None
        self._free_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[:end], self._received[end + 4 :]
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._answer, head)
            else:
                self._answer(head)

    def _answer(self, head: bytes) -> None:
        line, _, fields = head.partition(b"\r\n")
        at = fields.lower().find(b"range: bytes=")
        wanted = fields[at + 7 :].partition(b"\r\n")[0].decode() if at >= 0 else None
        assert self._transport is not None
        answer, self._rest = self._archive.answer(line.split(b" ", 2)[1].decode(), wanted)
        if self._transport.is_closing():
            return
        self._transport.write(answer)
        if self._rest is not None:
            self._go_on()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._go_on()

    def _go_on(self) -> None:
        """Send what the client takes; with a rate, a fiftieth of a second's worth at a time."""
        loop, transport = asyncio.get_running_loop(), self._transport
        assert transport is not None
        while self._rest is not None and not self._paused and not transport.is_closing():
            if self._rate is not None and loop.time() < self._free_at:
                if self._pacing is None:
                    self._pacing = loop.call_at(self._free_at, self._paced)
                return
            step = CHUNK_BYTES if self._rate is None else max(self._rate // 50, 1)
            chunk, rest = self._rest[:step], self._rest[step:]
            transport.write(chunk)
            self._rest = rest if len(rest) else None
            if self._rate is not None:
                self._free_at = max(self._free_at, loop.time() - 1 / 50) + len(chunk) / self._rate

    def _paced(self) -> None:
        self._pacing = None
        self._go_on()


async def _serve(options: argparse.Namespace) -> None:
    archive = Archive(options.multipart_etags)
    if options.folder is not None:
        archive.add_folder(options.folder)
    if options.invent:
        archive.invent(options.invent)
    archive.close_shelf()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(archive, options.latency, options.connection_rate), "127.0.0.1", 0, backlog=512
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)  # until whoever started us closes it, or dies
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--connection-rate", type=int)
    parser.add_argument("--multipart-etags", action="store_true")
    parser.add_argument("--invent", type=int, default=0)
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
