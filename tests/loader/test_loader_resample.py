"""Longer candles against dictionaries and exact decimals, and the law that the future changes nothing."""

import warnings
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_world import Row, World, hours, made_up, opened, series, us, write_rows

from core.dates import DAY_US, HOUR_US, MINUTE_US
from core.decimals import summed
from core.errors import ConfigError, NoData
from loader import BacktestDataLoader, MissingDataWarning

START = us("2024-01-27")
SUMS = ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote")
STEPS = {"4h": 4 * HOUR_US, "1d": DAY_US, "5h": 5 * HOUR_US, "2d": 2 * DAY_US, "1w": 7 * DAY_US}


def period_of(time_us: int, interval: str) -> tuple[int, int]:
    """The period in which a time lies."""
    if interval == "1mo":
        first = datetime.fromtimestamp(time_us // 10**6, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        after = (first + timedelta(days=31)).replace(day=1)
        return us(first.isoformat()), us(after.isoformat())
    phase = 4 * DAY_US if interval == "1w" else 0
    start = (time_us - phase) // STEPS[interval] * STEPS[interval] + phase
    return start, start + STEPS[interval]


def oracle(rows: list[Row], start_us: int, end_us: int, interval: str, keep: bool) -> list[Row]:
    """Longer candles by dictionaries and loops, sums as exact decimals."""
    periods: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        periods.setdefault(period_of(row["timestamp"], interval), []).append(row)
    found = []
    for (start, end), parts in sorted(periods.items()):
        is_whole = len(parts) == (end - start) // HOUR_US
        known = end
        if parts[-1]["timestamp"] + HOUR_US < end:
            known = min((row["timestamp"] + HOUR_US for row in rows if row["timestamp"] >= end), default=0)
        if not start_us <= start < end_us or not (is_whole or (keep and known)):
            continue
        found.append(
            {
                "timestamp": start,
                "available_at": known,
                "open": parts[0]["open"],
                "high": max(part["high"] for part in parts),
                "low": min(part["low"] for part in parts),
                "close": parts[-1]["close"],
                **{name: float(sum(Decimal(repr(part[name])) for part in parts)) for name in SUMS},
                "trades": sum(part["trades"] for part in parts),
                "candles": len(parts),
            }
        )
    return found


def candles(times: list[int], decimals: list[str]) -> list[Row]:
    """Candles whose sums need exact decimals."""
    rows = made_up(series("klines", "AUSDT"), times)
    return [
        row | {name: float(decimals[(number + place) % len(decimals)]) for place, name in enumerate(SUMS)}
        for number, row in enumerate(rows)
    ]


def resampled(root: Path, start_us: int, end_us: int, interval: str, partial: str, threads: int = 1) -> list[Row]:
    bounds = [datetime.fromtimestamp(time_us / 10**6, UTC) for time_us in (start_us, end_us)]
    with opened(root, threads) as loader, warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingDataWarning)
        try:
            table = loader.resample("AUSDT", *bounds, interval, partial=partial, output="arrow")
        except NoData:
            return []
        for place, name in ((0, "timestamp"), (2, "available_at")):
            table = table.set_column(place, name, table[name].cast("int64"))
        return list(table.drop_columns(["symbol"]).to_pylist())


decimals = st.lists(
    st.sampled_from(["0.1", "0.2", "0.3", "1e-8", "123456.78900001", "98765432.1", "7", "0", "12345678901234.5"]),
    min_size=1,
    max_size=7,
)
times = st.sets(st.integers(0, 24 * 9), max_size=150).map(lambda s: [START + hour * HOUR_US for hour in sorted(s)])
whole_times = st.tuples(st.integers(0, 40), st.integers(1, 170)).map(
    lambda span: [START + hour * HOUR_US for hour in range(span[0], sum(span))]
)


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(times, whole_times), decimals, st.integers(-20, 200), st.integers(1, 150),
    st.sampled_from([*STEPS, "1mo"]), st.sampled_from(["drop", "keep"]), st.sampled_from([1, 4]),
)  # fmt: skip
def test_longer_candles_are_what_their_shorter_ones_make(
    opens: list[int], of: list[str], first: int, length: int, interval: str, partial: str, threads: int
) -> None:
    rows = candles(opens, of)
    start_us = START + first * HOUR_US
    end_us = start_us + length * HOUR_US
    with TemporaryDirectory() as folder:
        write_rows(Path(folder), series("klines", "AUSDT"), rows)
        found = resampled(Path(folder), start_us, end_us, interval, partial, threads)
    assert found == oracle(rows, start_us, end_us, interval, partial == "keep")


@settings(max_examples=30, deadline=None)
@given(st.one_of(times, whole_times), decimals, st.integers(0, 24 * 9), st.sampled_from([*STEPS]))
def test_what_comes_after_a_moment_changes_no_row_known_by_then(
    opens: list[int], of: list[str], hour: int, interval: str
) -> None:
    rows, moment = candles(opens, of), START + hour * HOUR_US
    span = (START - 10 * DAY_US, START + 20 * DAY_US)
    for partial in ("drop", "keep"):
        with TemporaryDirectory() as whole, TemporaryDirectory() as cut:
            write_rows(Path(whole), series("klines", "AUSDT"), rows)
            write_rows(Path(cut), series("klines", "AUSDT"), [r for r in rows if r["timestamp"] + HOUR_US <= moment])
            known = [row for row in resampled(Path(whole), *span, interval, partial) if row["available_at"] <= moment]
            assert resampled(Path(cut), *span, interval, partial) == known


@given(st.lists(st.lists(st.decimals(-(10**9), 10**9, places=8), min_size=1, max_size=6), min_size=1, max_size=5))
def test_each_sum_is_the_double_nearest_to_the_exact_one(runs: list[list[Decimal]]) -> None:
    values = np.array([float(value) for run in runs for value in run])
    first = np.array([sum(map(len, runs[:number])) for number in range(len(runs))], dtype=np.int64)
    small = [max(map(abs, run)) < 10**5 for run in runs]  # larger ones have more digits than a double
    wanted = [float(sum(run)) for run in runs]
    found = summed(values, first).tolist()
    assert [one for one, fits in zip(found, small, strict=True) if fits] == [
        one for one, fits in zip(wanted, small, strict=True) if fits
    ]
    alone = [summed(values[start:], np.array([0], dtype=np.int64)) for start in first[-1:]]
    assert found[-1] == alone[0][0]


def test_a_request_that_cuts_a_period_changes_nothing(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24 * 10))
    whole = loader.resample("BTCUSDT", "2024-01-01", "2024-01-10", "1d")
    part = loader.resample("BTCUSDT", "2024-01-03T05:00", "2024-01-06T01:00", "1d")
    assert part.equals(whole.iloc[3:6].reset_index(drop=True))


def test_an_unfinished_period_is_not_given_and_an_incomplete_one_is_said(
    world: World, loader: BacktestDataLoader
) -> None:
    times = hours("2024-01-01", 24 * 3 + 5)
    del times[30]
    world.fill("klines", "BTCUSDT", times)
    with pytest.warns(MissingDataWarning, match="1 longer candle is left out .* the first of 2024-01-02") as caught:
        frame = loader.resample("BTCUSDT", "2024-01-01", "2024-01-31", "1d")
    assert caught[0].filename == __file__
    assert "the last 5 candles, from 2024-01-04 00:00:00 on, make no longer one" in str(caught[0].message)
    assert "1 rows missing from 2024-01-02 06:00:00" in str(caught[0].message)
    assert frame["timestamp"].dt.day.tolist() == [1, 3]
    with pytest.warns(MissingDataWarning, match="the last 5 candles"):
        kept = loader.resample("BTCUSDT", "2024-01-01", "2024-01-31", "1d", partial="keep")
    assert kept["candles"].tolist() == [24, 23, 24]
    with pytest.raises(NoData, match="partly missing"):
        loader.resample("BTCUSDT", "2024-01-01", "2024-01-31", "1d", on_missing="raise")


def test_the_longest_interval_that_fits_and_that_all_have_is_the_source(
    world: World, loader: BacktestDataLoader
) -> None:
    for symbol in ("AUSDT", "BUSDT"):
        for interval, step in (("5m", 5 * MINUTE_US), ("1h", HOUR_US)):
            if (symbol, interval) != ("BUSDT", "1h"):
                count = DAY_US // step
                world.fill("klines", symbol, [us("2024-01-01") + n * step for n in range(count)], interval=interval)
    both = loader.resample(["AUSDT", "BUSDT"], "2024-01-01", "2024-01-01", "4h")
    assert both["candles"].unique().tolist() == [48]
    assert both["symbol"].tolist() == ["AUSDT"] * 6 + ["BUSDT"] * 6
    assert loader.resample("AUSDT", "2024-01-01", "2024-01-01", "4h")["candles"].unique().tolist() == [4]
    assert loader.resample("AUSDT", "2024-01-01", "2024-01-01", "4h", source="5m")["candles"].unique().tolist() == [48]


def test_whole_periods_that_are_missing_are_said(world: World, loader: BacktestDataLoader) -> None:
    times = [time for time in hours("2024-01-05", 24 * 20) if not us("2024-01-10") <= time < us("2024-01-13")]
    world.fill("klines", "BTCUSDT", times)
    with pytest.raises(
        NoData, match=r"begins at 2024-01-05.*72 rows missing from 2024-01-10.*ends at 2024-01-24 23:00"
    ):
        loader.resample("BTCUSDT", "2024-01-01", "2024-01-31", "1d", on_missing="raise")


def test_long_sums_are_exact_too(world: World, loader: BacktestDataLoader) -> None:
    one = series("klines", "BTCUSDT")
    amounts = [f"{8_000_000 + 137_911 * hour}.{hour * 7_654_321 % 10**8:08}" for hour in range(24)]
    rows = [
        row | {"quote_volume": float(amount)}
        for row, amount in zip(made_up(one, hours("2024-01-01", 24)), amounts, strict=True)
    ]
    world.put(one, rows)
    frame = loader.resample("BTCUSDT", "2024-01-01", "2024-01-01", "1d")
    assert frame["quote_volume"].tolist() == [float(sum(map(Decimal, amounts)))]


def test_symbols_without_a_common_source_are_named(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "AUSDT", hours("2024-01-01", 24))
    world.fill("klines", "BUSDT", [us("2024-01-01")], interval="5m")
    with pytest.raises(ConfigError, match=r"stored for all of these symbols \(AUSDT: 1h; BUSDT: 5m\)"):
        loader.resample(["AUSDT", "BUSDT"], "2024-01-01", "2024-01-01", "4h")


def test_a_symbol_without_candles_is_missing(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "AUSDT", hours("2024-01-01", 24))
    with pytest.warns(MissingDataWarning, match="um/klines/CUSDT/1h is not stored"):
        frame = loader.resample(["AUSDT", "CUSDT"], "2024-01-01", "2024-01-01", "4h")
    assert len(frame) == 6
    with pytest.raises(NoData, match="um/klines/CUSDT/1m is not stored"):
        loader.resample("CUSDT", "2024-01-01", "2024-01-01", "4h")


def test_prices_of_marks_are_resampled_too(world: World, loader: BacktestDataLoader) -> None:
    world.fill("mark_price", "BTCUSDT", hours("2024-01-01", 24))
    frame = loader.resample("BTCUSDT", "2024-01-01", "2024-01-01", "1d", data_type="mark_price")
    assert list(frame) == ["timestamp", "symbol", "available_at", "open", "high", "low", "close", "candles"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interval": "1x"}, "unknown interval '1x'"),
        ({"interval": "1h", "source": "1h"}, "candles of '1h' do not make those of 1h"),
        ({"interval": "90m", "source": "1h"}, "candles of '1h' do not make those of 90m"),
        ({"interval": "1mo", "source": "1w"}, "candles of '1w' do not make those of 1mo"),
        ({"interval": "1s"}, "candles of 1s are made of none that the exchange has"),
        ({"interval": "1d", "partial": "fill"}, "partial: unknown 'fill'"),
        ({"interval": "1d", "data_type": ["klines", "mark_price"]}, "is not one data type"),
        ({"interval": "1d", "data_type": "funding_rate"}, "funding_rate are no candles"),
        ({"interval": "1d", "output": "excel"}, "unknown output 'excel'"),
    ],
)
def test_what_makes_no_sense_is_said(
    world: World, loader: BacktestDataLoader, options: dict[str, Any], said: str
) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24))
    with pytest.raises(ConfigError, match=said):
        loader.resample("BTCUSDT", "2024-01-01", "2024-01-02", **options)
