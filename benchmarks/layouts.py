"""Ways to lay out the same rows in Parquet files, and what queries take on each: why partitions are as they are.

    python benchmarks/layouts.py --archives FOLDER        candles of the exchange's own archives below that folder
    python benchmarks/layouts.py --rows 20000000          trades, made as in `convert.py`

DuckDB reads, as the loader does: the files are named, one connection stays open, results become Arrow tables. In each
round every layout answers every query once, in a random order; medians. Every layout must give the same rows.
"""

import argparse
import os
import platform
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from convert_input import trades

from core.datasets import DATASETS
from core.exchanges.binance.urls import parse_key
from core.layout import Layout
from core.settings import QualitySettings, StorageSettings
from core.storage.formats.parquet import _encoding
from core.storage.manager import StorageManager
from core.types import ArchiveFile, Cadence, FetchedFile, Market, Period, Proof, Series, Span

EVER: Final = Span(0, 2**52)
NAMES: Final = 50
"""Under so many names the same candles lie, for a question about many symbols."""


@dataclass(frozen=True)
class Way:
    """One layout: how much time a file covers (None: all), rows of a row group, options of pyarrow's writer."""

    name: str
    step: Cadence | None
    group_rows: int
    options: dict[str, Any]
    hours: int = 0
    """A file covers so many hours, if this is set."""


@dataclass(frozen=True)
class Query:
    """`columns` of [start, end), of one name or of all."""

    name: str
    columns: str
    start: datetime
    end: datetime
    of_all: bool = False


@dataclass
class Files:
    """What a layout became: by name, the files with the time that each covers."""

    by_name: list[list[tuple[Path, datetime, datetime]]] = field(default_factory=list)

    def covering(self, query: Query) -> list[str]:
        names = self.by_name if query.of_all else self.by_name[:1]
        return [str(path) for files in names for path, start, end in files if start < query.end and end > query.start]

    @property
    def sizes(self) -> list[int]:
        return [path.stat().st_size for path, _, _ in self.by_name[0]]


def candle_ways(market: Market) -> list[Way]:
    ours = _encoding(DATASETS["klines"], market)
    return [
        Way("a file for each year, as stored", Cadence.YEARLY, 131_072, ours),
        Way("a file for each year, pyarrow's default", Cadence.YEARLY, 131_072, {}),
        Way(
            "a file for each year, zstd, plain",
            Cadence.YEARLY,
            131_072,
            {"compression": "zstd", "use_dictionary": False},
        ),
        Way("a file for each month, as stored", Cadence.MONTHLY, 131_072, ours),
        Way("a file for each month, pyarrow's default", Cadence.MONTHLY, 131_072, {}),
        Way("a file for each day, as stored", Cadence.DAILY, 131_072, ours),
        Way("one file, as stored", None, 131_072, ours),
    ]


def trade_ways(market: Market) -> list[Way]:
    ours = _encoding(DATASETS["trades"], market)
    split = {"compression": "zstd", "use_dictionary": False}
    split["column_encoding"] = dict.fromkeys(("price", "qty", "quote_qty"), "BYTE_STREAM_SPLIT")
    return [
        Way("groups of 128k rows, as stored", Cadence.DAILY, 131_072, ours),
        Way("groups of 32k rows, as stored", Cadence.DAILY, 32_768, ours),
        Way("groups of 1M rows, as stored", Cadence.DAILY, 1 << 20, ours),
        Way("groups of 1M rows, pyarrow's default", Cadence.DAILY, 1 << 20, {}),
        Way("groups of 1M rows, zstd", Cadence.DAILY, 1 << 20, {"compression": "zstd"}),
        Way("groups of 128k rows, floats split by byte", Cadence.DAILY, 131_072, split),
        Way("a file for each hour, as stored", Cadence.DAILY, 131_072, ours, hours=1),
    ]


def laid_out(way: Way, table: pa.Table, folder: Path, names: int) -> Files:
    """Write the rows in that way, under so many names."""
    files = Files()
    for number in range(names):
        place = folder / f"{number:03d}"
        place.mkdir(parents=True)
        found: list[tuple[Path, datetime, datetime]] = []
        for start, end in _pieces(way, table):
            part = _between(table, start, end)
            path = place / f"{start:%Y-%m-%dT%H}.parquet"
            if number:
                shutil.copyfile(files.by_name[0][len(found)][0], path)
            elif part.num_rows:
                pq.write_table(part, path, row_group_size=way.group_rows, **way.options)
            if part.num_rows:
                found.append((path, start, end))
        files.by_name.append(found)
    return files


def _pieces(way: Way, table: pa.Table) -> Iterator[tuple[datetime, datetime]]:
    first, last = (getattr(pc, kind)(table["timestamp"]).as_py() for kind in ("min", "max"))
    if way.step is None:
        yield first, last + timedelta(microseconds=1)
        return
    period = Period.day(first.date()).within(way.step)
    while period.span.start_us <= last.timestamp() * 1_000_000:
        start, end = (datetime.fromtimestamp(us / 1e6, UTC) for us in (period.span.start_us, period.span.end_us))
        step = timedelta(hours=way.hours) if way.hours else end - start
        while start < end:
            yield start, start + step
            start += step
        period = Period.day(period.last + timedelta(days=1)).within(way.step)


def _between(table: pa.Table, start: datetime, end: datetime) -> pa.Table:
    times = table["timestamp"]
    bounds = [pa.scalar(each, times.type) for each in (start, end)]
    return table.filter(pc.and_(pc.greater_equal(times, bounds[0]), pc.less(times, bounds[1])))


def answer(connection: duckdb.DuckDBPyConnection, files: Files, query: Query) -> pa.Table:
    select = (
        f"SELECT {query.columns} FROM read_parquet(?, hive_partitioning = false) WHERE timestamp >= ? AND timestamp < ?"
    )
    return connection.sql(select, params=[files.covering(query), query.start, query.end]).to_arrow_table()


def race(
    ways: Sequence[Way], queries: Sequence[Query], table: pa.Table, names: int, options: argparse.Namespace
) -> None:
    """Lay out, ask, print."""
    folder = Path(tempfile.mkdtemp(prefix="tapevault-layouts-", dir=options.dir))
    try:
        files = {way.name: laid_out(way, table, folder / str(number), names) for number, way in enumerate(ways)}
        connection = duckdb.connect(config={"threads": os.cpu_count() or 2})
        connection.execute("SET GLOBAL TimeZone = 'UTC'; SET GLOBAL parquet_metadata_cache = true")
        order = random.Random(0)  # whoever comes first pays for what the one before left in the caches
        took: dict[tuple[str, str], list[float]] = {}
        for number in range(-1, options.rounds):
            for query in queries:
                given = set()
                for way in order.sample(list(ways), len(ways)):
                    began = time.perf_counter()
                    found = answer(connection, files[way.name], query)
                    if number >= 0:
                        took.setdefault((way.name, query.name), []).append((time.perf_counter() - began) * 1000)
                    given.add((found.num_rows, *_facts(found)))
                if len(given) > 1:
                    raise SystemExit(f"the layouts do not give the same rows for {query.name}")
        print(f"{'':44}{'files':>6}{'MB':>8}{'B/row':>7}" + "".join(f"{query.name:>16}" for query in queries))
        for way in ways:
            sizes = files[way.name].sizes
            medians = [statistics.median(took[way.name, query.name]) for query in queries]
            numbers = "".join(f"{median:13.2f} ms" for median in medians)
            print(f"{way.name:44}{len(sizes):6}{sum(sizes) / 1e6:8.2f}{sum(sizes) / len(table):7.1f}{numbers}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _facts(table: pa.Table) -> Iterator[Any]:
    """What equal rows have in common, in whatever order they come."""
    for column in table.columns:
        yield pc.min(column).as_py() if len(column) else None
        yield pc.max(column).as_py() if len(column) else None


def candles_in(folder: Path) -> tuple[Series, pa.Table]:
    """The candles of the series that has most archives below a folder, through our own conversion."""
    by_series: dict[Series, list[FetchedFile]] = {}
    for path in sorted(folder.rglob("*.zip")):
        key = path.relative_to(folder).as_posix()
        parsed = parse_key(key)
        if parsed and parsed[0].dataset == "klines" and parsed[1].cadence is Cadence.MONTHLY:
            size = path.stat().st_size
            file = ArchiveFile(*parsed, key, size, "", None, "")
            by_series.setdefault(parsed[0], []).append(FetchedFile(file, path, size, "0" * 64, Proof.UNVERIFIED))
    if not by_series:
        raise SystemExit(f"{folder}: no monthly archives of candles below it")
    series, fetched = max(by_series.items(), key=lambda each: len(each[1]))
    with tempfile.TemporaryDirectory() as out:
        storage = StorageManager(Layout(Path(out)), StorageSettings(), QualitySettings())
        for year in sorted({each.file.period.first.year for each in fetched}):
            refused = storage.store([each for each in fetched if each.file.period.first.year == year]).refused
            if refused:
                raise SystemExit(str(refused))
        return series, pa.Table.from_batches(list(storage.scan(series, EVER)))


def race_candles(options: argparse.Namespace) -> None:
    series, table = candles_in(options.archives)
    print(f"\n{series}: {len(table):,} candles, as {NAMES} symbols")
    first = pc.min(table["timestamp"]).as_py().replace(day=1, hour=0)
    middle = table["timestamp"][len(table) // 2].as_py().replace(day=1, hour=0)
    year = middle.replace(month=1)
    last = pc.max(table["timestamp"]).as_py() + timedelta(hours=1)
    everything = "*"
    queries = [
        Query("all", everything, first, last),
        Query("a year", everything, year, year.replace(year=year.year + 1)),
        Query("a month", everything, middle, middle + timedelta(days=31)),
        Query("closes", "timestamp, close", first, last),
        Query(f"a year of {NAMES}", everything, year, year.replace(year=year.year + 1), of_all=True),
        Query(f"a day of {NAMES}", everything, middle, middle + timedelta(days=1), of_all=True),
    ]
    race(candle_ways(series.market), queries, table, NAMES, options)


def race_trades(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        made = trades(Path(folder), options.rows)
        table = pq.read_table(made.reference)
    print(f"\n{len(table):,} trades of a day")
    noon = datetime.fromtimestamp(made.period.span.start_us / 1e6, UTC) + timedelta(hours=12)
    queries = [
        Query("a minute", "*", noon, noon + timedelta(minutes=1)),
        Query("an hour", "*", noon, noon + timedelta(hours=1)),
        Query("VWAP of an hour", "round(sum(quote_qty) / sum(qty), 6)", noon, noon + timedelta(hours=1)),
        Query(
            "VWAP of the day",
            "round(sum(quote_qty) / sum(qty), 6)",
            noon - timedelta(hours=12),
            noon + timedelta(hours=12),
        ),
        Query("the day", "timestamp, price, qty", noon - timedelta(hours=12), noon + timedelta(hours=12)),
    ]
    race(trade_ways(Market.UM), queries, table, 1, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archives", type=Path, help="a folder with data/… below it, as the exchange lays it out")
    parser.add_argument("--rows", type=int, default=0, help="so many trades")
    parser.add_argument("--rounds", type=int, default=15, help="counted rounds (default 15)")
    parser.add_argument("--dir", type=Path, help="where to work (default: where temporary files go; try /dev/shm)")
    options = parser.parse_args()
    if not (options.archives or options.rows):
        parser.error("nothing to lay out: --archives FOLDER, --rows N, or both")
    return options


if __name__ == "__main__":
    OPTIONS = _options()
    versions = f"DuckDB {duckdb.__version__}, pyarrow {pa.__version__}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {versions}, {time.strftime('%Y-%m-%d')}")
    if OPTIONS.archives:
        race_candles(OPTIONS)
    if OPTIONS.rows:
        race_trades(OPTIONS)
