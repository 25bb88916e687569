"""Exact sums outside of kernels: Python's whole numbers and the places whose units they count."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from core.bars.slots import BUY_DOLLARS, BUY_VOLUME, DOLLARS, LIMB, VOLUME


@dataclass(frozen=True, slots=True)
class Sums:
    """What the open bar has summed up: quantities in units of 10^-quantity_places, dollars of 10^-dollar_places."""

    volume: int
    buy_volume: int
    dollars: int
    buy_dollars: int
    quantity_places: int
    dollar_places: int

    @classmethod
    def packed(cls, whole: npt.NDArray[np.int64], quantity_places: int, dollar_places: int) -> "Sums":
        """The sums that lie in the slots of a kernel."""
        volume, buy_volume, dollars, buy_dollars = (
            (int(whole[slot + 1]) << LIMB) + int(whole[slot]) for slot in (VOLUME, BUY_VOLUME, DOLLARS, BUY_DOLLARS)
        )
        return cls(volume, buy_volume, dollars, buy_dollars, quantity_places, dollar_places)

    @classmethod
    def parse(cls, texts: list[str]) -> "Sums":
        """The sums that `texts` said."""
        numbers = [_whole_and_places(Decimal(text)) for text in texts]
        quantity, dollar = max(p for _, p in numbers[:2]), max(p for _, p in numbers[2:])
        volume, buy_volume = (_at(n, p, quantity) for n, p in numbers[:2])
        dollars, buy_dollars = (_at(n, p, dollar) for n, p in numbers[2:])
        return cls(volume, buy_volume, dollars, buy_dollars, quantity, dollar)

    def texts(self) -> list[str]:
        """Volume, bought volume, dollars and bought dollars as decimals without zeros at the end."""
        places = (self.quantity_places, self.quantity_places, self.dollar_places, self.dollar_places)
        numbers = (self.volume, self.buy_volume, self.dollars, self.buy_dollars)
        return [_text(*each) for each in zip(numbers, places, strict=True)]

    def shortest(self) -> "Sums":
        """The same sums in the fewest places."""
        quantity = _needless(self.volume, self.buy_volume, self.quantity_places)
        dollar = _needless(self.dollars, self.buy_dollars, self.dollar_places)
        return self.at(self.quantity_places - quantity, self.dollar_places - dollar)

    def at(self, quantity_places: int, dollar_places: int) -> "Sums":
        """The same sums in other places, which must be enough."""
        volume, buy_volume = (_at(n, self.quantity_places, quantity_places) for n in (self.volume, self.buy_volume))
        dollars, buy_dollars = (_at(n, self.dollar_places, dollar_places) for n in (self.dollars, self.buy_dollars))
        return Sums(volume, buy_volume, dollars, buy_dollars, quantity_places, dollar_places)

    def pack(self, whole: npt.NDArray[np.int64]) -> bool:
        """Put the sums into the slots of a kernel; False if they are too large for that."""
        sums = {VOLUME: self.volume, BUY_VOLUME: self.buy_volume, DOLLARS: self.dollars, BUY_DOLLARS: self.buy_dollars}
        if max(sums.values()) >> LIMB >= 1 << 62:
            return False
        for slot, number in sums.items():
            whole[slot], whole[slot + 1] = number & ((1 << LIMB) - 1), number >> LIMB
        return True


NOTHING = Sums(0, 0, 0, 0, 0, 0)


def exact(value: Any) -> tuple[int, int]:
    """The decimal that a double of at least 0 is printed as: a whole number, and of how many places it counts units."""
    return _whole_and_places(Decimal(repr(float(value))))


def _whole_and_places(number: Decimal) -> tuple[int, int]:
    _, digits, exponent = number.as_tuple()
    whole = int("".join(map(str, digits)))
    power = int(exponent)
    if power >= 0 or not whole:
        return whole * 10 ** max(power, 0), 0
    needless = _needless(whole, 0, -power)
    return whole // 10**needless, -power - needless


def _needless(one: int, other: int, places: int) -> int:
    """How many of the places are 0 in both numbers."""
    needless = 0
    while needless < places and one % 10 == 0 and other % 10 == 0:
        one, other, needless = one // 10, other // 10, needless + 1
    return needless


def _at(number: int, places: int, wanted: int) -> int:
    return number * int(10 ** (wanted - places)) if wanted >= places else number // int(10 ** (places - wanted))


def _text(number: int, places: int) -> str:
    if not places:
        return str(number)
    digits = str(number).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}".rstrip("0").rstrip(".")
