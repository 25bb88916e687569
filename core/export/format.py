"""What an export format is, and what it gives back."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from core.types import Series, Span


class Rows(Protocol):
    """Where rows come from: `StorageManager` is one."""

    def scan(self, series: Series, span: Span, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of `span` in key order, a batch at a time; without `columns` all that are stored."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """What a format may be told; None or False: its own way. A format names those that it understands."""

    gzip: bool = False
    price_precision: int | None = None
    size_precision: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """One finished file with rows of `series` (none: it describes, as an instrument does).

    `notes` are sentences that count what the format could not hold as it was stored.
    """

    path: Path
    rows: int
    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()


Write = Callable[[Rows, Sequence[Series], Span, Path, Options], Iterator[Written]]
"""Write series of one group below a folder, each file as soon as it is done. Nothing is written for no rows; a file
has its final name only when it is whole. Raises MarketDataError."""


@dataclass(frozen=True, slots=True)
class Format:
    """One entry of `EXPORTS`: it writes `datasets`, and those of `when_named` when they are asked for; series with one
    `group` are written together; `options` are the names in `Options` that mean something to it; `doc` is for `--help`.
    """

    write: Write
    datasets: tuple[str, ...]
    group: Callable[[Series], Hashable]
    doc: str
    when_named: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
