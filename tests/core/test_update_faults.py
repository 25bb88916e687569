"""Faults of the source (D21 to D23), from the first night to their acceptance or their repair."""

import hashlib
from pathlib import Path

import pytest
from factories import publish, zip_bytes
from update_world import World, every_day, klines, text_of

from core.download.tracker import DownloadTracker
from core.events import Snapshot
from core.exchanges.binance.urls import key_of
from core.jobs.update import UpdateSummary
from core.monitor.view import room_needed
from core.sample.faults import on, status
from core.types import Period, Proof, State

BTC, ETH = klines("BTCUSDT"), klines("ETHUSDT")
DAY = Period.parse("2024-01-11")
NAME = "ETHUSDT-1h-2024-01-11"
KINDS = {
    State.UNVERIFIED: "no-checksum",
    State.CORRUPT: "corrupt-upstream",
    State.MISMATCH: "mismatch-upstream",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    for one in (BTC, ETH):
        world.publish_days(one, "2024-01-05", "2024-01-10")
    world.begin(BTC, ETH, last="2024-01-10")
    assert world.night("2024-01-11").is_well
    world.publish(BTC, "2024-01-11")
    return world


def right() -> bytes:
    return zip_bytes({f"{NAME}.csv": text_of(ETH, DAY)})


def broken() -> bytes:
    """A zip of which the compressed bytes are damaged; the checksum that is published is its own."""
    content = bytearray(right())
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


def publish_faulty(world: World, state: State) -> None:
    if state is State.MISMATCH:
        publish(world.served, key_of(ETH, DAY), right(), checksum=f"{'1' * 64}  {NAME}.zip\n")
    else:
        publish(world.served, key_of(ETH, DAY), broken() if state is State.CORRUPT else right())
    if state is State.UNVERIFIED:
        world.withdraw(ETH, DAY.label, ".CHECKSUM")


def proof_of_the_day(world: World) -> Proof | None:
    sources = [source for part in world.storage.partitions(ETH) for source in part.sources]
    with DownloadTracker(world.layout.database) as tracker:
        entered = [source for part in tracker.catalog(world.layout, ETH) for source in part.sources]
    assert entered == sources
    return next((source.proof for source in sources if source.period == DAY), None)


def counted(done: UpdateSummary) -> dict[State, int]:
    counts = {
        State.UNVERIFIED: done.sync.unverified,
        State.CORRUPT: done.sync.corrupt,
        State.MISMATCH: done.sync.mismatched,
    }
    return {state: count for state, count in counts.items() if count}


@pytest.mark.parametrize("state", KINDS)
def test_a_fault_is_news_once_and_asked_for_ever_more_rarely(world: World, state: State) -> None:
    """D21: no checksum. D22: a broken zip with the right checksum. D23: a checksum that is wrong."""
    publish_faulty(world, state)
    first = world.night("2024-01-12")
    assert (counted(first), first.is_well, world.findings) == ({state: 1}, False, [(KINDS[state], 1)])
    assert [(fault.key, fault.state) for fault in first.sync.faults] == [(key_of(ETH, DAY), state)]
    assert world.state(ETH, DAY.label) is state
    assert proof_of_the_day(world) is None
    asked = []
    for night in range(12, 31):
        later = world.night(f"2024-01-{night}")
        assert (later.is_well, world.findings) == (True, [])
        assert world.state(ETH, DAY.label) is state
        assert not [name for name in world.zips if name.startswith(NAME)], "the bytes are here"
        small = world.hits.get(f"{key_of(ETH, DAY)}.CHECKSUM", 0)
        assert small <= 1
        asked += [night] if small else []
        assert later.waiting == (0 if small else 1)
        assert (sum(counted(later).values()) == 1) is bool(small)
        for one in (BTC, ETH):
            world.publish(one, f"2024-01-{night}")
    assert asked == [13, 15, 19, 26]  # one, two, four and seven days later
    assert world.days(ETH) == every_day("2024-01-05", "2024-01-29", without=["2024-01-11"])


@pytest.mark.parametrize("state", [State.UNVERIFIED, State.MISMATCH])
def test_an_accepted_fault_is_stored_with_what_vouches_for_it(world: World, state: State) -> None:
    publish_faulty(world, state)
    world.night("2024-01-12")
    world.accept = frozenset({state})
    done = world.night("2024-01-12")
    assert (done.sync.stored, done.is_well, world.findings) == (1, True, [(KINDS[state], 1)])
    assert world.zips == []
    assert proof_of_the_day(world) is (Proof.UNVERIFIED if state is State.UNVERIFIED else Proof.DISPUTED)
    assert world.days(ETH) == every_day("2024-01-05", "2024-01-11")
    assert list(world.layout.root.rglob("*.disputed")) == []
    world.accept = frozenset()  # what was accepted once stays
    assert (world.night("2024-01-13").sync.planned, world.state(ETH, DAY.label)) == (0, State.STORED)
    publish(world.served, key_of(ETH, DAY), right())  # the checksum comes, or is put right
    repaired = world.night("2024-01-14")
    assert (repaired.sync.replaced, repaired.is_well, world.findings) == (0, True, [])
    assert proof_of_the_day(world) in (Proof.SHA256_BY_ETAG, Proof.SHA256_BY_CHECKSUM)


@pytest.mark.parametrize("state", [State.UNVERIFIED, State.MISMATCH])
def test_a_fault_can_be_accepted_before_it_is_met(world: World, state: State) -> None:
    publish_faulty(world, state)
    world.accept = frozenset({state})
    done = world.night("2024-01-12")
    assert (done.sync.stored, counted(done), done.is_well) == (2, {}, True)
    assert world.findings == [(KINDS[state], 1)]
    assert world.night("2024-01-12").is_idle


@pytest.mark.parametrize("state", KINDS)
def test_a_repair_at_the_source_is_taken_at_once(world: World, state: State) -> None:
    publish_faulty(world, state)
    world.nights("2024-01-12", "2024-01-13")
    path = publish(world.served, key_of(ETH, DAY), right())
    done = world.night("2024-01-14")  # the second wait is two days, but the listing shows another archive or checksum
    assert (done.sync.stored, counted(done), done.is_well, world.findings) == (1, {}, True, _republished(state))
    assert world.layout.raw(ETH, DAY).read_bytes() == path.read_bytes()
    assert world.days(ETH) == every_day("2024-01-05", "2024-01-11")
    assert list(world.layout.root.rglob("*.disputed")) == []
    with DownloadTracker(world.layout.database) as tracker:
        (row,) = [row for row in tracker.states(range(1, 99)) if row.file.key == key_of(ETH, DAY)]
    assert (row.state, row.fault, row.asks) == (State.STORED, None, 0)
    assert row.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def _republished(state: State) -> list[tuple[str, int]]:
    return [("republished", 1)] if state is State.CORRUPT else []


def test_a_zip_that_does_not_open_cannot_be_accepted(world: World) -> None:
    publish_faulty(world, State.CORRUPT)
    world.accept = frozenset({State.CORRUPT})
    done = world.night("2024-01-12")
    assert (counted(done), done.is_well) == ({State.CORRUPT: 1}, False)
    assert proof_of_the_day(world) is None
    again = world.night("2024-01-12")  # read once more, as it is accepted, and no news
    assert (counted(again), again.is_well, world.zips) == ({State.CORRUPT: 1}, True, [])


def test_another_fault_of_the_same_archive_is_news_again(world: World) -> None:
    publish_faulty(world, State.UNVERIFIED)
    world.night("2024-01-12")
    publish_faulty(world, State.MISMATCH)
    done = world.night("2024-01-13")
    assert (counted(done), done.is_well) == ({State.MISMATCH: 1}, False)
    assert world.findings == [("mismatch-upstream", 1)]


def test_a_broken_month_leaves_its_days_where_they_are(world: World) -> None:
    for one in (BTC, ETH):
        world.publish_days(one, "2024-01-11", "2024-02-05")
    world.nights("2024-01-18", "2024-01-25", "2024-02-01")
    month = Period.parse("2024-01")
    whole = zip_bytes({"ETHUSDT-1h-2024-01.csv": text_of(ETH, month)})
    world.publish(BTC, month)
    publish(world.served, key_of(ETH, month), whole[: len(whole) // 2])
    first = world.night("2024-02-03")
    assert (counted(first), first.is_well, world.state(ETH, "2024-01")) == ({State.CORRUPT: 1}, False, State.CORRUPT)
    assert world.days(ETH) == every_day("2024-01-05", "2024-02-02")
    assert world.night("2024-02-05").is_well
    publish(world.served, key_of(ETH, month), whole)
    assert world.night("2024-02-06").is_well
    assert world.state(ETH, "2024-01") is State.STORED
    assert world.days(ETH) == every_day("2024-01-01", "2024-02-05")


@pytest.mark.parametrize("state", [*KINDS, State.MISSING])
def test_what_does_not_come_or_is_not_stored_is_waited_for_no_longer(world: World, state: State) -> None:
    """Nothing is left, of the bytes that are to come and of those that are to be stored, when the run is over."""
    publish_faulty(world, state)
    size = (world.served / key_of(ETH, DAY)).stat().st_size
    gone = on(f"{NAME}.zip", status(404)) if state is State.MISSING else None
    done = world.night("2024-01-12", gone)
    assert (done.sync.stored, counted(done) or done.sync.missing) == (1, {state: 1} if state in KINDS else 1)
    snapshot = Snapshot()
    for event in world.events:
        snapshot.apply(event)
    has_come = state in (State.CORRUPT, State.UNVERIFIED)
    assert (snapshot.lost_bytes, snapshot.refused_bytes) == ((0, size) if has_come else (size, 0))
    assert snapshot.coming_bytes == snapshot.bytes_done
    assert (snapshot.unstored_bytes, room_needed(snapshot)) == (0, 0)
