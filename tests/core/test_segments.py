"""One large file over several connections: cut, resumed, disturbed, and always the same bytes."""

import asyncio
import dataclasses
import random
from pathlib import Path

import pytest
from download_world import BODY, OTHER, QUICK, World
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.download.part import PartFile
from core.download.segments import Segments, even_step
from core.errors import ConnectionLost, NotPublished
from core.events import FileProgressed
from core.sample.faults import cut, first_of, flip, ignore_end, ignore_range, on, replaced, reset, shifted, status

SPLIT = dataclasses.replace(QUICK, ranges=4, range_bytes=50_000)
PIECES = 8  # two for each of four connections
STEP = -(-len(BODY) // PIECES)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def leave_piece(world: World, start: int, length: int) -> None:
    world.part.parent.mkdir(parents=True, exist_ok=True)
    world.part.with_name(f"{world.part.name}@{start}").write_bytes(BODY[start : start + length])


def bytes_here(world: World) -> int:
    """Of the body; a piece may lie there and be appended to the part already."""
    here: set[int] = set()
    for path in world.target.parent.iterdir():
        start = int(path.name.rpartition("@")[2]) if "@" in path.name else 0
        here.update(range(start, start + path.stat().st_size))
    return len(here)


def left_over(world: World) -> list[str]:
    return [path.name for path in world.target.parent.iterdir() if path != world.target]


def test_every_byte_is_asked_for_once_in_pieces(world: World) -> None:
    fetched = world.fetch(settings=SPLIT)
    assert world.is_right
    assert (fetched.transferred, world.sent, world.hits) == (len(BODY), len(BODY), PIECES)
    wanted = [f"bytes={start}-{min(start + STEP, len(BODY)) - 1}" for start in range(0, len(BODY), STEP)]
    assert sorted(map(str, world.ranges)) == sorted(wanted)
    assert left_over(world) == []


@given(st.integers(1, 10**12), st.integers(1, 10**9), st.integers(1, 64))
def test_pieces_are_no_longer_than_allowed_and_every_connection_has_as_many(size: int, most: int, lanes: int) -> None:
    step = even_step(size, most, lanes)
    assert 1 <= step <= most
    pieces, fewest = -(-size // step), -(-size // (most * lanes)) * lanes
    assert pieces <= fewest


def test_a_file_below_two_pieces_comes_over_one_connection(world: World) -> None:
    world.fetch(settings=dataclasses.replace(SPLIT, range_bytes=len(BODY) // 2 + 1))
    assert (world.is_right, world.ranges) == (True, [None])


def test_with_no_connection_to_spare_a_large_file_comes_over_one(world: World) -> None:
    world.fetch(settings=dataclasses.replace(SPLIT, workers=1))
    assert (world.is_right, world.ranges) == (True, [None])


def test_pieces_of_an_earlier_run_are_used_also_with_one_connection(world: World) -> None:
    leave_piece(world, STEP, STEP)
    world.fetch(settings=dataclasses.replace(SPLIT, workers=1))
    assert (world.is_right, world.hits, world.sent) == (True, PIECES - 1, len(BODY) - STEP)


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    st.integers(0, len(BODY)),
    st.dictionaries(st.integers(0, len(BODY) + STEP), st.integers(0, 2 * STEP), max_size=6),
    st.integers(1, 6),
)
def test_whatever_pieces_lie_there_the_rest_is_fetched_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, prefix: int, found: dict[int, int], boundary: int
) -> None:
    world = World(tmp_path_factory.mktemp("pieces"))
    world.leave_part(BODY[:prefix])
    pieces = found | {boundary * STEP: STEP // 2}
    for start, length in pieces.items():
        leave_piece(world, start, length)
    world.fetch(settings=SPLIT)
    assert world.is_right
    assert left_over(world) == []
    assert world.sent <= len(BODY) - prefix


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.integers(0, len(BODY)), st.integers(0, PIECES - 1), st.integers(1, STEP))
def test_every_byte_of_a_part_and_of_a_piece_is_used(
    tmp_path_factory: pytest.TempPathFactory, prefix: int, number: int, length: int
) -> None:
    world, start = World(tmp_path_factory.mktemp("used")), number * STEP
    stop = min(start + length, len(BODY))
    world.leave_part(BODY[:prefix])
    leave_piece(world, start, stop - start)
    world.fetch(settings=SPLIT)
    assert world.is_right
    assert world.sent == len(BODY) - prefix - max(stop - max(start, prefix), 0)


@pytest.mark.parametrize("change", [{"ranges": 1}, {"range_bytes": len(BODY)}], ids=["one", "long"])
def test_pieces_are_used_and_removed_though_the_settings_want_none_now(world: World, change: dict[str, int]) -> None:
    leave_piece(world, 2 * STEP, STEP)
    world.fetch(settings=dataclasses.replace(SPLIT, **change))
    assert world.is_right
    assert world.sent == len(BODY) - STEP
    assert left_over(world) == []


def test_a_piece_that_fails_is_not_tried_again_by_the_file(world: World) -> None:
    with pytest.raises(ConnectionLost):
        world.fetch(on("file.zip", status(500)), settings=SPLIT)
    assert world.hits <= SPLIT.max_attempts * SPLIT.ranges


def test_bytes_beyond_the_range_that_was_asked_for_are_not_taken(world: World) -> None:
    world.fetch(on("file.zip", ignore_end()), settings=SPLIT)
    assert world.is_right
    assert left_over(world) == []


def test_a_half_finished_piece_is_continued_from_its_exact_byte(world: World) -> None:
    world.leave_part(BODY[: STEP + 7])
    leave_piece(world, 3 * STEP, 1234)
    world.fetch(settings=SPLIT)
    assert world.is_right
    assert f"bytes={3 * STEP + 1234}-{4 * STEP - 1}" in world.ranges
    assert f"bytes={STEP + 7}-{2 * STEP - 1}" in world.ranges
    assert world.sent == len(BODY) - STEP - 7 - 1234


def test_a_crash_while_a_piece_is_appended_costs_nothing(world: World) -> None:
    """The part already holds the beginning of the piece that still lies there whole."""
    world.leave_part(BODY[: STEP + 1000])
    leave_piece(world, STEP, STEP)
    world.fetch(settings=SPLIT)
    assert world.is_right
    assert world.sent == len(BODY) - 2 * STEP


@pytest.mark.parametrize(
    "fault",
    [reset(after=20_000), cut(after=20_000), status(503, 0), status(429, 0), status(500), shifted(by=9), flip(123_456)],
    ids=["reset", "cut", "503", "429", "500", "shifted", "flipped"],
)
def test_one_fault_in_any_piece_is_survived(world: World, fault) -> None:  # type: ignore[no-untyped-def]
    world.fetch(on("file.zip", fault, times=1, after=2), settings=SPLIT)
    assert world.is_right
    assert left_over(world) == []


def test_a_source_without_ranges_gives_the_whole_body_over_one_connection(world: World) -> None:
    world.fetch(on("file.zip", ignore_range()), settings=SPLIT)
    assert world.is_right
    assert left_over(world) == []


def test_a_range_that_is_ignored_once_costs_nothing_but_that_answer(world: World) -> None:
    world.fetch(on("file.zip", ignore_range(), times=1, after=2), settings=SPLIT)
    assert world.is_right
    assert world.hits == PIECES + 1
    assert left_over(world) == []


def test_an_object_replaced_between_its_pieces_is_never_mixed(world: World) -> None:
    from download_world import expecting

    rule = on("file.zip", replaced(OTHER), after=3)
    world.fetch(rule, settings=SPLIT, expected=expecting(OTHER, expecting(BODY).etag))
    assert world.target.read_bytes() == OTHER
    assert left_over(world) == []


def test_a_piece_that_never_comes_ends_the_file_and_keeps_what_is_here(world: World) -> None:
    with pytest.raises(ConnectionLost):
        world.fetch(on("file.zip", status(500), after=3), settings=SPLIT)
    assert not world.target.exists()
    kept = bytes_here(world)
    assert kept > 0
    world.fetch(settings=SPLIT)
    assert world.is_right
    assert world.sent == len(BODY) - kept


def test_an_object_that_has_gone_is_said(world: World) -> None:
    with pytest.raises(NotPublished):
        world.fetch(on("file.zip", status(404)), settings=SPLIT)


def test_progress_is_told_over_all_pieces(world: World) -> None:
    world.fetch(settings=SPLIT)
    told = [event.bytes_done for event in world.events if isinstance(event, FileProgressed)]
    assert told == sorted(told)
    assert told[-1] == len(BODY)


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 600), st.integers(0, 5000), st.randoms(use_true_random=False))
def test_pieces_cover_the_rest_without_overlap_in_whatever_order_they_are_filled(
    tmp_path_factory: pytest.TempPathFactory, size: int, step: int, prefix: int, order: random.Random
) -> None:
    body = random.Random(3).randbytes(size)
    target = tmp_path_factory.mktemp("cover") / "f"

    async def run() -> bytes:
        part = PartFile(target)
        await part.write(body[: min(prefix, size)])
        segments = Segments(part, size, step)
        taken = []
        while (segment := segments.take()) is not None:
            taken.append(segment)
        order.shuffle(taken)
        merging = asyncio.create_task(segments.merge_all())
        for segment in taken:
            segment.write(body[segment.start : segment.stop])
            segments.note_progress()
            await asyncio.sleep(0)
        await merging
        part.flush()
        assert segments.bytes_done == size
        return part.path.read_bytes()

    assert asyncio.run(run()) == body


def test_faults_of_all_kinds_at_once(world: World) -> None:
    rule = first_of(
        on("file.zip", reset(30_000), times=2),
        on("file.zip", ignore_range(), times=1, after=4),
        on("file.zip", status(503, 0), times=2, after=6),
        on("file.zip", cut(10), times=1, after=9),
    )
    world.fetch(rule, settings=SPLIT)
    assert world.is_right
    assert left_over(world) == []
