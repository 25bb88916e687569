"""Files get their names, and rows their states, in batches: in the right order, and no error is lost in a batch."""

import asyncio
import os
import time
from datetime import date, timedelta
from pathlib import Path

import pytest

from core.download.publish import Publisher
from core.download.tracker import Change, DownloadTracker
from core.errors import StorageError, TrackerError
from core.jobs.recorder import ROWS, SECONDS, Recorder
from core.types import ArchiveFile, FetchedFile, Market, Period, Proof, Series, State


def write(path: Path, content: bytes) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(file, content)
    return file


async def publish_all(folder: Path, count: int, publisher: Publisher) -> list[BaseException | None]:
    async def one(number: int) -> None:
        part, target = folder / f"{number % 3}" / f"{number}.part", folder / f"{number % 3}" / f"{number}"
        content = b"%d" % number
        await publisher.publish(write(part, content), len(content), part, target)

    return await asyncio.gather(*(one(number) for number in range(count)), return_exceptions=True)


def test_many_files_get_their_names_and_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    publisher = Publisher()
    assert asyncio.run(publish_all(tmp_path, 200, publisher)) == [None] * 200
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == {
        f"{number}": b"%d" % number for number in range(200)
    }
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


@pytest.mark.parametrize("seconds", [0.0, 0.001], ids=["quick disk", "slow disk"])
def test_bytes_are_synced_before_the_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    steps: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(file: int) -> None:
        steps.append(("sync", Path(f"/proc/self/fd/{file}").readlink().name))
        if seconds:
            time.sleep(seconds)
            fsync(file)

    def noted_replace(source: Path, target: Path) -> None:
        steps.append(("name", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)

    async def publish_twice() -> None:
        publisher = Publisher()
        await publish_all(tmp_path, 30, publisher)  # the first batch tells how quick the disk is
        steps.clear()
        await publish_all(tmp_path, 30, publisher)

    asyncio.run(publish_twice())
    for number in range(30):
        sync, name = steps.index(("sync", f"{number}.part")), steps.index(("name", f"{number}"))
        assert sync < name
        assert ("sync", f"{number % 3}") in steps[name:]


def test_a_file_that_somebody_else_writes_to_gets_no_name(tmp_path: Path) -> None:
    async def run() -> None:
        part, target = tmp_path / "x.part", tmp_path / "x"
        file = write(part, b"ours")
        with part.open("ab") as other:
            other.write(b" and theirs")
        with pytest.raises(StorageError, match="15 bytes instead of 4: another process writes to it"):
            await Publisher().publish(file, 4, part, target)
        assert not target.exists()

    asyncio.run(run())


def test_one_file_that_cannot_be_named_does_not_hold_up_the_others(tmp_path: Path) -> None:
    (tmp_path / "1" / "4").mkdir(parents=True)  # a folder stands where the file should be
    (tmp_path / "1" / "4" / "x").touch()
    results = asyncio.run(publish_all(tmp_path, 12, Publisher()))
    assert [number for number, result in enumerate(results) if result is not None] == [4]
    assert isinstance(results[4], StorageError)
    assert str(tmp_path / "1" / "4") in str(results[4])


def listed(count: int) -> list[ArchiveFile]:
    series = Series(Market.UM, "klines", "BTCUSDT", "1h")
    days = [Period.day(date(2024, 1, 1) + timedelta(days=number)) for number in range(count)]
    return [ArchiveFile(series, day, f"k/{day.label}", 1, "e", None, "") for day in days]


class Landing:
    """A recorder over a database, and what it told."""

    def __init__(self, tracker: DownloadTracker, count: int) -> None:
        self.tracker = tracker
        self.run = tracker.begin_run("test")
        self.claimed = tracker.claim(self.run, tracker.plan(listed(count)).fetch)
        self.landed: list[int] = []
        self.lost: set[int] = set()
        self.recorder = Recorder(
            tracker, self.run, lambda change: self.landed.append(change.download.id), self.lost.update
        )

    def add(self, number: int) -> None:
        file = self.claimed[number].file
        fetched = FetchedFile(file, Path("x"), 1, "5" * 64, Proof.SHA256_BY_ETAG)
        self.recorder.add(Change(self.claimed[number], State.FETCHED, fetched=fetched))

    @property
    def written(self) -> int:
        return self.tracker.totals().get(State.FETCHED, 0)


@pytest.fixture
def tracker(tmp_path: Path):  # type: ignore[no-untyped-def]
    with DownloadTracker(tmp_path / "status.db") as tracker:
        yield tracker


def test_rows_are_written_when_there_are_enough_or_after_a_moment(tracker: DownloadTracker) -> None:
    async def run() -> None:
        world = Landing(tracker, ROWS + 3)
        for number in range(ROWS - 1):
            world.add(number)
        assert (world.written, world.landed) == (0, [])
        world.add(ROWS - 1)
        assert world.written == len(world.landed) == ROWS
        world.add(ROWS)
        await asyncio.sleep(SECONDS * 2)
        assert world.written == len(world.landed) == ROWS + 1
        world.add(ROWS + 1)
        world.recorder.flush()
        assert world.written == ROWS + 2

    asyncio.run(run())


def test_a_row_that_was_taken_over_is_told_and_does_not_land(tracker: DownloadTracker) -> None:
    async def run() -> None:
        world = Landing(tracker, 3)
        tracker.finish_run(world.run)
        world.add(0)
        world.recorder.flush()
        assert (world.landed, world.lost) == ([], {world.claimed[0].id})

    asyncio.run(run())


def test_an_error_of_a_write_that_nobody_awaited_reaches_the_next_who_adds(tracker: DownloadTracker) -> None:
    async def run() -> None:
        world = Landing(tracker, 3)
        world.add(0)
        tracker.close()

        def broken(*_: object) -> set[int]:
            raise TrackerError("the database has gone")

        tracker.advance = broken  # type: ignore[method-assign]
        await asyncio.sleep(SECONDS * 3)
        with pytest.raises(TrackerError, match="has gone"):
            world.add(1)
        with pytest.raises(TrackerError, match="has gone"):
            world.recorder.flush()

    asyncio.run(run())
