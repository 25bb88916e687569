"""The documents as they are sent: JSON, made again only when the database may say something else, at most so often that
making them takes a small part of one core."""

import gzip
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from core.errors import NoData, TrackerError
from core.layout import Layout
from core.types import Series
from core.web import status
from core.web.bars import BarsOverview

SHARE: Final = 20
"""A document that took a second to make is made again after so many seconds at the earliest."""
LEAST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 30.0
"""Also of a database that does not change: room on disk does, and a process may have been killed."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent: `etag` with its quotes."""

    plain: bytes
    packed: bytes
    etag: str

    @classmethod
    def of(cls, document: Any) -> "Body":
        return cls.of_bytes(json.dumps(document, separators=(",", ":")).encode())

    @classmethod
    def of_bytes(cls, plain: bytes) -> "Body":
        return cls(plain, gzip.compress(plain, 5, mtime=0), f'"{hashlib.sha256(plain).hexdigest()[:32]}"')


class Kept:
    """A document that several browsers ask for at once and one thread makes. `changes` tells cheaply whether it may be
    another one by now."""

    def __init__(self, make: Callable[[], Any], changes: Callable[[], object]) -> None:
        self._make = make
        self._changes = changes
        self._lock = threading.Lock()
        self._body: Body | None = None
        self._state: object = None
        self._made_at = 0.0
        self._again_at = 0.0

    def body(self) -> Body:
        """What is known by now; while another thread makes a newer one, what was known before."""
        if not self._lock.acquire(blocking=self._body is None):
            assert self._body is not None
            return self._body
        try:
            return self._brought_up()
        finally:
            self._lock.release()

    def _brought_up(self) -> Body:
        now = time.monotonic()
        if self._body is not None and now < self._again_at:
            return self._body
        state = self._changes()
        if self._body is None or state != self._state or now - self._made_at >= MOST_SECONDS:
            self._body, self._state = Body.of(self._make()), state
            self._made_at = time.monotonic()
            self._again_at = self._made_at + max(LEAST_SECONDS, SHARE * (self._made_at - now))
        return self._body


class Documents:
    """All that a page asks for of one data folder."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._good: status.Document | None = None
        self._bars = BarsOverview(layout)
        self.status = Kept(self._status, self._state_of_database)
        self.bars = Kept(lambda: status.bars(self._bars), time.monotonic)

    def series(self, one: Series) -> Body | None:
        """A series day by day; None if nothing is known of it. Raises NoData, TrackerError."""
        found = status.one_series(self._layout, one)
        return None if found is None else Body.of(found)

    def _status(self) -> status.Document:
        """With what was known last, and a message, while the database cannot be read."""
        try:
            self._good = status.status(self._layout)
        except NoData as error:
            self._good = None
            return status.nothing(self._layout, str(error))
        except TrackerError as error:
            if self._good is None:
                return status.nothing(self._layout, str(error))
            return self._good | {"message": f"{error}; below is what was known before"}
        return self._good

    def _state_of_database(self) -> object:
        """Changes with every commit."""
        database = self._layout.database
        found: list[object] = []
        for path in (database, database.with_name(f"{database.name}-wal")):
            try:
                at = path.stat()
                found.append((at.st_ino, at.st_size, at.st_mtime_ns))
            except OSError:
                found.append(None)
        return found
