"""Write what a shell needs to complete the words of `tapevault`."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import shtab

from core.commands.command import Parser
from core.commands.names import COMMANDS, PROGRAM, Name
from core.commands.tapevault import usage

EXAMPLES = """examples:
  tapevault completion bash > ~/.local/share/bash-completion/completions/tapevault
  tapevault completion zsh > "${fpath[1]}/_tapevault"
  tapevault completion fish > ~/.config/fish/completions/tapevault.fish

It completes commands and options, and takes effect in the next shell.
"""


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    print(shtab.complete(whole_parser(), options.shell))
    return 0


def whole_parser() -> argparse.ArgumentParser:
    """The parsers of all commands as one, which only completion needs."""
    whole = Parser(prog=PROGRAM, description=usage())
    whole.add_argument("--version", action="version", version="")
    commands: Any = whole.add_subparsers(metavar="COMMAND")
    for name, command in COMMANDS.items():
        own = _parser_of(command)
        _complete_paths(own)
        commands.add_parser(name, help=command.says, parents=[own], add_help=False)
    return whole


def _complete_paths(own: argparse.ArgumentParser) -> None:
    """Let the shell complete paths where they belong: what it is told nothing of, it completes with nothing."""
    for action in own._actions:
        if isinstance(action, argparse._SubParsersAction):
            for under in action.choices.values():
                _complete_paths(under)
        elif action.type is Path:
            folder = action.metavar == "DIR" or action.dest in ("dir", "folder", "out")
            action.complete = shtab.DIRECTORY if folder else shtab.FILE  # type: ignore[attr-defined]


def _parser_of(command: Name) -> argparse.ArgumentParser:
    own: argparse.ArgumentParser = import_module(f"core.commands.{command.module}").parser()
    if command.word is None:
        return own
    [choices] = [action.choices for action in own._actions if isinstance(action, argparse._SubParsersAction)]
    found: argparse.ArgumentParser = choices[command.word]
    return found


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=EXAMPLES)
    made.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, metavar="SHELL", help=", ".join(shtab.SUPPORTED_SHELLS))
    return made
