"""One process at a time for what nobody wants twice at once. The lock of a process that is killed goes with it."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import AlreadyRunning, storage_error
from core.layout import Layout, make_folder


@contextlib.contextmanager
def alone(layout: Layout, command: str, by: str | None = None) -> Iterator[None]:
    """While no other process does this on the data folder. Raises AlreadyRunning, which says who does; StorageError.

    `by` is the command that wants nobody to do it, where that is another one. The system's own lock decides; what is
    written beside it only says whose it is.
    """
    path = layout.command_lock(command)
    holder = path.with_suffix(".json")
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        make_folder(path.parent)
        lock.acquire()
    except Timeout:
        raise AlreadyRunning(f"{_told(holder, command, layout.root)}; nothing was done") from None
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        _tell(holder, by or command)
        yield
    finally:
        lock.release()


def _tell(holder: Path, by: str) -> None:
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    temporary = holder.with_name(f".{holder.name}.{os.getpid()}.tmp")
    try:
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": by}
        temporary.write_text(json.dumps(who))
        temporary.replace(holder)
    except OSError as error:
        raise storage_error(error, holder) from error


def _told(holder: Path, command: str, root: Path) -> str:
    """Who is at work."""
    try:
        who = json.loads(holder.read_text())
        by = who.get("command", command)
        process = f"process {who['pid']} on {who['host']}, since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        by, process = command, "a process that has just begun"
    return f"{'another ' if by == command else ''}{by} is at work on {root}: {process}"
