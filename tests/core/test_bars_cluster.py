"""A cluster of two worker processes makes the bars that one process makes, file for file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import Command
from storage_bars_world import BarWorld

from core.errors import StorageError
from core.types import Period

distributed = pytest.importorskip("distributed", reason="pip install -r requirements-distributed.txt")

from core.jobs import bars_cluster  # noqa: E402 (which needs it)

pytestmark = pytest.mark.filterwarnings("ignore")  # of Dask's own
SPECS = ("tick-7", "dollar-5000", "time-6h", "tick_imbalance-5", "dollar_run-4", "volume-30.5")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        yield cluster.scheduler_address


def test_bars_of_a_cluster_are_those_of_one_process(tmp_path: Path, address: str) -> None:
    world, other = BarWorld(tmp_path / "data"), BarWorld(tmp_path / "other")
    days = ["2024-01-30", "2024-01-31", "2024-02-01", "2024-02-05", "2024-03-05"]
    for one in (world, other):
        one.put(*days)
    command = Command("scripts/pipeline.py", ["features", "--bars", ",".join(SPECS), "--data-dir", str(other.root)])
    told = command.run("--scheduler", address, "--json")
    assert told.code == 0
    world.build(SPECS)
    assert other.files() == world.files()
    assert {built["trades"] for built in told.json["bars"]} == {other.count}
    for one in (world, other):  # a new day, and one that is replaced
        one.put("2024-03-06")
        one.put("2024-02-05", seed=3)
    assert command.run("--scheduler", address, "--json").code == 0
    world.build(SPECS)
    assert other.files() == world.files()
    for spec in SPECS:
        assert other.stored(spec).equals(other.truth(spec)), spec
    again = command.run("--scheduler", address, "--json").json["bars"]
    assert {(built["months"], built["trades"]) for built in again} == {(0, 0)}


def test_trades_that_are_older_than_an_hour_are_an_error_and_not_lost(tmp_path: Path, address: str) -> None:
    world = BarWorld(tmp_path / "data")
    world.put("2024-01-30", "2024-01-31", late_hours=3)
    command = Command("scripts/pipeline.py", ["features", "--bars", "tick-7", "--data-dir", str(world.root)])
    told = command.run("--scheduler", address)
    assert told.code == 1
    assert "try without --scheduler" in told.err
    assert command.run().code == 0
    assert world.stored("tick-7").equals(world.truth("tick-7"))


def test_a_month_that_lacks_a_trade_is_not_written(tmp_path: Path, address: str) -> None:
    """A bar of January lacks it, and what is expected behind it is the same with and without."""
    world = BarWorld(tmp_path / "data")
    late = [(2000 + number, 2000 + number, number + 0.5) for number in range(9)]
    world.put_trades("2024-01-30", [(1000 + number, 1000 + number, number * 1.0) for number in range(12)])
    world.put_trades(
        "2024-01-31", [*late[:3], (2003, 2003, -3.0), *((id_ + 1, id_ + 1, at) for id_, _, at in late[3:])]
    )
    world.put_trades("2024-02-05", [(3000 + number, 3000 + number, number * 1.0) for number in range(12)])
    options = ["features", "--bars", "tick-11,tick-22", "--data-dir", str(world.root)]
    told = Command("scripts/pipeline.py", options).run("--scheduler", address)
    assert told.code == 1
    assert "the days have 21 trades of 2024-01, and together they are 22 trades of 2024-01" in told.err
    assert world.files() == {}
    assert Command("scripts/pipeline.py", options).run().code == 0
    for spec in ("tick-11", "tick-22"):
        assert world.stored(spec).equals(world.truth(spec))


def test_a_worker_that_does_not_see_the_data_is_named(tmp_path: Path) -> None:
    elsewhere = BarWorld(tmp_path / "elsewhere")
    day = Period.parse("2024-01-30").span
    with pytest.raises(StorageError, match=r"the worker on .* sees no .*elsewhere.*BTCUSDT: give all workers the data"):
        bars_cluster.decode(elsewhere.settings, elsewhere.series(), day)


def test_several_series_come_to_the_same_bars(tmp_path: Path, address: str) -> None:
    world = BarWorld(tmp_path / "data")
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    for symbol in symbols:
        world.put("2024-01-30", "2024-02-01", symbol=symbol)
    command = Command("scripts/pipeline.py", ["features", "--bars", "tick-7", "--data-dir", str(world.root)])
    told = command.run("--scheduler", address, "--json")
    assert [one["series"] for one in told.json["bars"]] == [f"um/trades/{symbol}" for symbol in symbols]
    for symbol in symbols:
        assert world.stored("tick-7", symbol).equals(world.truth("tick-7", symbol))


def test_nobody_at_the_address_is_one_clear_line(tmp_path: Path) -> None:
    world = BarWorld(tmp_path / "data")
    world.put("2024-01-30")
    command = Command("scripts/pipeline.py", ["features", "--data-dir", str(world.root)])
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        told = command.run("--scheduler", address)
        assert told.code == 2
        assert f"--scheduler {address}: no Dask scheduler answers there" in told.err
        assert "Traceback" not in told.err
