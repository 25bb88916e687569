"""The builder: its columns, what it refuses, how it is saved, and what it says of drift."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from bars_twin import Trade, batch, rows, twin_bars

from core.bars import BARS
from core.bars.builder import BarBuilder, columns_of, schema_of
from core.bars.decode import Trades
from core.bars.slots import BLOCK
from core.bars.spec import BarSpec
from core.bars.standing import Standing
from core.bars.table import Columns
from core.errors import ConfigError, StorageError

PLAIN = [
    *("time_open", "time_close", "price_open", "price_high", "price_low", "price_close", "volume", "dollar_volume"),
    *("num_trades", "side", "num_buys", "buy_volume", "buy_dollar", "first_trade_id", "last_trade_id"),
]
FOUR = [
    Trade(7, "100", "1", False, 1_000_000),
    Trade(8, "101", "2", True, 1_500_000),
    Trade(9, "99.5", "2", True, 2_000_000),
    Trade(12, "100", "0.5", False, 4_000_001),
]


def bars_of(text: str, trades: list[Trade], **options: int) -> list[dict[str, object]]:
    return BarBuilder(BarSpec.parse(text), **options).update(batch(trades)).to_pylist()


def many(count: int, seed: int = 5) -> list[Trade]:
    random = np.random.default_rng(seed)
    steps, sizes, sales = (random.integers(*each, count) for each in ((-3, 4), (0, 3000), (0, 2)))
    prices = 25_000 + np.cumsum(steps)
    return [
        Trade(k, f"{prices[k] / 10:.1f}", f"{sizes[k] / 1000:.3f}", bool(sales[k]), 1_700_000_000_000_000 + k * 30_000)
        for k in range(count)
    ]


def test_a_bar_says_what_its_trades_were() -> None:
    (bar,) = BarBuilder(BarSpec.parse("volume-5")).update(batch(FOUR)).to_pylist()
    assert {name: value for name, value in bar.items() if not name.startswith("time")} == {
        "price_open": 100.0,
        "price_high": 101.0,
        "price_low": 99.5,
        "price_close": 99.5,
        "volume": 5.0,
        "dollar_volume": 501.0,
        "num_trades": 3,
        "side": -1,
        "num_buys": 1,
        "buy_volume": 1.0,
        "buy_dollar": 100.0,
        "first_trade_id": 7,
        "last_trade_id": 9,
    }
    assert (bar["time_open"].timestamp(), bar["time_close"].timestamp()) == (1.0, 2.0)


def test_the_open_bar_is_given_only_on_request_and_goes_on() -> None:
    builder = BarBuilder(BarSpec.parse("tick-3"))
    assert builder.finish().num_rows == 0
    assert [bar["num_trades"] for bar in builder.update(batch(FOUR)).to_pylist()] == [3]
    assert [bar["first_trade_id"] for bar in builder.finish().to_pylist()] == [12]
    more = [Trade(20, "100", "1", False, 5_000_000), Trade(21, "100", "1", False, 5_000_000)]
    assert [bar["num_trades"] for bar in builder.update(batch(more)).to_pylist()] == [3]
    assert builder.last_id == 21


def test_times_of_time_bars_are_those_of_the_step() -> None:
    bars = bars_of("time-1s", FOUR)
    assert [(bar["time_open"].timestamp(), bar["time_close"].timestamp()) for bar in bars] == [
        (1, 1.999999),
        (2, 2.999999),
    ]
    bars = bars_of("time-1s-empty", [*FOUR, Trade(13, "1", "1", False, 5_000_000)])
    assert [(bar["num_trades"], bar["price_close"], bar["first_trade_id"]) for bar in bars] == [
        *((2, 101.0, 7), (1, 99.5, 9)),
        *((0, 99.5, None), (1, 100.0, 12)),
    ]


def test_dollars_of_contracts_are_contracts_times_their_value() -> None:
    bars = bars_of("dollar-300", FOUR, contract_value=100)
    assert [(bar["dollar_volume"], bar["volume"], bar["buy_dollar"]) for bar in bars] == [(300.0, 3.0, 100.0)]
    assert BarBuilder(BarSpec.parse("dollar-1"), contract_value="0.5").state()["contract_value"] == "0.5"
    for value in ("nan", "x", 0, -1, "1e-9"):
        with pytest.raises(ConfigError, match="contract_value"):
            BarBuilder(BarSpec.parse("dollar-1"), contract_value=value)


def test_aggregated_trades_have_other_columns_and_may_repeat_an_id() -> None:
    assert columns_of("agg_trades") == ("agg_trade_id", "price", "quantity", "is_buyer_maker", "timestamp")
    trades = [Trade(trade.number // 2, trade.price, trade.quantity, trade.is_sale, trade.time) for trade in FOUR]
    spec = BarSpec.parse("tick-2")
    bars = rows(BarBuilder(spec).update(batch(trades, "agg_trades")))
    assert bars == twin_bars(spec, trades)
    with pytest.raises(ConfigError, match=r"not of 'klines'; there are trades, agg_trades"):
        columns_of("klines")


@pytest.mark.parametrize("kind", BARS)
def test_every_kind_has_the_columns_it_promises(kind: str) -> None:
    spec = BarSpec.parse(f"{kind}-1h" if kind == "time" else f"{kind}-3")
    builder = BarBuilder(spec)
    assert builder.update(batch(FOUR)).schema == builder.finish().schema == schema_of(spec)
    assert builder.update(batch([])).schema == schema_of(spec)
    names = schema_of(spec).names
    assert names[:15] == PLAIN
    assert ("theta" in names) == ("threshold" in names) == ("exp_T" in names) == spec.rule.family.is_adaptive


def test_slices_chunks_and_other_columns_do_not_matter() -> None:
    trades, spec = many(3 * BLOCK + 5), BarSpec.parse("dollar-20000")
    table = pa.Table.from_batches([batch(trades[:100]), batch(trades[100:])]).append_column(
        "quote_qty", pa.array([0.0] * len(trades))
    )
    expected = [bar for bar in twin_bars(spec, trades[3:]) if not bar["is_open"]]
    assert rows(BarBuilder(spec).update(table.slice(3))) == expected
    builder = BarBuilder(spec)
    pieces = [table.slice(first, 11) for first in range(3, len(trades), 11)]
    assert rows(pa.concat_tables([builder.update(piece) for piece in pieces])) == expected


ODD = [
    ("price", [100.0, float("nan")], "trade 8 has the price nan"),
    ("price", [float("inf"), 1.0], "trade 7 has the price inf"),
    ("qty", [1.0, -2.0], r"trade 8 has the quantity -2\.0"),
    ("id", [7, 7], "trade 7 comes behind trade 7; bars are made of trades in the order of their ids"),
    ("id", [7, 6], "trade 6 comes behind trade 7"),
    ("id", [6, 7], "trade 6 comes behind trade 6"),
    ("id", [7, None], "1 rows of trades have no id"),
    ("price", [1, 2], "price of trades is int64 and not double"),
]


@pytest.mark.parametrize(("name", "values", "message"), ODD)
def test_an_update_that_is_refused_changes_nothing(name: str, values: list[float], message: str) -> None:
    builder = BarBuilder(BarSpec.parse("tick-2"))
    builder.update(batch([Trade(6, "100", "1", False, 0)]))
    before = builder.state()
    good = batch(FOUR[:2])
    odd = good.set_column(good.schema.get_field_index(name), name, pa.array(values))
    with pytest.raises(StorageError, match=message):
        builder.update(odd)
    assert builder.state() == before
    assert builder.update(good).num_rows == 1


def test_other_columns_are_refused() -> None:
    builder = BarBuilder(BarSpec.parse("tick-2"))
    with pytest.raises(ConfigError, match="bars are made of the columns id, price, qty"):
        builder.update(pa.table({"open": [1.0]}))
    builder.update(batch(FOUR))
    with pytest.raises(ConfigError, match="bars were begun with trades, and there is no column id, qty"):
        builder.update(batch([Trade(50, "1", "1", False, 0)], "agg_trades"))
    seconds = batch(FOUR).set_column(0, "timestamp", pa.array([1, 2, 3, 4], pa.timestamp("s", tz="UTC")))
    with pytest.raises(StorageError, match=r"timestamp of trades is timestamp\[s, tz=UTC\] and not timestamp\[us\]"):
        BarBuilder(BarSpec.parse("tick-2")).update(seconds)


def test_a_state_is_that_of_its_bars_only() -> None:
    state = json.loads(json.dumps(BarBuilder(BarSpec.parse("tick-2"), contract_value=10).state()))
    assert BarBuilder.resume(BarSpec.parse("tick-2"), state).state() == state
    with pytest.raises(ConfigError, match="the saved state is that of tick-2 bars, not of tick-3"):
        BarBuilder.resume(BarSpec.parse("tick-3"), state)
    with pytest.raises(ConfigError, match="a saved state of version None"):
        BarBuilder.resume(BarSpec.parse("tick-2"), {})
    missing = {name: value for name, value in state.items() if name != "volume"}
    for odd in (missing, state | {"buys": "x"}, state | {"last_bar": 5}, state | {"last_id": 2**70}, None, "text"):
        with pytest.raises(ConfigError, match=r"the saved state cannot be read .*; build the bars anew"):
            BarBuilder.resume(BarSpec.parse("tick-2"), odd)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["tick-1", "dollar-2", "tick_run-1-unclamped", "time-1ms"])
@pytest.mark.parametrize("room", [1, 3, 8192])
def test_there_may_be_more_bars_than_are_kept_at_once(text: str, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.bars.builder.BARS_AT_ONCE", room)
    trades = many(9000 if room > 3 else 300)
    builder = BarBuilder(BarSpec.parse(text))
    assert rows(builder.update(batch(trades))) + rows(builder.finish(), True) == twin_bars(builder.spec, trades)


@pytest.mark.parametrize("text", ["time-1d", "tick-5000", "dollar-90000000000000", "dollar_run-5000"])
@pytest.mark.parametrize(("price", "quantity"), [("99999.99", "99999.999"), ("99999999.99", "9999999.999")])
def test_sums_beyond_a_machine_word_are_exact(text: str, price: str, quantity: str) -> None:
    """Of the smaller numbers a scratch fits into 61 bits, and a bar does not; of the larger ones neither does."""
    big = [Trade(k, price, quantity, k % 3 == 0, k) for k in range(6000)]
    builder = BarBuilder(BarSpec.parse(text))
    closed = rows(pa.concat_tables([builder.update(batch(big[:2001])), builder.update(batch(big[2001:]))]))
    assert closed + rows(builder.finish(), True) == twin_bars(builder.spec, big)


def test_one_odd_trade_does_not_slow_down_what_follows() -> None:
    odd = Trade(0, "0.30000000000000004", "1e-20", False, 0)
    builder = BarBuilder(BarSpec.parse("tick-1500"))
    trades = [odd, *many(4000)[1:]]
    tables = [builder.update(batch(trades[first : first + 500])) for first in range(0, 4000, 500)]
    assert rows(pa.concat_tables(tables)) + rows(builder.finish(), True) == twin_bars(builder.spec, trades)
    assert builder.standing.sums is None


@pytest.mark.parametrize("text", ["tick-100", "dollar-20000", "tick_run-50"])
def test_an_odd_trade_takes_no_more_than_its_block_out_of_the_kernels(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    widely = Standing.take_widely

    def counted(standing: Standing, trades: Trades, at: int, end: int) -> list[Columns]:
        taken.append(end - at)
        return widely(standing, trades, at, end)

    monkeypatch.setattr(Standing, "take_widely", counted)
    trades = many(8000)
    for place in (100, 3000, 6000):
        trades[place] = replace(trades[place], quantity="0.30000000000000004")
    builder = BarBuilder(BarSpec.parse(text))
    assert rows(builder.update(batch(trades))) + rows(builder.finish(), True) == twin_bars(builder.spec, trades)
    assert 3 <= len(taken) <= 9
    assert sum(taken) <= 9 * BLOCK


def test_drift_is_told_of_adaptive_bars_only() -> None:
    assert BarBuilder(BarSpec.parse("dollar-5")).drift() is None
    builder = BarBuilder(BarSpec.parse("dollar_imbalance-1000"))
    fresh = builder.drift()
    assert fresh is not None
    assert not fresh.is_much
    builder.update(batch(many(5000)))
    drift = builder.drift()
    assert drift is not None
    assert drift.is_much
    assert (drift.least >= 250.0, drift.most) == (True, 4000.0)
    assert "dollar_imbalance-1000: the expected size began at 1,000" in str(drift)
    assert "of the bars" in str(drift)
    free = BarBuilder(BarSpec.parse("dollar_imbalance-1000-unclamped"))
    free.update(batch(many(5000)))
    unbound = free.drift()
    assert unbound is not None
    assert (unbound.cut_low, unbound.cut_high) == (0, 0)
