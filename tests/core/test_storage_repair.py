"""Files out of order, put right in bounded memory: as one stable sort of all rows would do it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from storage_world import FIRST_MS, JANUARY, TRADES, World, lines, run_child, trade_line

from core.datasets import DATASETS
from core.errors import DiskFull, MalformedArchive
from core.settings import QualitySettings, StorageSettings
from core.storage import repair, runs
from core.storage.draft import sweep
from core.storage.manager import StorageManager
from core.storage.order import KeyConflict, Repairs
from core.storage.repair import put_right
from core.storage.runs import Runs
from core.storage.schema import schema_of

Row = tuple[Any, ...]
KINDS = ("metrics", "liquidation_snapshot", "book_depth", "agg_trades")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def batches_of(name: str, rows: list[tuple[int, int]], cut: int) -> list[pa.RecordBatch]:
    """Rows by key and content, in batches of `cut` rows; a content of 0 is null where a column may be."""
    dataset = DATASETS[name]
    schema = schema_of(dataset, next(iter(dataset.columns)))
    arrays = []
    for field in schema:
        values: list[Any] = [key if field.name in dataset.key else content for key, content in rows]
        if field.name in dataset.key[1:]:
            values = [-value for value in values]
        if field.nullable:
            values = [value or None for value in values]
        if pa.types.is_string(field.type):
            values = [str(value) for value in values]
        if pa.types.is_boolean(field.type):
            values = [bool(value) for value in values]
        arrays.append(pa.array(values, field.type if not pa.types.is_timestamp(field.type) else pa.int64()))
    whole = pa.RecordBatch.from_arrays(
        [array.cast(f.type) for array, f in zip(arrays, schema, strict=True)], schema=schema
    )
    return [whole.slice(start, cut) for start in range(0, len(rows), cut)]


def by_plain_python(name: str, batches: list[pa.RecordBatch]) -> tuple[list[Row], Repairs, list[int]]:
    """Rows, what it took, and the rows of the file whose key has more than one content."""
    dataset = DATASETS[name]
    table = pa.Table.from_batches(batches)
    rows = list(zip(*(table.column(one).to_pylist() for one in table.column_names), strict=True))
    places = [table.column_names.index(one) for one in dataset.key]
    order = sorted(range(len(rows)), key=lambda row: [rows[row][place] for place in places])
    moved = sum(row != place for place, row in enumerate(order))
    contents: dict[Row, list[int]] = {}
    for row in order:
        contents.setdefault(tuple(rows[row][place] for place in places), []).append(row)
    odd = sorted(row for group in contents.values() if len({rows[one] for one in group}) > 1 for row in group)
    return [rows[group[0]] for group in contents.values()], Repairs(len(rows) - len(contents), moved), odd


def taken(rows: list[pa.RecordBatch]) -> list[Row]:
    table = pa.Table.from_batches(rows)
    return list(zip(*(table.column(one).to_pylist() for one in table.column_names), strict=True))


@pytest.mark.parametrize("name", KINDS)
@given(
    rows=st.lists(st.tuples(st.integers(1, 12), st.sampled_from([5, 5, 5, 5, 5, 5, 0])), min_size=1, max_size=60),
    cut=st.integers(1, 20),
    run_rows=st.integers(1, 25),
    piece_rows=st.integers(1, 6),
)
@hypothesis_settings(max_examples=150, deadline=None)
def test_any_rows_in_runs_of_any_size_are_as_if_sorted_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    rows: list[tuple[int, int]],
    cut: int,
    run_rows: int,
    piece_rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    batches = batches_of(name, rows, cut)
    wanted, took, odd = by_plain_python(name, batches)
    repairs = Repairs()
    with Runs(folder / "x.parquet", DATASETS[name], run_rows, piece_rows) as held:
        held.fill(iter(batches))
        assert len(list(folder.iterdir())) == (len(rows) > run_rows)
        if odd:
            with pytest.raises(KeyConflict, match="x: two different rows with one key") as caught:
                list(put_right(held, DATASETS[name], "x", repairs))
            assert caught.value.rows.tolist() == odd
        else:
            found = list(put_right(held, DATASETS[name], "x", repairs))
            assert (taken(found), repairs) == (wanted, took)
            assert found[0].schema == batches[0].schema
    assert list(folder.iterdir()) == []


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of 50 rows, in pieces of 7."""
    monkeypatch.setattr(repair, "Runs", lambda beside, dataset: Runs(beside, dataset, 50, 7))


def shuffled(count: int) -> list[str]:
    return [trade_line(int(n)) for n in np.random.default_rng(3).permutation(count)]


@pytest.mark.usefixtures("small")
def test_an_archive_in_many_runs_is_stored_as_in_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = shuffled(1000)
    text = lines([*texts, *texts[:300]])
    many = world.store(TRADES, JANUARY, text)
    stored = many.path.read_bytes()
    monkeypatch.setattr(repair, "Runs", Runs)
    one = world.store(TRADES, JANUARY, text)
    assert (one.rows, one.sources[0].duplicates, one.path.read_bytes()) == (1000, 300, stored)
    assert many.sources == one.sources


def leavings(world: World) -> list[Path]:
    return list(world.layout.root.rglob("*.tmp"))


@pytest.mark.usefixtures("small")
def test_a_conflict_or_a_fault_leaves_no_temporary_file(world: World) -> None:
    with pytest.raises(MalformedArchive, match="two different rows with one key"):
        world.store(TRADES, JANUARY, lines([*shuffled(200), trade_line(7, price="9")]))
    assert leavings(world) == []
    with pytest.raises(MalformedArchive, match="line 201: price is 'x'"):
        world.store(TRADES, JANUARY, lines([*shuffled(200), trade_line(7, price="x")]))
    assert (leavings(world), world.made) == ([], [])


@pytest.mark.usefixtures("small")
def test_salvage_finds_all_rows_of_a_conflict_in_whatever_runs_they_are(world: World) -> None:
    world.storage = StorageManager(world.layout, StorageSettings(), QualitySettings(salvage=True))
    texts = [*shuffled(200), trade_line(7, price="9"), trade_line(7), trade_line(8)]
    one = world.store(TRADES, JANUARY, lines(texts))
    assert (one.rows, one.sources[0].quarantined, one.sources[0].duplicates) == (199, 3, 1)
    kept = world.layout.quarantine(TRADES, JANUARY).read_text().splitlines()[1:]
    assert [int(line.partition(",")[0]) for line in kept] == [texts.index(trade_line(7)) + 1, 201, 202]
    assert leavings(world) == []


@pytest.mark.parametrize("call", ["new_file", "open_file"])
@pytest.mark.usefixtures("small")
def test_a_full_disk_is_said_and_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: object) -> None:
        assert len(leavings(world)) >= 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs.pa.ipc, call, full)
    with pytest.raises(DiskFull, match="no room left for"):
        world.store(TRADES, JANUARY, lines(shuffled(200)))
    assert (leavings(world), world.made) == ([], [])


def test_an_early_end_leaves_no_temporary_file(tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from batches_of("metrics", [(9, 5)] * 20, 4)
        raise MalformedArchive("odd")

    with pytest.raises(MalformedArchive), Runs(tmp_path / "x.parquet", DATASETS["metrics"], 5, 2) as held:
        held.fill(failing())
    with Runs(tmp_path / "x.parquet", DATASETS["metrics"], 5, 2) as held:
        held.fill(iter(batches_of("metrics", [(9, 5)] * 20, 4)))
        rows = held.merged()
        next(rows)
        (path,) = tmp_path.iterdir()
    rows.close()
    assert list(tmp_path.iterdir()) == []
    dead = path.with_name(path.name.replace(str(os.getpid()), "99999999"))
    dead.write_bytes(b"")
    assert (sweep(tmp_path), list(tmp_path.iterdir())) == (1, [])


def test_what_was_repaired_in_a_month_is_said_by_each_day_and_counted_once(world: World) -> None:
    day_ms = 86_400_000
    texts = [f"{n},1,1,1,{FIRST_MS + (n - 1) * day_ms},true" for n in range(4)]  # the first one is of the year before
    fetched = world.fetched(TRADES, JANUARY, lines([*texts[:3], texts[3], texts[2], texts[2]]))
    stored = world.storage.store([fetched])
    sources = [source for partition in stored.partitions for source in partition.sources]
    said = {(one.duplicates, one.reordered, one.outside, one.quarantined) for one in sources}
    assert [one.rows for one in sources] == [2, 1, 1]
    assert said == {(2, 3, 1, 0)}
    whole = stored.sources[fetched.file.key]
    assert (whole.rows, whole.duplicates, whole.reordered, whole.outside, whole.quarantined) == (4, 2, 3, 1, 0)


STORE = """
from core.exchanges.binance.urls import key_of
path = world.layout.raw(TRADES, JANUARY)
file = ArchiveFile(TRADES, JANUARY, key_of(TRADES, JANUARY), path.stat().st_size, "e", None, "")
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
for parser in ("arrow", "compiled"):  # both are loaded before memory is looked at
    world = World(Path(sys.argv[1]), StorageSettings(parser=parser))
    world.store(Series(Market.UM, "trades", "ETHUSDT"), JANUARY, lines([trade_line(2), trade_line(1), trade_line(1)]))
Path("/proc/self/clear_refs").write_text("5")
before = resident()
stored = world.storage.store([FetchedFile(file, path, file.size, "5" * 64, Proof.UNVERIFIED)])
assert not stored.refused, stored.refused
(source,) = stored.partitions[0].sources
peak = next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(source.rows, source.duplicates, source.reordered, peak - before, peak)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("kind", ["one line twice", "two halves interleaved"])
def test_memory_of_a_repair_does_not_grow_with_the_file(world: World, kind: str) -> None:
    count = 3_000_000
    numbers = np.arange(count)
    if kind == "two halves interleaved":
        numbers = numbers.reshape(2, -1).T.reshape(-1)
    rows = [b"%d,42000.%d,0.%03d,210.0005,%d,true\n" % (n, n % 10, n % 1000, FIRST_MS + n) for n in numbers.tolist()]
    body = b"".join([*rows, rows[-1]])
    del rows
    world.fetched(TRADES, JANUARY, body)
    done = run_child(world.layout.root, STORE)
    assert done.returncode == 0, done.stderr
    stored, duplicates, moved, grown, peak = map(int, done.stdout.split())
    assert (stored, duplicates) == (count, 1)
    assert moved == (0 if kind == "one line twice" else count - 2)
    assert grown < 170_000_000, (grown, peak)  # about 90 MB, as of a file in order
