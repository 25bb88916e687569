"""Several builders over the same trades: those of one kind go over them as a grid, the others one by one."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from core.bars.builder import BarBuilder
from core.bars.grid import BarGrid
from core.bars.rules import Family

FEWEST: Final = 4
"""Of one kind, from which on a grid is faster."""


class Builders:
    """Builders of one series that have taken the same trades. Each is as if it had taken them alone, bit for bit."""

    def __init__(self, builders: Sequence[BarBuilder]) -> None:
        self.builders = tuple(builders)
        kinds: dict[Any, list[int]] = {}
        for place, builder in enumerate(self.builders):
            alone = place if builder.spec.rule.family is Family.CLOCK else None
            kinds.setdefault((builder.spec.kind, builder.spec.tick_rule, alone, builder.stand), []).append(place)
        many = [places for places in kinds.values() if len(places) >= FEWEST]
        self._grids = [(places, BarGrid.of([self.builders[place] for place in places])) for places in many]
        shared = {place for places in many for place in places}
        self._others = [place for place in range(len(self.builders)) if place not in shared]

    def update(self, rows: pa.RecordBatch | pa.Table) -> list[pa.Table]:
        """The bars that the next trades close, for each builder. Raises as `BarBuilder.update`; builders are then of
        no more use, for some may have taken the trades."""
        made: dict[int, pa.Table] = {place: self.builders[place].update(rows) for place in self._others}
        for places, grid in self._grids:
            closed = grid.update(rows)
            for place, bars in zip(places, _apart(closed, len(places)), strict=True):
                self.builders[place].has_closed(grid.dataset, bars)
                made[place] = bars
        return [made[place] for place in range(len(self.builders))]


def _apart(closed: pa.Table, sets: int) -> list[pa.Table]:
    """The bars of each set, in their order."""
    owners = closed.column("set").to_numpy()
    order = np.argsort(owners.astype(np.int16 if sets < 2**15 else np.int32), kind="stable")
    ends = np.cumsum(np.bincount(owners, minlength=sets))
    bars = closed.drop_columns(["set"]).combine_chunks().take(pa.array(order))
    return [bars.slice(int(start), int(end - start)) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
