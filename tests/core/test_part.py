"""A part under cancellation: what threads still write is waited for, and counted once."""

import asyncio
import hashlib
import random
from collections.abc import Coroutine
from pathlib import Path

import pytest

from core.download.part import SMALL_BYTES, PartFile

LARGE = random.Random(7).randbytes(12 << 20)
MANY = 24
"""More than there are threads that write, so that some jobs still wait for one when they are cancelled."""


async def cancel_soon(jobs: list[Coroutine[None, None, None]]) -> None:
    """Cancel all once the first of them has had a turn or two."""
    tasks = [asyncio.create_task(job) for job in jobs]
    for _ in range(3):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)


def beginnings(folder: Path) -> list[PartFile]:
    return [PartFile(folder / f"{number}.zip") for number in range(MANY)]


@pytest.mark.parametrize("writers", [1, MANY])
def test_a_piece_whose_appending_is_cancelled_is_appended_whole_and_counted(tmp_path: Path, writers: int) -> None:
    piece = tmp_path / "piece"
    piece.write_bytes(LARGE)

    async def run() -> None:
        parts = beginnings(tmp_path)[:writers]
        await cancel_soon([part.append_from(piece, 0) for part in parts])
        for part in parts:
            part.flush()
            assert (part.size, part.path.stat().st_size) == (len(LARGE), len(LARGE))
            assert await part.sha256() == hashlib.sha256(LARGE).hexdigest()
            part.flush()

    asyncio.run(run())


def test_a_block_whose_writing_is_cancelled_is_written(tmp_path: Path) -> None:
    block = LARGE[: 8 * SMALL_BYTES]

    async def run() -> None:
        parts = beginnings(tmp_path)
        for part in parts:
            await part.write(block)
        await cancel_soon([part.write(block) for part in parts])
        for part in parts:
            part.flush()
            assert part.size == part.path.stat().st_size
            assert await part.sha256() == hashlib.sha256(part.path.read_bytes()).hexdigest()
            part.flush()

    asyncio.run(run())
