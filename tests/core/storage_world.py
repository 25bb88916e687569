"""A data folder of our own making for the tests of storage: archives as text, stored for real."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from factories import ROOT, zip_bytes

from core.errors import MalformedArchive
from core.exchanges.binance.urls import key_of
from core.layout import Layout
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import ArchiveFile, FetchedFile, Market, Partition, Period, Proof, Series

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
import os, random, resource, signal, sys
sys.path[:0] = ["tests", "tests/core"]
from pathlib import Path
from storage_world import JANUARY, KLINES, TRADES, World, lines, random_trades, trade_line
world = World(Path(sys.argv[1]))
{body}
"""


def run_child(folder: Path, body: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", RUN.format(body=body), str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def random_trades(count: int) -> bytes:
    chance = random.Random(5)
    return lines([trade_line(n, f"{chance.randrange(10**9)}.{n % 10}") for n in range(count)])
