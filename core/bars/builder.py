"""Bars from trades, batch by batch: however the trades are cut, the bars are the same, bit for bit."""

from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa

from core.bars.blocks import scratch
from core.bars.checks import check_ids, check_numbers, places_in
from core.bars.decode import COLUMNS, Trades, arrays, columns_of, dataset_of
from core.bars.drift import Drift
from core.bars.kernel import run
from core.bars.slots import BARS, BLOCK, CLOSE, DISORDER, DONE, FULL, LAST_ID, MAY_REPEAT, MEAN_SELL, SIDE
from core.bars.spec import BarSpec
from core.bars.standing import NO_ID, Standing, readable_state
from core.bars.table import Columns, closed_columns, schema_of, table_of
from core.errors import ConfigError

__all__ = ["BarBuilder", "columns_of", "schema_of"]

AT_ONCE: Final = 16_384
"""Trades in the scratch: enough for what is done once for each, few enough for the processor's caches and for sums to
fit."""
FEW: Final = BLOCK
"""So many are tried where those of a scratch are too large, or odd ones are among them."""
BARS_AT_ONCE: Final = 8100
"""No power of two: the lines of slots would push each other out of the processor's cache."""


class BarBuilder:
    """Makes the bars of `spec` from one symbol's trades, in the order of their ids.

    `contract_value` is what a contract is worth in dollars where quantities are contracts (cm: 100 for BTCUSD, 10 for
    the others): dollars are then contracts times contract value, volumes contracts. Elsewhere dollars are price times
    quantity, exactly.
    """

    def __init__(self, spec: BarSpec, *, contract_value: Decimal | int | str | None = None) -> None:
        self.standing = Standing(spec, contract_value)
        self.dataset: str | None = None
        """Of the trades, None before the first."""
        self._last: tuple[int, float] | None = None
        """Step and close of the last bar that was closed."""
        self._taker = Taker()

    @classmethod
    def resume(cls, spec: BarSpec, state: dict[str, Any]) -> "BarBuilder":
        """The builder as it was when `state` was saved. Raises ConfigError if it is none, or of other bars."""
        builder = cls(spec)
        with readable_state():
            builder.standing = Standing.restored(spec, state)
            builder.dataset = state["dataset"]
            builder._last = None if state["last_bar"] is None else (state["last_bar"][0], state["last_bar"][1])
        return builder

    def state(self) -> dict[str, Any]:
        """All that the next trade needs, of plain numbers and texts; the same for the same trades, however cut."""
        last = None if self._last is None else list(self._last)
        return {**self.standing.state(), "dataset": self.dataset, "last_bar": last}

    @property
    def spec(self) -> BarSpec:
        return self.standing.spec

    @property
    def last_id(self) -> int | None:
        """The id of the last trade that was taken, None before the first."""
        last = int(self.standing.whole[LAST_ID])
        return None if last == NO_ID else last

    def update(self, rows: pa.RecordBatch | pa.Table) -> pa.Table:
        """The bars that the next trades close; columns as `schema_of` says.

        `rows` have at least the columns of `columns_of("trades")` or `columns_of("agg_trades")`. Raises StorageError
        for ids that do not rise and for prices and quantities that are no numbers or below 0, ConfigError for other
        columns; the builder is then as it was before.
        """
        dataset = dataset_for(rows, self.dataset)
        standing, before = self.standing, self._last
        standing.rule[MAY_REPEAT] = dataset == "agg_trades"
        kept = standing.whole.copy(), standing.real.copy(), standing.rule.copy(), standing.sums
        try:
            closed = [part for trades in arrays(rows, dataset) for part in self._taker.take(standing, trades)]
        except BaseException:
            standing.whole[:], standing.real[:], standing.rule[:], standing.sums = kept
            raise
        self.dataset = dataset
        if closed:
            self._last = int(closed[-1]["bin"][-1]), float(closed[-1]["price_close"][-1])
        return table_of(closed, self.spec, before)

    @property
    def stand(self) -> tuple[Any, ...]:
        """What is the same of builders that have taken the same trades: what these were, and the last of them."""
        whole, real = self.standing.whole, self.standing.real
        return self.dataset, self.standing.contract, int(whole[LAST_ID]), int(whole[SIDE]), repr(float(real[CLOSE]))

    def has_closed(self, dataset: str | None, bars: pa.Table) -> None:
        """A grid has taken trades of `dataset` for the standing, which closed `bars`, not of the clock."""
        self.dataset = dataset
        if bars.num_rows:
            self._last = 0, bars.column("price_close")[-1].as_py()

    def finish(self) -> pa.Table:
        """The open bar as it stands, no row if it has no trade; the builder goes on as if nothing had been asked."""
        return table_of(self.standing.open_bar(), self.spec, self._last)

    def drift(self) -> Drift | None:
        """How far adaptive bars have drifted, None for the others. To be reported when it `is_much`."""
        return self.standing.drift()


class Taker:
    """Takes trades for a standing: by the kernel, and where that has no room, without it."""

    def __init__(self) -> None:
        self._rooms = scratch(AT_ONCE), scratch(FEW)
        self._bars = np.empty((BARS, BARS_AT_ONCE), dtype=np.int64)
        self._bars_real = np.empty((MEAN_SELL + 1, BARS_AT_ONCE))

    def take(self, standing: Standing, trades: Trades) -> list[Columns]:
        """Take all of the trades; the bars that they close."""
        closed: list[Columns] = []
        at, failed, is_tight = 0, None, False
        while at < len(trades[0]):
            if standing.sums is None:
                at, status = self._run(standing, trades, at, closed, is_tight)
                if status in (DONE, FULL):
                    continue
                if status == DISORDER:
                    check_ids(trades[0][at:], int(standing.whole[LAST_ID]), bool(standing.rule[MAY_REPEAT]))
                if not is_tight:
                    is_tight = True
                    continue
                failed = standing.places
            end = min(len(trades[0]), at + FEW)
            check_numbers(trades, at, end)
            places = standing.places_for(*places_in(trades, at, end))
            if places == failed or not standing.go_on_in(*places):
                check_ids(trades[0][at:end], int(standing.whole[LAST_ID]), bool(standing.rule[MAY_REPEAT]))
                closed += standing.take_widely(trades, at, end)
                at = end
            failed, is_tight = None, False
        return closed

    def _run(
        self, standing: Standing, trades: Trades, at: int, closed: list[Columns], is_tight: bool
    ) -> tuple[int, int]:
        state = standing.rule, standing.numbers, standing.whole, standing.real
        at, count, status = run(trades, at, self._rooms[is_tight], *state, self._bars, self._bars_real)
        if count:
            lines = self._bars[:, :count], self._bars_real[:, :count]
            closed.append(closed_columns(*lines, standing.spec, standing.sum_places))
        return at, status


def dataset_for(rows: pa.RecordBatch | pa.Table, begun: str | None) -> str:
    """The dataset whose columns the rows have, which must be the one that was begun with. Raises ConfigError."""
    dataset = dataset_of(rows.schema.names) if begun is None else begun
    if missing := [name for name in COLUMNS[dataset] if name not in rows.schema.names]:
        raise ConfigError(f"bars were begun with {dataset}, and there is no column {', '.join(missing)}")
    return dataset
