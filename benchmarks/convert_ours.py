"""Store archives, as a process of its own: `python benchmarks/convert_ours.py JOB.json` (see `convert_peers.Job`)."""

import json
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.exchanges.binance.urls import parse_key
from core.layout import Layout, home_of
from core.settings import QualitySettings, StorageSettings
from core.storage.formats import parquet
from core.storage.manager import StorageManager
from core.types import ArchiveFile, FetchedFile, Proof


def store(storage: StorageManager, fetched: Sequence[FetchedFile]) -> None:
    """The archives of one symbol become partitions, those of one partition together."""
    for _, group in groupby(fetched, key=lambda each: home_of(each.file.series, each.file.period)):
        refused = storage.store(list(group)).refused
        assert not refused, refused


def fetched_file(key: str, path: Path) -> FetchedFile:
    parsed = parse_key(key)
    assert parsed is not None, key
    size = path.stat().st_size
    return FetchedFile(ArchiveFile(*parsed, key, size, "", None, ""), path, size, "0" * 64, Proof.UNVERIFIED)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    if job["encoding"]:
        assert hasattr(parquet, "_encoding")
        parquet._encoding = lambda *_: job["encoding"]
    storage = StorageManager(Layout(Path(job["out"])), StorageSettings(), QualitySettings())
    fetched = [fetched_file(archive["key"], Path(archive["path"])) for archive in job["archives"]]
    for _, group in groupby(fetched, key=lambda each: each.file.series):
        store(storage, list(group))


if __name__ == "__main__":
    main()
