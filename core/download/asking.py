"""When a source that had a fault is asked again: one day later, then two, then four, then every seven days."""

from dataclasses import dataclass
from typing import Final

from core.dates import DAY_US
from core.types import State

WAITS_DAYS: Final = (1, 2, 4, 7)


@dataclass(frozen=True, slots=True)
class Asking:
    """What planning goes by: the time, which faults of the source the user accepts, and whether it is asked at all."""

    now_us: int
    accept: frozenset[State] = frozenset()
    is_offline: bool = False

    def is_due(self, asks: int, asked_us: int | None) -> bool:
        """Whether the source is to be asked again about something that had a fault."""
        return not self.is_offline and is_due(asks, asked_us, self.now_us)


def is_due(asks: int, asked_us: int | None, now_us: int) -> bool:
    """Whether a source that had a fault `asks` times in a row, the last time at `asked_us`, is to be asked again.

    Days are counted by the calendar (UTC): a job that starts some seconds earlier than yesterday is no day early.
    """
    if asked_us is None or asks < 1:
        return True
    return now_us // DAY_US - asked_us // DAY_US >= WAITS_DAYS[min(asks, len(WAITS_DAYS)) - 1]
