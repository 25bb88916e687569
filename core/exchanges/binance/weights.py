"""What may still be asked of a host that counts: the budget of each window, and when the next one begins."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from core.dates import format_us
from core.download.limits import LONGEST_WAIT_SECONDS
from core.errors import Throttled
from core.exchanges.binance.endpoints import WEIGHT, Limit

SHARE: Final = 0.9
"""Of each limit: the rest is for what others on this address ask, and for clocks that differ."""
_AFTER_US: Final = 100_000
"""So long after its beginning a window is taken to have begun at the exchange too."""


@dataclass(frozen=True, slots=True)
class Clock:
    """`now_us()` is UTC in microseconds, `sleep` waits so many seconds."""

    now_us: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]


SYSTEM_CLOCK: Final = Clock(lambda: time.time_ns() // 1000, asyncio.sleep)


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """Leave to ask once, given at that time of the exchange."""

    at_us: int
    cost: Mapping[str, int]


class Budget:
    """At most `SHARE` of each limit in each window of the exchange's clock.

    `take` waits for a turn, `settle` ends it. What is under way when a window begins counts in that one too.
    """

    def __init__(self, limits: tuple[Limit, ...], clock: Clock) -> None:
        self._clock = clock
        self._ahead_us = 0
        self._paused_until_us = 0
        self._open: set[Turn] = set()
        self._windows: dict[tuple[str, int], _Window] = {}
        self.set_limits(limits)

    @property
    def now_us(self) -> int:
        """The exchange's time, as far as it is known here."""
        return self._clock.now_us() + self._ahead_us

    def set_time(self, server_us: int) -> None:
        """What the exchange's clock says now."""
        self._ahead_us = server_us - self._clock.now_us()

    def set_limits(self, limits: tuple[Limit, ...]) -> None:
        """The true limits; what is not named stays as it was."""
        for limit in limits:
            window = self._windows.setdefault((limit.kind, limit.seconds), _Window(limit))
            window.limit = limit

    async def take(self, cost: Mapping[str, int]) -> Turn:
        """Leave to ask for what costs so much. Raises Throttled instead of a pause that is too long to sit out."""
        while (wait_us := self._wait_us(cost)) > 0:
            if self._paused_until_us - self.now_us > LONGEST_WAIT_SECONDS * 1e6:
                until = format_us(self._paused_until_us // 1_000_000 * 1_000_000)
                raise Throttled(f"the API wants to be left alone until {until} UTC", wait_us / 1e6)
            await self._clock.sleep(wait_us / 1e6)
        turn = Turn(self.now_us, cost)
        self._open.add(turn)
        for window in self._windows.values():
            window.used += cost.get(window.limit.kind, 0)
        return turn

    def settle(self, turn: Turn | None) -> None:
        """The exchange has answered, or never will."""
        if turn is not None:
            self._open.discard(turn)

    def heard(self, turn: Turn, used: Mapping[int, int]) -> None:
        """What the exchange has counted by its answer: weight by the seconds of a window."""
        self.settle(turn)
        for seconds, weight in used.items():
            window = self._windows.get((WEIGHT, seconds))
            if window is not None and window.index_of(turn.at_us) == window.index_of(self.now_us):
                window.turn_over(self.now_us, self._open)
                window.used = max(window.used, weight + window.cost_of(self._open))

    def pause(self, seconds: float) -> None:
        """Ask nothing for so long."""
        self._paused_until_us = max(self._paused_until_us, self.now_us + round(seconds * 1e6))

    def _wait_us(self, cost: Mapping[str, int]) -> int:
        now = self.now_us
        waits = [self._paused_until_us - now]
        for window in self._windows.values():
            window.turn_over(now, self._open)
            wanted = cost.get(window.limit.kind, 0)
            if wanted and window.used and window.used + wanted > SHARE * window.limit.most:
                waits.append(window.next_us(now) + _AFTER_US - now)
        return max(waits)


class _Window:
    """How much of one limit is used in the window that runs."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.used = 0
        self._index = -1

    def index_of(self, us: int) -> int:
        return us // (self.limit.seconds * 1_000_000)

    def next_us(self, us: int) -> int:
        """When the next window begins."""
        return (self.index_of(us) + 1) * self.limit.seconds * 1_000_000

    def turn_over(self, now_us: int, under_way: set[Turn]) -> None:
        index = self.index_of(now_us)
        if index != self._index:
            self._index = index
            self.used = self.cost_of(under_way)

    def cost_of(self, turns: set[Turn]) -> int:
        return sum(turn.cost.get(self.limit.kind, 0) for turn in turns)
