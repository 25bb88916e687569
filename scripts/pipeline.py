"""Work on what is stored; each job is a subcommand."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.pipeline import main

if __name__ == "__main__":
    run_command(main)
