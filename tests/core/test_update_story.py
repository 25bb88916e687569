"""Seventy nights at an exchange of bad manners: every morning what is stored is what was published by then."""

import random
from datetime import date, timedelta
from pathlib import Path

import pytest
from update_world import World, every_day, klines

from core.errors import MarketDataError
from core.sample.faults import on, status
from core.types import Period, Series, State

FIRST, LAST = date(2023, 12, 20), date(2024, 3, 5)
OLD = [klines(f"A{number}USDT") for number in range(4)]


class Exchange:
    """Publishes days on the morning after, some of them days later; months on their third day; lists and delists."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.lives: dict[Series, tuple[date, date]] = {one: (date(2023, 12, 10), date.max) for one in OLD}
        self.lives[OLD[3]] = date(2023, 12, 10), date(2024, 1, 19)  # delisted
        self.lives[klines("NEWUSDT")] = date(2024, 1, 27), date.max  # listed
        self.days: dict[Series, set[str]] = {one: set() for one in self.lives}
        self.held_back: list[tuple[date, Series, date]] = []

    def morning(self, today: date) -> None:
        yesterday = today - timedelta(days=1)
        for one, (first, last) in self.lives.items():
            if first <= yesterday <= last:
                wait = self.dice.choice([0] * 12 + [1, 2, 4, 9])
                self.held_back.append((today + timedelta(days=wait), one, yesterday))
        for due in [item for item in self.held_back if item[0] <= today]:
            self.held_back.remove(due)
            self.world.publish(due[1], Period.day(due[2]))
            self.days[due[1]].add(due[2].isoformat())
        if today.day == 3:
            self._publish_months(Period.day(today - timedelta(days=3)).first.replace(day=1))

    def _publish_months(self, first: date) -> None:
        month = Period.month(first.year, first.month)
        for one, (begun, over) in self.lives.items():
            if begun <= month.first and over >= month.last:  # the parts of a month are left to its days here
                self.world.publish(one, month)
                self.days[one] |= set(every_day(month.first.isoformat(), month.last.isoformat()))


@pytest.mark.parametrize("seed", [1])
def test_every_morning_what_is_stored_is_what_was_published(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path)
    exchange = Exchange(world, seed)
    for one in OLD:
        world.publish_days(one, "2023-12-10", "2023-12-18")
        exchange.days[one] |= set(every_day("2023-12-10", "2023-12-18"))
    world.begin(*OLD, last="2023-12-19", first="2023-12-10")
    dark = {date(2024, 1, 8), date(2024, 1, 9), date(2024, 1, 10)}  # three nights without network
    questions = []
    for number in range((LAST - FIRST).days + 1):
        today = FIRST + timedelta(days=number)
        exchange.morning(today)
        if today in dark:
            with pytest.raises(MarketDataError):
                world.night(today.isoformat(), faults=on("", status(500)))
            continue
        done = world.night(today.isoformat())
        assert done.sync.failed == 0
        assert done.late + done.waiting + done.sync.missing + len(done.missing_new) <= 60
        questions.append(done.asked + done.probed)
        for one, published in exchange.days.items():
            stored = set(world.days(one)) if published else set()
            assert stored <= published
            # Only what came after its time, and was entered as missing, waits until it is asked for again.
            waiting = {day: world.state(one, day) for day in published - stored}
            assert set(waiting.values()) <= {State.MISSING}, (today, one, waiting)
            assert all(date.fromisoformat(day) < today - timedelta(days=2) for day in waiting)
    assert max(questions) <= 40
    for back in range(8):  # what is late comes, and within a week of that it is here
        today = LAST + timedelta(days=1 + back)
        exchange.lives = {}
        exchange.morning(today + timedelta(days=20))
        world.night(today.isoformat())
    assert {one: set(world.days(one)) for one in exchange.days} == exchange.days
