"""A data folder behind one that nobody here may enter: one line that says so, from every command that looks there."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from factories import called

from core.commands import cleanup, daily_update, doctor, download_all, monitor, pipeline
from core.errors import StorageError
from core.layout import Layout
from core.web import status

NOBODY = 65534
NOWHERE = ("--source", "http://127.0.0.1:1")


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Nobody may enter the folder; root, who may enter all, is somebody else meanwhile."""
    is_root = os.geteuid() == 0
    folder.chmod(0)
    if is_root:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if is_root:
            os.setresuid(0, 0, 0)
        folder.chmod(0o700)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "closed" / "data"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("main", "words"),
    [
        pytest.param(monitor.main, ["summary"], id="summary"),
        pytest.param(monitor.main, ["integrity"], id="integrity"),
        pytest.param(pipeline.main, ["delete", "--dry-run"], id="delete"),
        pytest.param(cleanup.main, [], id="cleanup"),
        pytest.param(daily_update.main, NOWHERE, id="update"),
        pytest.param(download_all.main, [*NOWHERE, "--symbols", "BTCUSDT", "--dry-run"], id="download"),
    ],
)
def test_a_closed_folder_is_one_line(main: Callable[[Sequence[str]], int], words: Sequence[str], data: Path) -> None:
    options = [*words, "--data-dir", str(data)]
    before = called(main, options)  # nothing is there; and all that the command needs is loaded now
    assert before.code != 0
    with closed(data.parent):
        done = called(main, options)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done.err
    assert done.err.startswith(f"error: cannot use {data}")
    assert done.err.endswith("Permission denied; check the folder and its permissions\n")


def test_the_doctor_says_which_folder_is_closed(data: Path) -> None:
    assert called(doctor.main, ["--data-dir", str(data), "--offline"]).code == 0
    with closed(data.parent):
        done = called(doctor.main, ["--data-dir", str(data), "--offline", "--json"])
    wrong = {look["about"]: look for look in done.json["looks"] if look["verdict"] == "wrong"}
    assert (done.code, set(wrong) >= {"data folder", "status database"}) == (1, True)
    assert "which" in wrong["data folder"]["found"]
    assert wrong["data folder"]["mend"].startswith("run: sudo chmod o+x /")
    assert wrong["status database"]["mend"] == "check the folder and its permissions"


def test_the_page_says_so_too(data: Path) -> None:
    with closed(data.parent), pytest.raises(StorageError, match="Permission denied"):
        status.status(Layout(data))
