"""`daily_update.py` as cron runs it: quiet when all is well, one at a time, an exit code that says what was."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from factories import ROOT, Command, called, kline_csv, publish, zip_bytes
from script_world import command, wait_until, zip_hits

from core.commands import daily_update
from core.download.tracker import DownloadTracker
from core.exchanges.binance.urls import key_of
from core.layout import Layout
from core.sample.faults import not_found, on, stall
from core.sample.server import ArchiveServer, running_server
from core.types import Market, Period, Series, State

BTC = Series(Market.UM, "klines", "BTCUSDT", "1h")
ETH = Series(Market.UM, "klines", "ETHUSDT", "1h")


def days_ago(count: int) -> Period:
    return Period.day(datetime.now(UTC).date() - timedelta(days=count))


def publish_day(folder: Path, series: Series, period: Period) -> str:
    name = f"{series.symbol}-1h-{period.label}"
    content = zip_bytes({f"{name}.csv": kline_csv(24, period.span.start_us // 1000)})
    publish(folder, key_of(series, period), content)
    return f"{name}.zip"


def update_command(server: ArchiveServer, data: Path) -> Command:
    return Command("scripts/daily_update.py", ["--source", server.url, "--data-dir", str(data)])


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """Both symbols, for the last ten days until the day before yesterday, and over midnight too."""
    folder = tmp_path / "served"
    for count in range(2, 11):
        for one in (BTC, ETH):
            publish_day(folder, one, days_ago(count))
    return folder


@contextmanager
def known(served: Path, data: Path) -> Iterator[ArchiveServer]:
    """Downloaded until the day before yesterday, and updated once."""
    with running_server(served) as server:
        start = days_ago(10).label
        done = command(server, data, "--data-types", "klines", "--start", start).run()
        assert (done.code, done.json["stored"]) == (0, 18), done.err
        yield server


def test_a_night_is_silent_and_leaves_yesterday_here(served: Path, data: Path) -> None:
    with known(served, data) as server:
        names = [publish_day(served, one, days_ago(1)) for one in (BTC, ETH)]
        server.hits.clear()
        done = update_command(server, data).run()
        assert (done.code, done.out, done.err) == (0, "", "")
        assert sorted(Path(name).name for name in zip_hits(server)) == names
        again = update_command(server, data).run("--json")
        assert (again.code, again.json["planned"], again.json["downloaded"], again.json["stored"]) == (0, 0, 0, 0)
        assert (again.json["series"], again.json["new_series"], again.json["missing_new"]) == (2, 0, [])
        assert again.err == ""
    log = (data / "logs" / "tapevault.log").read_text()
    assert "run 2 begins" in log
    with DownloadTracker(Layout(data).database) as tracker:
        assert tracker.totals() == {State.STORED: 20}


def test_what_is_wrong_is_said_once_with_its_exit_code(served: Path, data: Path) -> None:
    with known(served, data) as server:
        publish_day(served, BTC, days_ago(1))
        key = key_of(ETH, days_ago(1))
        publish_day(served, ETH, days_ago(1))
        (served / f"{key}.CHECKSUM").unlink()
        done = update_command(server, data).run()
        assert done.code == 1
        assert f"finding no-checksum {ETH}" in done.err
        assert "1 faulty at the source" in done.out
        again = update_command(server, data).run()
        assert (again.code, again.out, again.err) == (0, "", "")
        waiting = update_command(server, data).run("--json")
        assert (waiting.code, waiting.json["waiting"]) == (0, 1)
        accepted = update_command(server, data).run("--json", "--accept", "unverified")
        assert (accepted.code, accepted.json["stored"], accepted.json["unverified"]) == (0, 1, 0)
    assert "stored as accepted" in accepted.err


def test_an_archive_that_is_listed_and_gone_is_missing(served: Path, data: Path) -> None:
    with known(served, data) as server:
        for one in (BTC, ETH):
            publish_day(served, one, days_ago(1))
        server.faults = on(f"ETHUSDT-1h-{days_ago(1).label}.zip", not_found())
        done = update_command(server, data).run("--json")
        assert (done.code, done.json["missing"], done.json["stored"]) == (1, 1, 1)
        assert done.json["faults"] == [
            {"key": key_of(ETH, days_ago(1)), "state": "missing", "detail": "listed, but the source has no such object"}
        ]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--days-back", "0"], 2, "'0' is not a number of days from 1 to 10000"),
        (["--days-back", "99999999"], 2, "'99999999' is not a number of days from 1 to 10000"),
        (["--fill-gaps", "--max-gap-days", "week"], 2, "'week' is not a number of days"),
        (["--accept", "everything"], 2, "--accept: unknown fault 'everything'"),
        (["--accept", "unverifed"], 2, "did you mean 'unverified'?"),
        (["--data-types", "kline"], 2, "did you mean 'klines'?"),
        (["--market", "spot", "--data-types", "funding_rate"], 2, "spot has no funding_rate"),
        (["--interval", "7h"], 2, "no interval '7h'"),
        (["--fill-gap"], 2, "did you mean '--fill-gaps'?"),
        ([], 3, "run download_all.py first"),
    ],
)
def test_a_wrong_request_gets_one_clear_line(tmp_path: Path, options: list[str], code: int, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with running_server(tmp_path / "empty") as server:
        where = ["--source", server.url, "--rest", server.url, "--data-dir", str(tmp_path / "data")]
        done = called(daily_update.main, [*where, *options])
        assert not server.hits
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert not (tmp_path / "data").exists()


def test_a_selection_of_nothing_that_is_known_is_said(served: Path, data: Path) -> None:
    with known(served, data) as server:
        done = update_command(server, data).run("--symbols", "XRPUSDT")
        where = ["--source", server.url, "--data-dir", str(data)]
        near = called(daily_update.main, [*where, "--symbols", "ETHUSTD"])
        some = called(daily_update.main, [*where, "--symbols", "BTCUSDT,ETHUSTD", "--json", "--days-back", "1"])
    assert (done.code, done.out) == (3, "")
    assert "no series of that is known here; download_all.py begins them" in done.err
    assert (near.code, near.err) == (3, "error: no series of that is known here; did you mean 'ETHUSDT'?\n")
    assert (some.code, some.json["series"], some.json["unknown"]) == (1, 1, ["ETHUSTD"])
    assert "WARNING not known here: ETHUSTD; download_all.py begins it\n" in some.err


def begun(process: "subprocess.Popen[str]", server: ArchiveServer) -> None:
    """Until both archives are on their way, which is all that it asks for while they stall."""
    wait_until(lambda: sum(n for name, n in list(server.sending.items()) if name.endswith(".zip")) == 2, process)


def test_a_second_update_does_nothing_and_a_killed_one_blocks_nobody(served: Path, data: Path) -> None:
    with known(served, data) as server:
        names = [publish_day(served, one, days_ago(1)) for one in (BTC, ETH)]
        server.faults = on(".zip", stall(10))
        first = update_command(server, data).start()
        begun(first, server)
        before = dict(server.hits)
        second = update_command(server, data).run()
        assert (second.code, second.out) == (4, "")
        assert re.search(rf"process {first.pid} on \S+, since \d{{4}}-\d\d-\d\dT", second.err)
        assert "nothing was done" in second.err
        assert dict(server.hits) == before
        os.kill(first.pid, signal.SIGKILL)
        first.communicate()
        server.faults = None
        third = update_command(server, data).run("--json")
        assert (third.code, third.json["stored"]) == (0, 2), third.err
    assert len(names) == 2
    assert json.loads((Layout(data).command_lock("daily_update").with_suffix(".json")).read_text())["pid"] != first.pid


def test_an_update_that_is_stopped_is_taken_up_again(served: Path, data: Path) -> None:
    with known(served, data) as server:
        for one in (BTC, ETH):
            publish_day(served, one, days_ago(1))
        server.faults = on(".zip", stall(10))
        first = update_command(server, data).start()
        begun(first, server)
        first.send_signal(signal.SIGINT)
        _, err = first.communicate(timeout=60)
        assert (first.returncode, "the same command goes on from there" in err) == (130, True)
        server.faults = None
        assert update_command(server, data).run("--json").json["stored"] == 2


def test_the_help_names_the_exit_codes() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "daily_update.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(text in done.stdout for text in ("--days-back", "--fill-gaps", "--max-gap-days", "4 another update"))
