"""Builders that share their passes make the bars, and stand where each would by itself."""

import random

import pytest
from bars_twin import Trade, batch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bars_twin import streams

from core.bars import together
from core.bars.builder import BarBuilder
from core.bars.grid import BarGrid, grid_of
from core.bars.spec import BarSpec
from core.bars.together import FEWEST, Builders
from core.errors import StorageError

SPECS = (
    *grid_of((2, 30), (0.1, 0.7), (0.4,)),
    BarSpec.parse("time-1h"),
    BarSpec.parse("time-1m"),
    *(BarSpec.of("volume_run", size) for size in (2, 5, 11, 40)),
    BarSpec.parse("tick-3"),
    *(BarSpec.of("dollar", size, tick_rule=True) for size in (1, 100, 5000, 10**7)),
    *(BarSpec.of("dollar", size) for size in range(50, 50 + FEWEST - 1)),
)


@pytest.mark.parametrize("wide", [False, True])
@settings(max_examples=15, deadline=None)
@given(data=st.data(), cut=st.integers(0, 40), is_resumed=st.booleans())
def test_shared_passes_change_nothing(wide: bool, data: st.DataObject, cut: int, is_resumed: bool) -> None:
    trades = data.draw(streams(most=40, wide=wide))
    alone, others = [BarBuilder(spec) for spec in SPECS], [BarBuilder(spec) for spec in SPECS]
    builders = Builders(others)
    for piece in (trades[:cut], trades[cut:]):
        if is_resumed and piece is not trades:
            others = [BarBuilder.resume(spec, one.state()) for spec, one in zip(SPECS, others, strict=True)]
            builders = Builders(others)
        if piece:
            assert builders.update(batch(piece)) == [builder.update(batch(piece)) for builder in alone]
        assert [builder.state() for builder in others] == [builder.state() for builder in alone]
        assert [builder.finish() for builder in others] == [builder.finish() for builder in alone]
        assert [builder.drift() for builder in others] == [builder.drift() for builder in alone]


def test_only_builders_of_one_kind_and_place_share_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    shared: list[list[str]] = []
    of = BarGrid.of
    monkeypatch.setattr(
        together.BarGrid, "of", lambda many: (shared.append([str(one.spec) for one in many]), of(many))[1]
    )
    builders = [BarBuilder(spec) for spec in SPECS]
    Builders(builders)
    assert [names[0] for names in shared] == [
        "dollar_imbalance-2-alpha_imbalance-0.4",
        "volume_run-2",
        "dollar-1-tick_rule",
    ]
    shared.clear()
    builders[0].update(batch([Trade(1, "5", "1", False, 1)]))
    builders[6].update(batch([Trade(2, "5", "1", False, 1)]))
    Builders(builders)
    assert [names[0] for names in shared] == ["dollar-1-tick_rule"]


def test_many_trades_and_bars() -> None:
    made = random.Random(5)
    trades = [
        Trade(k, f"{made.randrange(900, 1100) / 10}", f"{made.randrange(1, 90) / 100}", made.random() < 0.45, k * 1000)
        for k in range(9000)
    ]
    others = [BarBuilder(spec) for spec in SPECS]
    tables = Builders(others).update(batch(trades))
    for spec, table, other in zip(SPECS, tables, others, strict=True):
        builder = BarBuilder(spec)
        assert table == builder.update(batch(trades)), spec
        assert other.state() == builder.state(), spec
    assert sum(table.num_rows for table in tables) > 30_000


def test_trades_that_are_refused_are_named() -> None:
    builders = Builders([BarBuilder(spec) for spec in SPECS[:FEWEST]])
    builders.update(batch([Trade(7, "5", "1", False, 1)]))
    with pytest.raises(StorageError, match="trade 7 comes behind trade 7"):
        builders.update(batch([Trade(7, "5", "1", False, 1)]))
