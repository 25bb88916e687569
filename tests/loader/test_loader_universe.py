"""The point-in-time universe against dictionaries and loops, and the law that the future changes nothing."""

import warnings
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_world import Row, World, hours, made_up, opened, series, us, write_rows

from core.dates import HOUR_US
from core.errors import ConfigError, NoData
from loader import BacktestDataLoader

FIRST = date(2024, 1, 20)
Stored = dict[str, list[Row]]


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def candles(symbol: str, days: dict[int, list[str]], market: str = "um") -> list[Row]:
    """Six-hour candles with these volumes of each day."""
    volume = "volume" if market == "cm" else "quote_volume"
    times = [
        us(day(number).isoformat()) + place * 6 * HOUR_US
        for number in sorted(days)
        for place in range(len(days[number]))
    ]
    rows = made_up(series("klines", symbol, market, "6h"), times)
    amounts = [float(amount) for number in sorted(days) for amount in days[number]]
    return [row | {volume: amount} for row, amount in zip(rows, amounts, strict=True)]


def oracle(
    stored: Stored, first: date, last: date, least: str | None, window: int, history: int
) -> list[dict[str, Any]]:
    """The membership table by dictionaries and loops, volumes as exact decimals."""
    volumes: dict[str, dict[date, Decimal]] = {}
    for symbol, rows in stored.items():
        for row in rows:
            of_day = datetime.fromtimestamp(row["timestamp"] // 1_000_000, UTC).date()
            daily = volumes.setdefault(symbol, {})
            daily[of_day] = daily.get(of_day, Decimal(0)) + Decimal(repr(row["quote_volume"]))
    table = []
    for number in range((last - first).days + 1):
        today = first + timedelta(days=number)
        for symbol in sorted(volumes):
            daily = volumes[symbol]
            if min(daily) >= today:
                continue
            behind = [today - timedelta(days=back) for back in range(1, window + 1)]
            known = [daily[each] for each in behind if each in daily]
            mean = Fraction(sum(known, Decimal(0))) / len(known) if known else None
            reason = "member"
            if today - timedelta(days=1) not in daily:
                reason = "not-traded-the-day-before"
            elif len(known) < history:
                reason = "too-few-days"
            elif least is not None and mean is not None and mean < Fraction(Decimal(least)):
                reason = "below-min-volume"
            table.append(
                {
                    "date": today,
                    "symbol": symbol,
                    "member": reason == "member",
                    "reason": reason,
                    "mean_quote_volume": mean,
                    "days": len(known),
                }
            )
    return table


def table_of(
    root: Path, first: date, last: date, least: str | None, threads: int = 1, **options: int
) -> list[dict[str, Any]]:
    with opened(root, threads) as loader:
        table = loader.universe(first, last, least, interval="6h", output="arrow", **options)  # type: ignore[arg-type]
        rows = table.set_column(0, "date", table["date"].cast("date32")).to_pylist()
        return list(rows)


def same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> bool:
    """Everything exactly, but the mean to the last place of a double."""
    without = [[{k: v for k, v in row.items() if k != "mean_quote_volume"} for row in rows] for rows in (found, wanted)]
    means = [(one["mean_quote_volume"], other["mean_quote_volume"]) for one, other in zip(found, wanted, strict=False)]
    near = all(
        (a is None) == (b is None) and (b is None or abs(Fraction(a) - b) <= b * Fraction(1, 2**50)) for a, b in means
    )
    return without[0] == without[1] and near


amounts = st.sampled_from(["0", "1000000", "999999.99999999", "1000000.00000001", "0.1", "0.2", "123456789.12345678"])
days = st.dictionaries(st.integers(0, 60), st.lists(amounts, min_size=1, max_size=4), max_size=40)
worlds = st.dictionaries(st.sampled_from(["AUSDT", "BUSDT", "CUSDT"]), days.filter(bool), min_size=1)


@settings(max_examples=25, deadline=None)
@given(
    worlds,
    st.integers(-3, 60),
    st.integers(0, 20),
    st.sampled_from([None, "0", "1000000", "0.15"]),
    st.sampled_from([1, 3, 30]),
    st.sampled_from([1, 2, 10]),
    st.sampled_from([1, 4]),
)
def test_members_are_those_that_could_be_known(
    world: dict[str, dict[int, list[str]]],
    first: int,
    length: int,
    least: str | None,
    window: int,
    history: int,
    threads: int,
) -> None:
    stored = {symbol: candles(symbol, of_days) for symbol, of_days in world.items()}
    with TemporaryDirectory() as folder:
        for symbol, rows in stored.items():
            write_rows(Path(folder), series("klines", symbol, "um", "6h"), rows)
        span = (day(first), day(first + length))
        history = min(history, window)
        found = table_of(Path(folder), *span, least, threads, window=window, min_history=history)
        assert same(found, oracle(stored, *span, least, window, history))


@settings(max_examples=25, deadline=None)
@given(worlds, st.integers(1, 60), st.integers(0, 23))
def test_what_comes_after_a_day_changes_no_member_of_it(
    world: dict[str, dict[int, list[str]]], number: int, hour: int
) -> None:
    stored = {symbol: candles(symbol, of_days) for symbol, of_days in world.items()}
    moment = us(day(number).isoformat()) + hour * HOUR_US
    with TemporaryDirectory() as whole, TemporaryDirectory() as cut:
        for symbol, rows in stored.items():
            write_rows(Path(whole), series("klines", symbol, "um", "6h"), rows)
            known = [row for row in rows if row["timestamp"] + 6 * HOUR_US <= moment]
            if known:
                write_rows(Path(cut), series("klines", symbol, "um", "6h"), known)
        span = (day(0), day(number))
        found = table_of(Path(whole), *span, "1000000")
        try:
            assert table_of(Path(cut), *span, "1000000") == found
        except NoData:
            assert found == []


def test_a_mean_that_just_reaches_the_minimum_is_enough(tmp_path: Path) -> None:
    write_rows(
        tmp_path, series("klines", "AUSDT", "um", "6h"), candles("AUSDT", {0: ["0.1", "0.2"], 1: ["0.3"], 2: ["0.3"]})
    )
    assert [row["member"] for row in table_of(tmp_path, day(1), day(3), "0.3")] == [True] * 3
    assert [row["member"] for row in table_of(tmp_path, day(1), day(3), "0.30000001")] == [False] * 3


def test_contracts_of_cm_count_in_dollars(tmp_path: Path) -> None:
    for symbol in ("BTCUSD_PERP", "ETHUSD_PERP"):
        write_rows(tmp_path, series("klines", symbol, "cm", "6h"), candles(symbol, {0: ["3", "4"]}, "cm"))
    with opened(tmp_path) as loader:
        table = loader.universe(day(1), day(1), 100, interval="6h", market="cm")
    assert table["mean_quote_volume"].tolist() == [700.0, 70.0]
    assert table["member"].tolist() == [True, False]


def test_rows_of_the_universe_are_those_of_member_days(tmp_path: Path) -> None:
    listed_late = {number: ["2000000"] * 4 for number in range(5, 9)}
    fades = {number: ["2000000" if number < 4 else "1"] * 4 for number in range(9)}
    stored = {"AUSDT": candles("AUSDT", fades), "BUSDT": candles("BUSDT", listed_late)}
    for symbol, rows in stored.items():
        write_rows(tmp_path, series("klines", symbol, "um", "6h"), rows)
        write_rows(
            tmp_path,
            series("funding_rate", symbol),
            made_up(series("funding_rate", symbol), [r["timestamp"] for r in rows]),
        )
    least, span = "4000000", (day(1), day(8))
    members = {(row["date"], row["symbol"]) for row in oracle(stored, *span, least, 3, 1) if row["member"]}
    with opened(tmp_path) as loader:
        frames = loader.load_universe(
            *span,
            least,
            ["klines", "funding_rate"],
            "6h",
            window=3,
            output="arrow",  # type: ignore[arg-type]
        )
        everything = loader.load_universe(day(0), day(8), interval="6h", output="arrow")["klines"]
    wanted = [
        (row["timestamp"], symbol)
        for symbol, rows in sorted(stored.items())
        for row in rows
        if (datetime.fromtimestamp(row["timestamp"] // 10**6, UTC).date(), symbol) in members
    ]
    for frame in frames.values():
        found = zip(frame["timestamp"].cast("int64").to_pylist(), frame["symbol"].to_pylist(), strict=True)
        assert list(found) == wanted
    assert 0 < len(wanted) < len(everything) == sum(map(len, stored.values()))


def test_hindsight_knows_the_whole_span(tmp_path: Path) -> None:
    late = {number: ["1" if number < 5 else "1000000"] for number in range(10)}
    write_rows(tmp_path, series("klines", "AUSDT", "um", "6h"), candles("AUSDT", late))
    with opened(tmp_path) as loader:
        assert loader.universe_in_hindsight(day(0), day(9), 500_000, interval="6h") == ["AUSDT"]
        assert loader.universe_in_hindsight(day(0), day(9), "500000.50000001", interval="6h") == []  # type: ignore[arg-type]
        assert not loader.universe(day(1), day(5), 500_000, interval="6h")["member"].any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_volume": "much"}, "min_volume: 'much' is no volume"),
        ({"min_volume": float("nan")}, "min_volume"),
        ({"min_volume": -1}, "min_volume"),
        ({"min_volume": True}, "min_volume"),
        ({"window": 0}, "window: 0 is no number of days"),
        ({"min_history": 1.5}, "min_history: 1.5"),
        ({"min_history": 31}, "min_history: 31 days are more than the 30 of the window"),
        ({"interval": "1w"}, "candles of 1w do not make days"),
        ({"interval": "1x"}, "no interval '1x'"),
        ({"market": "umm"}, "unknown market 'umm'; did you mean 'um'"),
    ],
)
def test_what_makes_no_sense_is_said(
    world: World, loader: BacktestDataLoader, options: dict[str, Any], said: str
) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 2))
    with pytest.raises(ConfigError, match=said):
        loader.universe("2024-01-01", "2024-01-02", **options)


def test_nothing_stored_is_said(loader: BacktestDataLoader) -> None:
    with pytest.raises(NoData, match="no um klines of 1h are stored"):
        loader.universe("2024-01-01", "2024-01-02")


def test_no_warning_is_given_for_those_that_come_and_go(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24 * 3))
    world.fill("klines", "ETHUSDT", hours("2024-01-02", 24))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = loader.load_universe("2024-01-01", "2024-01-03")["klines"]
    assert frame["symbol"].value_counts().to_dict() == {"BTCUSDT": 72, "ETHUSDT": 24}
