"""What surrounds a read: odd folder names, threads, event loops, updates that go on, folders one may not write to."""

import asyncio
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from loader_world import Row, World, hours, made_up, series, us

from core.errors import ConfigError, StorageError
from core.settings import Settings
from core.types import Cadence, PartitionFacts, Period, Series, Span
from loader import BacktestDataLoader

CHECKOUT = Path(__file__).resolve().parents[2]


def opens(loader: BacktestDataLoader, symbol: str = "BTCUSDT", end: str = "2024-12-31") -> list[float]:
    return list(loader.load_data(symbol, "2024-01-01", end)["klines"]["open"])


def values(rows: list[Row]) -> list[float]:
    return [row["open"] for row in rows]


@pytest.mark.parametrize(
    ("name", "decoy"),
    [
        ("a[xy]b", "axb"),
        ("a*b", "acb"),
        ("a?b", "acb"),
        ("[!a]", "b"),
        ("**", "c"),
        ("a[", "b"),
        ("[x]*?a[[]", "xx_a["),
        ("{a,b}", "a"),
        ("symbol=ETHUSDT", "x"),
        ("open=1", "x"),
        ("a\\b", "ab"),
        ("it's; DROP TABLE x; --", "x"),
        ("%41 币安 ~", "A"),
    ],
)
def test_a_folder_whose_name_is_a_pattern_is_read_and_no_other(tmp_path: Path, name: str, decoy: str) -> None:
    World(tmp_path / decoy).fill("klines", "BTCUSDT", hours("2024-01-05", 9))
    world = World(tmp_path / name)
    stored = world.fill("klines", "BTCUSDT", hours("2024-01-30", 72))
    with world.loader() as loader:
        frame = loader.load_data("BTCUSDT", "2024-01-01", "2024-12-31")["klines"]
    assert frame["open"].tolist() == values(stored)
    assert list(frame.columns[:3]) == ["timestamp", "symbol", "open"]


def test_a_file_name_is_a_pattern_to_duckdb_even_as_a_parameter(tmp_path: Path) -> None:
    """Why names are escaped. When this fails, DuckDB has mended it."""
    World(tmp_path / "ax").fill("klines", "BTCUSDT", hours("2024-01-05", 9))
    path = World(tmp_path / "a[x]").layout.processed(series("klines", "BTCUSDT"), Period.parse("2024"))
    with duckdb.connect() as connection:
        assert connection.sql("SELECT count(*) FROM read_parquet(?)", params=[[str(path)]]).fetchall() == [(9,)]


def test_a_user_whom_the_system_does_not_know_may_read(
    world: World, loader: BacktestDataLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under any number."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    world.fill("klines", "BTCUSDT", hours("2024-01-05", 9))
    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert loader.sql("SELECT count(*) AS n FROM klines_1h")["n"].tolist() == [9]


def test_a_folder_that_cannot_be_named_exactly_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path / "a\\b*")
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 2))
    with world.loader() as loader:
        assert len(opens(loader)) == 2  # read without DuckDB, which would take the name for a pattern
        with pytest.raises(ConfigError, match="backslash"):
            loader.sql("SELECT * FROM klines_1h")


def test_four_threads_share_one_loader(world: World) -> None:
    symbols = ["AUSDT", "BUSDT", "CUSDT", "DUSDT"]
    stored = {symbol: values(world.fill("klines", symbol, hours("2024-01-01", 24 * 90))) for symbol in symbols}
    with world.loader() as loader, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: opens(loader, symbols[n % 4]), range(80)))
    assert found == [stored[symbols[n % 4]] for n in range(80)]


INHERITED: list[BacktestDataLoader] = []


def opens_inherited(symbol: str) -> list[float]:
    return opens(INHERITED[0], symbol)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_may_use_the_loader_of_its_parent(world: World, loader: BacktestDataLoader) -> None:
    stored = {symbol: values(world.fill("klines", symbol, hours("2024-01-01", 24 * 90))) for symbol in ("A", "B")}
    assert opens(loader, "A") == stored["A"]
    INHERITED.append(loader)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(opens_inherited, ["A", "B"]).get(timeout=60) == [stored["A"], stored["B"]]
    INHERITED.clear()
    assert opens(loader, "B") == stored["B"]


def test_a_running_event_loop_does_not_matter(world: World, loader: BacktestDataLoader) -> None:
    stored = values(world.fill("klines", "BTCUSDT", hours("2024-01-01", 48)))

    async def read() -> list[list[float]]:
        return [opens(loader), *await asyncio.gather(*(asyncio.to_thread(opens, loader) for _ in range(4)))]

    assert asyncio.run(read()) == [stored] * 5


def test_a_loader_that_was_closed_opens_again(world: World) -> None:
    stored = values(world.fill("klines", "BTCUSDT", hours("2024-01-01", 5)))
    loader = world.loader()
    loader.close()
    for _ in range(2):
        assert opens(loader) == stored
        loader.close()


def footprint(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in [root, *root.rglob("*")]}


def test_reading_writes_nothing_under_the_data_folder(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("klines", "mark_price", "index_price", "premium_index", "funding_rate"):
        world.fill(kind, "BTCUSDT", hours("2024-01-01", 24))
    monkeypatch.chdir(world.root)
    before = footprint(world.root)
    folders = [path for path in [world.root, *world.root.rglob("*")] if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)  # root writes all the same: then only the footprint speaks
    try:
        with world.loader() as loader:
            loader.load_data("BTCUSDT", "2024-01-01", "2024-01-01", ["klines", "funding_rate"])
            loader.load_aligned_data("BTCUSDT", "2024-01-01", "2024-01-01")
            loader.symbols()
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert footprint(world.root) == before


def test_a_month_that_is_replaced_is_read_anew(world: World, loader: BacktestDataLoader) -> None:
    one = series("klines", "BTCUSDT")
    for price in (1.0, 2.0, 3.0):
        world.put(one, [row | {"open": price} for row in made_up(one, hours("2024-01-01", 4))])
        assert opens(loader) == [price] * 4


class Interrupted:
    """A storage in which a month replaces its days during (or right after) the first look."""

    def __init__(self, world: World, during: bool) -> None:
        self.world, self.during, self.looks = world, during, 0
        self.around = world.storage.around

    def facts(self, wanted: Sequence[Series], span: Span | None = None) -> list[tuple[PartitionFacts, ...]]:
        found = self.world.storage.facts(wanted, span)
        self.looks += 1
        if self.looks == 1:
            self.world.fill("klines", "BTCUSDT", hours("2024-01-01", 24 * 31))
            for part in found[0]:
                part.path.unlink(missing_ok=True)
            if self.during:
                raise StorageError("a day has gone") from FileNotFoundError(found[0][0].path)
        return found


@pytest.mark.parametrize("during", [False, True])
def test_days_that_vanish_while_their_month_arrives_are_looked_up_again(
    world: World, loader: BacktestDataLoader, monkeypatch: pytest.MonkeyPatch, during: bool
) -> None:
    rows = made_up(series("klines", "BTCUSDT"), hours("2024-01-01", 24 * 31))
    world.put(series("klines", "BTCUSDT"), rows, Cadence.DAILY)
    storage = Interrupted(world, during)
    monkeypatch.setattr(loader._reader, "_storage", storage)
    assert opens(loader) == values(rows)
    assert storage.looks == 2


def test_a_damaged_file_is_an_error_of_ours_that_names_it(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24 * 40))
    path = world.layout.processed(series("klines", "BTCUSDT"), Period.parse("2024"))
    footer = path.read_bytes()
    path.write_bytes(b"PAR1" + bytes(100) + footer[104:])
    with pytest.raises(
        StorageError, match=r"cannot read .*BTCUSDT-1h-2024\.parquet: .*delete it and download it again"
    ):
        opens(loader)


def test_the_data_folder_may_be_given_in_many_ways(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = values(world.fill("klines", "BTCUSDT", hours("2024-01-01", 3)))
    monkeypatch.chdir(world.root.parent)
    monkeypatch.setenv("HOME", str(world.root.parent))
    for given in (world.root, str(world.root), "data", "~/data"):
        assert opens(BacktestDataLoader(data_dir=given)) == stored
        assert opens(BacktestDataLoader(Settings(), given)) == stored
    monkeypatch.setenv("TAPEVAULT_HOME", str(world.root))
    assert opens(BacktestDataLoader()) == stored


def test_importing_the_loader_brings_none_of_the_heavy_libraries() -> None:
    program = "import sys, loader; print(sorted({'duckdb', 'numpy', 'pandas', 'pyarrow', 'numba'} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_frames_of_two_reads_are_equal(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24))
    first, second = (loader.load_data("BTCUSDT", "2024-01-01", "2024-01-01")["klines"] for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert first["timestamp"].astype("int64").tolist()[0] == us("2024-01-01")
