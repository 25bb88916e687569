"""A file under its temporary name, and what dead processes left of such files. Needs no Arrow."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from core.errors import storage_error
from core.layout import Layout, sync_folder

TEMPORARY: Final = re.compile(r"\..+\.(\d+)\.tmp")
"""The name of a file on its way to its place, with the number of the process that writes it."""


class Draft:
    """A file under its temporary name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def publish(self) -> None:
        """Give the finished file its name."""
        with self._guard():
            self._temporary.replace(self._path)
            sync_folder(self._path.parent)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(error, self._path) from error


def sweep_all(layout: Layout) -> int:
    """Delete temporary files that dead processes left under a data root; returns how many."""
    return sum(sweep(layout.root / folder) for folder in ("processed", "extracted", "quarantine", "cache"))


def sweep(folder: Path) -> int:
    """Delete temporary files that dead processes left below a folder; returns how many."""
    count = 0
    for path in folder.rglob(".*.tmp"):
        if is_left(path.name):
            unlink(path)
            count += 1
    return count


def is_left(name: str) -> bool:
    """Whether this is the name of a temporary file whose process is gone."""
    match = TEMPORARY.fullmatch(name)
    return match is not None and not _is_alive(int(match.group(1)))


def unlink(path: Path) -> None:
    """Delete a file, if it is there. Raises StorageError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # a run sweeps before it writes: what carries our number is of an earlier process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return not _is_ended(pid)


def _is_ended(pid: int) -> bool:
    """Whether a process only waits for its end to be taken note of, where the system can say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (OSError, IndexError):
        return False
