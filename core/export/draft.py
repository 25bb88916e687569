"""A file on its way to its place in a folder of the user: written beside it, synced, renamed once."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import storage_error
from core.layout import make_folder, sync_folder


@dataclass(frozen=True, slots=True)
class Draft:
    """`temporary` is where to write; `publish` gives the finished file its name, which may be known only then."""

    temporary: Path

    def publish(self, path: Path) -> None:
        """Sync and rename; a file of that name is replaced."""
        with self.temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        self.temporary.replace(path)
        sync_folder(path.parent)


@contextlib.contextmanager
def draft(folder: Path, label: str) -> Iterator[Draft]:
    """A draft in `folder`, which is made if need be; one that is not published is removed.

    Raises StorageError or DiskFull for whatever the operating system refuses inside the block.
    """
    temporary = folder / f".{label}.{os.getpid()}.tmp"
    try:
        make_folder(folder.absolute())
        yield Draft(temporary)
    except OSError as error:
        raise storage_error(error, folder / label) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
