"""Events folded into a snapshot."""

from core.events import (
    Event,
    FileFailed,
    FileFetched,
    FileMissing,
    FileProgressed,
    FileRetrying,
    FileStarted,
    FileStored,
    FindingRaised,
    RunFinished,
    RunPlanned,
    RunStarted,
    Snapshot,
    fan_out,
    log_event,
)
from core.types import Finding, Market, Proof, Series, Span, State


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_run_is_folded_into_counts_bytes_and_rates() -> None:
    clock = Clock()
    snapshot = Snapshot(clock)
    snapshot.apply(RunStarted(3, goal=State.STORED))
    snapshot.apply(RunPlanned(files=4, size_bytes=4000, skipped=6, is_whole=True))
    snapshot.apply(FileStarted("a", 1000, 200))
    clock.now += 2
    snapshot.apply(FileProgressed("a", 600))
    assert (snapshot.partial_bytes, snapshot.transferred, snapshot.rate_bytes) == (600, 400, 200.0)
    snapshot.apply(FileRetrying("a", "reset", 1, 0.5))
    snapshot.apply(FileStarted("a", 1000, 600))
    assert snapshot.active["a"].attempt == 2
    snapshot.apply(FileProgressed("a", 1000))
    snapshot.apply(FileFetched("a", 1000, 800, Proof.SHA256_BY_ETAG))
    snapshot.apply(FileStored("a", 744))
    snapshot.apply(FileMissing("b"))
    snapshot.apply(FileFailed("c", "broken"))
    assert snapshot.counts == {"fetched": 1, "stored": 1, "missing": 1, "failed": 1, "retries": 1}
    assert (snapshot.bytes_done, snapshot.transferred, snapshot.rows, snapshot.active) == (1000, 800, 744, {})
    assert snapshot.finished_files == 3
    assert snapshot.average_bytes == 400.0
    clock.now += 60
    assert snapshot.rate_bytes == 0.0


def test_runs_behind_each_other_are_counted_together() -> None:
    snapshot = Snapshot(Clock())
    for run in (4, 5):
        snapshot.apply(RunStarted(run, goal=State.STORED))
        for files in (1, 3):
            snapshot.apply(RunPlanned(files=files, size_bytes=10 * files, skipped=2, is_whole=True))
        snapshot.apply(FileStored(f"{run}", 744))
    assert (snapshot.run, snapshot.files, snapshot.size_bytes, snapshot.skipped) == (5, 6, 60, 4)
    assert snapshot.finished_files == 2


def test_a_file_that_starts_over_counts_what_really_came() -> None:
    snapshot = Snapshot(Clock())
    for event in (
        FileStarted("a", 100, 0),
        FileProgressed("a", 60),
        FileStarted("a", 100, 0),
        FileProgressed("a", 100),
    ):
        snapshot.apply(event)
    assert snapshot.transferred == 160


def test_every_listener_hears_every_event_in_order() -> None:
    first: list[Event] = []
    second: list[Event] = []
    emit = fan_out(first.append, second.append)
    emit(RunFinished(1, 2.0))
    emit(FileMissing("x"))
    assert first == second == [RunFinished(1, 2.0), FileMissing("x")]


def test_log_lines_name_failures_and_findings(caplog) -> None:  # type: ignore[no-untyped-def]
    series = Series(Market.UM, "trades", "BTCUSDT")
    log_event(FileFailed("k.zip", "broken"))
    log_event(FindingRaised(Finding(series, Span(0, 1), "duplicate-rows", "2024-01: 3 exact duplicates dropped")))
    log_event(FileProgressed("k.zip", 1))
    assert [record.getMessage() for record in caplog.records] == [
        "failed k.zip: broken",
        "finding duplicate-rows um/trades/BTCUSDT: 2024-01: 3 exact duplicates dropped",
    ]
