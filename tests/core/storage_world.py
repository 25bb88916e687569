"""A data folder of our own making for the tests of storage: archives as text, stored for real."""

import dataclasses
import functools
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from factories import ROOT, zip_bytes

from core.download.known import known_partitions
from core.download.tracker import Change, DownloadTracker
from core.errors import MalformedArchive
from core.exchanges.binance.urls import key_of
from core.layout import Layout
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import (
    ArchiveFile,
    Cadence,
    FetchedFile,
    Market,
    Partition,
    PartitionFacts,
    Period,
    Proof,
    Series,
    Span,
    State,
    Stored,
)

KLINES = Series(Market.UM, "klines", "BTCUSDT", "1h")
TRADES = Series(Market.UM, "trades", "BTCUSDT")
FUNDING = Series(Market.UM, "funding_rate", "BTCUSDT")
AGGS = Series(Market.SPOT, "agg_trades", "BTCUSDT")
JANUARY = Period.month(2024, 1)
YEAR = Period.parse("2024")
NEW_YEAR = Period.day(date(2024, 1, 1))
FIRST_MS = 1_704_067_200_000


class World:
    def __init__(self, folder: Path, settings: StorageSettings | None = None) -> None:
        self.layout = Layout(folder)
        self.storage = StorageManager(self.layout, settings or StorageSettings(), QualitySettings())

    def fetched(self, series: Series, period: Period, text: bytes) -> FetchedFile:
        path = self.layout.raw(series, period)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zip_bytes({f"{path.stem}.csv": text}))
        key = key_of(series, period)
        file = ArchiveFile(series, period, key, path.stat().st_size, "e", None, "")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return FetchedFile(file, path, path.stat().st_size, digest, Proof.SHA256_BY_ETAG)

    def store(self, series: Series, period: Period, text: bytes) -> Partition:
        """The partition that holds the archive's first rows."""
        stored = self.storage.store([self.fetched(series, period, text)])
        for refused in stored.refused.values():
            raise MalformedArchive(refused)
        return stored.partitions[0]

    @property
    def made(self) -> list[str]:
        """Everything under processed/ and extracted/."""
        return sorted(
            path.name for name in ("processed", "extracted") for path in (self.layout.root / name).rglob("*.*")
        )


def trade_line(number: int, price: str = "42000.1", qty: str = "0.005", maker: str = "true") -> str:
    return f"{number},{price},{qty},210.0005,{FIRST_MS + number},{maker}"


def lines(rows: Sequence[str]) -> bytes:
    return ("\n".join(rows) + "\n").encode()


RUN = """
import os, random, resource, signal, sys, time
sys.path[:0] = ["tests", "tests/core"]
from pathlib import Path
from storage_world import *
world = World(Path(sys.argv[1]))
{body}
"""


def start_child(folder: Path, body: str, *arguments: str) -> "subprocess.Popen[str]":
    """A Python process with `world` in that folder."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN.format(body=body), str(folder), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_child(folder: Path, body: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    process = start_child(folder, body, *arguments)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def random_trades(count: int) -> bytes:
    chance = random.Random(5)
    return lines([trade_line(n, f"{chance.randrange(10**9)}.{n % 10}") for n in range(count)])


CANDLES = Series(Market.UM, "klines", "BTCUSDT", "1d")
SECONDS = Series(Market.SPOT, "klines", "BTCUSDT", "1s")


@dataclass(frozen=True, order=True)
class Archive:
    """An archive whose every row carries `mark` as its price; of the days of its period only `days`, None: all."""

    period: Period
    mark: int
    days: tuple[int, ...] | None = None

    @property
    def dates(self) -> list[date]:
        """The days that it has rows of."""
        first, last = self.period.first, self.period.last
        every = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return every if self.days is None else [every[n] for n in self.days if n < len(every)]

    def text(self, series: Series) -> bytes:
        """The CSV: two rows a day (candles of a day: one)."""
        return lines([line for day in self.dates for line in _rows_of(series, day, self.mark)])


def _rows_of(series: Series, day: date, mark: int) -> list[str]:
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
    if series.dataset == "trades":
        number = (day - date(2020, 1, 1)).days * 10
        return [f"{number + n},{mark},1,1,{start + n},true" for n in range(2)]
    if series.dataset == "funding_rate":
        return [f"{start + n * 28_800_000},8,{mark}" for n in range(2)]
    step = 86_400_000 if series.interval == "1d" else 1000
    count = 1 if series.interval == "1d" else 2
    opens = [start + n * step for n in range(count)]
    return [f"{at},{mark},{mark},{mark},{mark},1,{at + step - 1},1,1,1,1,0" for at in opens]


PRICE = {"trades": "price", "funding_rate": "funding_rate", "klines": "open"}


class Vault(World):
    """A data folder with its status database: archives go all the way, from planned to entered in the catalog."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, StorageSettings(csv_datasets=()))
        self.tracker = DownloadTracker(self.layout.database)
        self.run = self.tracker.begin_run("test")

    def __enter__(self) -> "Vault":
        return self

    def __exit__(self, *_: object) -> None:
        self.tracker.close()

    def archive(self, series: Series, archive: Archive) -> FetchedFile:
        return self.fetched(series, archive.period, archive.text(series))

    def store_all(self, files: Sequence[FetchedFile]) -> Stored:
        """Archives of one home into their partition, not yet in the catalog."""
        stored = self.storage.store(files)
        assert stored.refused == {}
        return stored

    def enter(self, files: Sequence[FetchedFile], stored: Stored) -> None:
        """The rows of these archives, and the catalog, say so."""
        listed = [dataclasses.replace(fetched.file, etag=fetched.sha256) for fetched in files]
        plan = self.tracker.plan(listed)
        rows = self.tracker.claim(self.run, [*plan.fetch, *plan.process])
        by_key = {fetched.file.key: fetched for fetched in files}
        got = [Change(row, State.FETCHED, fetched=by_key[row.file.key]) for row in rows]
        made = [Change(row, State.STORED, stored=stored) for row in rows]
        assert self.tracker.advance(self.run, [*got, *made]) == set()

    def put(self, series: Series, archives: Sequence[Archive]) -> None:
        """Archives of one home, stored and entered."""
        files = [self.archive(series, archive) for archive in archives]
        self.enter(files, self.store_all(files))

    def rows(self, series: Series) -> dict[datetime, float]:
        """What readers see: the mark of each row; no row twice."""
        names = ("timestamp", PRICE[series.dataset])
        rows = [row for batch in self.storage.scan(series, Span(0, 2**60), names) for row in batch.to_pylist()]
        found = {row[names[0]]: row[names[1]] for row in rows}
        assert len(found) == len(rows)
        assert list(found) == sorted(found)
        return found

    @property
    def files(self) -> dict[str, bytes]:
        """Every partition's bytes."""
        folder = self.layout.root / "processed"
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}

    def footers(self, series: Series) -> list[dict[str, Any]]:
        """What the footers of all files of a series say, with the stamps of the files."""
        read = self.storage.readable(series, self.storage.stamps(series))
        return [dataclasses.asdict(part) for part in sorted(read, key=lambda part: part.period.label)]

    def reads(self, series: Series) -> list[tuple[PartitionFacts, ...]]:
        """What a reader without a catalog knows of the partitions."""
        return self.storage.facts([series])

    def knows(self, series: Series) -> list[tuple[PartitionFacts, ...]]:
        """What a reader with the catalog knows of them."""
        catalog = functools.partial(known_partitions, self.layout)
        return StorageManager(self.layout, StorageSettings(), QualitySettings(), catalog).facts([series])

    def catalog(self, series: Series) -> list[dict[str, Any]]:
        """What the catalog says of them."""
        return [dataclasses.asdict(part) for part in self.tracker.catalog(self.layout, series)]


def expected(series: Series, archives: Iterable[Archive]) -> dict[datetime, float]:
    """The rows of archives that were stored one after another, by plain Python.

    A month has its days' rows where they are the same; a day with others stays beside it, and its own are given.
    """
    months: dict[Period, Archive] = {}
    days: dict[date, Archive] = {}
    for one in archives:
        if one.period.cadence is Cadence.MONTHLY:
            months[one.period] = one
            days = {day: other for day, other in days.items() if not _is_within(other, one)}
        else:
            month = months.get(one.period.within(Cadence.MONTHLY))
            days.pop(one.period.first, None)
            if month is None or not _is_within(one, month):
                days[one.period.first] = one
    marks = {
        moment: float(one.mark)
        for one in (*months.values(), *days.values())
        for day in one.dates
        for moment in _times(series, day)
    }
    return dict(sorted(marks.items()))


def _is_within(day: Archive, month: Archive) -> bool:
    return day.period.first in month.dates and day.mark == month.mark


def _times(series: Series, day: date) -> list[datetime]:
    column = 4 if series.dataset == "trades" else 0
    rows = [int(line.split(",")[column]) for line in _rows_of(series, day, 0)]
    return [datetime.fromtimestamp(ms / 1000, UTC) for ms in rows]
