"""How hard a host is asked: fewer at once when it is in trouble, more again when it answers."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.download.pace import DEAD_AFTER, Pace
from core.download.transport import open_transport
from core.download.web import Web
from core.errors import Throttled
from core.sample.faults import on, status
from core.sample.server import ArchiveServer
from core.settings import DownloadSettings


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_at_most_so_many_are_inside_and_the_next_in_line_follows() -> None:
    async def run() -> list[int]:
        pace, inside, most, order = Pace(3), 0, 0, []

        async def visit(number: int) -> None:
            nonlocal inside, most
            await pace.enter()
            order.append(number)
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            pace.leave()

        await asyncio.gather(*(visit(number) for number in range(20)))
        assert (most, inside, pace.spare) == (3, 0, 3)
        return order

    assert asyncio.run(run()) == list(range(20))


def test_trouble_halves_the_limit_once_for_all_that_were_under_way() -> None:
    async def run() -> None:
        clock = Clock()
        pace = Pace(16, clock)
        clock.now += 1
        entered = [await pace.enter() for _ in range(16)]
        clock.now += 1
        assert [pace.slow_down(at) for at in entered] == [True] + [False] * 15
        assert pace.limit == 8
        for _ in range(16):
            pace.leave()
        clock.now += 1
        again = await pace.enter()
        clock.now += 1
        assert pace.slow_down(again)
        assert pace.limit == 4

    asyncio.run(run())


def test_a_round_of_good_answers_makes_room_for_one_more_up_to_the_most() -> None:
    pace = Pace(8)
    pace.limit = 4.0
    for _ in range(5):
        pace.answered()
    assert 5 <= pace.limit < 5.2
    for _ in range(100):
        pace.answered()
    assert pace.limit == 8


@given(st.lists(st.booleans(), max_size=200))
def test_the_limit_stays_between_one_and_the_most(outcomes: list[bool]) -> None:
    clock = Clock()
    pace = Pace(8, clock)
    for good in outcomes:
        clock.now += 1
        if good:
            pace.answered()
        else:
            pace.slow_down(clock.now)
        assert 1 <= pace.limit <= 8


def test_nobody_enters_while_the_host_wants_a_pause() -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        pace = Pace(4)
        entered = await pace.enter()
        pace.leave()
        pace.slow_down(entered, pause_seconds=0.05)
        assert pace.spare == 0
        began = loop.time()
        await asyncio.gather(pace.enter(), pace.enter())
        return loop.time() - began

    assert asyncio.run(run()) >= 0.045


def test_a_timer_that_comes_too_early_leaves_nobody_waiting_for_ever() -> None:
    """A loop may round a timer down: the clock then still stands before the end of the pause."""

    async def run() -> bool:
        clock = Clock()
        pace = Pace(1, clock)
        entered = await pace.enter()
        pace.leave()
        pace.slow_down(entered, pause_seconds=0.01)
        waiting = asyncio.create_task(pace.enter())
        await asyncio.sleep(0.03)  # the timer has come, and the clock has not moved
        assert not waiting.done()
        clock.now += 1
        await asyncio.wait_for(waiting, 5)
        return True

    assert asyncio.run(run())


@pytest.mark.parametrize("is_date", [False, True], ids=["seconds", "date"])
def test_a_host_that_says_when_to_come_again_is_not_asked_before_for_anything(tmp_path: Path, is_date: bool) -> None:
    """A date says whole seconds, so that up to one of the two may have gone by."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"body")

    async def run() -> float:
        when = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if is_date else 1
        rule = on("a", status(503, when), times=1)
        async with ArchiveServer(tmp_path, faults=rule) as server, open_transport(4) as transport:
            web = Web(transport, DownloadSettings(), lambda _: None)
            began = time.time()
            with pytest.raises(Throttled):
                await web.get(f"{server.url}/a", "a")
            await (await web.get(f"{server.url}/b", "b")).close()
            return time.time() - began

    assert asyncio.run(run()) >= 0.95


def test_who_gives_up_waiting_leaves_his_place_to_the_next() -> None:
    async def run() -> None:
        pace = Pace(1)
        await pace.enter()
        first, second = (asyncio.create_task(pace.enter()) for _ in range(2))
        await asyncio.sleep(0)
        pace.leave()
        first.cancel()  # just when the place was meant for it
        await asyncio.wait_for(second, 5)
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(run())


def test_a_host_is_dead_when_different_objects_fail_and_nothing_comes_between() -> None:
    pace = Pace(4)
    for number in range(DEAD_AFTER):
        assert not pace.is_dead
        pace.failing.add(f"file {number}")
        pace.failing.add(f"file {number}")
    assert pace.is_dead
    pace.answered()
    assert not pace.is_dead
