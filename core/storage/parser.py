"""Which parser reads a CSV: the compiled one where it can be had and is worth its start, else pyarrow's."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from core.datasets import Column, Kind

if TYPE_CHECKING:
    from core.storage.csv_compiled import CompiledReader

WORTH_BYTES: Final = 1 << 24
"""Loading the compiled parser takes as long as pyarrow takes for this much CSV; a small job goes without it."""
_KINDS: Final = {Kind.TIME, Kind.INTEGER, Kind.DECIMAL, Kind.BOOLEAN}


class Irregular(Exception):
    """A line that the compiled parser leaves to the other one; the batches before it are good."""


class Parser:
    """The choice for one job; both parsers give the same rows, so it changes nothing but the time.

    `choice`: "auto", or "compiled" or "arrow" for one of them from the first byte on.
    """

    def __init__(self, choice: str = "auto") -> None:
        self._is_wanted = choice != "arrow" and find_spec("numba") is not None
        self._is_worth_it = choice == "compiled"
        self._seen_bytes = 0

    def takes(self, columns: Sequence[Column], csv_bytes: int) -> bool:
        """Whether the compiled parser is to read a CSV of that size."""
        self._seen_bytes += csv_bytes
        self._is_worth_it = self._is_worth_it or self._seen_bytes >= WORTH_BYTES
        return self._is_wanted and self._is_worth_it and all(c.kind in _KINDS and not c.nullable for c in columns)

    def reader(self, columns: Sequence[Column], rows_at_once: int) -> "CompiledReader":
        """A reader by the compiled parser, which is loaded now."""
        from core.storage.csv_compiled import CompiledReader

        return CompiledReader(columns, rows_at_once)
