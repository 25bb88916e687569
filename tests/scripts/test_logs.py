"""The log: a line an event, JSON where it is asked for, and several processes at one file that turns over."""

import argparse
import json
import logging
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import ROOT, Command
from script_world import command

from core.commands.logs import FILE, log_to_file, log_to_stderr
from core.errors import ConfigError
from core.events import LOGGER, FileFailed, FileRetrying, FindingRaised, log_event
from core.sample.server import running_server
from core.types import Finding, Market, Series, Span

ONE_MONTH = ("--symbols", "BTCUSDT", "--data-types", "klines", "--start", "2024-12-10", "--end", "2024-12-31")


@pytest.fixture(autouse=True)
def no_handlers() -> Iterator[None]:
    before, level, propagates = list(LOGGER.handlers), LOGGER.level, LOGGER.propagate
    yield
    for handler in LOGGER.handlers:
        if handler not in before:
            handler.close()
    LOGGER.handlers, LOGGER.level, LOGGER.propagate = before, level, propagates


def options(**said: object) -> argparse.Namespace:
    return argparse.Namespace(**{"log_level": None, "log_format": "text", "quiet": False, "json": False, **said})


def test_an_error_of_several_lines_is_one_line(tmp_path: Path) -> None:
    log_to_file(tmp_path, options())
    log_event(FileFailed("a.zip", "first\nsecond\r\nthird"))
    [line] = (tmp_path / FILE).read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING failed a\.zip: first second third", line)


def test_json_lines_hold_the_event_and_its_fields(tmp_path: Path) -> None:
    log_to_file(tmp_path, options(log_format="json"))
    finding = Finding(Series(Market.UM, "klines", "币安USDT", "1h"), Span(0, 3_600_000_000), "gap", "one hour", 1)
    log_event(FileRetrying("a.zip", "timed\nout", 2, 1.5))
    log_event(FindingRaised(finding))
    LOGGER.warning("no event at all")
    retry, found, plain = (json.loads(line) for line in (tmp_path / FILE).read_text().splitlines())
    assert (retry["level"], retry["event"]) == ("info", "FileRetrying")
    assert retry["fields"] == {"key": "a.zip", "reason": "timed\nout", "attempt": 2, "wait_seconds": 1.5}
    assert found["fields"]["finding"]["series"]["symbol"] == "币安USDT"
    assert found["fields"]["finding"]["span"] == {"start_us": 0, "end_us": 3_600_000_000}
    assert plain["message"] == "no event at all"
    assert "event" not in plain
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", each["at"]) for each in (retry, found, plain))


WRITER = """
import argparse, sys
from pathlib import Path
from core.commands import logs
logs.FILE_BYTES, logs.FILES = 20_000, 200
logs.log_to_file(Path(sys.argv[1]), argparse.Namespace(log_format="text"))
for number in range(600):
    logs.LOGGER.info("%s %d %s", sys.argv[2], number, "x" * 80)
"""


def test_processes_that_turn_one_file_over_lose_no_line_and_write_none_twice(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], cwd=ROOT)
        for name in ("one", "two", "three")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    files = list(tmp_path.glob(f"{FILE}*"))
    lines = Counter(tuple(line.split()[2:4]) for path in files for line in path.read_text().splitlines())
    assert len(files) > 5
    assert max(path.stat().st_size for path in files) < 25_000
    assert lines == {(name, str(number)): 1 for name in ("one", "two", "three") for number in range(600)}


def test_the_level_of_the_console(capfd: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(options())
    log_event(FileRetrying("a.zip", "reset", 1, 0.5))
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO retry a\.zip in 0\.5 s after attempt 1: reset\n", capfd.readouterr().err)
    LOGGER.handlers.clear()
    LOGGER.setLevel(logging.NOTSET)
    log_to_stderr(options(json=True))
    log_event(FileRetrying("a.zip", "reset", 1, 0.5))
    assert capfd.readouterr().err == ""
    with pytest.raises(ConfigError, match=r"--log-level: 'wanring'; did you mean 'warning'\?"):
        log_to_stderr(options(log_level="wanring"))


def test_a_run_logs_json_to_stderr_and_to_the_file(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        done = command(server, data, *ONE_MONTH, "--log-format", "json", "--log-level", "info").run()
    assert done.code == 0, done.err
    console = [json.loads(line) for line in done.err.splitlines()]
    file = [json.loads(line) for line in (data / "logs" / FILE).read_text().splitlines()]
    assert [each["event"] for each in console] == ["RunStarted", "RunPlanned", "RunFinished"]
    assert [each["event"] for each in file] == ["RunStarted", "RunPlanned", "RunFinished"]
    assert console[1]["fields"]["files"] == done.json["planned"]


def test_a_format_that_there_is_not() -> None:
    done = Command("scripts/download_all.py").run("--log-format", "yaml")
    assert done.code == 2
    assert "--log-format" in done.err
