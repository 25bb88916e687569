"""The status database: what a row may become, who may hold it, and what a crash leaves."""

import dataclasses
import multiprocessing
import os
import signal
import sqlite3
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, inspect, select, update

from core.download.process import ProcessIdentity
from core.download.tables import MIGRATIONS, RUNS, SCHEMA_STEPS, migrate
from core.download.tracker import SILENT_SECONDS, Change, DownloadTracker
from core.errors import TrackerError
from core.types import (
    ArchiveFile,
    Download,
    FetchedFile,
    Market,
    Partition,
    Period,
    Proof,
    Series,
    Source,
    State,
    Stored,
)

SERIES = Series(Market.UM, "klines", "BTCUSDT", "1h")


def listed(count: int, etag: str = "a") -> list[ArchiveFile]:
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(count)]
    return [
        ArchiveFile(
            SERIES, Period.day(day), f"data/x/{day}.zip", 100 + n, f"{etag}{n}", f"c{n}", "2024-01-02T00:00:00Z"
        )
        for n, day in enumerate(days)
    ]


def fetched(file: ArchiveFile) -> FetchedFile:
    return FetchedFile(file, Path("x.zip"), file.size, "5" * 64, Proof.SHA256_BY_ETAG, file.size)


def stored(file: ArchiveFile) -> Stored:
    source = Source(file.key, file.period, "5" * 64, Proof.SHA256_BY_ETAG, "ms", 24, 1, 2, 1, 2)
    return Stored((Partition(file.series, file.period, Path("x.parquet"), (source,)),), (), {file.key: source}, {})


@pytest.fixture
def tracker(tmp_path: Path):
    with DownloadTracker(tmp_path / "metadata" / "status.db") as tracker:
        yield tracker


def got(download: Download) -> Change:
    return Change(download, State.FETCHED, fetched=fetched(download.file))


def made(download: Download) -> Change:
    return Change(download, State.STORED, stored=stored(download.file))


def finish(tracker: DownloadTracker, run: int, row: int) -> None:
    (download,) = tracker.claim(run, [row])
    assert tracker.advance(run, [got(download), made(download)]) == set()


def test_a_new_file_goes_from_planned_to_stored(tracker: DownloadTracker) -> None:
    plan = tracker.plan(listed(2))
    assert (len(plan.fetch), plan.process, plan.done, plan.fetch_bytes) == (2, {}, {}, 201)
    run = tracker.begin_run("test")
    (download,) = tracker.claim(run, [plan.fetch[0]])
    assert (download.state, download.owner, download.attempts, download.sha256) == (State.ACTIVE, run, 1, None)
    assert tracker.advance(run, [got(download), made(download)]) == set()
    (row,) = tracker.states([plan.fetch[0]])
    assert (row.state, row.owner, row.sha256, row.proof) == (State.STORED, None, "5" * 64, Proof.SHA256_BY_ETAG)
    assert tracker.totals() == {State.STORED: 1, State.PLANNED: 1}


def test_planning_the_same_files_again_changes_nothing(tracker: DownloadTracker) -> None:
    first = tracker.plan(listed(1200))
    assert tracker.plan(listed(1200)) == first
    assert len(set(first.fetch)) == 1200


def test_look_says_what_plan_would_do_and_writes_nothing(tracker: DownloadTracker) -> None:
    seen = tracker.look(listed(3))
    assert (len(seen.fetch), seen.fetch_bytes) == (3, 303)
    assert tracker.totals() == {}


def test_a_row_is_claimed_once(tracker: DownloadTracker) -> None:
    plan = tracker.plan(listed(5))
    run, other = tracker.begin_run("one"), tracker.begin_run("other")
    assert len(tracker.claim(run, plan.fetch[:3])) == 3
    assert [row.id for row in tracker.claim(other, plan.fetch)] == list(plan.fetch[3:])
    assert tracker.claim(run, plan.fetch) == []
    assert [(holder.run, holder.files) for holder in tracker.holders(plan.fetch)] == [(run, 3), (other, 2)]


def test_a_replaced_object_is_planned_again_and_reported(tracker: DownloadTracker) -> None:
    (row,) = tracker.plan(listed(1)).fetch
    finish(tracker, tracker.begin_run("test"), row)
    plan = tracker.plan(listed(1, etag="b"))
    assert (plan.fetch, plan.done) == ((row,), {})
    assert [(old.id, old.file.etag, old.sha256) for old in plan.changed] == [(row, "a0", "5" * 64)]
    (again,) = tracker.states([row])
    assert (again.state, again.sha256, again.proof, again.attempts) == (State.PLANNED, None, None, 0)


@pytest.mark.parametrize("state", [State.FAILED, State.MISSING])
def test_a_later_run_asks_again_for_what_failed(tracker: DownloadTracker, state: State) -> None:
    (row,) = tracker.plan(listed(1)).fetch
    run = tracker.begin_run("test")
    (download,) = tracker.claim(run, [row])
    tracker.advance(run, [Change(download, state, error="because")])
    assert tracker.states([row])[0].error == "because"
    assert tracker.plan(listed(1)).fetch == (row,)
    assert tracker.states([row])[0].state is State.PLANNED


def test_what_failed_to_be_stored_is_stored_again_and_not_fetched(tracker: DownloadTracker) -> None:
    run = tracker.begin_run("test")
    rows = tracker.plan(listed(3)).fetch
    ends = [
        Change(d, State.FAILED, error="line 7", proof=p)
        for d, p in zip(tracker.claim(run, rows), (None, Proof.DISPUTED, None), strict=True)
    ]
    tracker.advance(run, [got(ends[0].download), got(ends[1].download), *ends])
    assert [(row.sha256, row.proof) for row in tracker.states(rows)] == [
        ("5" * 64, Proof.SHA256_BY_ETAG),
        ("5" * 64, Proof.DISPUTED),
        (None, None),
    ]
    plan = tracker.plan(listed(3))
    assert (plan.process, plan.fetch) == ({rows[0]: listed(1)[0]}, rows[1:])
    (row,) = tracker.states(rows[:1])
    assert (row.state, row.sha256, row.proof) == (State.FETCHED, "5" * 64, Proof.SHA256_BY_ETAG)
    assert (row.attempts, row.error) == (0, None)
    assert tracker.plan(listed(3, etag="b")).process == {}


def test_finishing_a_run_lets_go_of_its_rows_and_keeps_verified_bytes(tracker: DownloadTracker) -> None:
    plan = tracker.plan(listed(2))
    run = tracker.begin_run("test")
    verified, _ = tracker.claim(run, plan.fetch)
    tracker.advance(run, [got(verified)])
    tracker.finish_run(run)
    assert [(row.state, row.owner) for row in tracker.states(plan.fetch)] == [
        (State.FETCHED, None),
        (State.PLANNED, None),
    ]
    assert tracker.plan(listed(2)).process == {verified.id: verified.file}


def test_a_row_that_another_run_has_taken_over_is_left_alone(tracker: DownloadTracker) -> None:
    plan = tracker.plan(listed(2))
    run, other = tracker.begin_run("slow"), tracker.begin_run("other")
    mine, lost = tracker.claim(run, plan.fetch)
    tracker.finish_run(run)
    tracker.claim(other, [lost.id])
    assert tracker.claim(run, [mine.id]) != []
    assert tracker.advance(run, [got(mine), Change(lost, State.FAILED, error="too late"), made(mine)]) == {lost.id}
    stored_row, taken = tracker.states([mine.id, lost.id])
    assert (stored_row.state, stored_row.owner) == (State.STORED, None)
    assert (taken.state, taken.owner, taken.error) == (State.ACTIVE, other, None)


def test_one_transaction_takes_many_rows_to_different_ends(tracker: DownloadTracker) -> None:
    plan = tracker.plan(listed(4))
    run = tracker.begin_run("test")
    a, b, c, d = tracker.claim(run, plan.fetch)
    changes = [got(a), Change(b, State.MISSING, error="gone"), got(c), made(a)]
    assert tracker.advance(run, [*changes, Change(d, State.FAILED, error="x", proof=Proof.DISPUTED)]) == set()
    rows = {row.id: (row.state, row.owner, row.proof) for row in tracker.states(plan.fetch)}
    assert rows == {
        a.id: (State.STORED, None, Proof.SHA256_BY_ETAG),
        b.id: (State.MISSING, None, None),
        c.id: (State.FETCHED, run, Proof.SHA256_BY_ETAG),
        d.id: (State.FAILED, None, Proof.DISPUTED),
    }


def test_a_replaced_archive_is_a_revision_with_both_digests(tracker: DownloadTracker) -> None:
    run = tracker.begin_run("test")
    for row in tracker.plan(listed(2)).fetch:
        finish(tracker, run, row)
    first, _ = tracker.plan(listed(2, etag="b")).fetch
    tracker.plan(listed(2, etag="c"))  # replaced once more before it came
    old = ("5" * 64, "a0", "c0")
    assert next((each.old_sha256, each.old_etag, each.new_etag) for each in tracker.revisions()) == old
    assert [each.new_sha256 for each in tracker.revisions()] == [None, None]
    (download,) = tracker.claim(run, [first])
    new = FetchedFile(download.file, Path("x.zip"), download.file.size, "6" * 64, Proof.SHA256_BY_ETAG)
    tracker.advance(run, [Change(download, State.FETCHED, fetched=new)])
    assert [each.new_sha256 for each in tracker.revisions()] == ["6" * 64, None]
    assert [each.key for each in tracker.revisions()] == [file.key for file in listed(2)]


def test_another_etag_for_the_same_bytes_is_no_revision(tracker: DownloadTracker) -> None:
    run = tracker.begin_run("test")
    for row in tracker.plan(listed(1)).fetch:
        finish(tracker, run, row)
    (row,) = tracker.plan(listed(1, etag="b")).fetch
    assert len(tracker.revisions()) == 1
    finish(tracker, run, row)
    assert tracker.revisions() == []


def test_an_archive_that_could_not_be_stored_and_is_then_replaced_is_a_revision(tracker: DownloadTracker) -> None:
    run = tracker.begin_run("test")
    (row,) = tracker.plan(listed(1)).fetch
    (download,) = tracker.claim(run, [row])
    tracker.advance(run, [got(download), Change(download, State.FAILED, error="line 7: open is '4210O.5'")])
    tracker.plan(listed(1, etag="b"))
    assert [each.old_sha256 for each in tracker.revisions()] == ["5" * 64]


def test_a_new_checksum_has_the_bytes_proved_anew_and_is_no_revision(tracker: DownloadTracker) -> None:
    run = tracker.begin_run("test")
    (row,) = tracker.plan(listed(1)).fetch
    finish(tracker, run, row)
    plan = tracker.plan([dataclasses.replace(file, checksum_etag="other") for file in listed(1)])
    assert (plan.fetch, plan.changed) == ((row,), ())
    assert tracker.revisions() == []


def test_a_file_that_was_never_here_has_no_revision(tracker: DownloadTracker) -> None:
    tracker.plan(listed(1))
    tracker.plan(listed(1, etag="b"))
    assert tracker.revisions() == []


def claim_and_wait(path: Path, claimed) -> None:  # type: ignore[no-untyped-def]
    tracker = DownloadTracker(path)
    run = tracker.begin_run("victim")
    tracker.claim(run, [row.id for row in tracker.states(range(1, 4))])
    claimed.set()
    signal.pause()


def test_rows_of_a_killed_process_are_released_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "status.db"
    with DownloadTracker(path) as tracker:
        plan = tracker.plan(listed(3))
        context = multiprocessing.get_context("spawn")
        claimed = context.Event()
        process = context.Process(target=claim_and_wait, args=(path, claimed))
        process.start()
        assert claimed.wait(60)
        assert tracker.release() == 0
        (holder,) = tracker.holders(plan.fetch)
        assert (holder.files, holder.process.pid) == (3, process.pid)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        run = tracker.begin_run("next")
        assert len(tracker.claim(run, plan.fetch)) == 3


def test_a_silent_run_on_another_host_is_dead_after_a_while(tracker: DownloadTracker) -> None:
    plan = tracker.plan(listed(1))
    run = tracker.begin_run("elsewhere")
    tracker.claim(run, plan.fetch)
    with tracker._write() as connection:
        connection.execute(update(RUNS).values(host="another-machine"))
    assert tracker.release() == 0
    with tracker._write() as connection:
        connection.execute(update(RUNS).values(heartbeat_us=RUNS.c.heartbeat_us - (SILENT_SECONDS + 1) * 1_000_000))
    assert tracker.release() == 1


def test_a_used_again_pid_is_not_mistaken_for_the_run() -> None:
    me = ProcessIdentity.current()
    assert me.is_alive()
    assert not ProcessIdentity(me.host, me.pid, "another boot:1").is_alive()
    assert ProcessIdentity("another-machine", me.pid, me.start).is_alive() is None


def test_heartbeat_records_progress_for_monitors(tracker: DownloadTracker) -> None:
    plan = tracker.plan(listed(1))
    run = tracker.begin_run("test")
    tracker.claim(run, plan.fetch)
    tracker.heartbeat(run, {plan.fetch[0]: 77})
    assert tracker.states(plan.fetch)[0].bytes_done == 77


def test_demoted_rows_go_back_a_step_unless_somebody_holds_them(tracker: DownloadTracker) -> None:
    free, held = tracker.plan(listed(2)).fetch
    run = tracker.begin_run("test")
    finish(tracker, run, free)
    tracker.claim(run, [held])
    tracker.demote([free, held], State.FETCHED)
    assert [row.state for row in tracker.states([free, held])] == [State.FETCHED, State.ACTIVE]
    tracker.demote([free], State.PLANNED)
    assert tracker.states([free])[0].sha256 is None


def test_known_lists_files_of_a_market_by_state(tracker: DownloadTracker) -> None:
    plan = tracker.plan(listed(2))
    finish(tracker, tracker.begin_run("test"), plan.fetch[1])
    assert tracker.known(Market.UM, [State.STORED]) == listed(2)[1:]
    assert tracker.known(Market.SPOT, [State.STORED]) == []


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "status.db"
    path.write_bytes(b"not a database at all, but a text\n" * 100)
    with pytest.raises(TrackerError, match=r"status\.db is damaged .* --rebuild-status"):
        DownloadTracker(path)
    assert path.read_bytes().startswith(b"not a database")


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "status.db"
    DownloadTracker(path).close()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("insert into schema_steps values (?, 'tomorrow')", (len(MIGRATIONS) + 1,))
    connection.close()
    with pytest.raises(TrackerError, match="newer Tapevault"):
        DownloadTracker(path)


def test_migrations_run_once_in_order_and_are_recorded() -> None:
    engine = create_engine("sqlite://")

    def add_colour(connection) -> None:  # type: ignore[no-untyped-def]
        connection.exec_driver_sql("alter table runs add column colour text")

    with engine.begin() as connection:
        assert migrate(connection) == len(MIGRATIONS)
        connection.execute(
            insert(RUNS).values(host="h", pid=1, process_start="", command="c", started_us=1, heartbeat_us=1)
        )
        steps = (*MIGRATIONS, add_colour)
        assert migrate(connection, steps) == 1
        assert migrate(connection, steps) == 0
        assert "colour" in {column["name"] for column in inspect(connection).get_columns("runs")}
        assert connection.execute(select(RUNS.c.command)).scalars().all() == ["c"]
        names = connection.execute(select(SCHEMA_STEPS.c.name).order_by(SCHEMA_STEPS.c.step)).scalars().all()
        assert names == [step.__name__ for step in steps]
    engine.dispose()


def open_when_told(path: Path, ready, go) -> None:  # type: ignore[no-untyped-def]
    ready.release()
    go.wait(60)
    DownloadTracker(path).close()


def test_many_first_runs_at_once_may_open_the_same_new_database(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for attempt in range(2):
        ready, go = context.Semaphore(0), context.Event()
        path = tmp_path / str(attempt) / "status.db"
        processes = [context.Process(target=open_when_told, args=(path, ready, go)) for _ in range(3)]
        for process in processes:
            process.start()
        for _ in processes:
            ready.acquire()
        go.set()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0]


def test_the_database_is_in_wal_mode_so_that_readers_never_wait(tracker: DownloadTracker, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "metadata" / "status.db")
    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    with tracker._write():
        assert connection.execute("select count(*) from files").fetchone() == (0,)
    connection.close()
