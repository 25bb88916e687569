"""Write the tables of docs/features.md from core/features, or check that they say what it says."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.feature_dictionary import main

if __name__ == "__main__":
    run_command(main)
