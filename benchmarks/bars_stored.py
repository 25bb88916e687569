"""Bars from stored trades: how many a second from Parquet to stored bars, beside others, in rounds that take turns.

    python benchmarks/bars_stored.py --trades 20000000 --rounds 5
    python benchmarks/bars_stored.py --trades 20000000 --peak
    python benchmarks/bars_stored.py --trades 2000000 --sets      the grid of 72 sets, together and one by one

The trades of `bars.py` lie in partitions by day, as a download leaves them. We run the job of `pipeline.py features`,
files written and all, decoding and building at once and in turn. pyarrow only decodes the same columns; polars makes
bars of another kind (every 40 million dollars of the whole day, without a new beginning at each bar).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bars import batch_of, race, trades_of

from core.bars.decode import COLUMNS
from core.bars.grid import grid_of
from core.bars.spec import BarSpec
from core.datasets import DATASETS
from core.dates import DAY_US, day_of
from core.jobs.bars import BarTask
from core.layout import Layout
from core.settings import Settings
from core.storage.footer import facts_of
from core.storage.formats import parquet
from core.storage.schema import schema_of
from core.types import Market, Period, Proof, Series, Source

SERIES = Series(Market.UM, "trades", "BTCUSDT")
DOLLARS = 40_000_000
Timed = Callable[[], tuple[float, int]]


def store(root: Path, count: int, part: int = 0) -> list[Path]:
    """The trades by day, with the product of price and quantity that the exchange has; of a later `part`, the same
    some whole days later, under the next ids."""
    arrays = trades_of(count)
    length_us = int(arrays["time"][-1] - arrays["time"][0]) // DAY_US * DAY_US + 2 * DAY_US
    trades = batch_of(arrays | {"time": arrays["time"] + part * length_us})
    trades = trades.set_column(0, "id", pa.array(np.arange(part * count, (part + 1) * count)))
    layout, dataset = Layout(root), DATASETS["trades"]
    times = trades.column("timestamp").cast(pa.int64()).to_numpy()
    edges = np.flatnonzero(np.diff(times // DAY_US)) + 1
    bounds = [0, *edges.tolist(), count]
    paths = []
    for start, end in pairwise(bounds):
        rows = trades.slice(start, end - start)
        price, qty = (rows.column(name).to_numpy() for name in ("price", "qty"))
        rows = rows.append_column("quote_qty", pa.array(np.rint(price * qty * 1e4) / 1e4))
        rows = rows.select(schema_of(dataset, Market.UM).names).cast(schema_of(dataset, Market.UM))
        period = Period.day(day_of(int(times[start])))
        path = layout.processed(SERIES, period)
        path.parent.mkdir(parents=True, exist_ok=True)
        first_us, last_us = int(times[start]), int(times[end - 1])
        writer = parquet.Writer(path, dataset, Market.UM, 131_072)
        writer.write(rows)
        source = Source(period.label, period, "", Proof.UNVERIFIED, "us", end - start, first_us, last_us)
        writer.close(facts_of(SERIES, period, [source]))
        paths.append(path)
    return paths


def ours(root: Path, spec: str, is_overlapped: bool) -> Timed:
    """The whole job, from nothing."""
    return _jobs(root, [(BarSpec.parse(spec),)], is_overlapped)


def _jobs(root: Path, tasks: Sequence[tuple[BarSpec, ...]], is_overlapped: bool = True) -> Timed:
    settings = Settings().replace(paths={"data": root})

    def run() -> tuple[float, int]:
        shutil.rmtree(root / "processed" / "bars", ignore_errors=True)
        begun = time.perf_counter()
        built = [one for specs in tasks for one in BarTask(settings, SERIES, specs, is_overlapped).run()]
        assert not any(one.error for one in built), built
        return time.perf_counter() - begun, sum(one.bars for one in built)

    return run


def decode(paths: list[Path], threads: bool) -> Timed:
    """Only the five columns, a row group at a time."""

    def run() -> tuple[float, int]:
        begun = time.perf_counter()
        for path in paths:
            for _ in _groups(path, threads):
                pass
        return time.perf_counter() - begun, 0

    return run


def _groups(path: Path, threads: bool) -> Iterator[pa.Table]:
    file = pq.ParquetFile(path, pre_buffer=False)
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, columns=list(COLUMNS["trades"]), use_threads=threads)


def polars_bars(paths: list[Path]) -> Timed:
    """Each day cut by its running sum of dollars."""
    import polars as pl

    def run() -> tuple[float, int]:
        begun = time.perf_counter()
        dollars = pl.col("price") * pl.col("qty")
        count = 0
        for path in paths:
            rows = pl.scan_parquet(path).with_columns(dollars.alias("d"), (dollars.cum_sum() // DOLLARS).alias("bar"))
            sums = [pl.col(name).sum() for name in ("qty", "d")]
            bought = [
                pl.col(name).filter(~pl.col("is_buyer_maker")).sum().alias(f"buy_{name}") for name in ("qty", "d")
            ]
            prices = [
                pl.col("price").first().alias("open"),
                pl.col("price").max().alias("high"),
                pl.col("price").min().alias("low"),
                pl.col("price").last().alias("close"),
            ]
            ends = [pl.col("timestamp").first().alias("from"), pl.col("timestamp").last().alias("to"), pl.len()]
            count += rows.group_by("bar", maintain_order=True).agg(*sums, *bought, *prices, *ends).collect().height
        return time.perf_counter() - begun, count

    return run


PEAK = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from bars_stored import ours
seconds, bars = ours(Path(sys.argv[3]), sys.argv[4], True)()
[peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(f"{bars:,} bars in {seconds:.1f} s, peak {int(peak) * 1024 / 1e6:,.0f} MB")
"""
"""A process of its own, whose memory is only that of the job."""


def peak(count: int) -> None:
    """The memory of one job over five times so many trades."""
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        days = sum(len(store(Path(folder), count, part)) for part in range(5))
        print(f"{5 * count:,} trades in {days} days")
        command = [sys.executable, "-c", PEAK, str(here.parent), str(here), folder, f"dollar-{DOLLARS}"]
        subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", type=int, default=20_000_000, help="how many are made up")
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn")
    parser.add_argument("--peak", action="store_true", help="only the memory of one job over five times so many trades")
    parser.add_argument("--sets", action="store_true", help="only the 72 sets of the grid, together and one by one")
    arguments = parser.parse_args()
    if arguments.peak:
        peak(arguments.trades)
        return
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        root = Path(folder)
        paths = store(root, arguments.trades)
        count = arguments.trades
        print(f"{sum(path.stat().st_size for path in paths) / count:.2f} bytes a trade in {len(paths)} days")
        if arguments.sets:
            specs = tuple(grid_of())
            ways = {
                "72 sets together": _jobs(root, [specs]),
                "72 sets one by one": _jobs(root, [(one,) for one in specs]),
            }
            for run in ways.values():
                run()
            race({name: (count, run) for name, run in ways.items()}, arguments.rounds)
            return
        spec = f"dollar-{DOLLARS}"
        runs: dict[str, tuple[int, Timed]] = {
            "tapevault, at once": (count, ours(root, spec, True)),
            "tapevault, in turn": (count, ours(root, spec, False)),
            "tapevault run bars, at once": (count, ours(root, "dollar_run-10000", True)),
            "pyarrow decode only": (count, decode(paths, False)),
            "pyarrow decode only, threads": (count, decode(paths, True)),
        }
        try:
            runs["polars, bars without new begins"] = (count, polars_bars(paths))
        except ImportError:
            print("polars is ABSENT")
        for _, run in runs.values():
            run()
        race(runs, arguments.rounds)


if __name__ == "__main__":
    main()
