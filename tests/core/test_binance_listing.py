"""Pages of the bucket's listing, real ones and impossible ones."""

import asyncio
import json

import pytest
from factories import real_folder

from core.errors import RemoteError
from core.exchanges.binance.listing import ListedObject, ListingPage, listing_url, parse_page, walk


@pytest.mark.parametrize("name", ["page1.xml", "page2.xml", "empty.xml"])
def test_captured_pages_are_read_as_they_are(name: str) -> None:
    folder = real_folder()
    truth = json.loads((folder / "truth_extra.json").read_text())[f"listings/{name}"]
    page = parse_page((folder / "listings" / name).read_bytes(), name)
    assert len(page.objects) == truth["keys"]
    assert page.next_marker == truth["next_marker"]
    if name == "page1.xml":
        assert page.objects[0] == ListedObject(
            "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2017-08-17.zip",
            29761,
            "014a8d177da3bf9839c293f341804d26",
            "2023-07-18T04:11:20.000Z",
        )


def document(inner: str, root: str = "ListBucketResult", truncated: str = "false") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{truncated}</IsTruncated>{inner}</{root}>"
    ).encode()


def contents(key: str = "a.zip", size: str = "1", etag: str = '"e"') -> str:
    return f"<Contents><Key>{key}</Key><LastModified>t</LastModified><ETag>{etag}</ETag><Size>{size}</Size></Contents>"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not XML"),
        (b"<html><body>502", "not XML"),
        (b"<html><body>502</body></html>", "its root is <html>"),
        (document("", root="Error"), "its root is <Error>"),
        (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult/>', "entities"),
        (b'<?xml version="1.0"?><!doctype x><ListBucketResult/>', "entities"),
        (document("").decode().encode("utf-16"), "not UTF-8"),
        (document("").decode().encode("utf-16-le"), "entities"),
        (b"\xff\xfe", "not UTF-8"),
        (document(contents(size="-1")), "the size of a.zip is -1"),
        (document(contents(size="many")), "a field is missing or wrong"),
        (document("<Contents><Key>a</Key></Contents>"), "a field is missing or wrong"),
        (document("", truncated="perhaps"), "IsTruncated is 'perhaps'"),
        (b"<ListBucketResult/>", "a field is missing or wrong"),
    ],
)
def test_what_is_no_listing_is_refused_with_its_address(body: bytes, why: str) -> None:
    with pytest.raises(RemoteError, match="http://host/x is no bucket listing") as caught:
        parse_page(body, "http://host/x")
    assert why in str(caught.value)
    assert "check --source and --listing" in str(caught.value)


def test_without_a_delimiter_the_last_name_says_where_to_go_on() -> None:
    page = parse_page(document(contents("b") + contents("c"), truncated="true"), "x")
    assert page.next_marker == "c"
    prefixes = "<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>"
    assert parse_page(document(contents("b") + prefixes, truncated="true"), "x").next_marker == "d/"
    assert parse_page(document(contents("b"), truncated="false"), "x").next_marker is None


def test_a_listing_that_goes_in_circles_is_an_error() -> None:
    async def read_page(marker: str | None) -> ListingPage:
        return ListingPage((), (), "same")

    async def collect() -> int:
        return len([page async for page in walk(read_page)])

    with pytest.raises(RemoteError, match="goes in circles at 'same'"):
        asyncio.run(collect())


def test_the_bucket_is_asked_at_its_root_or_by_its_path() -> None:
    assert listing_url("http://127.0.0.1:8000", "data/spot/", None) == (
        "http://127.0.0.1:8000/?prefix=data%2Fspot%2F&delimiter=%2F"
    )
    assert listing_url("https://s3.amazonaws.com/bucket", "p/", "p/币", None) == (
        "https://s3.amazonaws.com/bucket?prefix=p%2F&marker=p%2F%E5%B8%81"
    )
