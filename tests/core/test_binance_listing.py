"""Pages of the bucket's listing, real ones and impossible ones."""

import asyncio
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from factories import publish, real_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import RemoteError
from core.exchanges.binance.listing import ListedObject, ListingPage, listing_url, parse_page, walk
from core.sample.server import running_server


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
        (document("").decode().encode("utf-16-be"), "entities"),
        (b"\xff\xfe", "not UTF-8"),
        (document("\0"), "entities"),
        (document("")[:-5], "not XML"),
        (document("") + b"<more/>", "not XML"),
        (b'{"keys": []}', "not XML"),
        (b"PK\x03\x04\x14\x00", "entities"),
        (document(contents(size="9" * 30)), "the size of a.zip is 999"),
        (document(contents(size="9" * 5000)), "a field is missing or wrong"),
        (document(contents(size="1.5")), "a field is missing or wrong"),
        (document(contents(size="")), "a field is missing or wrong"),
        (document(contents(etag='"\u00e9"')), "the ETag of a.zip is"),
        (document(contents(etag='"a&#10;b"')), "the ETag of a.zip is"),
        (document("<Contents/>"), "a field is missing or wrong"),
        (document(contents().replace('<ETag>"e"</ETag>', "")), "('ETag')"),
        (document(contents().replace("<LastModified>t</LastModified>", "")), "('LastModified')"),
        (document("", truncated="true"), "a field is missing or wrong"),
        (document("", truncated=""), "IsTruncated is ''"),
        (document("", truncated="True"), "IsTruncated is 'True'"),
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


def test_a_bomb_of_entities_is_refused_before_it_is_unpacked() -> None:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY l0 "ha">{levels}]><ListBucketResult>&l11;</ListBucketResult>'
    with pytest.raises(RemoteError, match="it carries a document type or entities"):
        parse_page(bomb.encode(), "x")


@settings(deadline=None)
@given(
    body=st.binary(max_size=300)
    | st.text(max_size=200).map(lambda inner: document(inner))
    | st.text(alphabet='<>/&;IsTruncatedKey "1', max_size=120).map(lambda inner: document(inner))
)
def test_any_bytes_are_a_page_or_a_refusal(body: bytes) -> None:
    try:
        said = f"{parse_page(body, 'http://host/x').next_marker}"
    except RemoteError as error:
        said = str(error)
    assert said == "None" or said.startswith("http://host/x is no bucket listing")


def test_a_page_without_the_namespace_and_with_unknown_fields_is_read() -> None:
    body = document(contents("k") + "<Owner><ID>x</ID></Owner><New>y</New>").replace(
        b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', b""
    )
    assert parse_page(body, "x") == ListingPage((ListedObject("k", 1, "e", "t"),), (), None)


def test_names_are_unescaped_and_quotes_around_an_etag_go() -> None:
    page = parse_page(document(contents("a&amp;b/币.zip", "0", "&quot;abc-12&quot;")), "x")
    assert page.objects == (ListedObject("a&b/币.zip", 0, "abc-12", "t"),)


def test_the_next_marker_that_is_given_is_used() -> None:
    inner = contents("b") + "<NextMarker>zz/</NextMarker><CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes>"
    assert parse_page(document(inner, truncated="true"), "x").next_marker == "zz/"
    assert parse_page(document(inner), "x").next_marker is None


def test_the_greater_of_last_key_and_last_prefix_goes_on_in_byte_order() -> None:
    """Beyond U+FFFF the order of UTF-16 differs from that of bytes: the exchange sorts by bytes."""
    inner = contents("a/\uff5e") + "<CommonPrefixes><Prefix>a/\U0001f600/</Prefix></CommonPrefixes>"
    assert parse_page(document(inner, truncated="true"), "x").next_marker == "a/\U0001f600/"
    inner = contents("z") + "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>"
    assert parse_page(document(inner, truncated="true"), "x").next_marker == "z"


def walked(pages: list[ListingPage], start_after: str | None = None) -> list[str | None]:
    """The markers that were asked for."""
    asked: list[str | None] = []

    async def read_page(marker: str | None) -> ListingPage:
        asked.append(marker)
        return pages[len(asked) - 1]

    async def collect() -> None:
        assert [page async for page in walk(read_page, start_after)] == pages

    asyncio.run(collect())
    return asked


def test_a_walk_asks_for_page_after_page_until_there_is_no_marker() -> None:
    pages = [ListingPage((), (), "b"), ListingPage((), (), "c"), ListingPage((), (), None)]
    assert walked(pages) == [None, "b", "c"]
    assert walked(pages, "a") == ["a", "b", "c"]
    assert walked(pages[2:], "z") == ["z"]


@pytest.mark.parametrize(
    ("start", "markers"), [("m", ["m"]), ("m", ["l"]), (None, ["b", "a"]), (None, ["b", "c", "c"])]
)
def test_a_marker_that_does_not_advance_is_an_error(start: str | None, markers: list[str]) -> None:
    with pytest.raises(RemoteError, match=r"goes in circles at .*; check --listing"):
        walked([ListingPage((), (), marker) for marker in markers], start)


@pytest.mark.parametrize("delimiter", ["/", None])
def test_all_of_2600_objects_come_over_three_pages_each_once(tmp_path: Path, delimiter: str | None) -> None:
    """Page one holds 500 archives with their sidecars; who stops there loses the other 800."""
    names = [f"A-1h-{2000 + n // 12}-{n % 12 + 1:02d}.zip" for n in range(1300)]
    for name in names:
        publish(tmp_path, f"data/A/{name}", b"x")
    with running_server(tmp_path) as server:

        async def read_page(marker: str | None) -> ListingPage:
            url = listing_url(server.url, "data/A/", marker, delimiter)
            async with httpx.AsyncClient() as client:
                return parse_page((await client.get(url)).content, url)

        async def collect() -> list[ListingPage]:
            return [page async for page in walk(read_page)]

        pages = asyncio.run(collect())
    assert [len(page.objects) for page in pages] == [1000, 1000, 600]
    assert [each.key for page in pages for each in page.objects] == [
        key for name in names for key in (f"data/A/{name}", f"data/A/{name}.CHECKSUM")
    ]


@settings(deadline=None)
@given(prefix=st.text(max_size=30), marker=st.text(min_size=1, max_size=30))
def test_what_is_asked_for_arrives_as_it_was_written(prefix: str, marker: str) -> None:
    query = parse_qs(urlsplit(listing_url("http://h:1", prefix, marker)).query, keep_blank_values=True)
    assert query == {"prefix": [prefix], "delimiter": ["/"], "marker": [marker]}


def test_the_captured_pages_follow_each_other() -> None:
    folder = real_folder() / "listings"
    first, second = (parse_page((folder / name).read_bytes(), name) for name in ("page1.xml", "page2.xml"))
    assert (
        first.next_marker
        == first.objects[-1].key
        == ("data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2017-08-22.zip.CHECKSUM")
    )
    assert second.objects[0].key == "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2017-08-23.zip"
    keys = [each.key for page in (first, second) for each in page.objects]
    assert keys == sorted(keys, key=str.encode)
    assert all(len(each.etag) == 32 and each.size > 0 for page in (first, second) for each in page.objects)
