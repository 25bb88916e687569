"""Chunks of time: together they are what one load gives, each is what a load of its time gives."""

import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loader_world import World, hours, made_up, opened, series, us, write_rows

import loader.stream
from core.dates import DAY_US, HOUR_US, MINUTE_US
from core.errors import ConfigError, NoData
from core.types import Period
from loader import BacktestDataLoader, MissingDataWarning

KINDS = ["klines", "funding_rate", "trades"]
START, END = us("2024-01-29"), us("2024-02-09")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Candles with gaps, funding, and trades of which some come late."""
    folder = tmp_path_factory.mktemp("stream")
    for symbol, off in (("AUSDT", 0), ("BUSDT", 50)):
        candles = [time for n, time in enumerate(hours("2024-01-30", 200)) if n % 50 != 7 and n >= off]
        write_rows(folder, series("klines", symbol), made_up(series("klines", symbol), candles))
        settled = hours("2024-01-30", 200)[::8]
        write_rows(folder, series("funding_rate", symbol), made_up(series("funding_rate", symbol), settled))
    ticks = [us("2024-01-31") + n * 7 * MINUTE_US + (-HOUR_US if n % 37 == 5 else 0) for n in range(400)]
    write_rows(folder, series("trades", "AUSDT"), made_up(series("trades", "AUSDT"), ticks))
    return folder


def moment(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us / 10**6, UTC)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.integers(-20, 200),
    length=st.integers(1, 150),
    chunk=st.sampled_from(["1h", "7h", "1d", "36h", "1w", "1mo"]),
    kinds=st.sets(st.sampled_from(KINDS), min_size=1).map(sorted),
    rows=st.sampled_from([1, 40, 1 << 19]),
)
def test_chunks_together_are_one_load(
    root: Any, monkeypatch: pytest.MonkeyPatch, first: int, length: int, chunk: str, kinds: list[str], rows: int
) -> None:
    monkeypatch.setattr(loader.stream, "BLOCK_ROWS", rows)
    start, end = us("2024-01-30") + first * HOUR_US, us("2024-01-30") + (first + length) * HOUR_US
    request = (["AUSDT", "BUSDT"], moment(start), moment(end), kinds)
    with opened(root) as vault:
        whole = vault.load_data(*request, output="arrow", on_missing="ignore")
        chunks = list(vault.iter_data(*request, chunk=chunk, output="arrow", on_missing="ignore"))
        for found in chunks:
            assert any(table.num_rows for table in found.values())
            times = pa.chunked_array(
                [part for table in found.values() for part in table["timestamp"].cast("int64").chunks]
            )
            low, high = min(times.to_pylist()), max(times.to_pylist())
            begins, ends = _chunk_of(low, chunk)
            assert high < ends
            bounds = moment(max(begins, start)), moment(min(ends, end))
            again = vault.load_data(request[0], *bounds, kinds, output="arrow", on_missing="ignore")
            assert all(found[kind].equals(again[kind]) for kind in kinds)
    for kind in kinds:
        parts = [found[kind].to_pandas() for found in chunks if found[kind].num_rows]
        joined = pd.concat(parts).sort_values("symbol", kind="stable") if parts else whole[kind].to_pandas()
        key = "id" if kind == "trades" else "timestamp"
        wanted = whole[kind].to_pandas()
        joined = joined.sort_values(["symbol", key], kind="stable").reset_index(drop=True)
        assert joined.equals(wanted)


def _chunk_of(time_us: int, chunk: str) -> tuple[int, int]:
    if chunk == "1mo":
        return (
            (us("2024-01-01"), us("2024-02-01")) if time_us < us("2024-02-01") else (us("2024-02-01"), us("2024-03-01"))
        )
    step, phase = {"1h": (HOUR_US, 0), "7h": (7 * HOUR_US, 0), "1d": (DAY_US, 0), "36h": (36 * HOUR_US, 0)}.get(
        chunk, (7 * DAY_US, 4 * DAY_US)
    )
    begins = (time_us - phase) // step * step + phase
    return begins, begins + step


def test_no_more_than_a_block_is_read_at_once(root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.stream, "BLOCK_ROWS", 50)
    read: list[int] = []
    with opened(root) as vault:
        rows_of = vault._reader.rows

        def rows(*arguments: Any) -> Any:
            found = rows_of(*arguments)
            read.append(len(found))
            return found

        monkeypatch.setattr(vault._reader, "rows", rows)
        request = ("AUSDT", "2024-01-30", "2024-02-08")
        frames = [found["klines"] for found in vault.iter_data(*request, chunk="6h", on_missing="ignore")]
    assert sum(map(len, frames)) == sum(read) == 196
    assert max(read) <= 60  # about fifty: files are taken to be even
    assert len(read) < len(frames)


def test_short_chunks_of_a_long_request_take_no_memory_for_those_without_rows(world: World) -> None:
    one = series("trades", "BTCUSDT")
    world.put(one, made_up(one, [us("2020-01-01"), us("2024-06-01"), us("2024-06-01T00:00:03")]))
    with world.loader() as vault:
        tracemalloc.start()
        times = [
            [int(time) for time in found["trades"]["timestamp"].cast("int64").to_pylist()]
            for found in vault.iter_data("BTCUSDT", "2019-01-01", "2024-12-31", "trades", chunk="1s", output="arrow")
        ]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert times == [[us("2020-01-01")], [us("2024-06-01")], [us("2024-06-01T00:00:03")]]
    assert peak < 20_000_000


def test_rows_that_crowd_in_an_hour_are_read_a_block_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.stream, "BLOCK_ROWS", 3000)
    one = series("trades", "BTCUSDT")
    crowd = [us("2024-01-01T12:00") + n * 100_000 for n in range(30_000)]
    world.put_unchecked(
        one, Period.parse("2024-01-01"), made_up(one, [us("2024-01-01"), *crowd, us("2024-01-01T23:00")])
    )
    read: list[int] = []
    with world.loader() as vault:
        rows_of = vault._reader.rows

        def rows(*arguments: Any) -> Any:
            found = rows_of(*arguments)
            read.append(len(found))
            return found

        monkeypatch.setattr(vault._reader, "rows", rows)
        chunks = list(vault.iter_data("BTCUSDT", "2024-01-01", "2024-01-01", "trades", chunk="10s", output="arrow"))
    assert sum(found["trades"].num_rows for found in chunks) == 30_002
    assert max(read) <= 4500


def test_what_is_not_stored_is_said_before_the_first_chunk(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24))
    with pytest.warns(MissingDataWarning, match="um/klines/ETHUSDT/1h is not stored") as caught:
        loader.iter_data(["BTCUSDT", "ETHUSDT"], "2024-01-01", "2024-01-01")
    assert caught[0].filename == __file__
    with pytest.raises(NoData):
        loader.iter_data("ETHUSDT", "2024-01-01", "2024-01-01")
    with pytest.raises(NoData):
        loader.iter_data(["BTCUSDT", "ETHUSDT"], "2024-01-01", "2024-01-01", on_missing="raise")
    assert list(loader.iter_data("ETHUSDT", "2024-01-01", "2024-01-01", on_missing="ignore")) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"chunk": "a day"}, "unknown interval 'a day'"),
        ({"chunk": 5}, "unknown interval 5"),
        ({"output": "relation"}, "output 'relation'"),
        ({"on_missing": "worn"}, "on_missing: unknown 'worn'; did you mean 'warn'"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(
    world: World, loader: BacktestDataLoader, options: dict[str, Any], said: str
) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24))
    with pytest.raises(ConfigError, match=said):
        loader.iter_data("BTCUSDT", "2024-01-01", "2024-01-01", **options)
