"""How an object of the bucket is answered: whole, in part, or not at all."""

from dataclasses import replace
from hashlib import md5
from io import BytesIO
from typing import BinaryIO

from core.sample.bucket import StoredObject
from core.sample.faults import Fault
from core.sample.http import Reply, Request, byte_range, error_reply


def object_reply(found: StoredObject | None, request: Request, fault: Fault) -> Reply:
    """200, 206, 404 or 416; the caller closes the reply's source."""
    source = _source(found, fault)
    if found is None or source is None:
        return error_reply(404, "NoSuchKey", "The specified key does not exist.")
    if fault.content is not None:
        digest = md5(fault.content, usedforsecurity=False).hexdigest()
        found = replace(found, size=len(fault.content), etag=digest)
    if fault.etag is not None:
        found = replace(found, etag=fault.etag)
    wanted = None if fault.ignores_range else _wanted(found, request)
    if wanted is None:
        return Reply(200, _headers(found), source, 0, found.size)
    return _part(found, source, (wanted[0], found.size) if fault.ignores_end else wanted, fault.shift)


def _source(found: StoredObject | None, fault: Fault) -> BinaryIO | None:
    if found is None:
        return None
    if fault.content is not None:
        return BytesIO(fault.content)
    try:
        return found.path.open("rb")
    except FileNotFoundError:  # removed since it was found
        return None


def _headers(found: StoredObject) -> dict[str, str]:
    return {
        "Content-Type": "application/zip" if found.key.endswith(".zip") else "binary/octet-stream",
        "Last-Modified": found.http_date,
        "ETag": f'"{found.etag}"',
        "Accept-Ranges": "bytes",
    }


def _wanted(found: StoredObject, request: Request) -> tuple[int, int] | None:
    """The range to answer with; None for the whole object, also where If-Range names another version."""
    text = request.headers.get("range")
    condition = request.headers.get("if-range")
    if text is None or (condition is not None and condition not in (f'"{found.etag}"', found.http_date)):
        return None
    return byte_range(text, found.size)


def _part(found: StoredObject, source: BinaryIO, wanted: tuple[int, int], shift: int) -> Reply:
    first, end = wanted
    if first >= end:
        source.close()
        headers = {"Content-Range": f"bytes */{found.size}", "Accept-Ranges": "bytes"}
        return error_reply(416, "InvalidRange", "The requested range is not satisfiable", headers)
    first = min(max(first + shift, 0), end - 1)
    headers = _headers(found) | {"Content-Range": f"bytes {first}-{end - 1}/{found.size}"}
    return Reply(206, headers, source, first, end - first)
