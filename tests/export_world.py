"""What the tests of exports share: rows stored as the exchange would publish them, and a tool that reads what we wrote.

The tools' Pythons lie in `<TAPEVAULT_TOOLS>/<tool>` (default `.venv-tools` in the checkout; `make tools` makes them).
`tests/tools/read_<tool>.py` is run by such a Python and prints one JSON object.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from factories import ROOT, zip_bytes

from core.datasets import DATASETS
from core.export import EXPORTS
from core.export.format import Options, Written
from core.layout import Layout
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import ArchiveFile, FetchedFile, Market, Period, Proof, Series, Span

TOOLS = Path(os.environ.get("TAPEVAULT_TOOLS", ROOT / ".venv-tools"))
ALWAYS = Span(0, 4_000_000_000_000_000)
JANUARY_MS = 1_704_067_200_000
"""2024-01-01 00:00 UTC."""
HOUR_MS = 3_600_000


def series(dataset: str, symbol: str, market: str = "um", interval: str = "1h") -> Series:
    return Series(Market(market), dataset, symbol, interval if DATASETS[dataset].has_interval else None)


def storage_at(root: Path) -> StorageManager:
    return StorageManager(Layout(root), StorageSettings(csv_datasets=(), row_group_rows=100), QualitySettings())


def store(root: Path, one: Series, period: str, lines: Iterable[str]) -> StorageManager:
    """Store lines of the exchange's CSV; the one place where these tests write data."""
    storage, label = storage_at(root), Period.parse(period)
    path = Layout(root).raw(one, label)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zip_bytes({f"{path.stem}.csv": ("\n".join(lines) + "\n").encode()}))
    file = ArchiveFile(one, label, f"data/{path.name}", path.stat().st_size, "", None, "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert not storage.store([FetchedFile(file, path, file.size, digest, Proof.UNVERIFIED)]).refused
    return storage


def candle(
    at_ms: int, prices: str = "42000.1,42100.5,41900,42050.25", volume: str = "12.5", step_ms: int = HOUR_MS
) -> str:
    """A line of klines or of prices: `prices` are open, high, low, close."""
    return f"{at_ms},{prices},{volume},{at_ms + step_ms - 1},525000.125,101,6.25,262500,0"


def trade(number: int, at: int, price: str = "42000.1", qty: str = "0.005", maker: str = "true") -> str:
    return f"{number},{price},{qty},210.0005,{at},{maker}"


def export(
    name: str, storage: StorageManager, ones: Iterable[Series], folder: Path, span: Span = ALWAYS, **options: Any
) -> list[Written]:
    return list(EXPORTS[name].write(storage, tuple(ones), span, folder, Options(**options)))


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def read_by(tool: str, *arguments: object) -> Any:
    """What the tool itself reads. Skips, visibly, where it is not installed."""
    python = TOOLS / tool / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{tool} is not installed at {TOOLS / tool} (make tools, or TAPEVAULT_TOOLS)")
    command = [str(python), str(ROOT / "tests" / "tools" / f"read_{tool}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
