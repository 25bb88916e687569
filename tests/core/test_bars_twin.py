"""Bars equal the plain twin's, bit for bit, in whatever pieces the trades come."""

import json
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from bars_twin import Trade, batch, rows, twin_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from core.bars import BARS
from core.bars.builder import BarBuilder
from core.bars.spec import BarSpec

SPECS = [
    *("time-1s", "time-7s-empty", "time-1h-tick_rule", "tick-1", "tick-7", "volume-0.5", "volume-10-tick_rule"),
    *("dollar-1", "dollar-100.25", "dollar-5000-tick_rule"),
    *("dollar_imbalance-50", "dollar_imbalance-300-signed", "dollar_imbalance-20-unclamped-alpha_volume-0.7"),
    *("dollar_imbalance-1000-tick_rule-least-1-most-90", "dollar_imbalance-9-signed-unclamped-min_imbalance-0"),
    *("tick_imbalance-5", "tick_imbalance-3-alpha_ticks-0.7-alpha_imbalance-1-unclamped", "volume_imbalance-4"),
    *("volume_imbalance-2-min_imbalance-0.5-tick_rule", "afml_dollar_imbalance-6"),
    *("tick_run-4", "tick_run-9-alpha_run-0.7-unclamped", "volume_run-3", "dollar_run-5", "dollar_run-1-tick_rule"),
]
PRICES = st.one_of(
    st.sampled_from(["1", "2", "2.5", "0.00000001", "67123.45", "0.1", "0.3"]),
    st.integers(1, 10**6).map(lambda n: f"{n}e-2"),
    st.integers(1, 10**9).map(lambda n: f"{n}e-8"),
)
QUANTITIES = st.one_of(
    st.sampled_from(["0", "0.001", "0.5", "1", "5", "10", "0.1", "0.2", "100000000", "0.00000001"]),
    st.integers(0, 10**5).map(lambda n: f"{n}e-3"),
)
HUGE = st.one_of(
    st.integers(10**14, 10**15).map(str),
    st.integers(1, 10**15).map(lambda n: f"{n}e-12"),
    st.integers(1, 10**15).map(lambda n: f"{n}e3"),
    st.sampled_from(["1e-20", "3.3333333333333333e-9", "0.30000000000000004", "1e25"]),
)


@st.composite
def streams(draw: st.DrawFn, most: int = 60, wide: bool = False) -> list[Trade]:
    """Trades in the order of their ids, of which some are missing; times mostly rise."""
    count = draw(st.integers(1, most))
    prices = draw(st.lists(PRICES | HUGE if wide else PRICES, min_size=1, max_size=5))
    quantities = draw(st.lists(QUANTITIES | HUGE if wide else QUANTITIES, min_size=1, max_size=6))
    random = draw(st.randoms(use_true_random=False))
    number, time, trades = random.randrange(10**12), 1_700_000_000_000_000 + random.randrange(10**7), []
    for _ in range(count):
        number += random.choice((1, 1, 1, 5))
        time += random.choice((0, 1000, 250_000, 1_000_000, 40_000_000, -300_000))
        pair = str(float(random.choice(prices))), str(float(random.choice(quantities)))
        trades.append(Trade(number, *pair, random.random() < 0.4, time))
    return trades


def built(spec: BarSpec, pieces: list[list[Trade]], contract: int | None = None, saved: bool = False) -> Any:
    """The bars of a builder that is given the pieces, saved and resumed between them if so wished; and its state."""
    builder = BarBuilder(spec, contract_value=contract)
    tables = []
    for piece in pieces:
        if saved:
            builder = BarBuilder.resume(spec, json.loads(json.dumps(builder.state())))
        tables.append(builder.update(batch(piece)))
    bars = rows(pa.concat_tables(tables)) + rows(builder.finish(), is_open=True)
    if bars and spec.empty:  # the empty bars before the open one are closed
        bars = [bar | {"is_open": bar["is_open"] and bar is bars[-1]} for bar in bars]
    return bars, builder.state()


def cut(trades: list[Trade], places: list[int]) -> list[list[Trade]]:
    ends = sorted({0, len(trades), *(place % len(trades) for place in places)})
    return [trades[first:end] for first, end in pairwise(ends)]


@pytest.mark.parametrize("text", SPECS)
@settings(max_examples=20, deadline=None)
@given(trades=streams(), places=st.lists(st.integers(0, 1000), max_size=8), contract=st.sampled_from([None, None, 10]))
def test_bars_equal_the_twins_in_every_cut(
    text: str, trades: list[Trade], places: list[int], contract: int | None
) -> None:
    spec = BarSpec.parse(text)
    bars, state = built(spec, [trades], contract)
    assert bars == twin_bars(spec, trades, contract)
    assert built(spec, cut(trades, places), contract, saved=True) == (bars, state)


@pytest.mark.parametrize("text", SPECS)
@settings(max_examples=10, deadline=None)
@given(trades=streams(most=25, wide=True), places=st.lists(st.integers(0, 1000), max_size=5))
def test_so_they_do_where_kernels_have_no_room(text: str, trades: list[Trade], places: list[int]) -> None:
    spec = BarSpec.parse(text)
    bars, state = built(spec, [trades])
    assert bars == twin_bars(spec, trades)
    assert built(spec, cut(trades, places), saved=True) == (bars, state)
    assert built(spec, [[trade] for trade in trades]) == (bars, state)


@pytest.mark.parametrize("text", ["volume_run-2", "volume_run-2-alpha_run-0.5", "dollar_run-2"])
def test_a_side_of_zero_quantity_was_seen_and_is_expected_with_zero(text: str) -> None:
    """Of a warm-up whose buys are worth nothing Eb is 0, not unknown: later bars change it by their weight."""
    cells = [("0", False), ("3", True), ("0", True), ("4", False), ("5", False), ("2", True), ("9", False), ("8", True)]
    trades = [Trade(k, "2", quantity, is_sale, k) for k, (quantity, is_sale) in enumerate(cells * 3)]
    spec = BarSpec.parse(text)
    bars, _ = built(spec, [trades])
    assert bars == twin_bars(spec, trades)
    assert bars[1]["exp_buy"] == 0.0
    weight, worth = spec.alpha_run, 1.0 if spec.kind == "volume_run" else 2.0
    with_buys = next(bar for bar in bars[1:] if bar["num_buys"])
    behind = bars[bars.index(with_buys) + 1]
    assert behind["exp_buy"] == weight * (with_buys["buy_volume"] * worth / with_buys["num_buys"])


def test_a_side_that_no_bar_had_is_not_known() -> None:
    trades = [Trade(k, "2", "3", k < 5, k) for k in range(20)]
    bars, state = built(BarSpec.parse("volume_run-2"), [trades[:5]])
    assert {bar["exp_buy"] for bar in bars} == {None}
    assert {bar["exp_sell"] for bar in bars[1:]} == {3.0}
    assert state["mean_buy"] is None
    assert built(BarSpec.parse("volume_run-2"), [[trade] for trade in trades], saved=True)[0] == twin_bars(
        BarSpec.parse("volume_run-2"), trades
    )


def test_every_kind_is_compared_with_the_twin() -> None:
    assert {BarSpec.parse(text).kind for text in SPECS} == set(BARS)
