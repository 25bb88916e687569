"""Each fault of the sample server does what it says, once asked and only then."""

import hashlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest

from core.sample import faults
from core.sample.faults import Fault, Rule, first_of, on
from core.sample.server import ArchiveServer, running_server

BODY = bytes(range(256)) * 2000
KEY = "data/spot/a.zip"


@contextmanager
def served(folder: Path, rule: Rule) -> Iterator[tuple[ArchiveServer, httpx.Client]]:
    (folder / KEY).parent.mkdir(parents=True, exist_ok=True)
    (folder / KEY).write_bytes(BODY)
    (folder / f"{KEY}.CHECKSUM").write_bytes(b"sum")
    with (
        running_server(folder, faults=rule) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=10) as client,
    ):
        yield server, client


def received(
    client: httpx.Client, headers: dict[str, str] | None = None
) -> tuple[httpx.Response, bytes, Exception | None]:
    """The answer, what came of its body, and how it broke off."""
    body, error = b"", None
    with client.stream("GET", f"/{KEY}", headers=headers) as found:
        try:
            for chunk in found.iter_raw():
                body += chunk
        except httpx.TransportError as broken:
            error = broken
    return found, body, error


@pytest.mark.parametrize(("code", "wait"), [(503, "2"), (429, "0.5"), (403, None), (500, None), (404, None)])
def test_a_status_comes_with_its_retry_after(tmp_path: Path, code: int, wait: str | None) -> None:
    with served(tmp_path, on(KEY, faults.status(code, wait), times=1)) as (server, client):
        found = client.get(f"/{KEY}")
        assert (found.status_code, found.headers.get("retry-after")) == (code, wait)
        assert client.get(f"/{KEY}").content == BODY
        assert server.hits[KEY] == 2


def test_a_rule_counts_by_name_and_can_begin_later(tmp_path: Path) -> None:
    rule = on("a.zip", faults.not_found(), times=2, after=1)
    with served(tmp_path, rule) as (_, client):
        for key in (KEY, f"{KEY}.CHECKSUM"):
            assert [client.get(f"/{key}").status_code for _ in range(5)] == [200, 404, 404, 200, 200]


def test_the_first_rule_that_fits_decides(tmp_path: Path) -> None:
    rule = first_of(on(".CHECKSUM", faults.not_found()), on("a.zip", faults.status(500)))
    with served(tmp_path, rule) as (_, client):
        assert client.get(f"/{KEY}.CHECKSUM").status_code == 404
        assert client.get(f"/{KEY}").status_code == 500
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("length", [0, 1, 1000, 300_000])
def test_a_cut_ends_the_connection_after_exactly_so_many_bytes(tmp_path: Path, length: int) -> None:
    with served(tmp_path, on(KEY, faults.cut(length), times=1)) as (server, client):
        found, body, error = received(client)
        assert found.headers["content-length"] == str(len(BODY))
        assert body == BODY[:length]
        assert isinstance(error, httpx.RemoteProtocolError)
        assert server.body_bytes[KEY] == length
        assert client.get(f"/{KEY}", headers={"Range": f"bytes={length}-"}).content == BODY[length:]
        assert server.body_bytes[KEY] == len(BODY)


def receive_all(connection: socket.socket, into: bytearray) -> None:
    while more := connection.recv(65536):
        into += more


def test_a_reset_is_a_reset(tmp_path: Path) -> None:
    with served(tmp_path, on(KEY, faults.reset(5000))) as (server, _), socket.socket() as raw:
        raw.connect(("127.0.0.1", server.port))
        raw.sendall(f"GET /{KEY} HTTP/1.1\r\n\r\n".encode())
        answer = bytearray()
        with pytest.raises(ConnectionResetError):
            receive_all(raw, answer)
        assert len(answer.partition(b"\r\n\r\n")[2]) <= 5000
        assert server.body_bytes[KEY] == 5000


def test_a_stall_goes_on_after_its_time(tmp_path: Path) -> None:
    with served(tmp_path, on(KEY, faults.stall(1000, seconds=0.2))) as (_, client):
        started = time.monotonic()
        assert client.get(f"/{KEY}").content == BODY
        assert time.monotonic() - started >= 0.2


def test_a_stall_without_end_lasts_until_the_client_goes_or_the_server_stops(tmp_path: Path) -> None:
    with served(tmp_path, on(KEY, faults.stall(10))) as (server, client):
        with pytest.raises(httpx.ReadTimeout):
            client.get(f"/{KEY}", timeout=httpx.Timeout(10, read=0.2))
        assert server.body_bytes[KEY] == 10
        with client.stream("GET", f"/{KEY}") as found:
            assert next(found.iter_raw()) == BODY[:10]
    # Leaving the server did not hang, though a second client had been waiting.
    assert server.body_bytes[KEY] == 20


def test_a_flipped_byte_is_wrong_wherever_a_range_begins(tmp_path: Path) -> None:
    wrong = bytearray(BODY)
    wrong[300_001] ^= 0xFF
    with served(tmp_path, on(KEY, faults.flip(300_001))) as (_, client):
        found = client.get(f"/{KEY}")
        assert found.content == bytes(wrong)
        assert found.headers["etag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
        assert client.get(f"/{KEY}", headers={"Range": "bytes=300000-"}).content == bytes(wrong[300_000:])
        assert client.get(f"/{KEY}", headers={"Range": "bytes=300002-"}).content == BODY[300_002:]


def test_an_ignored_range_is_200_and_everything(tmp_path: Path) -> None:
    with served(tmp_path, on(KEY, faults.ignore_range())) as (_, client):
        found = client.get(f"/{KEY}", headers={"Range": "bytes=100-"})
        assert (found.status_code, found.content) == (200, BODY)
        assert "content-range" not in found.headers


@pytest.mark.parametrize("by", [-7, 9])
def test_a_shifted_range_starts_elsewhere_and_says_so(tmp_path: Path, by: int) -> None:
    with served(tmp_path, on(KEY, faults.shifted(by))) as (_, client):
        found = client.get(f"/{KEY}", headers={"Range": "bytes=100-"})
        assert found.status_code == 206
        assert found.headers["content-range"] == f"bytes {100 + by}-{len(BODY) - 1}/{len(BODY)}"
        assert found.content == BODY[100 + by :]


def test_a_wrong_etag_fits_no_if_range(tmp_path: Path) -> None:
    with served(tmp_path, on(KEY, faults.wrong_etag("f" * 32))) as (_, client):
        etag = client.head(f"/{KEY}").headers["etag"]
        assert etag == f'"{"f" * 32}"'
        part = {"Range": "bytes=1-", "If-Range": f'"{hashlib.md5(BODY).hexdigest()}"'}
        assert client.get(f"/{KEY}", headers=part).status_code == 200


def test_replaced_content_is_consistent_in_itself(tmp_path: Path) -> None:
    with served(tmp_path, on(KEY, faults.replaced(b"new content"), after=1)) as (_, client):
        old = client.get(f"/{KEY}")
        part = {"Range": "bytes=4-", "If-Range": old.headers["etag"]}
        whole = client.get(f"/{KEY}", headers=part)
        assert (whole.status_code, whole.content) == (200, b"new content")
        assert whole.headers["etag"] == f'"{hashlib.md5(b"new content").hexdigest()}"'
        part["If-Range"] = whole.headers["etag"]
        assert client.get(f"/{KEY}", headers=part).content == b"content"


def test_a_listing_can_be_garbage_or_break_off(tmp_path: Path) -> None:
    rule = first_of(
        on("?data/", faults.garbage(), times=1),
        on("?data/", faults.truncated(120), times=1, after=1),
        on("?data/", faults.status(503, 1), times=1, after=2),
    )
    with served(tmp_path, rule) as (server, client):
        answers = [client.get("/", params={"prefix": "data/"}) for _ in range(4)]
        assert answers[0].content == b"<html>502</html>"
        assert len(answers[1].content) == 120
        with pytest.raises(ET.ParseError):
            ET.fromstring(answers[1].content)
        assert answers[2].status_code == 503
        assert answers[3].content.startswith(answers[1].content)
        assert server.hits["?data/"] == 4


def test_a_rule_sees_the_request(tmp_path: Path) -> None:
    seen: list[tuple[str, str, str | None, int]] = []

    def rule(request: faults.RequestInfo) -> Fault | None:
        seen.append((request.method, request.name, request.headers.get("range"), request.number))
        return None

    with served(tmp_path, rule) as (server, client):
        client.head(f"/{KEY}")
        client.get(f"/{KEY}", headers={"Range": "bytes=5-"})
        client.get("/", params={"prefix": "data/", "marker": "x"})
        assert seen == [("HEAD", KEY, None, 1), ("GET", KEY, "bytes=5-", 2), ("GET", "?data/", None, 1)]
        assert server.requests[-1].query["marker"] == "x"
        assert server.body_bytes[KEY] == len(BODY) - 5
