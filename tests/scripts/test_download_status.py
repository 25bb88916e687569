"""What the status database is for: replaced archives, lost or damaged databases, a source that is gone, power cuts."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import ROOT, Command, called, finished, kline_csv, kline_key, publish, zip_bytes
from script_world import assert_loads_the_truth, assert_nothing_half_written, command, wait_until, zip_hits

from core.commands import daily_update, download_all, pipeline
from core.dates import DAY_US
from core.download.former import why_needed
from core.download.gaps import Known
from core.download.tracker import DownloadTracker
from core.exchanges.binance.urls import parse_key
from core.jobs.rebuild import rebuilding
from core.layout import Layout
from core.sample.faults import Fault, RequestInfo, on, reset, status
from core.sample.market import SampleMarket
from core.sample.server import ArchiveServer, running_server
from core.types import ArchiveFile, Gap, GapStatus, Market, Period, Series, Span, Stamp
from loader import BacktestDataLoader

KLINES = ("--data-types", "klines")
BTCUSDT = Series(Market.UM, "klines", "BTCUSDT", "1h")


def database(data: Path) -> Path:
    return data / "metadata" / "download_status.db"


def rows(data: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(database(data))
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def publish_month(folder: Path, close: str = "42050.25") -> str:
    """One month of candles, published (again) with this close in every row; returns its SHA-256."""
    body = kline_csv().replace(b"42050.25", close.encode())
    content = zip_bytes({"BTCUSDT-1h-2024-01.csv": body})
    publish(folder, kline_key(), content)
    return hashlib.sha256(content).hexdigest()


def served_month(folder: Path) -> Path:
    publish_month(folder)
    return folder


def republish(server: ArchiveServer, folder: Path) -> str:
    """Another month under the same name, as the exchange does it; its SHA-256."""
    new = publish_month(folder, "43000.75")
    server.bucket = type(server.bucket)(folder)
    return new


def closes(data: Path) -> set[float]:
    with BacktestDataLoader(data_dir=data) as loader:
        return set(loader.load_data(["BTCUSDT"], "2024-01-01", "2024-01-31")["klines"].close)


def test_a_republished_archive_is_noticed_swapped_and_recorded_with_both_digests(tmp_path: Path, data: Path) -> None:
    served = tmp_path / "served"
    old = publish_month(served)
    with running_server(served) as server:
        assert command(server, data, *KLINES).run().json["replaced"] == 0
        assert closes(data) == {42050.25}
        new = republish(server, served)
        done = command(server, data, *KLINES, "--log-level", "warning").run()
        assert (done.code, done.json["downloaded"], done.json["stored"], done.json["replaced"]) == (0, 1, 1, 1)
        assert f"its SHA-256 was {old} and is {new}" in done.err
        again = command(server, data, *KLINES).run()
        assert (again.json["downloaded"], again.json["replaced"], again.json["skipped"]) == (0, 0, 1)
    assert closes(data) == {43000.75}
    assert rows(data, "select old_sha256, new_sha256, replaced_us >= noticed_us from revisions") == [(old, new, 1)]
    assert_nothing_half_written(data)


def test_another_etag_for_the_same_bytes_is_no_replacement(tmp_path: Path, data: Path) -> None:
    """Replaced while it was being fetched: the listing names the new ETag only the next time."""
    served = tmp_path / "served"
    publish_month(served)

    def replace_first(request: RequestInfo) -> Fault | None:
        if request.name.endswith(".zip") and request.number == 1:
            publish_month(served, "43000.75")
        return None

    with running_server(served, faults=replace_first) as server:
        first = command(server, data, *KLINES).run()
        assert (first.code, first.json["downloaded"]) == (0, 1)
        second = command(server, data, *KLINES).run()
        assert (second.json["replaced"], second.json["bytes_downloaded"], second.err) == (0, 0, "")
        assert command(server, data, *KLINES).run().json["skipped"] == 1
    assert closes(data) == {43000.75}
    assert rows(data, "select count(*) from revisions") == [(0,)]


def test_the_old_archive_stays_until_the_new_one_is_verified(tmp_path: Path, data: Path) -> None:
    served = tmp_path / "served"
    old = publish_month(served)
    with running_server(served) as server:
        command(server, data, *KLINES).run()
        new = republish(server, served)
        server.faults = on(".zip", status(404))
        assert command(server, data, *KLINES).run().json["missing"] == 1
        (raw,) = data.rglob("*.zip")
        assert hashlib.sha256(raw.read_bytes()).hexdigest() == old
        assert closes(data) == {42050.25}
        server.faults = None
        assert command(server, data, *KLINES).run().json["waiting"] == 1
        with sqlite3.connect(database(data)) as connection:  # a day later
            connection.execute(f"update files set asked_us = asked_us - {DAY_US}")
        assert command(server, data, *KLINES).run().json["downloaded"] == 1
    assert hashlib.sha256(raw.read_bytes()).hexdigest() == new
    assert rows(data, "select old_sha256, new_sha256 from revisions") == [(old, new)]


def facts(data: Path) -> list[tuple[object, ...]]:
    return sorted(rows(data, "select key, state, sha256, proof, etag, size from files"))


@pytest.mark.parametrize("damage", ["deleted", "garbage", "cut"])
def test_the_status_is_rebuilt_from_the_files_without_downloading(
    market: SampleMarket, archive: Path, data: Path, damage: str
) -> None:
    with running_server(archive) as server:
        assert command(server, data).run().code == 0
        before, hits = facts(data), zip_hits(server)
        stored = {path: path.stat().st_mtime_ns for path in data.rglob("*.parquet")}
        content = database(data).read_bytes()
        if damage == "deleted":
            database(data).unlink()
        else:
            database(data).write_bytes(b"garbage" * 1000 if damage == "garbage" else content[:3000])
            refused = command(server, data).run()
            assert refused.code == 1
            assert "is damaged" in refused.err
            assert "--rebuild-status" in refused.err
        done = command(server, data, "--rebuild-status").run()
        assert (done.code, done.err) == (0, "")
        assert done.json["stored"] == done.json["planned"] == len(before)
        assert done.json["bytes_downloaded"] == 0
        assert zip_hits(server) == hits
        assert facts(data) == before
        assert {path: path.stat().st_mtime_ns for path in data.rglob("*.parquet")} == stored
        again = command(server, data).run()
        assert (again.json["downloaded"], again.json["stored"]) == (0, 0)
        assert zip_hits(server) == hits
    assert_loads_the_truth(data, market)


def test_rebuilding_leaves_out_what_does_not_verify_and_says_so(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        assert command(server, data, *KLINES, "--download-only").run().code == 0
        broken, other, *_ = sorted(data.rglob("*.zip"))
        content = bytearray(broken.read_bytes())
        content[50] ^= 1
        broken.write_bytes(content)
        (other.parent / "BTCUSDT-1h-1999-01.zip").write_bytes(b"never published")
        done = command(server, data, "--rebuild-status").run()
        assert done.code == 1
        (failure,) = done.json["failures"]
        assert broken.name in failure["key"]
        assert "what lies here is not what is listed" in failure["error"]
        again = command(server, data, *KLINES).run()
        assert (again.code, again.json["downloaded"]) == (0, 1)


def test_the_old_database_stays_until_the_new_one_is_whole(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        assert command(server, data, *KLINES).run().code == 0
        before = facts(data)
        server.faults = on("?", status(404))
        assert command(server, data, "--rebuild-status").run().code != 0
    assert facts(data) == before


def test_a_database_that_a_run_works_with_is_not_rebuilt(archive: Path, data: Path) -> None:
    with running_server(archive, bytes_per_second=3_000) as server:
        worker = command(server, data, *KLINES, "--workers", "2").start()
        wait_until(lambda: bool(zip_hits(server)), worker)
        refused = command(server, data, "--rebuild-status").run()
        server.bytes_per_second = None
        assert refused.code == 4
        assert f"process {worker.pid} on" in refused.err
        assert "is at work; nothing was done" in refused.err
        assert finished(worker).code == 0


@contextlib.contextmanager
def being_rebuilt(data: Path) -> Iterator[DownloadTracker]:
    """In this thread, but in no running loop: so that commands can be called meanwhile."""
    context = rebuilding(Layout(data), "as it was typed")
    with asyncio.Runner() as runner:
        yield runner.run(context.__aenter__())
        runner.run(context.__aexit__(None, None, None))


@pytest.mark.parametrize("is_there", [True, False])
def test_nobody_else_works_while_the_database_is_rebuilt(tmp_path: Path, data: Path, is_there: bool) -> None:
    """What another run would write meanwhile would go with the old database."""
    with running_server(served_month(tmp_path / "served")) as server:
        ask = ["--source", server.url, "--data-dir", str(data), *KLINES, "--json"]
        assert called(download_all.main, ask).code == 0
        if not is_there:
            database(data).unlink()
        with being_rebuilt(data) as tracker:
            refused = [called(download_all.main, words) for words in (ask, [*ask[:4], "--rebuild-status"])]
            refused += [called(daily_update.main, ask[:4])]
            refused += [called(pipeline.main, ["delete", *ask[2:4], "--confirm", "data"])]
            refused += [called(pipeline.main, ["cleanup", *ask[2:4], "--apply"])]
            assert tracker.begin_run("download_all") == (2 if is_there else 1)  # in the new one: the rebuild itself
        for one in refused:
            assert one.code == 4, one.err
            assert f"process {os.getpid()} on" in one.err
            assert "rebuild-status" in one.err
        assert called(download_all.main, ask).json["bytes_downloaded"] == 0
        assert zip_hits(server) == {kline_key(): 1}
    assert len(list((data / "metadata").glob("*.old"))) == is_there
    assert rows(data, "select count(*) from runs where command = 'rebuild-status'") == [(0,)]


def test_a_rebuild_that_fails_lets_others_work_again(tmp_path: Path, data: Path) -> None:
    with running_server(served_month(tmp_path / "served")) as server:
        ask = ["--source", server.url, "--data-dir", str(data), *KLINES, "--json"]
        assert called(download_all.main, ask).code == 0
        server.faults = on("?", status(404))
        assert called(download_all.main, [*ask[:4], "--json", "--rebuild-status"]).code != 0
        server.faults = None
        assert called(download_all.main, ask).json["skipped"] == 1
    assert rows(data, "select command, ended from runs order by id") == [
        ("download_all", "finished"),
        ("rebuild-status", "stopped"),
        ("download_all", "finished"),
    ]


def test_a_rebuilt_database_keeps_what_nobody_can_tell_again(tmp_path: Path, data: Path) -> None:
    kept = {
        "gaps": "select dataset, symbol, interval, start_us, end_us, rows, status, detail, checked_us from gaps",
        "looks": "select * from gap_looks",
        "seen": "select * from symbols_seen",
        "runs": "select id, command, line, started_us, finished_us, ended from runs where id < 4",
        "faults": "select key, state, fault, asks, asked_us, sha256, proof, error from files where fault is not null",
    }
    with running_server(served_month(tmp_path / "served")) as server:
        ask = ["--source", server.url, "--data-dir", str(data), "--json"]
        for _ in range(3):
            assert called(download_all.main, [*ask, *KLINES]).code == 0
        day = Period.parse("2024-02-01")
        absent = ArchiveFile(BTCUSDT, day, "data/absent.zip", 0, "", None, "")
        hole = Gap(BTCUSDT, Span(1, 2), 1, GapStatus.CONFIRMED, "every source lacks it", 3)
        with DownloadTracker(database(data)) as tracker:
            tracker.see(Market.UM, "klines", ["BTCUSDT", "GONEUSDT"])
            tracker.record_gaps({BTCUSDT: Known((hole,), {day: Stamp(1, 2)})}, {})
            for asks in range(2):
                tracker.note_missing([absent], asks)
        with contextlib.closing(sqlite3.connect(database(data))) as connection, connection:
            connection.execute("update files set state = 'corrupt-upstream' where state = 'stored'")
            connection.execute("update files set fault = state, asks = 5, asked_us = 9, error = 'what was wrong'")
        before = {name: rows(data, query) for name, query in kept.items()}
        assert [len(found) for found in before.values()] == [1, 1, 2, 3, 2]
        Layout(data).processed(BTCUSDT, Period.parse("2024")).unlink()  # as of an archive that cannot be read
        assert called(download_all.main, [*ask, "--rebuild-status"]).code == 0
    assert {name: rows(data, query) for name, query in kept.items()} == before
    (former,) = (data / "metadata").glob("*.old")
    assert why_needed(former, database(data)) == ""


def test_a_rebuilt_database_keeps_the_revisions(tmp_path: Path, data: Path) -> None:
    served = tmp_path / "served"
    old = publish_month(served)
    with running_server(served) as server:
        command(server, data, *KLINES).run()
        new = republish(server, served)
        command(server, data, *KLINES).run()
        assert command(server, data, "--rebuild-status").run().code == 0
    assert rows(data, "select old_sha256, new_sha256 from revisions") == [(old, new)]


def test_revisions_that_cannot_be_read_do_not_stop_a_rebuild(tmp_path: Path, data: Path) -> None:
    served = tmp_path / "served"
    with running_server(served_month(served)) as server:
        command(server, data, *KLINES).run()
        republish(server, served)
        command(server, data, *KLINES).run()
        ((page, size),) = rows(
            data, "select rootpage, page_size from sqlite_master, pragma_page_size where name = 'revisions'"
        )
        with database(data).open("r+b") as file:
            file.seek((int(str(page)) - 1) * int(str(size)))
            file.write(b"\xff" * int(str(size)))
        done = command(server, data, "--rebuild-status").run()
        assert (done.code, done.json["stored"]) == (0, 1)
        assert "revisions are not carried over" in done.err
        assert command(server, data, *KLINES).run().json["skipped"] == 1


def test_an_older_version_under_a_new_etag_is_not_taken_for_the_new_one(tmp_path: Path, data: Path) -> None:
    """The exchange replaces the archive first and its checksum later, and we list between the two."""
    served = tmp_path / "served"
    publish_month(served)
    with running_server(served) as server:
        assert command(server, data, *KLINES).run().code == 0
        (raw,) = data.rglob("*.zip")
        (checksum,) = served.rglob("*.CHECKSUM")
        old_checksum = checksum.read_bytes()
        new = publish_month(served, "43000.75")
        new_checksum = checksum.read_bytes()
        checksum.write_bytes(old_checksum)
        server.bucket = type(server.bucket)(served)
        between = command(server, data, *KLINES).run()
        assert (between.code, between.json["stored"]) == (1, 0)
        checksum.write_bytes(new_checksum)
        server.bucket = type(server.bucket)(served)
        after = command(server, data, *KLINES).run()
        assert (after.code, after.json["stored"]) == (0, 1), after.err
    assert hashlib.sha256(raw.read_bytes()).hexdigest() == new
    assert closes(data) == {43000.75}
    assert_nothing_half_written(data)


def test_a_deleted_database_costs_no_download_either(market: SampleMarket, archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        command(server, data).run()
        hits = zip_hits(server)
        shutil.rmtree(data / "metadata")
        done = command(server, data).run()
        assert (done.code, done.json["bytes_downloaded"]) == (0, 0)
        assert zip_hits(server) == hits
    assert_loads_the_truth(data, market)


@pytest.mark.parametrize("fault", [status(403), reset(0)], ids=["403", "200 and a reset"])
def test_a_source_that_is_gone_stops_the_run_with_one_message(archive: Path, data: Path, fault: Fault) -> None:
    with running_server(archive, faults=on(".zip", fault)) as server:
        done = command(server, data, *KLINES, "--workers", "8").run()
        assert done.code == 1
        assert done.err.count("does not answer any more") == 1
        assert done.err.splitlines()[0].startswith("continue with: python scripts/download_all.py ")
        assert done.err.count("\n") == 2
        states = dict(rows(data, "select state, count(*) from files group by state"))
        assert set(states) == {"planned"}  # nothing is marked as failed for the source's sake
        server.faults = None
        assert command(server, data, *KLINES).run().json["failed"] == 0


def test_a_source_that_bans_us_for_a_day_stops_the_run_at_once(archive: Path, data: Path) -> None:
    with running_server(archive, faults=on(".zip", status(418, 86_400))) as server:
        done = command(server, data, *KLINES, "--workers", "2").run()
        assert done.code == 1
        assert "left alone for 24.0 hours" in done.err
        assert sum(zip_hits(server).values()) <= 2
    assert set(dict(rows(data, "select state, count(*) from files group by state"))) == {"planned"}


SYNCED = """
import os, threading
from pathlib import Path
data, noted = {data!r}, Path({noted!r})

# What a power cut leaves: of a file the bytes that were synced, of a name only what its folder was synced with.
fsync = os.fsync

def note(folder, name, content):
    target = noted / folder / name
    draft = noted / f"{{os.getpid()}}-{{threading.get_ident()}}"
    draft.write_bytes(content)
    os.replace(draft, target)

def noted_fsync(file):
    fsync(file)
    path = Path(os.readlink(f"/proc/self/fd/{{file}}"))
    if path.is_dir():
        for entry in os.scandir(path):
            if entry.is_file() and (noted / "files" / str(entry.inode())).exists():
                note("names", entry.path.removeprefix(data).replace("/", "|"), str(entry.inode()).encode())
    else:
        note("files", str(os.fstat(file).st_ino), path.read_bytes())

os.fsync = noted_fsync
"""
"""Python runs this first in every process, in the run and in those that store for it."""

POWER_CUT = """
import os, signal, shutil, sys
from pathlib import Path
sys.path.insert(0, {scripts!r})
import _root
data, kept, noted, after = Path({data!r}), Path({kept!r}), Path({noted!r}), {after}

from sqlalchemy import Engine, event
from core.download.tracker import DownloadTracker
advance, advances = DownloadTracker.advance, [0]

def counted(self, run, changes):
    lost = advance(self, run, changes)
    advances[0] += 1
    if advances[0] == after:
        power_cut()
    return lost

DownloadTracker.advance = counted

def power_cut():
    shutil.copytree(data / "metadata", kept / "metadata", dirs_exist_ok=True)
    for name in (noted / "names").iterdir():
        target = kept / name.name.replace("|", "/").lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((noted / "files" / name.read_text()).read_bytes())
    os.kill(os.getpid(), signal.SIGKILL)

from core.commands.command import run_command
from core.commands import download_all
run_command(download_all.main)
"""


@pytest.mark.parametrize("after", [1, 2, 4])
def test_no_row_speaks_of_bytes_that_a_power_cut_would_take(
    market: SampleMarket, archive: Path, data: Path, tmp_path: Path, after: int
) -> None:
    kept, noted, driver = tmp_path / "kept", tmp_path / "noted", tmp_path / "driver.py"
    for folder in ("names", "files"):
        (noted / folder).mkdir(parents=True)
    where = {"data": str(data), "noted": str(noted)}
    (tmp_path / "sitecustomize.py").write_text(SYNCED.format(**where))
    driver.write_text(POWER_CUT.format(scripts=str(ROOT / "scripts"), kept=str(kept), after=after, **where))
    with running_server(archive) as server:
        run = Command(str(driver), command(server, data).options, env={"PYTHONPATH": str(tmp_path)})
        killed = run.run()
        assert killed.code == -signal.SIGKILL, killed.err
        said = rows(kept, "select key, sha256 from files where sha256 is not null")
        assert said
        for key, sha256 in said:
            named = parse_key(str(key))
            assert named is not None
            path = Layout(kept).raw(*named)
            assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        partitions = rows(kept, "select count(*) from catalog_partitions")[0][0]
        assert len([path for path in kept.rglob("*.parquet") if path.stat().st_size]) >= partitions
        shutil.rmtree(data)
        shutil.copytree(kept, data)
        done = command(server, data).run()
        assert (done.code, done.json["failed"]) == (0, 0)
    assert_loads_the_truth(data, market)
    assert_nothing_half_written(data)


def test_large_archives_come_in_pieces_by_the_same_command(tmp_path: Path, data: Path) -> None:
    """With a settings file of small pieces, as the exchange's archives of several GB are cut by default."""
    served = tmp_path / "served"
    content = zip_bytes({"BTCUSDT-1h-2024-01.csv": kline_csv(rows=700)})
    publish(served, kline_key(), content)
    settings = tmp_path / "settings.yaml"
    settings.write_text("download: {ranges: 3, range_bytes: 1000}\n")
    with running_server(served) as server:
        done = command(server, data, *KLINES, "--settings", str(settings)).run()
        assert (done.code, done.json["stored"]) == (0, 1), done.err
        (pieces,) = zip_hits(server).values()
        assert len(content) / 1000 <= pieces < len(content) / 1000 + 3
        assert server.body_bytes[kline_key()] == len(content)
    assert_nothing_half_written(data)
