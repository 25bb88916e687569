"""How fast and how patiently: the rate limit over all files, and the waits between attempts."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final

from core.settings import DownloadSettings

LONGEST_WAIT_SECONDS: Final = 300.0
"""A source that asks for a longer pause than this ends the run; the next one asks again."""


@dataclass(slots=True)
class RateLimit:
    """At most `bytes_per_second` over everybody who calls `take`; None for no limit."""

    bytes_per_second: int | None
    clock: Callable[[], float] = time.monotonic
    _free_at: float = field(default=0.0)

    async def take(self, count: int) -> None:
        """Wait until `count` bytes fit under the limit."""
        if self.bytes_per_second is None:
            return
        now = self.clock()
        start = max(now, self._free_at)
        self._free_at = start + count / self.bytes_per_second
        if start > now:
            await asyncio.sleep(start - now)


class Hold:
    """Whether everybody waits who asks before going on: somebody wants this process to hold still for a while."""

    def __init__(self) -> None:
        self.is_held = False
        self._free = asyncio.Event()
        self._free.set()

    def hold(self) -> None:
        """From now on, whoever comes by waits."""
        self.is_held = True
        self._free.clear()

    def free(self) -> None:
        """All who wait go on."""
        self.is_held = False
        self._free.set()

    async def passed(self) -> None:
        """Wait until nobody is held."""
        await self._free.wait()


def backoff_seconds(failures: int, settings: DownloadSettings, retry_after: float | None) -> float:
    """The wait after the n-th failure in a row: doubled each time, with jitter, at least what the source asked for."""
    longest = min(settings.backoff_cap_seconds, settings.backoff_seconds * 2.0 ** (failures - 1))
    jittered = longest * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load, guards nothing)
    return max(jittered, retry_after or 0.0)


def parse_retry_after(text: str | None, now: float) -> float | None:
    """`Retry-After` in seconds, from a number or a date; None if absent or not understood. `now` is Unix time."""
    if text is None:
        return None
    if text.isascii() and text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except ValueError:
        return None
