"""`download_all.py` killed, interrupted, run twice at once: nothing is lost and nothing fetched again for nothing."""

import signal
from pathlib import Path

import pytest
from factories import ROOT, Command, finished
from script_world import (
    assert_catalog_is_the_footers,
    assert_loads_the_truth,
    assert_nothing_half_written,
    command,
    wait_until,
    zip_hits,
)

from core.sample.market import SampleMarket
from core.sample.server import running_server


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
from core.commands.command import run_command
from core.commands import download_all
run_command(download_all.main)
"""
IN_THE_STORING_PROCESS = """
import os, signal
def die(*_):
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""Python runs this first in every process, also in the one that stores: it ends the run and itself."""

IN_MID_CONVERT = """
replace, count = os.replace, [0]
def replace_or_die(source, target):
    count[0] += str(target).endswith(".parquet")
    if count[0] == 6:
        die()
    return replace(source, target)
os.replace = replace_or_die
"""

AFTER_RENAME = """
replace, count = os.replace, [0]
def replace_and_die(source, target):
    replace(source, target)
    count[0] += str(target).endswith(".parquet")
    if count[0] == 3:
        die()
os.replace = replace_and_die
"""

IN_MID_COMMIT = """
from sqlalchemy import Engine, event
from core.download.tracker import DownloadTracker
advance, advances = DownloadTracker.advance, [0]
def counted(self, run, changes):
    advances[0] += 1
    return advance(self, run, changes)
DownloadTracker.advance = counted
@event.listens_for(Engine, "commit")
def commit(connection):
    if advances[0] == 2:
        die()
"""

AFTER_FETCH = """
from core.storage.pool import StoragePool
store, count = StoragePool.store, [0]
def store_or_die(self, files, fresh):
    count[0] += 1
    if count[0] == 6:
        die()
    return store(self, files, fresh)
StoragePool.store = store_or_die
"""


@pytest.mark.parametrize(
    "sabotage",
    [IN_MID_CONVERT, AFTER_RENAME, IN_MID_COMMIT, AFTER_FETCH],
    ids=["convert", "rename", "commit", "fetched"],
)
def test_kill_9_at_a_bad_moment_is_recovered_by_the_next_run(
    market: SampleMarket, archive: Path, data: Path, tmp_path: Path, sabotage: str
) -> None:
    driver = tmp_path / "driver.py"
    is_storing = "os.replace" in sabotage
    driver.write_text(DRIVER.format(scripts=str(ROOT / "scripts"), sabotage="" if is_storing else sabotage))
    (tmp_path / "sitecustomize.py").write_text(IN_THE_STORING_PROCESS + sabotage if is_storing else "")
    with running_server(archive) as server:
        normal = command(server, data)
        killed = Command(str(driver), normal.options, env={"PYTHONPATH": str(tmp_path)}).run("--workers", "3")
        assert killed.code == -signal.SIGKILL, killed.err
        before = zip_hits(server)
        assert len(before) >= 3
        second = normal.run()
        assert second.code == 0, second.err
        again = [key for key, count in zip_hits(server).items() if count > 1 and key in before]
        assert len(again) <= 3  # one a worker at most: what was not yet written down
    assert_loads_the_truth(data, market)
    assert_catalog_is_the_footers(data)
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
        while process.poll() is None:  # more signals than anybody can type, until the end
            process.send_signal(signal.SIGINT)
        stopped = finished(process)
        assert stopped.code == 130
        assert "interrupted" in stopped.err
        server.bytes_per_second = None
        assert command(server, data).run().json["failed"] == 0
    assert_nothing_half_written(data)


def test_an_interrupt_while_listing_says_so(archive: Path, data: Path) -> None:
    with running_server(archive, latency_seconds=30) as server:
        process = command(server, data).start()
        wait_until(lambda: bool(server.hits), process)
        process.send_signal(signal.SIGTERM)
        stopped = finished(process)
    assert stopped.code == 130
    assert "the same command goes on from there" in stopped.err


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
    assert_catalog_is_the_footers(data)


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
