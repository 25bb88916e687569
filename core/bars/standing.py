"""Where one spec's bars stand: the arrays of a kernel, the open bar's sums, and both as plain numbers and texts."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.bars.decode import Trades
from core.bars.drift import Drift
from core.bars.rules import Amount, Family
from core.bars.slots import (
    ALPHA_MEAN,
    ALPHA_SIZE,
    AMOUNT,
    BARS,
    BIN,
    BUYS,
    CLOSE,
    CONTRACT,
    CONTRACT_PLACES,
    CUT_HIGH,
    CUT_LOW,
    DOLLARS,
    FAMILY,
    FIRST_ID,
    FIRST_TIME,
    FLOAT_SLOTS,
    FLOOR,
    HIGH,
    LAST_ID,
    LAST_TIME,
    LEAST,
    LEAST_SIZE,
    LIMIT,
    LOW,
    MEAN,
    MEAN_BUY,
    MEAN_SELL,
    MOST,
    MOST_SIZE,
    NEVER,
    NUMBER_SLOTS,
    OPEN,
    PRICE_PLACES,
    QUANTITY_PLACES,
    RULE_SLOTS,
    SIDE,
    SIGNED,
    SIZE,
    THRESHOLD,
    TICK_RULE,
    TRADES,
    VOLUME,
    WHOLE_SLOTS,
)
from core.bars.spec import BarSpec
from core.bars.sums import NOTHING, Sums
from core.bars.table import Columns, closed_columns
from core.bars.wide import WideBars
from core.errors import ConfigError

VERSION: Final = 2
"""Of the saved state; raised when its meaning changes."""
NO_ID: Final = int(np.iinfo(np.int64).min)
_MOST_PLACES: Final = 18
"""Of dollars, in kernels: 10^18 is the largest power of ten that an int64 holds."""
_AMOUNT: Final = {Amount.TRADES: TRADES, Amount.QUANTITY: VOLUME, Amount.DOLLARS: DOLLARS}
_WHOLE: Final = {
    "trades": TRADES,
    "buys": BUYS,
    "first_time": FIRST_TIME,
    "last_time": LAST_TIME,
    "first_id": FIRST_ID,
    "last_id": LAST_ID,
    "step": BIN,
    "closed": BARS,
    "cut_low": CUT_LOW,
    "cut_high": CUT_HIGH,
    "side": SIDE,
}
_REAL: Final = {
    "open": OPEN,
    "high": HIGH,
    "low": LOW,
    "close": CLOSE,
    "threshold": THRESHOLD,
    "size": SIZE,
    "mean": MEAN,
    "mean_buy": MEAN_BUY,
    "mean_sell": MEAN_SELL,
    "least_size": LEAST_SIZE,
    "most_size": MOST_SIZE,
}
"""The slots by the names that they have in a saved state."""
_SUMS: Final = ("volume", "buy_volume", "dollars", "buy_dollars")


@contextmanager
def readable_state() -> Iterator[None]:
    """What a saved state is restored in: what it lacks, or has and should not, is a ConfigError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ConfigError(
            f"the saved state cannot be read ({type(error).__name__}: {error}); build the bars anew"
        ) from error


class Standing:
    """`whole`, `real` and `rule` are what kernels take and change; `numbers` what they only read.

    The sums of the open bar lie in `whole`, in units of the places that `rule` says; or in `sums`, where kernels have
    no room for them.
    """

    def __init__(self, spec: BarSpec, contract_value: Decimal | int | str | None) -> None:
        self.spec = spec
        self.contract = None if contract_value is None else _contract(contract_value)
        self.sums: Sums | None = None
        self.whole = np.zeros(WHOLE_SLOTS, dtype=np.int64)
        self.whole[LAST_ID] = NO_ID
        self.real = _start(spec)
        self.numbers = _numbers(spec)
        self.rule = _rule(spec, self.contract)
        self._use_places(0, 0)

    @classmethod
    def restored(cls, spec: BarSpec, state: dict[str, Any]) -> "Standing":
        """As it was when `state` was saved. Raises ConfigError if that was one of other bars."""
        if state.get("version") != VERSION:
            raise ConfigError(f"a saved state of version {state.get('version')} cannot be used; build the bars anew")
        if state["spec"] != str(spec):
            raise ConfigError(f"the saved state is that of {state['spec']} bars, not of {spec}; build the bars anew")
        standing = cls(spec, state["contract_value"])
        for name, slot in _WHOLE.items():
            standing.whole[slot] = state[name]
        for name, slot in _REAL.items():
            standing.real[slot] = math.nan if state[name] is None else state[name]
        standing.sums = Sums.parse([state[name] for name in _SUMS])
        return standing

    def state(self) -> dict[str, Any]:
        """All that the next trade needs; the same for the same trades, however they were cut."""
        real = {name: float(self.real[slot]) for name, slot in _REAL.items()}
        contract = None if self.contract is None else str(Decimal(self.contract[0]).scaleb(-self.contract[1]))
        return {
            "version": VERSION,
            "spec": str(self.spec),
            "contract_value": contract,
            **{name: int(self.whole[slot]) for name, slot in _WHOLE.items()},
            **{name: None if math.isnan(number) else number for name, number in real.items()},
            **dict(zip(_SUMS, self.exact_sums().texts(), strict=True)),
        }

    def exact_sums(self) -> Sums:
        """What the open bar has summed up."""
        if self.sums is not None:
            return self.sums
        return Sums.packed(self.whole, *self.sum_places) if self.whole[TRADES] else NOTHING

    @property
    def sum_places(self) -> tuple[int, int]:
        """Of quantities and of dollars, in `whole`."""
        price, quantity = self.places
        return quantity, quantity + (price if self.contract is None else self.contract[1])

    @property
    def places(self) -> tuple[int, int]:
        """Of prices and of quantities, as kernels read them."""
        return int(self.rule[PRICE_PLACES]), int(self.rule[QUANTITY_PLACES])

    def places_for(self, price: int, quantity: int) -> tuple[int, int]:
        """The fewest places of prices and quantities, no fewer than these, that are enough for the open bar."""
        sums = self.exact_sums().shortest()
        quantity = max(quantity, sums.quantity_places)
        if self.contract is None:
            return max(price, sums.dollar_places - quantity), quantity
        return price, max(quantity, sums.dollar_places - self.contract[1])

    def go_on_in(self, price: int, quantity: int) -> bool:
        """Let kernels go on in these places, which must be enough; False if they have no room for the sums then."""
        sums = self.exact_sums()
        dollars = quantity + (price if self.contract is None else self.contract[1])
        if max(price, quantity, dollars) > _MOST_PLACES or not sums.at(quantity, dollars).pack(self.whole):
            self.sums = sums
            return False
        self.sums = None
        self._use_places(price, quantity)
        return True

    def step_aside(self) -> None:
        """Keep the sums outside of `whole`, whatever becomes of its places."""
        self.sums = self.exact_sums()

    def take_widely(self, trades: Trades, at: int, end: int) -> list[Columns]:
        """Take some trades without kernels; the bars that they close. Their ids must rise."""
        self.step_aside()
        wide = WideBars(self.spec, self.contract, self.numbers, self.whole, self.real)
        taken = wide.take(trades, at, end, self.exact_sums())
        self.sums = taken.sums
        places = taken.sums.quantity_places, taken.sums.dollar_places
        return [closed_columns(taken.whole, taken.real, self.spec, places)] if taken.whole.shape[1] else []

    def open_bar(self) -> list[Columns]:
        """The open bar as it stands, nothing if it has no trade."""
        if not self.whole[TRADES]:
            return []
        sums = self.exact_sums()
        whole = self.whole[:BARS].astype(object)
        whole[VOLUME:FIRST_TIME] = [sums.volume, 0, sums.buy_volume, 0, sums.dollars, 0, sums.buy_dollars, 0]
        places = sums.quantity_places, sums.dollar_places
        return [closed_columns(whole[:, None], self.real[: MEAN_SELL + 1, None], self.spec, places)]

    def drift(self) -> Drift | None:
        """How far adaptive bars have drifted, None for the others. To be reported when it `is_much`."""
        if not self.spec.rule.family.is_adaptive:
            return None
        bars, low, high = (int(self.whole[slot]) for slot in (BARS, CUT_LOW, CUT_HIGH))
        now, least, most = (float(self.real[slot]) for slot in (SIZE, LEAST_SIZE, MOST_SIZE))
        return Drift(str(self.spec), bars, float(self.spec.size), now, least, most, low, high)

    def _use_places(self, price: int, quantity: int) -> None:
        self.rule[PRICE_PLACES], self.rule[QUANTITY_PLACES] = price, quantity
        if self.spec.rule.family is Family.THRESHOLD:
            places = {Amount.TRADES: 0, Amount.QUANTITY: quantity}.get(self.spec.rule.amount, self.sum_places[1])
            self.rule[LIMIT] = min(math.ceil(Fraction(self.spec.size) * 10**places), NEVER)


def _contract(value: Decimal | int | str) -> tuple[int, int]:
    try:
        number = Decimal(value)
    except ArithmeticError:
        raise ConfigError(f"contract_value is a number of dollars, not {value!r}") from None
    if not number.is_finite() or not 0 < number < 10**9 or number != round(number, 6):
        raise ConfigError(f"contract_value cannot be {value}; a contract of cm is worth 10 or 100 dollars")
    places = next(places for places in range(7) if number * 10**places % 1 == 0)
    return int(number * 10**places), places


def _rule(spec: BarSpec, contract: tuple[int, int] | None) -> npt.NDArray[np.int64]:
    rule = np.zeros(RULE_SLOTS, dtype=np.int64)
    rule[FAMILY], rule[AMOUNT], rule[TICK_RULE] = spec.rule.family, _AMOUNT[spec.rule.amount], spec.tick_rule
    rule[LIMIT] = min(int(spec.size), NEVER)
    if contract is not None:
        rule[CONTRACT], rule[CONTRACT_PLACES] = contract
    return rule


def _numbers(spec: BarSpec) -> npt.NDArray[np.float64]:
    numbers = np.zeros(NUMBER_SLOTS)
    family = spec.rule.family
    numbers[ALPHA_SIZE] = spec.alpha_volume if family is Family.DOLLAR_IMBALANCE else spec.alpha_ticks
    numbers[ALPHA_MEAN] = spec.alpha_run if family is Family.RUN else spec.alpha_imbalance
    numbers[LEAST], numbers[MOST] = spec.bounds
    numbers[FLOOR], numbers[SIGNED] = spec.floor, spec.signed
    return numbers


def _start(spec: BarSpec) -> npt.NDArray[np.float64]:
    real = np.zeros(FLOAT_SLOTS)
    real[CLOSE] = real[THRESHOLD] = math.nan
    if spec.rule.family.is_adaptive:
        real[SIZE] = real[LEAST_SIZE] = real[MOST_SIZE] = float(spec.size)
    if spec.rule.family is Family.DOLLAR_IMBALANCE:
        real[MEAN] = 1.0
    if spec.rule.family is Family.RUN:
        real[MEAN_BUY] = real[MEAN_SELL] = math.nan
    return real
