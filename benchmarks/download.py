"""The download engine beside its peers: the same server, the same files, interleaved runs, medians.

    python benchmarks/download.py                          every scenario
    python benchmarks/download.py --only small --rounds 5  one of them
    python benchmarks/download.py --list

Each scenario prints what was measured and, under it, the ratios that are claimed, beside their goals. Wall time counts
from the start of the process to its end: for us that includes listing, plan, verification and status database.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peers
from end_to_end import ROOT, Run, measured

sys.path.insert(0, str(ROOT))

from core.sample.archive import key_of
from core.types import Market, Period, Series

MONTHS = [Period.month(2019 + number // 12, number % 12 + 1) for number in range(50)]


@dataclass
class Bench:
    """Where, how often, and what has been found so far."""

    folder: Path
    rounds: int
    files: int
    large_mb: int
    bhds: Path | None
    found: dict[str, Any] = field(default_factory=dict)

    def race(self, contenders: dict[str, peers.Commands]) -> dict[str, Run]:
        """Interleaved rounds into empty folders, after one that is not counted; medians."""
        runs: dict[str, list[Run]] = {name: [] for name in contenders}
        for number in range(self.rounds + 1):
            for name, commands in contenders.items():
                here = self.folder / "here" / "data"
                shutil.rmtree(here.parent, ignore_errors=True)
                here.parent.mkdir(parents=True)
                parts = [measured(command) for command in commands(here)]
                if number:
                    whole = Run(sum(p.wall for p in parts), sum(p.cpu for p in parts), max(p.peak_mb for p in parts))
                    runs[name].append(whole)
        shutil.rmtree(self.folder / "here", ignore_errors=True)
        self.found.update({name: [vars(run) for run in all_runs] for name, all_runs in runs.items()})
        return {name: _median(all_runs) for name, all_runs in runs.items()}


def _median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(getattr(run, what) for run in runs) for what in ("wall", "cpu", "peak_mb")))


@contextlib.contextmanager
def serving(folder: Path | None, *options: str) -> Iterator[str]:
    """The lean server over a folder; its URL."""
    command = [sys.executable, str(ROOT / "benchmarks" / "archive_server.py"), *([str(folder)] if folder else [])]
    process = subprocess.Popen([*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.terminate()
        process.wait()
        process.stdout.close()


def ours(url: str, *options: str) -> peers.Commands:
    """`download_all.py --download-only`."""
    script = [sys.executable, str(ROOT / "scripts" / "download_all.py"), "--source", url, "--quiet", "--download-only"]
    return lambda folder: [[*script, "--data-dir", str(folder), *options]]


def publish(folder: Path, series: Series, period: Period, block: bytes, times: int = 1) -> str:
    """An archive of random bytes, `times` the block, with its `.CHECKSUM`; returns its key."""
    key = key_of(series, period)
    target = folder / key
    target.parent.mkdir(parents=True, exist_ok=True)
    name = target.name.replace(".zip", ".csv")
    with zipfile.ZipFile(target, "w") as archive, archive.open(name, "w", force_zip64=True) as member:
        for _ in range(times):
            member.write(block)
    with target.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    target.with_name(f"{target.name}.CHECKSUM").write_text(f"{digest}  {target.name}\n")
    return key


def small_archive(bench: Bench) -> tuple[Path, list[str], list[str]]:
    """Monthly archives of 34 KB, as those of hourly candles are; the folder, the keys, the symbols."""
    folder, draw, keys = bench.folder / "small", random.Random(1), []
    for number in range(bench.files):
        series = Series(Market.UM, "klines", f"S{number // len(MONTHS):04d}USDT", "1h")
        keys.append(publish(folder, series, MONTHS[number % len(MONTHS)], draw.randbytes(34_000)))
    return folder, keys, sorted({key.split("/")[5] for key in keys})


def small(bench: Bench) -> None:
    """Many small archives on the loopback, on a RAM disk."""
    folder, keys, symbols = small_archive(bench)
    with serving(folder) as url, serving(folder, "--multipart-etags") as other:
        contenders = {
            "download_all, by ETags": ours(url, "--data-types", "klines"),
            "download_all, by .CHECKSUM": ours(other, "--data-types", "klines"),
            "httpx.AsyncClient, 8": peers.httpx_client(url, keys, 8),
        }
        if not peers.missing("aria2c"):
            contenders["aria2c -j16, then sha256sum"] = peers.aria2(url, keys)
        if bench.bhds:
            contenders["binance_datatool"] = peers.binance_datatool(bench.bhds, url, symbols)
        found = bench.race(contenders)
    _table(found, "files/s", len(keys))
    mine = found["download_all, by ETags"].wall
    _ratio(found, "aria2c -j16, then sha256sum", mine, "by ETags against aria2c with verification", 1.5)
    _ratio(
        found,
        "aria2c -j16, then sha256sum",
        found["download_all, by .CHECKSUM"].wall,
        "by .CHECKSUM against aria2c with verification",
        1.0,
    )
    _ratio(found, "httpx.AsyncClient, 8", mine, "against the stock httpx client", 5.0)
    _ratio(found, "binance_datatool", mine, "against binance_datatool", 2.0)
    _at_most("peak MB", max(run.peak_mb for name, run in found.items() if name.startswith("download")), 200)


def latency(bench: Bench) -> None:
    """The same with 50 ms before every answer, over 64 and 128 connections."""
    folder, keys, _ = small_archive(bench)
    with serving(folder, "--latency", "0.05") as url:
        for at_once in (64, 128):
            contenders = {"download_all": ours(url, "--data-types", "klines", "--workers", str(at_once))}
            if not peers.missing("aria2c"):
                contenders["aria2c, then sha256sum"] = peers.aria2(url, keys, at_once=at_once)
            found = bench.race(contenders)
            print(f"\n{at_once} connections")
            _table(found, "files/s", len(keys))
            mine = found["download_all"].wall
            _ratio(found, "aria2c, then sha256sum", mine, "against aria2c with verification", 1.8)
            _at_least("share of connections / latency", len(keys) / mine / (at_once / 0.05), 0.7)


def large(bench: Bench) -> None:
    """Four large archives, with their digest."""
    folder, draw, keys = bench.folder / "large", random.Random(2), []
    for number in range(4):
        series = Series(Market.UM, "trades", f"L{number}USDT")
        keys.append(publish(folder, series, MONTHS[0], draw.randbytes(1_000_000), bench.large_mb))
    with serving(folder) as url:
        contenders = {
            "download_all": ours(url, "--data-types", "trades"),
            "download_all --workers 4": ours(url, "--data-types", "trades", "--workers", "4"),
        }
        if not peers.missing("aria2c"):
            contenders["aria2c -j4 -x4, then sha256sum"] = peers.aria2(url, keys, at_once=4, splits=4, checksums=False)
        if not peers.missing("pycurl"):
            contenders["pycurl, 4 threads, sha256"] = peers.pycurl_threads(url, keys)
        found = bench.race(contenders)
    _table(found, "MB/s", 4 * bench.large_mb)
    mine = found["download_all"].wall
    _ratio(found, "aria2c -j4 -x4, then sha256sum", mine, "against aria2c -x4 and sha256sum", 1.5)
    _ratio(found, "pycurl, 4 threads, sha256", mine, "against pycurl threads with sha256", 0.8)
    _at_most("peak MB", max(run.peak_mb for name, run in found.items() if name.startswith("download")), 200)


def ranges(bench: Bench) -> None:
    """One large archive behind 50 MB/s for each connection, over one connection and over four."""
    folder = bench.folder / "capped"
    publish(
        folder,
        Series(Market.UM, "trades", "LUSDT"),
        MONTHS[0],
        random.Random(3).randbytes(1_000_000),
        bench.large_mb * 2,
    )
    with serving(folder, "--connection-rate", "50000000") as url:
        contenders = {}
        for count in (1, 4):
            settings = bench.folder / f"ranges-{count}.yaml"
            settings.write_text(f"download: {{ranges: {count}}}\n")
            contenders[f"{count} connections"] = ours(url, "--data-types", "trades", "--settings", str(settings))
        found = bench.race(contenders)
    _table(found, "MB/s", bench.large_mb * 2)
    _ratio(found, "1 connections", found["4 connections"].wall, "four ranges against one connection", 3.5)


PLANNING = """
import asyncio, json, os, sys, time
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/scripts"]
import _root
from datetime import date
from pathlib import Path
from core.datasets import dataset_named
from core.download.smart import SmartDownloader
from core.download.tracker import DownloadTracker
from core.download.transport import open_transport
from core.exchanges import EXCHANGES
from core.jobs.request import Request, find_files
from core.layout import Layout
from core.settings import Settings
from core.types import Market, Span
async def main():
    layout = Layout(Path(sys.argv[3]))
    settings = Settings().replace(download={"source": sys.argv[2], "listing": sys.argv[2]})
    names = ("klines", "mark_price", "index_price", "premium_index", "funding_rate")
    datasets = tuple(dataset_named(name, Market.UM) for name in names)
    request = Request(Market.UM, datasets, "1h", Span.of_days(date(2019, 1, 1), date(2024, 10, 31)))
    async with open_transport(32) as transport:
        smart = SmartDownloader(transport, settings.download)
        archive = EXCHANGES["binance"](settings.download, layout, smart, lambda event: None)
        with DownloadTracker(layout.database) as tracker:
            planned = to_do = 0
            async for files in find_files(request, archive):
                plan = tracker.plan(files)
                planned, to_do = planned + plan.files, to_do + len(plan.fetch)
            print(json.dumps({"planned": planned, "to_do": to_do}))
asyncio.run(main())
"""


def planning(bench: Bench) -> None:
    """Listing and planning 175,000 archives, then the whole command when all of them are here."""
    data = bench.folder / "planned"
    command = [sys.executable, "-c", PLANNING, str(ROOT)]
    first, again = [], []
    with serving(None, "--invent", "500") as url:
        whole = [*ours(url, "--start", "2019-01-01", "--end", "2024-10-31", "--json")(data)[0]]
        for _ in range(bench.rounds):
            shutil.rmtree(data, ignore_errors=True)
            first.append(measured([*command, url, str(data)]))
            _finish_all(data)
            again.append(measured(whole))
    found = {"175,000 new archives": _median(first), "nothing new": _median(again)}
    bench.found.update({name: [vars(run)] for name, run in found.items()})
    _table(found, "archives/s", 175_000)
    _at_most("CPU seconds of the first plan", found["175,000 new archives"].cpu, 60)
    _at_most("CPU seconds when nothing is new", found["nothing new"].cpu, 20)
    print(f"  nothing new / new: {found['nothing new'].cpu / found['175,000 new archives'].cpu:.2f} of the CPU")
    _at_most("peak MB", max(run.peak_mb for run in found.values()), 200)


def _finish_all(data: Path) -> None:
    """As if every planned archive had been fetched: rows that say so, and a file for each."""
    import sqlite3

    from core.exchanges.binance.urls import parse_key
    from core.layout import Layout

    layout, connection = Layout(data), sqlite3.connect(data / "metadata" / "download_status.db")
    connection.execute("update files set state = 'fetched', sha256 = 'x', proof = 'sha256-by-etag'")
    connection.commit()
    for (key,) in connection.execute("select key from files"):
        parsed = parse_key(key)
        assert parsed is not None
        path = layout.raw(*parsed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    connection.close()


def tracker(bench: Bench) -> None:
    """The status database with a million rows: how long one step takes."""
    from core.download.tracker import Change, DownloadTracker
    from core.types import ArchiveFile, FetchedFile, Proof, State

    folder = bench.folder / "tracker"
    files = []
    with DownloadTracker(folder / "status.db") as status:
        rows: list[int] = []
        for symbol in range(1_000_000 // 50):
            series = Series(Market.UM, "klines", f"S{symbol:05d}USDT", "1h")
            files += [ArchiveFile(series, month, key_of(series, month), 1, "e" * 32, "c" * 32, "") for month in MONTHS]
            if len(files) >= 50_000:
                rows += status.plan(files).fetch
                files = []
        run = status.begin_run("benchmark")
        random.Random(4).shuffle(rows)
        times: dict[str, list[float]] = {"claim one": [], "advance one": [], "claim 32": [], "advance 64": []}
        for number in range(2000):
            (claimed,) = _timed(times["claim one"], status.claim, run, [rows[number]])
            fetched = FetchedFile(claimed.file, folder, 1, "5" * 64, Proof.SHA256_BY_ETAG)
            change = Change(claimed, State.FETCHED, fetched=fetched)
            _timed(times["advance one"], status.advance, run, [change])
        for number in range(200):
            some = rows[2000 + number * 64 : 2064 + number * 64]
            claimed_all = _timed(times["claim 32"], status.claim, run, some[:32]) + status.claim(run, some[32:])
            changes = [
                Change(each, State.FETCHED, fetched=FetchedFile(each.file, folder, 1, "5" * 64, Proof.SHA256_BY_ETAG))
                for each in claimed_all
            ]
            _timed(times["advance 64"], status.advance, run, changes)
        snapshots: list[float] = []
        for _ in range(50):
            _timed(snapshots, status.totals)
    shutil.rmtree(folder)
    print(f"{'milliseconds':24}{'p50':>8}{'p99':>8}")
    for name, taken in [*times.items(), ("totals by state", snapshots)]:
        ordered = sorted(taken)
        print(f"{name:24}{1e3 * ordered[len(ordered) // 2]:8.3f}{1e3 * ordered[int(len(ordered) * 0.99)]:8.3f}")
        bench.found[name] = {"p50": ordered[len(ordered) // 2], "p99": ordered[int(len(ordered) * 0.99)]}
    for name in ("claim one", "advance one"):
        _at_most(f"p99 of {name}, ms", 1e3 * bench.found[name]["p99"], 1)
    _at_most("snapshot, ms", 1e3 * bench.found["totals by state"]["p50"], 50)


def _timed(times: list[float], work: Callable[..., Any], *arguments: Any) -> Any:
    began = time.perf_counter()
    result = work(*arguments)
    times.append(time.perf_counter() - began)
    return result


STATUS = """
import sys, time
sys.path[:0] = [sys.argv.pop(1)]
import _root
from core.download.tracker import DownloadTracker
spent = [0.0]
def timed(method):
    def call(*arguments, **named):
        began = time.perf_counter()
        try:
            return method(*arguments, **named)
        finally:
            spent[0] += time.perf_counter() - began
    return call
for name in ("plan", "claim", "advance", "begin_run", "finish_run", "heartbeat", "release", "states"):
    setattr(DownloadTracker, name, timed(getattr(DownloadTracker, name)))
began = time.perf_counter()
from core.commands import download_all
code = download_all.main(sys.argv[1:])
print(spent[0], time.perf_counter() - began)
"""


def status(bench: Bench) -> None:
    """What the status rows cost: the time in the tracker's methods, of the whole run's."""
    folder, keys, _ = small_archive(bench)
    shares = []
    with serving(folder) as url:
        (command,) = ours(url, "--data-types", "klines")(bench.folder / "here")
        for _ in range(bench.rounds + 1):
            shutil.rmtree(bench.folder / "here", ignore_errors=True)
            start = [sys.executable, "-c", STATUS, str(ROOT / "scripts"), *command[2:]]
            spent, whole = map(float, subprocess.run(start, check=True, capture_output=True, text=True).stdout.split())
            shares.append(spent / whole)
            print(f"{1e6 * spent / len(keys):6.0f} us a file in the status database of {1e6 * whole / len(keys):.0f}")
    bench.found["status"] = shares
    _at_most("share of the status rows, %", 100 * statistics.median(shares[1:]), 25)


def _table(found: dict[str, Run], unit: str, amount: float) -> None:
    print(f"{'':34}{'wall s':>8}{unit:>12}{'cpu s':>8}{'peak MB':>9}")
    for name, run in found.items():
        print(f"{name:34}{run.wall:8.2f}{amount / run.wall:12.0f}{run.cpu:8.2f}{run.peak_mb:9.0f}")


def _ratio(found: dict[str, Run], name: str, mine: float, what: str, goal: float) -> None:
    if name in found:
        _at_least(what, found[name].wall / mine, goal)
    else:
        print(f"  {what}: not here, left out")


def _at_least(what: str, value: float, goal: float) -> None:
    print(f"  {what}: {value:.2f} (goal {goal:g} or more: {'reached' if value >= goal else 'NOT reached'})")


def _at_most(what: str, value: float, goal: float) -> None:
    print(f"  {what}: {value:.2f} (goal {goal:g} or less: {'reached' if value <= goal else 'NOT reached'})")


SCENARIOS = {each.__name__: each for each in (small, latency, status, large, ranges, planning, tracker)}


def main() -> None:
    options = _options()
    if options.list:
        print("\n".join(f"{name:10}{each.__doc__}" for name, each in SCENARIOS.items()))
        return
    folder = options.dir or Path(
        tempfile.mkdtemp(prefix="tapevault-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    )
    bench = Bench(folder, options.rounds, options.files, options.large_mb, options.bhds)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
    try:
        for name in [options.only] if options.only else SCENARIOS:
            print(f"\n{name}: {SCENARIOS[name].__doc__}")
            folder.mkdir(parents=True, exist_ok=True)
            SCENARIOS[name](bench)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(bench.found, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SCENARIOS, help="one scenario")
    parser.add_argument("--list", action="store_true", help="say which scenarios there are")
    parser.add_argument("--files", type=int, default=2500, help="small archives (default 2500)")
    parser.add_argument("--large-mb", type=int, default=500, help="size of a large archive (default 500)")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds (default 3)")
    parser.add_argument("--bhds", type=Path, help="a Python that has binance_datatool installed")
    parser.add_argument(
        "--dir", type=Path, help="work folder, emptied and removed (default: on a RAM disk if there is one)"
    )
    parser.add_argument("--json", type=Path, help="write every run here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
