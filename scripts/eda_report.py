"""Make a folder with pictures of what is inside the stored data; see docs/eda-report.md."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.eda_report import main

if __name__ == "__main__":
    run_command(main)
