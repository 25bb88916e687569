"""Bars of many sets of numbers in one pass over the trades, the same as each set's own."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.bars.blocks import scratch
from core.bars.builder import BarBuilder, Taker, dataset_for
from core.bars.checks import check_ids, check_numbers, places_in
from core.bars.decode import Trades, arrays
from core.bars.drift import Drift
from core.bars.kernel import run_many
from core.bars.rules import Family
from core.bars.shared import REAL_COLUMNS, WHOLE_COLUMNS, notes, rows_of
from core.bars.slots import DISORDER, DONE, FULL, LAST_ID, MAY_REPEAT
from core.bars.spec import BarSpec
from core.bars.standing import Standing, readable_state
from core.bars.table import EXPECTED, Columns, schema_of, table_of
from core.errors import ConfigError

AT_ONCE: Final = 4096
"""Trades in the scratch: all sets go over them while they are in the processor's second cache."""
BARS_AT_ONCE: Final = 32_700
"""No power of two, or columns would push each other out of the processor's cache."""
INIT_T: Final = range(1_000_000, 40_000_000, 5_000_000)
ALPHAS: Final = (0.1, 0.4, 0.7)


def grid_of(
    init_t: Iterable[int | float | Decimal] = INIT_T,
    alpha_volume: Iterable[float] = ALPHAS,
    alpha_imbalance: Iterable[float] = ALPHAS,
    **options: Any,
) -> tuple[BarSpec, ...]:
    """Specs of dollar imbalance bars, one for each combination; `options` are the same for all."""
    return tuple(
        BarSpec.of("dollar_imbalance", size, alpha_volume=volume, alpha_imbalance=imbalance, **options)
        for size, volume, imbalance in product(init_t, tuple(alpha_volume), tuple(alpha_imbalance))
    )


class Stack:
    """The standings of all sets, whose arrays are the lines of larger ones."""

    def __init__(self, standings: Sequence[Standing]) -> None:
        self.standings = standings
        self.numbers = np.array([standing.numbers for standing in standings])
        self.wholes = np.array([standing.whole for standing in standings])
        self.reals = np.array([standing.real for standing in standings])
        self.rules = np.array([standing.rule for standing in standings])
        for each, standing in enumerate(standings):
            standing.whole, standing.real, standing.rule = self.wholes[each], self.reals[each], self.rules[each]

    @property
    def places(self) -> tuple[int, int] | None:
        """Those in which all sets can go on together; None if there are none, or some sums lie elsewhere."""
        first = self.standings[0].places
        return first if all(each.sums is None and each.places == first for each in self.standings) else None


class BarGrid:
    """Makes the bars of several specs of one kind; as `BarBuilder` otherwise.

    Tables have the column `set` in front: the place of the spec in `specs`. The bars of each set are in their order,
    those of different sets as they came.
    """

    def __init__(self, specs: Sequence[BarSpec], *, contract_value: Decimal | int | str | None = None) -> None:
        self.specs = tuple(specs)
        _check_alike(self.specs)
        self._stack = Stack([Standing(spec, contract_value) for spec in self.specs])
        self.dataset: str | None = None
        """Of the trades, None before the first."""
        self._taker = Taker()
        self._room, self._noted = scratch(AT_ONCE), notes(AT_ONCE)
        self._rows = rows_of()
        self._closing: tuple[tuple[Any, ...], Columns] | None = None

    @classmethod
    def resume(cls, specs: Sequence[BarSpec], state: dict[str, Any]) -> "BarGrid":
        """The grid as it was when `state` was saved. Raises ConfigError if that is none, or one of other bars."""
        grid = cls(specs)
        with readable_state():
            if len(state["sets"]) != len(grid.specs):
                raise ConfigError(f"the saved state has {len(state['sets'])} sets and not {len(grid.specs)}")
            standings = [Standing.restored(spec, each) for spec, each in zip(grid.specs, state["sets"], strict=True)]
            grid._stack, grid.dataset = Stack(standings), state["dataset"]
        return grid

    @classmethod
    def of(cls, builders: Sequence[BarBuilder]) -> "BarGrid":
        """A grid that goes on where these stand, and they with it: all have taken the same trades."""
        grid = cls([builder.spec for builder in builders])
        grid._stack, grid.dataset = Stack([builder.standing for builder in builders]), builders[0].dataset
        return grid

    def state(self) -> dict[str, Any]:
        """All that the next trade needs, of plain numbers and texts."""
        return {"dataset": self.dataset, "sets": [standing.state() for standing in self._stack.standings]}

    def update(self, rows: pa.RecordBatch | pa.Table) -> pa.Table:
        """The bars that the next trades close, of all sets. Raises as `BarBuilder.update`."""
        dataset = dataset_for(rows, self.dataset)
        stack = self._stack
        stack.rules[:, MAY_REPEAT] = dataset == "agg_trades"
        kept = [array.copy() for array in (stack.wholes, stack.reals, stack.rules)]
        sums = [standing.sums for standing in stack.standings]
        try:
            closed = [part for trades in arrays(rows, dataset) for part in self._take(trades)]
        except BaseException:
            stack.wholes[:], stack.reals[:], stack.rules[:] = kept
            for standing, each in zip(stack.standings, sums, strict=True):
                standing.sums = each
            raise
        self.dataset = dataset
        return self._table(closed)

    def finish(self) -> pa.Table:
        """The open bars as they stand, at most one of each set; the grid goes on as if nothing had been asked."""
        bars = [(each, standing.open_bar()) for each, standing in enumerate(self._stack.standings)]
        return self._table([_owned(part[0], each) for each, part in bars if part])

    def drifts(self) -> list[Drift]:
        """How far the bars of each set have drifted; none of bars that are not adaptive."""
        return [drift for standing in self._stack.standings if (drift := standing.drift()) is not None]

    def _take(self, trades: Trades) -> list[Columns]:
        closed: list[Columns] = []
        at, failed = 0, None
        while at < len(trades[0]):
            places = self._stack.places
            if places is not None:
                at, status = self._run(trades, at, closed)
                if status == DONE:
                    continue
                if status == DISORDER:
                    check_ids(
                        trades[0][at:], int(self._stack.wholes[0, LAST_ID]), bool(self._stack.rules[0, MAY_REPEAT])
                    )
                failed = places
            end = min(len(trades[0]), at + AT_ONCE)
            check_numbers(trades, at, end)
            if not self._fit(trades, at, end, failed):
                closed += self._take_apart(trades, at, end)
                at = end
            failed = None
        return closed

    def _run(self, trades: Trades, at: int, closed: list[Columns]) -> tuple[int, int]:
        stack = self._stack
        seen, seen_real = stack.wholes[0].copy(), stack.reals[0].copy()
        done = np.zeros(len(self.specs), dtype=np.int64)
        states = stack.rules, stack.numbers, stack.wholes, stack.reals, done
        status = FULL
        while status == FULL:
            columns, names = self._closing = self._closing or _room_for(self.specs[0])
            owners = names["set"]
            at, count, status = run_many(
                trades, at, self._room, self._noted, seen, seen_real, *states, self._rows, columns, owners
            )
            if count > BARS_AT_ONCE // 2:
                closed.append({name: values[:count] for name, values in names.items()})
                self._closing = None
            elif count:
                closed.append({name: values[:count].copy() for name, values in names.items()})
        return at, status

    def _fit(self, trades: Trades, at: int, end: int, failed: tuple[int, int] | None) -> bool:
        """Whether there are places in which the kernel can go on with all sets; it does then."""
        here = places_in(trades, at, end)
        wanted = [standing.places_for(*here) for standing in self._stack.standings]
        price, quantity = max(each for each, _ in wanted), max(each for _, each in wanted)
        if (price, quantity) == failed:
            return False
        return all(standing.go_on_in(price, quantity) for standing in self._stack.standings)

    def _take_apart(self, trades: Trades, at: int, end: int) -> list[Columns]:
        """Let each set take some trades for itself."""
        ids, price, size, maker, bit, times = trades
        part = ids[at:end], price[at:end], size[at:end], maker[(bit + at) // 8 :], (bit + at) % 8, times[at:end]
        return [
            _owned(columns, each)
            for each, standing in enumerate(self._stack.standings)
            for columns in self._taker.take(standing, part)
        ]

    def _table(self, closed: list[Columns]) -> pa.Table:
        spec = self.specs[0]
        schema = schema_of(spec)
        field = pa.field("set", pa.int32())
        if not closed:
            return pa.schema([field, *schema]).empty_table()
        sets = pa.chunked_array([part["set"] for part in closed])
        return table_of(closed, spec, None).add_column(0, field, sets)


def _owned(columns: Columns, each: int) -> Columns:
    owners: npt.NDArray[np.int32] = np.full(len(columns["bin"]), each, dtype=np.int32)
    return {**columns, "set": owners}


def _room_for(spec: BarSpec) -> tuple[tuple[Any, ...], Columns]:
    """Columns for closed bars, as `put_columns` wants them and by their names.

    They lie in Arrow's memory, which is used again: fresh memory takes longer than what is put into it.
    """
    expected = EXPECTED[spec.rule.family]
    names = REAL_COLUMNS + (("theta", "threshold", "exp_T", *expected) if spec.rule.family.is_adaptive else ())
    count = len(WHOLE_COLUMNS) + len(names)
    lines = np.frombuffer(pa.allocate_buffer(8 * count * BARS_AT_ONCE)).reshape(count, BARS_AT_ONCE)
    wholes, reals = lines[: len(WHOLE_COLUMNS)].view(np.int64), lines[len(WHOLE_COLUMNS) :]
    sides, slots = np.empty(BARS_AT_ONCE, dtype=np.int8), np.array(list(expected.values()), dtype=np.int64)
    columns = {**dict(zip(WHOLE_COLUMNS, wholes, strict=True)), **dict(zip(names, reals, strict=True))}
    columns |= {"side": sides, "set": np.empty(BARS_AT_ONCE, dtype=np.int32)}
    return (wholes, reals, sides, slots), {**columns, "bin": np.broadcast_to(np.int64(0), BARS_AT_ONCE)}


def _check_alike(specs: Sequence[BarSpec]) -> None:
    if not specs:
        raise ConfigError("a grid of bars has at least one spec")
    first = specs[0]
    if first.rule.family is Family.CLOCK:
        raise ConfigError("a grid of bars is made of sizes and weights; time bars of several steps are made one by one")
    for spec in specs:
        if (spec.kind, spec.tick_rule) != (first.kind, first.tick_rule):
            raise ConfigError(f"a grid has bars of one kind and one rule of sides, and not {first} and {spec}")
