"""The status database and faults of the source: when they are planned again, and what it knows of series."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from test_tracker import fetched, finish, listed, stored

from core.dates import DAY_US
from core.download.asking import Asking
from core.download.tracker import Change, DownloadTracker
from core.types import FAULTS, Market, Period, Proof, Series, State

SERIES = Series(Market.UM, "klines", "BTCUSDT", "1h")
NOON = 20_000 * DAY_US + DAY_US // 2


@pytest.fixture
def tracker(tmp_path: Path):
    with DownloadTracker(tmp_path / "metadata" / "status.db") as tracker:
        yield tracker


def give_up(tracker: DownloadTracker, state: State, at_us: int, is_fetched: bool = False) -> int:
    """One archive that has a fault now; its row."""
    plan = tracker.plan(listed(1), Asking(at_us))
    run = tracker.begin_run("test")
    (download,) = tracker.claim(run, plan.fetch or list(plan.process))
    changes = [Change(download, State.FETCHED, fetched=fetched(download.file))] if is_fetched else []
    tracker.advance(run, [*changes, Change(download, state, error="because", asked_us=at_us)])
    tracker.finish_run(run)
    return download.id


@pytest.mark.parametrize("state", FAULTS)
def test_a_fault_waits_until_it_is_due(tracker: DownloadTracker, state: State) -> None:
    now, waits = NOON, (1, 2, 4, 7, 7)
    for asks, wait in enumerate(waits, start=1):
        row = give_up(tracker, state, now)
        (known,) = tracker.states([row])
        assert (known.state, known.fault, known.asks, known.error) == (state, state, asks, "because")
        early = tracker.plan(listed(1), Asking(now + (wait - 1) * DAY_US))
        assert (early.fetch, dict(early.process), list(early.waiting), early.files) == ((), {}, [row], 1)
        assert tracker.at_fault(now + (wait - 1) * DAY_US) == [(known, False)]
        now += wait * DAY_US
        assert tracker.at_fault(now) == [(known, True)]
        assert tracker.look(listed(1), Asking(now)).fetch == (0,)
    assert tracker.plan(listed(1), Asking(now)).fetch == (row,)
    (again,) = tracker.states([row])
    assert (again.state, again.fault, again.asks) == (State.PLANNED, state, len(waits))


@pytest.mark.parametrize("state", FAULTS)
def test_another_archive_or_checksum_begins_anew(tracker: DownloadTracker, state: State) -> None:
    row = give_up(tracker, state, NOON)
    (file,) = listed(1)
    assert tracker.plan([replace(file, checksum_etag="other")], Asking(NOON)).fetch == (row,)
    (known,) = tracker.states([row])
    assert (known.state, known.fault, known.asks) == (State.PLANNED, None, 0)


@pytest.mark.parametrize("state", [State.UNVERIFIED, State.CORRUPT])
def test_what_is_accepted_is_stored_from_the_bytes_that_are_here(tracker: DownloadTracker, state: State) -> None:
    row = give_up(tracker, state, NOON, is_fetched=True)
    assert list(tracker.plan(listed(1), Asking(NOON)).waiting) == [row]
    offline = Asking(NOON + 99 * DAY_US, frozenset({state}), is_offline=True)
    assert list(tracker.plan(listed(1), offline).process) == [row]
    run = tracker.begin_run("test")
    (download,) = tracker.claim(run, [row])
    assert (download.sha256, download.fault) == ("5" * 64, state)
    tracker.advance(run, [Change(download, State.STORED, stored=stored(download.file))])
    (known,) = tracker.states([row])
    assert (known.state, known.fault, known.asks) == (State.STORED, None, 0)


def test_an_accepted_mismatch_is_asked_for_at_once(tracker: DownloadTracker) -> None:
    row = give_up(tracker, State.MISMATCH, NOON)
    assert tracker.plan(listed(1), Asking(NOON, frozenset({State.MISMATCH}))).fetch == (row,)


def test_what_was_only_read_again_here_does_not_count_as_asked(tracker: DownloadTracker) -> None:
    row = give_up(tracker, State.CORRUPT, NOON, is_fetched=True)
    tracker.plan(listed(1), Asking(NOON, frozenset({State.CORRUPT})))
    run = tracker.begin_run("test")
    (download,) = tracker.claim(run, [row])
    tracker.advance(run, [Change(download, State.CORRUPT, error="still")])
    (known,) = tracker.states([row])
    assert (known.state, known.asks, known.error, known.proof) == (State.CORRUPT, 1, "still", Proof.SHA256_BY_ETAG)


def test_what_should_be_there_is_entered_as_missing_once(tracker: DownloadTracker) -> None:
    run = tracker.begin_run("test")
    (first, *_) = tracker.plan(listed(2)).fetch
    finish(tracker, run, first)
    files = [replace(file, etag="", size=0, checksum_etag=None) for file in listed(4)]
    assert tracker.note_missing(files, NOON) == {file.key for file in files[2:]}
    assert tracker.note_missing(files, NOON + DAY_US) == set()
    assert tracker.totals() == {State.STORED: 1, State.PLANNED: 1, State.MISSING: 2}
    assert tracker.entered(listed(9)) == {file.key for file in files}
    (known,) = tracker.followed()
    assert (known.series, known.first, known.newest) == (SERIES, date(2024, 1, 1), date(2024, 1, 2))
    states = tracker.recent(date(2024, 1, 1))[SERIES]
    assert [states[Period.day(date(2024, 1, day))] for day in (1, 2, 3)] == [
        *(State.STORED, State.PLANNED, State.MISSING)
    ]
    assert tracker.plan(listed(4), Asking(NOON)).fetch[-2:] != ()  # listed now: another ETag than none


def test_symbols_are_seen_by_market_and_type(tracker: DownloadTracker) -> None:
    tracker.see(Market.UM, "klines", ["BTCUSDT", "币安人生USDT"])
    tracker.see(Market.UM, "klines", ["BTCUSDT"])
    assert tracker.seen() == {(Market.UM, "klines"): {"BTCUSDT", "币安人生USDT"}}
