"""The stored world that `loader.py` reads: a year of hourly data of many symbols, and a month of trades of one.

    python benchmarks/loader_input.py --dir /dev/shm/tapevault-loader-world [--symbols 500] [--trades 30000000]

`DIR/data` is a data folder as a download leaves it: partitions written by storage's own writer, with the footers that
monthly archives give them, and a status database whose catalog lists them. The rows are invented, the same ones for
the same options. `DIR/world.json` is written last; a world that has it, for the same options, is used again.

Prices are random walks rounded to a tick. Of a hundred symbols 18 are listed or delisted within the year; each lacks a
few hours of all kinds, and one in ten series of prices some of its own. Funding is settled every 8 hours and stamped 0
to 14 ms late. Trades lie in a partition a day; the prototype's 30 million in 31 days have 40,000 in an hour.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from convert_input import _tape  # noqa: E402

from core.datasets import DATASETS  # noqa: E402
from core.dates import DAY_US, HOUR_US  # noqa: E402
from core.download.tracker import DownloadTracker  # noqa: E402
from core.exchanges.binance.urls import key_of  # noqa: E402
from core.layout import Layout  # noqa: E402
from core.sample.values import Bools, Columns, Decimals, Ints, random_stream  # noqa: E402
from core.settings import StorageSettings  # noqa: E402
from core.storage.footer import WRITER, facts_of  # noqa: E402
from core.storage.output import Output  # noqa: E402
from core.storage.schema import schema_of  # noqa: E402
from core.types import Market, Partition, Period, Proof, Series, Source  # noqa: E402

YEAR: Final = Period.parse("2023")
MONTHS: Final = tuple(Period.month(2023, month) for month in range(1, 13))
MONTH_OF_TRADES: Final = Period.parse("2023-08")
TRADED: Final = "BTCUSDT"
"""The symbol that has trades."""
KINDS: Final = ("klines", "mark_price", "index_price", "premium_index", "funding_rate")
PRICES: Final = KINDS[1:4]
LATE_OR_GONE: Final = 0.18
"""The share of symbols that are listed or delisted within the year, one half each."""
DEFAULT: Final = Path("/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir()) / "tapevault-loader-world"
_UNFINISHED: Final = "unfinished"
_VERSION: Final = 1
"""Raised when the same options give other rows."""
_HOURS: Final = np.arange(YEAR.span.start_us, YEAR.span.end_us, HOUR_US)
_SETTLES_US: Final = 8 * HOUR_US


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; `days` share the trades."""

    symbols: int = 500
    trades: int = 30_000_000
    days: int = 31


@dataclass(frozen=True, slots=True)
class World:
    """A finished world: `peers` is where others keep the same rows in their own form."""

    folder: Path
    size: Size

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def peers(self) -> Path:
        return self.folder / "peers"

    @property
    def symbols(self) -> list[str]:
        return [f"S{number:04d}USDT" for number in range(self.size.symbols)]

    @property
    def whole(self) -> list[str]:
        """The symbols that were traded all year."""
        late, gone = _changing(self.size.symbols)
        return [symbol for number, symbol in enumerate(self.symbols) if number not in late | gone]

    @property
    def trade_days(self) -> list[Period]:
        return _trade_days(self.size.days)

    def file(self, kind: str, symbol: str) -> Path:
        """The partition of a symbol's year."""
        return Layout(self.data).processed(series_of(kind, symbol), YEAR)

    def trade_file(self, day: Period) -> Path:
        return Layout(self.data).processed(series_of("trades", TRADED), day)


def series_of(kind: str, symbol: str) -> Series:
    dataset = DATASETS[kind]
    return Series(Market.UM, kind, dataset.directory(symbol), "1h" if dataset.has_interval else None)


def made(folder: Path, size: Size) -> World:
    """The world in that folder, made if it is not there."""
    world, marker = World(folder, size), folder / "world.json"
    wanted = json.dumps({"version": _VERSION, **asdict(size)})
    if marker.is_file():
        if marker.read_text() != wanted:
            raise SystemExit(f"{folder} holds another world, {marker.read_text()}; remove it or name another --dir")
        return world
    _clear(folder)
    began = time.perf_counter()
    with DownloadTracker(Layout(world.data).database) as tracker:
        partitions = [*_candles(world), *_trades(world)]
        tracker.enter(partitions)
    marker.write_text(wanted)
    (folder / _UNFINISHED).unlink()
    rows = sum(partition.rows for partition in partitions)
    print(
        f"{len(partitions):,} partitions, {rows:,} rows, made in {time.perf_counter() - began:.0f} s", file=sys.stderr
    )
    return world


def twin(world: World, name: str) -> Path:
    """A data folder of its own with the same partitions, as links, and the same catalog."""
    folder = world.folder / name
    if not folder.is_dir():
        draft = folder.with_name(f"{name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(world.data / "processed", draft / "processed", copy_function=os.link)
        shutil.copytree(world.data / "metadata", draft / "metadata")
        draft.rename(folder)
    return folder


def _clear(folder: Path) -> None:
    """Remove a world that was not finished, and nothing that was not made here."""
    mark = folder / _UNFINISHED
    if folder.is_dir() and any(folder.iterdir()):
        if not mark.exists():
            raise SystemExit(f"{folder} holds something else; name another --dir")
        shutil.rmtree(folder / "data", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()
    (folder / "data" / "metadata").mkdir(parents=True)


def _candles(world: World) -> Iterator[Partition]:
    late, gone = _changing(world.size.symbols)
    for number, symbol in enumerate(world.symbols):
        for kind, columns in _year_of(symbol, number in late, number in gone).items():
            yield _write(world, series_of(kind, symbol), YEAR, columns, MONTHS)


def _changing(symbols: int) -> tuple[set[int], set[int]]:
    """The numbers of symbols that are listed, and of those that are delisted within the year; never the first."""
    order = 1 + random_stream(0, "loader", "listings").permutation(max(symbols - 1, 0))
    each = round(symbols * LATE_OR_GONE / 2)
    return set(order[:each].tolist()), set(order[each : 2 * each].tolist())


def _year_of(symbol: str, is_late: bool, is_gone: bool) -> dict[str, Columns]:
    """Every kind of data of one symbol."""
    draw = random_stream(0, "loader", symbol)
    change = int(draw.integers(500, len(_HOURS) - 500))
    listed, delisted = (change if is_late else 0), (change if is_gone else len(_HOURS))
    here = np.zeros(len(_HOURS), np.bool_)
    here[listed:delisted] = True
    here &= _without_gaps(draw, gaps=int(draw.integers(1, 4)))
    places = int(draw.integers(1, 7))
    level = draw.integers(10_000, 400_000)
    walk = np.exp(np.cumsum(draw.normal(0, 0.004, len(_HOURS) + 1))) * level
    ticks = np.maximum(walk.round().astype(np.int64), 100)
    found = {"klines": _klines(draw, ticks, places)}
    for kind in PRICES:
        found[kind] = _prices(draw, kind, ticks, places)
    kept = {kind: here & _without_gaps(draw, gaps=int(draw.random() < 0.1)) for kind in PRICES} | {"klines": here}
    cut = {kind: {name: values[kept[kind]] for name, values in columns.items()} for kind, columns in found.items()}
    return {**cut, "funding_rate": _funding(draw, int(_HOURS[listed]), int(_HOURS[delisted - 1]))}


def _without_gaps(draw: np.random.Generator, gaps: int) -> Bools:
    """The hours that are left of a year with so many gaps of up to six."""
    kept = np.ones(len(_HOURS), np.bool_)
    for start in draw.integers(24, len(_HOURS) - 24, gaps).tolist():
        kept[start : start + int(draw.integers(1, 7))] = False
    return kept


def _klines(draw: np.random.Generator, ticks: Ints, places: int) -> Columns:
    count = len(_HOURS)
    opens, closes = ticks[:-1], ticks[1:]
    above, below = np.abs(draw.normal(0, 0.002, (2, count)) * opens).astype(np.int64)
    low = np.maximum(np.minimum(opens, closes) - below, 1)
    volume = np.exp(draw.normal(13, 1.2, count)).astype(np.int64) + 1  # thousandths of a coin
    taken = volume * draw.integers(300, 700, count) // 1000
    mean = (opens + closes) // 2
    return {
        "timestamp": _HOURS,
        "open": Decimals(opens, places),
        "high": Decimals(np.maximum(opens, closes) + above, places),
        "low": Decimals(low, places),
        "close": Decimals(closes, places),
        "volume": Decimals(volume, 3),
        "close_time": _HOURS + HOUR_US - 1000,
        "quote_volume": Decimals(volume * mean, places + 3),
        "trades": volume // draw.integers(50, 500, count) + 1,
        "taker_buy_base": Decimals(taken, 3),
        "taker_buy_quote": Decimals(taken * mean, places + 3),
    }


def _prices(draw: np.random.Generator, kind: str, ticks: Ints, places: int) -> Columns:
    """Values with eight decimals: those of mark and index beside the traded price, those of the premium around 0."""
    count = len(_HOURS)
    premium = draw.normal(0, 30_000, count + 1).astype(np.int64)  # 1e-8
    middle = premium if kind == "premium_index" else ticks * 10 ** (8 - places) + ticks * (premium // 1000)
    above, below = np.abs(draw.normal(0, 20_000, (2, count))).astype(np.int64)
    opens, closes = middle[:-1], middle[1:]
    return {
        "timestamp": _HOURS,
        "open": Decimals(opens, 8),
        "high": Decimals(np.maximum(opens, closes) + above, 8),
        "low": Decimals(np.minimum(opens, closes) - below, 8),
        "close": Decimals(closes, 8),
        "close_time": _HOURS + HOUR_US - 1000,
    }


def _funding(draw: np.random.Generator, first_us: int, last_us: int) -> Columns:
    times = np.arange(-(-first_us // _SETTLES_US) * _SETTLES_US, last_us + 1, _SETTLES_US)
    return {
        "timestamp": times + draw.integers(0, 15, len(times)) * 1000,
        "funding_interval_hours": np.full(len(times), 8),
        "funding_rate": Decimals(10_000 + draw.normal(0, 8_000, len(times)).astype(np.int64), 8),
    }


def _trade_days(days: int) -> list[Period]:
    first = MONTH_OF_TRADES.span.start_us
    return [Period.day(np.datetime64(first // DAY_US + day, "D").item()) for day in range(days)]


def _trades(world: World) -> Iterator[Partition]:
    """The trades of a month, a partition for each of its days."""
    series, days = series_of("trades", TRADED), world.trade_days
    ends = [day.span.end_us for day in days]
    held: list[Columns] = []
    for chunk in _month_of_trades(world.size):
        times = chunk["timestamp"]
        assert not isinstance(times, Decimals)
        while len(times) and int(times[-1].item()) >= ends[0]:
            cut = int(np.searchsorted(times.astype(np.int64), ends[0]))
            held.append({name: values[:cut] for name, values in chunk.items()})
            yield _write(world, series, days.pop(0), _joined(held), [MONTH_OF_TRADES])
            chunk = {name: values[cut:] for name, values in chunk.items()}
            times, held = times[cut:], []
            del ends[0]
        held.append(chunk)
    yield _write(world, series, days.pop(0), _joined(held), [MONTH_OF_TRADES])


def _month_of_trades(size: Size) -> Iterator[Columns]:
    """Trades as `convert.py` has them, in as many days as are wanted."""
    days = _trade_days(size.days)
    whole = (MONTH_OF_TRADES.span.end_us - MONTH_OF_TRADES.span.start_us) // DAY_US
    start_us, end_us = days[0].span.start_us, days[-1].span.end_us
    for columns in _tape(size.trades, Market.UM, MONTH_OF_TRADES):
        times = columns.pop("time")
        assert not isinstance(times, Decimals)
        squeezed = start_us + (times.astype(np.int64) - start_us) * size.days // whole // 1000 * 1000
        yield {"timestamp": np.minimum(squeezed, end_us - 1000), **columns}


def _joined(parts: Iterable[Columns]) -> Columns:
    pieces = list(parts)
    whole: Columns = {}
    for name, first in pieces[0].items():
        if isinstance(first, Decimals):
            units = [values.units for values in (piece[name] for piece in pieces) if isinstance(values, Decimals)]
            whole[name] = Decimals(np.concatenate(units), first.places)
        else:
            whole[name] = np.concatenate([piece[name] for piece in pieces])
    return whole


def _write(world: World, series: Series, period: Period, columns: Columns, archives: Iterable[Period]) -> Partition:
    """The partition of these rows, as if they had come in these archives."""
    schema = schema_of(DATASETS[series.dataset], series.market)
    arrays = {name: _array(columns[name]) for name in schema.names}
    batch = pa.record_batch([arrays[field.name].cast(field.type) for field in schema], schema=schema)
    times = batch.column("timestamp").cast(pa.int64()).to_numpy()
    sources = tuple(_sources(series, times, archives))
    path = Layout(world.data).processed(series, period)
    with Output("parquet", path, series, StorageSettings().row_group_rows) as output:
        output.write(batch)
        output.finish(facts_of(series, period, sources))
        output.publish()
    return Partition(series, period, path, sources, WRITER, output.stamp)


def _sources(series: Series, times: Ints, archives: Iterable[Period]) -> Iterator[Source]:
    for archive in archives:
        first, end = np.searchsorted(times, [archive.span.start_us, archive.span.end_us]).tolist()
        if first < end:
            key = key_of(series, archive)
            digest = hashlib.sha256(key.encode()).hexdigest()
            extent = (end - first, int(times[first]), int(times[end - 1]))
            yield Source(key, archive, digest, Proof.SHA256_BY_ETAG, "ms", *extent)


def _array(values: object) -> pa.Array:
    return pa.array(values.floats() if isinstance(values, Decimals) else values)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where a world lies and how large it is."""
    size = Size()
    parser.add_argument("--dir", type=Path, default=DEFAULT, help=f"where the world is kept (default: {DEFAULT})")
    parser.add_argument("--symbols", type=int, default=size.symbols, help=f"with a year each (default {size.symbols})")
    parser.add_argument("--trades", type=int, default=size.trades, help=f"of one symbol (default {size.trades:,})")
    parser.add_argument("--days", type=int, default=size.days, help=f"that share the trades (default {size.days})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    options = parser.parse_args()
    made(options.dir.absolute(), Size(options.symbols, options.trades, options.days))


if __name__ == "__main__":
    main()
