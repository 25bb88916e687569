"""What holds for every command: examples, options that are explained, wrong words answered, one name for all."""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from factories import ROOT, Command, Outcome, called

from core.commands import pipeline
from core.commands.names import COMMANDS, PROGRAM, as_called


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command and subcommand."""
    for module in sorted({command.module for command in COMMANDS.values()}):
        own = import_module(f"core.commands.{module}").parser()
        yield module, own
        for action in own._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ((f"{module} {word}", under) for word, under in action.choices.items())


def tapevault(*words: str) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "core.commands.tapevault", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(("name", "parser"), [pytest.param(*each, id=each[0]) for each in parsers()])
def test_help_shows_examples_and_explains_every_word(name: str, parser: argparse.ArgumentParser) -> None:
    if name != "pipeline":  # whose subcommands each have their own
        assert "examples:\n" in parser.format_help()
    for action in parser._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), (name, action.dest)


@pytest.mark.parametrize(("name", "parser"), [pytest.param(*each, id=each[0]) for each in parsers()])
def test_the_examples_are_understood(name: str, parser: argparse.ArgumentParser) -> None:
    module = name.split()[0]
    own = import_module(f"core.commands.{module}").parser()
    for line in re.sub(r"\\\n *", "", parser.format_help()).splitlines():
        example = re.match(rf"  python scripts/{module}\.py(.*)$", line)
        words = re.split(r" {3,}|[|#;&]", example[1])[0].strip() if example else ""
        if words and not words.endswith("--help") and not (module == "pipeline" and words.startswith("-")):
            own.parse_args(shlex.split(words))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_understood_where_it_is_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of subcommands; a menu, which has no words, says that it wants a terminal."""
    command = COMMANDS[name]
    monkeypatch.setattr(sys, "argv", [PROGRAM if command.words else f"{PROGRAM} {name}"])
    own = import_module(f"core.commands.{command.module}").parser()
    under = [action.choices for action in own._actions if isinstance(action, argparse._SubParsersAction)]
    shown = [under[0][command.word]] if command.word else [own, *(under[0].values() if under else ())]
    examples = 0
    for line in re.sub(r"\\\n *", "", "\n".join(parser.format_help() for parser in shown)).splitlines():
        assert "scripts/" not in line, line
        assert not re.search(r"\b(download_all|daily_update|monitor|pipeline|snapshot|cleanup)\.py", line), line
        if example := re.search(r"^  (?:.*&& \.venv/bin/)?tapevault (.*)$", line):
            called_as, *words = shlex.split(re.split(r" {3,}|[|#;&>]", example[1])[0])
            meant = COMMANDS[called_as]
            examples += 1
            if called_as == "menu":
                assert "on a terminal only" in called(pipeline.main, words).err
            elif "--help" not in words:
                import_module(f"core.commands.{meant.module}").parser().parse_args([*meant.words, *words])
    assert examples


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("get it with download_all.py", "get it with tapevault download"),
        ("run download_all.py --rebuild-status", "run tapevault download --rebuild-status"),
        ("so does monitor.py resume, or daily_update.py", "so does tapevault monitor resume, or tapevault update"),
        ("make them again with pipeline.py features", "make them again with tapevault features"),
        ("python scripts/pipeline.py --data-dir x", "tapevault menu --data-dir x"),
        (".venv/bin/python scripts/daily_update.py", ".venv/bin/tapevault update"),
        ("scripts/snapshot.py create makes one", "tapevault snapshot create makes one"),
        ("cannot use /home/me/download_all.py: no file", "cannot use /home/me/download_all.py: no file"),
        ("my-monitor.py and setup.py", "my-monitor.py and setup.py"),
    ],
)
def test_texts_name_commands_as_they_are_called(text: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scripts/monitor.py"])
    assert as_called(text) == text
    monkeypatch.setattr(sys, "argv", ["tapevault monitor"])
    assert as_called(text) == says


def test_every_command_has_its_module_and_script() -> None:
    for name, command in COMMANDS.items():
        assert (ROOT / "core" / "commands" / f"{command.module}.py").exists(), name
        if command.module != "completion":
            assert (ROOT / "scripts" / f"{command.module}.py").exists(), name


@pytest.mark.parametrize(
    ("words", "says", "advice"),
    [
        (["monitor.py", "summary", "--follow"], "unrecognized arguments: --follow", "try: monitor.py summary --help"),
        (["monitor.py", "live", "--folow"], "did you mean '--follow'?", "try: monitor.py live --help"),
        (["pipeline.py", "optimise"], "'optimise' is no command; did you mean 'optimize'?", "try: pipeline.py --help"),
        (["pipeline.py", "delete", "--dryrun"], "did you mean '--dry-run'?", "try: pipeline.py delete --help"),
        (["pipeline.py", "--foo"], "unrecognized arguments: --foo", "try: pipeline.py --help"),
        (["download_all.py", "--symbol", "X"], "did you mean '--symbols'?", "try: download_all.py --help"),
    ],
)
def test_a_wrong_word_is_answered_with_what_the_command_has(words: list[str], says: str, advice: str) -> None:
    done = Command(f"scripts/{words[0]}").run(*words[1:])
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert done.err.splitlines()[-1] == advice
    assert "mean '--follow'" not in done.err or "live" in words


def test_tapevault_itself() -> None:
    shown = tapevault("--help")
    assert shown.code == 0
    assert all(f"  {name} " in shown.out for name in COMMANDS)
    assert tapevault().code == 2
    assert tapevault("--version").out.startswith("tapevault 0.")
    wrong = tapevault("downlaod")
    assert (wrong.code, wrong.err) == (2, "error: there is no command 'downlaod'; did you mean 'download'?\n")
    help_of = tapevault("optimize", "--help").out
    assert help_of.startswith("usage: tapevault optimize ")
    assert "  tapevault optimize --dry-run\n" in help_of
    assert "python scripts" not in help_of
    assert tapevault("monitor", "summary", "--folow").err.endswith("try: tapevault monitor summary --help\n")
    nothing = tapevault("update", "--data-dir", "/nowhere/at/all")
    assert (nothing.code, "run tapevault download first" in nothing.err) == (3, True)


COMPLETE = """
source {script}
COMP_WORDS=({words}); COMP_CWORD={last}; COMP_TYPE=9; COMP_LINE="{words}"; COMP_POINT=${{#COMP_LINE}}
"$(complete -p tapevault | sed 's/.*-F \\([^ ]*\\).*/\\1/')" tapevault "${{COMP_WORDS[-1]}}" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    text = COMPLETE.format(script=script, words=" ".join(("tapevault", *words)), last=len(words))
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False, cwd=script.parent)
    return done.stdout.split()


def test_bash_completes_commands_options_and_paths(tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(tapevault("completion", "bash").out)
    (tmp_path / "history").mkdir()
    assert completed(script, "optim") == ["optimize"]
    assert "--dry-run" in completed(script, "optimize", "--d")
    assert completed(script, "monitor", "summ") == ["summary"]
    assert [word.rstrip("/") for word in completed(script, "cleanup", "--data-dir", "hist")] == ["history"]
