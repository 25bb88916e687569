"""What the status database keeps of runs: how they ended, what they came to, who is to hold still, what failed."""

import multiprocessing
import os
import signal
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest

from core.download.process import ProcessIdentity
from core.download.tracker import Change, Done, DownloadTracker
from core.types import ArchiveFile, Ending, FetchedFile, Market, Period, Proof, Series, State

SERIES = Series(Market.UM, "klines", "BTCUSDT", "1h")
ME = ProcessIdentity.current()


def listed(count: int) -> list[ArchiveFile]:
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(count)]
    return [ArchiveFile(SERIES, Period.day(day), f"data/x/{day}.zip", 100, f"e{day}", "c", "m") for day in days]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metadata" / "status.db"


@pytest.fixture
def tracker(path: Path):
    with DownloadTracker(path) as tracker:
        yield tracker


def run_and_die(path: Path) -> None:
    tracker = DownloadTracker(path)
    run = tracker.begin_run("victim", "python scripts/victim.py --all")
    tracker.heartbeat(run, {}, Done(3, 300, 72, 1))
    tracker.pause(ProcessIdentity.current())
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_says_what_was_typed_what_came_and_how_it_ended(tracker: DownloadTracker) -> None:
    ends = (Ending.FINISHED, Ending.STOPPED, Ending.INTERRUPTED)
    for number, ended in enumerate(ends):
        tracker.finish_run(tracker.begin_run("test", f"line {number}"), ended, Done(number, 10, 20, 30))
    running = tracker.begin_run("test", "line 3")
    told = [(one.line, one.ended, one.files, one.bytes, one.rows, one.failures) for one in tracker.history(10)]
    assert told == [
        ("line 3", Ending.RUNNING, None, None, None, None),
        ("line 2", Ending.INTERRUPTED, 2, 10, 20, 30),
        ("line 1", Ending.STOPPED, 1, 10, 20, 30),
        ("line 0", Ending.FINISHED, 0, 10, 20, 30),
    ]
    assert [one.run for one in tracker.history(2)] == [running, running - 1]
    only = tracker.run_of(running)
    assert only is not None
    assert (only.process, only.seconds, tracker.run_of(99)) == (ME, None, None)


def test_a_killed_run_is_told_before_and_after_its_rows_are_released(tracker: DownloadTracker, path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=run_and_die, args=(path,))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    (before,) = tracker.history(1)
    tracker.release()
    (after,) = tracker.history(1)
    assert before == after
    assert (after.ended, after.line, after.files, after.rows) == (
        Ending.KILLED,
        "python scripts/victim.py --all",
        3,
        72,
    )
    assert after.finished_us is not None
    assert not tracker.is_paused(after.process)  # its wish went with it


def test_runs_of_before_are_told_as_far_as_that_is_known(tracker: DownloadTracker, path: Path) -> None:
    for _ in range(2):
        tracker.finish_run(tracker.begin_run("test"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET ended = NULL, line = NULL, heartbeat_us = 1")
        connection.execute("UPDATE runs SET finished_us = 1 WHERE id = 2")
    assert [(one.ended, one.line) for one in tracker.history(9)] == [(Ending.KILLED, ""), (Ending.OVER, "")]


def test_a_pause_is_of_one_process_and_said_once(tracker: DownloadTracker, path: Path) -> None:
    other = ProcessIdentity(ME.host, ME.pid, "another boot")
    tracker.pause(ME)
    tracker.pause(ME)
    with DownloadTracker(path) as elsewhere:
        assert (elsewhere.is_paused(ME), elsewhere.is_paused(other)) == (True, False)
        elsewhere.pause(ME, False)
    assert not tracker.is_paused(ME)
    tracker.pause(ME, False)


def test_what_failed_is_told_newest_first_and_planned_again(tracker: DownloadTracker) -> None:
    files = listed(5)
    run = tracker.begin_run("test")
    first, second, third, fourth, _ = tracker.claim(run, tracker.plan(files).fetch)
    bytes_here = FetchedFile(second.file, Path("x"), 100, "5" * 64, Proof.SHA256_BY_ETAG)
    tracker.advance(run, [Change(first, State.FAILED, error="reset by peer")])
    tracker.advance(run, [Change(second, State.FETCHED, fetched=bytes_here)])
    tracker.advance(run, [Change(second, State.FAILED, error="line 3 is no row")])
    tracker.advance(run, [Change(third, State.CORRUPT, error="no zip", asked_us=1)])
    tracker.advance(run, [Change(fourth, State.MISSING, asked_us=1)])
    tracker.finish_run(run)
    told = [(one.download.file.key, one.download.state, one.download.error) for one in tracker.failures()]
    assert told == [
        (third.file.key, State.CORRUPT, "no zip"),
        (second.file.key, State.FAILED, "line 3 is no row"),
        (first.file.key, State.FAILED, "reset by peer"),
    ]
    assert len(tracker.failures(most=1)) == 1
    assert tracker.plan_failed([file.key for file in files]) == 2
    states = {row.file.key: (row.state, row.error, row.attempts) for row in tracker.states(range(1, 6))}
    assert states[first.file.key] == (State.PLANNED, None, 0)
    assert states[second.file.key] == (State.FETCHED, None, 0)  # its bytes are here: nothing is fetched again
    assert states[third.file.key][0] is State.CORRUPT
    assert tracker.plan_failed([file.key for file in files]) == 0
