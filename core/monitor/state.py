"""Views of runs as small files, so that another process can show them: written by the run, read by whoever looks.

data/metadata/live/<host>-<pid>.json

Each is replaced as a whole, and stays when its run is over: the last one says how it ended. Of a process that was
killed it says nothing, and is told by the process being gone. Later runs take old ones away.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.download.process import ProcessIdentity
from core.layout import Layout
from core.monitor.view import View, from_json

SILENT_SECONDS: Final = 120.0
"""A run on another host whose view has not been written for this long counts as dead."""
KEPT: Final = 20
"""Views of ended processes that stay, the newest, for whoever looks a little later."""


def view_file(layout: Layout, process: ProcessIdentity) -> Path:
    """Where the view of a process lies."""
    return layout.live / f"{re.sub(r'[^A-Za-z0-9.-]', '_', process.host)}-{process.pid}.json"


def write(path: Path, text: str) -> None:
    """Put a view in its place at once. Nothing is synced: after a power cut nobody runs. Raises OSError."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


@dataclass(slots=True)
class Seen:
    """The view of a process, as it was read from `path`, and of which writing."""

    path: Path
    view: View
    stamp: tuple[int, int]

    @property
    def is_alive(self) -> bool:
        """Whether its run goes on: not ended, and its process is there, or on another host has said so lately."""
        if self.view.ended is not None:
            return False
        alive = self.view.frame.process.is_alive()
        return _age(self.path) < SILENT_SECONDS if alive is None else alive

    def again(self) -> bool:
        """Read it once more if it was written anew; whether it was. What has gone is left as it was."""
        now = _seen(self.path, self.stamp)
        if now is None:
            return False
        self.view, self.stamp = now.view, now.stamp
        return True


def all_seen(layout: Layout) -> list[Seen]:
    """The views of all processes that left one, the newest first."""
    found = [seen for path in _files(layout) if (seen := _seen(path)) is not None]
    return sorted(found, key=lambda seen: seen.view.at, reverse=True)


def clear(layout: Layout) -> None:
    """Take away old views of processes that are over; whatever cannot be looked at or removed stays."""
    with contextlib.suppress(OSError):
        for seen in all_seen(layout)[KEPT:]:
            if not seen.is_alive:
                seen.path.unlink(missing_ok=True)


def _files(layout: Layout) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(layout.live) as entries:
        yield from [Path(entry.path) for entry in entries if entry.name.endswith(".json")]


def _seen(path: Path, before: tuple[int, int] | None = None) -> Seen | None:
    """The view in a file, if there is one, and another than before."""
    try:
        status = path.stat()
        stamp = (status.st_ino, status.st_mtime_ns)
        if stamp == before:
            return None
        view = from_json(path.read_bytes())
    except OSError:
        return None
    return None if view is None else Seen(path, view, stamp)


def _age(path: Path) -> float:
    """How long ago a file was written, by the clock of whoever keeps it where that is another machine's."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return SILENT_SECONDS
