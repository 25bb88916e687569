"""Both ways of reading give the same rows, bit for bit, for any threads, order of files, gaps and overlaps."""

import random
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_world import World, made_up, series, us

from core.dates import HOUR_US
from core.settings import LoaderSettings, QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import Cadence, Period
from loader.arguments import parse_request
from loader.reader import RowReader

SYMBOLS = [f"{letter}USDT" for letter in "ABCDEF"]
START = us("2023-12-30")


def rows_by(world: World, request: Any, threads: int, only_duckdb: bool) -> Any:
    reader = RowReader(world.storage, LoaderSettings(threads=threads), only_duckdb=only_duckdb)
    found = {kind.name: reader.rows(request, kind) for kind in request.datasets}
    reader.close()
    return found


times = st.sets(st.integers(0, 24 * 6), max_size=60).map(lambda s: [START + hour * HOUR_US for hour in sorted(s)])


@settings(max_examples=15, deadline=None)
@given(
    st.dictionaries(st.sampled_from(SYMBOLS), times, min_size=1),
    st.integers(-10, 150), st.integers(1, 150),
    st.sampled_from(["klines", "trades", "funding_rate"]),
    st.sampled_from([1, 2, 8]),
    st.booleans(),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_both_ways_and_any_threads_give_the_same_rows(
    world_times: dict[str, list[int]],
    first: int,
    length: int,
    kind: str,
    threads: int,
    by_day: bool,
    order: random.Random,
) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        parts = [(symbol, time_us) for symbol, of_symbol in world_times.items() for time_us in of_symbol]
        cadence = Cadence.DAILY if by_day and kind != "funding_rate" else Cadence.MONTHLY
        stored = list(world_times.items())
        order.shuffle(stored)
        for symbol, of_symbol in stored:
            world.put(series(kind, symbol), made_up(series(kind, symbol), of_symbol), cadence)
        begin = START + first * HOUR_US
        bounds = [datetime.fromtimestamp(time_us / 10**6, UTC) for time_us in (begin, begin + length * HOUR_US)]
        request = parse_request(SYMBOLS, *bounds, kind, "1h", "um")
        ways = [rows_by(world, request, threads, only) for only in (False, True)]
        ways.append(rows_by(world, request, 1, False))
        tables = [way[kind].table.combine_chunks() for way in ways]
        assert tables[0].equals(tables[1])
        assert tables[0].equals(tables[2])
        assert all((way[kind].offsets == ways[0][kind].offsets).all() for way in ways)
        inside = sorted((s, t) for s, t in parts if begin <= t < begin + length * HOUR_US)
        assert len(inside) == tables[0].num_rows


@pytest.mark.parametrize("threads", [1, 4])
def test_archives_that_overlap_are_joined_by_either_way(world: World, threads: int) -> None:
    one = series("klines", "AUSDT")
    rows = made_up(one, [START + n * HOUR_US for n in range(24 * 40)])
    world.put_period(one, Period.parse("2023-12"), rows[:60])
    world.put_period(one, Period.parse("2024-01"), rows[40:700])
    world.fill("klines", "BUSDT", [START + n * HOUR_US for n in range(100)])
    request = parse_request(["AUSDT", "BUSDT"], "2023-12-01", "2024-12-31", "klines", "1h", "um")
    ways = [rows_by(world, request, threads, only)["klines"] for only in (False, True)]
    assert ways[0].table.equals(ways[1].table)
    assert ways[0].values("open").tolist()[:700] == [row["open"] for row in rows[:700]]


def test_large_files_are_read_in_runs_that_threads_share(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = series("klines", "AUSDT")
    rows = made_up(one, [START + n * HOUR_US for n in range(5000)])
    world.put_unchecked(one, Period.parse("2023"), rows)  # row groups of a thousand
    monkeypatch.setattr("loader.parquet._RUN_ROWS", 2000)
    monkeypatch.setattr("loader.parquet._WORTH_A_THREAD", 1)
    request = parse_request("AUSDT", "2023-12-30T05:00", "2024-06-01", "klines", "1h", "um")
    ways = [rows_by(world, request, threads, only)["klines"] for threads, only in ((4, False), (1, False), (4, True))]
    assert ways[0].table.combine_chunks().equals(ways[1].table.combine_chunks())
    assert ways[0].table.combine_chunks().equals(ways[2].table.combine_chunks())
    wanted = [r["open"] for r in rows if us("2023-12-30T05:00") <= r["timestamp"] < us("2024-06-02")]
    assert ways[0].values("open").tolist() == wanted


def test_footers_are_kept_while_their_file_is_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = series("klines", "AUSDT")
    rows = made_up(one, [START + n * HOUR_US for n in range(100)])
    world.put(one, rows)
    request = parse_request("AUSDT", "2023-12-01", "2024-12-31", "klines", "1h", "um")
    reader = RowReader(
        StorageManager(world.layout, StorageSettings(csv_datasets=()), QualitySettings()), LoaderSettings()
    )
    read: list[Any] = []
    metadata = pq.read_metadata
    monkeypatch.setattr(pq, "read_metadata", lambda file: read.append(file) or metadata(file))
    for _ in range(3):
        assert len(reader.rows(request, request.datasets[0])) == 100
    first = len(read)
    world.put(one, made_up(one, [us("2024-02-01") + n * HOUR_US for n in range(100)]))
    assert len(reader.rows(request, request.datasets[0])) == 200
    assert len(read) > first
    again = len(read)
    assert len(reader.rows(request, request.datasets[0])) == 200
    assert len(read) == again
