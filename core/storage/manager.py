"""`StorageManager`: verified archives become partitions, and partitions are read back.

One Parquet file per archive, at a path that follows from series and period. Everything is written beside its place
under `.<name>.<pid>.tmp`, synced and renamed once, so that a reader never sees a half-written file.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.datasets import DATASETS, SCHEMA_VERSION, Dataset
from core.errors import MalformedArchive, StorageError, storage_error
from core.layout import Layout, period_in, sync_folder
from core.settings import QualitySettings, StorageSettings
from core.storage.archive_csv import ArchiveCsv
from core.storage.formats import FORMATS
from core.types import Cadence, FetchedFile, Market, Partition, Period, Series, Span

_TEMPORARY: Final = re.compile(r"\..+\.(\d+)\.tmp")


class StorageManager:
    """Writes and reads partitions under one data root."""

    def __init__(self, layout: Layout, settings: StorageSettings, quality: QualitySettings) -> None:
        self._layout = layout
        self._settings = settings
        self._quality = quality

    def store(self, fetched: FetchedFile) -> Partition:
        """Turn a verified archive into its partition (and CSV where settings say so); the same input, the same bytes.

        Rows come out in the order of the dataset's key. Exact duplicate rows are dropped and counted, rows out of order
        are sorted and counted; two rows with one key and different content refuse the file. Raises MalformedArchive,
        DiskFull, StorageError; nothing is left behind then.
        """
        series, period = fetched.file.series, fetched.file.period
        dataset = DATASETS[series.dataset]
        targets = {"parquet": self._layout.processed(series, period)}
        if series.dataset in self._settings.csv_datasets:
            targets["csv"] = self._layout.extracted(series, period, FORMATS["csv"].SUFFIX)
        archive = self._archive(fetched)
        try:
            return self._write(fetched, archive, _in_order(archive, dataset), _Repairs(), targets)
        except _OutOfOrder:
            archive = self._archive(fetched)
            table, repairs = _repaired(archive, dataset)
            return self._write(
                fetched, archive, iter(table.to_batches(self._settings.row_group_rows)), repairs, targets
            )

    def partitions(self, series: Series, span: Span | None = None) -> tuple[Partition, ...]:
        """The partitions that overlap `span`, in order of time; a day that a month covers is hidden."""
        found = self._files(series)
        months = [period.span for period in found if period.cadence is Cadence.MONTHLY]
        chosen = [
            period
            for period in sorted(found, key=lambda period: period.span)
            if (span is None or period.span.overlaps(span))
            and not (period.cadence is Cadence.DAILY and any(month.contains(period.span) for month in months))
        ]
        return tuple(_partition(series, period, found[period]) for period in chosen)

    def series(self, market: Market | None = None, dataset: str | None = None) -> tuple[Series, ...]:
        """Every series that has a partition, sorted."""
        root = self._layout.root / "processed"
        found = {
            _series_of(path.parent.relative_to(root))
            for path in root.glob(f"{market or '*'}/{dataset or '*'}/**/*.parquet")
        }
        return tuple(sorted(found, key=str))

    def scan(self, series: Series, span: Span, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of `span` in key order, a row group at a time."""
        for partition in self.partitions(series, span):
            wanted = None if columns is None else [*dict.fromkeys([*columns, "timestamp"])]
            for batch in pq.ParquetFile(partition.path).iter_batches(columns=wanted):
                inside = _between(batch, span)
                if inside.num_rows:
                    yield inside if columns is None else inside.select(list(columns))

    def holds(self, series: Series, period: Period) -> bool:
        """Whether the partition of an archive is there."""
        return self._layout.processed(series, period).exists()

    def remove(self, partition: Partition) -> None:
        """Delete one partition."""
        try:
            partition.path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, partition.path) from error

    def sweep(self) -> int:
        """Delete temporary files that dead processes left; returns how many."""
        count = 0
        for folder in ("processed", "extracted"):
            for path in (self._layout.root / folder).rglob(".*.tmp"):
                match = _TEMPORARY.fullmatch(path.name)
                if match and not _is_alive(int(match.group(1))):
                    path.unlink(missing_ok=True)
                    count += 1
        return count

    def _archive(self, fetched: FetchedFile) -> ArchiveCsv:
        series = fetched.file.series
        return ArchiveCsv(fetched.path, DATASETS[series.dataset], series.market, fetched.file.period, self._quality)

    def _write(
        self,
        fetched: FetchedFile,
        archive: ArchiveCsv,
        batches: Iterator[pa.RecordBatch],
        repairs: "_Repairs",
        targets: dict[str, Path],
    ) -> Partition:
        series, period = fetched.file.series, fetched.file.period
        rows, first_us, last_us = 0, None, None
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(self._open(name, path, series)) for name, path in targets.items()]
            for batch in batches:
                for writer in writers:
                    writer.write(batch)
                times = batch.column("timestamp").cast(pa.int64())
                low, high = pc.min(times).as_py(), pc.max(times).as_py()
                first_us = low if first_us is None else min(first_us, low)
                last_us = high if last_us is None else max(last_us, high)
                rows += batch.num_rows
            partition = Partition(
                series,
                period,
                targets["parquet"],
                rows,
                first_us,
                last_us,
                fetched.sha256,
                archive.source_unit,
                repairs.duplicates,
                repairs.reordered,
            )
            facts = _facts(partition, fetched, archive)
            for writer in writers:
                writer.publish(facts)
        return partition

    def _open(self, name: str, path: Path, series: Series) -> "_Output":
        return _Output(name, path, series, self._settings.row_group_rows)

    def _files(self, series: Series) -> dict[Period, Path]:
        folder = self._layout.processed_folder(series)
        try:
            names = [entry.name for entry in os.scandir(folder)]
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise storage_error(error, folder) from error
        periods = {
            name: period_in(name.removesuffix(".parquet"), series) for name in names if name.endswith(".parquet")
        }
        return {period: folder / name for name, period in periods.items() if period is not None}


class _OutOfOrder(Exception):
    """Rows are not strictly in the order of their key."""


class _Repairs:
    """What putting a file in order took."""

    def __init__(self, duplicates: int = 0, reordered: int = 0) -> None:
        self.duplicates = duplicates
        self.reordered = reordered


class _Output:
    """A file on its way to its place: removed unless it was published."""

    def __init__(self, name: str, path: Path, series: Series, row_group_rows: int) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._make = FORMATS[name].Writer
        self._arguments = (self._temporary, DATASETS[series.dataset], series.market, row_group_rows)

    def __enter__(self) -> "_Output":
        with self._guard():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._make(*self._arguments)
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        with self._guard():
            self._writer.write(batch)

    def publish(self, facts: dict[str, str]) -> None:
        """Finish the file, sync it, and give it its name."""
        with self._guard():
            self._writer.close(facts)
            with self._temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            self._temporary.replace(self._path)
            sync_folder(self._path.parent)

    def __exit__(self, *_: object) -> None:
        if self._temporary.exists():
            with contextlib.suppress(OSError, pa.ArrowException):
                self._writer.abandon()
            self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(error, self._path) from error


def _in_order(archive: ArchiveCsv, dataset: Dataset) -> Iterator[pa.RecordBatch]:
    """The batches, as long as the key rises strictly. Raises _OutOfOrder."""
    last: tuple[int, ...] | None = None
    for batch in archive.batches():
        keys = _keys(batch, dataset)
        rises = np.zeros(batch.num_rows - 1, dtype=np.bool_)
        ties = np.ones(batch.num_rows - 1, dtype=np.bool_)
        for column in keys:
            rises |= ties & (column[1:] > column[:-1])
            ties &= column[1:] == column[:-1]
        first = tuple(int(column[0]) for column in keys)
        if not rises.all() or (last is not None and first <= last):
            raise _OutOfOrder
        last = tuple(int(column[-1]) for column in keys)
        yield batch


def _repaired(archive: ArchiveCsv, dataset: Dataset) -> tuple[pa.Table, _Repairs]:
    """All rows in key order without exact duplicates, and what that took. Raises MalformedArchive for a conflict."""
    table = pa.Table.from_batches(list(archive.batches())).combine_chunks()
    keys = _keys(table, dataset)
    order = np.lexsort(keys[::-1])
    moved = int(np.count_nonzero(order != np.arange(len(order))))
    table = table.take(pa.array(order))
    repeats = _repeats(table, dataset.key)
    same = _repeats(table, table.column_names)
    conflicts = np.flatnonzero(repeats & ~same)
    if len(conflicts):
        one, other = (table.slice(int(conflicts[0]) + step, 1).to_pylist()[0] for step in (0, 1))
        raise MalformedArchive(f"{archive.path.name}: two different rows with one key: {one} and {other}")
    keep = np.concatenate([[True], ~same])
    return table.filter(pa.array(keep)), _Repairs(int(np.count_nonzero(same)), moved)


def _keys(rows: pa.RecordBatch | pa.Table, dataset: Dataset) -> list["np.ndarray[tuple[int], np.dtype[np.int64]]"]:
    return [rows.column(name).cast(pa.int64()).to_numpy() for name in dataset.key]


def _repeats(table: pa.Table, names: Sequence[str]) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """For each row but the first: whether it equals the one before it in these columns."""
    equal = np.ones(table.num_rows - 1, dtype=np.bool_)
    for name in names:
        values = table.column(name).to_numpy()
        equal &= values[1:] == values[:-1]
    return equal


def _facts(partition: Partition, fetched: FetchedFile, archive: ArchiveCsv) -> dict[str, str]:
    facts = {
        "schema_version": SCHEMA_VERSION,
        "series": partition.series,
        "period": partition.period.label,
        "rows": partition.rows,
        "first_us": "" if partition.first_us is None else partition.first_us,
        "last_us": "" if partition.last_us is None else partition.last_us,
        "source_key": fetched.file.key,
        "source_sha256": fetched.sha256,
        "source_proof": fetched.proof,
        "source_unit": archive.source_unit,
        "duplicates": partition.duplicates,
        "reordered": partition.reordered,
        "outside_period": archive.outside_period,
    }
    return {f"tapevault.{name}": str(value) for name, value in facts.items()}


def _partition(series: Series, period: Period, path: Path) -> Partition:
    """A partition from its footer. Raises StorageError if it is not one of ours, or says two things."""
    try:
        metadata = pq.read_metadata(path)
        facts = {k.decode(): v.decode() for k, v in (metadata.metadata or {}).items() if k.startswith(b"tapevault.")}
        rows = int(facts["tapevault.rows"])
        if rows != metadata.num_rows:
            raise ValueError(f"{metadata.num_rows} rows instead of {rows}")
        return Partition(
            series,
            period,
            path,
            rows,
            int(facts["tapevault.first_us"]) if facts["tapevault.first_us"] else None,
            int(facts["tapevault.last_us"]) if facts["tapevault.last_us"] else None,
            facts["tapevault.source_sha256"],
            facts["tapevault.source_unit"],
            int(facts["tapevault.duplicates"]),
            int(facts["tapevault.reordered"]),
        )
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise StorageError(f"{path} is no partition of ours ({error}); delete it and run the download again") from error


def _between(batch: pa.RecordBatch, span: Span) -> pa.RecordBatch:
    times = batch.column("timestamp").cast(pa.int64())
    return batch.filter(pc.and_(pc.greater_equal(times, span.start_us), pc.less(times, span.end_us)))


def _series_of(folder: Path) -> Series:
    market, dataset, symbol, *interval = folder.parts
    return Series(Market(market), dataset, symbol, interval[0] if interval else None)


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # a run sweeps before it writes: what carries our number is of an earlier process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
