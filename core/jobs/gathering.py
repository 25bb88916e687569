"""Batches of listed archives, brought together where several have come already."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from typing import Final

from core.types import ArchiveFile

MOST_PLANNED: Final = 500
"""Archives entered by one transaction, where so many are listed already."""


async def gathered(batches: AsyncIterable[Sequence[ArchiveFile]]) -> AsyncGenerator[Sequence[ArchiveFile], None]:
    """The same in larger batches where several have come already; none waits for the next."""
    come: asyncio.Queue[Sequence[ArchiveFile] | None] = asyncio.Queue(maxsize=16)

    async def pump() -> None:
        try:
            async for files in batches:
                await come.put(files)
        except asyncio.CancelledError:
            raise  # nobody listens any more
        except BaseException:
            await come.put(None)
            raise
        await come.put(None)

    pumping = asyncio.create_task(pump())
    try:
        while (files := await come.get()) is not None:
            together = list(files)
            while len(together) < MOST_PLANNED and not come.empty():
                more = come.get_nowait()
                if more is None:
                    come.put_nowait(None)
                    break
                together += more
            yield together
        await pumping
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
