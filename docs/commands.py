"""Write docs/commands.md: the help of every command, as it is.

`python docs/commands.py` writes it; the tests compare.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

from core.commands.names import COMMANDS, PROGRAM

PAGE: Final = Path(__file__).resolve().with_name("commands.md")
OPENING: Final = """# Commands

Written by `python docs/commands.py` from the commands themselves.

Each is called as `tapevault NAME`, which `pip install -e .` puts on the path, or from a plain checkout by its script
under `scripts/`: the words behind are the same. `tapevault completion bash` (or `zsh`, `fish`) writes what a shell
needs to complete them.
"""
_COLUMNS: Final = "100"


def page() -> str:
    """The whole document."""
    os.environ["COLUMNS"] = _COLUMNS  # what argparse folds its lines by
    called, sys.argv = sys.argv, [PROGRAM]
    try:
        sections = [section for name in COMMANDS for section in _sections(name)]
    finally:
        sys.argv = called
    listed = [f"- [`{name}`](#{PROGRAM}-{name}): {command.says}" for name, command in COMMANDS.items()]
    return "\n".join([OPENING, *listed, *sections]) + "\n"


def _sections(name: str) -> Iterator[str]:
    """The command, and its subcommands."""
    command = COMMANDS[name]
    script = f"python scripts/{command.module}.py" + (f" {command.word}" if command.word else "")
    sys.argv[0] = PROGRAM if command.words else f"{PROGRAM} {name}"
    parser: argparse.ArgumentParser = import_module(f"core.commands.{command.module}").parser()
    choices = _choices(parser)
    shown = choices[command.word] if command.word else parser
    yield f"\n## {PROGRAM} {name}\n"
    yield f"`{script}`\n" if (PAGE.parent.parent / "scripts" / f"{command.module}.py").exists() else ""
    yield f"```text\n{shown.format_help().rstrip()}\n```"
    if not command.word and name != "menu":
        for word, under in choices.items():
            yield f"\n### {PROGRAM} {name} {word}\n\n```text\n{under.format_help().rstrip()}\n```"


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0]) if found else {}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
