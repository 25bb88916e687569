"""What the tests of download_all.py share: a small market, the command, and what must hold after it."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path

from factories import Command

from core.download.tracker import DownloadTracker
from core.layout import Layout
from core.sample.archive import Shelf
from core.sample.market import SampleMarket
from core.sample.server import ArchiveServer
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import Market, Series, Span
from loader import BacktestDataLoader

FIRST, LAST = date(2024, 12, 10), date(2025, 1, 25)
SHELVES = (
    *(Shelf(name, "1h") for name in ("klines", "mark_price", "index_price", "premium_index")),
    Shelf("funding_rate"),
    *(Shelf(name, days=(date(2025, 1, 23), date.max), months=None) for name in ("trades", "agg_trades")),
)
FUTURES = ("klines", "mark_price", "index_price", "premium_index", "funding_rate")


def command(server: ArchiveServer, data: Path, *options: str) -> Command:
    return Command("scripts/download_all.py", ["--source", server.url, "--data-dir", str(data), "--json", *options])


def zip_hits(server: ArchiveServer) -> dict[str, int]:
    return {name: count for name, count in server.hits.items() if name.endswith(".zip")}


def assert_loads_the_truth(data: Path, market: SampleMarket, name: str = "um", symbol: str = "BTCUSDT") -> None:
    """Every frame equals what the market knows, cell by cell."""
    with BacktestDataLoader(data_dir=data) as loader:
        frames = loader.load_data([symbol], FIRST, LAST, list(FUTURES), market=name)
    for kind in FUTURES:
        interval = None if kind == "funding_rate" else "1h"
        pair = symbol.removesuffix("_PERP") if kind == "index_price" else symbol
        truth = market.truth(Series(Market(name), kind, pair, interval), Span.of_days(FIRST, LAST)).to_pandas()
        if kind == "funding_rate":
            truth = truth[truth.timestamp < "2025-01-01"]  # published by the month, and January is still open
        assert len(truth) > 50
        for column in frames[kind].columns.drop("symbol"):
            assert frames[kind][column].tolist() == truth[column].tolist(), (kind, column)


def assert_catalog_is_the_footers(data: Path) -> None:
    """The catalog says of every file what its footer says, all of it, and nothing of any other."""
    layout = Layout(data)
    storage = StorageManager(layout, StorageSettings(), QualitySettings())
    read = [part for one in storage.series() for part in storage.readable(one, storage.stamps(one))]
    footers = {part.path: asdict(part) for part in read}
    with DownloadTracker(layout.database) as tracker:
        entered = {part.path: asdict(part) for part in tracker.catalog(layout)}
    assert len(footers) > 3
    assert entered == footers


def assert_nothing_half_written(data: Path) -> None:
    odd = (".tmp", ".part", ".part@", ".disputed")
    left = [path for path in data.rglob("*") if path.is_file() and any(each in path.name for each in odd)]
    assert left == []


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
