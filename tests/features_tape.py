"""Tapes of trades, as the tests of features need them."""

import numpy as np
from features_oracle import Trades

from core.bars.spec import BarSpec
from core.features.builder import Rows, TapeBuilder, on_the_clock
from core.features.tape import Tape

SECOND = 1_000_000


def rows_of(trades: Trades, spec: str, cuts: tuple[int, ...] = (), contract: int | None = None) -> Rows:
    """The rows with trades, the open one included; the trades are given in parts."""
    builder = TapeBuilder(BarSpec.parse(spec), contract)
    for start, end in zip((0, *cuts), (*cuts, len(trades.time)), strict=True):
        builder.update(trades.part(start, end).batch())
    parts = [builder.closed(), builder.finish()]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def tape_of(trades: Trades, step: int = SECOND, contract: int | None = None) -> Tape:
    rows = rows_of(trades, f"time-{step // 1000}ms", contract=contract)
    first, end = int(rows["number"][0]), int(rows["number"][-1]) + 1
    return on_the_clock(rows, step, first, end, None, contract is not None)
