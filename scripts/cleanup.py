"""Find files that are not needed any more, and remove them with --apply."""

import _root  # noqa: F401
from core.commands.cleanup import main
from core.commands.command import run_command

if __name__ == "__main__":
    run_command(main)
