"""`monitor.py integrity --deep` as a whole process over a store of N symbols, a year of five data types each.

    python benchmarks/integrity.py --symbols 500 --rounds 3 --dir /dev/shm/bench

Hourly candles, mark, index and premium, and funding: 12 monthly archives of each in `raw/`, stored for real, with the
rows of one invented symbol under N names. Wall time includes the start of the process.
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
import time
import zipfile
from datetime import date
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.datasets import DATASETS  # noqa: E402
from core.layout import Layout  # noqa: E402
from core.sample.archive import key_of  # noqa: E402
from core.sample.csv_text import csv_bytes  # noqa: E402
from core.sample.market import small_market  # noqa: E402
from core.settings import QualitySettings, StorageSettings  # noqa: E402
from core.storage.manager import StorageManager  # noqa: E402
from core.types import ArchiveFile, FetchedFile, Market, Period, Proof, Series  # noqa: E402

KINDS = ("klines", "mark_price", "index_price", "premium_index", "funding_rate")
MONTHS = [Period.month(2023, month) for month in range(1, 13)]


def main() -> int:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="integrity-", dir=options.dir))
    try:
        began = time.perf_counter()
        rows = make_store(folder, options.symbols)
        print(f"{options.symbols} symbols, {rows:,} rows, made in {time.perf_counter() - began:.1f} s", file=sys.stderr)
        runs = {mode: [measured(folder, mode) for _ in range(options.rounds)] for mode in ("--deep", "")}
        for mode, found in runs.items():
            walls = [wall for wall, _, _ in found]
            print(f"integrity {mode:6} {statistics.median(walls):7.2f} s (best {min(walls):.2f}), {found[0][1]}")
            if any(code for _, _, code in found):
                print(f"integrity {mode} found something: the store is not clean", file=sys.stderr)
                return 1
        print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def make_store(folder: Path, symbols: int) -> int:
    """Archives and partitions of so many symbols; returns their rows."""
    market = small_market(first=date(2023, 1, 1), last=date(2023, 12, 31))
    layout = Layout(folder)
    storage = StorageManager(layout, StorageSettings(csv_datasets=()), QualitySettings())
    texts = {
        (kind, month): csv_bytes(one, month, market.rows(one, month.span))
        for kind in KINDS
        for one in [_series(kind, "BTCUSDT")]
        for month in MONTHS
    }
    rows = 0
    for number in range(symbols):
        for kind in KINDS:
            series = _series(kind, f"S{number:04d}USDT")
            stored = storage.store([_put(layout, series, month, texts[kind, month]) for month in MONTHS])
            rows += sum(partition.rows for partition in stored.partitions)
    return rows


def _series(kind: str, symbol: str) -> Series:
    return Series(Market.UM, kind, symbol, "1h" if DATASETS[kind].has_interval else None)


def _put(layout: Layout, series: Series, month: Period, text: bytes) -> FetchedFile:
    path = layout.raw(series, month)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"{path.stem}.csv", text)
    content = buffer.getvalue()
    path.write_bytes(content)
    file = ArchiveFile(series, month, key_of(series, month), len(content), "", None, "")
    return FetchedFile(file, path, len(content), hashlib.sha256(content).hexdigest(), Proof.SHA256_BY_ETAG)


def measured(folder: Path, mode: str) -> tuple[float, str, int]:
    """Seconds of one run, what it says it looked at, and its exit code."""
    command = [sys.executable, str(ROOT / "scripts" / "monitor.py"), "integrity", "--data-dir", str(folder), "--json"]
    began = time.perf_counter()
    done = subprocess.run([*command, *filter(None, [mode])], capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    said = json.loads(done.stdout)
    return wall, f"{said['series']} series, {said['rows']:,} rows", done.returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where the store is made (default: the system's temporary folder)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
