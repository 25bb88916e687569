"""A cross-section gives the rows that the partitions give, and none once they have changed."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from factories import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_world import World, hours, made_up, opened, series, us, write_rows

import loader.reader
from core.dates import HOUR_US, MINUTE_US
from core.layout import Layout
from core.settings import QualitySettings, StorageSettings
from core.storage.cross_sections import CrossSections, is_current, make, period_around, periods_of, remove_all
from core.storage.manager import StorageManager
from core.types import Cadence, Market, Period
from loader import BacktestDataLoader

SYMBOLS = [f"{letter}USDT" for letter in "ABCDEFGHIJKLMNOPQRST"]


def storage_of(root: Path) -> StorageManager:
    return StorageManager(Layout(root), StorageSettings(csv_datasets=()), QualitySettings())


def make_all(root: Path, dataset: str = "klines", interval: str = "1h", market: str = "um") -> list[Period]:
    storage = storage_of(root)
    wanted = [one for one in storage.series(Market(market), dataset) if one.interval == interval]
    periods = periods_of(storage, wanted)
    for period in periods:
        make(Layout(root), storage, wanted, period)
    return periods


def fill(root: Path, off: int = 0) -> None:
    for number, symbol in enumerate(SYMBOLS):
        times = hours("2024-01-20", 24 * 20)[number * 7 + off :]
        write_rows(root, series("klines", symbol), made_up(series("klines", symbol), times))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cross")
    fill(folder)
    assert [period.label for period in make_all(folder)] == ["2024-01", "2024-02"]
    return folder


def both(root: Path, *request: Any, **options: Any) -> tuple[pa.Table, pa.Table, int]:
    """With and without cross-sections, and how many files were read with them."""
    with opened(root) as with_them, opened(root) as without:
        without._reader._sections = None
        read: list[int] = []
        files = with_them._reader._files
        assert files is not None
        plain = files.read

        def counted(found: Any, *rest: Any) -> Any:
            read.append(sum(map(len, found)))
            return plain(found, *rest)

        files.read = counted  # type: ignore[method-assign]
        options = {"output": "arrow", "on_missing": "ignore"} | options
        one = with_them.load_data(*request, **options)["klines"]
        return one, without.load_data(*request, **options)["klines"], sum(read)


@settings(max_examples=20, deadline=None)
@given(
    st.sets(st.sampled_from([*SYMBOLS, "NOPEUSDT"]), min_size=16),
    st.integers(-30, 24 * 21),
    st.integers(1, 24 * 13),
    st.sampled_from([None, ("close",), ("close_time", "trades")]),
)
def test_rows_are_those_of_the_partitions(
    root: Path, symbols: set[str], first: int, length: int, columns: tuple[str, ...] | None
) -> None:
    start, end = (us("2024-01-20") + hour * HOUR_US for hour in (first, first + length))
    bounds = [pd.Timestamp(time_us, unit="us") for time_us in (start, end)]
    crossed, plain, files = both(root, symbols, *bounds, columns=columns)
    assert crossed.combine_chunks().equals(plain.combine_chunks())
    if period_around("1h", start) == period_around("1h", end - 1):
        assert files == 1


def test_few_symbols_are_read_from_their_own_files(root: Path) -> None:
    crossed, plain, files = both(root, SYMBOLS[:15], "2024-01-28", "2024-01-28")
    assert crossed.equals(plain)
    assert files == 15
    assert loader.reader._MANY == 16


@pytest.mark.parametrize("change", ["archive", "symbol", "removed", "late-day", "damaged", "deleted"])
def test_one_that_is_no_longer_right_is_not_used(tmp_path: Path, change: str) -> None:
    world = World(tmp_path / "data")
    fill(world.root)
    make_all(world.root)
    day = ("2024-01-28", "2024-01-28")
    before, _, files = both(world.root, [*SYMBOLS, "ZUSDT"], *day)
    assert files == 1
    one = series("klines", "AUSDT")
    path = world.layout.cross_section(one, Period.parse("2024-01"))
    other = [row | {"open": 1.5} for row in made_up(one, hours("2024-01-28", 12))]
    if change == "archive":
        write_rows(world.root, one, other)
    elif change == "symbol":
        write_rows(world.root, series("klines", "ZUSDT"), made_up(series("klines", "ZUSDT"), hours("2024-01-28", 24)))
    elif change == "removed":
        world.layout.processed(one, Period.parse("2024")).unlink()
    elif change == "late-day":
        world.put(one, made_up(one, hours("2024-02-20", 24)), Cadence.DAILY)
        world.put(one, other, Cadence.DAILY)
    elif change == "damaged":
        path.write_bytes(path.read_bytes()[:4000] + bytes(2000) + path.read_bytes()[6000:])
    else:
        path.unlink()
    crossed, plain, _ = both(world.root, [*SYMBOLS, "ZUSDT"], *day)
    assert crossed.equals(plain)
    if change not in ("damaged", "deleted"):
        assert not plain.equals(before)
    make_all(world.root)
    again, plain, files = both(world.root, [*SYMBOLS, "ZUSDT"], *day)
    assert again.equals(plain)
    assert files == 1


def test_short_candles_have_one_for_each_day(tmp_path: Path) -> None:
    for symbol in SYMBOLS:
        one = series("klines", symbol, interval="1m")
        write_rows(tmp_path, one, made_up(one, [us("2024-01-31T23:00") + n * MINUTE_US for n in range(120)]))
    assert [period.label for period in make_all(tmp_path, interval="1m")] == ["2024-01-31", "2024-02-01"]
    crossed, plain, files = both(tmp_path, SYMBOLS, "2024-02-01", "2024-02-01", interval="1m")
    assert crossed.equals(plain)
    assert (len(plain), files) == (60 * len(SYMBOLS), 1)


def test_they_are_made_where_they_are_missing_and_only_there(tmp_path: Path) -> None:
    fill(tmp_path)
    command = Command("scripts/pipeline.py", ["cross-sections", "--data-dir", str(tmp_path)])
    assert "2 cross-sections would be made, 0 were right" in command.run("--dry-run").out
    assert "2 cross-sections made of" in command.run().out
    assert "0 cross-sections made of 0 rows, 2 were right" in command.run().out
    fill(tmp_path, off=1)
    assert "2 cross-sections made of" in command.run().out
    storage = storage_of(tmp_path)
    wanted = list(storage.series(Market.UM, "klines"))
    assert is_current(CrossSections(Layout(tmp_path)), storage, wanted, Period.parse("2024-01"))
    refused = command.run("--symbols", "AUSDT")
    assert (refused.code, "a cross-section has all symbols" in refused.err) == (2, True)
    assert "2 cross-sections removed" in command.run("--remove").out
    assert remove_all(Layout(tmp_path)) == 0


def test_a_loader_of_contracts_of_one_pair_reads_their_own_files(tmp_path: Path) -> None:
    one = series("index_price", "BTCUSD_PERP", "cm")
    write_rows(tmp_path, one, made_up(one, hours("2024-01-01", 24)))
    make_all(tmp_path, "index_price", market="cm")
    symbols = ["BTCUSD_PERP", *(f"BTCUSD_24{month:02}29" for month in range(1, 17))]
    with opened(tmp_path) as vault:
        assert isinstance(vault, BacktestDataLoader)
        frame = vault.load_data(symbols, "2024-01-01", "2024-01-01", "index_price", market="cm")["index_price"]
    assert len(frame) == 24 * len(symbols)
