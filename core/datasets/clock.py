"""What decides when rows of a dataset are to be expected; `core.datasets.grid` computes with it."""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Beat(Enum):
    """What decides when the next row is due."""

    CANDLES = "the interval of the series"
    STEPS = "a fixed step"
    FUNDING = "the interval that each row names"
    SNAPSHOTS = "about a fixed step"
    TRADE_IDS = "nothing but trading; ids say whether all is there"
    EVENTS = "nothing but what happens; days say whether all is there"
    RARE = "nothing but what happens, and that may be nothing for days"


@dataclass(frozen=True, slots=True)
class Clock:
    """When rows of one kind are expected.

    `step_us` is the step of STEPS and SNAPSHOTS. `ids` are the columns of the first and of the last id of a row of
    TRADE_IDS; the next row's first id follows the last one.
    """

    beat: Beat
    step_us: int = 0
    ids: tuple[str, str] = ("", "")


UNPREDICTABLE: Final = Clock(Beat.RARE)
