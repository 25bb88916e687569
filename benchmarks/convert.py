"""Archives to Parquet, beside other ways to do it: the same archive, interleaved runs, medians, outputs proved equal.

    python benchmarks/convert.py --dir /dev/shm                      20 million trades, then 1,000 months of candles
    python benchmarks/convert.py --only trades --peers polars,duckdb
    python benchmarks/convert.py --big --dir /dev/shm                5 GB of text, Tapevault alone: its memory
    python benchmarks/convert.py --archive BTCUSDT-trades-2024-08-08.zip

Every run is a process of its own, and its wall time counts from its start; what start and imports take of it is said
apart. After the last round each output is read against the numbers that the archive was made from, in order, doubles to
the last bit; a difference ends the benchmark. Ours also checks, orders, counts and syncs what it stores; the peers do
not. A library that is not installed is left out, and said.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
from convert_input import Made, candles, trades
from convert_peers import Archive, Job, opened
from end_to_end import ROOT, Run, measured
from same_rows import difference

from core.datasets import DATASETS, Kind
from core.dates import MICROSECONDS_FROM
from core.exchanges.binance.urls import key_of
from core.storage.formats.parquet import _encoding
from core.storage.pool import free_cores
from core.types import Market, Period, Series

BIG_ROWS: Final = 100_000_000


@dataclass(frozen=True)
class Contender:
    """One way to convert: a program and the options of its writer ({}: its defaults). `peer` None is Tapevault, which
    has a choice of parsers and of `processes` that store."""

    name: str
    peer: str | None = None
    encoding: dict[str, Any] = field(default_factory=dict)
    parser: str = "auto"
    processes: int = 0

    @property
    def library(self) -> str:
        return {"pyarrow_isal": "isal"}.get(self.peer or "", (self.peer or "").partition("_")[0])

    def command(self, job: Path) -> list[str]:
        program = ["convert_peers.py", self.peer] if self.peer else ["convert_ours.py"]
        return [sys.executable, str(ROOT / "benchmarks" / program[0]), *program[1:], str(job)]


OURS = _encoding(DATASETS["trades"], Market.UM)
TRADES: Final = (
    Contender("tapevault"),
    Contender("tapevault, encoded as pyarrow does", encoding={"compression": "snappy"}),
    Contender("tapevault without compiled parser", parser="arrow"),
    Contender("pyarrow streaming, snappy (default)", "pyarrow_streaming"),
    Contender("pyarrow streaming, zstd", "pyarrow_streaming", {"compression": "zstd"}),
    Contender("pyarrow streaming, our encoding", "pyarrow_streaming", OURS),
    Contender("the same, inflated by isal", "pyarrow_isal", OURS),
    Contender("polars sink, zstd (default)", "polars"),
    Contender("polars sink, snappy", "polars", {"compression": "snappy"}),
    Contender("duckdb COPY, snappy (default)", "duckdb"),
    Contender("duckdb COPY, zstd", "duckdb", {"COMPRESSION": "zstd"}),
    Contender("pandas, snappy (default)", "pandas"),
)
CANDLES: Final = (
    Contender("tapevault", processes=free_cores()),
    Contender("tapevault in one process"),
    Contender("a loop of pandas", "pandas"),
    Contender("a loop of pyarrow", "pyarrow_whole"),
)


@dataclass
class Outcome:
    """What a contender's counted runs took, and what its last one left."""

    runs: list[Run] = field(default_factory=list)
    start: list[Run] = field(default_factory=list)
    out_mb: float = 0
    digest: str = ""

    def median(self, what: str) -> float:
        return float(statistics.median(getattr(run, what) for run in self.runs))


@dataclass(frozen=True)
class Task:
    """Archives, the rows that they must give, and how much text they hold."""

    archives: Sequence[Archive]
    reference: Sequence[Path]
    csv_mb: float


def task_of(made: Sequence[Made]) -> Task:
    archives = [archive_at(each.path, each.series, each.period) for each in made]
    reference = sorted((each.reference for each in made), key=lambda path: path.name)
    return Task(archives, reference, sum(each.csv_bytes for each in made) / 1e6)


def archive_at(path: Path, series: Series, period: Period) -> Archive:
    """What a peer has to be told of an archive; its own first lines say it."""
    names = series.market.value, series.dataset, series.symbol, series.interval or ""
    archive = Archive(
        key=key_of(series, period),
        series=names,
        period=period.label,
        path=str(path),
        has_header=False,
        to_us=1,
        columns=[],
        stored=[],
    )
    with opened(archive) as stream:
        line = stream.readline()
        archive["has_header"] = not line[:1].isdigit()
        cells = (stream.readline() if archive["has_header"] else line).strip().split(b",")
    dataset = DATASETS[series.dataset]
    columns = dataset.columns[series.market][: len(cells)]
    archive["columns"] = [(column.source, column.kind.name.lower()) for column in columns]
    archive["stored"] = [
        (column.source, str(column.name), column.kind.name.lower()) for column in dataset.stored_columns(series.market)
    ]
    first_time = next(int(cell) for cell, column in zip(cells, columns, strict=True) if column.kind is Kind.TIME)
    archive["to_us"] = 1 if first_time >= MICROSECONDS_FROM else 1000
    return archive


def race(
    task: Task, contenders: Sequence[Contender], folder: Path, rounds: int, *, uncounted: int = 1
) -> dict[str, Outcome]:
    """Interleaved rounds, the first ones not counted; what each contender left in the last is proved."""
    found = {contender.name: Outcome() for contender in contenders}
    for number in range(-uncounted, rounds):
        for contender in contenders:
            outcome = found[contender.name]
            start, run = _run(contender, [], folder), _run(contender, task.archives, folder)
            if number >= 0:
                outcome.start.append(start)
                outcome.runs.append(run)
            if number == rounds - 1:
                _prove(contender, outcome, task, folder / "out")
    shutil.rmtree(folder / "out")
    if len({outcome.digest for outcome in found.values() if outcome.digest}) > 1:
        raise SystemExit("what Tapevault stored in one way and in another are not the same bytes")
    return found


def _prove(contender: Contender, outcome: Outcome, task: Task, out: Path) -> None:
    outputs = sorted(out.rglob("*.parquet"), key=lambda path: path.name)
    if wrong := difference(outputs, task.reference):
        raise SystemExit(f"{contender.name} differs from the reference: {wrong}")
    outcome.out_mb = sum(path.stat().st_size for path in outputs) / 1e6
    if contender.peer is None and not contender.encoding:
        outcome.digest = digest_of(outputs)


def _run(contender: Contender, archives: Sequence[Archive], folder: Path) -> Run:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    job = folder / "job.json"
    what = Job(
        archives=list(archives),
        out=str(out),
        encoding=contender.encoding,
        parser=contender.parser,
        processes=contender.processes,
    )
    job.write_text(json.dumps(what))
    return measured(contender.command(job))


def digest_of(paths: Sequence[Path]) -> str:
    """One digest of the bytes of all files and of their names."""
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            whole.update(f"{path.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def present(contenders: Sequence[Contender], peers: Sequence[str] | None) -> list[Contender]:
    """Tapevault and those peers that were asked for and are here."""
    chosen = [each for each in contenders if each.peer is None or peers is None or each.library in peers]
    absent = sorted({each.library for each in chosen if each.peer and find_spec(each.library) is None})
    if absent:
        print(f"not installed, left out: {', '.join(absent)}")
    return [each for each in chosen if each.library not in absent]


def race_trades(options: argparse.Namespace, folder: Path) -> dict[str, Outcome]:
    """One large archive."""
    task = _given(options, folder) if options.archive else task_of([trades(folder, options.rows, options.market)])
    rows = sum(pq.read_metadata(path).num_rows for path in task.reference)
    zip_mb = sum(Path(archive["path"]).stat().st_size for archive in task.archives) / 1e6
    print(f"\n{rows:,} trades, {task.csv_mb:,.0f} MB of CSV in a zip of {zip_mb:,.0f} MB")
    contenders = TRADES[:1] if options.big else present(TRADES, options.peers)
    rounds, uncounted = (1, 0) if options.big else (options.rounds, 1)
    found = race(task, contenders, folder, rounds, uncounted=uncounted)
    _table(found, "MB/s", task.csv_mb)
    for peer in ("pyarrow streaming, snappy (default)", "pyarrow streaming, zstd"):
        _faster(found, peer, 2.3, 3)
    _faster(found, "pyarrow streaming, our encoding")
    _faster(found, "pyarrow streaming, snappy (default)", than="tapevault, encoded as pyarrow does")
    _faster(found, "polars sink, zstd (default)", 3, 4)
    _at_most("peak MB", max(run.peak_mb for run in found["tapevault"].runs), 300)
    if zstd := found.get("pyarrow streaming, zstd"):
        _at_most("size against pyarrow's zstd", found["tapevault"].out_mb / zstd.out_mb, 1.3)
    return found


def _given(options: argparse.Namespace, folder: Path) -> Task:
    """An archive of somebody's own; what pyarrow reads from it is the reference."""
    symbol, _, label = options.archive.stem.partition("-trades-")
    path = options.archive.resolve()
    archive = archive_at(path, Series(options.market, "trades", symbol), Period.parse(label))
    _run(Contender("reference", "pyarrow_streaming"), [archive], folder)
    reference = folder / "reference.parquet"
    next((folder / "out").rglob("*.parquet")).rename(reference)
    with opened(archive) as stream:
        size = stream.seek(0, os.SEEK_END)
    return Task([archive], [reference], size / 1e6)


def race_candles(options: argparse.Namespace, folder: Path) -> dict[str, Outcome]:
    """Many small archives."""
    task = task_of(candles(folder, options.files))
    symbols = len({archive["key"].split("/")[5] for archive in task.archives})
    print(f"\n{options.files:,} months of hourly candles of {symbols} symbols, {task.csv_mb:,.0f} MB of CSV")
    found = race(task, present(CANDLES, options.peers), folder, options.rounds)
    _table(found, "archives/s", options.files)
    _faster(found, "a loop of pandas", 5)
    _faster(found, "a loop of pyarrow")
    _faster(found, "a loop of pandas", than="tapevault in one process")
    return found


def _table(found: dict[str, Outcome], unit: str, amount: float) -> None:
    print(f"{'':38}{'wall s':>8}{unit:>12}{'cpu s':>8}{'start s':>9}{'peak MB':>9}{'out MB':>8}{'ratio':>7}")
    first = next(iter(found.values())).median("wall")
    for name, outcome in found.items():
        wall, start = outcome.median("wall"), statistics.median(run.wall for run in outcome.start)
        print(
            f"{name:38}{wall:8.2f}{amount / wall:12,.0f}{outcome.median('cpu'):8.2f}{start:9.2f}"
            f"{outcome.median('peak_mb'):9,.0f}{outcome.out_mb:8.1f}{wall / first:7.2f}"
        )


def _faster(found: dict[str, Outcome], peer: str, goal: float = 0, aim: float = 0, than: str = "tapevault") -> None:
    if peer in found and than in found:
        ratio = found[peer].median("wall") / found[than].median("wall")
        said = f" (goal {goal:g} or more: {'reached' if ratio >= goal else 'NOT reached'}" if goal else ""
        hoped = f"; aim {aim:g}: {'reached' if ratio >= aim else 'not reached'}" if aim else ""
        print(f"  {than} against {peer}: {ratio:.2f}{said}{hoped}{')' if said else ''}")


def _at_most(what: str, value: float, goal: float) -> None:
    print(f"  {what}: {value:.2f} (goal {goal:g} or less: {'reached' if value <= goal else 'NOT reached'})")


def main() -> None:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="tapevault-convert-", dir=options.dir))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, {time.strftime('%Y-%m-%d')}")
    found: dict[str, dict[str, Outcome]] = {}
    try:
        for name, work in (("trades", race_trades), ("klines", race_candles)):
            if options.only in (name, None):
                (folder / name).mkdir()
                found[name] = work(options, folder / name)
                shutil.rmtree(folder / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        print(json.dumps(found, default=vars), file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="trades (default 20,000,000; with --big 100,000,000)")
    parser.add_argument("--files", type=int, default=1000, help="months of candles (default 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    parser.add_argument("--only", choices=("trades", "klines"), help="one of the two")
    parser.add_argument(
        "--peers", type=lambda text: text.split(","), help="only these libraries beside us: pyarrow,isal,polars,..."
    )
    parser.add_argument("--archive", type=Path, help="trades of your own, under the exchange's name, and no others")
    parser.add_argument("--market", type=Market, choices=tuple(Market), default=Market.UM, help="whose trades")
    parser.add_argument("--big", action="store_true", help="Tapevault alone, once, on 5 GB of text: its memory")
    parser.add_argument("--dir", type=Path, help="where to work (default: where temporary files go; try /dev/shm)")
    options = parser.parse_args()
    options.rows = options.rows or (BIG_ROWS if options.big else 20_000_000)
    if options.big or options.archive:
        options.only = "trades"
    return options


if __name__ == "__main__":
    main()
