"""Write docs/data-dictionary.md from core/datasets, or check that it says what they say."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.data_dictionary import main

if __name__ == "__main__":
    run_command(main)
