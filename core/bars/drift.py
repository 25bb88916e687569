"""How far the expected size of adaptive bars has moved, and how often its bounds had to hold it."""

from dataclasses import dataclass
from typing import Final

OFTEN: Final = 0.2
"""Of the bars; from then on the bounds make the bars rather than the rule."""
FAR: Final = 4.0
"""Times the start, or a part of it."""


@dataclass(frozen=True, slots=True)
class Drift:
    """`least` and `most` are between what the expected size was since the `start`, in dollars or trades.

    `cut_low` and `cut_high` count the bars behind which it was cut by its bounds.
    """

    spec: str
    bars: int
    start: float
    now: float
    least: float
    most: float
    cut_low: int
    cut_high: int

    @property
    def is_much(self) -> bool:
        """Whether a user should hear of it."""
        is_far = self.most > FAR * self.start or self.least < self.start / FAR
        return self.bars > 0 and (is_far or self.cut_low + self.cut_high > OFTEN * self.bars)

    def __str__(self) -> str:
        cut = [f"{count / self.bars:.0%} {word}" for count, word in self._cuts if count]
        held = f"; its bounds held it after {' and '.join(cut)} of the bars" if cut else ""
        return (
            f"{self.spec}: the expected size began at {self.start:,.0f}, was between {self.least:,.0f} and "
            f"{self.most:,.0f} in {self.bars:,} bars, and is {self.now:,.0f}{held}"
        )

    @property
    def _cuts(self) -> tuple[tuple[int, str], ...]:
        return (self.cut_low, "from below"), (self.cut_high, "from above")
