"""`daily_update.py` as a whole process: one new day of five kinds of data for many symbols, from the sample's server.

    python benchmarks/update.py --symbols 500 --days 10 --rounds 3

Publishes hourly candles and prices of the last days but yesterday's, and finished months of funding; downloads them
all; then, in each round, a copy of that data folder is updated after yesterday's archives have been published, and
once more, when nothing is new. Wall time includes the start of the process; requests are counted by the server.
"""

import argparse
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.sample.archive import key_of  # noqa: E402
from core.sample.server import ArchiveServer, running_server  # noqa: E402
from core.types import Cadence, Market, Period, Series  # noqa: E402

KINDS = ("klines", "mark_price", "index_price", "premium_index")
HOUR_MS = 3_600_000


def series_of(number: int) -> list[Series]:
    """The five series of a symbol."""
    symbol = f"S{number:04d}USDT"
    return [*(Series(Market.UM, kind, symbol, "1h") for kind in KINDS), Series(Market.UM, "funding_rate", symbol)]


def publish(folder: Path, series: Series, period: Period) -> None:
    """An archive with all rows of its time."""
    start, hours = period.span.start_us // 1000, (period.span.end_us - period.span.start_us) // 3_600_000_000
    if series.dataset == "funding_rate":
        rows = [f"{start + n * HOUR_MS},8,0.00010000" for n in range(0, hours, 8)]
    else:
        rows = [
            f"{at},{100 + n}.5,{101 + n}.5,{99 + n}.5,{100 + n}.25,0,{at + HOUR_MS - 1},0,60,0,0,0"
            for n, at in enumerate(range(start, start + hours * HOUR_MS, HOUR_MS))
        ]
    target = folder / key_of(series, period)
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{target.stem}.csv", "\n".join(rows) + "\n")
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    target.with_name(f"{target.name}.CHECKSUM").write_text(f"{digest}  {target.name}\n")


def publish_all(folder: Path, symbols: int, days: list[date]) -> None:
    """The days of candles and prices, and the last two finished months of funding."""
    month = Period.day(days[-1]).within(Cadence.MONTHLY)
    months = [Period.day(month.first - timedelta(days=back)).within(Cadence.MONTHLY) for back in (1, 40)]
    for number in range(symbols):
        *candles, funding = series_of(number)
        for series in candles:
            for day in days:
                publish(folder, series, Period.day(day))
        for one in months:
            publish(folder, funding, one)


def run(script: str, server: ArchiveServer, data: Path, *options: str) -> tuple[float, dict[str, Any]]:
    """Seconds of wall time, and what the command said at its end."""
    command = [
        sys.executable,
        str(ROOT / "scripts" / script),
        "--source",
        server.url,
        "--data-dir",
        str(data),
        "--json",
    ]
    began = time.monotonic()
    done = subprocess.run([*command, "--quiet", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{script} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.monotonic() - began, json.loads(done.stdout)


def told(name: str, seconds: list[float], said: dict[str, Any], requests: int) -> str:
    middle = statistics.median(seconds)
    return (
        f"{name:<17} {middle:7.2f} s {said['downloaded']:6} downloaded {said['stored']:6} stored {requests:6} requests"
        f" ({said['asked']} to the listing, {said['probed']} probes)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where to work (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder, base = Path(name) / "served", Path(name) / "base"
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        days = [yesterday - timedelta(days=back) for back in range(options.days, 0, -1)]  # without yesterday
        began = time.monotonic()
        publish_all(folder, options.symbols, days)
        print(f"published in {time.monotonic() - began:.1f} s: {options.symbols} symbols x 5 kinds, {len(days)} days")
        with running_server(folder) as server:
            seconds, said = run("download_all.py", server, base, "--start", (days[0] - timedelta(days=60)).isoformat())
            print(f"downloaded in {seconds:.1f} s: {said['stored']} archives")
            run("daily_update.py", server, base)  # the first look for new listings
            for number in range(options.symbols):
                for series in series_of(number)[:-1]:
                    publish(folder, series, Period.day(yesterday))
            measured(server, base, options.rounds)


def measured(server: ArchiveServer, base: Path, rounds: int) -> None:
    news: list[float] = []
    idle: list[float] = []
    for _ in range(rounds):
        data = base.with_name("round")
        shutil.copytree(base, data)
        server.hits.clear()
        seconds, said = run("daily_update.py", server, data)
        news.append(seconds)
        first = told("yesterday is new", news, said, server.hits.total())
        server.hits.clear()
        seconds, said = run("daily_update.py", server, data)
        idle.append(seconds)
        second = told("nothing is new", idle, said, server.hits.total())
        shutil.rmtree(data)
    print(f"median of {rounds}:\n{first}\n{second}")


if __name__ == "__main__":
    main()
