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
def alone(layout: Layout, command: str) -> Iterator[None]:
    """While no other process does this on the data folder. Raises AlreadyRunning, which says who does; StorageError.

    The system's own lock decides; what is written beside it only says whose it is.
    """
    path = layout.command_lock(command)
    holder = path.with_suffix(".json")
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        make_folder(path.parent)
        lock.acquire()
    except Timeout:
        raise AlreadyRunning(
            f"another {command} is at work on {layout.root}: {_told(holder)}; nothing was done"
        ) from None
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        _tell(holder)
        yield
    finally:
        lock.release()


def _tell(holder: Path) -> None:
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    temporary = holder.with_name(f".{holder.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))
        temporary.replace(holder)
    except OSError as error:
        raise storage_error(error, holder) from error


def _told(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text())
        return f"process {who['pid']} on {who['host']}, since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has just begun"
