"""Lock the rows of a study, so that it can be repeated bit for bit; see docs/snapshots.md."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.snapshot import main

if __name__ == "__main__":
    run_command(main)
