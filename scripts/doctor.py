"""Say what is wrong with this installation, this machine or the way to the source, and how to mend it."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.doctor import main

if __name__ == "__main__":
    run_command(main)
