"""A large file gathered in pieces over several connections, each piece resumable by itself.

Beside `<name>.part`, which always holds the file's beginning without a hole, lie `<name>.part@<first byte>`: what has
come of a later piece. The length of each is its progress. When the piece after the beginning is complete it is
digested, appended and removed, so that the digest is ready soon after the last byte, and a crash leaves nothing
unclear: bytes that both files hold are the same.
"""

import asyncio
import os
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from core.download.part import PartFile
from core.download.publish import open_to_append, write_all
from core.errors import storage_error


class Segment:
    """The bytes `[start, stop)` of an object, and the file in which they gather."""

    def __init__(self, part: PartFile, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.path = part.path.with_name(f"{part.path.name}@{start}")
        self.size = _length(self.path)
        self._file: int | None = None

    @property
    def is_complete(self) -> bool:
        return self.size == self.stop - self.start

    def write(self, data: bytes) -> None:
        """Append bytes, straight to the operating system."""
        try:
            if self._file is None:
                self._file = open_to_append(self.path)
            write_all(self._file, data)
        except OSError as error:
            self.close()
            raise storage_error(error, self.path) from error
        self.size += len(data)

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def remove(self) -> None:
        self.close()
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.path) from error
        self.size = 0


class Segments:
    """What is left of an object of `size` bytes after its part, cut at multiples of `step`."""

    def __init__(self, part: PartFile, size: int, step: int) -> None:
        self._part = part
        self._pieces = deque(_pieces(part, size, step))
        self._open = deque(piece for piece in self._pieces if not piece.is_complete)
        self._news = asyncio.Event()

    @property
    def bytes_done(self) -> int:
        """Bytes of the object that are here, those of a piece that is being appended once."""
        here = self._part.size
        return here + sum(max(piece.size - max(here - piece.start, 0), 0) for piece in self._pieces)

    def take(self) -> Segment | None:
        """A piece that nobody works on yet, the first one first."""
        return self._open.popleft() if self._open else None

    def note_progress(self) -> None:
        """A piece has become complete."""
        self._news.set()

    async def merge_all(self) -> None:
        """Append the pieces to the part in their order, each as soon as it and all before it are complete."""
        while self._pieces:
            piece = self._pieces[0]
            if not piece.is_complete:
                self._news.clear()
                await self._news.wait()
                continue
            piece.close()
            await self._part.append_from(piece.path, self._part.size - piece.start)
            piece.remove()
            self._pieces.popleft()

    def close(self) -> None:
        for piece in self._pieces:
            piece.close()


def even_step(size: int, most: int, lanes: int) -> int:
    """The length of the pieces, at most `most`, so that all lanes have equally many and none works alone at the end."""
    rounds = -(-size // (most * lanes))
    return -(-size // (rounds * lanes))


def leftovers(part: PartFile) -> Iterator[Path]:
    """The files of pieces that lie beside a part."""
    try:
        names = [entry.name for entry in os.scandir(part.path.parent)]
    except FileNotFoundError:
        return
    for name in names:
        if name.startswith(f"{part.path.name}@"):
            yield part.path.with_name(name)


def _pieces(part: PartFile, size: int, step: int) -> list[Segment]:
    """Pieces that cover `[part.size, size)`; files that fit none of them are removed.

    The first piece may begin before the part ends: a crash came while it was being appended.
    """
    here = part.size
    starts = ((path.name.rpartition("@")[2], path) for path in leftovers(part))
    found = {int(start): path for start, path in starts if start.isdigit()}
    begun = {start for start, path in found.items() if start < size and here < start + _length(path)}
    while True:
        first = max((start for start in begun if start <= here), default=here)
        cuts = sorted(
            {first, *(start for start in begun if start > here), *range((here // step + 1) * step, size, step)}
        )
        pieces = [Segment(part, start, stop) for start, stop in pairwise([*cuts, size]) if start < stop]
        too_long = {piece.start for piece in pieces if piece.size > piece.stop - piece.start}
        if not too_long:
            break
        begun -= too_long
        for start in too_long:
            found.pop(start).unlink(missing_ok=True)
    for start in found.keys() - {piece.start for piece in pieces}:
        found[start].unlink(missing_ok=True)
    return pieces


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
