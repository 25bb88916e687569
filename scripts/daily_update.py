"""Bring what is here up to date: yesterday's archives of every known series, finished months, newly listed symbols."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.daily_update import main

if __name__ == "__main__":
    run_command(main)
