"""`download_all.py` as a command: the whole road from listing to frame, on good days and bad ones."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from factories import ROOT, Command, Outcome, finished, kline_csv, kline_key, publish, zip_bytes

from core.sample.archive import Shelf, write_archive
from core.sample.faults import Rule, cut, first_of, flip, garbage, not_found, on, status
from core.sample.market import SampleMarket, small_market
from core.sample.server import ArchiveServer, running_server
from core.types import Market, Series, Span
from loader import BacktestDataLoader

FIRST, LAST = date(2024, 12, 10), date(2025, 1, 25)
SHELVES = (
    *(Shelf(name, "1h") for name in ("klines", "mark_price", "index_price", "premium_index")),
    Shelf("funding_rate"),
    *(Shelf(name, days=(date(2025, 1, 23), date.max), months=None) for name in ("trades", "agg_trades")),
)
FUTURES = ("klines", "mark_price", "index_price", "premium_index", "funding_rate")


@pytest.fixture(scope="session")
def market() -> SampleMarket:
    return small_market(first=FIRST, last=LAST)


@pytest.fixture(scope="session")
def archive(market: SampleMarket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_archive(market, folder, SHELVES)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def command(server: ArchiveServer, data: Path, *options: str) -> Command:
    return Command("scripts/download_all.py", ["--source", server.url, "--data-dir", str(data), "--json", *options])


def zip_hits(server: ArchiveServer) -> dict[str, int]:
    return {name: count for name, count in server.hits.items() if name.endswith(".zip")}


def assert_loads_the_truth(data: Path, market: SampleMarket, name: str = "um", symbol: str = "BTCUSDT") -> None:
    """Every frame equals what the market knows, cell by cell."""
    with BacktestDataLoader(data_dir=data) as loader:
        frames = loader.load_data([symbol], FIRST, LAST, list(FUTURES), market=name)
    for kind in FUTURES:
        interval = None if kind == "funding_rate" else "1h"
        pair = symbol.removesuffix("_PERP") if kind == "index_price" else symbol
        truth = market.truth(Series(Market(name), kind, pair, interval), Span.of_days(FIRST, LAST)).to_pandas()
        if kind == "funding_rate":
            truth = truth[truth.timestamp < "2025-01-01"]  # published by the month, and January is still open
        assert len(truth) > 50
        for column in frames[kind].columns.drop("symbol"):
            assert frames[kind][column].tolist() == truth[column].tolist(), (kind, column)


def assert_nothing_half_written(data: Path) -> None:
    left = [path for path in data.rglob("*") if path.name.endswith((".tmp", ".part"))]
    assert left == []


def test_the_main_job_and_then_again(market: SampleMarket, archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        first = command(server, data).run()
        assert first.code == 0, first.err
        summary = first.json
        assert set(summary) == {
            *("planned", "downloaded", "stored", "skipped", "missing", "failed"),
            *("bytes_downloaded", "seconds", "failures"),
        }
        published = {path.name: path.stat().st_size for path in archive.glob("data/futures/um/**/BTCUSDT-*.zip")}
        hits = zip_hits(server)
        assert summary["planned"] == summary["downloaded"] == summary["stored"] == len(hits) > 90
        assert summary["bytes_downloaded"] == sum((archive / key).stat().st_size for key in hits)
        assert (summary["failed"], summary["missing"], summary["skipped"], summary["failures"]) == (0, 0, 0, [])
        assert set(hits.values()) == {1}
        assert not [name for name in server.hits if name.endswith(".CHECKSUM")]  # proved through the ETags
        assert published
        assert_loads_the_truth(data, market)
        again = command(server, data).run()
        assert again.code == 0
        assert again.json | {"seconds": 0} == summary | {
            "downloaded": 0,
            "stored": 0,
            "bytes_downloaded": 0,
            "seconds": 0,
            "skipped": summary["planned"],
        }
        assert zip_hits(server) == hits
    assert_nothing_half_written(data)
    info = json.loads((data / "metadata" / "symbols_info.json").read_text())
    entry = info["symbols"]["um"]["BTCUSDT"]
    assert entry["status"] == "trading"
    assert entry["data_types"]["klines/1h"] == {"first": "2024-12-01", "last": "2025-01-25"}
    assert entry["data_types"]["funding_rate"]["last"] == "2024-12-31"


@pytest.mark.parametrize(("name", "symbol"), [("cm", "ETHUSD_PERP")])
def test_coin_margined_contracts_with_their_pair(market: SampleMarket, archive: Path, data: Path, name, symbol) -> None:  # type: ignore[no-untyped-def]
    with running_server(archive) as server:
        done = command(server, data, "--market", name, "--symbols", symbol).run()
    assert done.code == 0, done.err
    assert_loads_the_truth(data, market, name, symbol)


def test_spot_passes_from_milliseconds_to_microseconds(market: SampleMarket, archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        assert command(server, data, "--market", "spot").run().code == 0
        assert command(server, data, "--market", "spot", "--data-types", "trades,agg_trades").run().code == 0
    with BacktestDataLoader(data_dir=data) as loader:
        frames = loader.load_data("ETHUSDT", FIRST, LAST, ["klines", "trades"], market="spot")
    series = Series(Market.SPOT, "klines", "ETHUSDT", "1h")
    truth = market.truth(series, Span.of_days(FIRST, LAST)).to_pandas()
    assert frames["klines"]["timestamp"].tolist() == truth["timestamp"].tolist()
    assert frames["klines"]["close"].tolist() == truth["close"].tolist()
    trades = market.truth(Series(Market.SPOT, "trades", "ETHUSDT"), Span.of_days(date(2025, 1, 23), LAST)).to_pandas()
    loaded = frames["trades"][frames["trades"]["timestamp"] >= "2025-01-23"]
    for column in ("id", "timestamp", "price", "qty", "quote_qty", "is_buyer_maker"):
        assert loaded[column].tolist() == trades[column].tolist(), column


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_kill_9_in_mid_download_costs_only_what_was_in_flight(market: SampleMarket, archive: Path, data: Path) -> None:
    with running_server(archive, latency_seconds=0.02, bytes_per_second=40_000) as server:
        process = command(server, data, "--workers", "4").start()
        wait_until(lambda: len(zip_hits(server)) >= 25, process)
        process.kill()
        assert finished(process).code == -signal.SIGKILL
        server.latency_seconds, server.bytes_per_second = 0.0, None
        before = zip_hits(server)
        second = command(server, data).run()
        assert second.code == 0, second.err
        again = {key for key, count in zip_hits(server).items() if count > before.get(key, 0) and key in before}
        assert len(again) <= 4 + 2  # the four in flight, and those answered but not yet written down
        assert second.json["planned"] == len(zip_hits(server))
    assert_loads_the_truth(data, market)
    assert_nothing_half_written(data)


DRIVER = """
import os, signal, sys
sys.path.insert(0, {scripts!r})
import _root
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
{sabotage}
from _command import run_command
import download_all
run_command(download_all.main)
"""

IN_MID_CONVERT = """
replace, count = os.replace, [0]
def replace_or_die(source, target):
    count[0] += str(target).endswith(".parquet")
    if count[0] == 20:
        die()
    return replace(source, target)
os.replace = replace_or_die
"""

IN_MID_COMMIT = """
from sqlalchemy import Engine, event
commits = [0]
@event.listens_for(Engine, "commit")
def commit(connection):
    commits[0] += 1
    if commits[0] == 61:
        die()
"""

AFTER_FETCH = """
from core.storage.manager import StorageManager
store, count = StorageManager.store, [0]
def store_or_die(self, fetched):
    count[0] += 1
    if count[0] == 30:
        die()
    return store(self, fetched)
StorageManager.store = store_or_die
"""


@pytest.mark.parametrize("sabotage", [IN_MID_CONVERT, IN_MID_COMMIT, AFTER_FETCH], ids=["convert", "commit", "fetched"])
def test_kill_9_at_a_bad_moment_is_recovered_by_the_next_run(
    market: SampleMarket, archive: Path, data: Path, tmp_path: Path, sabotage: str
) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format(scripts=str(ROOT / "scripts"), sabotage=sabotage))
    with running_server(archive) as server:
        normal = command(server, data)
        killed = Command(str(driver), normal.options).run("--workers", "3")
        assert killed.code == -signal.SIGKILL, killed.err
        before = zip_hits(server)
        assert len(before) >= 18
        second = normal.run()
        assert second.code == 0, second.err
        again = [key for key, count in zip_hits(server).items() if count > 1 and key in before]
        assert len(again) <= 3  # one a worker at most: what was not yet written down
    assert_loads_the_truth(data, market)
    assert_nothing_half_written(data)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_stops_cleanly_and_the_next_run_goes_on(
    market: SampleMarket, archive: Path, data: Path, name: str
) -> None:
    with running_server(archive, bytes_per_second=30_000) as server:
        process = command(server, data, "--workers", "4").start()
        wait_until(lambda: len(zip_hits(server)) >= 15, process)
        process.send_signal(getattr(signal, name))
        stopped = finished(process)
        assert stopped.code == 130
        assert stopped.out == ""
        assert "the same command goes on from there" in stopped.err
        server.bytes_per_second = None
        second = command(server, data).run()
    assert (second.code, second.json["failed"]) == (0, 0)
    assert second.json["skipped"] + (second.json["stored"] - second.json["downloaded"]) > 0
    assert_loads_the_truth(data, market)
    assert_nothing_half_written(data)


def test_an_impatient_second_interrupt_is_no_traceback(archive: Path, data: Path) -> None:
    with running_server(archive, bytes_per_second=30_000) as server:
        process = command(server, data, "--workers", "4").start()
        wait_until(lambda: len(zip_hits(server)) >= 15, process)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
        assert finished(process).code in (130, -signal.SIGINT)
        server.bytes_per_second = None
        assert command(server, data).run().json["failed"] == 0
    assert_nothing_half_written(data)


def test_an_interrupt_while_listing_says_so(archive: Path, data: Path) -> None:
    with running_server(archive, latency_seconds=30) as server:
        process = command(server, data).start()
        wait_until(lambda: bool(server.hits), process)
        process.send_signal(signal.SIGTERM)
        stopped = finished(process)
    assert (stopped.code, stopped.err.strip()) == (130, "interrupted")


def test_two_runs_at_once_share_the_work(market: SampleMarket, archive: Path, data: Path) -> None:
    with running_server(archive, latency_seconds=0.01, bytes_per_second=200_000) as server:
        processes = [command(server, data, "--workers", "3").start() for _ in range(2)]
        one, two = (finished(process) for process in processes)
        assert (one.code, two.code) == (0, 0), one.err + two.err
        assert set(zip_hits(server).values()) == {1}
        total = len(zip_hits(server))
    assert one.json["downloaded"] + two.json["downloaded"] == total
    assert one.json["planned"] == two.json["planned"] == total
    assert_loads_the_truth(data, market)


def test_a_run_takes_over_when_the_one_it_waits_for_is_killed(market: SampleMarket, archive: Path, data: Path) -> None:
    with running_server(archive, bytes_per_second=3_000) as server:
        victim = command(server, data, "--workers", "8").start()
        wait_until(lambda: len(zip_hits(server)) >= 8, victim)
        other = command(server, data, "--workers", "60", "--log-level", "info").start()
        wait_until(lambda: len(zip_hits(server)) > 90, other)
        victim.kill()
        victim.communicate()
        server.bytes_per_second = None
        done = finished(other)
    assert (done.code, done.json["failed"]) == (0, 0), done.err
    assert_loads_the_truth(data, market)


# what the user asks for wrongly


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--symbols", "BTCUSD"], 2, "um has no symbol 'BTCUSD'; did you mean 'BTCUSDT'?"),
        (["--symbols", "../etc"], 2, "um has no symbol '../etc'"),
        (["--symbols", ","], 2, "--symbols is empty"),
        (["--symbols", "@major"], 2, "no category 'major'; did you mean 'majors'?"),
        (["--data-types", "kline"], 2, "unknown data type 'kline'; did you mean 'klines'?"),
        (["--data-types", "funding_rate", "--market", "spot"], 2, "spot has no funding_rate; it exists for um, cm"),
        (["--interval", "1M"], 2, "the archive writes the month as 1mo"),
        (["--interval", "7h"], 2, "um klines has no interval '7h'"),
        (["--market", "umm"], 2, "unknown market 'umm'; did you mean 'um'?"),
        (["--start", "2025-01-05", "--end", "2025-01-04"], 2, "--end 2025-01-04 lies before --start 2025-01-05"),
        (["--start", "2999-01-01"], 2, "--start: 2999-01-01 lies in the future"),
        (["--start", "2025-13-01"], 2, "--start: '2025-13-01' is not a day; write YYYY-MM-DD"),
        (["--workers", "0"], 2, "'0' is not a whole number above 0"),
        (["--limit-rate", "fast"], 2, "--limit-rate: 'fast' is not a rate"),
        (["--source", "nowhere"], 2, "--source: 'nowhere' is not a URL"),
        (["--priority-only", "--symbols", "BTCUSDT"], 2, "--priority-only and --symbols exclude each other"),
        (["--symbol", "BTCUSDT", "--bogus"], 2, "try: download_all.py --help"),
        (["--priority"], 2, "did you mean '--priority-only'?"),
        (["--download-only", "--process-only"], 2, "not allowed with argument"),
        (["--log-level", "loud"], 2, "--log-level: 'loud'"),
        (["--symbols", "BTCUSDT", "--end", "2020-01-01"], 3, "nothing is published for BTCUSDT"),
        (["--market", "spot", "--data-types", "klines", "--interval", "3m"], 3, "nothing is published"),
        (["--process-only"], 3, "no downloaded archive belongs to this request"),
    ],
)
def test_a_wrong_request_gets_one_clear_line(
    archive: Path, data: Path, options: list[str], code: int, message: str
) -> None:
    with running_server(archive) as server:
        done = command(server, data).run(*options)
    assert done.code == code, done.err
    assert message in done.err
    assert done.out == ""
    assert not (data / "raw").exists()


def test_settings_with_an_unknown_key_are_refused_with_line_and_near_match(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in ("core", "loader", "scripts", "config"):
        (checkout / name).parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", str(ROOT / name), str(checkout / name)], check=True)
    (checkout / "config" / "settings.yaml").write_text("download:\n  wrokers: 3\n")
    done = Command(str(checkout / "scripts" / "download_all.py"), env={"PYTHONPATH": str(checkout)}).run()
    assert done.code == 2
    assert re.search(r"settings\.yaml:2: unknown key 'wrokers'; did you mean 'workers'\?", done.err)


def test_a_data_folder_that_cannot_be_written_is_said_before_anything_else(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with running_server(archive) as server:
        done = command(server, tmp_path / "file").run()
        assert zip_hits(server) == {}
    assert done.code == 2
    assert f"cannot write to the data folder {tmp_path / 'file'}" in done.err


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))


def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(market: SampleMarket, archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        full = command(server, data)
        full.limits = limit_file_size
        done = full.run()
        assert done.code == 1
        assert "no room left" in done.err
        assert "run the same command again" in done.err
        assert command(server, data).run().code == 0
    assert_loads_the_truth(data, market)
    assert_nothing_half_written(data)


# a source that misbehaves


def test_a_source_that_does_not_answer_is_named(data: Path) -> None:
    done = Command("scripts/download_all.py").run("--source", "http://127.0.0.1:1", "--data-dir", str(data))
    assert done.code == 1
    assert "127.0.0.1:1" in done.err


ENTITY_BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "ha">]><ListBucketResult><Name>&a;</Name></ListBucketResult>'
)


@pytest.mark.parametrize("body", [b"<html><body>502</body>", b"\x00\xff not text", ENTITY_BOMB, b"{}"])
def test_a_listing_that_is_none_is_refused(archive: Path, data: Path, body: bytes) -> None:
    with running_server(archive, faults=on("?", garbage(body))) as server:
        done = command(server, data).run()
    assert done.code == 1
    assert "listing" in done.err


def escaping_listing(key: str) -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix><Marker></Marker>
<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><Contents><Key>{key}</Key>
<LastModified>2024-01-02T00:00:00.000Z</LastModified><ETag>&quot;{"0" * 32}&quot;</ETag><Size>10</Size></Contents>
</ListBucketResult>""".encode()


@pytest.mark.parametrize(
    "key",
    [
        "data/futures/um/monthly/klines/BTCUSDT/1h/../../../../../../../../escaped.zip",
        "/etc/escaped.zip",
        "data/futures/um/monthly/klines/../1h/..-1h-2024-01.zip",
        "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2020-8.zip",
    ],
)
def test_a_key_of_odd_shape_never_becomes_a_path(archive: Path, data: Path, key: str) -> None:
    faults = on("?", garbage(escaping_listing(key)))
    with running_server(archive, faults=faults) as server:
        done = command(server, data, "--symbols", "BTCUSDT").run()
        assert zip_hits(server) == {}
    assert done.code in (2, 3)
    assert list(data.parent.rglob("*escaped*")) == []


def bad_archives() -> Iterator[tuple[str, bytes, str]]:
    member = "BTCUSDT-1h-2024-01.csv"
    good = zip_bytes({member: kline_csv()})
    lines = kline_csv().decode().splitlines()
    broken = bytearray(good)
    broken[len(member) + 40] ^= 0xFF
    yield "other member", zip_bytes({"other.csv": kline_csv()}), "other.csv"
    yield "two members", zip_bytes({member: kline_csv(), "second.csv": b"1"}), "2 members"
    yield "path in the member", zip_bytes({f"../{member}": kline_csv()}), "../BTCUSDT"
    yield "broken data", bytes(broken), "BTCUSDT-1h-2024-01.zip: the zip is damaged"
    yield "no zip", b"<html>502</html>", "BTCUSDT-1h-2024-01.zip is no readable zip"
    yield "zero bytes", b"", "BTCUSDT-1h-2024-01.zip has zero bytes"
    yield "wrong column count", zip_bytes({member: "\n".join([*lines[:2], "1,2,3"]).encode()}), "line 3"
    yield (
        "a letter in a number",
        zip_bytes({member: "\n".join(lines).replace("42100.5", "421O0.5").encode()}),
        "421O0.5",
    )
    yield "an empty file", zip_bytes({member: b""}), "empty"
    yield "a bomb", zip_bytes({member: b"0" * 400_000_000}), "quality.max_compression_ratio is 200"


@pytest.mark.parametrize(("content", "message"), [pytest.param(c, m, id=i) for i, c, m in bad_archives()])
def test_a_bad_archive_fails_alone_and_leaves_nothing(tmp_path: Path, data: Path, content: bytes, message: str) -> None:
    folder = tmp_path / "served"
    publish(folder, kline_key("2024-01"), content)
    publish(folder, kline_key("2024-02"), zip_bytes({"BTCUSDT-1h-2024-02.csv": kline_csv(start_ms=1_706_745_600_000)}))
    with running_server(folder) as server:
        done = command(server, data, "--data-types", "klines").run()
    assert done.code == 1, done.err
    assert (done.json["stored"], done.json["failed"]) == (1, 1)
    (failure,) = done.json["failures"]
    assert failure["key"] == kline_key("2024-01")
    assert message in failure["error"]
    assert [path.name for path in data.rglob("*.parquet")] == ["BTCUSDT-1h-2024-02.parquet"]
    assert_nothing_half_written(data)


def test_a_wrong_checksum_is_retried_and_then_fails_with_both_digests(tmp_path: Path, data: Path) -> None:
    folder, wrong = tmp_path / "served", "1" * 64
    content = zip_bytes({"BTCUSDT-1h-2024-01.csv": kline_csv()})
    publish(folder, kline_key(), content, checksum=f"{wrong}  BTCUSDT-1h-2024-01.zip\n")
    with running_server(folder) as server:
        done = command(server, data, "--data-types", "klines").run()
        assert server.hits[kline_key()] == 3
    (failure,) = done.json["failures"]
    assert done.code == 1
    assert wrong in failure["error"]
    assert __import__("hashlib").sha256(content).hexdigest() in failure["error"]
    assert list(data.rglob("*.zip")) == []


def bad_night() -> Rule:
    return first_of(
        on("-12.zip", cut(500), times=2),
        on("01-24.zip", flip(60), times=1),
        on("01-23.zip", status(503, retry_after=0), times=2),
        on("01-22.zip", status(429, retry_after=0), times=1),
        on("?", status(500), times=1),
    )


def test_a_bad_night_is_survived_in_one_command(market: SampleMarket, archive: Path, data: Path) -> None:
    with running_server(archive, faults=bad_night()) as server:
        done = command(server, data).run()
    assert (done.code, done.json["failed"]) == (0, 0), done.err
    assert_loads_the_truth(data, market)
    assert_nothing_half_written(data)


def test_what_is_listed_but_not_there_is_missing_and_asked_for_again(archive: Path, data: Path) -> None:
    key = "data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-25.zip"
    with running_server(archive, faults=on("01-25.zip", not_found(), times=1)) as server:
        done = command(server, data, "--data-types", "klines").run()
        assert (done.code, done.json["missing"], done.json["failed"]) == (0, 1, 0)
        again = command(server, data, "--data-types", "klines").run()
    assert (again.json["missing"], again.json["downloaded"], server.hits[key]) == (0, 1, 2)


def test_a_file_without_a_checksum_is_kept_and_called_unverified(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "served"
    target = publish(folder, kline_key(), zip_bytes({"BTCUSDT-1h-2024-01.csv": kline_csv()}))
    target.with_name(f"{target.name}.CHECKSUM").unlink()
    with running_server(folder) as server:
        done = command(server, data, "--data-types", "klines").run()
    assert (done.code, done.json["stored"]) == (0, 1)
    assert "no-checksum" in done.err


def test_a_republished_archive_is_noticed_and_fetched_again(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "served"
    publish(folder, kline_key(), zip_bytes({"BTCUSDT-1h-2024-01.csv": kline_csv(rows=3)}))
    with running_server(folder) as server:
        assert command(server, data, "--data-types", "klines").run().json["stored"] == 1
        publish(folder, kline_key(), zip_bytes({"BTCUSDT-1h-2024-01.csv": kline_csv(rows=5)}))
        again = command(server, data, "--data-types", "klines").run()
    assert (again.json["downloaded"], again.json["stored"]) == (1, 1)
    with BacktestDataLoader(data_dir=data) as loader:
        assert len(loader.load_data("BTCUSDT", "2024-01-01", "2024-01-31")["klines"]) == 5


# the options of this script

KLINES = ("--data-types", "klines", "--start", "2025-01-20")


def test_a_dry_run_counts_and_writes_nothing(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        done = command(server, data).run(*KLINES, "--dry-run")
        sizes = [
            path.stat().st_size for path in archive.glob("data/futures/um/daily/klines/BTCUSDT/1h/*-2025-01-2?.zip")
        ]
        assert done.json == {"planned": 6, "to_fetch": 6, "bytes_to_fetch": sum(sizes)}
        assert not data.exists()
        command(server, data).run(*KLINES)
        assert command(server, data).run(*KLINES, "--dry-run").json["to_fetch"] == 0
        assert sum(zip_hits(server).values()) == 6


def test_download_first_and_process_later_without_the_network(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        first = command(server, data).run(*KLINES, "--download-only")
        dead = command(server, data)
    assert (first.json["downloaded"], first.json["stored"]) == (6, 0)
    assert list(data.rglob("*.parquet")) == []
    second = dead.run(*KLINES, "--process-only")
    assert (second.code, second.json["downloaded"], second.json["stored"]) == (0, 0, 6), second.err
    third = dead.run(*KLINES, "--process-only")
    assert (third.json["stored"], third.json["skipped"]) == (0, 6)


def test_no_resume_forgets_and_starts_fresh(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        command(server, data).run(*KLINES)
        again = command(server, data).run(*KLINES, "--no-resume")
        assert (again.json["downloaded"], again.json["stored"]) == (6, 6)
        assert set(zip_hits(server).values()) == {2}


def test_what_somebody_deleted_is_made_again_from_what_is_left(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        command(server, data).run(*KLINES)
        parquet, other = sorted(data.rglob("*.parquet"))[:2]
        parquet.unlink()
        other.unlink()
        next(data.rglob(f"{other.stem}.zip")).unlink()
        again = command(server, data).run(*KLINES)
        assert (again.json["downloaded"], again.json["stored"], again.json["skipped"]) == (1, 2, 4)
    assert parquet.exists()
    assert other.exists()


def test_an_archive_that_changed_on_disk_is_not_processed_blindly(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        command(server, data).run(*KLINES, "--download-only")
        victim = sorted(data.rglob("*.zip"))[0]
        victim.write_bytes(victim.read_bytes()[::-1])
        done = command(server, data).run(*KLINES)
        assert (done.code, done.json["downloaded"], done.json["stored"]) == (0, 1, 6)


def test_the_rate_limit_slows_the_whole_run(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        size = command(server, data).run(*KLINES, "--dry-run").json["bytes_to_fetch"]
        done = command(server, data).run(*KLINES, "--limit-rate", str(size))
    assert done.json["seconds"] > 0.5


def test_priority_only_takes_what_the_source_has_and_names_the_rest(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        done = Command("scripts/download_all.py").run(
            *("--source", server.url, "--data-dir", str(data), "--priority-only", "--data-types", "klines")
        )
    assert done.code == 0
    assert "not at this source: ETHUSDT, BNBUSDT" in done.err
    assert {path.parent.name for path in data.rglob("1h")} == {"BTCUSDT"}


def test_a_category_stands_for_its_symbols(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        done = command(server, data, "--data-types", "klines").run("--symbols", "@layer2,BTCUSDT")
    assert done.code == 2
    assert "um has no symbol 'ARBUSDT'" in done.err


def plain(server: ArchiveServer, data: Path, *options: str) -> Outcome:
    return Command("scripts/download_all.py", ["--source", server.url, "--data-dir", str(data)]).run(*options)


def test_the_summary_table_and_the_second_run_say_what_was_done(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        first, second = plain(server, data, *KLINES), plain(server, data, *KLINES)
        quiet = plain(server, data, *KLINES, "--quiet")
    assert re.search(r"downloaded\s*│\s*6 \(", first.out)
    assert re.search(r"verified: sha256-by-etag\s*│\s*6", first.out)
    assert "Nothing to download: everything is already here." in second.out
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_help_shows_examples() -> None:
    done = Command("scripts/download_all.py").run("--help")
    assert done.code == 0
    assert "python scripts/download_all.py --priority-only" in done.out
    assert "130 interrupted" in done.out


def test_a_reader_that_goes_away_is_no_traceback(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        script = f"{sys.executable} {ROOT / 'scripts/download_all.py'} --source {server.url} --data-dir {data}"
        done = subprocess.run(["bash", "-c", f"{script} | true"], capture_output=True, text=True, env=os.environ)
    assert "Traceback" not in done.stderr


def test_the_archives_on_disk_are_those_published(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        command(server, data).run(*KLINES)
    for path in data.rglob("*.zip"):
        (published,) = archive.glob(f"data/futures/um/daily/klines/BTCUSDT/1h/{path.name}")
        assert path.read_bytes() == published.read_bytes()
        assert zipfile.ZipFile(path).testzip() is None
