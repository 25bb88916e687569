"""The doctor finds what is wrong, says how to mend it, and finds nothing where all is well."""

import json
import os
import resource
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from factories import Command, Outcome, called

from core.commands.doctor import main
from core.download.tracker import DownloadTracker
from core.layout import Layout
from core.sample.market import SampleMarket
from core.sample.rest import SampleApi
from core.sample.server import running_server

LISTING = b"<ListBucketResult><Name>any</Name><IsTruncated>false</IsTruncated></ListBucketResult>"


def doctor(data: Path, *options: str, limits: object = None) -> Outcome:
    words = ["--data-dir", str(data), "--json", *options]
    return Command("scripts/doctor.py", words, limits).run() if limits else called(main, words)


def verdicts(outcome: Outcome) -> dict[str, str]:
    return {look["about"]: look["verdict"] for look in outcome.json["looks"]}


def one(outcome: Outcome, about: str) -> dict[str, str]:
    [found] = [look for look in outcome.json["looks"] if look["about"] == about and look["verdict"] != "well"]
    return found


@contextmanager
def strange_host(date: str, body: bytes = LISTING) -> Iterator[str]:
    """A host whose clock shows another time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", date)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_all_is_well(archive: Path, market: SampleMarket, data: Path) -> None:
    DownloadTracker(Layout(data).database).close()
    with running_server(archive, api=SampleApi(market)) as server:
        found = doctor(data, "--source", server.url, "--rest", server.url)
    assert found.code == 0, found.out
    said = verdicts(found)
    assert {"Python", "data folder", "status database"} <= set(said)
    assert "wrong" not in said.values()
    assert {said[about] for about in ("packages", "listing", "archive", "API of spot")} == {"well"}


def test_a_source_that_is_not_there(data: Path) -> None:
    found = doctor(data, "--source", "http://127.0.0.1:1", "--rest", "http://127.0.0.1:1")
    assert found.code == 1
    said = verdicts(found)
    assert (said["listing"], said["archive"], said["API of um"]) == ("wrong", "wrong", "doubtful")
    assert "HTTPS_PROXY" in one(found, "listing")["mend"]


def test_a_clock_that_is_right(data: Path) -> None:
    with strange_host(format_datetime(datetime.now(UTC), usegmt=True)) as url:
        assert verdicts(doctor(data, "--source", url, "--rest", url))["clock"] == "well"


def test_a_clock_that_is_ten_minutes_off_and_a_host_that_is_no_listing(data: Path) -> None:
    with strange_host("Mon, 01 Jan 2024 00:00:00 GMT") as url:
        found = doctor(data, "--source", url, "--rest", url)
    assert verdicts(found)["clock"] == "wrong"
    assert "before the source" in one(found, "clock")["found"]
    assert "NTP" in one(found, "clock")["mend"]
    with strange_host("Mon, 01 Jan 2024 00:00:00 GMT", b"<html>login</html>") as url:
        found = doctor(data, "--source", url, "--rest", url)
    assert "--listing" in one(found, "listing")["mend"]


def test_a_damaged_database_and_those_of_other_versions(data: Path) -> None:
    path = Layout(data).database
    DownloadTracker(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO schema_steps VALUES (999, 'of_tomorrow')")
    newer = one(doctor(data, "--offline"), "status database")
    assert (newer["verdict"], newer["mend"]) == ("wrong", "update this one")
    assert "newer Tapevault" in newer["found"]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM schema_steps WHERE step = (SELECT max(step) - 1 FROM schema_steps)")
        connection.execute("DELETE FROM schema_steps WHERE step = 999")
        connection.execute("DELETE FROM schema_steps WHERE step = (SELECT max(step) FROM schema_steps)")
    older = one(doctor(data, "--offline"), "status database")
    assert (older["verdict"], "brings it up to date" in older["mend"]) == ("doubtful", True)
    path.write_bytes(b"no database at all, " * 500)
    found = doctor(data, "--offline")
    assert found.code == 1
    assert "--rebuild-status" in one(found, "status database")["mend"]


def test_too_few_open_files(data: Path) -> None:
    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    found = doctor(data, "--offline", limits=limits)
    assert verdicts(found)["open files"] == "wrong"
    assert "--workers 8" in one(found, "open files")["mend"]


def test_a_database_that_others_hold_is_not_to_be_made_anew(data: Path) -> None:
    path = Layout(data).database
    DownloadTracker(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("DELETE FROM runs")
        path.with_name(f"{path.name}-journal").touch()
        held = one(doctor(data, "--offline"), "status database")
    assert (held["verdict"], "--rebuild-status" in held["mend"]) == ("doubtful", False)
    assert "another process holds it" in held["found"]


def test_a_database_that_cannot_be_written() -> None:
    with TemporaryDirectory() as name:  # where others may look, as they may not in what pytest makes
        folder = Path(name)
        folder.chmod(0o755)
        path = Layout(folder).database
        DownloadTracker(path).close()
        path.chmod(0o444)
        with somebody():
            found = one(doctor(folder, "--offline"), "status database")
    assert (found["verdict"], found["found"]) == ("wrong", f"{path} cannot be written to")
    assert found["mend"].startswith("run: sudo chown ")


@contextmanager
def somebody() -> Iterator[None]:
    """Who may not write where root may."""
    is_root = os.geteuid() == 0
    if is_root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if is_root:
            os.setresuid(0, 0, 0)


def test_a_disk_without_room(data: Path) -> None:
    data.mkdir()

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    full = doctor(data, "--offline", limits=limits)
    assert full.code == 1
    assert "a small write fails: File too large" in one(full, "data folder")["found"]
    assert "cleanup.py" in one(full, "data folder")["mend"]
    assert list(data.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "about", "says"),
    [
        ("ALL_PROXY", "foo://127.0.0.1:1", "proxy", "Unknown scheme for proxy URL"),
        ("HTTPS_PROXY", "http://[bad", "proxy", "cannot be used"),
        ("SSL_CERT_FILE", "/no/such/file", "certificates", "No such file or directory"),
    ],
)
def test_surroundings_that_cannot_be_used(
    name: str, value: str, about: str, says: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    found = doctor(data, "--source", "http://127.0.0.1:1")
    assert found.code == 1
    assert says in one(found, about)["found"]
    assert name in one(found, about)["mend"]


def test_nothing_is_changed(data: Path) -> None:
    assert doctor(data, "--offline").code == 0
    assert not data.exists()
    with DownloadTracker(Layout(data).database) as tracker:
        tracker.finish_run(tracker.begin_run("test"))
        assert doctor(data, "--offline").code == 0  # beside one that works with it
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in data.rglob("*") if path.is_file()}
    assert [path.name for path in before] == ["download_status.db"]
    assert doctor(data, "--offline").code == 0
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in data.rglob("*") if path.is_file()} == before


def test_settings_that_cannot_be_read_and_options_that_are_none(data: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("download: {workrs: 3}\n")
    found = doctor(data, "--settings", str(tmp_path / "settings.yaml"))
    assert (found.code, found.out) == (2, "")
    assert "did you mean 'workers'?" in found.err
    assert "did you mean '--offline'?" in doctor(data, "--ofline").err


def test_the_table_names_the_mend_as_the_command_was_called(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data.mkdir()
    Layout(data).database.parent.mkdir()
    Layout(data).database.write_bytes(b"damaged " * 500)
    shown = Command("scripts/doctor.py", ["--data-dir", str(data)], env={"COLUMNS": "200"}).run("--offline")
    assert "download_all.py --rebuild-status makes a new one" in shown.out
    assert shown.out.rstrip().endswith("1 wrong, 0 doubtful")
    assert json.loads(doctor(data, "--offline").out)["wrong"] == 1
