"""`monitor.py summary` and `failures`: symbols that are named and not known are told, and lines can be copied."""

import shlex
from pathlib import Path

import pytest
from factories import Outcome, called

from core.commands import download_all, monitor
from core.download.tracker import Change, DownloadTracker
from core.layout import Layout
from core.types import ArchiveFile, Market, Period, Series, State

BTC = Series(Market.UM, "klines", "BTCUSDT", "1h")
INDEX = Series(Market.CM, "index_price", "ETHUSD", "1h")
JANUARY = Period.month(2024, 1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder, with a space in its name, whose database knows two series; an archive of one of them failed."""
    folder = tmp_path / "my data"
    files = [ArchiveFile(one, JANUARY, f"data/{one}/2024-01.zip", 100, "e", "c", "m") for one in (BTC, INDEX)]
    with DownloadTracker(Layout(folder).database) as tracker:
        run = tracker.begin_run("test")
        claimed = tracker.claim(run, tracker.plan(files).fetch)
        failed = [download for download in claimed if download.file.series == BTC]
        tracker.advance(run, [Change(download, State.FAILED, error="answered 500") for download in failed])
        tracker.finish_run(run)
    return folder


def told(data: Path, view: str, *options: str) -> Outcome:
    return called(monitor.main, [view, "--data-dir", str(data), *options])


@pytest.mark.parametrize("view", ["summary", "failures"])
def test_a_symbol_that_is_not_known_is_told(data: Path, view: str) -> None:
    some = told(data, view, "--symbols", "BTCUSDT,BTCUSTD", "--json")
    assert (some.code, some.json["missing"]) == (1, ["BTCUSTD"])
    assert some.err == "not known here: BTCUSTD; did you mean 'BTCUSDT'?\n"
    alone = told(data, view, "--symbols", "BTCUSTD")
    assert (alone.code, alone.out) == (3, "")
    assert alone.err == "error: nothing of that is known here; did you mean 'BTCUSDT'?\n"
    other = told(data, view, "--symbols", "BTCUSDT", "--market", "spot")
    assert (other.code, other.err) == (3, "error: nothing of that is known here; get it with download_all.py\n")


def test_what_is_known_and_did_not_fail_is_well(data: Path) -> None:
    """The index of a contract is filed by its pair, and asked for by its name."""
    well = told(data, "failures", "--symbols", "ETHUSD_PERP", "--market", "um,cm", "--interval", "1h,1m", "--json")
    assert (well.code, well.json) == (0, {"failures": [], "missing": []})
    assert told(data, "summary", "--symbols", "ETHUSD_PERP", "--json").json["total"]["series"] == 1
    assert told(data, "failures", "--json").code == 1


def test_the_line_that_goes_on_can_be_copied_whatever_the_folder_is_called(data: Path) -> None:
    again = told(data, "failures", "--retry", "--symbols", "BTCUSDT,NONE", "--json")
    assert (again.code, again.json["planned"], again.json["missing"]) == (1, 1, ["NONE"])
    python, script, *words = shlex.split(again.json["continue"])
    assert (python, script) == ("python", "scripts/download_all.py")
    options = download_all.parser().parse_args(words)
    assert (options.data_dir, options.unfinished) == (data, True)
