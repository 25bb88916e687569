"""`StoragePool`: real processes that store, killed, starved, orphaned; what they leave is what one process leaves."""

import hashlib
import logging
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pytest
from factories import ROOT
from storage_world import FIRST_MS, JANUARY, World, lines, random_trades, start_child

from core import errors
from core.errors import DiskFull, MarketDataError, StorageError, WorkersLost
from core.events import LOGGER
from core.layout import Layout
from core.settings import QualitySettings, StorageSettings
from core.storage.pool import EACH_WORTH_BYTES, StoragePool
from core.types import FetchedFile, Market, Period, Series, Stored

SYMBOLS = [f"S{number:02d}USDT" for number in range(12)]
DAYS = [Period.day(date(2024, 1, day)) for day in (1, 2)]


def klines(symbol: str) -> Series:
    return Series(Market.UM, "klines", symbol, "1h")


def candles(price: int, period: Period = JANUARY) -> bytes:
    start = period.span.start_us // 1000
    opens = [start + hour * 3_600_000 for hour in range(24)]
    return lines([f"{at},{price},{price},{price},{price},1,{at + 3_599_999},1,1,1,1,0" for at in opens])


def pool_of(world: World, processes: int = 1, **settings: object) -> StoragePool:
    chosen = StorageSettings(csv_datasets=(), **settings)  # type: ignore[arg-type]
    return StoragePool(world.layout, chosen, QualitySettings(), processes)


def pids(pool: StoragePool) -> list[int]:
    return [process._process.pid for process in pool._processes]


def is_running(pid: int) -> bool:
    """Whether a process is there that is not only waiting for somebody to take note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it is so; how long that takes is nobody's promise, but after a minute it is never."""
    pause = threading.Event()
    for _ in range(6000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came to that")


def digests(world: World) -> dict[str, str]:
    folder = world.layout.root / "processed"
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.parquet")}
    assert found
    return found


def homes(world: World) -> list[list[FetchedFile]]:
    """Candles of twelve symbols, two days of each; trades of two days; a month of funding."""
    found = [
        [world.fetched(klines(symbol), day, candles(100 + number, day)) for day in DAYS]
        for number, symbol in enumerate(SYMBOLS)
    ]
    trades = Series(Market.UM, "trades", "BTCUSDT")
    found.append([world.fetched(trades, DAYS[0], random_trades(3000))])
    funding = Series(Market.UM, "funding_rate", "BTCUSDT")
    found.append([world.fetched(funding, JANUARY, lines([f"{FIRST_MS},8,0.0001"]))])
    return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "data", StorageSettings(csv_datasets=()))


class Blocked(NamedTuple):
    """`first` is the order that the one process of the pool is at; it waits until `turn` is closed."""

    pool: StoragePool
    first: "Future[Stored]"
    turn: ExitStack
    threads: ThreadPoolExecutor


@pytest.fixture
def blocked(world: World) -> Iterator[Blocked]:
    """A process that has stored something and is now at an archive whose turn does not come."""
    files = [[world.fetched(klines(symbol), JANUARY, candles(7))] for symbol in SYMBOLS[:2]]
    with pool_of(world) as pool, ThreadPoolExecutor(4) as threads:
        assert pool.store(files[0]).refused == {}
        with ExitStack() as turn:
            turn.enter_context(world.storage.turn(klines(SYMBOLS[1])))
            first = threads.submit(pool.store, files[1])
            wait_for(lambda: pool._processes[0].begun == 2)
            yield Blocked(pool, first, turn, threads)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("parser", ["arrow", "compiled"])
def test_processes_leave_the_bytes_that_one_leaves(tmp_path: Path, processes: int, parser: str) -> None:
    alone, together = (World(tmp_path / name, StorageSettings(csv_datasets=())) for name in ("alone", "together"))
    stored = [alone.storage.store(files) for files in homes(alone)]
    with pool_of(together, processes, parser=parser) as pool:
        pool.expect(EACH_WORTH_BYTES * 4)
        assert len(pids(pool)) == processes
        with ThreadPoolExecutor(pool.at_once) as threads:
            answers = list(threads.map(pool.store, homes(together)))
        assert [pool.held(files).sources for files in homes(together)] == [answer.sources for answer in answers]
    assert digests(together) == digests(alone)
    assert [answer.sources for answer in answers] == [one.sources for one in stored]
    assert [(answer.removed, answer.refused) for answer in answers] == [(one.removed, one.refused) for one in stored]


def test_as_many_processes_as_the_work_is_worth(world: World) -> None:
    with pool_of(world, 3) as pool:
        assert len(pids(pool)) == 1
        pool.expect(EACH_WORTH_BYTES - 1)
        assert len(pids(pool)) == 1
        pool.expect(1)
        assert len(pids(pool)) == 2
        pool.expect(EACH_WORTH_BYTES * 9)
        assert len(pids(pool)) == 3
        every = pids(pool)
    assert [pid for pid in every if is_running(pid)] == []


def test_a_pool_that_nobody_asked_ends_at_once(world: World) -> None:
    with pool_of(world, 2) as pool:
        pool.expect(EACH_WORTH_BYTES)
        every = pids(pool)
    assert len(every) == 2
    assert [pid for pid in every if is_running(pid)] == []
    assert list(world.layout.root.rglob("*.tmp")) == []


def test_a_refused_archive_says_why_and_the_others_are_stored(world: World) -> None:
    good, bad = (world.fetched(klines("BTCUSDT"), day, candles(7, day)) for day in DAYS)
    bad.path.write_bytes(bad.path.read_bytes()[:-30])
    with pool_of(world) as pool:
        stored = pool.store([good, bad])
    assert list(stored.sources) == [good.file.key]
    assert "the exchange's file is broken" in stored.refused[bad.file.key]


def test_an_error_comes_as_it_was_raised(world: World) -> None:
    order = [world.fetched(klines("BTCUSDT"), JANUARY, candles(7))]
    (world.layout.root / "processed").write_text("in the way")
    with pool_of(world) as pool, pytest.raises(StorageError, match="Not a directory; check the folder"):
        pool.store(order)


def test_a_full_disk_comes_as_one_and_the_process_goes_on(world: World) -> None:
    big = world.fetched(Series(Market.UM, "trades", "BTCUSDT"), DAYS[0], random_trades(3000))
    with pool_of(world) as pool:
        small = pool.store([world.fetched(klines("BTCUSDT"), JANUARY, candles(7))])
        before = resource.prlimit(pids(pool)[0], resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        with pytest.raises(DiskFull, match="free some space"):
            pool.store([big])
        resource.prlimit(pids(pool)[0], resource.RLIMIT_FSIZE, before)
        assert pool.store([big]).partitions[0].rows == 3000
    assert small.partitions[0].rows == 24


def test_every_error_travels_whole() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MarketDataError)]
    more = {errors.Throttled: (2.5,), errors.ChecksumMismatch: ("a", "b"), errors.Disputed: ("a", "b", Path("x"), "c")}
    assert len(kinds) > 12
    for kind in kinds:
        error = kind("what it says", *more.get(kind, ()))
        came = pickle.loads(pickle.dumps(error))
        assert (type(came), str(came), came.args, vars(came)) == (kind, str(error), error.args, vars(error))


def test_a_killed_process_fails_what_it_was_at_and_another_goes_on(world: World, blocked: Blocked) -> None:
    pool, first, _, threads = blocked
    second = threads.submit(pool.store, [world.fetched(klines(SYMBOLS[2]), JANUARY, candles(9))])
    wait_for(lambda: pool._processes[0].waiting == 2)
    (victim,) = pids(pool)
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(StorageError, match=f"stored .*{SYMBOLS[1]}.* was ended by SIGKILL; is memory short"):
        first.result()
    second.result()  # was not begun, and so asked of another
    assert victim not in pids(pool)
    assert sorted(digests(world)) == [f"{symbol}-1h-2024.parquet" for symbol in (SYMBOLS[0], SYMBOLS[2])]


def test_a_closed_pool_ends_what_it_is_at_and_begins_nothing(world: World, blocked: Blocked) -> None:
    pool, first, turn, threads = blocked
    second = threads.submit(pool.store, [world.fetched(klines(SYMBOLS[2]), JANUARY, candles(9))])
    wait_for(lambda: pool._processes[0].waiting == 2)
    every = pids(pool)
    closing = threads.submit(pool.close)
    wait_for(lambda: pool._processes[0]._requests.closed)
    assert not first.done()
    os.kill(every[0], signal.SIGINT)  # what a terminal sends to all, and what service managers send: neither ends it
    os.kill(every[0], signal.SIGTERM)
    assert is_running(every[0])
    turn.close()
    first.result()
    closing.result()
    with pytest.raises(StorageError, match="the run is over"):
        second.result()
    assert not is_running(every[0])
    assert sorted(digests(world)) == [f"{symbol}-1h-2024.parquet" for symbol in SYMBOLS[:2]]


def test_processes_that_cannot_start_stop_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    with pool_of(world) as pool, pytest.raises(WorkersLost, match=r"3 processes in a row .* exit code 1"):
        pool.store([world.fetched(klines("BTCUSDT"), JANUARY, candles(7))])


def test_lines_of_the_log_come_over(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('no numba here')")
    monkeypatch.syspath_prepend(tmp_path)
    heard: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = heard.append  # type: ignore[method-assign]
    LOGGER.addHandler(handler)
    try:
        with pool_of(world, parser="compiled") as pool:
            stored = pool.store([world.fetched(klines("BTCUSDT"), JANUARY, candles(7))])
    finally:
        LOGGER.removeHandler(handler)
    assert stored.partitions[0].rows == 24
    assert [(one.levelno, one.name) for one in heard] == [(logging.WARNING, LOGGER.name)]
    said = "the compiled CSV parser cannot be used, pyarrow reads instead: no numba here"
    assert heard[0].getMessage() == said


ORPHANS = """
from contextlib import ExitStack
from concurrent.futures import ThreadPoolExecutor
from test_storage_pool import SYMBOLS, candles, klines, pids, pool_of, wait_for
pool = pool_of(world)
orders = [[world.fetched(klines(symbol), JANUARY, candles(7))] for symbol in SYMBOLS[:2]]
threads = ThreadPoolExecutor(2)
for number, order in enumerate(orders):
    threads.submit(pool.store, order)
    wait_for(lambda: pool._processes[0].waiting == number + 1)
wait_for(lambda: pool._processes[0].begun == 1)
print(*pids(pool), flush=True)
signal.pause()
"""


def test_when_the_run_is_killed_its_processes_end_what_they_are_at_and_go(world: World) -> None:
    with world.storage.turn(klines(SYMBOLS[0])):
        run = start_child(world.layout.root, ORPHANS)
        assert run.stdout is not None
        orphan = int(run.stdout.readline())
        run.kill()
        run.wait()
        assert is_running(orphan)
    wait_for(lambda: not is_running(orphan))
    run.communicate()
    assert list(digests(world)) == [f"{SYMBOLS[0]}-1h-2024.parquet"]
    assert world.storage.sweep() == 0


def test_a_run_that_stores_elsewhere_loads_no_arrow() -> None:
    code = "import sys; sys.path.append('scripts'); import download_all; print({*sys.modules} & {'pyarrow', 'numba'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


def test_what_is_asked_without_storing_is_what_the_manager_says(world: World) -> None:
    world.store(klines("BTCUSDT"), JANUARY, candles(7))
    one = klines("BTCUSDT")
    with StoragePool(Layout(world.layout.root), StorageSettings(), QualitySettings(), 1) as pool:
        assert pool.stamps(one) == world.storage.stamps(one) != {}
        assert pool.readable(one, pool.stamps(one)) == world.storage.readable(one, world.storage.stamps(one))
        with pool.turn(one):
            assert pool.tidied(one) == world.storage.tidied(one)
        (world.layout.processed(one, JANUARY).parent / ".x.parquet.999999999.tmp").write_bytes(b"")
        assert pool.sweep() == 1
