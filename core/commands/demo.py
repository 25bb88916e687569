"""The main job against the embedded sample archive: serve, download, download again, load. Needs no network."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal

from core.commands.command import Parser, shown
from core.errors import MarketDataError
from core.sample.archive import DEMO_SHELVES, write_archive
from core.sample.market import demo_market
from core.sample.server import running_server
from core.settings import CHECKOUT, load_settings
from loader import BacktestDataLoader

EXAMPLES = """examples:
  python scripts/demo.py
  python scripts/demo.py --dir /tmp/tapevault-demo
"""
SYMBOLS = ["BTCUSDT", "ETHUSDT", "1000SHIBUSDT"]
COLUMNS = ["timestamp", "symbol", "close", "mark_close", "premium_close", "funding_rate"]


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    console = Console()
    home = options.dir.expanduser().absolute()
    console.rule("1 · a small exchange on this machine")
    with console.status("inventing fifteen months of trades, and all that follows from them"):
        counts = write_archive(demo_market(), home / "archive", DEMO_SHELVES)
    console.print(
        f"{counts.zips} archives, {counts.rows:,} rows, {decimal(counts.size_bytes)} in {shown(home / 'archive')}"
    )
    with running_server(home / "archive") as server:
        console.print(f"served at {server.url}")
        common = ["--source", server.url, "--data-dir", shown(home / "data")]
        trades = ["--symbols", "BTCUSDT", "--data-types", "trades,agg_trades", "--start", "2025-02-16"]
        console.rule("2 · download, verify, store")
        _run(console, common)
        _run(console, [*common, *trades])
        console.rule("3 · the same again: nothing is left to do")
        _run(console, common)
    console.rule("4 · load")
    _show_frames(console, home / "data")
    return 0


def _run(console: Console, options: Sequence[str]) -> None:
    script = Path("scripts") / "download_all.py"
    console.print(f"$ python {script} {' '.join(options)}", style="bold", soft_wrap=True, highlight=False)
    done = subprocess.run([sys.executable, str(CHECKOUT / script), *options], check=False)  # noqa: S603 (our own script)
    if done.returncode:
        raise MarketDataError(f"download_all.py ended with exit code {done.returncode}; see its message above")


def _show_frames(console: Console, data: Path) -> None:
    console.print(
        "from loader import BacktestDataLoader\n"
        f"frame = BacktestDataLoader().load_aligned_data({SYMBOLS}, '2025-01-30', '2025-01-31')",
        style="bold",
        highlight=False,
        soft_wrap=True,
    )
    with BacktestDataLoader(data_dir=data) as loader:
        frame = loader.load_aligned_data(SYMBOLS, "2025-01-30", "2025-01-31")
    rows = frame.groupby("symbol", observed=True).tail(3)[COLUMNS]
    rows = rows.assign(timestamp=rows["timestamp"].dt.strftime("%Y-%m-%d %H:%M"))
    console.print(rows.to_string(index=False), highlight=False, soft_wrap=True)
    console.print(f"... of {len(frame)} rows and {len(frame.columns)} columns; a row was known at its `available_at`")


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=EXAMPLES)
    home = load_settings().data_root / "demo"
    made.add_argument("--dir", type=Path, default=home, help="where archive and data go (default: data/demo)")
    return made
