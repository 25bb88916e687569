"""How the sample market holds its numbers: whole units, so that every value is an exact decimal."""

from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Words: TypeAlias = NDArray[np.str_]

_EXACT_FLOAT = 2**53


@dataclass(frozen=True, slots=True, eq=False)
class Decimals:
    """A column of decimals: `units` / 10**`places`. `known` says which cells have a value; None: all of them."""

    units: Ints
    places: int
    known: Bools | None = None

    def __getitem__(self, rows: slice | Bools | Ints) -> "Decimals":
        return Decimals(self.units[rows], self.places, None if self.known is None else self.known[rows])

    def floats(self) -> NDArray[np.float64]:
        """Each value as `float` of its decimal text, to the last bit."""
        if len(self.units) and int(np.abs(self.units).max()) >= _EXACT_FLOAT:
            return np.array([float(Decimal(int(unit)).scaleb(-self.places)) for unit in self.units])
        # Both operands are exact, so the one rounding of the division is that of the decimal text.
        return self.units / np.float64(10**self.places)


Values: TypeAlias = Ints | Bools | Words | Decimals
Columns: TypeAlias = dict[str, Values]
"""Rows of one dataset: the exchange's column names and equally long columns. Times are microseconds."""


def integers(values: Values) -> Ints:
    """A column of times, ids or counts as what it is."""
    assert not isinstance(values, Decimals)
    return values.astype(np.int64, copy=False)


def divide_half_up(numerator: Ints, denominator: Ints | int) -> Ints:
    """The nearest whole number to each quotient; a half goes up. `denominator` is positive."""
    return (2 * numerator + denominator) // (2 * denominator)


def random_stream(seed: int, *words: str) -> np.random.Generator:
    """A generator of its own for every purpose.

    Each is drawn from once, in order of time: a longer history begins with exactly the shorter one.
    """
    digest = sha256("/".join((str(seed), *words)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
