"""The processes that store for `download_all.py`: none outlives it, and one that is killed costs its archives."""

import os
import signal
from pathlib import Path

import pytest
from factories import Command, finished
from script_world import (
    assert_catalog_is_the_footers,
    assert_loads_the_truth,
    assert_nothing_half_written,
    command,
    wait_until,
    zip_hits,
)

from core.layout import Layout
from core.sample.market import SampleMarket
from core.sample.server import running_server
from core.storage.turns import taking_turns
from core.types import Market, Series

DIE_ONCE = """
import os, signal
replace, count = os.replace, [0]
def replace_or_die(source, target):
    count[0] += str(target).endswith(".parquet")
    if count[0] == 3:
        try:
            os.close(os.open({mark!r}, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(source, target)
os.replace = replace_or_die
"""
"""Python runs this first in every process; only the one that stores renames partitions."""


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_storing_process_that_is_killed_costs_the_archives_it_was_at(
    market: SampleMarket, archive: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DIE_ONCE.format(mark=str(tmp_path / "died")))
    with running_server(archive) as server:
        normal = command(server, data)
        first = Command(normal.script, normal.options, env={"PYTHONPATH": str(tmp_path)}).run()
        assert (tmp_path / "died").exists()
        assert first.code == 1, first.err
        failures = first.json["failures"]
        assert failures
        assert all("was ended by SIGKILL; is memory short?" in each["error"] for each in failures)
        assert len({each["error"] for each in failures}) == 1
        assert first.json["stored"] == first.json["planned"] - len(failures)
        before = zip_hits(server)
        second = normal.run()
        assert (second.code, second.json["stored"]) == (0, len(failures)), second.err
        assert zip_hits(server) == before  # the archives were here and verified
    assert_loads_the_truth(data, market)
    assert_catalog_is_the_footers(data)
    assert_nothing_half_written(data)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_all_of_them_leaves_no_process_behind(
    market: SampleMarket, archive: Path, data: Path, name: str
) -> None:
    """As a terminal's Ctrl-C does: while something is being stored."""
    with running_server(archive) as server:
        normal = command(server, data)
        with taking_turns(Layout(data), Series(Market.UM, "klines", "BTCUSDT", "1h")):
            process = Command(normal.script, normal.options, limits=os.setsid).start()
            wait_until(lambda: any("BTCUSDT-1h" in key for key in zip_hits(server)), process)
            assert children_of(process.pid)
            os.killpg(process.pid, getattr(signal, name))
        stopped = finished(process)
        assert stopped.code == 130
        assert "the same command goes on from there" in stopped.err
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
        second = normal.run()
        assert (second.code, second.json["failed"]) == (0, 0), second.err
    assert_loads_the_truth(data, market)
    assert_catalog_is_the_footers(data)
    assert_nothing_half_written(data)


def test_a_command_that_is_killed_leaves_processes_that_end_by_themselves(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        normal = command(server, data)
        with taking_turns(Layout(data), Series(Market.UM, "klines", "BTCUSDT", "1h")):
            process = Command(normal.script, normal.options, limits=os.setsid).start()
            wait_until(lambda: any("BTCUSDT-1h" in key for key in zip_hits(server)), process)
            process.kill()
        process.communicate()  # to the end of what they all may write
        assert process.returncode == -signal.SIGKILL
        second = normal.run()
        assert (second.code, second.json["failed"]) == (0, 0), second.err
    assert_catalog_is_the_footers(data)
    assert_nothing_half_written(data)
