"""The lines of an archive that are not stored, kept in a file of their own with number, reason and text."""

import contextlib
import csv
import os
from pathlib import Path
from typing import Final, TextIO

from core.layout import make_folder
from core.storage.draft import Draft

HEADER: Final = "line,reason,text\n"
_LONGEST_REASON: Final = 300


class Quarantine(Draft):
    """A CSV that is begun with the first line set aside. Leaving the `with` block without `publish` leaves nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._stream: TextIO | None = None
        self.lines = 0

    def __enter__(self) -> "Quarantine":
        return self

    def restart(self) -> None:
        """Forget the lines of an earlier reading."""
        self._drop()
        self.lines = 0

    def add(self, line: int, reason: str, text: bytes) -> None:
        """Set a line aside; bytes that are no UTF-8 are written as `\\xff`."""
        with self._guard():
            if self._stream is None:
                make_folder(self._path.parent)
                self._stream = self._temporary.open("w", newline="", encoding="utf-8")
                self._stream.write(HEADER)
            # Every text quoted: where lines end in \r\n, their texts end in \r.
            writer = csv.writer(self._stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            writer.writerow((line, reason[:_LONGEST_REASON], text.decode("utf-8", "backslashreplace")))
        self.lines += 1

    def publish(self) -> None:
        """Sync the file and give it its name; nothing where no line was set aside."""
        if self._stream is None:
            return
        with self._guard():
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
        super().publish()
        self._stream = None

    def __exit__(self, *_: object) -> None:
        self._drop()

    def _drop(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):  # no room for what is thrown away
                self._stream.close()
            self._temporary.unlink(missing_ok=True)
            self._stream = None
