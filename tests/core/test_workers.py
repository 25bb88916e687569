"""Worker processes end with the one that started them, and are given up with what they were for."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest

from core.storage.workers import workers

LONG = 40.0
"""Seconds of a call that nobody waits for: a test that takes as long has failed."""
PARENT = f"""
import sys, time
from core.storage.workers import workers
if __name__ == "__main__":
    with workers(2, print, ("begun",)) as pool:
        for each in range(6):
            pool.submit(time.sleep, {LONG})
        time.sleep({LONG})
"""


def begin(word: str) -> None:
    os.environ["TAPEVAULT_BEGUN"] = word


def square(number: int) -> int:
    return number * number


def test_a_pool_works_and_begins_as_told() -> None:
    with workers(2, begin, ("yes",)) as pool:
        assert list(pool.map(square, range(5))) == [0, 1, 4, 9, 16]
        assert pool.submit(os.getenv, "TAPEVAULT_BEGUN").result() == "yes"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_whatever_ends_the_parent_ends_its_workers(number: signal.Signals) -> None:
    """All of them have the pipe that is read here: it ends with the last."""
    parent = subprocess.Popen([sys.executable, "-u", "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert [parent.stdout.readline() for _ in range(2)] == [b"begun\n"] * 2
    parent.send_signal(number)
    began = time.monotonic()
    assert parent.stdout.read() == b""
    assert time.monotonic() - began < LONG / 2
    parent.stdout.close()
    assert parent.wait() == -number


def test_what_is_under_way_is_given_up_with_the_block() -> None:
    calls: list[Future[None]] = []

    def work() -> None:
        with workers(1) as pool:
            calls.extend(pool.submit(time.sleep, LONG) for _ in range(4))
            assert pool.submit(square, 3) is not None
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert all(call.done() for call in calls)
    assert all(call.cancelled() or isinstance(call.exception(), BrokenProcessPool) for call in calls)


def test_ctrl_c_is_not_for_workers() -> None:
    with workers(1) as pool:
        pid = pool.submit(os.getpid).result()
        os.kill(pid, signal.SIGINT)
        assert pool.submit(square, 7).result() == 49
