"""Store archives, as a process of its own: `python benchmarks/convert_ours.py JOB.json` (see `convert_peers.Job`)."""

import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from convert_peers import Archive, Job

from core.layout import Layout, home_of
from core.settings import QualitySettings, StorageSettings
from core.types import ArchiveFile, FetchedFile, Market, Period, Proof, Series, Stored

Store = Callable[[Sequence[FetchedFile]], Stored]


def here(job: Job) -> None:
    """With `StorageManager`, in this process."""
    from core.storage.formats import parquet
    from core.storage.manager import StorageManager

    if job["encoding"]:
        assert hasattr(parquet, "_encoding")
        parquet._encoding = lambda *_: job["encoding"]
    storage = StorageManager(Layout(Path(job["out"])), StorageSettings(parser=job["parser"]), QualitySettings())
    for fetched in series_of(job):
        store(storage.store, fetched)


def elsewhere(job: Job) -> None:
    """With `StoragePool`, as `download_all.py --process-only` does: several series at once, each in its order."""
    from core.storage.pool import StoragePool

    settings = StorageSettings(parser=job["parser"])
    with StoragePool(Layout(Path(job["out"])), settings, QualitySettings(), job["processes"]) as storage:
        every = series_of(job)
        storage.expect(sum(each.size for fetched in every for each in fetched))
        with ThreadPoolExecutor(storage.at_once) as threads:
            list(threads.map(lambda fetched: store(storage.store, fetched), every))


def store(into: Store, fetched: Sequence[FetchedFile]) -> None:
    """The archives of one symbol become partitions, those of one partition together."""
    for _, group in groupby(fetched, key=lambda each: home_of(each.file.series, each.file.period)):
        refused = into(list(group)).refused
        assert not refused, refused


def series_of(job: Job) -> list[list[FetchedFile]]:
    fetched = [fetched_file(archive) for archive in job["archives"]]
    return [list(group) for _, group in groupby(fetched, key=lambda each: each.file.series)]


def fetched_file(archive: Archive) -> FetchedFile:
    market, dataset, symbol, interval = archive["series"]
    series = Series(Market(market), dataset, symbol, interval or None)
    path = Path(archive["path"])
    size = path.stat().st_size
    file = ArchiveFile(series, Period.parse(archive["period"]), archive["key"], size, "", None, "")
    return FetchedFile(file, path, size, "0" * 64, Proof.UNVERIFIED)


def main() -> None:
    job: Job = json.loads(Path(sys.argv[1]).read_text())
    if job["processes"]:
        elsewhere(job)
    else:
        here(job)


if __name__ == "__main__":
    main()
