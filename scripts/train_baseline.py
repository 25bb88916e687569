"""Build a dataset of features and labels, teach plain models, and say what they found; see docs/learning.md."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.train_baseline import main

if __name__ == "__main__":
    run_command(main)
