"""`download_all.py` as a whole process against a served archive of N monthly candles, with `aria2c` beside it.

    python benchmarks/end_to_end.py --files 1000 --rounds 5 --dir /dev/shm/bench

Each round runs every contender once, in turn, into an empty folder. Wall time includes the start of the process, and
for Tapevault the listing, the plan, the verification and the status database. aria2c gets the list of URLs for
nothing, fetches each archive and its `.CHECKSUM`, and is followed by a pass that verifies them; it stores no rows.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.sample.archive import key_of  # noqa: E402
from core.sample.csv_text import csv_bytes  # noqa: E402
from core.sample.market import small_market  # noqa: E402
from core.types import Market, Period, Series, Span  # noqa: E402

MONTHS = [Period.month(2019 + n // 12, n % 12 + 1) for n in range(72)]


@dataclass(frozen=True)
class Run:
    """One run of one contender: seconds of wall time and of processor, peak resident megabytes."""

    wall: float
    cpu: float
    peak_mb: float


def make_archive(folder: Path, files: int) -> int:
    """Publish `files` months of hourly candles over as many symbols as that takes; returns their bytes."""
    series = Series(Market.UM, "klines", "BTCUSDT", "1h")
    market = small_market()
    body = csv_bytes(series, Period.month(2025, 1), market.rows(series, Span.of_days(market.first, market.last)))
    total = 0
    for number in range(files):
        symbol = f"S{number // len(MONTHS):04d}USDT"
        period = MONTHS[number % len(MONTHS)]
        named = Series(Market.UM, "klines", symbol, "1h")
        target = folder / key_of(named, period)
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(target.name.replace(".zip", ".csv"), _moved(body, period))
        content = target.read_bytes()
        total += len(content)
        checksum = f"{hashlib.sha256(content).hexdigest()}  {target.name}\n"
        target.with_name(f"{target.name}.CHECKSUM").write_text(checksum)
    return total


def _moved(body: bytes, period: Period) -> bytes:
    """The same candles from the beginning of another month on."""
    header, *lines = body.decode().splitlines()
    start = period.span.start_us // 1000
    moved = []
    for number, line in enumerate(lines[:672]):
        cells = line.split(",")
        cells[0], cells[6] = str(start + number * 3_600_000), str(start + number * 3_600_000 + 3_599_999)
        moved.append(",".join(cells))
    return ("\n".join([header, *moved]) + "\n").encode()


LAUNCHER = """
import json, os, sys, time
began = time.monotonic()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
used = [time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]
os.write(int(sys.argv[1]), json.dumps([os.waitstatus_to_exitcode(status), *used]).encode())
"""


def measured(command: list[str]) -> Run:
    """Run a command to its end; its output is shown only if it fails.

    A small process stands between: a child's peak memory begins with that of the process that starts it. Processes that
    the command starts and waits for count for its time; its peak is that of the largest of them.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as figures:
        number = figures.fileno()
        launcher = [sys.executable, "-S", "-c", LAUNCHER, str(number), *command]
        subprocess.run(launcher, stdout=output, stderr=output, stdin=subprocess.DEVNULL, pass_fds=[number], check=True)
        figures.seek(0)
        code, wall, cpu, peak_mb = json.loads(figures.read())
        if code:
            output.seek(0)
            raise SystemExit(f"{command[:3]} ended with {code}: {output.read()[-2000:]!r}")
    return Run(wall, cpu, peak_mb)


def ours(url: str, *options: str) -> Callable[[Path], Run]:
    def run(folder: Path) -> Run:
        script = [sys.executable, str(ROOT / "scripts" / "download_all.py"), "--source", url, "--quiet"]
        return measured([*script, "--data-types", "klines", "--data-dir", str(folder), *options])

    return run


def aria2(url: str, keys: list[str]) -> Callable[[Path], Run]:
    def run(folder: Path) -> Run:
        folder.mkdir()
        wanted = "".join(f"{url}/{key}\n out={key}\n" for name in keys for key in (name, f"{name}.CHECKSUM"))
        (folder / "list").write_text(wanted)
        options = ["-j16", "-x1", "-s1", "--file-allocation=none", "--summary-interval=0", "-q"]
        fetched = measured(["aria2c", *options, "-d", str(folder), "-i", str(folder / "list")])
        verify = "find . -name '*.CHECKSUM' -execdir sha256sum --status -c {} +"
        checked = measured(["sh", "-c", f"cd {folder} && {verify}"])
        return Run(fetched.wall + checked.wall, fetched.cpu + checked.cpu, fetched.peak_mb)

    return run


def serve(folder: Path) -> "tuple[subprocess.Popen[str], str]":
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "serve_archive.py"), str(folder), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "http://" in line:
            return process, "http://" + line.split("http://")[1].split()[0]
    raise SystemExit("the server did not start")


def main() -> None:
    options = _options()
    folder = options.dir or Path(tempfile.mkdtemp(prefix="tapevault-bench-"))
    shutil.rmtree(folder, ignore_errors=True)
    size = make_archive(folder / "archive", options.files)
    keys = sorted(str(path.relative_to(folder / "archive")) for path in folder.rglob("*.zip"))
    server, url = serve(folder / "archive")
    contenders = {
        "download_all.py": ours(url),
        "download_all.py --download-only": ours(url, "--download-only"),
    }
    if shutil.which("aria2c"):
        contenders["aria2c -j16, then sha256sum"] = aria2(url, keys)
    try:
        runs = _race(contenders, folder / "here", options.rounds)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
    _report(runs, options.files, size)


def _race(contenders: dict[str, Callable[[Path], Run]], folder: Path, rounds: int) -> dict[str, list[Run]]:
    """Interleaved rounds, after one that is not counted (it fills the server's digest cache)."""
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            shutil.rmtree(folder, ignore_errors=True)
            run = contender(folder)
            if number:
                runs[name].append(run)
    return runs


def _report(runs: dict[str, list[Run]], files: int, size: int) -> None:
    first = statistics.median(run.wall for run in next(iter(runs.values())))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{files} archives, {size / 1e6:.1f} MB; {machine}")
    print(f"{'':34}{'wall s':>8}{'files/s':>9}{'cpu s':>8}{'peak MB':>9}{'ratio':>7}")
    for name, all_runs in runs.items():
        wall, cpu, peak = (
            statistics.median(getattr(run, what) for run in all_runs) for what in ("wall", "cpu", "peak_mb")
        )
        print(f"{name:34}{wall:8.2f}{files / wall:9.0f}{cpu:8.2f}{peak:9.0f}{wall / first:7.2f}")
    whole, alone = (statistics.median(run.wall for run in all_runs) for all_runs in list(runs.values())[:2])
    reached = "reached" if whole <= 1.5 * alone else "NOT reached"
    print(f"  everything against --download-only: {whole / alone:.2f} (goal 1.5 or less: {reached})")
    print(json.dumps({name: [vars(run) for run in all_runs] for name, all_runs in runs.items()}), file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="archives (default 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds (default 3)")
    parser.add_argument("--dir", type=Path, help="work folder, emptied and removed (default: a temporary one)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
