"""`cleanup.py`: what it shows, that loads stay the same bit for bit, that downloads have nothing to do, and that a kill
at any point loses nothing."""

import gc
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from factories import ROOT, Command, Outcome, called
from script_world import assert_catalog_is_the_footers, assert_nothing_half_written, command, zip_hits

from core.commands import pipeline
from core.commands.cleanup import main
from core.download.tracker import DownloadTracker
from core.layout import Layout
from core.sample.archive import Shelf, write_archive
from core.sample.market import small_market
from core.sample.server import ArchiveServer, running_server
from core.types import Market, Period, Series
from loader import BacktestDataLoader

gc.enable()  # what scripts share turns it off
FIRST, LAST = date(2025, 1, 27), date(2025, 2, 3)
TYPES = ("klines", "trades", "funding_rate")
REQUEST = ("--symbols", "BTCUSDT", "--data-types", ",".join(TYPES))
KLINES = Series(Market.UM, "klines", "BTCUSDT", "1h")
TRADES = Series(Market.UM, "trades", "BTCUSDT")
NO_RAW = "storage:\n  keep_raw: false\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """January by the month, and its days as well; the days of February."""
    folder = tmp_path_factory.mktemp("cleanup") / "archive"
    only = ("um/BTCUSDT",)
    shelves = (Shelf("klines", "1h", symbols=only), Shelf("trades", symbols=only), Shelf("funding_rate", symbols=only))
    write_archive(small_market(first=FIRST, last=LAST), folder, shelves)
    return folder


@pytest.fixture(scope="module")
def stored(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The days came first, the month later, as for whoever updates every night."""
    folder = tmp_path_factory.mktemp("stored")
    months = folder / "months"
    shutil.copytree(archive, folder / "archive")
    for path in sorted((folder / "archive").rglob("*2025-01.zip*")):
        if "fundingRate" not in path.name:
            target = months / path.relative_to(folder / "archive")
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    with running_server(folder / "archive") as server:
        done = command(server, folder / "data").run(*REQUEST)
        assert (done.code, done.json["failed"]) == (0, 0), done.err
    with running_server(archive) as server:
        done = command(server, folder / "data").run(*REQUEST)
        assert (done.code, done.json["downloaded"]) == (0, 2), done.err
    return folder / "data"


@pytest.fixture
def data(stored: Path, tmp_path: Path) -> Path:
    shutil.copytree(stored, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def server(archive: Path) -> Iterator[ArchiveServer]:
    with running_server(archive) as running:
        yield running


@pytest.fixture
def no_raw(tmp_path: Path) -> Path:
    (tmp_path / "settings.yaml").write_text(NO_RAW)
    return tmp_path / "settings.yaml"


def cleanup(data: Path, *options: str) -> Outcome:
    return called(main, ["--data-dir", str(data), *options])


def files(data: Path) -> dict[str, bytes]:
    rooms = ("raw", "extracted", "processed", "quarantine")
    found = [path for room in rooms for path in (data / room).rglob("*") if path.is_file()]
    return {str(path.relative_to(data)): path.read_bytes() for path in found}


def frames(data: Path) -> dict[str, pd.DataFrame]:
    with BacktestDataLoader(data_dir=data) as loader:
        found = loader.load_data(["BTCUSDT"], FIRST, LAST, list(TYPES))
    assert all(len(frame) > 8 for frame in found.values() if frame is not None)
    return found


def assert_same(found: dict[str, pd.DataFrame], wanted: dict[str, pd.DataFrame]) -> None:
    assert list(found) == list(wanted)
    for kind, frame in wanted.items():
        pd.testing.assert_frame_equal(found[kind], frame, check_exact=True)


def assert_nothing_to_do(server: ArchiveServer, data: Path, *options: str) -> None:
    before = zip_hits(server)
    done = command(server, data).run(*REQUEST, *options)
    assert done.code == 0, done.err
    assert (done.json["downloaded"], done.json["bytes_downloaded"]) == (0, 0)
    assert done.json["skipped"] == done.json["planned"]
    assert zip_hits(server) == before


def test_days_go_behind_their_month_and_everything_else_is_as_it_was(data: Path, server: ArchiveServer) -> None:
    before, wanted = files(data), frames(data)
    dry = cleanup(data, "--json")
    assert (dry.code, dry.json["applied"], dry.json["stays"], dry.json["kept_after_all"]) == (0, False, None, [])
    days = {f"raw/um/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-{day}.zip" for day in range(27, 32)}
    days |= {f"raw/um/trades/BTCUSDT/BTCUSDT-trades-2025-01-{day}.zip" for day in range(27, 32)}
    assert {str(Path(one["path"]).relative_to(data)) for one in dry.json["files"]} == days
    assert dry.json["bytes"] == sum(len(before[name]) for name in days)
    assert {one["proof"] for one in dry.json["files"]} == {"rows of both read and compared"}
    assert files(data) == before
    done = cleanup(data, "--apply", "--json")
    assert (done.code, done.json["applied"], done.json["kept_after_all"], done.json["failures"]) == (0, True, [], [])
    assert done.json["bytes"] == dry.json["bytes"]
    assert files(data) == {name: content for name, content in before.items() if name not in days}
    assert_same(frames(data), wanted)
    assert_nothing_to_do(server, data)
    assert_catalog_is_the_footers(data)
    assert cleanup(data, "--apply", "--json").json["files"] == []


def test_archives_that_are_gone_by_policy_do_not_come_again(data: Path, server: ArchiveServer, no_raw: Path) -> None:
    """Neither for the next run, nor with a new database, nor for one that is made again of what is here."""
    before, wanted = files(data), frames(data)
    done = cleanup(data, "--settings", str(no_raw), "--apply", "--json")
    assert (done.code, done.json["kept_after_all"]) == (0, [])
    assert not list((data / "raw").rglob("*.zip"))
    stayed = {name: content for name, content in before.items() if not name.startswith("raw/")}
    assert files(data) == stayed
    assert_same(frames(data), wanted)
    assert_nothing_to_do(server, data)
    assert_nothing_to_do(server, data, "--process-only")
    rebuilt = command(server, data).run("--rebuild-status")
    assert (rebuilt.code, rebuilt.json["failed"], rebuilt.json["bytes_downloaded"]) == (0, 0, 0), rebuilt.err
    again = command(server, data).run("--symbols", "BTCUSDT", "--data-types", "klines,funding_rate")
    assert (again.code, again.json["downloaded"], again.json["skipped"]) == (0, 0, again.json["planned"])
    Layout(data).database.unlink()
    again = command(server, data).run(*REQUEST, "--settings", str(no_raw))
    assert (again.code, again.json["failed"]) == (0, 0), again.err
    # Trades begin in the middle of January, and nobody can say that no partition before them is lost.
    assert zip_hits(server) == {"data/futures/um/monthly/trades/BTCUSDT/BTCUSDT-trades-2025-01.zip": 1}
    assert {name: content for name, content in files(data).items() if not name.startswith("raw/")} == stayed
    assert_same(frames(data), wanted)
    assert_catalog_is_the_footers(data)


def test_what_is_lost_behind_removed_archives_is_fetched_again(data: Path, server: ArchiveServer, no_raw: Path) -> None:
    wanted = frames(data)
    assert cleanup(data, "--raw", "remove", "--apply", "--quiet").code == 0
    lost = Layout(data).processed(TRADES, Period.day(date(2025, 1, 29)))
    lost.unlink()
    done = command(server, data).run(*REQUEST, "--settings", str(no_raw))
    assert (done.code, done.json["downloaded"], done.json["stored"]) == (0, 1, 1), done.err
    assert list(zip_hits(server)) == ["data/futures/um/monthly/trades/BTCUSDT/BTCUSDT-trades-2025-01.zip"]
    assert_same(frames(data), wanted)


def test_what_the_exchange_replaces_comes_though_the_former_archive_is_gone(
    data: Path, archive: Path, tmp_path: Path, no_raw: Path
) -> None:
    def derived() -> list[int]:
        wanted = ["--data-dir", str(data), "--quiet"]
        made = (["features", "--bars", "tick-500", "--processes", "1"], ["cross-sections"])
        return [called(pipeline.main, [*words, *wanted]).code for words in made]

    assert derived() == [0, 0]
    assert cleanup(data, "--raw", "remove", "--apply", "--quiet").code == 0
    shutil.copytree(archive, tmp_path / "archive")
    other = small_market(first=FIRST, last=LAST, seed=99)
    only = ("um/BTCUSDT",)
    write_archive(other, tmp_path / "other", (Shelf("klines", "1h", symbols=only), Shelf("trades", symbols=only)))
    shutil.copytree(tmp_path / "other" / "data", tmp_path / "archive" / "data", dirs_exist_ok=True)
    with running_server(tmp_path / "archive") as server:
        done = command(server, data).run(*REQUEST, "--settings", str(no_raw))
    assert (done.code, done.json["replaced"], done.json["downloaded"]) == (0, 8, 8), done.err
    cleaned = cleanup(data, "--settings", str(no_raw), "--apply", "--json")
    assert cleaned.json["kept_after_all"] == []
    of_kind = Counter(one["kind"] for one in cleaned.json["files"])
    assert of_kind == {"raw": 8, "bars": 2, "cross-sections": 2}
    assert derived() == [0, 0]
    assert cleanup(data, "--json").json["files"] == []


DRIVER = """
import os, signal, sys
sys.path.insert(0, {scripts!r})
import _root
from core.storage import draft
from pathlib import Path
unlink, count = Path.unlink, [0]
def unlink_or_die(self, missing_ok=False):
    if self.suffix == ".zip":
        count[0] += 1
        if count[0] == {at}:
            {before}
            os.kill(os.getpid(), signal.SIGKILL)
    unlink(self, missing_ok=missing_ok)
Path.unlink = unlink_or_die
from core.commands.command import run_command
from core.commands import cleanup
run_command(cleanup.main)
"""


@pytest.mark.parametrize(("at", "is_gone"), [(1, False), (8, True)])
def test_kill_9_loses_nothing_and_a_second_call_finishes(
    data: Path, server: ArchiveServer, tmp_path: Path, no_raw: Path, at: int, is_gone: bool
) -> None:
    before, wanted = files(data), frames(data)
    driver = tmp_path / "driver.py"
    doing = "unlink(self)" if is_gone else "pass"
    driver.write_text(DRIVER.format(scripts=str(ROOT / "scripts"), at=at, before=doing))
    options = ["--data-dir", str(data), "--settings", str(no_raw), "--apply", "--json"]
    killed = Command(str(driver), options).run()
    assert killed.code == -signal.SIGKILL, killed.err
    gone = set(before) - set(files(data))
    assert len(gone) == at - (not is_gone)
    assert_same(frames(data), wanted)
    done = cleanup(data, *options[2:])
    assert (done.code, done.json["kept_after_all"], done.json["failures"]) == (0, [], [])
    assert not list((data / "raw").rglob("*.zip"))
    assert_same(frames(data), wanted)
    assert_nothing_to_do(server, data)
    assert_nothing_half_written(data)


def test_what_a_live_run_holds_is_left_alone(data: Path) -> None:
    layout = Layout(data)
    part = layout.raw(KLINES, Period.month(2025, 1)).with_name("BTCUSDT-1h-2025-01.zip.part")
    part.write_bytes(b"going on")
    with DownloadTracker(layout.database) as tracker:
        run = tracker.begin_run("test")
        rows = list(tracker.downloads(KLINES).values())
        tracker.demote([row.id for row in rows], rows[0].state.FETCHED)
        assert len(tracker.claim(run, [row.id for row in rows])) == len(rows)
        done = cleanup(data, "--raw", "remove", "--apply", "--json")
        tracker.finish_run(run)
    assert done.code == 0, done.err
    assert {Path(one["path"]).parts[-2] for one in done.json["files"]} == {"BTCUSDT"}
    assert sum("1h" in name for name in files(data) if name.startswith("raw/")) == 9 + 1
    assert part.exists()


def test_people_get_a_table_with_sizes(data: Path) -> None:
    shown = cleanup(data)
    assert shown.code == 0
    assert "Not needed" in shown.out
    assert "archives of days of which the month is here too" in shown.out
    assert "10 files" in shown.out
    assert "nothing was changed, --apply removes them" in shown.out
    told = cleanup(data, "--explain")
    assert "2025-01 is here and has its rows: rows of both read and compared" in told.out.replace("\n", " ")
    assert "archives are kept (storage.keep_raw)" in told.out
    assert "wanted (storage.csv_datasets)" in told.out
    assert "10 files" in cleanup(data, "--apply").out
    assert cleanup(data).out.startswith("Nothing to remove")
    assert cleanup(data, "--quiet").out == ""


def test_what_stays_is_told_alike_before_and_after(data: Path) -> None:
    dry = cleanup(data, "--explain", "--json")
    explained = cleanup(data, "--explain").out
    raw = Layout(data).raw(KLINES, Period.day(date(2025, 1, 28)))
    raw.write_bytes(raw.read_bytes()[:-1] + b"?")
    shutil.copytree(data, data.with_name("other"))
    told = cleanup(data, "--explain", "--apply")
    done = cleanup(data.with_name("other"), "--apply", "--json")
    stays = {Path(one["path"]).name: one["reason"] for one in dry.json["stays"]}
    assert stays["BTCUSDT-1h-2025-01.zip"] == "archives are kept (storage.keep_raw)"
    assert {Path(one["path"]).name: one["reason"] for one in done.json["stays"]} == stays
    assert [Path(one["path"]).name for one in done.json["kept_after_all"]] == [raw.name]
    before, after = (shown.partition("Stays")[2].partition("└")[0] for shown in (explained, told.out))
    assert "archives are kept (storage.keep_raw)" in before
    assert after == before
    assert "Kept after all" not in explained
    assert "its bytes are no longer those that were verified" in told.out.partition("Kept after all")[2]
    none = cleanup(data, "--explain", "--apply", "--kinds", "databases")
    assert none.out.startswith("0 files, 0 bytes removed; 0 kept after all; ")


def test_what_a_killed_run_held_is_nobodys(data: Path) -> None:
    """A dry run says what `--apply` would come to, and changes nothing."""
    layout = Layout(data)
    hold = (
        "import os, sys; from pathlib import Path; from core.download.tracker import DownloadTracker\n"
        "from core.types import Market, Series\n"
        f"with DownloadTracker(Path({str(layout.database)!r})) as tracker:\n"
        "    rows = list(tracker.downloads(Series(Market.UM, 'klines', 'BTCUSDT', '1h')).values())\n"
        "    tracker.demote([row.id for row in rows], rows[0].state.FETCHED)\n"
        "    assert tracker.claim(tracker.begin_run('download_all'), [row.id for row in rows])\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", hold], cwd=ROOT, check=False).returncode == -signal.SIGKILL

    def stays(*options: str) -> set[str]:
        found = cleanup(data, "--kinds", "raw,days", "--json", *options).json["stays"]
        return {one["reason"] for one in found if "-1h-" in one["path"]}

    assert stays("--explain") == {"it is not stored (fetched)"}
    with DownloadTracker(layout.database) as tracker:
        assert all(row.owner is not None for row in tracker.downloads(KLINES).values())
    assert stays("--apply") == {"it is not stored (fetched)"}


def test_the_last_sentence_is_one_line(data: Path) -> None:
    """However narrow; a pipe is taken for 80 columns."""
    piped = Command("scripts/cleanup.py", ["--data-dir", str(data)]).run()
    assert re.fullmatch(
        r"10 files, [\d.]+ \w+ could go; nothing was changed, --apply removes them; [\d.]+ seconds",
        piped.out.splitlines()[-1],
    )


def test_another_name_does_the_same(data: Path) -> None:
    piped = Command("scripts/pipeline.py", ["cleanup", "--data-dir", str(data), "--json"]).run("--kinds", "days")
    assert (piped.code, len(piped.json["files"])) == (0, 10)
    none = cleanup(data, "--json", "--kinds", "raw,parts,temporary")
    assert (none.code, none.json["files"]) == (0, [])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--kinds", "day"], 2, "--kinds: unknown kind 'day'; did you mean 'days'?"),
        (["--kinds", ","], 2, "--kinds is empty"),
        (["--raw", "delete"], 2, "'delete' is none of these"),
        (["--aply"], 2, "did you mean '--apply'?"),
    ],
)
def test_a_wrong_request_gets_one_clear_line(data: Path, options: list[str], code: int, message: str) -> None:
    before = files(data)
    done = cleanup(data, *options)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert files(data) == before


def test_an_empty_folder_stays_empty(tmp_path: Path) -> None:
    done = cleanup(tmp_path / "none")
    assert done.code == 3
    assert "nothing is here" in done.err
    assert not (tmp_path / "none").exists()


def test_an_archive_that_is_damaged_is_kept_and_said(data: Path) -> None:
    raw = Layout(data).raw(KLINES, Period.day(date(2025, 1, 28)))
    raw.write_bytes(raw.read_bytes()[:-1] + b"?")
    done = cleanup(data, "--apply")
    assert done.code == 1
    assert "its bytes are no longer those that were verified" in done.err
    assert raw.exists()
