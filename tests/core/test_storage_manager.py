"""Verified archives become partitions: exact, ordered, counted, never half-written."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import kline_csv
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from storage_world import (
    AGGS,
    FIRST_MS,
    FUNDING,
    JANUARY,
    KLINES,
    NEW_YEAR,
    TRADES,
    YEAR,
    World,
    lines,
    run_child,
    trade_line,
)

from core import VERSION
from core.errors import MalformedArchive
from core.settings import StorageSettings
from core.types import Partition, Proof, Source


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_month_of_candles_becomes_one_partition(world: World) -> None:
    partition = world.store(KLINES, JANUARY, kline_csv(rows=744))
    assert partition == Partition(
        series=KLINES,
        period=YEAR,
        path=world.layout.root / "processed/um/klines/BTCUSDT/1h/BTCUSDT-1h-2024.parquet",
        sources=(
            Source(
                key="data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip",
                period=JANUARY,
                sha256=hashlib.sha256(world.layout.raw(KLINES, JANUARY).read_bytes()).hexdigest(),
                proof=Proof.SHA256_BY_ETAG,
                unit="ms",
                rows=744,
                first_us=FIRST_MS * 1000,
                last_us=(FIRST_MS + 743 * 3_600_000) * 1000,
            ),
        ),
    )
    assert (partition.rows, partition.first_us) == (744, FIRST_MS * 1000)
    assert world.storage.partitions(KLINES) == (partition,)
    assert world.storage.series() == (KLINES,)
    row = pq.read_table(partition.path).slice(1, 1).to_pylist()[0]
    assert row == {
        "timestamp": datetime(2024, 1, 1, 1, tzinfo=UTC),
        "open": 42000.1,
        "high": 42100.5,
        "low": 41900.0,
        "close": 42050.25,
        "volume": 12.5,
        "close_time": datetime(2024, 1, 1, 1, 59, 59, 999000, tzinfo=UTC),
        "quote_volume": 525000.125,
        "trades": 101,
        "taker_buy_base": 6.25,
        "taker_buy_quote": 262500.0,
    }


def test_the_same_archive_twice_gives_the_same_bytes(world: World) -> None:
    path = world.store(KLINES, JANUARY, kline_csv(rows=700)).path
    first = path.read_bytes()
    world.store(KLINES, JANUARY, kline_csv(rows=700))
    assert path.read_bytes() == first


def test_row_groups_are_of_the_size_that_settings_say(tmp_path: Path) -> None:
    world = World(tmp_path, StorageSettings(row_group_rows=30_000))
    path = world.store(TRADES, JANUARY, lines([trade_line(number) for number in range(70_001)])).path
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)]
    assert groups == [30_000, 30_000, 10_001]
    assert pq.read_table(path)["id"].to_pylist() == list(range(70_001))


def test_duckdb_and_pandas_see_the_same_utc_times(world: World) -> None:
    path = world.store(KLINES, JANUARY, kline_csv(rows=3)).path
    connection = duckdb.connect()
    kinds = connection.sql("select typeof(timestamp), epoch_us(timestamp) from read_parquet(?)", params=[[str(path)]])
    assert kinds.fetchall()[1] == ("TIMESTAMP WITH TIME ZONE", (FIRST_MS + 3_600_000) * 1000)
    connection.close()
    times = pq.read_table(path).to_pandas()["timestamp"]
    assert str(times.dtype) == "datetime64[us, UTC]"


def test_every_reader_sees_the_same_rows(world: World) -> None:
    path = world.store(
        TRADES,
        JANUARY,
        lines([trade_line(n, f"{n}.{n}", maker="tTfF"[n] + "rue" * (n < 2) + "alse" * (n > 1)) for n in range(4)]),
    ).path
    wanted = [(n, float(f"{n}.{n}"), n < 2, (FIRST_MS + n) * 1000) for n in range(4)]
    table = pq.read_table(path)
    micros = table["timestamp"].cast(pa.int64()).to_pylist()
    assert (
        list(
            zip(
                table["id"].to_pylist(),
                table["price"].to_pylist(),
                table["is_buyer_maker"].to_pylist(),
                micros,
                strict=True,
            )
        )
        == wanted
    )
    with duckdb.connect() as connection:
        query = "select id, price, is_buyer_maker, epoch_us(timestamp) from read_parquet(?)"
        assert connection.sql(query, params=[[str(path)]]).fetchall() == wanted
    frame = pd.read_parquet(path)
    stamps = frame["timestamp"].map(lambda moment: round(moment.timestamp() * 1_000_000))
    assert list(zip(frame["id"], frame["price"], frame["is_buyer_maker"], stamps, strict=True)) == wanted


def test_the_footer_says_where_the_rows_came_from(world: World) -> None:
    path = world.store(KLINES, JANUARY, kline_csv(rows=3)).path
    facts = {
        name.decode().removeprefix("tapevault."): value.decode()
        for name, value in pq.read_metadata(path).metadata.items()
        if name.startswith(b"tapevault.")
    }
    assert facts == {
        "schema_version": "2",
        "series": "um/klines/BTCUSDT/1h",
        "period": "2024",
        "writer": f"tapevault {VERSION}, pyarrow {pa.__version__}",
        "rows": "3",
        "first_us": str(FIRST_MS * 1000),
        "last_us": str((FIRST_MS + 2 * 3_600_000) * 1000),
        "sources": facts["sources"],
    }
    assert json.loads(facts["sources"]) == [
        {
            "key": "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip",
            "period": "2024-01",
            "sha256": hashlib.sha256(world.layout.raw(KLINES, JANUARY).read_bytes()).hexdigest(),
            "proof": "sha256-by-etag",
            "unit": "ms",
            "rows": 3,
            "first_us": FIRST_MS * 1000,
            "last_us": (FIRST_MS + 2 * 3_600_000) * 1000,
            "duplicates": 0,
            "reordered": 0,
            "outside": 0,
            "quarantined": 0,
            "added": 0,
            "changed": 0,
        }
    ]


def test_csv_is_kept_for_the_kinds_that_settings_name(tmp_path: Path) -> None:
    world = World(tmp_path, StorageSettings(csv_datasets=("klines",)))
    world.store(KLINES, JANUARY, kline_csv(rows=2))
    (path,) = (tmp_path / "extracted").rglob("*.csv")
    assert path == tmp_path / "extracted/um/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.csv"
    header, row = list(csv.reader(path.read_text().splitlines()))[:2]
    assert header[:3] == ["timestamp", "open", "high"]
    assert row[:3] == ["2024-01-01 00:00:00.000000Z", "42000.1", "42100.5"]
    assert world.made == ["BTCUSDT-1h-2024-01.csv", "BTCUSDT-1h-2024.parquet"]


def test_funding_rates_are_also_there_as_csv_unless_settings_say_no(tmp_path: Path) -> None:
    text = lines(["calc_time,funding_interval_hours,last_funding_rate", f"{FIRST_MS + 2},8,-0.00010000"])
    world = World(tmp_path / "default")
    world.store(FUNDING, JANUARY, text)
    path = world.layout.extracted(FUNDING, JANUARY, ".csv")
    assert path.read_text().splitlines() == [
        "timestamp,funding_interval_hours,funding_rate",
        "2024-01-01 00:00:00.002000Z,8,-0.0001",
    ]
    frame = pd.read_csv(path, parse_dates=["timestamp"])
    assert frame["timestamp"].tolist() == [pd.Timestamp("2024-01-01 00:00:00.002", tz="UTC")]
    assert frame["funding_rate"].tolist() == [-0.0001]
    other = World(tmp_path / "other", StorageSettings(csv_datasets=()))
    other.store(FUNDING, JANUARY, text)
    assert other.made == ["BTCUSDT-fundingRate-2024.parquet"]


@pytest.mark.parametrize("last", ["x,42000.1,0.005,210,1704067200009,true", "9,1,1,1,1", "9,1,1,1,1804067200009,true"])
@pytest.mark.parametrize("first", [0, 20])
def test_a_refused_archive_leaves_nothing_and_takes_nothing_away(tmp_path: Path, first: int, last: str) -> None:
    world = World(tmp_path, StorageSettings(csv_datasets=("trades",), row_group_rows=10_000))
    rows = [trade_line(number) for number in [first, *range(1, 60_000)]]
    with pytest.raises(MalformedArchive, match=r"BTCUSDT-trades-2024-01\.zip, line 60001: "):
        world.store(TRADES, JANUARY, lines([*rows, last]))
    assert world.made == []
    before = world.store(TRADES, JANUARY, lines(rows[1:])).path.read_bytes()
    with pytest.raises(MalformedArchive):
        world.store(TRADES, JANUARY, lines([*rows, last]))
    assert world.made == ["BTCUSDT-trades-2024-01-01.parquet", "BTCUSDT-trades-2024-01.csv"]
    assert world.layout.processed(TRADES, NEW_YEAR).read_bytes() == before


def test_times_that_go_back_while_ids_rise_are_kept_and_the_facts_are_the_extremes(world: World) -> None:
    offsets = [5, 3, 9, 4]
    rows = [f"{n},1,1,1,{FIRST_MS + offset},true" for n, offset in enumerate(offsets)]
    partition = world.store(TRADES, JANUARY, lines(rows))
    kept = pq.read_table(partition.path)["timestamp"].cast(pa.int64()).to_pylist()
    assert kept == [(FIRST_MS + offset) * 1000 for offset in offsets]
    assert (partition.first_us, partition.last_us) == ((FIRST_MS + 3) * 1000, (FIRST_MS + 9) * 1000)
    assert (partition.sources[0].reordered, partition.sources[0].duplicates) == (0, 0)
    assert world.storage.partitions(TRADES) == (partition,)


DECIMALS = st.decimals(0, 999_999_999, allow_nan=False, allow_infinity=False, places=8).map(lambda d: f"{d:f}")


@given(prices=st.lists(DECIMALS | st.sampled_from(["0.1", "1e-8", "9007199254740993.5", "0.30000000000000004"])))
@hypothesis_settings(max_examples=40, deadline=None)
def test_every_decimal_becomes_the_nearest_double(tmp_path_factory: pytest.TempPathFactory, prices: list[str]) -> None:
    prices = [*prices, "0.00000001", "123456789.12345678"]
    world = World(tmp_path_factory.mktemp("exact"))
    path = world.store(TRADES, JANUARY, lines([trade_line(n, price) for n, price in enumerate(prices)])).path
    assert pq.read_table(path)["price"].to_pylist() == [float(price) for price in prices]


@given(
    numbers=st.lists(st.integers(0, 40), min_size=1, max_size=60),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_order_is_put_right_and_exact_duplicates_are_counted(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int]
) -> None:
    world = World(tmp_path_factory.mktemp("order"))
    partition = world.store(TRADES, JANUARY, lines([trade_line(number) for number in numbers]))
    stable = sorted(range(len(numbers)), key=lambda place: (numbers[place], place))
    assert pq.read_table(partition.path)["id"].to_pylist() == sorted(set(numbers))
    assert partition.rows == len(set(numbers))
    assert partition.sources[0].duplicates == len(numbers) - len(set(numbers))
    assert partition.sources[0].reordered == sum(place != origin for place, origin in enumerate(stable))


def test_two_different_rows_with_one_key_refuse_the_file(world: World) -> None:
    text = lines([trade_line(1), trade_line(2), trade_line(2, price="42000.2")])
    with pytest.raises(MalformedArchive, match="two different rows with one key") as caught:
        world.store(TRADES, JANUARY, text)
    assert "42000.2" in str(caught.value)
    assert world.made == []


def test_aggregates_are_told_apart_by_both_parts_of_their_key(world: World) -> None:
    rows = [f"7,1.5,2,{first},{first},{FIRST_MS},True,True" for first in (20, 10)]
    partition = world.store(AGGS, JANUARY, lines(rows))
    assert pq.read_table(partition.path)["first_trade_id"].to_pylist() == [10, 20]
    assert (partition.rows, partition.sources[0].reordered, partition.sources[0].duplicates) == (2, 2, 0)


@given(
    rows=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.sampled_from(["1.5"] * 9 + ["2.5"])), min_size=1)
)
@hypothesis_settings(max_examples=100, deadline=None)
def test_two_part_keys_are_ordered_counted_and_told_from_conflicts(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, str]]
) -> None:
    world = World(tmp_path_factory.mktemp("keys"))
    text = lines([f"{number},{price},2,{first},{first},{FIRST_MS},True,True" for number, first, price in rows])
    prices: dict[tuple[int, int], set[str]] = {}
    for number, first, price in rows:
        prices.setdefault((number, first), set()).add(price)
    if any(len(of_key) > 1 for of_key in prices.values()):
        with pytest.raises(MalformedArchive, match="two different rows with one key") as caught:
            world.store(AGGS, JANUARY, text)
        number, first = min(key for key, of_key in prices.items() if len(of_key) > 1)
        assert f"'agg_trade_id': {number}, " in str(caught.value)
        assert f"'first_trade_id': {first}, " in str(caught.value)
        assert world.made == []
        return
    partition = world.store(AGGS, JANUARY, text)
    table = pq.read_table(partition.path)
    assert list(zip(table["agg_trade_id"].to_pylist(), table["first_trade_id"].to_pylist(), strict=True)) == sorted(
        prices
    )
    assert partition.sources[0].duplicates == len(rows) - len(prices)


FULL_DISK = """
from core.errors import DiskFull
fetched = world.fetched(TRADES, JANUARY, random_trades(60_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    world.storage.store([fetched])
except DiskFull as error:
    print(error)
    sys.exit(7)
"""


FULL_AT_ANY_BYTE = """
from core.errors import DiskFull
from core.settings import StorageSettings
world = World(Path(sys.argv[1]), StorageSettings(csv_datasets=("trades",)))
fetched = world.fetched(TRADES, JANUARY, random_trades(700))
partition = world.storage.store([fetched]).partitions[0]
paths = [partition.path, world.layout.extracted(TRADES, JANUARY, ".csv")]
sizes = [path.stat().st_size for path in paths]
for path in paths:
    path.unlink()
count = 0
for limit in sorted({0, 1, 3, 4, 5, 700, *(s - d for s in sizes for d in (1, 8, 100, 1500, 4000))}):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        world.storage.store([fetched])
    except DiskFull:
        count += 1
    else:
        print("stored with", limit)
    assert world.made == [], (limit, world.made)
print(count, sizes)
"""


def test_room_that_ends_at_any_byte_of_either_file_leaves_nothing(world: World) -> None:
    done = run_child(world.layout.root, FULL_AT_ANY_BYTE)
    assert done.returncode == 0, done.stderr
    assert "stored with" not in done.stdout
    assert int(done.stdout.split()[0]) >= 14
    assert world.made == []


def test_a_full_disk_leaves_nothing_behind(world: World) -> None:
    done = run_child(world.layout.root, FULL_DISK)
    assert done.returncode == 7, done.stderr
    assert "no room left for" in done.stdout
    assert "BTCUSDT-trades-2024-01-01.parquet" in done.stdout
    assert world.made == []


KILLED = """
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
world.store(TRADES, JANUARY, random_trades(1000))
"""


def test_a_kill_before_the_rename_leaves_only_what_the_next_run_sweeps(world: World) -> None:
    assert run_child(world.layout.root, KILLED).returncode == -signal.SIGKILL
    (left,) = world.made
    assert left.startswith(".BTCUSDT-trades-2024-01-01.parquet.")
    living = world.layout.processed_folder(TRADES) / f".BTCUSDT-trades-2024-02.parquet.{os.getppid()}.tmp"
    living.write_bytes(b"somebody is writing this")
    assert world.storage.sweep() == 1
    assert world.made == [living.name]


def test_sweep_takes_what_the_dead_left_and_nothing_else(world: World) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder, extracted = world.layout.processed_folder(TRADES), world.layout.root / "extracted/um"
    swept = [folder / f".a.parquet.{dead.pid}.tmp", extracted / f".a.csv.{dead.pid}.tmp", folder / f".b.{10**30}.tmp"]
    kept = [folder / "notes.tmp", folder / ".notes.tmp", folder / f"a.{dead.pid}.tmp", folder / ".a.parquet.1.tmp"]
    for path in [*swept, *kept]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert world.storage.sweep() == len(swept)
    assert world.made == sorted(path.name for path in kept)
    assert world.storage.sweep() == 0


WITHOUT_NUMBA = {
    "no cache": "import numba.core.caching as caching; caching.CacheImpl._locator_classes = []",
    "a full disk": "import numba.core.caching as caching; caching.Cache.save_overload = full",
    "no LLVM": "sys.modules['llvmlite.binding'] = None",
}
READ = """
import logging
def full(*_): raise OSError(28, "No space left on device")
{spoil}
logging.basicConfig(format="%(message)s")
world = World(world.layout.root, StorageSettings(parser="compiled"))
for month in (JANUARY, Period.month(2024, 2)):
    start = month.span.start_us // 1000
    one = world.store(TRADES, month, lines([f"{{n}},0.1,2,3,{{start + n}},true" for n in range(9)]))
    print(one.rows, world.storage.scan(TRADES, month.span).__next__().column("price").to_pylist())
"""


@pytest.mark.parametrize("spoil", WITHOUT_NUMBA)
def test_where_the_compiled_parser_cannot_be_loaded_the_other_one_reads(
    world: World, spoil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(world.layout.root / "cache"))
    done = run_child(world.layout.root, READ.format(spoil=WITHOUT_NUMBA[spoil]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"9 {[0.1] * 9}"] * 2
    assert done.stderr.count("the compiled CSV parser cannot be used, pyarrow reads instead: ") == 1


def test_a_sweep_of_a_new_data_root_finds_nothing(tmp_path: Path) -> None:
    assert World(tmp_path / "new").storage.sweep() == 0


STORE = """
from core.settings import StorageSettings
from core.types import ArchiveFile, FetchedFile, Market, Proof, Series
from core.exchanges.binance.urls import key_of
path = world.layout.raw(TRADES, JANUARY)
file = ArchiveFile(TRADES, JANUARY, key_of(TRADES, JANUARY), path.stat().st_size, "e", None, "")
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
for parser in ("arrow", "compiled"):  # both are loaded before memory is looked at
    world = World(Path(sys.argv[1]), StorageSettings(parser=parser))
    world.store(Series(Market.UM, "trades", "ETHUSDT"), JANUARY, lines([trade_line(1)]))
Path("/proc/self/clear_refs").write_text("5")
before = resident()
(partition,) = world.storage.store([FetchedFile(file, path, file.size, "5" * 64, Proof.UNVERIFIED)]).partitions
peak = next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(partition.rows, peak - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_file(world: World) -> None:
    body = b"".join(
        b"%d,42000.%d,0.%03d,210.0005,%d,true\n" % (n, n % 10, n % 1000, FIRST_MS + n) for n in range(3_000_000)
    )
    world.fetched(TRADES, JANUARY, body)
    done = run_child(world.layout.root, STORE)
    assert done.returncode == 0, done.stderr
    rows, grown = map(int, done.stdout.split())
    assert rows == 3_000_000
    assert len(body) > 110_000_000
    assert grown < 170_000_000  # about 90 MB at 1, 3 and 9 million rows; CSV and rows together would be 240 MB


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux's /proc says whether a process has ended")
def test_a_process_has_ended_before_anybody_takes_note_of_it(world: World) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays there as a name
        left = world.layout.root / "processed" / f".what.parquet.{ended.pid}.tmp"
        left.parent.mkdir(parents=True, exist_ok=True)
        left.touch()
        assert world.storage.sweep() == 1
    assert not left.exists()
