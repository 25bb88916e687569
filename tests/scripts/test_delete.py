"""`pipeline.py delete`: all data or some, after its name was typed; nothing that is not ours; killed and finished."""

import gc
import re
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from factories import ROOT, Command, Outcome, called
from script_world import assert_catalog_is_the_footers, command

from core.bars.spec import BarSpec
from core.commands.pipeline import main
from core.download.tracker import DELETE, DownloadTracker
from core.errors import AlreadyRunning
from core.jobs.alone import alone
from core.layout import Layout
from core.sample.archive import Shelf, write_archive
from core.sample.instruments import Instrument, moment
from core.sample.market import SampleMarket
from core.sample.server import ArchiveServer, running_server
from core.types import Market, Series
from loader import BacktestDataLoader

gc.enable()  # what scripts share turns it off
FIRST, LAST = date(2025, 1, 20), date(2025, 2, 2)
REQUEST = ("--symbols", "BTCUSDT,ETHUSDT", "--data-types", "klines,trades,funding_rate")
SPEC = str(BarSpec.parse("tick-100"))
TABLES = ("files", "catalog_partitions", "gaps", "gap_looks")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("delete") / "archive"
    only = ("um/BTCUSDT", "um/ETHUSDT")
    trades = Shelf("trades", months=None, symbols=only, days=(date(2025, 1, 30), date.max))
    shelves = (Shelf("klines", "1h", symbols=only), trades, Shelf("funding_rate", symbols=only))
    names = {"BTCUSDT": ("BTC", 95000.0, 1, 3, 60), "ETHUSDT": ("ETH", 3400.0, 2, 3, 900)}
    listed = [Instrument(Market.UM, symbol, *said, 12, moment(f"{FIRST}")) for symbol, said in names.items()]
    write_archive(SampleMarket(7, tuple(listed), FIRST, LAST), folder, shelves)
    return folder


@pytest.fixture(scope="module")
def stored(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols with archives, text, partitions, bars, cross-sections and logs."""
    data = tmp_path_factory.mktemp("stored") / "vault"
    with running_server(archive) as server:
        done = command(server, data).run(*REQUEST)
        assert (done.code, done.json["failed"]) == (0, 0), done.err
    for words in (["features", "--bars", "tick-100", "--processes", "1"], ["cross-sections"]):
        assert called(main, [*words, "--data-dir", str(data), "--quiet"]).code == 0
    return data


@pytest.fixture
def data(stored: Path, tmp_path: Path) -> Path:
    shutil.copytree(stored, tmp_path / "vault")
    return tmp_path / "vault"


@pytest.fixture
def server(archive: Path) -> Iterator[ArchiveServer]:
    with running_server(archive) as running:
        yield running


def delete(data: Path, *options: str) -> Outcome:
    return called(main, ["delete", "--data-dir", str(data), *options])


def names(data: Path) -> set[str]:
    return {str(path.relative_to(data)) for path in data.rglob("*") if not path.is_dir() or path.is_symlink()}


def known(data: Path) -> dict[str, set[str]]:
    """The symbols of which each table of the database has rows."""
    with closing(sqlite3.connect(Layout(data).database)) as connection:
        return {name: {row[0] for row in connection.execute(f"SELECT DISTINCT symbol FROM {name}")} for name in TABLES}


def test_all_data_goes_and_nothing_is_left(data: Path, server: ArchiveServer) -> None:
    before = names(data)
    assert {path.split("/")[0] for path in before} == {"raw", "extracted", "processed", "cache", "metadata", "logs"}
    dry = delete(data, "--dry-run", "--json")
    assert (dry.code, dry.json["confirm"], dry.json["series"], dry.json["stays"]) == (0, "vault", None, [])
    size = sum((data / name).stat().st_size for name in before)
    assert dry.json["bytes"] <= size
    assert names(data) == before
    done = delete(data, "--confirm", "vault", "--json")
    assert (done.code, done.json["failures"], done.json["stays"]) == (0, [], []), done.err
    assert list(data.iterdir()) == []
    assert delete(data, "--confirm", "vault").code == 3
    again = command(server, data).run(*REQUEST)
    assert (again.code, again.json["downloaded"], again.json["failed"]) == (0, again.json["planned"], 0)


def test_one_symbol_goes_with_all_that_is_known_of_it(data: Path, server: ArchiveServer) -> None:
    before = names(data)
    archives = sum(name.startswith("raw/") and "ETHUSDT" in name for name in before)
    done = delete(data, "--symbols", "ETHUSDT", "--confirm", "ETHUSDT", "--json")
    assert (done.code, done.json["failures"], done.json["archives_forgotten"]) == (0, [], archives), done.err
    gone = before - names(data)
    sections = {name for name in gone if name.startswith("cache/")}
    assert sections == {name for name in before if name.startswith("cache/")}
    assert len(sections) == 2
    assert gone - sections == {name for name in before if "ETHUSDT" in name and not name.startswith("metadata/")}
    assert any(name.startswith(f"processed/bars/{SPEC}/") for name in gone)
    assert not list(data.rglob("raw/**/ETHUSDT"))
    assert known(data) == {name: {"BTCUSDT"} if name in ("files", "catalog_partitions") else set() for name in TABLES}
    assert_catalog_is_the_footers(data)
    with BacktestDataLoader(data_dir=data) as loader:
        assert len(loader.load_data(["BTCUSDT"], FIRST, LAST, ["klines"])["klines"]) == 14 * 24
    again = command(server, data).run(*REQUEST)
    assert (again.code, again.json["downloaded"]) == (0, archives)


def test_one_kind_of_data_goes_and_its_bars(data: Path) -> None:
    before = names(data)
    done = delete(data, "--data-types", "trades", "--market", "um", "--confirm", "um/trades", "--json")
    assert (done.code, done.json["series"]) == (0, ["um/trades/BTCUSDT", "um/trades/ETHUSDT"])
    gone = before - names(data)
    assert {name.split("/")[0] for name in gone} == {"raw", "processed"}
    assert gone == {name for name in before if "/trades/" in name}
    assert not (data / "processed" / "bars").exists()


def test_only_files_of_ours_go_and_links_are_not_followed(data: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(data / "extracted", elsewhere)
    (data / "extracted").symlink_to(elsewhere)
    notes = data / "raw" / "um" / "klines" / "BTCUSDT" / "1h" / "notes.txt"
    notes.write_text("mine")
    (data / "study.ipynb").write_text("mine")
    (data / "processed" / "bars" / "mine").mkdir()
    (data / "processed" / "bars" / "mine" / "BTCUSDT-2025-01.parquet").write_text("mine")
    done = delete(data, "--confirm", "vault", "--json")
    assert done.code == 0, done.err
    assert {one["path"].removeprefix(f"{data}/"): one["why"] for one in done.json["stays"]} == {
        "extracted": "a link, which is not followed",
        "raw/um/klines/BTCUSDT/1h/notes.txt": "no file of Tapevault's",
        "study.ipynb": "no file of Tapevault's",
        "processed/bars/mine/BTCUSDT-2025-01.parquet": "no file of Tapevault's",
    }
    left = {"extracted", str(notes.relative_to(data)), "study.ipynb", "processed/bars/mine/BTCUSDT-2025-01.parquet"}
    assert names(data) == left
    assert len(list(elsewhere.rglob("*.csv"))) == 2
    assert "is no data folder of Tapevault's" in delete(data, "--confirm", "vault").err


@pytest.mark.parametrize("link", ["metadata", "metadata/download_status.db"])
def test_a_folder_that_is_not_ours_is_refused(data: Path, tmp_path: Path, link: str) -> None:
    """No database, or one that only a link leads to."""
    shutil.move(data / link, tmp_path / "moved")
    for is_linked in (False, True):
        if is_linked:
            (data / link).symlink_to(tmp_path / "moved")
        before = names(data)
        done = delete(data, "--confirm", "vault")
        assert (done.code, done.out) == (2, "")
        assert "is no data folder of Tapevault's" in done.err
        assert names(data) == before


def test_nothing_is_deleted_while_anybody_is_at_work(data: Path) -> None:
    before = names(data)
    with DownloadTracker(Layout(data).database) as tracker:
        run = tracker.begin_run("download_all")
        refused = delete(data, "--confirm", "vault")
        assert (refused.code, "is at work; nothing was done" in refused.err) == (4, True)
        tracker.finish_run(run)
    with alone(Layout(data), "features"):
        assert delete(data, "--symbols", "ETHUSDT", "--confirm", "ETHUSDT").code == 4
    assert {name for name in before if not name.startswith("metadata/")} <= names(data)


def test_nobody_begins_to_work_while_data_is_deleted(data: Path, server: ArchiveServer) -> None:
    with DownloadTracker(Layout(data).database) as tracker:
        run = tracker.begin_run(DELETE)
        with pytest.raises(AlreadyRunning, match=r"run \d+ \(delete, process"):
            tracker.begin_run("download_all")
        refused = command(server, data).run(*REQUEST)
        assert (refused.code, "(delete, process" in refused.err) == (4, True)
        tracker.finish_run(run)


DRIVER = """
import os, signal, sys
sys.path.insert(0, {scripts!r})
import _root
from pathlib import Path
unlink, count = Path.unlink, [0]
def unlink_or_die(self, missing_ok=False):
    count[0] += 1
    if count[0] == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(self, missing_ok=missing_ok)
Path.unlink = unlink_or_die
from core.commands.command import run_command
from core.commands import pipeline
run_command(pipeline.main)
"""


@pytest.mark.parametrize("at", [9, -2])
def test_kill_9_and_a_second_call_finishes(data: Path, tmp_path: Path, at: int) -> None:
    """Among the files of a series; and when only the database was left."""
    driver = tmp_path / "driver.py"
    everything = delete(data, "--dry-run", "--json").json["files"]
    driver.write_text(DRIVER.format(scripts=str(ROOT / "scripts"), at=at if at > 0 else everything + 3 + at))
    killed = Command(str(driver), ["delete", "--data-dir", str(data), "--confirm", "vault", "--json"]).run()
    assert killed.code == -signal.SIGKILL, killed.err
    assert Layout(data).database.exists()
    assert delete(data, "--confirm", "vault", "--json").code == 0
    assert list(data.iterdir()) == []


def test_kill_9_in_a_symbol_leaves_a_database_that_a_download_puts_right(
    data: Path, server: ArchiveServer, tmp_path: Path
) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format(scripts=str(ROOT / "scripts"), at=12))
    options = ["--data-dir", str(data), "--symbols", "ETHUSDT", "--confirm", "ETHUSDT"]
    assert Command(str(driver), ["delete", *options]).run().code == -signal.SIGKILL
    done = command(server, data).run(*REQUEST)
    assert (done.code, done.json["failed"]) == (0, 0), done.err
    assert_catalog_is_the_footers(data)
    assert delete(data, "--symbols", "ETHUSDT", "--confirm", "ETHUSDT").code == 0
    assert known(data)["files"] == {"BTCUSDT"}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "deleting wants the name of what goes: --confirm vault"),
        (["--confirm", "valut"], 2, "'valut' is not 'vault'; nothing was deleted"),
        (["--symbols", "ETHUSDT", "--confirm", "vault"], 2, "'vault' is not 'ETHUSDT'"),
        (["--symbols", "ETHUSD", "--confirm", "ETHUSD"], 3, "nothing of ETHUSD is here; did you mean 'ETHUSDT'?"),
        (["--confirm", "um/trades"], 2, "'um/trades' is not 'vault'; nothing was deleted"),
        (["--market", "um", "--confirm", "um/trades"], 2, "'um/trades' is not 'um'"),
        (["--market", "um", "--confirm", "vault"], 2, "'vault' is not 'um'"),
        (["--data-types", "trades,klines"], 2, "--confirm trades,klines;"),
        (["--market", "um", "--interval", "1h"], 2, "--confirm um/1h;"),
        (["--interval", "1h", "--symbols", "BTCUSDT,ETHUSDT"], 2, "--confirm BTCUSDT,ETHUSDT/1h;"),
        (["--symbols", "ETHUSDT", "--market", "um", "--confirm", "ETHUSDT"], 2, "'ETHUSDT' is not 'um/ETHUSDT'"),
        (["--market", "cm", "--confirm", "vault"], 3, "nothing of that is here"),
        (["--market", "umm"], 2, "unknown market 'umm'; did you mean 'um'?"),
        (["--data-types", "trade"], 2, "unknown data type 'trade'; did you mean 'trades'?"),
        (["--confirmed", "vault"], 2, "did you mean '--confirm'?"),
    ],
)
def test_a_wrong_request_deletes_nothing(stored: Path, options: list[str], code: int, message: str) -> None:
    before = names(stored)
    done = delete(stored, *options)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert names(stored) == before


def test_people_see_what_goes_and_how_large_it_is(stored: Path) -> None:
    shown = delete(stored, "--dry-run")
    for what in ("Would go, under", "archive", "partition", "bars", "cross-section", "status database", "rows as text"):
        assert what in shown.out
    assert "would go; nothing was changed, --confirm vault deletes it" in shown.out
    piped = Command("scripts/pipeline.py", ["delete", "--data-dir", str(stored), "--dry-run"]).run()
    assert re.fullmatch(
        r"\d+ files, [\d.]+ \w+ would go; nothing was changed, --confirm vault deletes it; [\d.]+ seconds",
        piped.out.splitlines()[-1],
    )
    assert delete(stored, "--dry-run", "--quiet").out == ""


def test_the_name_of_a_part_is_never_that_of_all_data(data: Path) -> None:
    """Though the folder is called like it."""
    folder = data.rename(data.with_name("trades"))
    assert delete(folder, "--dry-run", "--json").json["confirm"] == "trades"
    part = delete(folder, "--dry-run", "--json", "--data-types", "trades")
    assert (part.code, part.json["confirm"]) == (0, "trades/trades")


def test_an_empty_folder_stays_empty(tmp_path: Path) -> None:
    assert delete(tmp_path / "none", "--confirm", "none").code == 3
    assert not (tmp_path / "none").exists()


def test_the_series_of_a_market_are_told_apart(data: Path) -> None:
    with DownloadTracker(Layout(data).database) as tracker:
        here = Series(Market.UM, "funding_rate", "ETHUSDT")
        assert len(tracker.downloads(here)) == 1
        assert tracker.forget(Series(Market.SPOT, "funding_rate", "ETHUSDT")) == 0
        assert len(tracker.downloads(here)) == 1
        assert tracker.forget(here) == 1
        assert tracker.downloads(here) == {}
