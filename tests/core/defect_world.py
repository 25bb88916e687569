"""A small sample archive into which one defect at a time is planted, and the plain look at what has changed."""

import csv
import hashlib
import io
import os
import shutil
import zipfile
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from core.sample.archive import Shelf, key_of, whole_archive, write_archive
from core.sample.defects.plan import Plan, Planted
from core.sample.defects.planting import plant
from core.sample.instruments import Instrument, moment
from core.sample.market import SampleMarket
from core.types import Market, Period, Series, Span

UM, CM, SPOT = Market.UM, Market.CM, Market.SPOT
HALT = Span(moment("2025-01-15 04:00"), moment("2025-01-15 08:45"))
NOON = moment("2024-12-28 12:31")
GONE = moment("2025-01-20 09:00")
MARKET = SampleMarket(
    7,
    (
        Instrument(
            UM, "BTCUSDT", "BTC", 95000.0, 1, 3, 60, 12, moment("2024-12-28"), depth_seconds=1800, halts=(HALT,)
        ),
        Instrument(UM, "币安人生USDT", "币安人生", 0.21, 5, 0, 4000, 6, NOON, GONE, depth_seconds=1800),
        Instrument(SPOT, "ETHUSDT", "ETH", 3400.0, 2, 4, 6000, 12, NOON, halts=(HALT,)),
        Instrument(CM, "ETHUSD_PERP", "ETH", 3400.0, 2, 0, 150, 4, NOON, contract_usd=10, depth_seconds=1800),
    ),
    date(2024, 12, 28),
    date(2025, 2, 4),
)
"""Four symbols over five weeks: listings at noon, a delisting, a halt, spot's change to microseconds, a whole month."""
SHELVES = (*whole_archive(), Shelf("klines", "1m", symbols=("um/BTCUSDT",)))

KLINES = Series(UM, "klines", "BTCUSDT", "1h")
SPOT_KLINES = Series(SPOT, "klines", "ETHUSDT", "1h")
CM_KLINES = Series(CM, "klines", "ETHUSD_PERP", "1h")
TRADES = Series(UM, "trades", "BTCUSDT")
AGG_TRADES = Series(UM, "agg_trades", "BTCUSDT")
SPOT_AGG_TRADES = Series(SPOT, "agg_trades", "ETHUSDT")
MARK = Series(UM, "mark_price", "BTCUSDT", "1h")
METRICS = Series(UM, "metrics", "BTCUSDT")
BOOK = Series(UM, "book_depth", "BTCUSDT")
FUNDING = Series(UM, "funding_rate", "BTCUSDT")
LIFE = Series(UM, "klines", "币安人生USDT", "1h")

Files = dict[str, tuple[bytes, int]]


@dataclass(frozen=True)
class File:
    """One archive, read by csv and zipfile: its header, if any, and its rows as text."""

    header: list[str] | None
    rows: list[list[str]]

    def column(self, place: int) -> list[str]:
        return [row[place] for row in self.rows]


def parsed(content: bytes) -> File:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (member,) = archive.infolist()
        rows = list(csv.reader(io.StringIO(archive.read(member).decode())))
    has_header = rows[0][0][:1].isalpha()
    return File(rows[0] if has_header else None, rows[1:] if has_header else rows)


_READ: dict[int, tuple[bytes, int]] = {}
"""The files of archives that others are links to, by inode."""


def files_in(folder: Path) -> Files:
    """Every file below `data`, earlier versions too: its bytes and when it was modified."""
    paths = (path for path in sorted((folder / "data").rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): _content(path) for path in paths}


def _content(path: Path) -> tuple[bytes, int]:
    stat = path.stat()
    known = _READ.get(stat.st_ino)
    return known if known and known[1] == stat.st_mtime_ns else (path.read_bytes(), stat.st_mtime_ns)


@dataclass(frozen=True)
class World:
    """The archive before and after."""

    folder: Path
    before: Files
    after: Files
    planted: Planted

    @property
    def changed(self) -> set[str]:
        """Keys whose bytes or dates are not what they were, those that are gone or new included."""
        keys = self.before.keys() | self.after.keys()
        return {key for key in keys if self.before.get(key) != self.after.get(key)}

    def old(self, series: Series, label: str) -> File:
        return parsed(self.before[key(series, label)][0])

    def new(self, series: Series, label: str) -> File:
        return parsed(self.after[key(series, label)][0])


def key(series: Series, label: str) -> str:
    return key_of(series, Period.parse(label))


def both(series: Series, *labels: str) -> set[str]:
    """The keys of archives and of their checksums."""
    return {name for label in labels for name in (key(series, label), f"{key(series, label)}.CHECKSUM")}


@cache
def _whole(folder: Path) -> Files:
    write_archive(MARKET, folder, SHELVES)
    files = files_in(folder)
    _READ.update({(folder / name).stat().st_ino: file for name, file in files.items()})
    return files


def assert_untouched(pristine: Path) -> None:
    """The archive that all others were links to is what it was: links were replaced and never written through."""
    whole = _whole(pristine)
    for name, (content, modified) in whole.items():
        assert ((pristine / name).read_bytes(), (pristine / name).stat().st_mtime_ns) == (content, modified)
    for name in whole:
        del _READ[(pristine / name).stat().st_ino]


def planted_in(pristine: Path, folder: Path, defect: str, series: Series, label: str, seed: int = 0) -> World:
    """Plant into a copy of the archive. What every defect has to keep: it says which files it changed, all others are
    the same to the byte, equal plans give equal bytes, and archives agree with their checksums."""
    before = _whole(pristine)
    shutil.copytree(pristine, folder, copy_function=os.link, dirs_exist_ok=True)
    plan = Plan(defect, series, Period.parse(label), seed)
    (planted,) = plant(MARKET, folder, [plan])
    world = World(folder, before, files_in(folder), planted)
    assert {name for name in world.changed if "/." not in name} == set(planted.files)
    if seed == 0:
        again = folder.with_name(f"{folder.name}-again")
        shutil.copytree(pristine, again, copy_function=os.link)
        assert plant(MARKET, again, [plan]) == (planted,)
        assert files_in(again) == world.after
    for name in planted.files:
        if name.endswith(".zip") and f"{name}.CHECKSUM" in world.after and defect != "D23":
            digest, _, said = world.after[f"{name}.CHECKSUM"][0].decode().partition("  ")
            assert (digest, said.strip()) == (hashlib.sha256(world.after[name][0]).hexdigest(), name.rpartition("/")[2])
    return world


def us(text: str) -> int:
    """Microseconds of a time as an archive writes it."""
    return int(text) * (1 if int(text) >= 10**14 else 1000)
