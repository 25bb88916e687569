"""What a feature is: a name, a formula, where it comes from, and the function that makes it of a tape."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from core.features.tape import Floats, Tape


class OverWindow(Protocol):
    """A feature of the last `window` rows."""

    def __call__(self, tape: Tape, window: int) -> Floats: ...


SHORT: Final = 5
MEDIUM: Final = 10
LONG: Final = 30
WINDOW: Final = 60
"""Rows of windows; a minute of seconds."""
HALF_LIFE: Final = 30
"""Rows after which a weight has halved."""
MEMORY: Final = 600
"""Rows after which nothing is remembered, where weights fade: what is left out weighed 2^-20."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the matrix: float64, NaN where it is not known or its denominator is 0.

    `formula` uses the symbols of docs/features.md. `window` is the rows that a value is made of; `warm_up` the rows
    before the first value, counted from the first row whose close is known. `hours`: whole UTC clock hours of trades
    before the row's own that it looks back to. `since_midnight`: it looks back to the beginning of the row's UTC day.
    `needs` names the other data (funding, premium, ...) that it is made of, `source` paper or book with the equation;
    `is_proxy` says that it stands for something that trades alone cannot tell.
    """

    name: str
    function: Callable[[Tape], Floats]
    formula: str
    unit: str
    source: str
    inputs: tuple[str, ...]
    window: int = 1
    warm_up: int = 0
    hours: int = 0
    since_midnight: bool = False
    needs: str | None = None
    is_proxy: bool = False

    @property
    def needed(self) -> str:
        """What comes before its first value, in words."""
        if self.needs is not None:
            return f"until the first of {self.needs}"
        return f"{self.hours + 1} clock hours" if self.hours else f"{self.warm_up} rows"


def over(
    name: str,
    function: OverWindow,
    windows: tuple[int, ...],
    formula: str,
    unit: str,
    source: str,
    inputs: tuple[str, ...],
    before: int = 0,
    is_proxy: bool = False,
) -> tuple[Feature, ...]:
    """The feature `name_w` of each window w. `before`: rows before the window that it is made of, too; a return needs
    the close of one."""
    return tuple(
        Feature(
            f"{name}_{window}",
            partial(function, window=window),
            formula,
            unit,
            source,
            inputs,
            window=window,
            warm_up=window - 1 + before,
            is_proxy=is_proxy,
        )
        for window in windows
    )
