"""The main job against the embedded sample archive: serve, download, download again, load. Needs no network."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.demo import main

if __name__ == "__main__":
    run_command(main)
