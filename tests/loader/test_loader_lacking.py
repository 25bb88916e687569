"""What is told of rows that are missing: what kind of lack, how much, and as loudly as asked for."""

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from loader_world import World, hours, made_up, series, us

from core.dates import HOUR_US
from core.errors import ConfigError, NoData
from core.types import Span
from loader import BacktestDataLoader, Missing, MissingDataWarning
from loader.arguments import parse_request
from loader.gaps import lacking

pytestmark = pytest.mark.ends


def told(loader: BacktestDataLoader, *request: Any, **options: Any) -> tuple[Missing, ...]:
    """What one load says is missing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loader.load_data(*request, **options)
    said = [warning.message for warning in caught]
    assert len(said) <= 1
    assert all(isinstance(message, MissingDataWarning) for message in said)
    return said[0].missing if said else ()  # type: ignore[union-attr]


def test_gaps_and_ends_are_told_by_series(world: World, loader: BacktestDataLoader) -> None:
    times = hours("2024-01-03", 24 * 10)
    world.fill("klines", "BTCUSDT", [time for n, time in enumerate(times) if n not in (5, 50, 51, 52)])
    world.fill("klines", "ETHUSDT", hours("2024-01-01", 24 * 15))
    missing = told(loader, ["BTCUSDT", "ETHUSDT"], "2024-01-01", "2024-01-15")
    assert [(part.symbol, part.lack, part.rows) for part in missing] == [
        ("BTCUSDT", "starts-late", 0),
        ("BTCUSDT", "gap", 4),
        ("BTCUSDT", "ends-early", 0),
    ]
    assert missing[0].detail == "um/klines/BTCUSDT/1h begins at 2024-01-03 00:00:00"
    gaps = "4 rows missing in 2 gaps, 3 of them from 2024-01-05 02:00:00 to 2024-01-05 05:00:00"
    assert missing[1].detail == f"um/klines/BTCUSDT/1h: {gaps}"
    assert [(start.isoformat(), end.hour) for start, end in missing[1].gap_times] == [
        ("2024-01-03T05:00:00+00:00", 6),
        ("2024-01-05T02:00:00+00:00", 5),
    ]
    assert missing[2].detail == "um/klines/BTCUSDT/1h ends at 2024-01-12 23:00:00"


@pytest.mark.parametrize(
    ("start", "end", "lacks"),
    [
        ("2024-01-02", "2024-01-03", []),
        ("2024-01-01T23:00:00.000001", "2024-01-04T00:00", []),  # the first candle that opens in it is there
        ("2024-01-01T23:00", "2024-01-03", ["starts-late"]),
        ("2024-01-02T05:30", "2024-01-03T10:30", []),
        ("2024-01-02", "2024-01-04T00:00:00.000001", ["ends-early"]),
    ],
)
def test_ends_are_told_to_the_candle(
    world: World, loader: BacktestDataLoader, start: str, end: str, lacks: list[str]
) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-02", 48))
    assert [part.lack for part in told(loader, "BTCUSDT", start, end)] == lacks


def test_what_may_not_be_published_yet_is_not_missing(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-02", 48))
    request = parse_request("BTCUSDT", "2024-01-02", "2024-12-31", "klines", "1h", "um")
    rows = loader._reader.rows(request, request.datasets[0])
    for now, lacks in (("2024-01-06", []), ("2024-01-06T01:00", ["ends-early"]), ("2020-01-01", [])):
        assert [part.lack for part in lacking(request, request.datasets[0], rows, lambda *_: False, us(now))] == lacks


def test_funding_is_published_by_the_month(world: World, loader: BacktestDataLoader) -> None:
    world.fill("funding_rate", "BTCUSDT", hours("2024-01-01", 24 * 31)[::8])
    request = parse_request("BTCUSDT", "2024-01-01", "2024-12-31", "funding_rate", "1h", "um")
    rows = loader._reader.rows(request, request.datasets[0])
    for now, lacks in (("2024-02-20", []), ("2024-03-15", []), ("2024-03-17", ["ends-early"])):
        found = lacking(request, request.datasets[0], rows, lambda *_: False, us(now))
        assert [part.lack for part in found] == lacks


def test_what_the_exchange_has_ended_is_not_missing(world: World, loader: BacktestDataLoader) -> None:
    for symbol in ("BTCUSDT", "LUNAUSDT"):
        world.fill("klines", symbol, hours("2024-01-02", 40))
    both = (["BTCUSDT", "LUNAUSDT"], "2024-01-02", "2024-12-31")
    assert [part.symbol for part in told(loader, *both)] == ["BTCUSDT", "LUNAUSDT"]
    kinds = {"data_types": {"klines/1h": {"first": "2023-01-01", "last": "2024-01-03"}}}
    known = {"BTCUSDT": {"status": "trading"} | kinds, "LUNAUSDT": {"status": "ended"} | kinds}
    path = world.layout.symbols_info
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"version": 1, "symbols": {"um": known}}), encoding="utf-8")
    assert [part.symbol for part in told(loader, *both)] == ["BTCUSDT"]
    kinds["data_types"]["klines/1h"]["last"] = "2024-01-04"  # of which the last day is not stored
    path.write_text(json.dumps({"version": 1, "symbols": {"um": known}, "": ""}), encoding="utf-8")
    assert [part.symbol for part in told(loader, *both)] == ["BTCUSDT", "LUNAUSDT"]
    path.write_text("nonsense", encoding="utf-8")
    assert [part.symbol for part in told(loader, *both)] == ["BTCUSDT", "LUNAUSDT"]


def test_trades_and_funding_may_begin_within_a_day(world: World, loader: BacktestDataLoader) -> None:
    world.fill("trades", "BTCUSDT", hours("2024-01-01T20:00", 30))
    world.fill("funding_rate", "BTCUSDT", hours("2024-01-01T08:00", 100)[::8])
    assert told(loader, "BTCUSDT", "2024-01-01", "2024-01-03", ["trades", "funding_rate"]) == ()
    late = told(loader, "BTCUSDT", "2023-12-31", "2024-01-03", "trades")
    assert [part.lack for part in late] == ["starts-late"]


def test_months_and_days_have_gaps_too(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", [us("2024-01-01"), us("2024-02-01"), us("2024-05-01")], interval="1mo")
    found = told(loader, "BTCUSDT", "2024-01-01", "2024-05-31", interval="1mo")
    assert [(part.lack, part.rows) for part in found] == [("gap", 2)]


def test_raise_warn_and_ignore(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-02", 24))
    request = (["BTCUSDT", "NOPEUSDT"], "2024-01-01", "2024-01-02")
    with pytest.raises(NoData, match=r"partly missing: .*/NOPEUSDT/1h is not stored.*; .* begins at 2024-01-02"):
        loader.load_data(*request, on_missing="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = loader.load_data(*request, on_missing="ignore")["klines"]
        assert len(frame) == 24
        assert len(loader.load_data("NOPEUSDT", *request[1:], on_missing="ignore")["klines"]) == 0
        assert len(loader.load_aligned_data("NOPEUSDT", *request[1:], on_missing="ignore")) == 0
    with pytest.raises(NoData, match="NOPEUSDT"):
        loader.load_data("NOPEUSDT", *request[1:])
    with pytest.raises(ConfigError, match="on_missing: unknown 'explode'"):
        loader.load_data(*request, on_missing="explode")


def test_a_warning_points_at_the_callers_line(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-02", 24))
    trades = series("trades", "BTCUSDT")
    world.put(trades, [row | {"price": 1.0, "qty": 1.0} for row in made_up(trades, hours("2024-01-02", 24))])
    symbols, span = ["BTCUSDT", "ETHUSDT"], ("2024-01-01", "2024-01-02")
    calls: list[Callable[[], object]] = [
        lambda: loader.load_data("BTCUSDT", *span),
        lambda: loader.load_data(symbols, *span, output="relation"),
        lambda: loader.load_aligned_data("BTCUSDT", *span),
        lambda: loader.iter_data(symbols, *span),
        lambda: loader.load_universe(*span, data_types=["klines", "funding_rate"]),
        lambda: loader.load_bars(symbols, *span, "tick", 7),
        lambda: loader.resample(symbols, *span, "1d"),
    ]
    for call in calls:
        with pytest.warns(MissingDataWarning) as caught:
            call()
        assert [(warning.filename, warning.lineno) for warning in caught] == [(__file__, call.__code__.co_firstlineno)]


def test_candles_off_the_grid_of_a_halt_are_no_gap(world: World, loader: BacktestDataLoader) -> None:
    times = hours("2024-01-01", 24)
    times[10] += HOUR_US // 2
    world.fill("klines", "BTCUSDT", times)
    assert told(loader, "BTCUSDT", "2024-01-01", "2024-01-01") == ()


def test_a_gap_beside_a_candle_too_many_is_told_of(world: World, loader: BacktestDataLoader) -> None:
    """There are as many candles as hours, but one is missing and one off the grid."""
    times = hours("2024-01-01", 24)
    times[12] = times[11] + HOUR_US // 2
    world.fill("klines", "BTCUSDT", times)
    (missing,) = told(loader, "BTCUSDT", "2024-01-01", "2024-01-01")
    assert (missing.lack, missing.rows) == ("gap", 1)
    assert missing.gaps == (Span(us("2024-01-01T12:00"), us("2024-01-01T13:00")),)
