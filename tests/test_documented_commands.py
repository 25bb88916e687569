"""Every command that README and documentation show is run here, on the demo's market, as it stands there."""

import re
import shlex
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from demo_world import copied
from factories import ROOT, called

from core.commands.names import COMMANDS
from core.sample.market import demo_market
from core.sample.rest import SampleApi
from core.sample.server import running_server
from docs import commands

FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = {"cookbook.md": "tests/test_cookbook.py runs its recipes", "commands.md": "the help of the commands"}
"""Pages whose commands other tests run."""
SOURCED = ("download_all", "daily_update", "doctor")
"""Commands that ask the exchange, which here is the demo's."""
ENDS = {
    "monitor.py live": 3,  # nothing runs
    "daily_update": 1,  # the demo ended long ago: all since is missing
    "tapevault update": 1,
    "monitor.py integrity": 1,  # and its series are as old as that
    "validate": 1,
}
"""Commands that do not end with 0 on the demo's market, and how they do."""


@dataclass(frozen=True)
class Line:
    """A command of a page."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)

    @property
    def module(self) -> str:
        """The module of `core.commands` that it runs; none for an option of `tapevault` itself."""
        if self.words[0] == "tapevault":
            return "" if self.words[1].startswith("-") else COMMANDS[self.words[1]].module
        return Path(self.words[1]).stem

    @property
    def arguments(self) -> list[str]:
        """What the module's `main` gets."""
        if self.words[0] == "tapevault" and self.module:
            return [*COMMANDS[self.words[1]].words, *self.words[2:]]
        return self.words[2:]


def lines() -> list[Line]:
    """Every line that calls one of ours, once; a synopsis, which has brackets or capitals for words, is none."""
    found: dict[str, Line] = {}
    for page in PAGES:
        if page.name in ELSEWHERE:
            continue
        for _, block in re.findall(
            r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            for text in block.replace("\\\n", " ").splitlines():
                text = re.sub(r"^(\$ |\d+ \d+ \* \* \*  .*?&& \.venv/bin/)", "", text.strip()).removesuffix(" &")
                is_ours = text.startswith(("python scripts/", "tapevault "))
                if is_ours and not re.search(r"\[|\bDIR\b|\bNAME\b|\bOLD\b|\.\.\.", text):
                    found.setdefault(" ".join(shlex.split(text, comments=True)), Line(page.name, text))
    return list(found.values())


def test_there_are_commands() -> None:
    assert len(lines()) > 30


@pytest.mark.parametrize("line", [line for line in lines() if line.module], ids=lambda line: line.text[:70])
def test_the_command_is_one_that_is_understood(line: Line) -> None:
    parser = import_module(f"core.commands.{line.module}").parser()
    parser.parse_args(line.arguments)  # ends the test with SystemExit where it is not


@pytest.mark.parametrize("page", sorted({line.page for line in lines()}))
def test_the_commands_of_a_page_work_one_after_the_other(
    page: str, homes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(homes["whole"], tmp_path / "data")
    with running_server(homes["archive"], api=SampleApi(demo_market())) as server:
        for line in lines():
            if line.page == page and line.module != "serve_archive":  # that has tests of its own, and serves for ever
                run(line, server.url, tmp_path, monkeypatch)


def run(line: Line, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it in the folder, in this process unless it goes on for ever; it ends as it should."""
    options = ["--source", source, "--rest", source] if line.module in SOURCED or line.arguments[:1] == ["run"] else []
    monkeypatch.setenv("TAPEVAULT_HOME", str(folder / "data"))
    monkeypatch.chdir(folder)
    if "monitor.py web" in line.text:
        goes_on(line, "--port", "0", says="http://127.0.0.1:")  # the last counts, and 8787 may be taken
        return
    if "--follow" in line.words:
        goes_on(line, says="no run")
        return
    is_installed = line.words[0] == "tapevault"
    monkeypatch.setattr(sys, "argv", ["tapevault" if is_installed else str(ROOT / line.words[1])])
    words = line.words[1:] if is_installed else line.words[2:]
    main = import_module(f"core.commands.{'tapevault' if is_installed else line.module}").main
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = called(main, [*words, *options])
    expected = next((code for part, code in ENDS.items() if part in line.text), 0)
    assert done.code == expected, (line.text, done.out[-2000:], done.err[-2000:])


def goes_on(line: Line, *options: str, says: str) -> None:
    """It says so, and goes on until Ctrl-C."""
    script, *words = line.words[1:]
    command = [sys.executable, str(ROOT / script), *words, *options]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[0]
    assert says in said, said + rest


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other versions of Python write help otherwise")
def test_the_page_of_commands_is_what_the_commands_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert commands.PAGE.read_text(encoding="utf-8") == commands.page(), "run: python docs/commands.py"
