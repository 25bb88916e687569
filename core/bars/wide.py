"""The same rules with Python's numbers, trade by trade: for sums and decimals that the kernels have no room for.

That is hardly ever: prices or quantities of more than 12 decimals or of 2^49 units and more, a sum of 2^61 units. What
comes out is what kernels would have given had they had the room; a million trades take some ten seconds.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from core.bars.decode import Trades
from core.bars.imbalance import amount_needed, dollars_needed, expect_dollars, expect_ticks
from core.bars.rules import Amount, Family
from core.bars.runs import expect_run, run_needed
from core.bars.slots import (
    BARS,
    BIN,
    BUY_DOLLARS,
    BUY_VOLUME,
    BUYS,
    CLOSE,
    CUT_HIGH,
    CUT_LOW,
    DOLLARS,
    FIRST_ID,
    FIRST_TIME,
    HIGH,
    LAST_ID,
    LAST_TIME,
    LEAST,
    LEAST_SIZE,
    LOW,
    MEAN_SELL,
    MOST,
    MOST_SIZE,
    OPEN,
    SIDE,
    SIZE,
    THRESHOLD,
    TRADES,
    VOLUME,
)
from core.bars.spec import BarSpec
from core.bars.sums import Sums, exact

_SUMS = {Amount.TRADES: (TRADES, BUYS), Amount.QUANTITY: (VOLUME, BUY_VOLUME), Amount.DOLLARS: (DOLLARS, BUY_DOLLARS)}


@dataclass(frozen=True, slots=True)
class Taken:
    """Closed bars as Python's numbers, a line for each slot, in the units of `sums`, those of the open bar."""

    whole: npt.NDArray[Any]
    real: npt.NDArray[np.float64]
    sums: Sums


class WideBars:
    """Takes some trades; `whole` and `real`, the state of a kernel, are brought up to date but for the sums."""

    def __init__(
        self,
        spec: BarSpec,
        contract: tuple[int, int] | None,
        numbers: npt.NDArray[np.float64],
        whole: npt.NDArray[np.int64],
        real: npt.NDArray[np.float64],
    ) -> None:
        self._spec = spec
        self._contract = contract
        self._numbers = numbers.tolist()
        self._kept = whole, real
        self._whole: list[int] = whole.tolist()
        self._real: list[float] = real.tolist()
        self._closed: list[tuple[list[int], list[float]]] = []
        self._places = 0
        self._limit: int | None = None

    def take(self, trades: Trades, first: int, end: int, sums: Sums) -> Taken:
        """Take the trades from `first` to before `end`."""
        ids, price, quantity, _, _, times = trades
        prices, price_places = _whole_numbers(price[first:end])
        quantities, quantity_places = _whole_numbers(quantity[first:end])
        value, value_places = self._contract if self._contract else (0, price_places)
        here = max(sums.quantity_places, quantity_places)
        scale = 10 ** (here - quantity_places)
        sums = sums.at(here, max(sums.dollar_places, here + value_places))
        dollar_scale = 10 ** (sums.dollar_places - here - value_places)
        self._places = {Amount.TRADES: 0, Amount.QUANTITY: here}.get(self._spec.rule.amount, sums.dollar_places)
        self._open(sums)
        for k, sale in enumerate(self._sales(trades, first, end)):
            amount = quantities[k] * scale
            dollars = amount * (value if self._contract else prices[k]) * dollar_scale
            self._add(int(ids[first + k]), int(times[first + k]), float(price[first + k]), amount, dollars, sale)
        return self._taken(sums)

    def _open(self, sums: Sums) -> None:
        slots = (VOLUME, BUY_VOLUME, DOLLARS, BUY_DOLLARS)
        for slot, number in zip(slots, (sums.volume, sums.buy_volume, sums.dollars, sums.buy_dollars), strict=True):
            self._whole[slot], self._whole[slot + 1] = number, 0
        self._limit = self._needed()

    def _taken(self, sums: Sums) -> Taken:
        whole, real = self._kept
        volume, buy_volume, dollars, buy_dollars = (
            self._whole[slot] for slot in (VOLUME, BUY_VOLUME, DOLLARS, BUY_DOLLARS)
        )
        left = Sums(volume, buy_volume, dollars, buy_dollars, sums.quantity_places, sums.dollar_places)
        for slot in (VOLUME, BUY_VOLUME, DOLLARS, BUY_DOLLARS):
            self._whole[slot] = 0
        whole[:], real[:] = self._whole, self._real
        lines = np.array([line for line, _ in self._closed], dtype=object).reshape(-1, BARS).T
        numbers = np.array([line for _, line in self._closed], dtype=np.float64).reshape(-1, MEAN_SELL + 1).T
        return Taken(lines, numbers, left)

    def _sales(self, trades: Trades, first: int, end: int) -> Iterator[bool]:
        _, price, _, maker, bit, _ = trades
        is_sale, before = bool(self._whole[SIDE]), self._real[CLOSE]
        for k in range(first, end):
            if self._spec.tick_rule:
                now = float(price[k])
                is_sale = now < before or (is_sale and not now > before)
                before = now
                yield is_sale
            else:
                yield bool(maker[(bit + k) // 8] >> ((bit + k) % 8) & 1)

    def _add(self, number: int, time: int, price: float, amount: int, dollars: int, is_sale: bool) -> None:
        whole, real = self._whole, self._real
        is_clock = self._spec.rule.family is Family.CLOCK
        step = int(self._spec.size)
        if is_clock and whole[TRADES] and time // step > whole[BIN]:
            self._close()
        if not whole[TRADES]:
            whole[FIRST_TIME], whole[FIRST_ID] = time, number
            real[OPEN] = real[HIGH] = real[LOW] = price
            whole[BIN] = time // step if is_clock else whole[BIN]
        real[HIGH], real[LOW], real[CLOSE] = max(real[HIGH], price), min(real[LOW], price), price
        whole[LAST_TIME], whole[LAST_ID], whole[SIDE] = time, number, int(is_sale)
        for slot, more in ((TRADES, 1), (VOLUME, amount), (DOLLARS, dollars)):
            whole[slot] += more
            whole[slot + (1 if slot == TRADES else 2)] += 0 if is_sale else more
        if not is_clock and self._limit is not None and self._reached() >= self._limit:
            self._close()

    @property
    def _is_warming_up(self) -> bool:
        return self._spec.rule.family in (Family.IMBALANCE, Family.RUN) and self._whole[BARS] == 0

    def _reached(self) -> int:
        """What the limit is compared with."""
        family = self._spec.rule.family
        if self._is_warming_up:
            return self._whole[TRADES]
        total, bought = (self._whole[slot] for slot in _SUMS[self._spec.rule.amount])
        if family is Family.THRESHOLD:
            return total
        return max(bought, total - bought) if family is Family.RUN else abs(2 * bought - total)

    def _needed(self) -> int | None:
        """The whole number that closes the bar, None if none does."""
        family = self._spec.rule.family
        if self._is_warming_up or family is Family.CLOCK:
            return int(self._spec.size)
        if family is Family.THRESHOLD:
            return math.ceil(Fraction(self._spec.size) * int(10**self._places))
        if family is Family.DOLLAR_IMBALANCE:
            threshold = dollars_needed.py_func(self._real)
        elif family is Family.IMBALANCE:
            threshold = amount_needed.py_func(self._real, self._numbers)
        else:
            threshold = run_needed.py_func(self._real)
        self._real[THRESHOLD] = threshold
        return math.ceil(Fraction(threshold) * int(10**self._places)) if math.isfinite(threshold) else None

    def _close(self) -> None:
        self._closed.append((self._whole[:BARS], self._real[: MEAN_SELL + 1]))
        if self._spec.rule.family.is_adaptive:
            self._expect()
        self._whole[BARS] += 1
        self._whole[TRADES:FIRST_TIME] = [0] * (FIRST_TIME - TRADES)
        self._limit = self._needed()

    def _expect(self) -> None:
        whole, real, numbers, bars = self._whole, self._real, self._numbers, self._whole[BARS]
        unit = 10**self._places
        total, bought = (whole[slot] for slot in _SUMS[self._spec.rule.amount])
        theta, trades, buys = (2 * bought - total) / unit, float(whole[TRADES]), float(whole[BUYS])
        if self._spec.rule.family is Family.DOLLAR_IMBALANCE:
            uncut = expect_dollars.py_func(real, numbers, bars, theta, total / unit)
        elif self._spec.rule.family is Family.IMBALANCE:
            uncut = expect_ticks.py_func(real, numbers, bars, theta, trades)
        else:
            uncut = expect_run.py_func(real, numbers, bars, trades, buys, bought / unit, (total - bought) / unit)
        whole[CUT_LOW] += uncut < numbers[LEAST]
        whole[CUT_HIGH] += uncut > numbers[MOST]
        real[LEAST_SIZE], real[MOST_SIZE] = min(real[LEAST_SIZE], real[SIZE]), max(real[MOST_SIZE], real[SIZE])


def _whole_numbers(values: npt.NDArray[np.float64]) -> tuple[list[int], int]:
    """Decimals as whole numbers, and of how many places these count units."""
    numbers = [exact(value) for value in values]
    places = max(each for _, each in numbers)
    return [number * 10 ** (places - each) for number, each in numbers], places
