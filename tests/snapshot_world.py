"""Data folders that hold the same sample market in whatever archives and files a test wants, and locks of them."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from factories import zip_bytes

from core.datasets import DATASETS
from core.layout import Layout
from core.sample.archive import key_of
from core.sample.csv_text import csv_bytes
from core.sample.market import SampleMarket, small_market
from core.sample.quirks import as_published
from core.settings import QualitySettings, Settings
from core.snapshot.folder import Verdict, against_folder
from core.snapshot.lock import Lock
from core.snapshot.take import stored_span, take
from core.storage.footer import facts_of
from core.storage.formats import parquet
from core.storage.holding import Holding
from core.storage.manager import StorageManager
from core.storage.merging import merged
from core.types import ArchiveFile, FetchedFile, Market, Partition, Period, Proof, Series, Span
from loader import BacktestDataLoader

FIRST, LAST = date(2024, 12, 10), date(2025, 1, 25)
KLINES = Series(Market.UM, "klines", "BTCUSDT", "1h")
OTHER = Series(Market.UM, "klines", "ETHUSDT", "1h")
MARK = Series(Market.UM, "mark_price", "BTCUSDT", "1h")
INDEX = Series(Market.UM, "index_price", "BTCUSDT", "1h")
PREMIUM = Series(Market.UM, "premium_index", "BTCUSDT", "1h")
FUNDING = Series(Market.UM, "funding_rate", "BTCUSDT")
TRADES = Series(Market.UM, "trades", "BTCUSDT")
METRICS = Series(Market.UM, "metrics", "BTCUSDT")
WIDE = (KLINES, MARK, INDEX, PREMIUM, FUNDING)
CREATED = "2025-01-26T08:00:00Z"

Edit = Callable[[list[str]], list[str]]
"""Other lines of a CSV; the first one is the header."""


@lru_cache(maxsize=1)
def market() -> SampleMarket:
    return small_market(first=FIRST, last=LAST)


def day(number: int, month: str = "2025-01") -> str:
    return f"{month}-{number:02d}"


def days(first: int, last: int, month: str = "2025-01") -> list[str]:
    """Labels of days, both ends included."""
    return [day(number, month) for number in range(first, last + 1)]


def span_of_days(first: str, last: str) -> Span:
    return Span.of_days(date.fromisoformat(first), date.fromisoformat(last))


class Folder:
    """A data folder; `rows_at_once` is how many rows a row group has."""

    def __init__(self, root: Path, rows_at_once: int = 131_072) -> None:
        self.root = root
        self.layout = Layout(root)
        self.settings = Settings().replace(
            paths={"data": root}, storage={"csv_datasets": (), "row_group_rows": rows_at_once}
        )
        self.storage = StorageManager(self.layout, self.settings.storage, QualitySettings())

    def put(self, series: Series, labels: Iterable[str], edit: Edit | None = None, rest: bool = False) -> None:
        """Archives of the sample market, one after another; `rest`: as answers of the exchange's API.

        Any other symbol has the rows of BTCUSDT.
        """
        for label in labels:
            period = Period.parse(label)
            rows = market().file_rows(replace(series, symbol="BTCUSDT"), period)
            text = csv_bytes(series, period, as_published(market().seed, series, period, rows))
            if edit is not None:
                text = "".join(edit(text.decode().splitlines(keepends=True))).encode()
            path = self.layout.raw(series, period)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(zip_bytes({f"{path.stem}.csv": text}))
            key = f"rest/{series}/{label}" if rest else key_of(series, period)
            file = ArchiveFile(series, period, key, path.stat().st_size, "", None, "")
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            proof = Proof.REST if rest else Proof.SHA256_BY_ETAG
            stored = self.storage.store([FetchedFile(file, path, file.size, digest, proof)])
            assert stored.refused == {}

    def merge(self, series: Series, label: str) -> None:
        """All partitions of a period into one file, as `pipeline.py optimize` does."""
        period = Period.parse(label)
        with self.storage.turn(series):
            inside = [one for one in self.storage.partitions(series) if period.contains(one.period)]
            assert len(inside) > 1
            assert merged(self.layout, period, inside, 1000) is not None

    def partitions(self, series: Series) -> tuple[Partition, ...]:
        return self.storage.partitions(series)

    def rewrite(self, series: Series, change: Callable[[int, dict[str, object]], dict[str, object]]) -> None:
        """Every partition of a series written by hand with other rows; `change` is given each row and its number."""
        for one in self.partitions(series):
            batches = list(Holding().rows(one, 0, one.rows, 2**31 - 1))
            table = pa.Table.from_batches(batches)
            rows = [change(number, row) for number, row in enumerate(table.to_pylist())]
            writer = parquet.Writer(one.path, DATASETS[series.dataset], series.market, 1000)
            writer.write(pa.RecordBatch.from_pylist(rows, schema=table.schema.remove_metadata()))
            writer.close(facts_of(series, one.period, one.sources))

    def repack(self, series: Series, rows_at_once: int, **options: object) -> None:
        """Every partition written with another compression and other row groups, its footer's entries kept."""
        for one in self.partitions(series):
            table = pq.read_table(one.path)
            with pq.ParquetWriter(one.path, table.schema, **options) as writer:
                writer.write_table(table, row_group_size=rows_at_once)
                writer.add_key_value_metadata(facts_of(series, one.period, one.sources))

    def lock(self, series: Sequence[Series], span: Span | None = None) -> Lock:
        return take(self.storage, series[0].market, span or stored_span(self.storage, series), series)

    def verdict(self, lock: Lock) -> Verdict:
        return against_folder(lock, self.storage)

    def loader(self, lock: Path | None = None) -> BacktestDataLoader:
        return BacktestDataLoader(self.settings, snapshot=lock)


def one_cell(line: int, column: int, value: str) -> Edit:
    """The lines with one cell changed; line 0 is the header."""

    def edit(lines: list[str]) -> list[str]:
        cells = lines[line].rstrip("\n").split(",")
        assert cells[column] != value
        cells[column] = value
        return [*lines[:line], ",".join(cells) + "\n", *lines[line + 1 :]]

    return edit


def without(first: int, last: int) -> Edit:
    """The lines without these, both ends included; line 0 is the header."""
    return lambda lines: [*lines[:first], *lines[last + 1 :]]
