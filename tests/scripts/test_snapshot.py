"""`snapshot.py create|verify|diff` as commands: what they write and say, and their exit codes."""

import gc
import os
import re
from pathlib import Path

import pytest
from factories import ROOT, Command, Outcome
from snapshot_world import FUNDING, KLINES, MARK, TRADES, Folder, day, days, market, one_cell, span_of_days

from core.snapshot.text import load
from loader import BacktestDataLoader

gc.enable()  # what scripts share turns it off


class Place:
    """A data folder, a lock beside it, and the command."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root / "data")
        self.lock = root / "data.lock"

    def run(self, job: str, *options: str) -> Outcome:
        command = Command("scripts/snapshot.py", [job, "--data-dir", str(self.folder.root)])
        return command.run(*options)

    def create(self, *options: str) -> Outcome:
        return self.run("create", "--output", str(self.lock), *options)

    def verify(self, *options: str) -> Outcome:
        return self.run("verify", str(self.lock), *options)

    def diff(self, *options: str) -> Outcome:
        return self.run("diff", str(self.lock), *options)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.folder.put(KLINES, ["2024-12", *days(1, 5)])
    made.folder.put(FUNDING, ["2024-12"])
    return made


def test_a_study_from_lock_to_repetition(place: Place) -> None:
    """Create, verify, an update at night, verify and diff, a revision, verify and diff; and what the loader gives."""
    made = place.create("--json")
    assert (made.code, made.err) == (0, "")
    lock = load(place.lock)
    funding = len(market().truth(FUNDING, span_of_days("2024-12-10", "2024-12-31")))
    assert made.json | {"seconds": 0} == {
        "lock": str(place.lock),
        "content": lock.content,
        "market": "um",
        "start": "2024-12-01 00:00:00",
        "end": "2025-02-01 00:00:00",
        "series": 2,
        "rows": 528 + 120 + funding,
        "partitions": 3,
        "without_rows": [],
        "seconds": 0,
    }
    equal = place.verify()
    assert (equal.code, equal.err) == (0, "")
    assert equal.out == (
        f"{place.lock} is equal to what is stored: {lock.rows} rows of 2 series of um, 2024-12-01 00:00:00 to "
        "2025-02-01 00:00:00 UTC\n"
    )
    with BacktestDataLoader(data_dir=place.folder.root, snapshot=place.lock) as loader:
        before = loader.load_data("BTCUSDT", "2024-12-01", "2025-01-31")["klines"]

    place.folder.put(KLINES, [day(6)])
    again = place.verify("--json")
    assert again.json == {
        "lock": str(place.lock),
        "equal": True,
        "rows": lock.rows,
        "series": 2,
        "newer_rows": 24,
        "changes": [],
    }
    assert again.code == 0
    assert "; 24 newer rows, which a load with the lock does not see" in place.verify().out
    found = place.diff("--json")
    assert found.code == 1
    (change,) = found.json["changes"]
    text = change.pop("text")
    assert change == {
        "series": "um/klines/BTCUSDT/1h",
        "period": "2025-01",
        "kind": "added",
        "rows_before": 120,
        "rows_after": 144,
        "first": "2025-01-06 00:00:00",
        "last": "2025-01-06 23:00:00",
        "causes": [
            "an archive was added: data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-06.zip, 24 rows",
        ],
    }
    assert place.diff().out == f"{text}\n{place.lock} and what is stored differ\n"
    with BacktestDataLoader(data_dir=place.folder.root, snapshot=place.lock) as loader:
        assert loader.load_data("BTCUSDT", "2024-12-01", "2025-01-31")["klines"].equals(before)

    place.folder.put(KLINES, [day(2)], edit=one_cell(5, 4, "12345.6"))
    broken = place.verify()
    assert broken.code == 1
    assert broken.out.startswith(
        "um/klines/BTCUSDT/1h 2025-01: an archive was revised: as many rows, with other content, "
        "2025-01-02 00:00:00 to 2025-01-02 23:00:00 (data/futures/um/daily/klines/"
    )
    assert "BTCUSDT-1h-2025-01-02.zip was revised: sha256 " in broken.out
    assert f"{place.lock} is not equal to what is stored" in broken.out
    assert place.verify("--json").json["changes"][0]["kind"] == "revised"
    assert place.verify("--quiet").out == ""


def test_two_locks_are_compared_without_any_data(place: Place, tmp_path: Path) -> None:
    place.create("--quiet")
    later = tmp_path / "later.lock"
    place.folder.put(KLINES, [day(6)])
    assert place.run("create", "--output", str(later), "--quiet").code == 0
    found = Command("scripts/snapshot.py", ["diff", "--data-dir", str(tmp_path / "none")]).run(
        str(place.lock), str(later), "--json"
    )
    assert found.code == 1
    assert (found.json["equal"], found.json["scope"], found.json["changes"][0]["kind"]) == (False, [], "added")
    same = place.run("diff", str(later), str(later))
    assert (same.code, same.out) == (0, f"{later} and {later} have the same rows\n")


def test_locks_of_another_scope_differ(place: Place, tmp_path: Path) -> None:
    place.create()
    other = tmp_path / "other.lock"
    place.run("create", "--output", str(other), "--data-types", "klines", "--start", "2025-01-01")
    found = place.run("diff", str(place.lock), str(other))
    assert found.code == 1
    assert "scope: um/funding_rate/BTCUSDT is no longer covered\n" in found.out
    assert "scope: 2025-01-01 00:00:00 to 2025-02-01 00:00:00, not 2024-12-01 00:00:00 to" in found.out
    assert "um/klines/BTCUSDT/1h 2024-12: 528 rows gone" in found.out


def test_other_files_are_shown_and_are_no_difference(place: Place) -> None:
    place.folder.put(TRADES, days(20, 21))
    place.create()
    place.folder.merge(TRADES, "2025-01")
    found = place.diff()
    assert found.code == 0
    assert found.out == (
        "um/trades/BTCUSDT: the same rows, packed otherwise (files 2025-01 instead of 2025-01-20, 2025-01-21)\n"
        f"{place.lock} and what is stored have the same rows\n"
    )
    assert place.verify().code == 0


def test_the_scope_is_what_was_asked_for(place: Place) -> None:
    place.folder.put(MARK, days(1, 2))
    made = place.create(
        "--symbols",
        "BTCUSDT",
        "--data-types",
        "klines,mark_price,index_price",
        "--interval",
        "1h",
        "--start",
        "2025-01-02",
        "--end",
        "2025-01-03",
    )
    assert made.code == 0
    assert made.err == "locked as having no rows: um/index_price/BTCUSDT/1h\n"
    assert made.out.splitlines()[0].endswith(
        "data.lock: 72 rows of 3 series of um, 2025-01-02 00:00:00 to 2025-01-04 00:00:00 UTC"
    )
    lock = load(place.lock)
    assert {str(one.series): one.rows for one in lock.series} == {
        "um/index_price/BTCUSDT/1h": 0,
        "um/klines/BTCUSDT/1h": 48,
        "um/mark_price/BTCUSDT/1h": 24,
    }
    assert made.out.splitlines()[1] == f"content {lock.content}"


def test_a_lock_says_nothing_of_this_machine_and_only_when_it_was_made(place: Place, tmp_path: Path) -> None:
    place.create()
    first = place.lock.read_text()
    assert str(tmp_path) not in first
    assert place.create("--force").code == 0
    pattern = r'"created": "[^"]*"'
    assert re.sub(pattern, "", place.lock.read_text()) == re.sub(pattern, "", first)


def test_a_lock_that_is_there_is_left_alone(place: Place) -> None:
    place.lock.write_text("mine")
    refused = place.create()
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == f"error: {place.lock} is there already; --force replaces it, --output writes another\n"
    assert place.lock.read_text() == "mine"
    assert place.create("--force").code == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["create", "--market", "umm"], 2, "unknown market 'umm'; did you mean 'um'?"),
        (["create", "--data-types", "kline"], 2, "unknown data type 'kline'; did you mean 'klines'?"),
        (["create", "--interval", "7h"], 2, "7h"),
        (["create", "--symbols", "BTCUSD"], 3, "um BTCUSD: nothing of that is stored; did you mean 'BTCUSDT'?"),
        (["create", "--market", "spot"], 3, "nothing of that is stored of spot"),
        (["create", "--data-types", "trades"], 3, "nothing of that is stored of um"),
        (["create", "--start", "2024-02-30"], 2, "--start: '2024-02-30' is not a day"),
        (["create", "--start", "2025-01-09", "--end", "2025-01-08"], 2, "--end 2025-01-08 lies before"),
        (["create", "--start", "2020-01-01", "--end", "2020-01-02"], 3, "no stored row lies between --start and --end"),
        (["verify", "no.lock"], 2, "there is no lock no.lock; scripts/snapshot.py create makes one"),
        (["diff", "no.lock"], 2, "there is no lock no.lock"),
        (["verfy"], 2, "verfy"),
        (["diff"], 2, "OLD"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_its_exit_code(
    place: Place, options: list[str], code: int, message: str
) -> None:
    output = ["--output", str(place.lock)] if options[0] == "create" else []
    where = ["--data-dir", str(place.folder.root)] if options[0] != "verfy" else []
    found = Command("scripts/snapshot.py").run(*options, *output, *where)
    assert (found.code, found.out) == (code, "")
    assert message in found.err.splitlines()[0]
    assert not place.lock.exists()


def test_a_folder_with_nothing_of_a_lock_is_no_difference_but_nothing(place: Place, tmp_path: Path) -> None:
    place.create()
    found = Command("scripts/snapshot.py").run("verify", str(place.lock), "--data-dir", str(tmp_path / "empty"))
    assert (found.code, found.out) == (3, "")
    assert "none of the 2 series in" in found.err


def test_a_damaged_edited_or_newer_lock_is_refused(place: Place) -> None:
    place.create()
    text = place.lock.read_text()
    for change, message in (
        (text.replace('"rows": 528', '"rows": 527', 1), "its checksum is not that of its content"),
        (text[:-100], "is damaged: line"),
        (text.replace('"version": 1', '"version": 9'), "was made by a newer version"),
    ):
        assert change != text
        place.lock.write_text(change)
        for found in (place.verify(), place.diff()):
            assert (found.code, found.out) == (2, "")
            assert message in found.err


def test_a_partition_that_cannot_be_read_is_said(place: Place) -> None:
    place.create()
    place.folder.partitions(KLINES)[0].path.write_bytes(b"nothing")
    found = place.verify()
    assert (found.code, found.out) == (1, "")
    assert "is no partition of ours" in found.err


def test_progress_is_shown_on_a_terminal_only(place: Place) -> None:
    import pty
    import subprocess
    import sys

    outer, inner = pty.openpty()
    words = ["create", "--data-dir", str(place.folder.root), "--output", str(place.lock)]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts/snapshot.py"), *words], stderr=inner, stdout=subprocess.PIPE, text=True
    )
    out, _ = process.communicate(timeout=120)
    os.close(inner)
    shown = b""
    while chunk := _read(outer):
        shown += chunk
    os.close(outer)
    assert process.returncode == 0
    assert "rows of 2 series" in out
    assert b"looking for what is stored" in shown
    assert place.create("--force").err == ""


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""  # the other end is closed


def _blocks(text: str) -> list[list[tuple[str, str]]]:
    """Of each block of commands in the documentation the commands, and what each prints."""
    found = []
    for block in re.findall(r"^```\n(\$ .*?)^```$", text, re.MULTILINE | re.DOTALL):
        parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        found.append([(command, out) for command, _, out in (part.partition("\n") for part in parts)])
    return found


def test_the_worked_example_of_the_documentation(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command in docs/snapshots.md, in its order, prints what stands there."""
    monkeypatch.chdir(place.folder.root.parent)
    text = (ROOT / "docs" / "snapshots.md").read_text(encoding="utf-8")
    blocks = _blocks(text)
    between = (
        lambda: None,
        lambda: place.folder.put(KLINES, [day(6)]),
        lambda: place.folder.put(KLINES, [day(2)], edit=one_cell(5, 4, "12345.6")),
    )
    assert len(blocks) == len(between)
    for happens, block in zip(between, blocks, strict=True):
        happens()
        for command, out in block:
            python, script, *words = command.split()
            assert (python, script) == ("python", "scripts/snapshot.py")
            found = Command(script, env={"TAPEVAULT_HOME": str(place.folder.root)}).run(*words)
            assert (found.out, found.err) == (out, "")
    lock = place.lock.read_text()
    (shown,) = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for line in shown.splitlines() if line.strip() != "..."]
    for line in lines:
        name = line.split(":")[0].strip()
        if name not in ('"created"', '"checksum"'):
            assert f"{line}\n" in lock
    assert len(lines) > 20
