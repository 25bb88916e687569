"""`StorageManager`: verified archives become partitions, and partitions are read back.

One Parquet file per archive, at a path that follows from series and period. Everything is written beside its place
under `.<name>.<pid>.tmp`, synced and renamed once, so that a reader never sees a half-written file.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.datasets import DATASETS, SCHEMA_VERSION, Dataset
from core.errors import StorageError, storage_error
from core.layout import SYMBOL, Layout, period_in
from core.settings import QualitySettings, StorageSettings
from core.storage.archive_csv import ArchiveCsv
from core.storage.formats import FORMATS
from core.storage.order import OutOfOrder, Repairs, in_order, repaired, row_groups
from core.storage.output import Output, sweep
from core.types import Cadence, FetchedFile, Market, Partition, Period, Series, Span


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
            return self._write(fetched, archive, in_order(archive, dataset), Repairs(), targets)
        except OutOfOrder:
            archive = self._archive(fetched)
            table, repairs = repaired(archive, dataset)
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
        read = [_partition(series, period, found[period]) for period in chosen]
        return tuple(partition for partition in read if partition is not None)

    def series(self, market: Market | None = None, dataset: str | None = None) -> tuple[Series, ...]:
        """Every series that has a partition, sorted."""
        markets = (market,) if market else tuple(Market)
        kinds = (DATASETS[dataset],) if dataset else tuple(DATASETS.values())
        return tuple(sorted((one for m in markets for kind in kinds for one in self._stored(m, kind)), key=str))

    def _stored(self, market: Market, kind: Dataset) -> Iterator[Series]:
        for symbol in _folders(self._layout.root / "processed" / market / kind.name):
            for folder in _folders(symbol) if kind.has_interval else [symbol]:
                series = Series(market, kind.name, symbol.name, folder.name if kind.has_interval else None)
                if self._files(series):
                    yield series

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
        return sum(sweep(self._layout.root / folder) for folder in ("processed", "extracted"))

    def _archive(self, fetched: FetchedFile) -> ArchiveCsv:
        series = fetched.file.series
        return ArchiveCsv(fetched.path, DATASETS[series.dataset], series.market, fetched.file.period, self._quality)

    def _write(
        self,
        fetched: FetchedFile,
        archive: ArchiveCsv,
        batches: Iterator[pa.RecordBatch],
        repairs: Repairs,
        targets: dict[str, Path],
    ) -> Partition:
        series, period = fetched.file.series, fetched.file.period
        rows, first_us, last_us, group = 0, None, None, self._settings.row_group_rows
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(Output(name, path, series, group)) for name, path in targets.items()]
            for batch in row_groups(batches, group):
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
            for writer in reversed(writers):  # the Parquet last: with it the archive counts as stored
                writer.publish(facts)
        return partition

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


def _partition(series: Series, period: Period, path: Path) -> Partition | None:
    """A partition from its footer; None if it has gone meanwhile. Raises StorageError if it is not one of ours."""
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
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise StorageError(f"{path} is no partition of ours ({error}); delete it and run the download again") from error


def _between(batch: pa.RecordBatch, span: Span) -> pa.RecordBatch:
    times = batch.column("timestamp").cast(pa.int64())
    return batch.filter(pc.and_(pc.greater_equal(times, span.start_us), pc.less(times, span.end_us)))


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and SYMBOL.fullmatch(path.name)]
    except FileNotFoundError:
        return []
