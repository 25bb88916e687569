"""The sample market laid out as the exchange lays out its public archive.

folder/
  .sample.json                                              which market this is, and whether it is whole
  data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip
  data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip.CHECKSUM
  data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2025-02-17.zip
"""

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from core.datasets import DATASETS
from core.dates import day_of
from core.errors import ConfigError
from core.layout import stem
from core.sample.csv_text import csv_bytes
from core.sample.market import SampleMarket, times_of
from core.sample.quirks import as_published
from core.types import Cadence, Market, Period, Series, Span

STAMP = ".sample.json"
VERSION = 2
"""Raised when the same market would be written as other bytes."""

_PUBLISHED = {Cadence.DAILY: time(8, 35), Cadence.MONTHLY: time(8, 6)}


_ALWAYS = (date.min, date.max)


@dataclass(frozen=True, slots=True)
class Shelf:
    """Which files of one kind are published: the months and the days that begin in `months` and `days` (both ends
    included), and the first day of each series. None: no such files. `symbols`
    limits it to some, each as `um/BTCUSDT`."""

    dataset: str
    interval: str | None = None
    months: tuple[date, date] | None = _ALWAYS
    days: tuple[date, date] | None = _ALWAYS
    symbols: tuple[str, ...] = ()

    def series(self, market: SampleMarket) -> Iterator[Series]:
        for each in market.series(self.dataset, self.interval):
            if not self.symbols or f"{each.market}/{each.symbol}" in self.symbols:
                yield each


def whole_archive(interval: str = "1h") -> tuple[Shelf, ...]:
    """Every month and every day of all datasets, candles at one interval: for small markets."""
    return tuple(Shelf(name, interval if kind.has_interval else None) for name, kind in DATASETS.items())


_RECENT = (date(2025, 1, 25), date.max)
_LAST_DAYS = (date(2025, 2, 15), date.max)
_JANUARY = (date(2025, 1, 1), date(2025, 1, 31))

DEMO_SHELVES = (
    *(Shelf(name, "1h", days=_RECENT) for name, kind in DATASETS.items() if kind.has_interval),
    Shelf("funding_rate"),
    Shelf("klines", "1m", months=None, days=_LAST_DAYS, symbols=("um/BTCUSDT", "spot/BTCUSDT")),
    *(Shelf(name, months=None, days=_LAST_DAYS) for name in ("trades", "agg_trades")),
    *(Shelf(name, months=None, days=_LAST_DAYS) for name in ("metrics", "book_ticker", "liquidation_snapshot")),
    Shelf("book_depth", months=None, days=_LAST_DAYS, symbols=("um/BTCUSDT", "um/ETHUSDT", "cm/BTCUSD_PERP")),
    *(Shelf(name, months=_JANUARY, days=None, symbols=("um/SOLUSDT",)) for name in ("trades", "agg_trades")),
)
"""The demo's files: every hourly month; the days since a week before February, the month that is still open; three busy
days of trades, minutes, open interest, the book and liquidations; one month of trades. The exchange itself keeps every
day; here the months stand for them."""


@dataclass(frozen=True, slots=True)
class ArchiveCounts:
    """What lies in the folder: zips, rows in them and bytes of zips. `is_new` is False if it lay there before."""

    zips: int
    rows: int
    size_bytes: int
    is_new: bool


def write_archive(market: SampleMarket, folder: Path, shelves: tuple[Shelf, ...]) -> ArchiveCounts:
    """Publish a market in `folder`: equal markets and shelves give equal bytes.

    A folder that is whole is left alone, and a market with a later last day adds to it. Raises ConfigError if the
    folder holds something else.
    """
    print_of = _fingerprint(market, shelves)
    stamp = _read_stamp(folder, market.seed)
    if stamp.get("fingerprint") == print_of and "zips" in stamp:
        return ArchiveCounts(stamp["zips"], stamp["rows"], stamp["size_bytes"], is_new=False)
    _write_stamp(folder, {"seed": market.seed})
    zips = rows = size_bytes = 0
    for series, period in files_of(market, shelves):
        count, size = _publish(market, series, period, folder)
        zips, rows, size_bytes = zips + (count > 0), rows + count, size_bytes + size
    sums = {"zips": zips, "rows": rows, "size_bytes": size_bytes}
    _write_stamp(folder, {"seed": market.seed, "fingerprint": print_of} | sums)
    return ArchiveCounts(zips, rows, size_bytes, is_new=True)


def files_of(market: SampleMarket, shelves: tuple[Shelf, ...]) -> Iterator[tuple[Series, Period]]:
    """The files to publish, symbol by symbol."""
    wanted = [(series, shelf) for shelf in shelves for series in shelf.series(market)]
    for series, shelf in sorted(wanted, key=lambda pair: (pair[0].market, pair[0].symbol)):
        life = market.life(series)
        cadences = DATASETS[series.dataset].cadences
        if life is None:
            continue
        if shelf.months and Cadence.MONTHLY in cadences:
            yield from ((series, period) for period in _months(shelf.months, life, market.last))
        if shelf.days and Cadence.DAILY in cadences:
            yield from ((series, period) for period in _days(shelf.days, life))


def _months(wanted: tuple[date, date], life: Span, last: date) -> Iterator[Period]:
    """The whole, finished months of a life, its first and last part included."""
    month = Period.month(day_of(life.start_us).year, day_of(life.start_us).month)
    while month.span.start_us < life.end_us and month.last <= last:
        if wanted[0] <= month.first <= wanted[1]:
            yield month
        after = month.last + timedelta(days=1)
        month = Period.month(after.year, after.month)


def _days(wanted: tuple[date, date], life: Span) -> Iterator[Period]:
    first, last = day_of(life.start_us), day_of(life.end_us - 1)
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        if number == 0 or wanted[0] <= day <= wanted[1]:
            yield Period.day(day)


def key_of(series: Series, period: Period) -> str:
    """The key of an archive in the bucket."""
    folder = [series.market.archive_path, period.cadence, DATASETS[series.dataset].remote, series.symbol]
    return "/".join(["data", *folder, *([series.interval] if series.interval else []), f"{stem(series, period)}.zip"])


def _publish(market: SampleMarket, series: Series, period: Period, folder: Path) -> tuple[int, int]:
    """Write one archive and its checksum; rows and bytes. A period without rows has no file: 0, 0."""
    rows = as_published(market.seed, series, period, market.file_rows(series, period))
    count = len(times_of(series, rows))
    if not count:
        return 0, 0
    published = published_at(period)
    content = zipped(f"{stem(series, period)}.csv", csv_bytes(series, period, rows), published)
    target = folder / key_of(series, period)
    put_file(target, content, published)
    put_file(sidecar_of(target), checksum_line(series, target.name, content), published)
    return count, len(content)


def sidecar_of(path: Path) -> Path:
    """Where the checksum of an archive lies."""
    return path.with_name(f"{path.name}.CHECKSUM")


def checksum_line(series: Series, name: str, content: bytes) -> bytes:
    """What a `.CHECKSUM` says: the exchange ends the line in futures and does not in spot."""
    end = "" if series.market is Market.SPOT else "\n"
    return f"{sha256(content).hexdigest()}  {name}{end}".encode()


def published_at(period: Period) -> datetime:
    """When the file of a period appears."""
    return datetime.combine(period.last + timedelta(days=1), _PUBLISHED[period.cadence], UTC)


def zipped(member: str, content: bytes, written: datetime) -> bytes:
    """One deflated member whose date is that of publication, so that equal rows are equal bytes."""
    info = zipfile.ZipInfo(member, written.timetuple()[:6])
    info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, content)
    return buffer.getvalue()


def put_file(target: Path, content: bytes, modified: datetime) -> None:
    """Write a file that is dated before it takes its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.write_bytes(content)
    os.utime(temporary, (modified.timestamp(), modified.timestamp()))
    temporary.replace(target)


def _fingerprint(market: SampleMarket, shelves: tuple[Shelf, ...]) -> str:
    return sha256(repr((VERSION, market, shelves)).encode()).hexdigest()


def _read_stamp(folder: Path, seed: int) -> dict[str, Any]:
    """What the folder says that it holds; empty for a new folder."""
    try:
        stamp: dict[str, Any] = json.loads((folder / STAMP).read_text())
    except FileNotFoundError:
        if (folder / "data").exists():
            raise ConfigError(f"{folder} holds other files; give the sample a folder of its own") from None
        return {}
    except ValueError:
        raise ConfigError(f"{folder / STAMP} is damaged; remove {folder} or choose another folder") from None
    if (stamp["seed"], stamp["version"]) != (seed, VERSION):
        raise ConfigError(f"{folder} holds the sample of seed {stamp['seed']}; remove it or choose another folder")
    return stamp


def _write_stamp(folder: Path, stamp: dict[str, Any]) -> None:
    put_file(folder / STAMP, json.dumps({"version": VERSION} | stamp).encode(), datetime.now(UTC))
