"""A run watched from another process: real runs against the sample server, real terminals."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import ROOT, Command, finished
from script_world import command, wait_until, zip_hits

from core.sample.faults import on, status
from core.sample.server import ArchiveServer, running_server

SLOW = 10_000
LATE_SECONDS = 6.0
"""Before each answer, once archives are asked for: a run of a hundred archives does not end before it is let go."""
SECONDS = 100
PATIENT = "download:\n  max_attempts: 2\n  backoff_seconds: 0.01\n"


class Screen:
    """A command in a terminal of its own: what it draws, and keys for it."""

    def __init__(self, script: str, *options: str, width: int = 80, height: int = 24, **env: str) -> None:
        self.master, self._slave = pty.openpty()
        self.resize(width, height)
        self.modes = termios.tcgetattr(self._slave)
        keep = {name: value for name, value in os.environ.items() if name not in ("TAPEVAULT_HOME", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / script), *options],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=keep | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"} | env,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.raw = ""

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self._slave)

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press(self, key: str) -> None:
        os.write(self.master, key.encode())

    def read(self) -> None:
        while select.select([self.master], [], [], 0.02)[0]:
            self.raw += os.read(self.master, 65_536).decode("utf-8", "replace")

    @property
    def lines(self) -> list[str]:
        """The last whole frame."""
        frames = self.raw.split("\x1b[H")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frames[-2] if len(frames) > 2 else "").split("\r\n")

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            self.read()
            assert time.monotonic() < deadline, self.raw[-3000:]
            assert self.process.poll() is None or condition(), self.raw[-3000:]

    def shows(self, text: str) -> None:
        self.until(lambda: any(text in line for line in self.lines))

    def ended(self) -> int:
        """The exit code; the terminal is as it was before."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None:
            self.read()
            assert time.monotonic() < deadline, self.raw[-3000:]
        self.read()
        assert self.raw.count("\x1b[?1049h") == self.raw.count("\x1b[?1049l") > 0
        assert self.raw.rindex("\x1b[?25h") > self.raw.rindex("\x1b[?25l")
        assert termios.tcgetattr(self._slave) == self.modes
        return self.process.returncode

    @property
    def after(self) -> str:
        """What was said once the terminal was given back."""
        return self.raw[self.raw.rindex("\x1b[?1049l") :]


def view_of(data: Path) -> dict[str, Any]:
    (path,) = (data / "metadata" / "live").glob("*.json")
    view: dict[str, Any] = json.loads(path.read_text())
    return view


def is_fetching(data: Path) -> bool:
    return bool(list((data / "metadata" / "live").glob("*.json"))) and view_of(data)["transferred"] > 0


def sees(data: Path, process: "subprocess.Popen[str]", condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The first view that is so."""
    wait_until(lambda: bool(condition(view_of(data))), process)
    return view_of(data)


def next_view(data: Path, process: "subprocess.Popen[str]", last: dict[str, Any]) -> dict[str, Any]:
    return sees(data, process, lambda view: view["at"] > last["at"])


def monitor(data: Path, *options: str, **env: str) -> Command:
    return Command("scripts/monitor.py", [*options, "--data-dir", str(data)], env=env)


_begun: "list[subprocess.Popen[str]]" = []


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Also of a test that failed halfway: nobody would let such a run go."""
    yield
    for process in _begun:
        if process.poll() is None:
            process.kill()
            process.communicate()
    _begun.clear()


def slow_run(server: ArchiveServer, data: Path, *options: str) -> "subprocess.Popen[str]":
    """A run that goes on until `let_go`."""
    process = command(server, data, "--workers", "3", *options).start()
    _begun.append(process)
    wait_until(lambda: bool(zip_hits(server)), process)
    server.latency_seconds = LATE_SECONDS
    wait_until(lambda: is_fetching(data), process)
    return process


def let_go(server: ArchiveServer) -> None:
    server.latency_seconds, server.bytes_per_second = 0.0, None


def test_keys_pause_and_resume_the_run_and_q_leaves_it_alone(archive: Path, data: Path) -> None:
    with running_server(archive, bytes_per_second=SLOW) as server:
        run = slow_run(server, data)
        with Screen("scripts/monitor.py", "live", "--interval", "0.2", "--data-dir", str(data)) as screen:
            screen.shows("in flight")
            assert any(re.search(rf"download_all · run 1 · process {run.pid} on .* running", x) for x in screen.lines)
            assert len(screen.lines) == 24
            screen.press("f")
            screen.shows("Failures and what was tried again")
            screen.press("\x1b")
            screen.shows("in flight")
            screen.press("s")
            screen.shows("Data types and symbols")
            screen.press("s")
            screen.press("p")
            screen.shows("PAUSED")
            assert view_of(data)["is_paused"]
            screen.press("p")
            screen.shows("running")
            screen.resize(160, 50)
            os.kill(screen.process.pid, signal.SIGWINCH)
            screen.until(lambda: len(screen.lines) == 50 and any(x.count("──") > 40 for x in screen.lines))
            assert any("data types" in line and "in flight" in line for line in screen.lines)  # two columns
            screen.press("q")
            assert screen.ended() == 0
            assert "run 1 goes on" in screen.after
        assert run.poll() is None
        let_go(server)
        assert finished(run).code == 0


def test_a_pause_stops_the_bytes_outlives_who_asked_and_is_lifted(archive: Path, data: Path) -> None:
    with running_server(archive, bytes_per_second=SLOW) as server:
        run = slow_run(server, data)
        asked = monitor(data, "pause").run()
        assert (asked.code, f"process {run.pid}" in asked.out) == (0, True)
        still = sees(data, run, lambda view: view["is_paused"])
        while (now := next_view(data, run, still))["transferred"] != still["transferred"]:
            still = now  # the block that each connection was at
        hits = dict(server.hits)
        for _ in range(2):
            later = next_view(data, run, view_of(data))
            assert (later["transferred"], later["is_paused"]) == (now["transferred"], True)
        assert server.hits == hits
        with subprocess.Popen(
            [sys.executable, str(ROOT / "scripts/monitor.py"), "live", "--interval", "0.2", "--data-dir", str(data)],
            stdout=subprocess.PIPE,
            text=True,
        ) as plain:
            assert plain.stdout is not None
            assert "download_all, run 1: python " in plain.stdout.readline()
            assert "PAUSED" in plain.stdout.readline()
            let_go(server)
            assert monitor(data, "resume").run().code == 0
            outcome = finished(run)
            rest = plain.stdout.read()
        assert (outcome.code, outcome.json["failed"]) == (0, 0)
        assert plain.returncode == 0
        assert "finished, exit code 0" in rest.splitlines()[-1]


def test_it_ends_as_the_run_does_and_says_what_continues(archive: Path, data: Path, tmp_path: Path) -> None:
    """Plain lines, without any escape; then what failed is told, planned again, and taken up alone."""
    settings = tmp_path / "patient.yaml"
    settings.write_text(PATIENT)
    key = "monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12.zip"
    with running_server(archive, bytes_per_second=SLOW, faults=on(key, status(500))) as server:
        run = slow_run(server, data, "--settings", str(settings))
        watching = monitor(data, "live", "--interval", "0.2").start()
        assert watching.stdout is not None
        assert "download_all, run 1: python " in watching.stdout.readline()
        let_go(server)
        assert finished(run).code == 1
        seen = finished(watching)
        assert seen.code == 1
        assert "\x1b" not in seen.out
        assert "1 failed, finished, exit code 1" in seen.out
        continuing = seen.out.splitlines()[-1]
        assert continuing.startswith("continue with: python ")
        assert continuing.endswith(f"--workers 3 --settings {settings}")

        failures = monitor(data, "failures", "--json").run()
        (told,) = failures.json["failures"]
        assert (failures.code, told["state"], told["key"]) == (1, "failed", f"data/futures/um/{key}")
        assert "answered 500" in told["reason"]
        assert monitor(data, "failures", "--symbols", "ETHUSDT").run().code == 3
        (past,) = monitor(data, "history", "--json").run().json["runs"]
        assert (past["ended"], past["failures"], past["line"] in continuing) == ("finished", 1, True)

        again = monitor(data, "failures", "--retry", "--json").run()
        assert again.json["planned"] == 1
        assert again.json["continue"] == f"python scripts/download_all.py --unfinished --data-dir {data}"
        server.faults = None
        before = zip_hits(server)
        rest = Command("scripts/download_all.py", ["--source", server.url, "--unfinished", "--json"]).run(
            "--data-dir", str(data)
        )
        assert (rest.code, rest.json["planned"], rest.json["stored"]) == (0, 1, 1)
        asked = {name for name, count in zip_hits(server).items() if count > before.get(name, 0)}
        assert asked == {f"data/futures/um/{key}"}
        assert monitor(data, "failures").run().code == 0
        nothing = Command("scripts/download_all.py", ["--source", server.url, "--unfinished"]).run(
            "--data-dir", str(data)
        )
        assert (nothing.code, "nothing is unfinished" in nothing.err) == (3, True)

    summary = monitor(data, "summary", "--data-types", "klines", "--json").run().json
    (series,) = [one for one in summary["series"] if one["symbol"] == "BTCUSDT"]
    assert (series["rows"], series["first"], series["gaps"]) == (47 * 24, "2024-12-10 00:00:00", None)
    assert series["archives"] == {"stored": sum(series["archives"].values())}


def test_a_run_that_cannot_say_how_far_it_is_goes_on(archive: Path, data: Path) -> None:
    (data / "metadata").mkdir(parents=True)
    (data / "metadata" / "live").write_text("no folder")
    with running_server(archive) as server:
        done = command(server, data, "--symbols", "BTCUSDT", "--data-types", "funding_rate").run()
    assert (done.code, done.json["failed"], done.json["stored"] > 0) == (0, 0, True)


def test_a_killed_run_is_told_from_one_that_ended(archive: Path, data: Path) -> None:
    with running_server(archive, bytes_per_second=SLOW) as server:
        run = slow_run(server, data)
        watching = monitor(data, "live", "--interval", "0.2").start()
        assert watching.stdout is not None
        assert watching.stdout.readline()
        with Screen("scripts/monitor.py", "live", "--data-dir", str(data)) as screen:
            screen.shows("in flight")
            screen.press("\x03")
            assert screen.ended() == 130
        run.kill()
        run.communicate()
        seen = finished(watching)
    assert seen.code == 1
    assert ", killed\n" in seen.out
    assert "continue with: python " in seen.out
    nobody = monitor(data, "live").run()
    assert (nobody.code, "no run goes on" in nobody.err) == (3, True)
    assert monitor(data, "pause").run().code == 3
    (past,) = monitor(data, "history", "--json").run().json["runs"]
    assert past["ended"] == "killed"


def test_follow_waits_for_a_run_and_stays_when_it_is_over(archive: Path, data: Path) -> None:
    with running_server(archive, bytes_per_second=SLOW) as server:
        with subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "scripts/monitor.py"),
                "live",
                "--follow",
                "--interval=0.2",
                f"--data-dir={data}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as watching:
            assert watching.stdout is not None
            assert "no run goes on" in watching.stdout.readline()
            assert "waiting for one" in watching.stdout.readline()
            run = slow_run(server, data)
            assert ": python " in watching.stdout.readline()
            let_go(server)
            assert finished(run).code == 0
            line = ""
            while ", finished" not in line:
                line = watching.stdout.readline()
                assert line
            server.bytes_per_second = SLOW
            again = slow_run(server, data, "--no-resume")
            assert "--no-resume" in watching.stdout.readline()  # its heading, and of the first run nothing more
            let_go(server)
            assert finished(again).code == 0
            assert watching.poll() is None
            watching.terminate()
            watching.communicate()
        assert watching.returncode == 130


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}], ids=["colour", "no colour"])
def test_the_runs_own_screen_is_the_same_and_ctrl_c_leaves_the_command(
    archive: Path, data: Path, env: dict[str, str]
) -> None:
    options = ["--source", "", "--data-dir", str(data), "--workers", "3"]
    with running_server(archive, bytes_per_second=SLOW) as server:
        options[1] = server.url
        with Screen("scripts/download_all.py", *options, **env) as screen:
            screen.until(lambda: zip_hits(server))
            server.latency_seconds = LATE_SECONDS
            screen.shows("in flight")
            screen.press("p")
            screen.shows("PAUSED")
            screen.until(lambda: view_of(data)["is_paused"])
            assert monitor(data, "resume").run().code == 0
            screen.shows("running")
            screen.press("\x03")
            assert screen.ended() == 130
            assert bool(re.search(r"\x1b\[[0-9;]*m", screen.raw)) == (not env)
            assert "the same command goes on from there" in screen.after
            assert " ".join(options) in screen.after.replace("\r\n", "")
    assert view_of(data)["ended"] == "interrupted"


def test_a_terminal_that_cannot_be_drawn_on_gets_lines(archive: Path, data: Path) -> None:
    with running_server(archive, bytes_per_second=SLOW) as server:
        run = slow_run(server, data)
        options = ["live", "--interval", "0.2", "--data-dir", str(data)]
        with Screen("scripts/monitor.py", *options, TERM="dumb") as screen:
            screen.until(lambda: screen.raw.count("\n") >= 3)
            assert "\x1b" not in screen.raw
            assert re.search(r"Z \d+/\d+ files, ", screen.raw)
        run.kill()
        run.communicate()
