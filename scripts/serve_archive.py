"""Serve a folder of archives on this machine as the exchange serves its own: listing, checksums, ranges."""

import _root  # noqa: F401
from core.commands.command import run_command
from core.commands.serve_archive import main

if __name__ == "__main__":
    run_command(main)
