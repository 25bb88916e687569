"""Where things lie under the data root. A path is a pure function of series and period.

data/
  raw/um/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip                 archives as published
  extracted/um/funding_rate/BTCUSDT/BTCUSDT-fundingRate-2024-01.csv    rows as CSV, where settings ask for it
  processed/um/klines/BTCUSDT/1h/BTCUSDT-1h-2023.parquet          rows as Parquet: the monthly archives of a year,
  processed/um/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.parquet       the daily archives of a month,
  processed/um/trades/BTCUSDT/BTCUSDT-trades-2024-01-31.parquet   of trades each day,
  processed/um/trades/BTCUSDT/BTCUSDT-trades-2023.parquet         or merged ones: a month or year
  processed/bars/dollar-40000000/um/trades/BTCUSDT/BTCUSDT-2024-01.parquet    bars of the trades of a month
  cache/cross_sections/um/klines/1h/2024-01.parquet               all symbols by time; may be deleted at any time
  quarantine/um/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.csv          lines that were set aside, with their faults
  metadata/download_status.db, symbols_info.json, locks/
  metadata/live/desk-4711.json                                    how far a run is, by host and process
  logs/
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.datasets import DATASETS
from core.errors import storage_error
from core.types import Cadence, Market, Period, Series

SYMBOL = re.compile(r"\w{1,40}")
"""What a symbol may look like: letters of any script, digits, underscores. No dots or slashes, so that a name that
comes from outside can never leave its folder."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths under one data root."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "metadata" / "download_status.db"

    @property
    def rebuilt_database(self) -> Path:
        """A status database in the making."""
        return self.database.with_name("download_status.rebuilt.db")

    @property
    def symbols_info(self) -> Path:
        return self.root / "metadata" / "symbols_info.json"

    @property
    def live(self) -> Path:
        """Where runs say how far they are."""
        return self.root / "metadata" / "live"

    def lock(self, series: Series) -> Path:
        """Held by whoever writes partitions of a series."""
        return self.root / "metadata" / "locks" / f"{str(series).replace('/', '-')}.lock"

    def command_lock(self, command: str) -> Path:
        """Held by the one process that does this."""
        return self.root / "metadata" / "locks" / f"{command}.lock"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def raw(self, series: Series, period: Period) -> Path:
        """The archive as published."""
        return _folder(self.root, "raw", series) / f"{stem(series, period)}.zip"

    def archived(self, series: Series) -> frozenset[str]:
        """The names that lie in the folder of a series in `raw/`. Raises StorageError if it cannot be read."""
        folder = _folder(self.root, "raw", series)
        try:
            return frozenset(entry.name for entry in os.scandir(folder))
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            raise storage_error(error, folder) from error

    def archives(self) -> Iterator[tuple[Series, Period]]:
        """What lies in `raw/` under a name that is ours."""
        for path in sorted((self.root / "raw").rglob("*.zip")):
            market, name, symbol, *rest = path.relative_to(self.root / "raw").parts[:-1] + ("",) * 3
            interval = rest[0] or None
            if market in set(Market) and name in DATASETS and SYMBOL.fullmatch(symbol):
                series = Series(Market(market), name, symbol, interval)
                period = period_in(path.stem, series)
                if period is not None and self.raw(series, period) == path:
                    yield series, period

    def extracted(self, series: Series, period: Period, suffix: str) -> Path:
        """The rows in a text format."""
        return _folder(self.root, "extracted", series) / f"{stem(series, period)}{suffix}"

    def quarantine(self, series: Series, period: Period) -> Path:
        """Lines of an archive that are no rows, with their numbers and faults."""
        return _folder(self.root, "quarantine", series) / f"{stem(series, period)}.csv"

    def processed(self, series: Series, period: Period) -> Path:
        """The partition of that period, as Parquet."""
        return self.processed_folder(series) / f"{stem(series, period)}.parquet"

    @property
    def cross_sections(self) -> Path:
        return self.root / "cache" / "cross_sections"

    def cross_section(self, like: Series, period: Period) -> Path:
        """The rows of all symbols of a market, data type and interval in that period."""
        folder = self.cross_sections / like.market.value / like.dataset / (like.interval or "")
        return folder / f"{period.label}.parquet"

    def bars_folder(self, spec: str, series: Series) -> Path:
        """Where the bars of a spec made of a series of trades lie."""
        return self.root / "processed" / "bars" / spec / series.market.value / series.dataset / series.symbol

    def bars(self, spec: str, series: Series, month: Period) -> Path:
        """The bars that the trades of a month close."""
        return self.bars_folder(spec, series) / f"{series.symbol}-{month.label}.parquet"

    def processed_folder(self, series: Series) -> Path:
        return _folder(self.root, "processed", series)


def stem(series: Series, period: Period) -> str:
    """The exchange's own file name without its ending: `BTCUSDT-1h-2024-01`, `BTCUSDT-trades-2024-01-31`."""
    return f"{series.symbol}-{_middle(series)}-{period.label}"


def period_in(stem_text: str, series: Series) -> Period | None:
    """The period of a file of `series` by its stem; None if the file is not one of ours."""
    prefix = f"{series.symbol}-{_middle(series)}-"
    if not stem_text.startswith(prefix):
        return None
    try:
        period = Period.parse(stem_text[len(prefix) :])
    except ValueError:
        return None
    return period if stem(series, period) == stem_text else None


def period_in_bars(name: str, series: Series) -> Period | None:
    """The month of a file of bars by its name; None if it is not one of ours."""
    label = name.removeprefix(f"{series.symbol}-").removesuffix(".parquet")
    try:
        period = Period.parse(label)
    except ValueError:
        return None
    is_ours = period.cadence is Cadence.MONTHLY and name == f"{series.symbol}-{label}.parquet"
    return period if is_ours else None


def home_of(series: Series, period: Period) -> Period:
    """The period of the partition that holds the rows of an archive; the archive's own where it is split into days."""
    closed, opened = cadences_of(series)
    home = period.within(opened if period.cadence is Cadence.DAILY else closed)
    return home if home.contains(period) else period


def cadences_of(series: Series) -> tuple[Cadence, Cadence]:
    """How much time the partitions of a series cover: those of monthly archives, and those of daily ones.

    Candles of a second are so many that theirs are a step shorter.
    """
    dataset = DATASETS[series.dataset]
    return (Cadence.MONTHLY, Cadence.DAILY) if series.interval == "1s" else (dataset.closed, dataset.open)


def _middle(series: Series) -> str:
    return series.interval or DATASETS[series.dataset].remote


@lru_cache(maxsize=8192)
def _folder(root: Path, kind: str, series: Series) -> Path:
    if not SYMBOL.fullmatch(series.symbol):
        raise ValueError(f"not a symbol: {series.symbol!r}")
    folder = root / kind / series.market.value / series.dataset / series.symbol
    return folder / series.interval if series.interval else folder


def is_there(path: Path) -> bool:
    """Whether anything lies at a path. Raises StorageError where nobody may look, as behind a closed folder."""
    try:
        return path.exists()
    except OSError as error:
        raise storage_error(error, path) from error


def is_folder(path: Path) -> bool:
    """Whether a folder lies at a path, also behind a link. Raises StorageError where nobody may look."""
    try:
        return path.is_dir()
    except OSError as error:
        raise storage_error(error, path) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each known to the one above before anything lies in it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
