"""Download what the exchange publishes, verify it and store it, ready for `loader.BacktestDataLoader`."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.download_all import main

if __name__ == "__main__":
    run_command(main)
