"""Which parser reads a CSV: the compiled one where it can be had and is worth its start, else pyarrow's."""

import functools
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from core.datasets import Column, Kind
from core.events import LOGGER

if TYPE_CHECKING:
    from core.storage.csv_compiled import CompiledReader

WORTH_BYTES: Final = 1 << 24
"""Loading the compiled parser takes as long as pyarrow takes for this much CSV; a small job goes without it."""
WORTH_ARCHIVE_BYTES: Final = WORTH_BYTES * 2 // 5
"""Archives of candles hold two and a half times their size of CSV, those of trades up to six times."""
_KINDS: Final = {Kind.TIME, Kind.INTEGER, Kind.DECIMAL, Kind.BOOLEAN}
_LOADING: Final = threading.Lock()


class Irregular(Exception):
    """A line that the compiled parser leaves to the other one; the batches before it are good."""


class Parser:
    """The choice for one job; both parsers give the same rows, so it changes nothing but the time.

    `choice`: "auto", or "compiled" or "arrow" for one of them from the first byte on. Where the compiled one cannot be
    had, pyarrow reads everything.
    """

    def __init__(self, choice: str = "auto") -> None:
        self._is_wanted = choice != "arrow" and find_spec("numba") is not None
        self._is_worth_it = choice == "compiled"
        self._seen_bytes = 0
        self._expected_bytes = 0

    def expect(self, archive_bytes: int) -> None:
        """Archives of so many bytes are about to be read."""
        self._expected_bytes += archive_bytes
        self._is_worth_it = self._is_worth_it or self._expected_bytes >= WORTH_ARCHIVE_BYTES

    def prepare(self) -> None:
        """Load the compiled parser if it is going to be used."""
        if self._is_wanted and self._is_worth_it:
            _is_usable()

    def takes(self, columns: Sequence[Column], csv_bytes: int) -> bool:
        """Whether the compiled parser is to read a CSV of that size; it is loaded when that is first so."""
        self._seen_bytes += csv_bytes
        self._is_worth_it = self._is_worth_it or self._seen_bytes >= WORTH_BYTES
        is_asked = self._is_wanted and self._is_worth_it and all(c.kind in _KINDS and not c.nullable for c in columns)
        return is_asked and _is_usable()

    def reader(self, columns: Sequence[Column], rows_at_once: int) -> "CompiledReader":
        """A reader by the compiled parser."""
        from core.storage.csv_compiled import CompiledReader

        return CompiledReader(columns, rows_at_once)


def _is_usable() -> bool:
    with _LOADING:  # a second thread waits for the answer, and nothing is said twice
        return _load()


@functools.cache
def _load() -> bool:
    """Load and try the compiled parser, once a process.

    numba may be there and of no use: without a folder that its cache can be written to, or with a library of LLVM that
    cannot be loaded.
    """
    try:
        from core.storage.csv_compiled import try_out

        try_out()
    except (ImportError, RuntimeError, OSError) as error:
        LOGGER.warning("the compiled CSV parser cannot be used, pyarrow reads instead: %s", error)
        return False
    return True
