"""One page of the bucket's listing (S3 ListObjects, version 1), and the walk over pages."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode
from xml.etree import ElementTree

from core.errors import RemoteError

_NAMESPACE: Final = "{http://s3.amazonaws.com/doc/2006-03-01/}"
PAGE_BYTES: Final = 8_000_000
"""A page of 1000 keys is about 400 kB."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object: `etag` without its quotes, `modified` as the listing writes it."""

    key: str
    size: int
    etag: str
    modified: str


@dataclass(frozen=True, slots=True)
class ListingPage:
    """Objects and folders of one page; `next_marker` is where the next page starts, None on the last one."""

    objects: tuple[ListedObject, ...]
    prefixes: tuple[str, ...]
    next_marker: str | None


def listing_url(
    base: str, prefix: str, marker: str | None, delimiter: str | None = "/", most: int | None = None
) -> str:
    """The URL of a page, of at most so many names."""
    query = {"prefix": prefix}
    if delimiter:
        query["delimiter"] = delimiter
    if marker:
        query["marker"] = marker
    if most:
        query["max-keys"] = str(most)
    return f"{base}?{urlencode(query)}" if base.count("/") > 2 else f"{base}/?{urlencode(query)}"


def parse_page(body: bytes, where: str) -> ListingPage:
    """A page from its bytes. Raises RemoteError that names `where` for anything that is not one."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_a_listing(where, "it is not UTF-8 text") from error
    if "\0" in text or "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise _not_a_listing(where, "it carries a document type or entities")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 (see above)
    except ElementTree.ParseError as error:
        raise _not_a_listing(where, f"it is not XML ({error})") from error
    if root.tag.removeprefix(_NAMESPACE) != "ListBucketResult":
        raise _not_a_listing(where, f"its root is <{root.tag.removeprefix(_NAMESPACE)}>")
    try:
        return _page(root)
    except (TypeError, ValueError, KeyError) as error:
        raise _not_a_listing(where, f"a field is missing or wrong ({error})") from error


def _page(root: ElementTree.Element) -> ListingPage:
    objects: list[ListedObject] = []
    prefixes: list[str] = []
    plain: dict[str, str] = {}
    for child in root:
        tag = child.tag.removeprefix(_NAMESPACE)
        if tag == "Contents":
            objects.append(_object({field.tag.removeprefix(_NAMESPACE): field.text or "" for field in child}))
        elif tag == "CommonPrefixes":
            prefixes += [field.text or "" for field in child]
        else:
            plain[tag] = child.text or ""
    if plain["IsTruncated"] not in ("true", "false"):
        raise ValueError(f"IsTruncated is {plain['IsTruncated']!r}")
    marker = None
    if plain["IsTruncated"] == "true":
        # NextMarker comes only when a delimiter was sent; else the page's greatest name says where to go on.
        marker = plain.get("NextMarker") or max([*(each.key for each in objects[-1:]), *prefixes[-1:]])
    return ListingPage(tuple(objects), tuple(prefixes), marker)


def _object(fields: dict[str, str]) -> ListedObject:
    size, etag = int(fields["Size"]), fields["ETag"].strip('"')
    if not 0 <= size < 2**63:
        raise ValueError(f"the size of {fields['Key']} is {size}")
    if not (etag.isascii() and etag.isprintable()):  # it goes into the header If-Range
        raise ValueError(f"the ETag of {fields['Key']} is {etag!r}")
    return ListedObject(fields["Key"], size, etag, fields["LastModified"])


async def walk(
    read_page: Callable[[str | None], Awaitable[ListingPage]], start_after: str | None = None
) -> AsyncIterator[ListingPage]:
    """Page after page from `start_after` (exclusive). Raises RemoteError if the listing does not get on."""
    marker = start_after
    while True:
        page = await read_page(marker)
        yield page
        if page.next_marker is None:
            return
        if marker is not None and page.next_marker.encode() <= marker.encode():
            raise RemoteError(f"the listing goes in circles at {marker!r}; check --listing")
        marker = page.next_marker


def _not_a_listing(where: str, why: str) -> RemoteError:
    return RemoteError(f"{where} is no bucket listing: {why}; check --source and --listing")
