"""Partitions merged and split again: the same rows, proved, at every moment, whatever comes in between."""

import hashlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import ROOT
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_storage_manager import World as Disk
from test_storage_manager import lines

from core.datasets import DATASETS
from core.download.tracker import DownloadTracker
from core.exchanges.binance.urls import key_of
from core.jobs.optimize import Optimizer, Outcome
from core.settings import Settings, StorageSettings
from core.storage.digest import Digest
from core.storage.footer import facts_of
from core.storage.output import Output
from core.storage.schema import schema_of
from core.storage.survey import survey
from core.types import ArchiveFile, Cadence, FetchedFile, Market, Period, Proof, Series, Source, Span, Stored
from loader import BacktestDataLoader

pytestmark = pytest.mark.filterwarnings("ignore::loader.missing.MissingDataWarning")  # more is asked for than there is

TRADES = Series(Market.UM, "trades", "BTCUSDT")
KLINES = Series(Market.UM, "klines", "BTCUSDT", "1h")
SECONDS = Series(Market.SPOT, "klines", "BTCUSDT", "1s")
DEPTH = Series(Market.UM, "book_depth", "BTCUSDT")
ALL = (TRADES, KLINES, SECONDS, DEPTH)
ALWAYS = Span(0, 2**60)
LATER = date(2026, 6, 1)
HUGE = 10**12
GROUP_ROWS = 5

Row = tuple[Any, ...]


def day(text: str) -> Period:
    return Period.day(date.fromisoformat(text))


def days_of(period: Period) -> Iterator[date]:
    for number in range((period.last - period.first).days + 1):
        yield period.first + timedelta(days=number)


@dataclass
class World:
    """A data folder, its catalog, and what has been published for it: rows say by which archive they came.

    `published` has by series and period the price, which differs for each archive and revision, and the days with rows.
    """

    root: Path
    today: date = LATER
    published: dict[tuple[Series, Period], tuple[float, tuple[date, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.disk = Disk(self.root, StorageSettings(csv_datasets=(), row_group_rows=GROUP_ROWS, parser="arrow"))
        self.tracker = DownloadTracker(self.disk.layout.database)

    def fetched(self, series: Series, period: Period, price: float, days: tuple[date, ...] = ()) -> FetchedFile:
        """The archive of a period, published (again) at this price, with rows of all its days or of some."""
        days = days or tuple(days_of(period))
        self.published[series, period] = price, days
        rows = [_csv(series, row) for one in days for row in _rows(one, price)]
        path = self.disk.layout.raw(series, period)
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo(f"{path.stem}.csv"), lines(rows))  # of 1980, whenever this is
        content = path.read_bytes()
        file = ArchiveFile(series, period, key_of(series, period), len(content), "e", None, "")
        return FetchedFile(file, path, file.size, hashlib.sha256(content).hexdigest(), Proof.SHA256_BY_ETAG)

    def put(self, series: Series, period: Period, price: float, days: tuple[date, ...] = ()) -> Stored:
        stored = self.disk.storage.store([self.fetched(series, period, price, days)])
        assert not stored.refused
        self.tracker.enter(stored.partitions, stored.removed)
        return stored

    def optimize(self, series: Series, most_bytes: int = HUGE) -> Outcome:
        outcome = Outcome()
        optimizer = Optimizer(self.disk.storage, self.disk.layout, GROUP_ROWS, most_bytes, self.today)
        optimizer.run(series, self.tracker, outcome)
        return outcome

    def truth(self, series: Series) -> list[Row]:
        """The rows that should be there: a day's own where its month has the same time, in order."""
        mine = {period: what for (one, period), what in self.published.items() if one == series}
        longest_first = sorted(mine.items(), key=lambda item: item[0].cadence is Cadence.DAILY)
        return sorted(
            dict(row for _, (price, days) in longest_first for one in days for row in _rows(one, price)).items()
        )

    def rows(self, series: Series) -> list[Row]:
        """What a scan gives, as it comes."""
        name = {"trades": "price", "klines": "close", "book_depth": "depth"}[series.dataset]
        key = "id" if series == TRADES else "timestamp"
        table = pa.Table.from_batches(list(self.disk.storage.scan(series, ALWAYS, [key, name])))
        places = table[key].cast(pa.int64()).to_pylist()
        if series != TRADES:
            places = [place // 1_000_000 for place in places]
        return list(zip(places, table[name].to_pylist(), strict=True))

    def names(self, series: Series) -> list[str]:
        return sorted(period.label for period in self.disk.storage.stamps(series))

    def contents(self, series: Series) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.disk.layout.processed_folder(series).iterdir()}

    def assert_right(self, series: Series) -> None:
        assert self.rows(series) == self.truth(series)
        found = survey(self.disk.layout, series)
        assert (found.covered, found.damaged) == ((), {})
        known = self.tracker.catalog(self.disk.layout, series)
        here = sorted(found.partitions, key=lambda p: p.period.label)
        assert [asdict(each) for each in known] == [asdict(each) for each in here]  # with writer and stamp


def _rows(one: date, price: float) -> list[Row]:
    """Rows of a day: their place (seconds since 1970, which serve as ids too) and their price."""
    start = int(datetime(one.year, one.month, one.day, tzinfo=UTC).timestamp())
    return [(start + 3600 * hour, price + hour / 64) for hour in range(0, 21, 3)]


def _csv(series: Series, row: Row) -> str:
    place, price = row
    if series == TRADES:
        late = 4000 if place % 86_400 == 3600 * 3 else 0  # the second trade of a day is a straggler of the day before
        return f"{place},{price},1,1,{(place - late * 3) * 1000},true"
    if series == DEPTH:
        return f"{datetime.fromtimestamp(place, UTC):%Y-%m-%d %H:%M:%S},1,{price},1"
    return f"{place * 1000},1,1,1,{price},1,{place * 1000 + 999},1,1,1,1,0"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


JANUARY, FEBRUARY = Period.month(2025, 1), Period.month(2025, 2)
FIRST, SECOND, THIRD = day("2025-01-01"), day("2025-01-02"), day("2025-01-03")


# merging


def test_days_become_a_month_and_months_a_year_as_far_as_they_fit(world: World) -> None:
    for one in (FIRST, SECOND, day("2025-03-01"), day("2025-03-02")):
        world.put(TRADES, one, 100)
    size = sum(map(len, world.contents(TRADES).values()))
    assert [merge.period for merge in world.optimize(TRADES, size - 1).merges] == [JANUARY, Period.month(2025, 3)]
    assert world.names(TRADES) == ["2025-01", "2025-03"]
    world.assert_right(TRADES)
    (merge,) = world.optimize(TRADES).merges
    assert (merge.period.label, merge.files, merge.rows) == ("2025", 2, 28)
    assert world.names(TRADES) == ["2025"]
    assert merge.bytes_after == len(world.contents(TRADES)["BTCUSDT-trades-2025.parquet"]) < merge.bytes_before
    world.assert_right(TRADES)
    assert world.optimize(TRADES).merges == []


def test_months_of_daily_archives_go_into_the_file_of_their_year(world: World) -> None:
    for period in (JANUARY, day("2025-02-01"), day("2025-02-03"), Period.month(2025, 4), day("2024-12-31")):
        world.put(KLINES, period, 100)
    assert world.names(KLINES) == ["2024-12", "2025", "2025-02"]
    world.optimize(KLINES)
    assert world.names(KLINES) == ["2024-12", "2025"]
    (whole,) = world.disk.storage.partitions(KLINES, Span.of_days(date(2025, 5, 1), date(2025, 5, 1)))
    assert [source.period.label for source in whole.sources] == ["2025-01", "2025-02-01", "2025-02-03", "2025-04"]
    world.assert_right(KLINES)


@pytest.mark.parametrize("series", ALL, ids=lambda series: f"{series.dataset}-{series.interval}")
def test_merged_in_any_order_the_bytes_are_the_same(tmp_path: Path, series: Series) -> None:
    archives = [day(f"2025-{month:02}-{number:02}") for month in (1, 2) for number in (1, 2, 5)]
    sizes = [20_000, HUGE, 9_000]
    found = []
    for seed in range(4):
        chance = random.Random(seed)
        world = World(tmp_path / str(seed))
        for archive in chance.sample(archives, len(archives)):
            world.put(series, archive, archive.first.day)
            if chance.random() < 0.4:
                world.optimize(series, chance.choice(sizes))
        world.optimize(series)
        world.assert_right(series)
        found.append(world.contents(series))
    assert list(found[0]) == [f"{world.disk.layout.processed(series, Period.parse('2025')).name}"]
    assert all(each == found[0] for each in found)


def test_only_what_is_over_is_merged(world: World) -> None:
    for one in (FIRST, SECOND):
        world.put(TRADES, one, 100)
    for today, names in [
        (date(2025, 1, 31), ["2025-01-01", "2025-01-02"]),
        (date(2025, 2, 1), ["2025-01"]),
        (date(2025, 12, 31), ["2025-01", "2025-12-01"]),
        (date(2026, 1, 1), ["2025"]),
    ]:
        world.today = today
        world.optimize(TRADES)
        if today.month == 2:
            world.put(TRADES, day("2025-12-01"), 100)
        assert world.names(TRADES)[: len(names)] == names
        world.assert_right(TRADES)


def test_the_footer_and_the_catalog_say_where_every_row_came_from(world: World) -> None:
    stored = [world.put(TRADES, one, 100) for one in (FIRST, JANUARY)][-1]
    parts = [source for partition in stored.partitions for source in partition.sources]
    assert len(parts) == 31
    world.optimize(TRADES)
    (whole,) = world.disk.storage.partitions(TRADES)
    assert whole.sources == tuple(parts)
    assert (whole.rows, whole.first_us) == (31 * 7, min(part.first_us for part in parts))
    assert world.tracker.catalog(world.disk.layout) == [whole]
    archive = world.fetched(TRADES, JANUARY, 100).file
    assert world.tracker.homes([archive]) == {archive.key: [(TRADES, JANUARY.within(Cadence.YEARLY))]}


def test_a_file_that_turns_out_too_large_is_not_kept(world: World) -> None:
    for one in (FIRST, SECOND, day("2025-02-01"), day("2025-02-02")):
        world.put(TRADES, one, 100)
    before = world.contents(TRADES)
    finish = Output.finish

    def swollen(self: Output, facts: dict[str, str]) -> None:
        finish(self, {**facts, "padding": "x" * sum(map(len, before.values()))})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Output, "finish", swollen)
        outcome = world.optimize(TRADES, sum(map(len, before.values())))
    assert (outcome.merges, outcome.failures) == ([], {})
    assert world.contents(TRADES) == before


# the proof


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("value", "column price: other values"),
        ("order", "column timestamp: other values"),
        ("row", "13 rows, not 14"),
        ("footer", "its footer names other sources"),
        ("cut", "it cannot be read back"),
    ],
)
def test_what_was_not_written_as_it_was_read_is_thrown_away(world: World, damage: str, said: str) -> None:
    """A disk that keeps something else than it was given."""
    for one in (FIRST, SECOND):
        world.put(TRADES, one, 100)
    before = world.contents(TRADES)
    finish = Output.finish

    def finish_and_damage(self: Output, facts: dict[str, str]) -> None:
        finish(self, facts)
        table = pq.read_table(self.temporary)
        kept = {name: value for name, value in pq.read_metadata(self.temporary).metadata.items() if b"." in name}
        prices = table["price"].to_pylist()
        if damage == "cut":
            self.temporary.write_bytes(self.temporary.read_bytes()[:-9])
            return
        if damage == "value":
            prices[4] = np.nextafter(prices[4], 0)
        elif damage == "footer":
            name = b"tapevault.sources"
            kept[name] = kept[name].replace(b'"duplicates": 0', b'"duplicates": 1', 1)
        table = table.set_column(table.schema.get_field_index("price"), table.schema.field("price"), [prices])
        if damage == "order":
            table = table.take([1, 0, *range(2, 14)])
        elif damage == "row":
            table = table.slice(1)
            kept[b"tapevault.rows"] = b"13"
            kept[b"tapevault.sources"] = kept[b"tapevault.sources"].replace(b'"rows": 7', b'"rows": 6', 1)
        pq.write_table(table.replace_schema_metadata(kept), self.temporary)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Output, "finish", finish_and_damage)
        outcome = world.optimize(TRADES)
    assert outcome.merges == []
    assert any(
        f"um/trades/BTCUSDT 2025: what was written is not what was read ({said}" in why for why in outcome.failures
    )
    assert world.contents(TRADES) == before
    world.assert_right(TRADES)
    assert len(world.optimize(TRADES).merges) == 1


def test_a_damaged_partition_is_named_and_the_others_are_merged(world: World) -> None:
    for month in (1, 2, 3, 4):
        for number in (1, 2):
            world.put(TRADES, day(f"2025-{month:02}-{number:02}"), 100)
    paths = [world.disk.layout.processed(TRADES, day(f"2025-{month:02}-02")) for month in (2, 3)]
    whole = paths[0].read_bytes()
    paths[0].write_bytes(whole[:4] + bytes(200) + whole[204:])
    paths[1].write_bytes(b"no Parquet")
    outcome = world.optimize(TRADES)
    assert sorted(str(path) for path in paths) == sorted(why.split(" is no ")[0] for why in outcome.failures)
    assert world.names(TRADES) == ["2025-01", "2025-02-01", "2025-02-02", "2025-03-01", "2025-03-02", "2025-04"]
    assert (outcome.files_before, outcome.files_after) == (8, 6)


def test_a_time_that_two_files_have_is_refused(world: World, tmp_path: Path) -> None:
    """Nothing of ours makes this; somebody copied a file."""
    for one in (FIRST, day("2025-02-01")):
        world.put(KLINES, one, 100)
    world.optimize(KLINES)
    other = World(tmp_path / "other")
    for one in (FIRST, SECOND):
        other.put(KLINES, one, 100)
    copied = other.disk.layout.processed(KLINES, JANUARY)
    shutil.copy(copied, world.disk.layout.processed_folder(KLINES))
    before = world.contents(KLINES)
    (why,) = world.optimize(KLINES).failures
    assert "BTCUSDT-1h-2025.parquet and " in why
    assert why.endswith(
        "BTCUSDT-1h-2025-01.parquet both have rows of 2025-01-01; delete one and run the download again"
    )
    assert world.contents(KLINES) == before


VALUES = st.fixed_dictionaries(
    {
        "number": st.integers(-(2**63), 2**63 - 1),
        "double": st.floats() | st.none(),
        "word": st.text(max_size=5) | st.none(),
        "truth": st.booleans() | st.none(),
        "time": st.datetimes(timezones=st.just(UTC)),
    }
)
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("double", pa.float64()),
        ("word", pa.string()),
        ("truth", pa.bool_()),
        ("time", pa.timestamp("us", tz="UTC")),
    ]
)


def digest_of(table: pa.Table, cuts: list[int]) -> Digest:
    digest = Digest()
    places = sorted({0, len(table), *(cut % (len(table) + 1) for cut in cuts)})
    for start, end in pairwise(places):
        digest.add(table.combine_chunks().slice(start, end - start).to_batches()[0])
    return digest


def bits(value: object) -> object:
    return struct.pack("d", value) if isinstance(value, float) else value


@given(rows=st.lists(VALUES, min_size=1, max_size=12), data=st.data())
@hypothesis_settings(max_examples=200, deadline=None)
def test_a_digest_is_of_the_rows_and_not_of_how_they_are_cut(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    cuts = st.lists(st.integers(0, 12))
    table = pa.Table.from_pylist(rows, SCHEMA)
    whole = digest_of(table, data.draw(cuts))
    assert whole.difference(digest_of(table, data.draw(cuts))) == ""
    place, name = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.sampled_from(SCHEMA.names))
    other = [dict(row) for row in rows]
    other[place][name] = data.draw(VALUES)[name]
    difference = whole.difference(digest_of(pa.Table.from_pylist(other, SCHEMA), data.draw(cuts)))
    if bits(other[place][name]) == bits(rows[place][name]):
        assert difference == ""
    else:
        assert difference.startswith(f"column {name}: ")
    if len(rows) > 1:
        assert "rows, not" in whole.difference(digest_of(table.slice(1), []))


# what comes later


def test_a_partition_of_an_earlier_version_is_left_until_it_is_made_again(world: World) -> None:
    for one in (FIRST, SECOND, day("2025-03-01"), day("2025-03-02")):
        world.put(TRADES, one, 100)
    first, old = (world.disk.layout.processed(TRADES, period) for period in (FIRST, JANUARY))
    table = pq.ParquetFile(first).read()
    pq.write_table(table.replace_schema_metadata(table.schema.metadata | {b"tapevault.schema_version": b"1"}), old)
    before = old.read_bytes()
    (said,) = world.optimize(TRADES).failures
    assert said.startswith(f"{old} is no partition of ours (its schema_version is 1, not 2)")
    assert world.names(TRADES) == ["2025-01", "2025-01-01", "2025-01-02", "2025-03"]
    assert old.read_bytes() == before
    world.put(TRADES, JANUARY, 200)
    assert not old.exists()
    assert world.optimize(TRADES).failures == {}
    assert world.names(TRADES) == ["2025"]
    world.assert_right(TRADES)


def test_what_is_in_place_leaves_a_merged_partition_alone(world: World) -> None:
    world.put(TRADES, FEBRUARY, 100, tuple(days_of(FEBRUARY))[:3])
    for one in (FIRST, SECOND):
        world.put(TRADES, one, 100)
    world.optimize(TRADES)
    before = world.contents(TRADES)
    stored = world.put(TRADES, SECOND, 100)
    assert [partition.period.label for partition in stored.partitions] == ["2025"]
    assert stored.sources[world.fetched(TRADES, SECOND, 100).file.key].rows == 7
    assert world.contents(TRADES) == before
    within = world.fetched(TRADES, day("2025-02-02"), 100)
    assert world.disk.storage.held([within]).sources[within.file.key].rows == 0
    assert world.disk.storage.store([within]).sources[within.file.key].rows == 0
    assert world.rows(TRADES) == world.truth(TRADES)


@pytest.mark.parametrize("series", ALL, ids=lambda series: f"{series.dataset}-{series.interval}")
@pytest.mark.parametrize("late", ["2025-01-02", "2025-01-03", "2025-02-07", "2025-01"])
def test_a_late_or_republished_archive_finds_its_place(world: World, series: Series, late: str) -> None:
    if series == DEPTH and late == "2025-01":
        pytest.skip("published by the day only")
    for one in (FIRST, SECOND, day("2025-02-05"), day("2025-02-06")):
        world.put(series, one, 100)
    world.optimize(series)
    assert world.names(series) == ["2025"]
    before = world.rows(series)
    stored = world.put(series, Period.parse(late), 200)
    assert world.rows(series) != before
    world.assert_right(series)
    assert {(series, partition.period) for partition in stored.partitions}.isdisjoint(stored.removed)
    world.optimize(series)
    assert world.names(series) == ["2025"]
    world.assert_right(series)


def test_a_day_that_the_month_lacks_is_stored_beside_it(world: World) -> None:
    lacking = tuple(one for one in days_of(JANUARY) if one.day != 11)
    world.put(TRADES, JANUARY, 100, lacking)
    world.optimize(TRADES)
    world.put(TRADES, day("2025-01-11"), 200)
    world.assert_right(TRADES)
    world.optimize(TRADES)
    (whole,) = world.disk.storage.partitions(TRADES)
    assert [source.period for source in whole.sources] == [JANUARY] * 10 + [day("2025-01-11")] + [JANUARY] * 20
    world.put(TRADES, day("2025-01-12"), 300)
    world.assert_right(TRADES)
    assert len(world.names(TRADES)) == 31, "the month has that day otherwise"
    world.optimize(TRADES)
    world.assert_right(TRADES)
    (whole,) = world.disk.storage.partitions(TRADES)
    days = [source.period for source in whole.sources]
    assert days == [JANUARY] * 10 + [day("2025-01-11"), JANUARY, day("2025-01-12")] + [JANUARY] * 19
    assert [(source.added, source.changed) for source in whole.sources if source.is_beside] == [(0, 7)]
    world.put(TRADES, day("2025-01-11"), 250)
    world.assert_right(TRADES)
    assert len(world.names(TRADES)) == 31


@pytest.mark.parametrize("series", ALL, ids=lambda series: f"{series.dataset}-{series.interval}")
def test_splitting_gives_back_the_bytes_that_were_merged(tmp_path: Path, series: Series) -> None:
    world, other = World(tmp_path / "merged"), World(tmp_path / "never")
    archives = [day("2025-03-01"), day("2025-03-02"), day("2025-04-09")] + [JANUARY] * (series != DEPTH)
    for archive in archives:
        for each in (world, other):
            each.put(series, archive, 100)
    world.optimize(series)
    assert world.names(series) == ["2025"]
    for each in (world, other):
        each.put(series, day("2025-03-07"), 100)
    assert world.contents(series) == other.contents(series)
    world.assert_right(series)


def test_a_refused_archive_changes_no_row(world: World) -> None:
    for one in (FIRST, SECOND):
        world.put(TRADES, one, 100)
    world.optimize(TRADES)
    bad = world.disk.fetched(TRADES, SECOND, b"no,such,line\n")
    stored = world.disk.storage.store([bad])
    assert list(stored.refused) == [bad.file.key]
    world.tracker.enter(stored.partitions, stored.removed)
    world.assert_right(TRADES)


# killed


CHILD = """
import os, signal, sys
sys.path[:0] = ["tests", "tests/core"]
from pathlib import Path
from sqlalchemy import Engine, event
from test_storage_merging import *
world = World(Path(sys.argv[1]))
left = [int(sys.argv[2])]
def die_in_time():
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
def before(call):
    def called(*arguments, **options):
        if str(arguments[-1]).endswith(".parquet"):
            die_in_time()
        return call(*arguments, **options)
    return called
os.replace, os.unlink = before(os.replace), before(os.unlink)
event.listen(Engine, "commit", lambda connection: die_in_time())
"""
OPTIMIZE = "world.optimize(TRADES)"
STORE_LATE = "world.put(TRADES, SECOND, 200)"


def run_child(folder: Path, body: str, point: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", CHILD + body, str(folder), str(point)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def test_killed_while_merging_at_any_moment(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    for one in (FIRST, SECOND, THIRD):
        world.put(TRADES, one, 100)
    shutil.copytree(world.root, tmp_path / "whole")
    assert run_child(tmp_path / "whole", OPTIMIZE, 99) == 0
    wanted = World(tmp_path / "whole").contents(TRADES)
    assert list(wanted) == ["BTCUSDT-trades-2025.parquet"]
    point, truth = 0, world.truth(TRADES)
    while True:
        folder = tmp_path / str(point)
        shutil.copytree(world.root, folder)
        code = run_child(folder, OPTIMIZE, point)
        again = World(folder, published=world.published)
        assert again.rows(TRADES) == truth, point
        with BacktestDataLoader(data_dir=folder) as loader:
            frame = loader.load_data(["BTCUSDT"], "2024-12-30", "2025-01-04", ["trades"])["trades"]
        assert list(zip(frame.id, frame.price, strict=True)) == truth, point
        if code == 0:
            break
        if point % 2:
            again.put(TRADES, SECOND, 100)  # in place: nothing changes
            assert again.rows(TRADES) == truth
        again.disk.storage.sweep()
        again.optimize(TRADES)
        assert again.contents(TRADES) == wanted, point
        again.assert_right(TRADES)
        point += 1
    assert point == 1 + 3 + 1  # before the rename, each removal and the commit


def test_killed_while_a_late_archive_splits_a_merged_partition(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    for one in (FIRST, SECOND, THIRD):
        world.put(TRADES, one, 100)
    world.optimize(TRADES)
    old = world.truth(TRADES)
    shutil.copytree(world.root, tmp_path / "whole")
    world.published[TRADES, SECOND] = 200, (SECOND.first,)
    new = world.truth(TRADES)
    assert run_child(tmp_path / "whole", STORE_LATE, 99) == 0
    wanted = World(tmp_path / "whole").contents(TRADES)
    point = 0
    while True:
        folder = tmp_path / str(point)
        shutil.copytree(world.root, folder)
        code = run_child(folder, STORE_LATE, point)
        again = World(folder, published=dict(world.published))
        assert again.rows(TRADES) in (old, new), point
        if code == 0:
            break
        again.disk.storage.sweep()
        if point % 2:
            again.optimize(TRADES)
            assert again.rows(TRADES) in (old, new), point
        again.put(TRADES, SECOND, 200)
        assert again.rows(TRADES) == new, point
        if not point % 2:
            assert again.contents(TRADES) == wanted, point
        again.optimize(TRADES)
        again.assert_right(TRADES)
        point += 1
    assert point == 3 + 1 + 1 + 1  # before each rename of a day, the removal, the new day's rename, the commit


# whatever happens


@st.composite
def happenings(draw: st.DrawFn) -> tuple[str, Any]:
    kind = draw(st.sampled_from(["put", "put", "put", "again", "optimize", "optimize", "cut"]))
    month = draw(st.integers(1, 2))
    number = draw(st.integers(1, 5))
    return kind, (
        Period.month(2025, month) if draw(st.integers(0, 3)) == 0 else Period.day(date(2025, month, number)),
        draw(st.sets(st.integers(1, 5), min_size=1)),
        draw(st.sampled_from([1, 9_000, 14_000, 25_000, HUGE, HUGE])),
        draw(st.sampled_from([date(2025, 2, 3), LATER, LATER])),
        draw(st.integers(0, 2**16)),
    )


def happen(world: World, series: Series, kind: str, what: tuple[Any, ...], price: float) -> None:
    period, numbers, most_bytes, today, seed = what
    is_month = period.cadence is Cadence.MONTHLY
    if kind in ("put", "again"):
        if is_month and series == DEPTH:
            return
        known = world.published.get((series, period))
        if known is not None and kind == "put":
            price = known[0]
        days = tuple(date(2025, period.first.month, number) for number in sorted(numbers)) if is_month else ()
        world.put(series, period, price, known[1] if known else days)
        return
    world.today = today
    before, known = world.contents(series) if world.published else {}, world.tracker.catalog(world.disk.layout, series)
    world.optimize(series, most_bytes)
    if kind == "optimize":
        world.assert_right(series)
        return
    gone = sorted(set(before) - set(world.contents(series)))  # as if killed while it removed the first of them
    chance = random.Random(seed)
    for name in chance.sample(gone, chance.randint(0, len(gone))):
        (world.disk.layout.processed_folder(series) / name).write_bytes(before[name])
    now = {partition.period for partition in world.tracker.catalog(world.disk.layout, series)}
    world.tracker.enter(known, [(series, period) for period in now - {each.period for each in known}])


@pytest.mark.parametrize("series", ALL, ids=lambda series: f"{series.dataset}-{series.interval}")
@given(happened=st.lists(happenings(), min_size=2, max_size=10))
@hypothesis_settings(max_examples=12, deadline=None)
def test_whatever_happens_every_row_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, series: Series, happened: list[tuple[str, Any]]
) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    world.put(series, FIRST, 1)
    for number, (kind, what) in enumerate(happened):
        happen(world, series, kind, what, 1000.0 * (number + 2))
        assert world.rows(series) == world.truth(series), (number, kind, what)
    if series in (TRADES, KLINES):
        settings = Settings().replace(paths={"data": world.root}, loader={"threads": 1})
        with BacktestDataLoader(settings) as loader:
            frame = loader.load_data(["BTCUSDT"], "2024-12-30", "2025-04-01", [series.dataset])[series.dataset]
        price, key = (frame.price, frame.id) if series == TRADES else (frame.close, None)
        places = [round(moment.timestamp()) for moment in frame.timestamp] if key is None else key.tolist()
        assert list(zip(places, price.tolist(), strict=True)) == world.truth(series)
    world.optimize(series)
    world.assert_right(series)
    world.tracker.close()


MEASURE = """
import sys
from pathlib import Path
from core.storage.merging import merged, opened
from test_storage_merging import *
folder = Path(sys.argv[1])
world = World(folder)
world.disk = Disk(folder, StorageSettings(csv_datasets=()))
pieces = [day(f"2025-01-{number:02}") for number in range(1, 29)]
for piece in pieces:
    write_busy_day(world, piece)
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
for work in (lambda: merged(world.disk.layout, JANUARY, world.disk.storage.partitions(TRADES), 131_072),
             lambda: opened(world.disk.layout, world.disk.storage.partitions(TRADES), 131_072)):
    pa.default_memory_pool().release_unused()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    work()
    peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(peak - before)
print(sum(batch.num_rows for batch in world.disk.storage.scan(TRADES, ALWAYS, ["id"])))
"""
BUSY = 200_000


def write_busy_day(world: World, period: Period) -> None:
    """A partition of many trades, written without the way through an archive."""
    chance = np.random.default_rng(period.first.day)
    times = period.span.start_us + np.arange(BUSY) * (86_400_000_000 // BUSY)
    columns = {
        "timestamp": pa.array(times).cast(pa.timestamp("us", tz="UTC")),
        "id": np.arange(BUSY) + period.first.day * BUSY,
        "price": np.round(95_000 + chance.normal(size=BUSY).cumsum(), 1),
        "qty": np.round(chance.exponential(size=BUSY), 3),
        "quote_qty": chance.random(BUSY),
        "is_buyer_maker": chance.random(BUSY) < 0.5,
    }
    source = Source("key", period, "", Proof.UNVERIFIED, "ms", BUSY, int(times[0]), int(times[-1]))
    path = world.disk.layout.processed(TRADES, period)
    with Output("parquet", path, TRADES, 131_072) as output:
        output.write(pa.RecordBatch.from_pydict(columns, schema_of(DATASETS["trades"], Market.UM)))
        output.finish(facts_of(TRADES, period, [source]))
        output.publish()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_what_is_merged(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests:{ROOT}/tests/core"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    merging, splitting, rows = map(int, done.stdout.split())
    assert rows == 28 * BUSY
    assert rows * 41 > 220_000_000
    assert max(merging, splitting) < 150_000_000  # about 85 MB at any number of rows
