"""What is shown of a run is what its view says, at every size of a terminal; any process has the same view."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rich.cells import cell_len

from core.download.process import ProcessIdentity
from core.events import (
    FileAtFault,
    FileFailed,
    FileFetched,
    FileMissing,
    FileProgressed,
    FileRetrying,
    FileStarted,
    FileStored,
    RoomTaken,
    RunPaused,
    RunPlanned,
    RunResumed,
    RunStarted,
    RunWaiting,
    SeriesPlanned,
    Snapshot,
)
from core.monitor.panels import ASCII, Page, Size, bar, clock, dashboard, failure_lines, plain_line, sparkline
from core.monitor.view import Frame, Problem, Source, View, from_json, view_of
from core.types import Market, Proof, Series, State

KEY = "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-{:02d}.zip"
CANDLES = Series(Market.UM, "klines", "BTCUSDT", "1h")
FUNDING = Series(Market.UM, "funding_rate", "ETHUSDT")
FRAME = Frame(
    ProcessIdentity("desk", 4711, "x"), "download_all", "python scripts/download_all.py", "/d/s.db", 8, 20_000_000
)
KEYS = " q quit "


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock_of_run() -> Clock:
    return Clock()


@pytest.fixture
def busy(clock_of_run: Clock) -> Snapshot:
    """A run after ten seconds: 3 of 100 archives are over with, one of them failed; eleven are in flight."""
    snapshot = Snapshot(clock_of_run, wall=lambda: 1_700_000_000.0)
    snapshot.apply(RunStarted(7, goal=State.STORED))
    snapshot.apply(SeriesPlanned(CANDLES, 90, 7))
    snapshot.apply(SeriesPlanned(FUNDING, 10, 0))
    snapshot.apply(RunPlanned(files=100, size_bytes=3_400_000, skipped=7, is_whole=True))
    for number in range(12):
        snapshot.apply(FileStarted(KEY.format(number), 34_000, 0))
    clock_of_run.now += 10
    snapshot.apply(FileFetched(KEY.format(0), 34_000, 34_000, Proof.SHA256_BY_ETAG, CANDLES))
    snapshot.apply(FileStored(KEY.format(0), 744, CANDLES))
    snapshot.apply(FileRetrying(KEY.format(1), "reset by peer", 1, 0.5))
    snapshot.apply(FileProgressed(KEY.format(1), 17_000))
    snapshot.apply(FileFailed("data/x-2024-01.zip", "its digest never agreed, whatever was done", FUNDING))
    snapshot.apply(FileAtFault("data/y-2024-01.zip", State.CORRUPT, "no zip", FUNDING))
    snapshot.apply(RunWaiting(3, "run 8 (process 17 on desk)"))
    return snapshot


def seen(snapshot: Snapshot) -> View:
    return view_of(snapshot, FRAME, (Source("vision", 5, 8, 4, 2, 5, 0.0),), free_bytes=90_000_000)


@pytest.mark.parametrize("size", [Size(80, 24), Size(160, 50)], ids=["80x24", "160x50"])
def test_a_screen_says_what_the_view_says_and_fits(busy: Snapshot, size: Size) -> None:
    lines = dashboard(seen(busy), size, KEYS).plain.split("\n")
    text = "\n".join(lines)
    assert len(lines) == size.height
    assert max(map(cell_len, lines)) <= size.width
    for fact in (
        "download_all · run 7 · process 4711 on desk",
        "running 0:00:10",
        "3 of 100",
        "51.0 kB of 3.4 MB",
        "10.2 kB/s now, 5.1 kB/s average, 0:10:56 left",
        "1 stored · 1 failed · 1 faulty · 1 tried again · 7 already here · 744 rows",
        "waiting: 3 files belong to run 8",
        "symbols: 0 of 2 done",
        "in flight: 11",
        "8 workers · at most 20.0 MB/s",
        "vision 4 of 5 at once (most 8), failing 2 of 5",
        "90.0 MB free",
        "/d/s.db",
    ):
        assert fact in text, fact
    assert re.search(r"um/klines/1h .* 1/90", text)
    assert re.search(r"um/ETHUSDT .* 2/10 +2 failed", text)
    assert re.search(r"BTCUSDT-1h-2024-01.zip .* 17.0 kB of 34.0 kB +1.7 kB/s try 2", text)
    assert re.search(r"22:13:20 x-2024-01.zip: its digest never", text)
    assert lines[-1].startswith(KEYS)


@hypothesis_settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 100))
def test_no_size_of_a_terminal_breaks_the_screen(width: int, height: int) -> None:
    clock = Clock()
    snapshot = Snapshot(clock)
    snapshot.apply(RunStarted(1, goal=State.STORED))
    snapshot.apply(SeriesPlanned(Series(Market.UM, "klines", "币安人生USDT", "1h"), 9, 0))
    snapshot.apply(FileStarted("data/币安人生USDT-1h-2024-01.zip", 0, 0))
    snapshot.apply(FileFailed("data/币.zip", "人生" * 50, CANDLES))
    lines = dashboard(seen(snapshot), Size(width, height), KEYS).plain.split("\n")
    assert len(lines) == height
    assert all(cell_len(line) <= max(20, width) for line in lines)


def test_the_view_of_another_process_is_the_same(busy: Snapshot) -> None:
    view = seen(busy)
    assert from_json(view.as_json()) == view
    assert from_json(view.as_json().replace('"form":1', '"form":2')) is None
    for harm in ("", "{", "[]", "{}", '{"form":1}', view.as_json().replace('"kinds"', '"kind"')):
        assert from_json(harm) is None


def test_a_pause_is_seen_counted_and_left_out_of_the_average(busy: Snapshot, clock_of_run: Clock) -> None:
    busy.apply(RunPaused())
    clock_of_run.now += 30
    view = seen(busy)
    assert (view.is_paused, view.paused_seconds, view.left_seconds) == (True, 30.0, None)
    assert view.average_bytes == 5_100.0  # 51,000 bytes in the ten seconds before
    text = dashboard(view, Size(80, 24), KEYS).plain
    assert "PAUSED 0:00:30" in text
    assert "PAUSED 0:00:30" in plain_line(view)
    busy.apply(RunResumed())
    clock_of_run.now += 10
    view = seen(busy)
    assert (view.is_paused, view.paused_seconds, view.average_bytes) == (False, 30.0, 2_550.0)
    assert "running 0:00:50" in dashboard(view, Size(80, 24), KEYS).plain


def test_room_is_needed_for_archives_and_for_rows_as_large_as_they_were_so_far(busy: Snapshot) -> None:
    left = 3_400_000 - 51_000
    assert seen(busy).room_bytes == left + 3_400_000
    busy.apply(RoomTaken(archive_bytes=34_000, stored_bytes=17_000))
    assert seen(busy).room_bytes == left + (3_400_000 - 34_000) // 2
    short = replace(seen(busy), free_bytes=1_000_000)
    assert "4.0 MB too little" in dashboard(short, Size(80, 24)).plain


def test_a_plain_line_says_what_matters(busy: Snapshot) -> None:
    assert plain_line(seen(busy)) == (
        "3/100 files, 51.0 kB of 3.4 MB, 10.2 kB/s, 1 stored, 1 failed, 1 faulty at the source, 0:10:56 left, "
        "waiting: 3 files belong to run 8 (process 17 on desk)"
    )


def test_how_it_ended_is_said(busy: Snapshot) -> None:
    for ended, code, says in (("finished", 1, "finished, exit code 1 after"), ("killed", None, "killed after")):
        assert says in dashboard(replace(seen(busy), ended=ended, exit_code=code), Size(80, 24)).plain


def test_bars_are_full_at_the_end_and_only_then() -> None:
    assert bar(10, 0, 5).plain == "░" * 10
    assert bar(10, 1, 1000).plain == "█" + "░" * 9
    assert bar(10, 999, 1000).plain == "█" * 9 + "░"
    assert bar(10, 5, 5).plain == "█" * 10
    assert bar(4, 0, 0, ASCII).plain == "----"


def test_a_sparkline_is_as_high_as_its_values() -> None:
    assert sparkline([0, 7, 14, 3], 6) == "  ▁▅█▃"
    assert sparkline([9] * 50, 3) == "███"
    assert sparkline([0, 0], 2, ASCII) == "__"


def test_seconds_as_a_clock() -> None:
    assert [clock(seconds) for seconds in (0, 61.9, 3600, 90_061)] == ["0:00:00", "0:01:01", "1:00:00", "1 d 1:01:01"]


def test_what_a_source_says_cannot_move_the_cursor(busy: Snapshot) -> None:
    busy.apply(FileFailed("data/\x1b[2J.zip", "evil \x1b]0;title\x07 and \x9b31m", CANDLES))
    view = seen(busy)
    text = dashboard(view, Size(160, 50)).plain + "\n".join(line.plain for line in failure_lines(view.problems, 80))
    assert all(sign.isprintable() or sign == "\n" for sign in text)


def test_failures_are_listed_with_their_whole_reason_and_scrolled() -> None:
    problems = [Problem(1_700_000_000 + n, f"data/{n}.zip", "a long reason " * 10, is_final=True) for n in range(9)]
    lines = failure_lines(problems, 40)
    assert " ".join(" ".join(line.plain for line in lines[1:5]).split()) == ("a long reason " * 10).strip()
    size = Size(40, 12)
    page = Page("Failures", lines)
    assert (page.moved(-1, size), page.moved(3, size), page.moved(999, size)) == (0, 3, len(lines) - 10)
    shown = Page("Failures", lines, page.moved(999, size)).shown(size, KEYS).plain.split("\n")
    assert len(shown) == 12
    assert shown[-2] == lines[-1].plain
    assert f"36 to 45 of {len(lines)} lines" in shown[0]


def test_what_is_here_already_takes_time_and_room_until_it_is_stored() -> None:
    clock = Clock()
    snapshot = Snapshot(clock)
    snapshot.apply(RunStarted(7, goal=State.STORED))
    snapshot.apply(RunPlanned(files=100, size_bytes=0, skipped=0, is_whole=True, here_bytes=100_000))
    first = view_of(snapshot, FRAME)
    assert (first.left_seconds, first.room_bytes) == (None, 100_000)
    clock.now += 10
    snapshot.apply(RoomTaken(archive_bytes=20_000, stored_bytes=30_000))
    snapshot.apply(FileFailed("c.zip", "no row", CANDLES, 5_000, is_here=True))
    stored = view_of(snapshot, FRAME)
    assert (stored.left_seconds, stored.room_bytes) == (75_000 / 2_000, 75_000 * 3 // 2)
    snapshot.apply(RoomTaken(archive_bytes=75_000, stored_bytes=112_500))
    over = view_of(snapshot, FRAME)
    assert (over.left_seconds, over.room_bytes) == (None, 0)


def test_the_time_left_is_that_of_what_takes_longer() -> None:
    clock = Clock()
    snapshot = Snapshot(clock)
    snapshot.apply(RunStarted(7, goal=State.STORED))
    snapshot.apply(RunPlanned(files=4, size_bytes=4_000, skipped=0, is_whole=True, here_bytes=8_000))
    snapshot.apply(FileStarted("a.zip", 1_000, 0))
    clock.now += 10
    snapshot.apply(FileFetched("a.zip", 1_000, 1_000, Proof.SHA256_BY_ETAG, CANDLES))
    snapshot.apply(RoomTaken(archive_bytes=1_000, stored_bytes=500))
    assert view_of(snapshot, FRAME).left_seconds == 11_000 / 100
    snapshot.apply(FileMissing("b.zip", CANDLES, 1_000))
    left = view_of(snapshot, FRAME)
    assert (left.size_bytes, left.here_bytes, left.left_seconds) == (3_000, 1_000, 10_000 / 100)
    assert left.room_bytes == 2_000 + 10_000 // 2
