"""Rows on their way into a partition: those of an archive, read and put in order, or those that are there already."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import Dataset
from core.errors import MalformedArchive
from core.storage.archive_csv import ArchiveCsv
from core.storage.holding import Holding
from core.storage.order import Repairs
from core.storage.repair import read_by_key
from core.types import FetchedFile, Partition, Source


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one source, in the order of their key."""

    source: Source
    batches: Sequence[pa.RecordBatch] | None = None
    """None: they are in the partition as it is."""


class Extent:
    """How many rows there are, and from when to when."""

    def __init__(self) -> None:
        self.rows = 0
        self.first_us = 0
        self.last_us = 0

    def add(self, batch: pa.RecordBatch) -> None:
        times = pc.min_max(batch.column("timestamp").cast(pa.int64())).as_py()
        self.first_us = min(self.first_us, times["min"]) if self.rows else times["min"]
        self.last_us = max(self.last_us, times["max"]) if self.rows else times["max"]
        self.rows += batch.num_rows


def source_of(fetched: FetchedFile, archive: ArchiveCsv, repairs: Repairs, extent: Extent) -> Source:
    """What is known of an archive that was read to its end."""
    return Source(
        fetched.file.key,
        fetched.file.period,
        fetched.sha256,
        fetched.proof,
        archive.source_unit,
        extent.rows,
        extent.first_us,
        extent.last_us,
        repairs.duplicates,
        repairs.reordered,
        archive.outside_period,
        archive.quarantined,
    )


def settle(archive: ArchiveCsv, rows: int, repairs: Repairs) -> None:
    """Make sure that every line of an archive is a row, a duplicate or in quarantine, and publish the quarantine.

    For whoever is about to publish the rows: so a kill never leaves them without the lines that are not among them.
    """
    if rows + repairs.duplicates + archive.quarantined != archive.lines:
        raise MalformedArchive(
            f"{archive.path.name}: {rows} rows, {repairs.duplicates} duplicates and {archive.quarantined} lines in "
            f"quarantine do not make its {archive.lines} lines; nothing of it is stored"
        )
    if archive.quarantine is not None and archive.is_salvaged:
        archive.quarantine.publish()


def read_whole(fetched: FetchedFile, archive: ArchiveCsv, dataset: Dataset, beside: Path) -> Piece:
    """An archive's rows, all in memory; lines that are not among them are in quarantine.

    What does not fit into memory while it is put in order lies beside the file `beside`. Raises MalformedArchive,
    StorageError, DiskFull.
    """
    return read_by_key(archive, dataset, beside, functools.partial(_piece, fetched))


def _piece(fetched: FetchedFile, archive: ArchiveCsv, batches: Iterator[pa.RecordBatch], repairs: Repairs) -> Piece:
    held = list(batches)
    extent = Extent()
    for batch in held:
        extent.add(batch)
    settle(archive, extent.rows, repairs)
    return Piece(source_of(fetched, archive, repairs, extent), held)


def kept_rows(partition: Partition, wanted: Iterable[Source], rows_at_once: int) -> Iterator[pa.RecordBatch]:
    """The rows of some sources of a partition, in its order. Raises StorageError."""
    keys = {source.key for source in wanted}
    bounds: list[tuple[int, int]] = []
    start = 0
    for source in partition.sources:
        end = start + source.rows
        if source.key in keys:
            first = bounds.pop()[0] if bounds and bounds[-1][1] == start else start
            bounds.append((first, end))
        start = end
    for first, end in bounds:
        yield from Holding().rows(partition, first, end, rows_at_once)
