"""What it costs to watch a run: `monitor.py live` in a terminal beside a live run on a database of a million archives.

    python benchmarks/watching.py --rows 1000000 --seconds 60

Makes a status database with so many rows of `files`, starts a slowed download of 500 symbols into that data folder,
and shows it in terminals of 80x24 and 160x50, one after the other. CPU time of a process is taken when it has drawn
some frames, and again at the end: starting Python and loading Rich is not refreshing. The run's own CPU time is taken
while a monitor shows it and while none does.
"""

import argparse
import fcntl
import hashlib
import json
import os
import pty
import random
import select
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.download.tracker import DownloadTracker  # noqa: E402
from core.layout import Layout  # noqa: E402
from core.sample.archive import key_of  # noqa: E402
from core.sample.server import running_server  # noqa: E402
from core.types import ArchiveFile, Market, Period, Series  # noqa: E402

MONTHS = [Period.month(2019 + number // 12, number % 12 + 1) for number in range(50)]
SYMBOLS, FILE_BYTES = 500, 34_000
CONNECTION_BYTES_PER_SECOND = 8_000
WARM_SECONDS = 8.0


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data"
        began = time.monotonic()
        size = _make_rows(data, options.rows)
        print(f"{options.rows:,} rows in {size / 1e6:.0f} MB, made in {time.monotonic() - began:.0f} s", flush=True)
        _publish(folder / "archive")
        with running_server(folder / "archive", bytes_per_second=CONNECTION_BYTES_PER_SECOND) as server:
            run = _start_run(server.url, data)
            try:
                _measure(options, data, run.pid)
            finally:
                run.kill()
                run.wait()


def _measure(options: argparse.Namespace, data: Path, run: int) -> None:
    while not (views := list(Layout(data).live.glob("*.json"))) or not json.loads(views[0].read_text())["is_listed"]:
        time.sleep(0.5)
    view = views[0].read_text()
    print(f"the view of the run: {len(view):,} bytes, {len(json.loads(view)['symbols'])} symbols", flush=True)
    alone = _share(run, options.seconds)
    print(f"the run alone: {alone:.2f} % of a core")
    worst = 0.0
    for width, height in ((80, 24), (160, 50)):
        monitor, frames = _start_monitor(data, width, height)
        try:
            time.sleep(WARM_SECONDS)
            drawn = frames[0]
            watched: list[float] = []
            beside = threading.Thread(target=lambda into=watched: into.append(_share(run, options.seconds)))
            beside.start()
            share = _share(monitor.pid, options.seconds)
            beside.join()
            drawn = frames[0] - drawn
        finally:
            monitor.kill()
            monitor.wait()
        worst = max(worst, share)
        print(f"monitor.py live, {width}x{height}: {share:.2f} % of a core, {drawn} frames; the run {watched[0]:.2f} %")
    if worst > options.most:
        raise SystemExit(f"goal missed: {worst:.2f} % is more than {options.most} %")


def _share(process: int, seconds: float) -> float:
    """Per cent of a core that a process takes over so long."""
    before, began = _spent(process), time.monotonic()
    time.sleep(seconds)
    return 100 * (_spent(process) - before) / (time.monotonic() - began)


def _spent(process: int) -> float:
    """Seconds of CPU time so far, by ticks of 10 ms as a rule, from Linux's /proc."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _make_rows(data: Path, rows: int) -> int:
    layout = Layout(data)
    with DownloadTracker(layout.database) as tracker:
        files: list[ArchiveFile] = []
        for symbol in range(rows // len(MONTHS)):
            series = Series(Market.UM, "klines", f"R{symbol:05d}USDT", "1m")
            files += [ArchiveFile(series, month, key_of(series, month), 1, "e" * 32, "c" * 32, "") for month in MONTHS]
            if len(files) >= 50_000:
                tracker.plan(files)
                files = []
        tracker.plan(files)
    return layout.database.stat().st_size


def _publish(folder: Path) -> None:
    """Archives whose bytes nobody unpacks: the run only downloads."""
    content = random.Random(3).randbytes(FILE_BYTES)
    for number in range(SYMBOLS):
        series = Series(Market.UM, "klines", f"S{number:04d}USDT", "1h")
        for month in MONTHS[:4]:
            target = folder / key_of(series, month)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            text = f"{hashlib.sha256(content).hexdigest()}  {target.name}\n"
            target.with_name(f"{target.name}.CHECKSUM").write_text(text)


def _start_run(url: str, data: Path) -> "subprocess.Popen[bytes]":
    words = ["--source", url, "--data-dir", str(data), "--data-types", "klines", "--download-only"]
    words += ["--workers", "16"]
    script = str(ROOT / "scripts" / "download_all.py")
    return subprocess.Popen([sys.executable, script, *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _start_monitor(data: Path, width: int, height: int) -> tuple["subprocess.Popen[bytes]", list[int]]:
    """The real command in a terminal that somebody reads, and how many frames it has drawn so far."""
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "monitor.py"), "live", "--data-dir", str(data)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=os.environ | {"TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(slave)
    frames = [0]

    def read() -> None:
        while select.select([master], [], [], None)[0]:
            try:
                frames[0] += os.read(master, 1 << 16).count(b"\x1b[H")
            except OSError:  # the monitor has gone
                os.close(master)
                return

    threading.Thread(target=read, daemon=True).start()
    return process, frames


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--most", type=float, default=2.0, help="per cent of a core that a monitor may take")
    return parser.parse_args()


if __name__ == "__main__":
    main()
