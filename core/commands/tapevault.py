"""`tapevault NAME ...`: every command under one name, as `pyproject.toml` installs it."""

import gc

gc.disable()  # as scripts/_root.py does: nothing is garbage while modules load

import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from importlib import import_module  # noqa: E402
from importlib.metadata import version  # noqa: E402
from typing import NoReturn  # noqa: E402

from core.commands.command import run_command  # noqa: E402
from core.commands.names import COMMANDS, PROGRAM  # noqa: E402
from core.errors import ConfigError  # noqa: E402
from core.nearest import did_you_mean  # noqa: E402

EXAMPLES = """examples:
  tapevault download --priority-only
  tapevault monitor live
  tapevault update --fill-gaps
  tapevault doctor
"""


def main(arguments: Sequence[str]) -> int:
    """Find the command, and let it work with the rest of the words."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else ConfigError.exit_code
    name, *rest = arguments
    if name == "--version":
        print(f"{PROGRAM} {version(PROGRAM)}")
        return 0
    if name not in COMMANDS:
        what = "option" if name.startswith("-") else "command"
        near = did_you_mean(name, ["--help", "--version"] if what == "option" else COMMANDS)
        raise ConfigError(f"there is no {what} {name!r}{near or f'; {PROGRAM} --help names all'}")
    command = COMMANDS[name]
    sys.argv[0] = PROGRAM if command.words else f"{PROGRAM} {name}"  # what help and messages call it
    code: int = import_module(f"core.commands.{command.module}").main([*command.words, *rest])
    return code


def usage() -> str:
    """What there is, a line a command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.says}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND ...",
            "",
            "Complete, verified Binance history on your own disk, ready for backtests.",
            "",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help says more of each.",
            "",
            EXAMPLES.rstrip(),
        ]
    )


def start() -> NoReturn:
    """The entry point."""
    run_command(main)


if __name__ == "__main__":
    start()
