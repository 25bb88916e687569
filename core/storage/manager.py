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

from core.datasets import DATASETS, Dataset
from core.errors import storage_error
from core.layout import SYMBOL, Layout, period_in
from core.settings import QualitySettings, StorageSettings
from core.storage.archive_csv import ArchiveCsv
from core.storage.footer import facts_of, partition_at, unusable
from core.storage.formats import FORMATS
from core.storage.order import OutOfOrder, Repairs, in_order, repaired, row_groups
from core.storage.output import Output, sweep
from core.storage.parser import Parser
from core.types import Cadence, FetchedFile, Market, Partition, Period, Series, Span


class StorageManager:
    """Writes and reads partitions under one data root."""

    def __init__(self, layout: Layout, settings: StorageSettings, quality: QualitySettings) -> None:
        self._layout = layout
        self._settings = settings
        self._quality = quality
        self._parser = Parser(settings.parser)

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
        read = [partition_at(found[period], series, period) for period in chosen]
        return tuple(partition for partition in read if partition is not None)

    def series(self, market: Market | None = None, dataset: str | None = None) -> tuple[Series, ...]:
        """Every series that has a partition, sorted."""
        markets = (market,) if market else tuple(Market)
        kinds = (DATASETS[dataset],) if dataset else tuple(DATASETS.values())
        found = (one for m in markets for kind in kinds if m in kind.markets for one in self._stored(m, kind))
        return tuple(sorted(found, key=str))

    def _stored(self, market: Market, kind: Dataset) -> Iterator[Series]:
        for symbol in _folders(self._layout.root / "processed" / market / kind.name):
            for folder in _folders(symbol) if kind.has_interval else [symbol]:
                series = Series(market, kind.name, symbol.name, folder.name if kind.has_interval else None)
                if self._files(series):
                    yield series

    def scan(self, series: Series, span: Span, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of `span` in key order, a row group at a time. Raises StorageError."""
        wanted = None if columns is None else [*dict.fromkeys([*columns, "timestamp"])]
        for partition in self.partitions(series, span):
            for batch in self._row_groups(partition.path, wanted):
                inside = _between(batch, span)
                if inside.num_rows:
                    yield inside if columns is None else inside.select(list(columns))

    def _row_groups(self, path: Path, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        try:
            with pq.ParquetFile(path) as parquet:
                yield from parquet.iter_batches(self._settings.row_group_rows, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise unusable(path, error) from error

    def partition(self, series: Series, period: Period) -> Partition | None:
        """The partition of one archive, None if there is none. Raises StorageError if it cannot be read."""
        return partition_at(self._layout.processed(series, period), series, period)

    def periods(self, series: Series) -> frozenset[Period]:
        """The periods of a series that have a partition."""
        return frozenset(self._files(series))

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
        return ArchiveCsv(
            fetched.path,
            DATASETS[series.dataset],
            series.market,
            fetched.file.period,
            self._quality,
            parser=self._parser,
            rows_at_once=self._settings.row_group_rows,
        )

    def _write(
        self,
        fetched: FetchedFile,
        archive: ArchiveCsv,
        batches: Iterator[pa.RecordBatch],
        repairs: Repairs,
        targets: dict[str, Path],
    ) -> Partition:
        extent, group = _Extent(), self._settings.row_group_rows
        with contextlib.ExitStack() as stack:
            outputs = [
                stack.enter_context(Output(name, path, fetched.file.series, group)) for name, path in targets.items()
            ]
            for batch in row_groups(batches, group):
                for output in outputs:
                    output.write(batch)
                extent.add(batch)
            partition = _made(fetched, archive, extent, repairs, targets["parquet"])
            facts = facts_of(partition, fetched)
            for output in outputs:
                output.finish(facts)
            for output in reversed(outputs):  # the Parquet last: with it the archive counts as stored
                output.publish()
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


def _made(fetched: FetchedFile, archive: ArchiveCsv, extent: "_Extent", repairs: Repairs, path: Path) -> Partition:
    return Partition(
        fetched.file.series,
        fetched.file.period,
        path,
        extent.rows,
        extent.first_us,
        extent.last_us,
        fetched.sha256,
        archive.source_unit,
        repairs.duplicates,
        repairs.reordered,
        archive.outside_period,
    )


class _Extent:
    """How many rows there are, and from when to when."""

    def __init__(self) -> None:
        self.rows = 0
        self.first_us: int | None = None
        self.last_us: int | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        times = pc.min_max(batch.column("timestamp").cast(pa.int64())).as_py()
        self.rows += batch.num_rows
        self.first_us = times["min"] if self.first_us is None else min(self.first_us, times["min"])
        self.last_us = times["max"] if self.last_us is None else max(self.last_us, times["max"])


def _between(batch: pa.RecordBatch, span: Span) -> pa.RecordBatch:
    times = batch.column("timestamp").cast(pa.int64())
    return batch.filter(pc.and_(pc.greater_equal(times, span.start_us), pc.less(times, span.end_us)))


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and SYMBOL.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise storage_error(error, folder) from error
