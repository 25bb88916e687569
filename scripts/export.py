"""Write stored data in the format of another tool; see docs/exports.md."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.export import main

if __name__ == "__main__":
    run_command(main)
