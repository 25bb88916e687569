"""The sample server answers as the exchange does: objects, ranges, listing pages."""

import asyncio
import contextlib
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.sample.bucket import Bucket, ListingQuery
from core.sample.http import byte_range
from core.sample.server import ArchiveServer, running_server

REAL = Path(os.environ.get("TAPEVAULT_REAL", Path(__file__).resolve().parents[2].parent / "shared" / "real"))
NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
BODY = bytes(range(256)) * 40
ETAG = f'"{hashlib.md5(BODY).hexdigest()}"'
FILES = {
    "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-01.zip": BODY,
    "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-01.zip.CHECKSUM": b"0" * 64,
    "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-02.zip": b"two",
    "data/spot/daily/klines/BTCUSDT/1h/a.zip": b"a",
    "data/spot/daily/klines/BTCUSDT-X/1m/b.zip": b"b",
    "data/spot/daily/klines/BTCUSDT_240329/1m/c.zip": b"c",
    "data/spot/daily/klines/BTCUSDT0/1m/d.zip": b"d",
    "data/spot/daily/klines/币安人生USDT/1m/币安人生USDT-1m-2024-01-01.zip": b"life",
    "data/spot/daily/klines/A&<B>'\"/odd + name.zip": b"odd",
    "data/spot/daily/trades/ETHUSDT/e.zip": b"e",
    "data/futures/um/f.zip": b"f",
    "data/empty.zip": b"",
    "zlast.txt": b"z",
}
KEY = next(iter(FILES))


def fill(folder: Path) -> Path:
    for key, content in FILES.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    (folder / "data" / "no files here").mkdir()
    (folder / ".sample.json").write_text("{}")
    (folder / "data" / ".half.zip.tmp").write_text("half")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("bucket"))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ArchiveServer]:
    with running_server(folder) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ArchiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False) as opened:
        yield opened


def listed(found: httpx.Response) -> dict[str, list[str]]:
    """The texts of a listing by element name."""
    texts: dict[str, list[str]] = {}
    for element in ET.fromstring(found.content).iter():
        texts.setdefault(element.tag.removeprefix(NS), []).append(element.text or "")
    return texts


def test_an_object_comes_with_the_headers_of_the_exchange(client: httpx.Client) -> None:
    found = client.get(f"/{KEY}")
    assert found.status_code == 200
    assert found.content == BODY
    assert found.headers["etag"] == ETAG
    assert found.headers["content-type"] == "application/zip"
    assert found.headers["accept-ranges"] == "bytes"
    assert found.headers["content-length"] == str(len(BODY))
    assert found.headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"


def test_head_is_get_without_a_body(client: httpx.Client) -> None:
    head, get = client.head(f"/{KEY}"), client.get(f"/{KEY}")
    assert head.content == b""
    assert head.headers == get.headers
    assert client.head("/nothing").status_code == 404


def test_a_connection_is_used_again(folder: Path) -> None:
    with running_server(folder) as server, socket.create_connection(("127.0.0.1", server.port)) as raw:
        answers = b""
        for _ in range(3):
            raw.sendall(b"HEAD /zlast.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            answers += raw.recv(4096)
        assert answers.count(b"HTTP/1.1 200 OK") == 3
        raw.sendall(b"GET /zlast.txt HTTP/1.1\r\nConnection: close\r\n\r\n")
        while more := raw.recv(4096):
            answers += more
        assert answers.endswith(b"\r\n\r\nz")
        assert server.hits["zlast.txt"] == 4
        assert server.body_bytes["zlast.txt"] == 1


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [("0-0", 0, 1), ("100-", 100, 10240), ("100-199", 100, 200), ("-5", 10235, 10240), ("10000-99999", 10000, 10240)],
)
def test_a_range_is_answered_with_exactly_that_part(client: httpx.Client, asked: str, first: int, end: int) -> None:
    found = client.get(f"/{KEY}", headers={"Range": f"bytes={asked}"})
    assert found.status_code == 206
    assert found.headers["content-range"] == f"bytes {first}-{end - 1}/{len(BODY)}"
    assert found.content == BODY[first:end]
    assert found.headers["etag"] == ETAG


@pytest.mark.parametrize("asked", ["10240-", "99999-100000", "-0"])
def test_a_range_behind_the_end_is_416_and_says_the_size(client: httpx.Client, asked: str) -> None:
    found = client.get(f"/{KEY}", headers={"Range": f"bytes={asked}"})
    assert found.status_code == 416
    assert found.headers["content-range"] == f"bytes */{len(BODY)}"
    assert client.get("/data/empty.zip", headers={"Range": "bytes=0-"}).status_code == 416


@pytest.mark.parametrize("asked", ["bytes=5-4", "bytes=a-b", "lines=0-1", "bytes=0-1,5-6", "bytes=-"])
def test_a_range_that_is_not_understood_is_ignored(client: httpx.Client, asked: str) -> None:
    found = client.get(f"/{KEY}", headers={"Range": asked})
    assert (found.status_code, found.content) == (200, BODY)


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_a_slice(size: int, first: int, last: int) -> None:
    body = bytes(range(size))
    for text, expected in [
        (f"{first}-", body[first:]),
        (f"{first}-{last}", body[first : last + 1]),
        (f"-{last}", body[-last:]),
    ]:
        found = byte_range(f"bytes={text}", size)
        if found is None:
            assert last < first
        else:
            assert body[found[0] : found[1]] == (expected if text != "-0" else b"")


def test_if_range_gives_the_part_only_of_the_version_it_names(client: httpx.Client) -> None:
    part = {"Range": "bytes=10-19"}
    assert client.get(f"/{KEY}", headers=part | {"If-Range": ETAG}).status_code == 206
    assert client.get(f"/{KEY}", headers=part | {"If-Range": "Tue, 14 Nov 2023 22:13:20 GMT"}).status_code == 206
    for other in ('"00000000000000000000000000000000"', ETAG.strip('"'), "Tue, 14 Nov 2023 22:13:21 GMT"):
        found = client.get(f"/{KEY}", headers=part | {"If-Range": other})
        assert (found.status_code, found.content) == (200, BODY)


def test_a_missing_key_is_404_with_xml(client: httpx.Client) -> None:
    found = client.get("/data/spot/nothing.zip")
    assert found.status_code == 404
    assert ET.fromstring(found.content).findtext("Code") == "NoSuchKey"
    assert client.get("/data/spot").status_code == 404, "a folder is no object"


def test_keys_of_any_script_and_shape_are_found(client: httpx.Client) -> None:
    for key, content in FILES.items():
        assert client.get(f"/{quote(key)}").content == content


def test_a_name_that_is_not_utf8_is_a_bad_request(server: ArchiveServer) -> None:
    assert b"400 Bad Request" in exchange(server, b"GET /%ff%fe HTTP/1.1\r\n\r\n")
    assert b"400 Bad Request" in exchange(server, b"nonsense\r\n\r\n")
    assert b"400 Bad Request" in exchange(server, b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n")
    assert b"405 Method Not Allowed" in exchange(server, b"PUT /a HTTP/1.1\r\nConnection: close\r\n\r\n")


def exchange(server: ArchiveServer, request: bytes) -> bytes:
    """What comes back for raw bytes, until the server hangs up."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(request)
        with contextlib.suppress(ConnectionResetError):  # it did not read all that was sent
            while more := raw.recv(65536):
                answer += more
    return answer


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/data/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/data/%2e%2e%2f%2e%2e%2fsecret.txt",
        "//etc/passwd",
        "/link.txt",
        "/linked/secret.txt",
        "/.hidden",
        "/data/./f",
        "/%00",
        "/..%5csecret.txt",
    ],
)
def test_nothing_outside_the_folder_is_served(tmp_path: Path, path: str) -> None:
    inside = tmp_path / "inside"
    (inside / "data").mkdir(parents=True)
    for name in ("secret.txt", "inside/.hidden", "inside/data/f"):
        (tmp_path / name).write_text("secret")
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    (inside / "linked").symlink_to(tmp_path)
    with running_server(inside) as server:
        answer = exchange(server, f"GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        assert b"404 Not Found" in answer
        assert b"secret" not in answer.partition(b"\r\n\r\n")[2]
        for prefix in ("", "linked/", "../", "/", "data/../../"):
            found = httpx.get(server.url, params={"prefix": prefix, "delimiter": "/"}, trust_env=False)
            names = listed(found).get("Key", []) + [name for name in listed(found)["Prefix"] if name != prefix]
            assert names == (["data/"] if prefix == "" else [])


def s3_page(keys: list[bytes], query: ListingQuery) -> tuple[list[str], list[str], bool]:
    """The same page by the plain way: sort all keys, roll up, cut."""
    entries: list[bytes] = []
    for key in sorted(keys):
        if key.startswith(query.prefix.encode()):
            rest = key[len(query.prefix.encode()) :]
            head, slash, _ = rest.partition(b"/")
            name = query.prefix.encode() + head + slash if query.delimiter and slash else key
            if name > query.marker.encode() and name not in entries:
                entries.append(name)
    kept = [name.decode() for name in entries[: query.max_keys]]
    truncated = 0 < query.max_keys < len(entries)
    return [n for n in kept if not n.endswith("/")], [n for n in kept if n.endswith("/")], truncated


CUTS = sorted({key[:length] for key in FILES for length in range(len(key) + 1)})


@given(
    prefix=st.sampled_from(CUTS) | st.sampled_from(["nothing", "data/spot/x/", "data//", "/"]),
    delimiter=st.sampled_from(["", "/"]),
    marker=st.sampled_from(["", *CUTS]) | st.sampled_from([f"{cut}~" for cut in CUTS]),
    max_keys=st.integers(0, 14),
)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_page_is_what_a_plain_sorted_walk_gives(
    folder: Path, prefix: str, delimiter: str, marker: str, max_keys: int
) -> None:
    query = ListingQuery(prefix, delimiter, marker, max_keys)
    page = Bucket(folder).page(query)
    found = [each.key for each in page.objects], list(page.prefixes), page.is_truncated
    assert found == s3_page([key.encode() for key in FILES], query)


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("max_keys", [1, 2, 3, 1000])
def test_pages_follow_one_another_without_gap_or_overlap(client: httpx.Client, delimiter: str, max_keys: int) -> None:
    keys: list[str] = []
    marker = ""
    while True:
        params = {"prefix": "data/spot/daily/", "delimiter": delimiter, "marker": marker, "max-keys": str(max_keys)}
        page = listed(client.get("/", params=params))
        new = page.get("Key", []) + page["Prefix"][1:]
        keys += new
        if page["IsTruncated"] == ["false"]:
            break
        assert ("NextMarker" in page) == (delimiter == "/")
        marker = page["NextMarker"][0] if delimiter else max(new, key=str.encode)
    inside = sorted((key for key in FILES if key.startswith("data/spot/daily/")), key=str.encode)
    assert keys == (inside if not delimiter else ["data/spot/daily/klines/", "data/spot/daily/trades/"])


def test_a_listing_is_served_at_the_root_and_under_the_name_of_the_bucket(client: httpx.Client) -> None:
    params = {"prefix": "data/spot/daily/klines/", "delimiter": "/"}
    root = client.get("/", params=params)
    assert root.headers["content-type"] == "application/xml"
    assert client.get("/data.binance.vision", params=params).content == root.content
    assert client.get("/data.binance.vision/", params=params).content == root.content
    assert listed(root)["Prefix"][1:][:3] == [
        f"data/spot/daily/klines/{name}/" for name in ("A&<B>'\"", "BTCUSDT-X", "BTCUSDT")
    ]


def test_a_listing_refuses_what_it_cannot_do(client: httpx.Client) -> None:
    assert client.get("/", params={"delimiter": "-"}).status_code == 400
    assert client.get("/", params={"max-keys": "many"}).status_code == 400
    assert listed(client.get("/", params={"max-keys": "5000"}))["MaxKeys"] == ["1000"]


def test_pages_are_written_as_the_real_ones_byte_for_byte(tmp_path: Path) -> None:
    captures = sorted((REAL / "listings").glob("*.xml"))
    if not captures:
        pytest.skip(f"no captured listings at {REAL}")
    assert len(captures) == 3
    for number, capture in enumerate(captures):
        text = capture.read_text()
        page = {name: re.findall(f"<{name}>(.*)</{name}>", text) for name in ("Key", "Prefix", "Marker", "MaxKeys")}
        root = tmp_path / str(number)
        (root / "data").mkdir(parents=True)
        # A page that says there is more needs one more file behind it.
        more = [f"{page['Key'][-1]}~"] if "<IsTruncated>true" in text else []
        for key in [*page["Key"], *more]:
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(b"")
        query = ListingQuery(page["Prefix"][0], "/", page["Marker"][0], int(page["MaxKeys"][0]))
        # Content is not in a capture, so what depends on it is set equal; all else must be the same text.
        plain = [
            re.sub(r"<(ETag|Size|LastModified)>.*</", r"<\1></", xml) for xml in (text, Bucket(root).page(query).xml())
        ]
        assert plain[0] == plain[1]


def test_the_real_folder_is_served_as_it_lies() -> None:
    folder = REAL
    if not (folder / "data").is_dir():
        pytest.skip(f"no real archive files at {REAL}")
    with running_server(folder) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        page = listed(client.get("/", params={"prefix": "data/"}))
        assert len(page["Key"]) == len([path for path in (folder / "data").rglob("*") if path.is_file()])
        for key, etag, size in list(zip(page["Key"], page["ETag"], page["Size"], strict=True))[:30]:
            found = client.get(f"/{key}")
            assert f'"{hashlib.md5(found.content).hexdigest()}"' == etag == found.headers["etag"]
            assert len(found.content) == int(size)
            if key.endswith(".CHECKSUM"):
                digest, name = found.text.split()
                assert hashlib.sha256((folder / key).with_name(name).read_bytes()).hexdigest() == digest


def test_a_file_that_is_replaced_has_a_new_etag_and_a_new_one_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"old")
    os.utime(tmp_path / "a.zip", (1e9, 1e9))
    with running_server(tmp_path) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        before = client.get("/a.zip")
        (tmp_path / "b.tmp").write_bytes(b"new")
        os.utime(tmp_path / "b.tmp", (1e9, 1e9))
        (tmp_path / "b.tmp").replace(tmp_path / "a.zip")
        after = client.get("/a.zip")
        assert (before.content, after.content) == (b"old", b"new")
        assert before.headers["etag"] != after.headers["etag"]
        assert listed(client.get("/"))["ETag"] == [after.headers["etag"]]
        (tmp_path / "c.zip").write_bytes(b"c")
        assert listed(client.get("/"))["Key"] == ["a.zip", "c.zip"]


def test_a_folder_that_rested_is_read_once_until_it_changes(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number:03}.zip").write_bytes(b"x")
    os.utime(tmp_path, (1e9, 1e9))
    bucket = Bucket(tmp_path)
    first = bucket.page(ListingQuery(max_keys=10))
    assert [each.key for each in first.objects] == [f"{number:03}.zip" for number in range(10)]
    assert len(bucket.page(ListingQuery(marker="009.zip")).objects) == 40
    (tmp_path / "005-new.zip").write_bytes(b"x")
    assert len(bucket.page(ListingQuery()).objects) == 51


def test_it_runs_in_a_loop_and_serves_many_at_once(folder: Path) -> None:
    async def main() -> list[int]:
        async with (
            ArchiveServer(folder, latency_seconds=0.01) as server,
            httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
        ):
            answers = await asyncio.gather(*(client.get(f"/{KEY}") for _ in range(40)))
            assert server.hits[KEY] == 40
            assert server.body_bytes[KEY] == 40 * len(BODY)
            assert [request.number for request in server.requests] == list(range(1, 41))
            return [answer.status_code for answer in answers]

    assert asyncio.run(main()) == [200] * 40


def test_a_limited_rate_takes_its_time(folder: Path) -> None:
    with running_server(folder, bytes_per_second=40_000, latency_seconds=0.05) as server:
        started = time.monotonic()
        assert httpx.get(f"{server.url}/{KEY}", trust_env=False).content == BODY
        assert time.monotonic() - started >= 0.05 + len(BODY) / 40_000


def test_it_stops_with_clients_still_connected(folder: Path) -> None:
    with running_server(folder) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        idle[0].sendall(b"GET /half")
    for connection in idle:
        with connection:
            connection.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(10) == b""
    with pytest.raises(OSError, match=r"refused|reset"):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_a_taken_port_and_a_missing_folder_are_said_at_the_start(folder: Path, tmp_path: Path) -> None:
    with (
        running_server(folder) as server,
        pytest.raises(OSError, match="in use"),
        running_server(folder, port=server.port),
    ):
        pass
    with pytest.raises(FileNotFoundError), running_server(tmp_path / "none"):
        pass
