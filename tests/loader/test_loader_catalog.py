"""The loader with a status database beside the data: the same rows, fewer footers read, and it writes nothing."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from loader_world import World, hours, made_up, series, us

from core.dates import HOUR_US
from core.download.tracker import DownloadTracker
from core.jobs.optimize import Optimizer, Outcome
from core.storage import reading
from core.types import Cadence
from loader import BacktestDataLoader

CHECKOUT = Path(__file__).resolve().parents[2]
LONG_AGO = (1_700_000_000, 1_700_000_000)


def enter(world: World) -> None:
    """All that is stored into the catalog, whose database then rests."""
    with DownloadTracker(world.layout.database) as tracker:
        for one in world.storage.series():
            tracker.enter(world.storage.readable(one, world.storage.stamps(one)), ())
    os.utime(world.layout.database, LONG_AGO)


def opens(loader: BacktestDataLoader, symbols: str | list[str] = "BTCUSDT", on_missing: str = "warn") -> list[float]:
    return list(loader.load_data(symbols, "2023-12-01", "2024-12-31", on_missing=on_missing)["klines"]["open"])


def test_frames_are_the_same_and_no_footer_is_looked_at(
    world: World, loader: BacktestDataLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in ("AUSDT", "BUSDT"):
        for kind in ("klines", "mark_price", "index_price", "premium_index", "funding_rate"):
            world.fill(kind, symbol, hours("2023-12-25", 24 * 10))
    plain = loader.load_data(["AUSDT", "BUSDT"], "2024-01-01", "2024-01-02", ["klines", "funding_rate"])
    wide = loader.load_aligned_data(["AUSDT", "BUSDT"], "2024-01-01", "2024-01-02")
    enter(world)
    monkeypatch.setattr(reading, "partition_at", pytest.fail)
    fresh = world.loader()
    again = fresh.load_data(["AUSDT", "BUSDT"], "2024-01-01", "2024-01-02", ["klines", "funding_rate"])
    assert all(again[kind].equals(plain[kind]) for kind in plain)
    assert fresh.load_aligned_data(["AUSDT", "BUSDT"], "2024-01-01", "2024-01-02").equals(wide)


@pytest.mark.parametrize("kind", ["klines", "trades"])
def test_frames_of_merged_partitions_are_the_same_and_no_footer_is_looked_at(
    world: World, loader: BacktestDataLoader, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    one = series(kind, "BTCUSDT")
    rows = made_up(one, hours("2024-01-30", 24 * 4) + hours("2024-03-01", 24 * 31))
    world.put(one, rows[: 24 * 4], Cadence.DAILY)
    world.put(one, rows[24 * 4 :])
    spans = [("2024-01-01", "2024-12-31"), ("2024-01-31", "2024-03-02"), ("2024-03-15", "2024-03-15")]
    plain = [loader.load_data("BTCUSDT", *span, [kind], on_missing="ignore")[kind] for span in spans]
    enter(world)
    outcome = Outcome()
    with DownloadTracker(world.layout.database) as tracker:
        Optimizer(world.storage, world.layout, 1000, 10**9, date(2025, 1, 1)).run(one, tracker, outcome)
    assert (len(outcome.merges), outcome.failures) == (1, {})
    assert [period.label for period in world.storage.stamps(one)] == ["2024"]
    os.utime(world.layout.database, LONG_AGO)
    monkeypatch.setattr(reading, "partition_at", pytest.fail)
    fresh = world.loader()
    again = [fresh.load_data("BTCUSDT", *span, [kind], on_missing="ignore")[kind] for span in spans]
    assert all(one.equals(other) for one, other in zip(again, plain, strict=True))
    assert all(len(frame) for frame in again)


def test_reading_with_a_database_writes_nothing(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24))
    enter(world)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [world.root, *world.root.rglob("*")]}
    assert len(opens(loader)) == 24
    after = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [world.root, *world.root.rglob("*")]}
    assert after == before


def test_the_loader_brings_no_sqlalchemy() -> None:
    program = (
        "import sys\nfrom loader import BacktestDataLoader\n"
        "BacktestDataLoader(data_dir='nowhere').symbols()\nprint('sqlalchemy' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "False"


WRITES = """
import sys
from pathlib import Path
sys.path[:0] = ["tests", "tests/loader"]
from loader_world import World, hours, made_up, series
from core.dates import HOUR_US
from core.download.tracker import DownloadTracker
world, one = World(Path(sys.argv[1])), series("klines", "BTCUSDT")
with DownloadTracker(world.layout.database) as tracker:
    for month in range(1, 13):
        world.put(one, made_up(one, hours(f"2024-{month:02d}-01", 24 * 28)))
        if month % 3:  # now and then it is not entered, as if by a kill
            tracker.enter(world.storage.readable(one, world.storage.stamps(one)), ())
"""


def test_rows_only_ever_become_more_while_a_run_writes(world: World, loader: BacktestDataLoader) -> None:
    one = series("klines", "BTCUSDT")
    december = made_up(one, hours("2023-12-01", 24 * 28))
    world.put(one, december)
    everything = [row["open"] for row in december]
    for month in range(1, 13):
        everything += [row["open"] for row in made_up(one, hours(f"2024-{month:02d}-01", 24 * 28))]
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(world.root)], cwd=CHECKOUT, env=os.environ | {"PYTHONPATH": str(CHECKOUT)}
    )
    seen = [len(december)]
    with ThreadPoolExecutor(2) as pool:
        while process.poll() is None or seen[-1] < len(everything):
            for found in pool.map(lambda _: opens(loader, on_missing="ignore"), range(2)):
                assert found == everything[: len(found)]
                assert len(found) % len(december) == 0
                seen.append(len(found))
            assert process.poll() in (None, 0)
    assert max(seen) == len(everything)


INHERITED: list[BacktestDataLoader] = []


def opens_inherited(symbol: str) -> list[float]:
    return opens(INHERITED[0], symbol)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_processes_look_for_themselves_while_a_run_is_at_work(world: World, loader: BacktestDataLoader) -> None:
    stored = {name: [row["open"] for row in world.fill("klines", name, hours("2024-01-01", 99))] for name in "AB"}
    with DownloadTracker(world.layout.database) as tracker:
        for one in world.storage.series():
            tracker.enter(world.storage.readable(one, world.storage.stamps(one)), ())
        assert opens(loader, "A") == stored["A"]
        INHERITED.append(loader)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map_async(opens_inherited, ["A", "B"]).get(timeout=60) == [stored["A"], stored["B"]]
        INHERITED.clear()
        assert opens(loader, "B") == stored["B"]


def test_what_is_missing_is_said_from_the_catalog_too(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24))
    world.fill("klines", "ETHUSDT", hours("2022-01-01", 24))
    enter(world)
    with pytest.warns(UserWarning, match="stored is 2022-01-01 00:00:00 to 2022-01-01 23:00:00") as caught:
        opens(loader, ["BTCUSDT", "ETHUSDT"])
    missing = next(part for part in caught[0].message.missing if part.lack == "absent")  # type: ignore[union-attr]
    assert missing.stored.end_us == us("2022-01-01") + 23 * HOUR_US + 1
