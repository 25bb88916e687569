"""Writers of one series take turns, also between processes. Needs no Arrow."""

import contextlib
from collections.abc import Iterator

from filelock import FileLock

from core.errors import storage_error
from core.layout import Layout, make_folder
from core.types import Series


@contextlib.contextmanager
def taking_turns(layout: Layout, series: Series) -> Iterator[None]:
    """While nobody else writes partitions of the series. The lock of a process that is killed goes with it."""
    path = layout.lock(series)
    try:
        make_folder(path.parent)
        lock = FileLock(path, thread_local=False)
        lock.acquire()
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        yield
    finally:
        lock.release()
