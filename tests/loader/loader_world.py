"""A small stored world for the loader's tests, whose every value is a function of what and when it is."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
from factories import zip_bytes

from core.datasets import DATASETS, Column, Kind
from core.dates import DAY_US, HOUR_US, INTERVAL_US, day_of
from core.layout import Layout
from core.settings import QualitySettings, Settings, StorageSettings
from core.storage.footer import facts_of
from core.storage.formats import parquet
from core.storage.manager import StorageManager
from core.storage.schema import schema_of
from core.types import ArchiveFile, Cadence, FetchedFile, Market, Period, Proof, Series, Source
from loader import BacktestDataLoader

Row = dict[str, Any]


def us(text: str) -> int:
    """An instant in microseconds."""
    moment = datetime.fromisoformat(text)
    return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1_000_000)


def hours(start: str, count: int) -> list[int]:
    return [us(start) + hour * HOUR_US for hour in range(count)]


def series(dataset: str, symbol: str, market: str = "um", interval: str = "1h") -> Series:
    kind = DATASETS[dataset]
    return Series(Market(market), dataset, kind.directory(symbol), interval if kind.has_interval else None)


def made_up(one: Series, times_us: Iterable[int]) -> list[Row]:
    """A row for each time. Ids count on; numbers look random but follow from series, column and time."""
    columns = DATASETS[one.dataset].stored_columns(one.market)
    rows = []
    for number, time_us in enumerate(times_us):
        row: Row = {}
        for column in columns:
            seed = crc32(f"{one}/{column.name}/{time_us}".encode())
            values = {
                Kind.TIME: time_us + (INTERVAL_US[one.interval or "1h"] or DAY_US) - 1000,
                Kind.DECIMAL: (seed % 2_000_000 - 1_000_000) / 128,
                Kind.INTEGER: seed % 1000,
                Kind.BOOLEAN: seed % 2 == 1,
                Kind.TEXT_TIME: time_us,
                Kind.TEXT: ("BUY", "SELL", "PARTIALLY_FILLED")[seed % 3],
            }
            row[str(column.name)] = None if column.nullable and seed % 7 == 0 else values[column.kind]
        rows.append(row | {"timestamp": time_us} | ({"id": number + 1} if "id" in row else {}))
    return rows


def csv_bytes(one: Series, rows: Iterable[Row]) -> bytes:
    """Rows as the exchange would publish them, in microseconds; what we do not keep is 0."""
    columns = [column for column in DATASETS[one.dataset].columns[one.market] if not column.optional]
    lines = [",".join(_cell(one, column, row) for column in columns) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def _cell(one: Series, column: Column, row: Row) -> str:
    value = row[column.name] if column.name else 0
    if column.kind is Kind.SYMBOL:
        return one.symbol
    if column.kind is Kind.TEXT_TIME:
        return str(datetime.fromtimestamp(value // 1_000_000, UTC).replace(tzinfo=None))
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value).lower()


class World:
    """A data folder. `put` stores rows by month (or day) as the storage room does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(root)
        self.storage = StorageManager(self.layout, StorageSettings(csv_datasets=()), QualitySettings())

    def put(self, one: Series, rows: Iterable[Row], cadence: Cadence = Cadence.MONTHLY) -> None:
        by_period: dict[Period, list[Row]] = {}
        for row in rows:
            day = day_of(row["timestamp"])
            period = Period.day(day) if cadence is Cadence.DAILY else Period.month(day.year, day.month)
            by_period.setdefault(period, []).append(row)
        for period, of_period in by_period.items():
            self.put_period(one, period, of_period)

    def put_period(self, one: Series, period: Period, rows: list[Row]) -> Path:
        """The rows as the exchange's CSV in a zip, stored for real."""
        path = self.layout.raw(one, period)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zip_bytes({f"{path.stem}.csv": csv_bytes(one, rows)}))
        file = ArchiveFile(one, period, f"data/{path.name}", path.stat().st_size, "", None, "")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        stored = self.storage.store([FetchedFile(file, path, file.size, digest, Proof.UNVERIFIED)])
        return next(part.path for part in stored.partitions if part.period.span.overlaps(period.span))

    def put_unchecked(self, one: Series, period: Period, rows: list[Row]) -> Path:
        """A partition as the storage room would never write it: in any order, with any repeats."""
        path = self.layout.processed(one, period)
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset = DATASETS[one.dataset]
        times = [row["timestamp"] for row in rows]
        source = Source("key", period, "", Proof.UNVERIFIED, "us", len(rows), min(times), max(times))
        writer = parquet.Writer(path, dataset, one.market, 1000)
        writer.write(pa.RecordBatch.from_pylist(rows, schema_of(dataset, one.market)))
        writer.close(facts_of(one, period, [source]))
        return path

    def fill(
        self, dataset: str, symbol: str, times_us: Iterable[int], market: str = "um", interval: str = "1h"
    ) -> list[Row]:
        one = series(dataset, symbol, market, interval)
        rows = made_up(one, times_us)
        self.put(one, rows)
        return rows

    def loader(self, threads: int | None = None) -> BacktestDataLoader:
        settings = Settings().replace(paths={"data": self.root}, loader={"threads": threads})
        return BacktestDataLoader(settings)


def write_rows(root: Path, one: Series, rows: Iterable[Row]) -> None:
    """Rows as one archive a month, in files of a year, at once: for worlds that are made again and again."""
    by_month: dict[Period, list[Row]] = {}
    for row in rows:
        day = day_of(row["timestamp"])
        by_month.setdefault(Period.month(day.year, day.month), []).append(row)
    by_year: dict[Period, list[Period]] = {}
    for month in sorted(by_month):
        by_year.setdefault(month.within(Cadence.YEARLY), []).append(month)
    for year, months in by_year.items():
        path = Layout(root).processed(one, year)
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = parquet.Writer(path, DATASETS[one.dataset], one.market, 1000)
        sources = []
        for month in months:
            times = [row["timestamp"] for row in by_month[month]]
            batch = pa.RecordBatch.from_pylist(by_month[month], schema_of(DATASETS[one.dataset], one.market))
            writer.write(batch)
            sources.append(
                Source(f"{one}/{month.label}", month, "", Proof.UNVERIFIED, "us", len(times), min(times), max(times))
            )
        writer.close(facts_of(one, year, sources))


def opened(root: Path, threads: int | None = None) -> BacktestDataLoader:
    """A loader of that folder."""
    return BacktestDataLoader(Settings().replace(paths={"data": root}, loader={"threads": threads}))
