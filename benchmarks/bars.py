"""Bars in memory: how many trades a second, beside others, in rounds that take turns.

    python benchmarks/bars.py --trades 20000000 --rounds 5
    python benchmarks/bars.py --first             a process's first bars, kernels compiled before, and not
    python benchmarks/bars.py --quarters          what becomes of expected sizes with and without bounds

Trades are made up: a price in steps of 0.1 around 60,000, quantities of 0.001 and more, about 4000 dollars a trade,
sides that lean by 8 % one way or the other for a while. We read Arrow as it is stored (ids, doubles, bits, times) and
check it; the peers of `bars_peers.py` get what they want. A peer that takes long gets fewer trades, which is said, and
one that is not there is said to be absent: `python -m venv .venv-tools/bars` with tickbar, ml4t-engineer, mlfinpy and
polars.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bars_plain import in_one, in_two, plain_bars, whole_numbers

from core.bars.builder import BarBuilder
from core.bars.grid import BarGrid, grid_of
from core.bars.spec import BarSpec

ROOT: Final = Path(__file__).resolve().parent.parent
TOOLS: Final = Path(os.environ.get("TAPEVAULT_TOOLS", ROOT / ".venv-tools"))
MOST: Final = {"tickbar": 1.0, "polars": 1.0, "duckdb": 0.1, "ml4t": 0.1, "mlfinpy": 0.01}
"""The part of the trades that each peer gets."""
OURS: Final = ("dollar-40000000", "tick-10000", "volume-600", "time-1m", "dollar_imbalance-6000000", "dollar_run-10000")
GRID_PART: Final = 0.05
MOST_BARS: Final = 200_000
"""Trades where each set has nearly as many bars: all are kept until the last is made."""
Arrays = dict[str, npt.NDArray[Any]]


def trades_of(count: int, mean: float = 4000.0) -> Arrays:
    """Made-up trades of so many dollars on average."""
    random = np.random.default_rng(7)
    lean = np.repeat(random.integers(0, 2, count // 1000 + 1), 1000)[:count] * 0.16 - 0.08
    quantity = np.maximum(1, np.rint(random.exponential(mean / 60_000, count) * 1000)) / 1000
    return {
        "time": 1_700_000_000_000_000 + np.cumsum(random.integers(0, 20_000, count)),
        "price": np.rint(600_000 + np.cumsum(random.integers(-5, 6, count))) / 10,
        "qty": quantity,
        "sale": (random.random(count) < 0.5 + lean).astype(np.uint8),
    }


def batch_of(arrays: Arrays) -> pa.RecordBatch:
    """The trades as they are stored."""
    return pa.RecordBatch.from_pydict(
        {
            "id": pa.array(np.arange(len(arrays["time"]))),
            "price": arrays["price"],
            "qty": arrays["qty"],
            "is_buyer_maker": pa.array(arrays["sale"].astype(bool)),
            "timestamp": pa.array(arrays["time"], pa.timestamp("us", tz="UTC")),
        }
    )


class Peer:
    """A process that makes bars when it is told to."""

    def __init__(self, name: str, folder: Path, count: int) -> None:
        self.name, self.count = name, int(count * MOST[name])
        python = Path(sys.executable) if name == "duckdb" else TOOLS / "bars" / "bin" / "python"
        command = [str(python), str(ROOT / "benchmarks" / "bars_peers.py"), name, str(folder), str(self.count)]
        self._process: subprocess.Popen[str] | None = None
        if python.exists():
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        self.is_there = self._process is not None and self._answer() is not None

    def run(self) -> tuple[float, int]:
        """Seconds, and how many bars."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._answer()
        assert answer is not None, f"{self.name} has ended"
        return answer["seconds"], answer["bars"]

    def end(self) -> None:
        """Let the process end."""
        if self._process is not None:
            self._process.communicate()

    def _answer(self) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None


def ours(spec: str, batch: pa.RecordBatch) -> Callable[[], tuple[float, int]]:
    """A run of our own."""

    def run() -> tuple[float, int]:
        builder = BarBuilder(BarSpec.parse(spec))
        begun = time.perf_counter()
        bars = builder.update(batch)
        return time.perf_counter() - begun, len(bars) + len(builder.finish())

    return run


def race(runs: dict[str, tuple[int, Callable[[], tuple[float, int]]]], rounds: int) -> None:
    """Print the median speed of each, all of them once a round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    bars = dict.fromkeys(runs, 0)
    for _ in range(rounds):
        for name, (_, run) in runs.items():
            took, bars[name] = run()
            seconds[name].append(took)
    for name, (count, _) in runs.items():
        rates = sorted(count / each / 1e6 for each in seconds[name])
        print(
            f"{name:32} {statistics.median(rates):9.2f} M trades/s ({rates[0]:.2f} to {rates[-1]:.2f})"
            f"  {bars[name]:8,} bars of {count:,} trades"
        )


def grids(count: int, rounds: int) -> None:
    """72 sets in one pass, beside 72 builders, and beside 72 passes of a plain loop, at six densities of bars."""
    specs = grid_of()
    for mean in (4e3, 4e4, 4e5, 4e6, 1.2e7, 4e7):
        count = min(count, MOST_BARS) if mean > 1e7 else count  # nearly every trade closes a bar of each set
        arrays = trades_of(count, mean)
        batch, whole = batch_of(arrays), whole_numbers(arrays)
        ways: dict[str, Callable[[], list[Any]]] = {
            "grid": lambda: [BarGrid(specs).update(batch)],  # noqa: B023
            "builders": lambda: [BarBuilder(spec).update(batch) for spec in specs],  # noqa: B023
            "plain loops, all at once": lambda: [plain_bars(whole, spec, in_one) for spec in specs],  # noqa: B023
            "plain loops, ends first": lambda: [plain_bars(whole, spec, in_two) for spec in specs],  # noqa: B023
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        bars: dict[str, int] = {}
        for each in range(rounds + 1):  # what is compiled, and the memory of a first round, is not counted
            for name, way in ways.items():
                begun = time.perf_counter()
                made = way()
                taken[name] += [time.perf_counter() - begun] if each else []
                bars[name] = sum(len(one["theta"]) for one in made)
                del made
        assert len(set(bars.values())) == 1, bars
        medians = {name: statistics.median(each) for name, each in taken.items()}
        density = 72 * count / bars["grid"]
        print(f"grid of 72 sets, {mean:,.0f} dollars a trade, {density:,.1f} trades a bar, {count:,} trades:")
        for name, median in medians.items():
            rate = 72 * count / median / 1e9
            print(f"    {name:24} {rate:6.3f} G trades/s, {median / medians['grid']:5.2f} times the grid's time")


FIRST: Final = """
import sys, time
begun = time.perf_counter()
sys.path[:0] = sys.argv[1:3]
from bars import BarBuilder, BarGrid, BarSpec, batch_of, grid_of, trades_of
batch = batch_of(trades_of(10_000))
imported = time.perf_counter()
for spec in sys.argv[3:]:
    BarBuilder(BarSpec.parse(spec)).update(batch)
bars = time.perf_counter()
BarGrid(grid_of()).update(batch)
print(f"import {imported - begun:.2f} s, first bars {bars - imported:.2f} s, grid {time.perf_counter() - bars:.2f} s")
"""


def first(rounds: int) -> None:
    """The first call of a process: with kernels that an earlier one has kept, and with none."""
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-c", FIRST, str(ROOT), str(here), *OURS]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("compiles", *["has kept"] * rounds):
            env = os.environ | {"NUMBA_CACHE_DIR": folder}
            print(
                f"{name}: {subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout}", end=""
            )


def quarters(count: int) -> None:
    """How many bars close in each quarter of the trades."""
    batch = batch_of(trades_of(count))
    for spec in ("", "-unclamped", "-signed-unclamped", "-signed-unclamped-min_imbalance-0"):
        builder = BarBuilder(BarSpec.parse(f"dollar_imbalance-1000000{spec}"))
        parts = [batch.slice(quarter * (count // 4), count // 4) for quarter in range(4)]
        print(f"{builder.spec}: {', '.join(f'{builder.update(part).num_rows:,}' for part in parts)} bars")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", type=int, default=20_000_000, help="how many are made up")
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn")
    parser.add_argument("--first", action="store_true", help="only the first call of a process")
    parser.add_argument("--quarters", action="store_true", help="only how many bars there are with and without bounds")
    arguments = parser.parse_args()
    if arguments.first or arguments.quarters:
        first(arguments.rounds) if arguments.first else quarters(arguments.trades)
        return
    arrays = trades_of(arguments.trades)
    batch = batch_of(arrays)
    for spec in OURS:
        BarBuilder(BarSpec.parse(spec)).update(batch.slice(0, 1000))
    runs = {f"tapevault {spec}": (arguments.trades, ours(spec, batch)) for spec in OURS}
    with tempfile.TemporaryDirectory() as folder:
        for name, values in arrays.items():
            np.save(Path(folder) / f"{name}.npy", values)
        peers = [Peer(name, Path(folder), arguments.trades) for name in MOST]
        for peer in peers:
            if peer.is_there:
                runs[f"{peer.name} dollar"] = peer.count, peer.run
            else:
                print(f"{peer.name} is ABSENT: no {TOOLS / 'bars'} that has it")
        race(runs, arguments.rounds)
        for peer in peers:
            peer.end()
    grids(int(arguments.trades * GRID_PART), max(1, arguments.rounds // 2))


if __name__ == "__main__":
    main()
