"""What is stored is found and read: the right files, the right rows, and a clear word about what is neither."""

import errno
import os
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import kline_csv
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from storage_world import FIRST_MS, JANUARY, KLINES, NEW_YEAR, TRADES, YEAR, World, lines, run_child, trade_line

from core.datasets import DATASETS
from core.errors import StorageError
from core.settings import StorageSettings
from core.storage.footer import facts_of
from core.storage.formats import parquet
from core.storage.schema import schema_of
from core.types import Market, Period, Proof, Series, Source, Span


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_strangers_in_the_folder_are_ignored(world: World) -> None:
    february = Period.day(date(2024, 2, 1))
    world.store(KLINES, february, kline_csv(rows=24, start_ms=1_706_745_600_000))
    world.store(KLINES, JANUARY, kline_csv(rows=744))
    folder = world.layout.processed_folder(KLINES)
    (folder / "notes.txt").write_text("mine")
    (folder / f".BTCUSDT-1h-2024-03.parquet.{os.getpid()}.tmp").write_text("half")
    (folder / "ETHUSDT-1h-2024-03.parquet").write_text("stranger")
    (folder / "BTCUSDT-1h-2024-01-05.parquet").write_text("no partition of candles is a day")
    assert [part.period for part in world.storage.partitions(KLINES)] == [YEAR, Period.month(2024, 2)]
    later = Span.of_days(date(2025, 2, 1), date(2025, 2, 2))
    assert world.storage.partitions(KLINES, later) == ()
    assert world.storage.partitions(Series(Market.UM, "klines", "NOSUCH", "1h")) == ()


def test_only_series_are_series(world: World) -> None:
    world.store(KLINES, JANUARY, kline_csv())
    world.store(TRADES, JANUARY, lines([trade_line(1)]))
    strangers = ["processed/bars/dollar-1/um/BTCUSDT", "processed/um/klines/EMPTY/1h", "processed/um/klines/a.b/1h"]
    for name in strangers:
        (world.layout.root / name).mkdir(parents=True)
    (world.layout.root / "processed/bars/dollar-1/um/BTCUSDT/x.parquet").write_bytes(b"bars")
    assert world.storage.series() == (KLINES, TRADES)
    assert world.storage.series(Market.UM, "trades") == (TRADES,)
    assert world.storage.series(Market.SPOT) == ()
    (world.layout.root / "processed/spot/funding_rate/BTCUSDT").mkdir(parents=True)
    (world.layout.root / "processed/spot/funding_rate/BTCUSDT/BTCUSDT-fundingRate-2024-01.parquet").write_bytes(b"")
    (world.layout.root / "processed/cm").write_text("a file where a folder should be")
    assert world.storage.series() == (KLINES, TRADES)


def test_a_file_that_is_no_partition_is_named_with_the_remedy(world: World) -> None:
    path = world.store(KLINES, JANUARY, kline_csv()).path
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(StorageError, match=r"BTCUSDT-1h-2024\.parquet is no partition of ours .* delete it"):
        world.storage.partitions(KLINES)


def test_a_partition_of_something_else_is_named(world: World) -> None:
    stored = world.store(KLINES, JANUARY, kline_csv()).path
    right = pq.ParquetFile(stored).read()
    facts = right.schema.metadata
    for name, said in [
        ("series", "its series is um/klines/ETHUSDT/1h, not um/klines/BTCUSDT/1h"),
        ("period", "its period is 2023, not 2024"),
        ("schema_version", "its schema_version is 0, not 2"),
        ("rows", "3 rows, but its footer says 7, and 3 by source"),
        ("sources", "Expecting value"),
    ]:
        wrong = {"series": "um/klines/ETHUSDT/1h", "period": "2023", "schema_version": "0", "rows": "7"}.get(name, "x")
        pq.write_table(right.replace_schema_metadata({**facts, f"tapevault.{name}".encode(): wrong}), stored)
        with pytest.raises(StorageError) as caught:
            world.storage.partitions(KLINES)
        assert str(caught.value).startswith(f"{stored} is no partition of ours ({said}")
        assert str(caught.value).endswith("; delete it and run the download again")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(40) + b"PAR1", b"not Parquet at all" * 9])
def test_no_content_makes_the_listing_crash(world: World, content: bytes) -> None:
    path = world.store(KLINES, JANUARY, kline_csv()).path
    path.write_bytes(content)
    with pytest.raises(StorageError, match="is no partition of ours"):
        world.storage.partitions(KLINES)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(StorageError, match="is no partition of ours"):
        world.storage.partitions(KLINES)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match="is no partition of ours"):
        world.storage.partitions(KLINES)


def test_a_disk_that_refuses_is_no_reason_to_delete_anything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store(KLINES, JANUARY, kline_csv())

    def refused(path: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(pq, "read_metadata", refused)
    with pytest.raises(StorageError, match="Too many open files") as caught:
        world.storage.partitions(KLINES)
    assert "delete" not in str(caught.value)


def test_a_partition_that_goes_while_it_is_listed_is_not_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [Period.day(date(2024, month, 1)) for month in (1, 2, 3)]
    stored = [world.store(KLINES, day, kline_csv(24, day.span.start_us // 1000)) for day in days]
    read = pq.read_metadata

    def read_while_another_run_deletes(path: Path) -> pq.FileMetaData:
        stored[1].path.unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(pq, "read_metadata", read_while_another_run_deletes)
    assert world.storage.partitions(KLINES) == (stored[0], stored[2])


def test_scan_says_which_file_is_broken_and_gives_what_was_there_when_it_began(world: World) -> None:
    first = world.store(KLINES, JANUARY, kline_csv(rows=744)).path
    second = world.store(KLINES, Period.month(2025, 2), kline_csv(rows=100, start_ms=1_738_368_000_000)).path
    always = Span(0, 2**60)
    rows = world.storage.scan(KLINES, always)
    assert next(rows).num_rows == 744
    second.unlink()
    assert sum(batch.num_rows for batch in rows) == 100
    assert sum(batch.num_rows for batch in world.storage.scan(KLINES, always)) == 744
    whole = first.read_bytes()
    first.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    with pytest.raises(StorageError, match=r"BTCUSDT-1h-2024\.parquet is no partition of ours"):
        list(world.storage.scan(KLINES, always))


@given(start=st.integers(-50, 800), length=st.integers(0, 900))
@hypothesis_settings(max_examples=25, deadline=None)
def test_scan_is_the_span_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, start: int, length: int) -> None:
    world = World(tmp_path_factory.mktemp("scan"), StorageSettings(row_group_rows=100))
    world.store(KLINES, JANUARY, kline_csv(rows=744))
    hour_us = 3_600_000_000
    from_us = FIRST_MS * 1000 + start * hour_us
    batches = list(world.storage.scan(KLINES, Span(from_us, from_us + length * hour_us), ["timestamp", "trades"]))
    found = [count for batch in batches for count in batch.column("trades").to_pylist()]
    assert found == [100 + n for n in range(744) if start <= n < start + length]
    assert all(batch.num_rows <= 100 for batch in batches)


def test_scan_gives_the_rows_of_the_span_in_order(world: World) -> None:
    world.store(KLINES, JANUARY, kline_csv(rows=744))
    world.store(KLINES, Period.month(2024, 2), kline_csv(rows=100, start_ms=1_706_745_600_000))
    span = Span((FIRST_MS + 700 * 3_600_000) * 1000, (1_706_745_600_000 + 10 * 3_600_000) * 1000)
    batches = list(world.storage.scan(KLINES, span, ["trades"]))
    assert [name for batch in batches for name in batch.schema.names] == ["trades"] * len(batches)
    counts = [count for batch in batches for count in batch.column("trades").to_pylist()]
    assert counts == [100 + n for n in range(700, 744)] + [100 + n for n in range(10)]


def test_removed_is_gone(world: World) -> None:
    partition = world.store(KLINES, JANUARY, kline_csv())
    assert world.storage.stamps(KLINES) == {YEAR: partition.stamp}
    world.storage.remove(partition)
    assert world.storage.stamps(KLINES) == {}
    assert world.storage.partitions(KLINES) == ()


SCAN = """
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
Path("/proc/self/clear_refs").write_text("5")
before, rows = peak(), 0
for batch in world.storage.scan(TRADES, Span(0, 2**60)):
    rows += batch.num_rows
print(rows, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_memory_of_a_scan_does_not_grow_with_the_file(world: World) -> None:
    group, groups = 131_072, 48
    path = world.layout.processed(TRADES, NEW_YEAR)
    path.parent.mkdir(parents=True)
    chance = np.random.default_rng(5)
    writer = parquet.Writer(path, DATASETS["trades"], Market.UM, group)
    schema = schema_of(DATASETS["trades"], Market.UM)
    for number in range(groups):
        ids = np.arange(number * group, (number + 1) * group)
        prices, quantities = np.round(chance.normal(42000, 50, group), 1), np.round(chance.exponential(0.1, group), 3)
        columns = {
            "timestamp": pa.array(FIRST_MS * 1000 + ids * 1000).cast(pa.timestamp("us", tz="UTC")),
            "id": pa.array(ids),
            "price": pa.array(prices),
            "qty": pa.array(quantities),
            "quote_qty": pa.array(prices * quantities),
            "is_buyer_maker": pa.array(chance.random(group) < 0.5),
        }
        writer.write(pa.RecordBatch.from_pydict(columns, schema))
    source = Source("key", NEW_YEAR, "5" * 64, Proof.UNVERIFIED, "ms", group * groups, 0, 1)
    writer.close(facts_of(TRADES, NEW_YEAR, [source]))
    done = run_child(world.layout.root, SCAN)
    assert done.returncode == 0, done.stderr
    rows, grown = map(int, done.stdout.split())
    assert rows == group * groups
    assert path.stat().st_size > 55_000_000
    assert grown < 75_000_000  # about 45 MB; with the whole file read ahead it is about 100 MB
