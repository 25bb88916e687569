"""`pipeline.py` without a subcommand, as somebody at a terminal uses it, and `pipeline.py run`."""

import argparse
import gc
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import TracebackType

import pytest
from factories import ROOT, Command, called

from core.commands.pipeline import main, parser
from core.commands.steps import steps_of
from core.download.tracker import DownloadTracker
from core.layout import Layout
from core.sample.archive import Shelf, write_archive
from core.sample.market import small_market
from core.sample.server import ArchiveServer, running_server
from core.types import Market, Period, Series

gc.enable()  # what scripts share turns it off
FIRST, LAST = date(2025, 1, 28), date(2025, 2, 2)
ASKED = "number or name (quit): "


class Terminal:
    """A command at a terminal of 80 columns: what it shows, and what is typed."""

    def __init__(self, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        env = {name: value for name, value in os.environ.items() if name != "TAPEVAULT_HOME"}
        env |= {"TERM": "dumb", "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts/pipeline.py"), *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env,
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(theirs)
        self.shown = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def until(self, text: str) -> str:
        """What comes up to a text, which has to come."""
        deadline = time.monotonic() + 90
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            assert self._read(), f"{text!r} never came: {self.shown}"
        before, _, self.shown = self.shown.partition(text)
        return before

    def answer(self, question: str, answer: str) -> str:
        """Wait for a question, and answer it; what stood before it."""
        before = self.until(question)
        os.write(self._ours, f"{answer}\n".encode())
        return before

    def press(self, control: bytes) -> None:
        os.write(self._ours, control)

    def ended(self) -> tuple[int, str]:
        """The exit code, and what was shown last."""
        while self._read():
            pass
        return self.process.wait(60), self.shown

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 60)[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # its end
            return False
        self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode()).replace("\r\n", "\n")
        assert "Traceback" not in self.shown, self.shown
        return bool(data)


def _own_terminal() -> None:
    """The terminal's Ctrl-C is ours."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("menu") / "archive"
    only = ("um/BTCUSDT",)
    trades = Shelf("trades", months=None, symbols=only)
    write_archive(small_market(first=FIRST, last=LAST), folder, (Shelf("klines", "1h", symbols=only), trades))
    return folder


@pytest.fixture
def server(archive: Path) -> Iterator[ArchiveServer]:
    with running_server(archive) as running:
        yield running


def line_of(shown: str) -> list[str]:
    """The command that was shown, over however many lines of the screen."""
    (line,) = re.findall(r"\$ (python .+?)\n\n", shown, re.DOTALL)
    return shlex.split(line.replace("\n", ""))


def test_questions_become_a_command_that_is_shown_and_done(server: ArchiveServer, data: Path) -> None:
    with Terminal("--data-dir", str(data), "--source", server.url) as terminal:
        screen = terminal.until(ASKED)
        assert all(len(line) <= 80 for line in screen.splitlines() if str(data) not in line)
        assert re.findall(r"^\d  (\w+)", screen, re.MULTILINE) == [
            *("download", "convert", "optimize", "validate", "features", "run", "cleanup", "delete", "quit")
        ]
        terminal.press(b"downlaod\n")
        assert "there is no 'downlaod'; did you mean 'download'?" in terminal.answer(ASKED, "1")
        terminal.answer("market (spot, um, cm) (um): ", "umm")
        assert "unknown market 'umm'; did you mean 'um'?" in terminal.answer("market (spot, um, cm) (um): ", "")
        terminal.answer("priority or all (priority): ", "BTCUSD")
        terminal.answer("funding_rate): ", "kline,trades")
        assert "unknown data type 'kline'; did you mean 'klines'?" in terminal.answer(
            "funding_rate): ", "klines,trades"
        )
        terminal.answer("interval of candles (1h): ", "")
        terminal.answer("first day (YYYY-MM-DD, or all) (all): ", "2025-02-31")
        assert "2025-02-31" in terminal.answer("first day (YYYY-MM-DD, or all) (all): ", "2025-01-29")
        terminal.answer("last day (YYYY-MM-DD, or all) (all): ", "")
        # Only the exchange knows its symbols: what it refuses is asked again, with the answers of before, or left.
        refused = "um has no symbol 'BTCUSD'; did you mean 'BTCUSDT'?"
        assert refused in terminal.answer("answer again [y/n] (y): ", "n")
        terminal.answer(ASKED, "1")
        for kept in ("(um): ", "(BTCUSD): ", "(klines,trades): ", "(1h): ", "(2025-01-29): ", "(all): "):
            terminal.answer(kept, "")
        assert refused in terminal.answer("answer again [y/n] (y): ", "")
        terminal.answer("(um): ", "")
        terminal.answer("priority or all (BTCUSD): ", "BTCUSDT")
        for kept in ("(klines,trades): ", "(1h): ", "(2025-01-29): ", "(all): "):
            terminal.answer(kept, "")
        shown = terminal.until("Tapevault, data in")
        words = ["download", "--market", "um", "--symbols", "BTCUSDT", "--data-types", "klines,trades"]
        words += ["--start", "2025-01-29", "--data-dir", str(data), "--source", server.url]
        assert line_of(shown) == ["python", "scripts/pipeline.py", *words]
        terminal.answer(ASKED, "q")
        assert terminal.ended()[0] == 0
    again = Command("scripts/pipeline.py", words).run("--json")
    assert (again.code, again.json["downloaded"], again.json["planned"]) == (0, 0, 5 + 5)
    assert called(main, ["delete", "--data-dir", str(data), "--confirm", "data", "--quiet"]).code == 0


def test_what_is_stored_is_worked_on_and_deleted(server: ArchiveServer, data: Path) -> None:
    done = called(main, ["download", "--data-dir", str(data), "--source", server.url, "--symbols", "BTCUSDT",
                         "--data-types", "klines,trades", "--quiet"])  # fmt: skip
    assert done.code == 0, done.err
    with Terminal("--data-dir", str(data)) as terminal:
        terminal.answer(ASKED, "optimize")
        terminal.answer("(all): ", "um")
        terminal.answer("@majors or all (all): ", "BTCUSD")
        assert "nothing of BTCUSD is here; did you mean 'BTCUSDT'?" in terminal.answer("all (all): ", "BTCUSDT")
        terminal.answer("data types, with commas (all): ", "")
        terminal.answer("only look [y/n] (n): ", "y")
        shown = terminal.until("Tapevault, data in")
        assert line_of(shown)[2:] == [
            *("optimize", "--market", "um", "--symbols", "BTCUSDT", "--dry-run", "--data-dir", str(data))
        ]
        assert "Would be merged" in shown or "Nothing to merge" in shown
        terminal.answer(ASKED, "features")
        terminal.answer("grid) (standard): ", "standart")
        assert "did you mean 'standard'?" in terminal.answer("grid) (standard): ", "")
        terminal.answer("(all): ", "")
        terminal.answer("made of (trades, agg_trades) (trades): ", "")
        terminal.answer("all (all): ", "")
        assert "bars" in terminal.until("Tapevault, data in")
        terminal.answer(ASKED, "cleanup")
        terminal.answer("(keep, remove) (keep): ", "remove")
        terminal.answer("only look [y/n] (y): ", "")
        shown = terminal.until("Tapevault, data in")
        assert line_of(shown)[2:5] == ["cleanup", "--raw", "remove"]
        assert "nothing was changed, --apply removes them" in shown.replace("\n", " ")
        terminal.answer(ASKED, "delete")
        for _ in range(3):
            terminal.answer("(all): ", "")
        terminal.answer("to delete this for ever: ", "date")
        shown = terminal.until("Tapevault, data in")
        assert "'date' is not 'data'; nothing was deleted" in shown
        assert "exit code 2" in shown
        assert Layout(data).database.exists()
        terminal.answer(ASKED, "8")
        for _ in range(3):
            terminal.answer("(all): ", "")
        terminal.answer("to delete this for ever: ", "data")
        assert "deleted" in terminal.until("Tapevault, data in")
        terminal.until(ASKED)
        terminal.press(b"\x04")
        assert terminal.ended()[0] == 0
    assert list(data.iterdir()) == []


def test_ctrl_c_stops_what_is_done_and_then_the_menu(archive: Path, data: Path) -> None:
    with (
        running_server(archive, bytes_per_second=500) as server,
        Terminal("--data-dir", str(data), "--source", server.url) as terminal,
    ):
        terminal.answer(ASKED, "1")
        for answer in ("um", "BTCUSDT", "trades", "", ""):
            terminal.answer("): ", answer)
        terminal.until("run 1")
        deadline = time.monotonic() + 60
        while not any(name.endswith(".zip") for name in server.hits):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        terminal.press(b"\x03")
        shown = terminal.until(ASKED)
        assert "interrupted" in shown
        assert "exit code 130" in shown
        terminal.press(b"\x03")
        assert terminal.ended()[0] == 130


@pytest.mark.parametrize(("control", "code"), [(b"\x04", 0), (b"\x03", 130)])
def test_it_can_be_left_in_the_middle_of_a_question(data: Path, control: bytes, code: int) -> None:
    with Terminal("--data-dir", str(data)) as terminal:
        terminal.answer(ASKED, "download")
        terminal.until("(um): ")
        terminal.press(control)
        assert terminal.ended()[0] == code
    assert not data.exists()


def test_a_deletion_that_is_left_at_its_question_deletes_nothing(tmp_path: Path) -> None:
    """By Ctrl-D; and what stands for the answer can be copied, whatever the folder is called."""
    folder = tmp_path / "my [data]"
    database = Layout(folder).database
    DownloadTracker(database).close()
    with Terminal("delete", "--data-dir", str(folder)) as terminal:
        terminal.until("Type my [data] to delete this for ever: ")
        terminal.press(b"\x04")
        code, said = terminal.ended()
    assert (code, "Traceback" in said) == (2, False)
    assert "error: no name was typed; nothing was deleted" in said
    piped = called(main, ["delete", "--data-dir", str(folder), "--dry-run"])
    assert "--confirm 'my [data]' deletes it" in piped.out
    assert database.exists()


def test_without_a_terminal_it_says_how_it_is_used(data: Path) -> None:
    done = Command("scripts/pipeline.py").run()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("usage: pipeline.py [-h] COMMAND ...")
    assert "on a terminal only" in done.err
    assert called(main, ["--data-dir", str(data)]).code == 2
    wrong = called(main, ["optimise"])
    assert (wrong.code, "'optimise' is no command; did you mean 'optimize'?" in wrong.err) == (2, True)
    for name in ("download", "convert", "optimize", "validate", "features", "run", "cleanup", "delete"):
        assert name in called(main, ["--help"]).out
        assert "examples:" in called(main, [name, "--help"]).out


def test_run_does_everything_in_turn(server: ArchiveServer, data: Path) -> None:
    words = ["run", "--source", server.url, "--data-dir", str(data), "--symbols", "BTCUSDT"]
    done = called(main, [*words, "--data-types", "klines,trades", "--bars", "tick-500", "--json"])
    assert done.code == 0, done.err
    names = [step["step"] for step in done.json["steps"]]
    assert names == ["download", "convert", "optimize", "validate", "features"]
    results = {step["step"]: step["result"] for step in done.json["steps"]}
    assert results["download"]["stored"] == results["convert"]["skipped"] == 9
    assert results["optimize"]["files_after"] < results["optimize"]["files_before"]
    assert [built["spec"] for built in results["features"]["bars"]] == ["tick-500"]
    other = Layout(data).processed(Series(Market.UM, "klines", "BTCUSDT", "4h"), Period.parse("2024"))
    other.parent.mkdir()
    other.write_bytes(b"no Parquet, and none of what is asked for")
    told = called(main, ["run", *words[1:5], "--priority-only", "--data-types", "klines"])
    assert told.code == 0, told.err
    assert [line.split()[3] for line in told.out.splitlines() if line.startswith("$ ")] == names[:4]
    assert "done: download, convert, optimize, validate;" in told.out


def test_run_stops_at_the_first_failure_and_says_which(server: ArchiveServer, data: Path) -> None:
    words = ["run", "--source", server.url, "--data-dir", str(data), "--symbols", "BTCUSDT", "--quiet"]
    damaged = Layout(data).processed(Series(Market.UM, "klines", "BTCUSDT", "1h"), Period.parse("2020"))
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no Parquet")
    wrong = called(main, [*words, "--data-types", "trades,klines", "--start", "2025-02-02"])
    assert wrong.code == 1
    assert "stopped: optimize ended with exit code 1; left: validate, features; again: " in wrong.err
    nowhere = called(main, ["run", "--source", server.url, "--data-dir", str(data), "--symbols", "NOSUCH", "--json"])
    assert (nowhere.code, [step["step"] for step in nowhere.json["steps"]]) == (2, ["download"])
    assert "stopped: download ended with exit code 2; left: convert, optimize, validate" in nowhere.err


def test_each_step_is_told_what_belongs_to_it() -> None:
    options = parser().parse_args(
        shlex.split(
            "run --priority-only --market spot --data-types trades --interval 1m --start 2024-01-01 --salvage "
            "--workers 3 --source http://x --data-dir d --log-format json --quiet"
        )
    )
    where = "--data-dir d --log-format json --quiet"
    assert [shlex.join(step) for step in steps_of(options)] == [
        "download --priority-only --market spot --data-types trades --interval 1m --start 2024-01-01 --source http://x "
        f"--workers 3 --salvage {where}",
        "convert --priority-only --market spot --data-types trades --interval 1m --start 2024-01-01 --workers 3 "
        f"--salvage {where}",
        f"optimize --max-size 256MB --priority-only --market spot --data-types trades --interval 1m {where}",
        f"validate --priority-only --market spot --data-types trades --interval 1m {where}",
        f"features --priority-only --market spot --data-types trades {where}",
    ]
    for step in steps_of(options):
        assert parser().parse_args(step).quiet
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


GIVEN = {"market": "spot", "symbols": "BTCUSDT", "data_types": "klines,trades", "interval": "1m", "start": "2024-01-01",
         "end": "2024-01-02", "data_dir": "d", "settings": "config/settings.yaml", "source": "http://x", "rest": "http://z",
         "listing": "http://y", "log_level": "debug", "log_format": "json", "workers": "3", "accept": "unverified",
         "limit_rate": "20M", "max_size": "1GB", "bars": "tick-500"}  # fmt: skip


def test_every_option_of_run_reaches_a_step() -> None:
    (commands,) = [one for one in parser()._actions if isinstance(one, argparse._SubParsersAction)]
    options = [one for one in commands.choices["run"]._actions if one.dest != "help"]
    assert set(GIVEN) == {one.dest for one in options if one.nargs != 0}
    for option in options:
        words = [option.option_strings[0], *([GIVEN[option.dest]] if option.nargs != 0 else [])]
        if option.dest == "bars":
            words += ["--data-types", "trades"]
        steps = [parser().parse_args(step) for step in steps_of(parser().parse_args(["run", *words]))]
        without = [parser().parse_args(step) for step in steps_of(parser().parse_args(["run", *words[2:]]))]
        told = [getattr(step, option.dest, None) for step in steps]
        assert told != [getattr(step, option.dest, None) for step in without], words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-size", "big"], "--max-size: 'big' is not a size"),
        (["--bars", "dolar-1", "--data-types", "trades"], "did you mean 'dollar'?"),
        (["--bars", "dollar-1", "--data-types", "klines"], "bars are made of trades; ask for trades or agg_trades"),
        (["--accept", "unverifed"], "did you mean 'unverified'?"),
        (["--limit-rate", "fast"], "--limit-rate: 'fast' is not a rate"),
        (["--priority-only", "--symbols", "BTCUSDT"], "exclude each other"),
        (["--unfinished"], "unrecognized arguments: --unfinished"),
    ],
)
def test_run_looks_at_its_words_before_it_begins(data: Path, options: list[str], message: str) -> None:
    done = called(main, ["run", "--source", "http://127.0.0.1:9", "--data-dir", str(data), *options])
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not data.exists()
