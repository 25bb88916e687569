"""`Tape`: what trades were in each interval of the clock, or in each bar, and what else was known by its end."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from core.features.exact import less, ln

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Tape:
    """Rows in order of time; each column has as many values as there are rows.

    A row is known at its `available_us` and is made of nothing that came at or after it. Of an interval of the clock
    `timestamp_us` is the beginning and `available_us` the end, of a bar the times of its first trade and of its last
    one plus 1 us. An interval without trades carries the last close as all its prices; its sums are 0 and what only
    trades can tell is NaN. Prices are NaN before the first trade. `first` is the number of the first row: of intervals
    of the clock that since 1970, so that windows lie in the same way wherever a tape begins. `in_contracts`: quantities
    are contracts of so many dollars (cm), not of the base asset.
    """

    first: int
    in_contracts: bool
    timestamp_us: Integers
    available_us: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    buy_volume: Floats
    dollars: Floats
    buy_dollars: Floats
    buy_base: Floats
    """What was bought of the base asset: `buy_volume`, of contracts the sum of their dollars over the price."""
    sell_base: Floats
    trades: Floats
    buys: Floats
    max_trade: Floats
    std_trade: Floats
    """Population standard deviation of the trades' quantities."""
    gap_mean: Floats
    """Mean seconds since the trade before, of the row's trades."""
    gap_std: Floats
    since_trade: Floats
    """Seconds from the last trade to `available_us`."""
    signed_run: Floats
    """How many trades of one side the row ends with; below 0 if they are sales."""
    max_run: Floats
    phrases: Floats
    """Lempel-Ziv phrases of the row's sides."""
    root_dollars: Floats
    """Sum of the roots of the trades' dollars, those of sales subtracted."""
    large_volume: Floats
    """Quantity of trades larger than 99 % of those of the clock hour before."""
    vpin: Floats
    vpin_cdf: Floats
    funding_rate: Floats
    premium: Floats
    index_price: Floats
    open_interest: Floats
    seconds: Floats
    """How long the row took: of a bar since the last trade of the bar before, of the first one since its own first."""

    def __len__(self) -> int:
        return len(self.close)

    def between(self, start: int, end: int) -> "Tape":
        """The rows from `start` to before `end`."""
        parts = {name: getattr(self, name)[start:end] for name in COLUMNS}
        return Tape(first=self.first + start, in_contracts=self.in_contracts, **parts)

    def behind(self, other: "Tape") -> "Tape":
        """These rows behind those of another tape, which ends where this one begins."""
        parts = {name: np.concatenate((getattr(other, name), getattr(self, name))) for name in COLUMNS}
        return Tape(first=other.first, in_contracts=self.in_contracts, **parts)

    def knowing(self, **columns: Floats) -> "Tape":
        """With other columns."""
        changes: dict[str, Any] = dict(columns)
        return replace(self, **changes)

    # what several features are made of

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, made when it is asked for first."""
        if key not in self._kept:
            self._kept[key] = make()
        kept: Made = self._kept[key]
        return kept

    @cached_property
    def _kept(self) -> dict[Hashable, Any]:
        return {}

    @cached_property
    def sell_volume(self) -> Floats:
        return less(self.volume, self.buy_volume)

    @cached_property
    def sell_dollars(self) -> Floats:
        return less(self.dollars, self.buy_dollars)

    @cached_property
    def base(self) -> Floats:
        """What was traded of the base asset."""
        return self.buy_base + self.sell_base if self.in_contracts else self.volume

    @cached_property
    def sells(self) -> Floats:
        return self.trades - self.buys

    @cached_property
    def signed_volume(self) -> Floats:
        """Bought less sold quantity."""
        return less(self.buy_volume, self.sell_volume)

    @cached_property
    def signed_dollars(self) -> Floats:
        return less(self.buy_dollars, self.sell_dollars)

    @cached_property
    def change(self) -> Floats:
        """Close less the close before; NaN in the first row."""
        return self.change_over(1)

    @cached_property
    def log_return(self) -> Floats:
        """ln of close over the close before; NaN in the first row."""
        return self.log_return_over(1)

    def change_over(self, rows: int) -> Floats:
        found = np.full(len(self), np.nan)
        found[rows:] = less(self.close[rows:], self.close[:-rows])
        return found

    def log_return_over(self, rows: int) -> Floats:
        found = np.full(len(self), np.nan)
        found[rows:] = ln(self.close[rows:], self.close[:-rows])
        return found

    @cached_property
    def log_range(self) -> Floats:
        """ln of high over low."""
        return ln(self.high, self.low)


COLUMNS = tuple(field.name for field in fields(Tape) if field.name not in ("first", "in_contracts"))


def positive(values: Floats) -> Floats:
    """NaN for what is not above 0: a denominator that is 0 gives no value."""
    return np.where(values > 0, values, np.nan)
