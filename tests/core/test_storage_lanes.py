"""Rows of several archives are scanned as one: those beside their period found, in key order, what two have once."""

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from storage_world import FIRST_MS, KLINES, TRADES, World, lines

from core.errors import StorageError
from core.settings import QualitySettings, StorageSettings
from core.storage import joined as joining
from core.storage.manager import StorageManager
from core.storage.merging import merged
from core.types import Market, Partition, Period, Series, Span

HOUR_MS, DAY_MS, DAY_US = 3_600_000, 86_400_000, 86_400_000_000
FIRST_US = FIRST_MS * 1000
ALWAYS = Span(0, 2**60)
METRICS = Series(Market.UM, "metrics", "BTCUSDT")


def day(number: int) -> Period:
    return Period.parse(f"2024-01-{number:02}")


def day_span(number: int) -> Span:
    return Span(FIRST_US + (number - 1) * DAY_US, FIRST_US + number * DAY_US)


def trade(number: int, at_ms: int, price: float = 42000.1) -> str:
    return f"{number},{price},0.005,210.0005,{FIRST_MS + at_ms},true"


def candle(hour: int, price: float = 42000.1) -> str:
    start = FIRST_MS + hour * HOUR_MS
    return f"{start},{price},{price},{price},{price},12.5,{start + HOUR_MS - 1},525000.125,{100 + hour},6.25,262500,0"


def metric(at: str, interest: int) -> str:
    return f"2024-01-{at},BTCUSDT,{interest},2,3,4,5,6"


def put(world: World, series: Series, period: Period, rows: Iterable[str]) -> Partition:
    return world.store(series, period, lines(list(rows)))


def scanned(world: World, series: Series, name: str, span: Span = ALWAYS) -> list[float]:
    return [value for batch in world.storage.scan(series, span, [name]) for value in batch[name].to_pylist()]


def hours(world: World, span: Span = ALWAYS) -> list[int]:
    return [int(count) - 100 for count in scanned(world, KLINES, "trades", span)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, StorageSettings(csv_datasets=(), row_group_rows=10))


def test_a_trade_beside_the_day_of_its_file_is_found_by_its_time(world: World) -> None:
    put(world, TRADES, day(1), [trade(1, 0), trade(2, 5)])
    put(world, TRADES, day(2), [trade(3, DAY_MS), trade(4, DAY_MS - 1), trade(5, DAY_MS + 1)])
    assert scanned(world, TRADES, "id", day_span(1)) == [1, 2, 4]
    assert scanned(world, TRADES, "id", day_span(2)) == [3, 5]
    assert scanned(world, TRADES, "id") == [1, 2, 3, 4, 5]


def test_a_candle_beside_the_year_of_its_file_is_found_by_its_time(world: World) -> None:
    december = [candle(hour) for hour in range(-744, 1)]
    put(world, KLINES, Period.month(2023, 12), december)
    assert hours(world, Span(FIRST_US, FIRST_US + 31 * DAY_US)) == [0]
    put(world, KLINES, Period.month(2024, 1), [candle(hour) for hour in range(1, 4)])
    assert hours(world, Span(FIRST_US, FIRST_US + 31 * DAY_US)) == [0, 1, 2, 3]


def test_rows_lie_as_far_outside_as_settings_allow(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.storage = StorageManager(world.layout, StorageSettings(), QualitySettings(period_slack_hours=72))
    put(world, TRADES, day(4), [trade(1, 5), trade(2, 3 * DAY_MS)])
    assert scanned(world, TRADES, "id", day_span(1)) == [1]


def test_files_without_rows_in_the_span_are_not_read(world: World) -> None:
    path = put(world, TRADES, day(1), [trade(1, 0)]).path
    put(world, TRADES, day(2), [trade(2, DAY_MS)])
    rows = world.storage.scan(TRADES, day_span(2), ["id"])
    content = path.read_bytes()
    path.write_bytes(bytes(60) + content[60:])
    assert [batch["id"].to_pylist() for batch in rows] == [[2]]


def test_rows_of_neighbouring_archives_come_in_key_order(world: World) -> None:
    put(world, KLINES, day(1), map(candle, [*range(23), 25]))
    put(world, KLINES, day(2), map(candle, [23, 24, *range(26, 48)]))
    assert hours(world) == list(range(48))
    assert hours(world, day_span(2)) == list(range(24, 48))


def test_rows_at_the_border_of_years_come_in_key_order(world: World) -> None:
    put(world, KLINES, Period.month(2023, 12), map(candle, [-3, -2, 0]))
    put(world, KLINES, Period.month(2024, 1), map(candle, [-1, 1, 2]))
    assert hours(world) == [-3, -2, -1, 0, 1, 2]


def test_trades_of_two_days_are_sorted_at_the_seam_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put(world, TRADES, day(1), [trade(n, n) for n in [*range(1000), 1001]])
    put(world, TRADES, day(2), [trade(n, DAY_MS + n) for n in [1000, *range(1002, 2000)]])
    sizes = []
    take = joining.in_key_order
    monkeypatch.setattr(joining, "in_key_order", lambda table, *rest: sizes.append(len(table)) or take(table, *rest))
    assert scanned(world, TRADES, "id") == list(range(2000))
    assert sizes == [2]


def test_trades_whose_times_go_back_need_no_sorting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put(world, TRADES, day(1), [trade(1, 5), trade(2, DAY_MS + 3)])
    put(world, TRADES, day(2), [trade(3, DAY_MS), trade(4, DAY_MS - 1), trade(5, DAY_MS + 4)])
    monkeypatch.setattr(joining, "in_key_order", None)
    assert scanned(world, TRADES, "id") == [1, 2, 3, 4, 5]


def test_an_identical_row_of_two_archives_is_given_once_and_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    one = put(world, KLINES, day(1), map(candle, range(24)))
    with caplog.at_level(logging.WARNING):
        put(world, KLINES, day(2), map(candle, range(23, 48)))
        assert hours(world) == list(range(48))
    assert one.rows == 24
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == "um/klines/BTCUSDT/1h: 1 rows that two archives both have are given once"
    put(world, KLINES, day(1), map(candle, range(23)))
    assert hours(world) == list(range(48))


def test_an_identical_row_at_the_border_of_partitions_is_given_once(world: World) -> None:
    put(world, TRADES, day(1), [trade(1, 0), trade(2, DAY_MS)])
    put(world, TRADES, day(2), [trade(2, DAY_MS), trade(3, DAY_MS + 1)])
    assert scanned(world, TRADES, "id") == [1, 2, 3]
    assert scanned(world, TRADES, "id", day_span(2)) == [2, 3]
    assert [batch.num_columns for batch in world.storage.scan(TRADES, ALWAYS)] == [6, 6]


@pytest.mark.parametrize("columns", [None, ["timestamp"], ["close"]])
def test_two_different_rows_of_one_key_name_both_archives(world: World, columns: list[str] | None) -> None:
    put(world, KLINES, day(1), map(candle, range(24)))
    put(world, KLINES, day(2), [candle(23, 7.0), *map(candle, range(24, 48))])
    with pytest.raises(StorageError) as caught:
        list(world.storage.scan(KLINES, ALWAYS, columns))
    folder = "data/futures/um/daily/klines/BTCUSDT/1h"
    assert str(caught.value) == (
        f"um/klines/BTCUSDT/1h: {folder}/BTCUSDT-1h-2024-01-01.zip and {folder}/BTCUSDT-1h-2024-01-02.zip contradict "
        "each other: both have a row of timestamp 2024-01-01 23:00:00+00:00, and they differ in open, high, low, "
        "close; as published, neither can be told to be right: choose a time without this row, or wait until one of "
        "the two is published anew, which the next download takes"
    )
    assert hours(world, day_span(2)) == list(range(24, 48))


def test_the_midnight_that_two_files_of_metrics_share_is_that_of_the_later_one(world: World) -> None:
    put(world, METRICS, day(2), [metric("02 00:00:00", 3), metric("02 00:05:00", 4)])
    put(world, METRICS, day(1), [metric("01 23:55:00", 1), metric("02 00:00:00", 2)])
    assert scanned(world, METRICS, "open_interest") == [1, 3, 4]


def test_merged_trades_are_scanned_as_their_days_were(world: World) -> None:
    days = [
        put(world, TRADES, day(1), [trade(n, n) for n in [*range(25), 26]]),
        put(world, TRADES, day(2), [trade(n, DAY_MS + n) for n in [25, *range(27, 60)]]),
        put(world, TRADES, day(3), [trade(n, 2 * DAY_MS + n) for n in range(60, 90)]),
    ]
    before = scanned(world, TRADES, "id")
    assert merged(world.layout, Period.month(2024, 1), days, 10) is not None
    assert scanned(world, TRADES, "id") == before == list(range(90))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 11)), unique=True, min_size=1), st.integers(1, 5))
@hypothesis_settings(max_examples=40, deadline=None)
def test_rows_come_once_in_key_order_whatever_archive_has_them(places: list[tuple[int, int]], group: int) -> None:
    """Trades of ids 0 to 11, each of one time, in the files of any of three days."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), StorageSettings(csv_datasets=(), row_group_rows=group))
        for number in range(3):
            ids = sorted(row for place, row in places if place == number)
            if ids:
                put(world, TRADES, day(number + 2), [trade(row, DAY_MS * 5 // 2 + row * HOUR_MS) for row in ids])
        wanted = sorted({row for _, row in places})
        assert scanned(world, TRADES, "id") == wanted
        start = FIRST_US + DAY_US * 5 // 2 + 4 * HOUR_MS * 1000
        assert scanned(world, TRADES, "id", Span(start, start + 4 * HOUR_MS * 1000)) == [
            n for n in wanted if 4 <= n < 8
        ]
