"""Rows are looked at while they are stored: what is odd with them is said with what storing came to."""

from datetime import date
from pathlib import Path

import pytest
from storage_world import KLINES, NEW_YEAR, TRADES, World, lines, trade_line

from core.jobs.store import CHECK_ROWS
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.storage.pool import StoragePool
from core.types import Finding, Period, Series

START_MS = 1_704_067_200_000
HOUR_MS = 3_600_000


def candles(low: str = "0.9") -> bytes:
    at = [START_MS + hour * HOUR_MS for hour in range(24)]
    rows = [f"{ms},1,1.2,{low if n == 5 else '0.9'},1.1,9,{ms + HOUR_MS - 1},9.9,9,4,4.4,0" for n, ms in enumerate(at)]
    return lines(rows)


def looked_at(world: World, series: Series, text: bytes, check: str = CHECK_ROWS) -> tuple[Finding, ...]:
    settings = StorageSettings(row_group_rows=10)
    storage = StorageManager(world.layout, settings, QualitySettings(), check=check)
    return storage.store([world.fetched(series, NEW_YEAR, text)]).findings


def test_rows_that_are_right_give_no_finding(tmp_path: Path) -> None:
    assert looked_at(World(tmp_path), KLINES, candles()) == ()


def test_a_wrong_candle_is_told_when_it_is_stored(tmp_path: Path) -> None:
    (found,) = looked_at(World(tmp_path), KLINES, candles(low="1.05"))
    assert (found.series, found.count) == (KLINES, 1)
    assert found.span.start_us == (START_MS + 5 * HOUR_MS) * 1000
    assert looked_at(World(tmp_path / "other"), KLINES, candles(low="1.05"), check="") == ()


def test_trades_are_counted_over_all_batches(tmp_path: Path) -> None:
    text = lines([trade_line(n, qty="0" if n % 7 == 3 else "0.005") for n in range(35)])
    found = {one.kind: one.count for one in looked_at(World(tmp_path), TRADES, text)}
    assert found["zero-quantity"] == 5


def test_a_process_that_stores_looks_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    fetched = world.fetched(KLINES, Period.day(date(2024, 1, 1)), candles(low="1.05"))
    with StoragePool(world.layout, StorageSettings(), QualitySettings(), 1, CHECK_ROWS) as pool:
        assert [one.count for one in pool.store([fetched]).findings] == [1]


@pytest.mark.parametrize("name", ["core.integrity.checks:nothing", "core.integrity.nowhere:check_rows"])
def test_a_check_that_is_not_there_is_no_silent_pass(tmp_path: Path, name: str) -> None:
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        looked_at(World(tmp_path), KLINES, candles(), check=name)
