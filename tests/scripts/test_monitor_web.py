"""`monitor.py web`: the page in a real browser, its documents against tracker, loader and disk, and who is answered."""

import hashlib
import http.client
import itertools
import json
import re
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import browser, opened  # noqa: F401 (a fixture)
from factories import Command, finished, zip_bytes
from playwright.sync_api import Browser, Page
from script_world import command

from core.download.coverage import Cover
from core.download.gaps import Known
from core.download.tracker import DownloadTracker
from core.layout import Layout
from core.sample.archive import Shelf, write_archive
from core.sample.market import small_market
from core.sample.server import running_server
from core.types import ArchiveFile, Ending, Gap, GapStatus, Market, Period, Series, Span, State
from core.web.documents import Kept
from core.web.server import StatusServer
from loader import BacktestDataLoader

FIRST, LAST = date(2024, 12, 10), date(2025, 1, 12)
CANDLES = Series(Market.UM, "klines", "BTCUSDT", "1h")
SPOT = Series(Market.SPOT, "klines", "ETHUSDT", "1h")
REPUBLISHED = "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12.zip"
BROKEN = "data/spot/daily/klines/ETHUSDT/1h/ETHUSDT-1h-2025-01-05.zip"
WORDS = {"s": "stored", "g": "stored, with a gap", "m": "missing", "p": "partly stored"}
XSS = "<img src=x onerror=alert(1)>\"'&"

Document = dict[str, Any]


def put(served: Path, key: str, content: bytes) -> None:
    (served / key).write_bytes(content)
    (served / f"{key}.CHECKSUM").write_text(f"{hashlib.sha256(content).hexdigest()}  {key.rpartition('/')[2]}\n")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: a broken archive, one that was published anew, gaps of two kinds, and bars."""
    served, data = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("web") / "data"
    shelves = (Shelf("klines", "1h"), Shelf("trades", months=None, days=(date(2025, 1, 11), date.max)))
    write_archive(small_market(first=FIRST, last=LAST), served, shelves)
    put(served, BROKEN, zip_bytes({"ETHUSDT-1h-2025-01-05.csv": b"what, ever\n"}))
    with running_server(served) as server:
        futures = command(server, data, "--data-types", "klines,trades")
        assert futures.run().code == 0
        assert command(server, data, "--market", "spot").run().json["corrupt"] == 1
        content = (served / REPUBLISHED).read_bytes()[:-2] + b"\x04\x00anew"  # a comment: other bytes, the same rows
        put(served, REPUBLISHED, content)
        assert futures.run().json["stored"] == 1
    made = Command("scripts/pipeline.py", ["features", "--data-dir", str(data), "--quiet", "--bars", "tick-20,time-1h"])
    assert made.run().code == 0
    at_us = Period.parse("2025-01-03").span.start_us
    gaps = (
        Gap(CANDLES, Span(at_us, at_us + 7_200_000_000), 2, GapStatus.CONFIRMED, "nobody has them", at_us),
        Gap(CANDLES, Span(at_us + 2 * 86_400_000_000, at_us + 3 * 86_400_000_000), 24, GapStatus.HALT, "no trades"),
    )
    with DownloadTracker(Layout(data).database) as tracker:
        tracker.record_gaps({CANDLES: Known(gaps)}, {})
    return data


@dataclass
class Site:
    """The page of a data folder, served in this process."""

    server: StatusServer

    @property
    def url(self) -> str:
        return self.server.url

    def ask(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=30)) as connection:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def document(self, path: str) -> Document:
        status, _, body = self.ask(path)
        assert status == 200
        found: Document = json.loads(body)
        return found


@contextmanager
def serving(root: Path) -> Iterator[Site]:
    with StatusServer(Layout(root), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Site(server)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def site(root: Path) -> Iterator[Site]:
    with serving(root) as found:
        yield found


def of(one: Series) -> str:
    return (
        f"/series.json?market={one.market}&type={one.dataset}&symbol={quote(one.symbol)}&interval={one.interval or ''}"
    )


# the numbers


def test_totals_are_the_loaders_and_the_trackers(site: Site, root: Path) -> None:
    said = site.document("/status.json")
    with BacktestDataLoader(data_dir=root) as loader:
        stored = loader.coverage(gaps=False)
    with DownloadTracker(Layout(root).database) as tracker:
        states, revisions = tracker.totals(), tracker.revisions()
    assert said["message"] is None
    assert said["folder"] == str(root)
    assert said["states"] == {state.value: count for state, count in states.items()}
    assert states[State.STORED] > 25
    totals = said["totals"]
    assert totals["archives"] == sum(states.values())
    assert (totals["rows"], totals["partitions"], totals["stored_bytes"]) == (
        stored["rows"].sum(),
        stored["files"].sum(),
        stored["bytes"].sum(),
    )
    rows = {(one["market"], one["type"], one["symbol"], one["interval"]): one["rows"] for one in said["series"]}
    named = stored.assign(interval=stored["interval"].astype(object).fillna(""))
    assert rows == {
        (row.market, row.data_type, row.symbol, row.interval): row.rows for row in named.itertuples(index=False)
    }
    assert [(one["key"], one["old_sha256"], one["new_sha256"]) for one in said["revisions"]["shown"]] == [
        (one.key, one.old_sha256, one.new_sha256) for one in revisions
    ]
    assert [one.key for one in revisions] == [REPUBLISHED]
    assert all(one["replaced_us"] >= one["noticed_us"] > 0 for one in said["revisions"]["shown"])


def test_faults_gaps_and_runs_are_told_with_their_reasons(site: Site, root: Path) -> None:
    said = site.document("/status.json")
    [fault] = said["faults"]["shown"]
    assert (fault["key"], fault["state"], said["faults"]["count"]) == (BROKEN, "corrupt-upstream", 1)
    assert "ETHUSDT-1h-2025-01-05" in fault["reason"]
    assert said["gaps"]["counts"] == {"confirmed-hole": 1, "halt": 1}
    assert [(one["status"], one["rows"], one["detail"], one["hole"]) for one in said["gaps"]["shown"]] == [
        ("confirmed-hole", 2, "nobody has them", True),
        ("halt", 24, "no trades", False),
    ]
    assert [(run["run"], run["ended"]) for run in said["runs"]] == [(number, "finished") for number in (3, 2, 1)]
    speed, newest = said["speed"], said["runs"][0]
    assert (speed["run"], sum(speed["bytes"])) == (3, newest["bytes"])
    with closing(sqlite3.connect(Layout(root).database)) as connection:
        [(size,)] = connection.execute("SELECT sum(size) FROM files WHERE state = 'stored'")
    assert sum(each for _, each in speed["days"]) == size > newest["bytes"]


def test_days_are_those_that_have_rows(site: Site, root: Path) -> None:
    said = site.document(of(CANDLES))
    with BacktestDataLoader(data_dir=root) as loader:
        frame = loader.load_data(["BTCUSDT"], FIRST, LAST, ["klines"])["klines"]
    loaded = {moment.date() for moment in frame["timestamp"]}
    assert said["first"] == 2024 * 12 + 11
    december, january = said["days"]
    shown = {date(2024, 12, day + 1) for day, letter in enumerate(december) if letter in "sg"}
    shown |= {date(2025, 1, day + 1) for day, letter in enumerate(january) if letter in "sg"}
    assert loaded <= shown
    assert shown - loaded == {date(2024, 12, day) for day in range(1, 10)}  # the month's archive, before the listing
    assert january[2] == Cover.GAP
    assert january[4] == Cover.STORED, "a halt is no fault"
    broken = site.document(of(SPOT))
    assert broken["days"][1][4] == Cover.MISSING
    assert [one["key"] for one in broken["faults"]] == [BROKEN]


def test_bars_are_those_that_are_loaded(site: Site, root: Path) -> None:
    said = site.document("/bars.json")["bars"]
    with BacktestDataLoader(data_dir=root) as loader:
        for one in said:
            bars = loader.load_bars("BTCUSDT", FIRST, LAST, one["spec"], stored=True, on_missing="ignore")
            assert len(bars) == one["bars"] > 20
            assert one["last_us"] == int(bars["time_close"].iloc[-1].timestamp() * 1_000_000)
    assert [one["spec"] for one in said] == ["tick-20", "time-1h"]


# who is answered, and what


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_it_only_shows(site: Site, method: str) -> None:
    status, headers, body = site.ask("/status.json", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert json.loads(body) == {"message": "this page only shows"}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8787", "127.0.0.1.evil.example", "192.168.0.7", "", "localhost:80@x"]
)
def test_another_host_is_refused(site: Site, host: str) -> None:
    status, _, body = site.ask("/status.json", headers={"Host": host})
    assert status == 403
    assert b"localhost" in body
    assert len(body) < 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1", "127.0.0.1:1"])
def test_this_host_is_answered_through_a_tunnel_too(site: Site, host: str) -> None:
    assert site.ask("/", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../core/web/server.py",
        "/%2e%2e/server.py",
        "/page/page.js",
        "//etc/passwd",
        "/page.css/..",
        "/server.py",
        "/page.js%00",
    ],
)
def test_nothing_else_is_served(site: Site, path: str) -> None:
    status, _, body = site.ask(path)
    assert (status, json.loads(body)) == (404, {"message": "there is no such page"})


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?market=um",
        "?market=xx&type=klines&symbol=B",
        "?market=um&type=klines&symbol=NONE&interval=1h",
        "?symbol=%ff",
    ],
)
def test_an_unknown_series_is_404(site: Site, query: str) -> None:
    assert site.ask(f"/series.json{query}")[0] == 404


def test_what_has_not_changed_is_not_sent_again(site: Site) -> None:
    _, headers, body = site.ask("/status.json")
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    status, again, nothing = site.ask("/status.json", headers={"If-None-Match": headers["ETag"]})
    assert (status, nothing, again["ETag"]) == (304, b"", headers["ETag"])
    status, head, nothing = site.ask("/status.json", "HEAD")
    assert (status, nothing, head["Content-Length"]) == (200, b"", str(len(body)))


def test_while_a_document_is_made_again_the_former_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.web.documents.LEAST_SECONDS", 0.0)
    monkeypatch.setattr("core.web.documents.SHARE", 0)
    is_asked, may_end = threading.Event(), threading.Event()
    numbers = itertools.count(1)

    def make() -> int:
        number = next(numbers)
        if number == 2:
            is_asked.set()
            assert may_end.wait(30)
        return number

    kept = Kept(make, object)  # which is another one each time
    assert kept.body().plain == b"1"
    thread = threading.Thread(target=kept.body)
    thread.start()
    assert is_asked.wait(30)
    assert kept.body().plain == b"1"
    may_end.set()
    thread.join()
    assert kept.body().plain == b"3"


# in a browser


def shown_totals(page: Page) -> dict[str, str]:
    found = page.eval_on_selector_all(
        "#totals > div",
        "every => every.map(one => [one.children[0].textContent, one.children[1].firstChild.textContent])",
    )
    return dict(found)


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_page_shows_it_all_and_asks_nobody_else(site: Site, browser: Browser, width: int, scheme: str) -> None:  # noqa: F811
    said = site.document("/status.json")
    with opened(browser, site.url, width, scheme=scheme) as visit:
        page = visit.page
        page.wait_for_selector(".strip rect[role=img]")
        page.wait_for_selector("#bars tbody tr")
        tiles = shown_totals(page)
        assert tiles["Rows"] == f"{said['totals']['rows']:,}"
        assert tiles["Archives stored"] == f"{said['states']['stored']:,}"
        assert (tiles["Gaps"], tiles["Failures and faults"], tiles["Revisions"]) == ("1", "1", "1")
        for section, rows in {"gaps": 2, "faults": 1, "revisions": 1, "runs": 3, "bars": 2}.items():
            assert page.locator(f"#{section} tbody tr").count() == rows
        assert "nobody has them" in page.inner_text("#gaps")
        assert said["revisions"]["shown"][0]["new_sha256"] in page.inner_text("#revisions")
        label = page.get_attribute("svg[aria-label^='BTCUSDT klines 1h']", "aria-label")
        assert label == "BTCUSDT klines 1h: 2 months, 1 stored, 1 stored, with a gap"
        assert visit.overhang == 0
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) < 200) is (scheme == "dark")
    assert visit.complaints == []
    assert visit.elsewhere(site.url) == []
    assert len(visit.requests) >= 5


def test_days_open_by_keyboard_and_every_cell_has_its_words(site: Site, browser: Browser) -> None:  # noqa: F811
    said = site.document(of(CANDLES))
    with opened(browser, site.url, 390) as visit:
        page = visit.page
        page.wait_for_selector(".strip")
        page.focus("button[data-series='um/klines/BTCUSDT/1h']")
        page.keyboard.press("Enter")
        page.wait_for_selector(".calendar")
        cells = page.eval_on_selector_all(".calendar td > b", "every => every.map(one => one.textContent)")
        words = {text[:10]: text[12:] for text in cells}
        letters = {f"2024-12-{day:02}": letter for day, letter in enumerate(said["days"][0], start=1)}
        letters |= {f"2025-01-{day:02}": letter for day, letter in enumerate(said["days"][1], start=1)}
        shown = {day: WORDS[letter] for day, letter in letters.items() if letter != " "}
        assert words == shown | {"2025-01-03": "stored, with a gap (confirmed-hole)"}
        assert visit.overhang == 0
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0
        assert page.evaluate("document.activeElement.dataset.series") == "um/klines/BTCUSDT/1h"
    assert visit.complaints == []


def test_a_symbol_is_searched_for(site: Site, browser: Browser) -> None:  # noqa: F811
    with opened(browser, site.url) as visit:
        page = visit.page
        page.wait_for_selector(".strip")
        before = page.locator(".symbol").count()
        page.fill("#search", "eth")
        names = page.eval_on_selector_all(".symbol h3", "every => every.map(one => one.firstChild.textContent)")
        assert set(names) == {"ETHUSDT"}
        assert before > len(names)
        assert page.locator("#gaps tbody tr").count() == 0
        assert page.locator("#faults tbody tr").count() == 1
        page.fill("#search", "")
        assert page.locator(".symbol").count() == before


def test_a_change_is_shown_without_a_reload(browser: Browser, tmp_path: Path) -> None:  # noqa: F811
    """And the name of a symbol is text, whatever it is."""
    layout = Layout(tmp_path)
    with serving(tmp_path) as site, opened(browser, site.url) as visit:
        page = visit.page
        page.wait_for_selector("#message:not([hidden])")
        assert "nothing was downloaded into this data folder yet" in page.inner_text("#message")
        odd = Series(Market.UM, "klines", XSS, "1h")
        with DownloadTracker(layout.database) as tracker:
            tracker.plan([ArchiveFile(odd, Period.parse("2024-01"), XSS, 10, XSS, None, XSS)])
            for ended in (Ending.FINISHED, Ending.STOPPED, Ending.INTERRUPTED):
                tracker.finish_run(tracker.begin_run("download_all"), ended)
            planned = tracker.claim(tracker.begin_run(XSS), [1])
            assert len(planned) == 1
            gap = Gap(odd, Period.parse("2024-01-03").span, 2, GapStatus.OPEN, XSS)
            tracker.record_gaps({odd: Known((gap,))}, {})
            page.wait_for_selector(".strip", timeout=30_000)
        assert page.inner_text(".symbol h3").split("\n") == [XSS, "um"]
        assert XSS in page.inner_text("#gaps")
        assert page.locator("#runs .tag.bad").all_inner_texts() == ["stopped"]
        page.click(".series button")
        page.wait_for_selector(".calendar")
        assert XSS in page.inner_text("#days-title")
        assert page.locator("img").count() == 0
        assert page.is_hidden("#message")
    assert visit.complaints == []
    assert visit.elsewhere(site.url) == []


# what cannot be read


def test_an_older_database_is_said_and_left_as_it_is(root: Path, tmp_path: Path) -> None:
    database = Layout(tmp_path).database
    database.parent.mkdir()
    with closing(sqlite3.connect(Layout(root).database)) as old, closing(sqlite3.connect(database)) as new:
        old.backup(new)
        new.execute("DELETE FROM schema_steps WHERE step > 5")
        new.commit()
    before = database.read_bytes()
    with serving(tmp_path) as site:
        said = site.document("/status.json")
        assert "older Tapevault" in said["message"]
        assert (said["series"], said["totals"]["rows"]) == ([], 0)
        status, _, body = site.ask(of(CANDLES))
        assert (status, "older Tapevault" in json.loads(body)["message"]) == (503, True)
    assert database.read_bytes() == before


def test_nothing_is_written(root: Path, site: Site) -> None:
    def lying_there() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*")}

    before = lying_there()
    with serving(root) as other:
        for path in ("/", "/status.json", "/bars.json", of(CANDLES)):
            assert other.ask(path)[0] == 200
    assert lying_there() == before


# as a command


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_interrupted(tmp_path: Path, stop: signal.Signals) -> None:
    process = Command("scripts/monitor.py", ["web", "--port", "0", "--data-dir", str(tmp_path / "none")]).start()
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
    assert found, line
    with closing(http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)) as connection:
        connection.request("GET", "/status.json")
        assert b"no status database" in connection.getresponse().read()
        process.send_signal(stop)
        done = finished(process)
    assert (done.code, done.out, done.err) == (130, "", "")
    assert not (tmp_path / "none").exists()


def test_a_port_in_use_and_one_that_is_none_are_one_line_and_exit_2(tmp_path: Path) -> None:
    script = Command("scripts/monitor.py", ["web", "--data-dir", str(tmp_path)])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = script.run("--port", str(port))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: --port {port}: Address already in use; choose another, or 0 for any free one\n"
    done = script.run("--port", "99999")
    assert (done.code, "'99999' is no port" in done.err) == (2, True)
