"""How hard one host is asked: as many requests at once as it answers well, and none while it asks for a pause.

Additive increase, multiplicative decrease (Chiu and Jain 1989, the rule of TCP): each good answer raises the limit by
`1/limit`, so by one for every round of answers; a throttled or timed-out request halves it, at most once for the
requests that were already under way.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

DEAD_AFTER: Final = 5
"""Different objects that must fail one after another, with no good answer between, until a source counts as dead."""


class Pace:
    """At most `most` requests at once to one host; `limit` says how many just now.

    `enter` waits for a place, `leave` gives it back. `failing` names what has failed since the last good answer.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = float(most)
        self.failing: set[str] = set()
        self._most = float(most)
        self._clock = clock
        self._busy = 0
        self._cut_at = clock()
        self._paused_until = 0.0
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> float:
        """Wait for a place; returns when it was given (for `slow_down`)."""
        if self._waiters or not self._has_room:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter  # whoever wakes us has taken the place for us
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self.leave()
                raise
        else:
            self._busy += 1
        return self._clock()

    def leave(self) -> None:
        """Give a place back."""
        self._busy -= 1
        if self._waiters:
            self._wake()

    @property
    def spare(self) -> int:
        """Places that nobody uses or waits for."""
        return int(self.limit) - self._busy if self._has_room and not self._waiters else 0

    @property
    def most(self) -> float:
        """What `limit` grows to."""
        return self._most

    @property
    def busy(self) -> int:
        """Requests under way."""
        return self._busy

    @property
    def pause_seconds(self) -> float:
        """For how long the host wants to be left alone from now on; 0: not at all."""
        return max(0.0, self._paused_until - self._clock()) if self._paused_until else 0.0

    @property
    def is_dead(self) -> bool:
        """Whether nothing but failures has come for a while."""
        return len(self.failing) >= DEAD_AFTER

    def answered(self) -> None:
        """A good answer came: the host is alive, and may be asked a little more."""
        if self.failing:
            self.failing.clear()
        if self.limit < self._most:
            self.limit = min(self._most, self.limit + 1 / self.limit)
            self._wake()

    def slow_down(self, entered_at: float, pause_seconds: float = 0.0) -> bool:
        """A request that entered then was throttled or timed out. Whether the limit was lowered for it."""
        now = self._clock()
        if pause_seconds > 0:
            self._paused_until = max(self._paused_until, now + pause_seconds)
            self._wake_later()
        if entered_at < self._cut_at:
            return False
        self._cut_at = now
        self.limit = max(1.0, self.limit / 2)
        return True

    @property
    def _has_room(self) -> bool:
        is_paused = self._paused_until > 0 and self._clock() < self._paused_until
        return self._busy < int(self.limit) and not is_paused

    def _wake_later(self) -> None:
        asyncio.get_running_loop().call_later(max(self._paused_until - self._clock(), 0.0) + 0.001, self._wake)

    def _wake(self) -> None:
        """Give places to those who wait, first come, first served."""
        if self._waiters and self._clock() < self._paused_until:
            self._wake_later()  # a timer may come a moment early, and nobody else would wake them
        while self._waiters and self._has_room:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._busy += 1
                waiter.set_result(None)
