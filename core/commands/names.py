"""Which commands there are, and how each is called: `tapevault NAME`, or by its script from a plain checkout."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROGRAM: Final = "tapevault"


@dataclass(frozen=True, slots=True)
class Name:
    """A command: the module whose `main` and `parser` it is, its subcommand there if it is one, and what it does."""

    module: str
    says: str
    word: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """What stands before the user's own words."""
        return () if self.word is None else (self.word,)


COMMANDS: Final[Mapping[str, Name]] = {
    "download": Name("download_all", "list, fetch, verify and store what the exchange publishes"),
    "update": Name("daily_update", "bring what is here up to date; with --fill-gaps also what is missing"),
    "monitor": Name("monitor", "watch a run; what is stored, what failed, what is wrong with it; a status page"),
    "convert": Name("pipeline", "store archives that are downloaded", "convert"),
    "optimize": Name("pipeline", "merge small partitions into larger ones", "optimize"),
    "validate": Name("pipeline", "whether what is stored can be read, is in order, and has no gaps", "validate"),
    "features": Name("pipeline", "bring stored bars up to date", "features"),
    "cross-sections": Name("pipeline", "all symbols of a month in one file, for the loader", "cross-sections"),
    "run": Name("pipeline", "download, convert, optimize, validate and features in turn", "run"),
    "cleanup": Name("cleanup", "find files that are not needed any more, and remove them"),
    "delete": Name("pipeline", "delete data; the name has to be typed", "delete"),
    "menu": Name("pipeline", "all this by questions and answers"),
    "snapshot": Name("snapshot", "lock the rows of a study, so that it can be repeated bit for bit"),
    "export": Name("export", "write stored data in the format of another tool"),
    "serve": Name("serve_archive", "serve a folder of archives as the exchange serves its own"),
    "demo": Name("demo", "the whole job against a small exchange on this machine"),
    "train-baseline": Name("train_baseline", "what simple models make of features and labels"),
    "eda-report": Name("eda_report", "a folder with pictures of what is inside the data"),
    "doctor": Name("doctor", "what is wrong with this installation, and how to mend it"),
    "completion": Name("completion", "what a shell needs to complete all this"),
}
"""By what is typed after `tapevault`."""
_SCRIPT: Final = re.compile(r"(?:python scripts/|(?<![\w./~-])(?:scripts/)?)(\w+)\.py\b(?: ([a-z-]+))?")
"""A command as a text names it: by its script, which no folder stands before, and maybe its subcommand."""


def is_installed() -> bool:
    """Whether this process was started as `tapevault`, not as a script."""
    return Path(sys.argv[0]).name.split(" ")[0] == PROGRAM


def as_called(text: str) -> str:
    """The text with its commands as they are called here: as scripts, or as `tapevault monitor live`.

    All that a user is told goes through here once: errors in `run_command`, log lines, help, and what a command prints.
    """
    return _SCRIPT.sub(_as_installed, text) if is_installed() else text


def command_line(arguments: Sequence[str]) -> str:
    """The line that would start this command with these arguments."""
    if is_installed():
        return shlex.join([*sys.argv[0].split(" "), *arguments])
    script = Path(sys.argv[0])
    named = Path("scripts", script.name) if script.parent.name == "scripts" else script
    return shlex.join(["python", str(named), *arguments])


def _as_installed(match: re.Match[str]) -> str:
    module, word = match[1], match[2]
    if module == "pipeline" and word in COMMANDS:
        return f"{PROGRAM} {word}"
    name = next((name for name, one in COMMANDS.items() if one.module == module and one.word is None), None)
    if name is None:
        return match[0]
    return f"{PROGRAM} {name}" + (f" {word}" if word else "")
