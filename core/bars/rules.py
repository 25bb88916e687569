"""What a kind of bar is: by which rule it closes, of which amount, and with which options. Nothing here computes."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Family(IntEnum):
    """By which rule bars close; kernels know it by its number, each lies in the module of the family."""

    CLOCK = 0
    THRESHOLD = 1
    DOLLAR_IMBALANCE = 2
    IMBALANCE = 3
    RUN = 4

    @property
    def module(self) -> str:
        """The module of `core.bars` that has the kernel."""
        return {0: "clock", 1: "threshold", 2: "imbalance", 3: "imbalance", 4: "runs"}[self.value]

    @property
    def is_adaptive(self) -> bool:
        """Its threshold follows from the bars before."""
        return self >= Family.DOLLAR_IMBALANCE


class Amount(StrEnum):
    """What a trade counts for: 1, its quantity, or price times quantity (cm: contracts times contract value)."""

    TRADES = "trades"
    QUANTITY = "quantity"
    DOLLARS = "dollars"


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of bar. `size` is the name of its first number; `options` are the other numbers and words it knows."""

    family: Family
    amount: Amount
    size: str
    doc: str
    options: tuple[str, ...] = ()


SIDES = ("tick_rule",)
"""Every kind counts buys and sells, and so can be asked to find the side itself."""
BOUNDS = ("least", "most", "unclamped", "min_imbalance")
IN_DOLLARS = ("alpha_volume", "alpha_imbalance", "signed", *BOUNDS, *SIDES)
IN_TICKS = ("alpha_ticks", "alpha_imbalance", *BOUNDS, *SIDES)
OF_RUNS = ("alpha_ticks", "alpha_run", "least", "most", "unclamped", *SIDES)


def threshold(amount: Amount, doc: str) -> Rule:
    return Rule(Family.THRESHOLD, amount, "threshold", doc, SIDES)


def imbalance(amount: Amount, doc: str) -> Rule:
    return Rule(Family.IMBALANCE, amount, "init_ticks", doc, IN_TICKS)


def run(amount: Amount, doc: str) -> Rule:
    return Rule(Family.RUN, amount, "init_ticks", doc, OF_RUNS)
