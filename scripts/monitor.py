"""Look at what is stored; each view is a subcommand."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.monitor import main

if __name__ == "__main__":
    run_command(main)
