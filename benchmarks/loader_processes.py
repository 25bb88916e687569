"""Whatever `loader.py` measures in other processes: libraries of another environment, starts, and streams.

A library of another environment is asked through pipes, a question at a time, so that its rounds lie between those of
the others. A start counts from before the process is made to its first line, which it prints when it has its frame.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from loader_input import ROOT, TRADED, YEAR
from loader_race import CLOSE, Facts, Figure, Figures, Reference, Way
from loader_ways import COLUMNS, Files, Subject

TOOLS: Final = Path(os.environ.get("TAPEVAULT_TOOLS", ROOT / ".venv-tools"))
HERE: Final = Path(sys.executable)
STREAMED: Final = ["timestamp", "price", "qty", "is_buyer_maker"]


def python_of(name: str) -> Path | None:
    """That of a library's own environment; None if `make tools` has not made it."""
    path = TOOLS / name / "bin" / "python"
    return path if path.exists() else None


class Peer:
    """A library in a process of its own, that answers until it is closed."""

    def __init__(self, name: str, files: Files, groups: Mapping[str, Sequence[Subject]]) -> None:
        python = python_of(name)
        assert python is not None
        symbols = sorted({symbol for subjects in groups.values() for one in subjects for symbol in one.symbols})
        job = {
            "folder": str(files.world.peers),
            "columns": COLUMNS["klines"],
            "files": dict(zip(symbols, files.of("klines", symbols), strict=True)),
            "groups": {task: [one.symbols for one in subjects] for task, subjects in groups.items()},
        }
        files.world.peers.mkdir(exist_ok=True)
        path = files.world.peers / f"{name}.json"
        path.write_text(json.dumps(job))
        command = [str(python), str(ROOT / "benchmarks" / "loader_peers.py"), name, str(path)]
        self._name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def ask(self, verb: str, what: str, number: int) -> Any:
        assert self._process.stdin is not None
        print(verb, what, number, file=self._process.stdin, flush=True)
        return json.loads(self._line())

    def close(self) -> None:
        """No more questions; it ends by itself."""
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line: str = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._name} ended with {self._process.wait()}; what it said is above")
        return line.strip()


@dataclass(frozen=True)
class Elsewhere(Way):
    """A way of such a library; `what` is its name there: `one/arrow`."""

    peer: Peer
    what: str

    def seconds(self, one: Subject) -> float:
        return float(self.peer.ask("go", self.what, one.number))

    def check(self, one: Subject, reference: Reference) -> str | None:
        facts: Facts = self.peer.ask("facts", self.what, one.number)
        return reference.difference_to(facts)


@dataclass(frozen=True)
class Start(Way):
    """A program from before its start to its first line, which tells of its rows."""

    python: Path
    program: str

    def seconds(self, one: Subject) -> float:
        return self._run(one)[0]

    def check(self, one: Subject, reference: Reference) -> str | None:
        return reference.difference_of_lines(self._run(one)[1])

    def _run(self, one: Subject) -> tuple[float, str]:
        command, environment = [str(self.python), "-W", "ignore", "-c", self.program], _environment(self.python)
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd="/") as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            taken = time.perf_counter() - began
        if process.returncode:
            raise SystemExit(f"{self.name} ended with {process.returncode}")
        return taken, line


def _environment(python: Path) -> dict[str, str]:
    """Ours, so that the loader is found; another library's Python is told nothing of it."""
    return os.environ | ({"PYTHONPATH": str(ROOT)} if python == HERE else {})


def starts(files: Files, symbol: str, has_output: bool) -> list[Way]:
    """From nothing to the frame of a symbol-year, of which rows and both ends are printed."""
    path = str(files.world.file("klines", symbol))
    ours = (
        f"from loader import BacktestDataLoader\nloader = BacktestDataLoader(data_dir={str(files.world.data)!r})\n"
        f"frame = loader.load_data({symbol!r}, '{YEAR.first}', '{YEAR.last}'"
    )
    ends = "close = frame['close']\nprint(len(frame), float({0}), float({1}), flush=True)"
    arrow, pandas = ends.format("close[0].as_py()", "close[-1].as_py()"), ends.format("close.iloc[0]", "close.iloc[-1]")
    polars = ends.format("close[0]", "close[-1]")
    columns = COLUMNS["klines"]
    programs = {
        "Tapevault to Arrow": f"{ours}, output='arrow')['klines']\n{arrow}" if has_output else "",
        "Tapevault to pandas": f"{ours})['klines']\n{pandas}",
        "pandas": f"import pandas\nframe = pandas.read_parquet({path!r}, columns={columns})\n{pandas}",
        "pyarrow": f"import pyarrow.parquet as pq\nframe = pq.ParquetFile({path!r}).read({columns})\n{arrow}",
        "polars": f"import polars\nframe = polars.read_parquet({path!r}, columns={columns})\n{polars}",
    }
    here = {name: program for name, program in programs.items() if program and (name != "polars" or find_spec(name))}
    return [Start(name, HERE, program) for name, program in here.items()]


def start_of_nautilus(folder: Path, symbol: str) -> Way | None:
    """Its catalog as `loader_peers.py` wrote it; None if it is not installed."""
    python = python_of("nautilus")
    name = f"{symbol}.BINANCE-1-HOUR-LAST-EXTERNAL"
    program = (
        "from nautilus_trader.model.data import Bar\n"
        "from nautilus_trader.persistence.catalog import ParquetDataCatalog\n"
        f"bars = ParquetDataCatalog({str(folder)!r}).query(Bar, identifiers=[{name!r}])\n"
        "print(len(bars), float(bars[0].close), float(bars[-1].close), flush=True)"
    )
    return None if python is None else Start("NautilusTrader", python, program)


def imports() -> list[Way]:
    """A process that imports, and nothing else."""
    names = [name for name in ("loader", "duckdb", "pyarrow", "pandas", "polars") if find_spec(name)]
    plain = Start("python", HERE, "print(flush=True)")
    return [*(Start(f"import {name}", HERE, f"import {name}\nprint(flush=True)") for name in names), plain]


@dataclass(frozen=True)
class Stream:
    """A program that goes through all trades: `ready` has it read a few first, so that what it needs is loaded, and
    `batches` gives them, each with a column `qty`, whose sum proves that all were seen."""

    name: str
    ready: str
    batches: str
    total: str = "pc.sum(batch['qty']).as_py()"

    def program(self) -> str:
        return _STREAM.format(ready=self.ready, batches=self.batches, total=self.total)


_STREAM: Final = """
import json, sys, time
import pyarrow.compute as pc
def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))
{ready}
third, rows, total, after_third, peak_third = int(sys.argv[1]) // 3, 0, 0.0, 0.0, 0.0
with open("/proc/self/clear_refs", "w") as reset:
    reset.write("5")  # the peak counts from here
before = memory("VmRSS")
began = time.perf_counter()
for batch in {batches}:
    rows += len(batch)
    total += {total}
    if not after_third and rows >= third:
        after_third, peak_third = memory("VmRSS"), memory("VmHWM")
    del batch
seconds = time.perf_counter() - began
print(json.dumps(dict(rows=rows, total=total, seconds=seconds, third=peak_third - before,
                      peak=memory("VmHWM") - before)))
"""


def streams(files: Files, has_iter: bool) -> list[Stream]:
    paths = files.of_month()
    days = files.world.trade_days
    first = f"'{days[0].label}'"
    ours = f"loader.iter_data({TRADED!r}, {first}, '{days[-1].label}', 'trades', columns={STREAMED}, output='arrow'"
    opened = (
        f"from loader import BacktestDataLoader\nloader = BacktestDataLoader(data_dir={str(files.world.data)!r})\n"
        f"for few in loader.iter_data({TRADED!r}, {first}, '{days[0].label}T00:01', 'trades', output='arrow'): del few"
    )
    query = f"SELECT {', '.join(STREAMED)} FROM read_parquet({paths})"
    duck = (
        "import duckdb\nconnection = duckdb.connect()\n"
        "connection.execute('SET enable_progress_bar = false')\n"  # of a program without a file it draws one
        f"connection.sql({f'{query} LIMIT 10'!r}).to_arrow_table()"
    )
    parquet = f"import pyarrow.parquet as pq\npaths = {paths}\npq.read_metadata(paths[0])"
    pandas = f"import pandas\npaths = {paths}\npandas.read_parquet(paths[0], columns=['id']).head()"
    by_day = f"(pandas.read_parquet(path, columns={STREAMED}) for path in paths)"
    all_of = Stream(
        "pandas, all at once", pandas, f"[pandas.read_parquet(paths, columns={STREAMED})]", "batch.qty.sum()"
    )
    mine = [
        Stream("Tapevault iter_data", opened, f"(frames['trades'] for frames in {ours}))"),
        Stream("Tapevault iter_data, 15m", opened, f"(frames['trades'] for frames in {ours}, chunk='15m'))"),
    ]
    return [
        *(mine if has_iter else []),
        Stream("DuckDB to_arrow_reader", duck, f"connection.sql({query!r}).to_arrow_reader(131072)"),
        Stream(
            "pyarrow iter_batches",
            parquet,
            f"(b for path in paths for b in pq.ParquetFile(path).iter_batches(131072, columns={STREAMED}))",
        ),
        Stream("pandas, a day at a time", pandas, by_day, "batch.qty.sum()"),
        all_of,
    ]


def race_streams(ways: Iterable[Stream], trades: int, rounds: int) -> dict[str, Figures]:
    """Each in a fresh process, in random order; by way: millions of rows a second, MB after a third, MB at most."""
    all_ways, shuffled = list(ways), random.Random("streams")
    found: dict[str, Figures] = {way.name: {} for way in all_ways}
    sums: dict[str, float] = {}
    for _ in range(rounds):
        for way in shuffled.sample(all_ways, len(all_ways)):
            said = _streamed(way, trades)
            sums[way.name] = said["total"]
            _prove(way, said, trades, next(iter(sums.values())))
            for name, value in _numbers(said).items():
                found[way.name].setdefault(name, Figure()).values.append(value)
    return found


def _streamed(way: Stream, trades: int) -> dict[str, float]:
    command = [str(HERE), "-c", way.program(), str(trades)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=_environment(HERE), cwd="/", check=False)
    if done.returncode:
        raise SystemExit(f"{way.name} ended with {done.returncode}")
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def _prove(way: Stream, said: Mapping[str, float], trades: int, total: float) -> None:
    if said["rows"] != trades or abs(said["total"] - total) > CLOSE * abs(total):
        raise SystemExit(f"{way.name} saw {said['rows']:,.0f} trades of {said['total']!r}, not {trades:,} of {total!r}")


def _numbers(said: Mapping[str, float]) -> dict[str, float]:
    rate = said["rows"] / said["seconds"] / 1e6
    return {"M rows/s": rate, "MB after a third": said["third"], "MB at most": said["peak"]}
