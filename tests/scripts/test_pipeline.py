"""`pipeline.py optimize`: few files instead of many, the same rows, killed or not, and downloads that know it."""

import gc
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from factories import ROOT, Command, Outcome, finished
from script_world import assert_nothing_half_written, command, zip_hits

from core.commands.command import bytes_from
from core.download.tracker import DownloadTracker
from core.layout import Layout
from core.sample.archive import Shelf, write_archive
from core.sample.market import SampleMarket, small_market
from core.sample.server import ArchiveServer, running_server
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import Market, Period, Series, Span
from loader import BacktestDataLoader

gc.enable()  # what scripts share turns it off

FIRST, LAST = date(2025, 1, 20), date(2025, 2, 6)
TYPES = ("klines", "trades", "agg_trades")
REQUEST = ("--symbols", "BTCUSDT", "--data-types", ",".join(TYPES))
KLINES = Series(Market.UM, "klines", "BTCUSDT", "1h")
TRADES = Series(Market.UM, "trades", "BTCUSDT")
AGGS = Series(Market.UM, "agg_trades", "BTCUSDT")
SERIES = (KLINES, TRADES, AGGS)
MERGED = {"BTCUSDT-1h-2025.parquet", "BTCUSDT-trades-2025.parquet", "BTCUSDT-aggTrades-2025.parquet"}


@dataclass
class Place:
    """What the tests of this file start from: a market, its archive, and a data folder with all of it stored."""

    market: SampleMarket
    archive: Path
    stored: Path

    @property
    def span(self) -> Span:
        return Span.of_days(FIRST, LAST)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Candles: January by the month, the days of February. Trades by the day, agg_trades as the candles."""
    folder = tmp_path_factory.mktemp("place")
    market = small_market(first=FIRST, last=LAST)
    only = ("um/BTCUSDT",)
    shelves = (
        Shelf("klines", "1h", symbols=only),
        Shelf("trades", months=None, symbols=only),
        Shelf("agg_trades", symbols=only),
    )
    write_archive(market, folder / "archive", shelves)
    with running_server(folder / "archive") as server:
        done = command(server, folder / "data").run(*REQUEST)
        assert (done.code, done.json["failed"]) == (0, 0), done.err
    return Place(market, folder / "archive", folder / "data")


@pytest.fixture
def data(place: Place, tmp_path: Path) -> Path:
    shutil.copytree(place.stored, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def server(place: Place) -> Iterator[ArchiveServer]:
    with running_server(place.archive) as running:
        yield running


def optimize(data: Path, *options: str) -> Outcome:
    return pipeline(data).run(*options)


def pipeline(data: Path) -> Command:
    return Command("scripts/pipeline.py", ["optimize", "--data-dir", str(data), "--json"])


def partitions(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (data / "processed").rglob("*.parquet")}


def assert_truth(place: Place, data: Path) -> None:
    """Scan and loader give what the market knows, row by row; the catalog says what lies there."""
    layout = Layout(data)
    storage = StorageManager(layout, StorageSettings(), QualitySettings())
    for series in SERIES:
        truth = place.market.truth(series, place.span).to_pandas()
        key = {"trades": "id", "agg_trades": "agg_trade_id", "klines": "timestamp"}[series.dataset]
        column = "close" if series == KLINES else "price"
        with BacktestDataLoader(data_dir=data) as loader:
            frame = loader.load_data(["BTCUSDT"], FIRST, LAST, [series.dataset])[series.dataset]
        assert frame[key].tolist() == truth[key].tolist()
        assert frame[column].tolist() == truth[column].tolist()
        scanned = [value for batch in storage.scan(series, place.span, [column]) for value in batch[column].to_pylist()]
        assert scanned == truth[column].tolist()
    assert_nothing_half_written(data)


def assert_catalog_is_right(data: Path) -> None:
    layout = Layout(data)
    storage = StorageManager(layout, StorageSettings(), QualitySettings())
    with DownloadTracker(layout.database) as tracker:
        for series in SERIES:
            here = {partition.period: partition for partition in storage.partitions(series)}
            assert {partition.period: partition for partition in tracker.catalog(layout, series)} == here
            assert set(storage.stamps(series)) == set(here)


def assert_nothing_to_do(server: ArchiveServer, data: Path) -> None:
    before = partitions(data)
    done = command(server, data).run(*REQUEST)
    assert (done.code, done.err) == (0, "")
    assert (done.json["downloaded"], done.json["stored"], done.json["bytes_downloaded"]) == (0, 0, 0)
    assert done.json["skipped"] == done.json["planned"]
    assert zip_hits(server) == {}
    assert partitions(data) == before


def test_many_files_become_few_and_a_download_has_nothing_to_do(
    place: Place, data: Path, server: ArchiveServer
) -> None:
    before = partitions(data)
    assert len(before) == 2 + 18 + 18
    dry = optimize(data, "--dry-run")
    assert (dry.code, dry.json["files_before"], dry.json["files_after"]) == (0, 38, 3)
    assert partitions(data) == before
    done = optimize(data)
    assert (done.code, done.err) == (0, "")
    assert set(partitions(data)) == MERGED
    told = done.json
    assert (told["files_before"], told["files_after"], told["failures"], told["missing"]) == (38, 3, [], [])
    assert told["bytes_before"] == sum(map(len, before.values()))
    assert told["bytes_after"] == sum(map(len, partitions(data).values()))
    assert [(merge["series"], merge["period"], merge["files"]) for merge in told["merges"]] == [
        ("um/agg_trades/BTCUSDT", "2025", 18),
        ("um/klines/BTCUSDT/1h", "2025", 2),
        ("um/trades/BTCUSDT", "2025", 18),
    ]
    assert_truth(place, data)
    assert_catalog_is_right(data)
    assert_nothing_to_do(server, data)
    again = optimize(data)
    assert (again.code, again.json["merges"], again.json["files_after"]) == (0, [], 3)


def test_people_get_a_table(data: Path) -> None:
    command = Command("scripts/pipeline.py", ["optimize", "--data-dir", str(data)], env={"COLUMNS": "120"})
    dry = command.run("--dry-run", "--data-types", "klines,trades")
    assert "Would be merged" in dry.out
    assert "20 files before, 2 after" in dry.out
    assert "nothing was changed" in dry.out
    done = command.run("--data-types", "klines,trades")
    assert "um/klines/BTCUSDT/1h" in done.out
    assert "20 files before, 2 after" in done.out
    assert "seconds" in done.out
    assert command.run("--data-types", "klines").out.startswith("Nothing to merge in 1 files")
    assert command.run("--quiet").out == ""


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--max-size", "big"], 2, "--max-size: 'big' is not a size; write for example 500MB, 10GB or 1.5GiB"),
        (["--max-size", "0"], 2, "--max-size: '0' is not a size"),
        (["--max-size", "-5GB"], 2, "expected one argument"),
        (["--max-sise", "1GB"], 2, "did you mean '--max-size'?"),
        (["--market", "umm"], 2, "unknown market 'umm'; did you mean 'um'?"),
        (["--data-types", "trade"], 2, "unknown data type 'trade'; did you mean 'trades'?"),
        (["--data-types", "funding_rate", "--market", "spot"], 2, "spot has no funding_rate"),
        (["--interval", "7h"], 2, "candles have no interval '7h'"),
        (["--symbols", "BTCUSD"], 3, "nothing of that is stored; did you mean 'BTCUSDT'?"),
        (["--market", "cm"], 3, "nothing of that is stored; get it with download_all.py"),
        (["--symbols", "BTCUSDT,NOSUCH"], 1, "not stored: NOSUCH"),
    ],
)
def test_a_wrong_request_gets_one_clear_line(data: Path, options: list[str], code: int, message: str) -> None:
    before = partitions(data)
    done = optimize(data, *options)
    assert done.code == code, done.err
    assert message in done.err
    if code != 1:
        assert done.out == ""
        assert partitions(data) == before


def test_an_empty_folder_stays_empty(tmp_path: Path) -> None:
    assert optimize(tmp_path / "none").code == 3
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("size", ["60KB", "0.06 MB", "58.6KiB"])
def test_sizes_are_read_as_people_write_them(data: Path, size: str) -> None:
    done = optimize(data, "--max-size", size, "--dry-run")
    assert done.code == 0, done.err
    assert all(merge["bytes_before"] <= 60_010 for merge in done.json["merges"])
    assert len(done.json["merges"]) < 3


def test_a_damaged_partition_is_named_and_the_rest_is_merged(place: Place, data: Path) -> None:
    path = data / "processed/um/trades/BTCUSDT/BTCUSDT-trades-2025-02-03.parquet"
    path.write_bytes(b"no Parquet")
    done = optimize(data)
    assert done.code == 1
    assert done.err.startswith(f"failed: {path} is no partition of ours")
    assert done.err.count("\n") == 1
    assert [failure["series"] for failure in done.json["failures"]] == ["um/trades/BTCUSDT"]
    names = set(partitions(data))
    assert {"BTCUSDT-1h-2025.parquet", "BTCUSDT-aggTrades-2025.parquet", "BTCUSDT-trades-2025-01.parquet"} <= names
    assert "BTCUSDT-trades-2025-02-01.parquet" in names


DRIVER = """
import os, signal, sys
sys.path.insert(0, {scripts!r})
import _root
left = [{point}]
def die_in_time():
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
def before(call):
    def called(*arguments, **options):
        if "processed" in str(arguments[-1]):
            die_in_time()
        return call(*arguments, **options)
    return called
os.replace, os.unlink = before(os.replace), before(os.unlink)
from sqlalchemy import Engine, event
from core.download.tracker import DownloadTracker
enter = DownloadTracker.enter
def entered(self, *arguments):
    event.listen(Engine, "commit", lambda connection: die_in_time())
    return enter(self, *arguments)
DownloadTracker.enter = entered
from core.commands.command import run_command
from core.commands import pipeline
run_command(pipeline.main)
"""


@pytest.mark.parametrize("point", [0, 1, 2, 10, 18, 19, 20, 21, 22, 24])
def test_kill_9_at_any_moment_loses_nothing(
    place: Place, data: Path, tmp_path: Path, server: ArchiveServer, point: int
) -> None:
    """The points: before the first rename; before the first, second, a middle and the last removal; before the commit;
    and the same in the series behind it."""
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format(scripts=str(ROOT / "scripts"), point=point))
    killed = Command(str(driver), pipeline(data).options).run()
    assert killed.code == -signal.SIGKILL, killed.err
    if point % 2:
        done = command(server, data).run(*REQUEST)
        assert (done.code, done.err) == (0, "")
        assert (done.json["downloaded"], done.json["stored"]) == (0, 0)
        assert zip_hits(server) == {}
    for path in data.rglob(".*.tmp"):
        path.unlink()  # the next run that writes sweeps it; readers do not look at it
    assert_truth(place, data)
    done = optimize(data)
    assert (done.code, done.err) == (0, "")
    assert set(partitions(data)) == MERGED
    assert_truth(place, data)
    assert_catalog_is_right(data)
    assert_nothing_to_do(server, data)


def test_an_interrupt_leaves_whole_files(place: Place, data: Path) -> None:
    process = pipeline(data).start()
    process.send_signal(signal.SIGINT)
    assert finished(process).code in (130, -signal.SIGINT, 0)
    assert_nothing_half_written(data)
    assert optimize(data).code == 0
    assert_truth(place, data)


def test_two_at_once_and_a_download_beside_them(place: Place, data: Path, server: ArchiveServer) -> None:
    processes = [pipeline(data).start(), pipeline(data).start(), command(server, data).start(*REQUEST)]
    outcomes = [finished(process) for process in processes]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], [outcome.err for outcome in outcomes]
    assert set(partitions(data)) == MERGED
    assert_truth(place, data)
    assert optimize(data).code == 0
    assert_catalog_is_right(data)
    assert_nothing_to_do(server, data)


def test_the_status_is_rebuilt_from_merged_partitions(place: Place, data: Path, server: ArchiveServer) -> None:
    assert optimize(data, "--data-types", "klines,trades").code == 0
    before = {name: content for name, content in partitions(data).items() if "aggTrades" not in name}
    Layout(data).database.unlink()
    done = command(server, data).run("--rebuild-status")
    assert (done.code, done.err) == (0, "")
    assert (done.json["bytes_downloaded"], zip_hits(server)) == (0, {})
    assert done.json["stored"] == done.json["planned"] - 1  # the month that is split is stored again by the next run
    assert {name: content for name, content in partitions(data).items() if "aggTrades" not in name} == before
    again = command(server, data).run(*REQUEST)
    assert (again.json["downloaded"], again.json["stored"], again.json["failed"]) == (0, 1, 0)
    assert_truth(place, data)
    assert_catalog_is_right(data)
    assert_nothing_to_do(server, data)


def test_a_database_that_was_deleted_costs_nothing(place: Place, data: Path, server: ArchiveServer) -> None:
    assert optimize(data).code == 0
    Layout(data).database.unlink()
    done = command(server, data).run(*REQUEST)
    assert (done.code, done.json["bytes_downloaded"], done.json["failed"]) == (0, 0, 0)
    assert zip_hits(server) == {}
    assert_truth(place, data)
    assert_catalog_is_right(data)


def test_a_merged_partition_that_was_deleted_is_made_again(place: Place, data: Path, server: ArchiveServer) -> None:
    assert optimize(data).code == 0
    Layout(data).processed(TRADES, Period.parse("2025")).unlink()
    done = command(server, data).run(*REQUEST)
    assert (done.code, done.json["bytes_downloaded"], done.json["stored"]) == (0, 0, 18)
    assert_truth(place, data)
    assert_nothing_to_do(server, data)
    assert_catalog_is_right(data)


def test_what_is_published_anew_replaces_rows_in_a_merged_partition(place: Place, data: Path, tmp_path: Path) -> None:
    assert optimize(data).code == 0
    other = small_market(seed=99, first=FIRST, last=LAST)
    only = ("um/BTCUSDT",)
    shelves = (Shelf("klines", "1h", symbols=only), Shelf("trades", months=None, symbols=only))
    write_archive(other, tmp_path / "other", (*shelves, Shelf("agg_trades", symbols=only)))
    with running_server(tmp_path / "other") as server:
        done = command(server, data, "--workers", "3").run(*REQUEST)
        assert (done.code, done.json["failed"]) == (0, 0), done.err
        assert done.json["replaced"] == done.json["planned"]
        elsewhere = Place(other, tmp_path / "other", data)
        assert_truth(elsewhere, data)
        assert_catalog_is_right(data)
        assert optimize(data).code == 0
        assert_truth(elsewhere, data)
        before = dict(server.hits)
        assert command(server, data).run(*REQUEST).json["skipped"] == done.json["planned"]
        assert {name for name in server.hits if name.endswith(".zip")} == {name for name in before if ".zip" in name}
    assert set(partitions(data)) == MERGED


def test_a_day_that_was_deleted_before_is_missed_afterwards(place: Place, data: Path, server: ArchiveServer) -> None:
    Layout(data).processed(TRADES, Period.parse("2025-01-30")).unlink()
    Layout(data).processed(AGGS, Period.parse("2025-01-30")).unlink()
    assert optimize(data).code == 0
    assert set(partitions(data)) == MERGED
    done = command(server, data).run(*REQUEST)
    assert (done.code, done.json["bytes_downloaded"], done.json["stored"]) == (0, 0, 2)
    assert_truth(place, data)
    assert_catalog_is_right(data)
    assert_nothing_to_do(server, data)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10GB", 10**10),
        ("500 mb", 5 * 10**8),
        ("1.5GiB", 3 * 2**29),
        ("20M", 20_000_000),
        ("500K", 500_000),
        ("2T", 2 * 10**12),
        ("1000", 1000),
        ("64 B", 64),
        *((text, 0) for text in ("", "GB", "-1GB", "1e9", "inf", "1,5GB", "10 G B", "0", "0.2", "٣GB")),
    ],
)
def test_bytes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert bytes_from(text) == size
