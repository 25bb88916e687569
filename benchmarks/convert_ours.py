"""Store archives, as a process of its own: `python benchmarks/convert_ours.py JOB.json` (see `convert_peers.Job`)."""

import json
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from convert_peers import Archive, Job

from core.layout import Layout, home_of
from core.settings import QualitySettings, StorageSettings
from core.storage.formats import parquet
from core.storage.manager import StorageManager
from core.types import ArchiveFile, FetchedFile, Market, Period, Proof, Series


def store(storage: StorageManager, fetched: Sequence[FetchedFile]) -> None:
    """The archives of one symbol become partitions, those of one partition together."""
    for _, group in groupby(fetched, key=lambda each: home_of(each.file.series, each.file.period)):
        refused = storage.store(list(group)).refused
        assert not refused, refused


def fetched_file(archive: Archive) -> FetchedFile:
    market, dataset, symbol, interval = archive["series"]
    series = Series(Market(market), dataset, symbol, interval or None)
    path = Path(archive["path"])
    size = path.stat().st_size
    file = ArchiveFile(series, Period.parse(archive["period"]), archive["key"], size, "", None, "")
    return FetchedFile(file, path, size, "0" * 64, Proof.UNVERIFIED)


def main() -> None:
    job: Job = json.loads(Path(sys.argv[1]).read_text())
    if job["encoding"]:
        assert hasattr(parquet, "_encoding")
        parquet._encoding = lambda *_: job["encoding"]
    settings = StorageSettings(parser=job["parser"])
    storage = StorageManager(Layout(Path(job["out"])), settings, QualitySettings())
    fetched = [fetched_file(archive) for archive in job["archives"]]
    for _, group in groupby(fetched, key=lambda each: each.file.series):
        store(storage, list(group))


if __name__ == "__main__":
    main()
