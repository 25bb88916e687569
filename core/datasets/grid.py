"""When rows are expected, computed: arrays of times in, arrays out.

A time belongs to a slot, a whole number that grows by one from each expected time to the next; so what is missing
between two rows is the difference of their slots. Slots are floors: a candle of an old halt that opens off the grid is
still the candle of its slot.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from core.datasets.clock import Beat, Clock
from core.dates import DAY_US, HOUR_US, INTERVAL_US, MINUTE_US, MONDAY_US

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Grid:
    """Expected times a step apart, from `phase_us` on and before; None: calendar months."""

    step_us: int | None
    phase_us: int = 0

    @classmethod
    def of(cls, clock: Clock, interval: str | None, first_us: int) -> "Grid":
        """The grid of a series whose first row is at `first_us`.

        Candles of a week open on Mondays. Where candles of three days open is read from the first row.
        """
        if clock.beat is not Beat.CANDLES:
            return cls(clock.step_us)
        step = INTERVAL_US[interval or ""]
        if interval == "3d":
            return cls(step, first_us // DAY_US * DAY_US % (3 * DAY_US))
        return cls(step, MONDAY_US if interval == "1w" else 0)

    def slots(self, times_us: Ints) -> Ints:
        """The slot of each time."""
        if self.step_us is None:
            return times_us.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
        slots: Ints = (times_us - self.phase_us) // self.step_us
        return slots

    def starts(self, slots: Ints) -> Ints:
        """When each slot begins."""
        if self.step_us is None:
            return slots.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
        starts: Ints = slots * self.step_us + self.phase_us
        return starts

    def start(self, slot: int) -> int:
        """When one slot begins."""
        return int(self.starts(np.array([slot], dtype=np.int64))[0])


def settlements_missing(times_us: Ints, hours: Ints) -> Ints:
    """Between each row and the next: how many settlements of funding are lacking, shape `(rows - 1,)`.

    Times are a few milliseconds late, so they are taken to the minute. Where the interval changes, the longer of the
    two is in force in between, as which of them is cannot be told.
    """
    apart = np.diff(to_the_minute(times_us))
    step = np.maximum(np.maximum(hours[1:], hours[:-1]), 1) * HOUR_US
    missing: Ints = np.maximum(apart // step - 1, 0) + ((apart > step) & (apart % step != 0))
    return missing


def is_on_schedule(times_us: Ints, hours: Ints) -> Bools:
    """Whether each settlement lies at a whole number of its intervals since midnight, within half a minute."""
    on_time: Bools = to_the_minute(times_us) % (np.maximum(hours, 1) * HOUR_US) == 0
    return on_time


def to_the_minute(times_us: Ints) -> Ints:
    """The nearest minute."""
    minutes: Ints = (times_us + MINUTE_US // 2) // MINUTE_US * MINUTE_US
    return minutes
