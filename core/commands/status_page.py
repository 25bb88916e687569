"""`monitor.py web`: the status page, until Ctrl-C."""

import argparse
import signal
from typing import Any

from core.commands.command import INTERRUPTED, add_command, add_data_options, local_settings_from, port_from
from core.errors import ConfigError
from core.layout import Layout
from core.web.server import HOST, StatusServer

PORT = 8787
EXAMPLES = """examples:
  python scripts/monitor.py web
  python scripts/monitor.py web --port 9000 --data-dir /mnt/history
  ssh -L 8787:127.0.0.1:8787 server      then open http://127.0.0.1:8787 here, while the command runs there

The page shows what is stored of each symbol and kind of data, month by month and day by day, gaps, faults of the
source, revisions, speed, runs and bars. It only reads, is served to this machine only, and asks nobody for anything.
exit codes: 2 wrong usage or the port is in use, 130 interrupted (the usual way to stop)
"""


def add_web(commands: Any) -> None:
    """The subcommand and its options."""
    says = "a read-only status page for the browser, on this machine only"
    command = add_command(commands, "web", web, says, f"{says.capitalize()}.", EXAMPLES)
    mine = command.add_argument_group("this command")
    mine.add_argument("--port", type=port_from, default=PORT, metavar="N", help=f"0: any free one (default {PORT})")
    add_data_options(command.add_argument_group("where"))
    command.set_defaults(json=False, quiet=False, log_level=None, log_format="text")


def web(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    layout = Layout(local_settings_from(options).data_root)
    try:
        server = StatusServer(layout, options.port)
    except OSError as error:
        raise ConfigError(f"--port {options.port}: {error.strerror}; choose another, or 0 for any free one") from error
    # A process started in the background by a shell ignores Ctrl-C; whoever sends it here means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with server:
        try:
            print(f"status of {layout.root} at {server.url} until Ctrl-C; nobody but {HOST} is answered", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            pass
    return INTERRUPTED
