"""Bars from trades, batch by batch: however the trades are cut, the bars are the same, bit for bit."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.bars.blocks import scratch
from core.bars.decode import COLUMNS, Trades, arrays, columns_of, dataset_of
from core.bars.drift import Drift
from core.bars.kernel import run
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
    DISORDER,
    DOLLARS,
    DONE,
    FAMILY,
    FIRST_ID,
    FIRST_TIME,
    FLOAT_SLOTS,
    FLOOR,
    FULL,
    HIGH,
    LAST_ID,
    LAST_TIME,
    LEAST,
    LEAST_SIZE,
    LIMIT,
    LOW,
    MAY_REPEAT,
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
from core.bars.table import Columns, closed_columns, schema_of, table_of
from core.bars.wide import WideBars
from core.decimals import places_of
from core.errors import ConfigError, StorageError

__all__ = ["BarBuilder", "columns_of", "schema_of"]

VERSION: Final = 1
"""Of the saved state; raised when its meaning changes."""
AT_ONCE: Final = 1024
"""Trades in the scratch: what a kernel works at stays in the nearest cache."""
BARS_AT_ONCE: Final = 8192
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


class BarBuilder:
    """Makes the bars of `spec` from one symbol's trades, in the order of their ids.

    `contract_value` is what a contract is worth in dollars where quantities are contracts (cm: 100 for BTCUSD, 10 for
    the others): dollars are then contracts times contract value, volumes contracts. Elsewhere dollars are price times
    quantity, exactly.
    """

    def __init__(self, spec: BarSpec, *, contract_value: Decimal | int | str | None = None) -> None:
        self.spec = spec
        self._contract = None if contract_value is None else _contract(contract_value)
        self._dataset: str | None = None
        self._sums: Sums | None = None
        """The open bar's sums where the arrays have no room for them."""
        self._last: tuple[int, float] | None = None
        """Step and close of the last bar that was closed."""
        self._whole = np.zeros(WHOLE_SLOTS, dtype=np.int64)
        self._whole[LAST_ID] = np.iinfo(np.int64).min
        self._real = _start(spec)
        self._numbers = _numbers(spec)
        self._rule = _rule(spec, self._contract)
        self._places(0, 0)
        self._room = scratch(AT_ONCE)
        self._bars = np.empty((BARS_AT_ONCE, BARS), dtype=np.int64)
        self._bars_real = np.empty((BARS_AT_ONCE, MEAN_SELL + 1))

    @classmethod
    def resume(cls, spec: BarSpec, state: dict[str, Any]) -> "BarBuilder":
        """The builder as it was when `state` was saved. Raises ConfigError if that was one of other bars."""
        if state.get("version") != VERSION:
            raise ConfigError(f"a saved state of version {state.get('version')} cannot be used; build the bars anew")
        if state["spec"] != str(spec):
            raise ConfigError(f"the saved state is that of {state['spec']} bars, not of {spec}; build the bars anew")
        builder = cls(spec, contract_value=state["contract_value"])
        builder._dataset = state["dataset"]
        for name, slot in _WHOLE.items():
            builder._whole[slot] = state[name]
        for name, slot in _REAL.items():
            builder._real[slot] = math.nan if state[name] is None else state[name]
        builder._sums = Sums.parse([state[name] for name in _SUMS])
        builder._last = None if state["last_bar"] is None else (state["last_bar"][0], state["last_bar"][1])
        return builder

    def state(self) -> dict[str, Any]:
        """All that the next trade needs, of plain numbers and texts; the same for the same trades, however cut."""
        real = {name: float(self._real[slot]) for name, slot in _REAL.items()}
        return {
            "version": VERSION,
            "spec": str(self.spec),
            "dataset": self._dataset,
            "contract_value": None if self._contract is None else _contract_text(self._contract),
            **{name: int(self._whole[slot]) for name, slot in _WHOLE.items()},
            **{name: None if math.isnan(number) else number for name, number in real.items()},
            **dict(zip(_SUMS, self._exact_sums().texts(), strict=True)),
            "last_bar": None if self._last is None else list(self._last),
        }

    def update(self, rows: pa.RecordBatch | pa.Table) -> pa.Table:
        """The bars that the next trades close; columns as `schema_of` says.

        `rows` have at least the columns of `columns_of("trades")` or `columns_of("agg_trades")`. Raises StorageError
        for ids that do not rise and for prices and quantities that are no numbers or below 0, ConfigError for other
        columns; the builder is then as it was before.
        """
        dataset = dataset_of(rows.schema.names) if self._dataset is None else self._dataset
        if missing := [name for name in COLUMNS[dataset] if name not in rows.schema.names]:
            raise ConfigError(f"bars were begun with {dataset}, and there is no column {', '.join(missing)}")
        before = dataset, self._last, self._sums, self._whole.copy(), self._real.copy(), self._rule.copy()
        kept = self._dataset
        self._dataset = dataset
        self._rule[MAY_REPEAT] = dataset == "agg_trades"
        try:
            closed = [columns for trades in arrays(rows, dataset) for columns in self._take(trades)]
        except BaseException:
            _, self._last, self._sums, self._whole, self._real, self._rule = before
            self._dataset = kept
            raise
        if closed:
            self._last = int(closed[-1]["bin"][-1]), float(closed[-1]["price_close"][-1])
        return table_of(closed, self.spec, before[1])

    def finish(self) -> pa.Table:
        """The open bar as it stands, no row if it has no trade; the builder goes on as if nothing had been asked."""
        if not self._whole[TRADES]:
            return table_of([], self.spec, self._last)
        sums = self._exact_sums()
        whole = self._whole[:BARS].astype(object)
        whole[VOLUME:FIRST_TIME] = [sums.volume, 0, sums.buy_volume, 0, sums.dollars, 0, sums.buy_dollars, 0]
        places = sums.quantity_places, sums.dollar_places
        columns = closed_columns(whole[None, :], self._real[None, : MEAN_SELL + 1], self.spec, places)
        return table_of([columns], self.spec, self._last)

    @property
    def last_id(self) -> int | None:
        """The id of the last trade that was taken, None before the first."""
        last = int(self._whole[LAST_ID])
        return None if last == np.iinfo(np.int64).min else last

    def drift(self) -> Drift | None:
        """How far adaptive bars have drifted, None for the others. To be reported when it `is_much`."""
        if not self.spec.rule.family.is_adaptive:
            return None
        bars, low, high = (int(self._whole[slot]) for slot in (BARS, CUT_LOW, CUT_HIGH))
        now, least, most = (float(self._real[slot]) for slot in (SIZE, LEAST_SIZE, MOST_SIZE))
        return Drift(str(self.spec), bars, float(self.spec.size), now, least, most, low, high)

    def _take(self, trades: Trades) -> list[Columns]:
        closed: list[Columns] = []
        at, failed = 0, None
        while at < len(trades[0]):
            if self._sums is None:
                at, count, status = run(
                    trades,
                    at,
                    self._room,
                    self._rule,
                    self._numbers,
                    self._whole,
                    self._real,
                    self._bars,
                    self._bars_real,
                )
                if count:
                    lines = self._bars[:count].copy(), self._bars_real[:count].copy()
                    closed.append(closed_columns(*lines, self.spec, self._sum_places))
                if status in (DONE, FULL):
                    continue
                if status == DISORDER:
                    raise _disorder(trades, at, int(self._whole[LAST_ID]), bool(self._rule[MAY_REPEAT]))
                self._sums = Sums.packed(self._whole, *self._sum_places)
                failed = self._rule[PRICE_PLACES], self._rule[QUANTITY_PLACES]
            end = min(len(trades[0]), at + AT_ONCE)
            _check(trades, at, end)
            if not self._fit(trades, at, end, failed):
                closed += self._take_widely(trades, at, end)
                at = end
            failed = None
        return closed

    def _take_widely(self, trades: Trades, at: int, end: int) -> list[Columns]:
        odd = _first_disorder(trades[0][at:end], int(self._whole[LAST_ID]), bool(self._rule[MAY_REPEAT]))
        if odd is not None:
            raise _disorder(trades, at, int(self._whole[LAST_ID]), bool(self._rule[MAY_REPEAT]))
        wide = WideBars(self.spec, self._contract, self._numbers, self._whole, self._real)
        taken = wide.take(trades, at, end, self._exact_sums())
        self._sums = taken.sums
        places = taken.sums.quantity_places, taken.sums.dollar_places
        return [closed_columns(taken.whole, taken.real, self.spec, places)] if len(taken.whole) else []

    def _fit(self, trades: Trades, at: int, end: int, failed: tuple[int, int] | None) -> bool:
        """Choose places in which the kernel can go on with the sums and these trades; False if there are none."""
        sums = self._exact_sums().shortest()
        quantity = max(places_of(trades[2][at:end]), sums.quantity_places)
        price = places_of(trades[1][at:end])
        if self._contract is None:
            price = max(price, sums.dollar_places - quantity)
            total = quantity + price
        else:
            quantity = max(quantity, sums.dollar_places - self._contract[1])
            total = quantity + self._contract[1]
        if (price, quantity) == failed or max(price, quantity, total) > _MOST_PLACES:
            return False
        if not sums.at(quantity, total).pack(self._whole):
            return False
        self._sums = None
        self._places(price, quantity)
        return True

    def _places(self, price: int, quantity: int) -> None:
        self._rule[PRICE_PLACES], self._rule[QUANTITY_PLACES] = price, quantity
        if self.spec.rule.family is Family.THRESHOLD:
            places = {Amount.TRADES: 0, Amount.QUANTITY: quantity}.get(self.spec.rule.amount, self._sum_places[1])
            self._rule[LIMIT] = min(math.ceil(Fraction(self.spec.size) * 10**places), NEVER)

    @property
    def _sum_places(self) -> tuple[int, int]:
        """Of quantities and of dollars, in the arrays."""
        price, quantity = int(self._rule[PRICE_PLACES]), int(self._rule[QUANTITY_PLACES])
        return quantity, quantity + (price if self._contract is None else self._contract[1])

    def _exact_sums(self) -> Sums:
        if self._sums is not None:
            return self._sums
        return Sums.packed(self._whole, *self._sum_places) if self._whole[TRADES] else NOTHING


def _contract(value: Decimal | int | str) -> tuple[int, int]:
    try:
        number = Decimal(value)
    except ArithmeticError:
        raise ConfigError(f"contract_value is a number of dollars, not {value!r}") from None
    if not number.is_finite() or not 0 < number < 10**9 or number != round(number, 6):
        raise ConfigError(f"contract_value cannot be {value}; a contract of cm is worth 10 or 100 dollars")
    places = next(places for places in range(7) if number * 10**places % 1 == 0)
    return int(number * 10**places), places


def _contract_text(contract: tuple[int, int]) -> str:
    return str(Decimal(contract[0]).scaleb(-contract[1]))


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
    return real


def _check(trades: Trades, at: int, end: int) -> None:
    for values, name in ((trades[1], "price"), (trades[2], "quantity")):
        odd = ~(np.isfinite(values[at:end]) & (values[at:end] >= 0))
        if odd.any():
            place = at + int(np.argmax(odd))
            raise StorageError(f"trade {trades[0][place]} has the {name} {values[place]}; no bar can be made of that")


def _first_disorder(ids: npt.NDArray[np.int64], last: int, may_repeat: bool) -> int | None:
    before = np.concatenate((np.array([last], dtype=np.int64), ids[:-1]))
    odd = ids < before if may_repeat else ids <= before
    return int(np.argmax(odd)) if odd.any() else None


def _disorder(trades: Trades, at: int, last: int, may_repeat: bool) -> StorageError:
    ids = trades[0][at:]
    place = _first_disorder(ids, last, may_repeat) or 0
    before = last if place == 0 else int(ids[place - 1])
    return StorageError(
        f"trade {ids[place]} comes behind trade {before}; bars are made of trades in the order of their ids"
    )
