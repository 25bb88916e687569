"""`download_all.py` asked wrongly, or by a bad source: one clear line, an exit code, nothing half-written."""

import hashlib
import re
import resource
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from factories import ROOT, Command, kline_csv, kline_key, publish, zip_bytes
from script_world import (
    assert_loads_the_truth,
    assert_nothing_half_written,
    command,
    zip_hits,
)

from core.dates import DAY_US
from core.download.tracker import DownloadTracker
from core.layout import Layout
from core.sample.faults import Rule, cut, first_of, flip, garbage, not_found, on, status
from core.sample.market import SampleMarket
from core.sample.server import running_server
from loader import BacktestDataLoader

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
        (["--limit-rate", "inf"], 2, "--limit-rate: 'inf' is not a rate"),
        (["--source", "http://a..b"], 2, "cannot use the URL"),
        (["--source", f"http://{'a' * 70}.example"], 2, "cannot use the URL"),
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


def test_a_proxy_that_cannot_be_used_is_one_clear_line(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        done = replace(command(server, data), env={"ALL_PROXY": "ftp://127.0.0.1:1"}).run()
        assert zip_hits(server) == {}
    assert done.code == 2
    assert done.err.startswith("error: a proxy in the environment")
    assert done.err.count("\n") == 1


def test_another_settings_file_can_be_named(archive: Path, data: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("download:\n  rnages: 3\n")
    with running_server(archive) as server:
        mistaken = command(server, data).run("--settings", str(own))
        absent = command(server, data).run("--settings", str(tmp_path / "absent.yaml"))
        assert zip_hits(server) == {}
    assert (mistaken.code, absent.code) == (2, 2)
    assert f"{own}:2: unknown key 'rnages'; did you mean 'ranges'?" in mistaken.err
    assert f"cannot read {tmp_path / 'absent.yaml'}" in absent.err


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
    assert (done.json["stored"], done.json["corrupt"], done.json["failed"]) == (1, 1, 0)
    (fault,) = done.json["faults"]
    assert (fault["key"], fault["state"]) == (kline_key("2024-01"), "corrupt-upstream")
    assert message in fault["detail"]
    assert [path.name for path in data.rglob("*.parquet")] == ["BTCUSDT-1h-2024.parquet"]
    assert_nothing_half_written(data)


def test_a_wrong_checksum_is_asked_for_again_and_then_disputed_with_both_digests(tmp_path: Path, data: Path) -> None:
    folder, wrong = tmp_path / "served", "1" * 64
    content = zip_bytes({"BTCUSDT-1h-2024-01.csv": kline_csv()})
    publish(folder, kline_key(), content, checksum=f"{wrong}  BTCUSDT-1h-2024-01.zip\n")
    with running_server(folder) as server:
        done = command(server, data, "--data-types", "klines").run()
        assert server.hits[kline_key()] == 1  # these are the listed bytes: another copy would not help
        assert server.hits[kline_key() + ".CHECKSUM"] == 3
    (fault,) = done.json["faults"]
    assert (done.code, done.json["mismatched"], fault["state"]) == (1, 1, "mismatch-upstream")
    assert wrong in fault["detail"]
    assert hashlib.sha256(content).hexdigest() in fault["detail"]
    assert list(data.rglob("*.zip")) == []
    (apart,) = data.rglob("*.zip.disputed")
    assert apart.read_bytes() == content


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


def test_what_is_listed_but_not_there_is_missing_and_asked_for_again_when_it_is_time(archive: Path, data: Path) -> None:
    key = "data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-25.zip"
    with running_server(archive, faults=on("01-25.zip", not_found(), times=1)) as server:
        done = command(server, data, "--data-types", "klines").run()
        assert (done.code, done.json["missing"], done.json["failed"]) == (0, 1, 0)
        soon = command(server, data, "--data-types", "klines").run()
        assert (soon.code, soon.json["waiting"], soon.json["skipped"], server.hits[key]) == (
            0,
            1,
            soon.json["planned"] - 1,
            1,
        )
        yesterday = time.time_ns() // 1000 - DAY_US
        with sqlite3.connect(Layout(data).database) as database:
            database.execute("UPDATE files SET asked_us = ? WHERE state = 'missing'", (yesterday,))
        again = command(server, data, "--data-types", "klines").run()
    assert (again.json["missing"], again.json["downloaded"], server.hits[key]) == (0, 1, 2)


def test_a_file_without_a_checksum_is_kept_and_called_unverified(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "served"
    target = publish(folder, kline_key(), zip_bytes({"BTCUSDT-1h-2024-01.csv": kline_csv()}))
    target.with_name(f"{target.name}.CHECKSUM").unlink()
    with running_server(folder) as server:
        run = command(server, data, "--data-types", "klines")
        done = run.run()
        assert (done.code, done.json["unverified"], done.json["stored"]) == (1, 1, 0)
        assert "finding no-checksum" in done.err
        again = run.run()
        assert (again.code, again.json["waiting"], again.err) == (0, 1, "")
        accepted = run.run("--accept", "unverified")
        assert (accepted.code, accepted.json["stored"], accepted.json["downloaded"]) == (0, 1, 0)
        assert server.hits[kline_key()] == 1


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


def test_repairs_that_are_usual_for_a_data_type_are_counted_and_not_reported(tmp_path: Path, data: Path) -> None:
    folder, day, first = tmp_path / "published", "2024-01-01", 1_704_067_200_000
    metrics = [f"{day} 00:{minute:02d}:00,BTCUSDT,77082.018,3300000000.5,1.21,1.42,1.61,0.98" for minute in (10, 5, 5)]
    bands = [f"{day} 00:00:{second:02d},-1,2,3" for second in (2, 1, 1)]
    orders = [f"{first},{side},LIMIT,IOC,9,1.5,1.5,FILLED,4,9" for side in ("SELL", "BUY", "BUY")]
    for remote, rows in (("metrics", metrics), ("bookDepth", bands), ("liquidationSnapshot", orders)):
        name = f"BTCUSDT-{remote}-{day}"
        content = zip_bytes({f"{name}.csv": "".join(f"{row}\n" for row in rows).encode()})
        publish(folder, f"data/futures/um/daily/{remote}/BTCUSDT/{name}.zip", content)
    kinds = ("metrics", "book_depth", "liquidation_snapshot")
    with running_server(folder) as server:
        done = command(server, data, "--data-types", ",".join(kinds)).run()
    assert (done.code, done.json["stored"]) == (0, 3)
    assert sorted(re.findall(r"finding (\S+) um/(\w+)/", done.err)) == [
        ("duplicate-rows", "book_depth"),
        ("unsorted-rows", "book_depth"),
        ("unsorted-rows", "liquidation_snapshot"),
    ]
    with DownloadTracker(Layout(data).database) as tracker:
        sources = [(part.series.dataset, *part.sources) for part in tracker.catalog(Layout(data))]
    assert {(name, one.duplicates) for name, one in sources} == {(name, 1) for name in kinds}
    assert all(one.reordered for _, one in sources)
