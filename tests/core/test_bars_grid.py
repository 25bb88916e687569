"""A grid of parameters makes the bars that each of its sets makes alone."""

import json
import random
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from bars_twin import Trade, batch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bars_twin import streams

from core.bars.builder import BarBuilder
from core.bars.grid import BARS_AT_ONCE, BarGrid, grid_of
from core.bars.spec import BarSpec
from core.errors import ConfigError, StorageError

SMALL = grid_of((2, 30, 400), (0.1, 0.7), (0.4,))
GRIDS = [
    SMALL,
    grid_of((20, 50), (0.4,), (0.1, 0.7), signed=True, unclamped=True, tick_rule=True),
    tuple(BarSpec.of("volume_run", size) for size in (2, 5, 11)),
    tuple(BarSpec.of("dollar", size) for size in (1, 100, 5000)),
]


def alone(specs: tuple[BarSpec, ...], trades: list[Trade], contract: int | None = None) -> tuple[pa.Table, pa.Table]:
    """What each set makes of the trades by itself: closed bars and open ones."""
    parts: tuple[list[pa.Table], list[pa.Table]] = [], []
    for each, spec in enumerate(specs):
        builder = BarBuilder(spec, contract_value=contract)
        for tables, table in zip(parts, (builder.update(batch(trades)), builder.finish()), strict=True):
            tables.append(table.add_column(0, "set", pa.array([each] * len(table), pa.int32())))
    return pa.concat_tables(parts[0]), pa.concat_tables(parts[1])


def together(specs: tuple[BarSpec, ...], pieces: list[list[Trade]]) -> tuple[pa.Table, pa.Table]:
    """What the grid makes of the pieces, saved and resumed between them."""
    grid, tables = BarGrid(specs), []
    for piece in pieces:
        grid = BarGrid.resume(specs, json.loads(json.dumps(grid.state())))
        tables.append(grid.update(batch(piece)))
    closed = pa.concat_tables(tables)
    return closed.take(pc.sort_indices(closed, [("set", "ascending"), ("first_trade_id", "ascending")])), grid.finish()


@pytest.mark.parametrize("specs", GRIDS, ids=lambda specs: str(specs[0]))
@pytest.mark.parametrize("wide", [False, True])
@settings(max_examples=15, deadline=None)
@given(data=st.data(), places=st.lists(st.integers(0, 1000), max_size=4))
def test_a_grid_equals_its_sets(specs: tuple[BarSpec, ...], wide: bool, data: st.DataObject, places: list[int]) -> None:
    trades = data.draw(streams(most=40, wide=wide))
    ends = sorted({0, len(trades), *(place % len(trades) for place in places)})
    pieces = [trades[first:end] for first, end in pairwise(ends)]
    assert together(specs, pieces) == alone(specs, trades)


@pytest.mark.parametrize("room", [1, 2, 7, BARS_AT_ONCE])
def test_a_grid_may_close_more_bars_than_are_kept_at_once(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr("core.bars.grid.BARS_AT_ONCE", room)
    trades = [Trade(k, str(k % 7 + 1), "1", k % 3 == 0, k) for k in range(9000 if room > 7 else 90)]
    specs = grid_of((2, 3), (0.1, 0.4, 0.7), (0.4, 0.5, 0.7), tick_rule=room < 7)
    length = 9000 if room > 7 else 5  # many ends of pieces, for the last set to be cut short at
    closed, left = together(specs, [trades[first : first + length] for first in range(0, len(trades), length)])
    assert len(closed) > room
    assert (closed, left) == alone(specs, trades)


KINDS = ("dollar_imbalance", "tick_imbalance", "volume_imbalance", "tick_run", "dollar_run", "volume", "tick")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuts", [(), (1, 31, 32, 33, 95, 4095, 4096, 4097, 8000, 9999)])
def test_bars_of_every_length_are_those_of_the_sets(kind: str, cuts: tuple[int, ...]) -> None:
    """Of one trade and of thousands, in steps and scratches and across them."""
    made = random.Random(kind)
    trades = []
    for k in range(10_000):
        price, size = f"{made.randrange(9900, 10100) / 100}", f"{made.choice([0, 1, 5, 90]) / 10}"
        trades.append(Trade(3 * k, price, size, made.random() < 0.5 + 0.4 * (k // 700 % 3 - 1), 7 * k))
    unit = {"dollar_imbalance": 100.0, "volume": 2.4}.get(kind, 1.0)
    specs = tuple(BarSpec.of(kind, max(1, int(unit * trades))) for trades in (1, 4, 11, 30, 65, 300, 1200))
    wanted = alone(specs, trades)
    per_set = [wanted[0].filter(pc.equal(wanted[0]["set"], each)).num_rows for each in range(len(specs))]
    assert per_set[0] > 1000 > 30 > per_set[-1] > 0
    ends = [0, *cuts, len(trades)]
    assert together(specs, [trades[first:end] for first, end in pairwise(ends)]) == wanted


def test_the_state_of_a_grid_is_that_of_its_sets() -> None:
    """Whether the last trade closed a bar, or some, or none."""
    trades = [Trade(k, str(k % 7 + 1), str(k % 3), k % 3 == 0, k) for k in range(400)]
    specs = grid_of((2, 9, 40), (0.1,), (0.4,))
    for count in (1, 2, 3, 31, 32, 33, 64, 257, 399, 400):
        grid = BarGrid(specs)
        grid.update(batch(trades[:count]))
        builders = [BarBuilder(spec) for spec in specs]
        for builder in builders:
            builder.update(batch(trades[:count]))
        own = [{**builder.state(), "dataset": None, "last_bar": None} for builder in builders]
        assert [{**one, "dataset": None, "last_bar": None} for one in grid.state()["sets"]] == own


def test_the_default_grid_has_72_sets() -> None:
    specs = grid_of()
    assert len(set(specs)) == 72
    assert str(specs[0]) == "dollar_imbalance-1000000"
    assert str(specs[-1]) == "dollar_imbalance-36000000-alpha_volume-0.7-alpha_imbalance-0.7"


def test_contracts_and_drift_are_those_of_the_sets() -> None:
    trades = [Trade(k, "50000.1", str(k % 9), k % 4 == 0, k) for k in range(3000)]
    grid = BarGrid(SMALL, contract_value=100)
    closed = grid.update(batch(trades))
    assert (closed, grid.finish()) == alone(SMALL, trades, 100)
    for spec, drift in zip(SMALL, grid.drifts(), strict=True):
        builder = BarBuilder(spec, contract_value=100)
        builder.update(batch(trades))
        assert drift == builder.drift()


def test_what_is_refused_changes_nothing() -> None:
    good = [Trade(k, "5", "3", False, k) for k in range(20)]
    grid = BarGrid(SMALL)
    grid.update(batch(good))
    before = grid.state()
    with pytest.raises(StorageError, match="trade 19 comes behind trade 19"):
        grid.update(batch(good[-1:]))
    with pytest.raises(StorageError, match="trade 40 has the price nan"):
        grid.update(batch([Trade(30, "5", "3", False, 30), Trade(40, "nan", "3", False, 30)]))
    assert grid.state() == before


def test_sets_of_different_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        BarGrid(())
    with pytest.raises(ConfigError, match="not tick-5 and dollar-5"):
        BarGrid((BarSpec.of("tick", 5), BarSpec.of("dollar", 5)))
    with pytest.raises(ConfigError, match="time bars"):
        BarGrid((BarSpec.of("time", "1h"),))
    with pytest.raises(ConfigError, match="2 sets and not 6"):
        BarGrid.resume(SMALL, BarGrid(SMALL[:2]).state())
    for state in ({}, {"sets": None}, {"sets": [{}] * len(SMALL), "dataset": "trades"}):
        with pytest.raises(ConfigError, match=r"build the bars anew"):
            BarGrid.resume(SMALL, state)
