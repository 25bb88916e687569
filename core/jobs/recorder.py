"""Status rows in batches: one transaction costs as much as dozens of rows."""

import asyncio
from collections.abc import Callable
from typing import Final

from core.download.tracker import Change, DownloadTracker
from core.errors import MarketDataError

ROWS: Final = 256
SECONDS: Final = 0.05
"""A crash in that time costs a second look at files that are on disk and verified, and nothing else."""


class Recorder:
    """Gathers what became of rows and writes it when there is enough, or after a moment.

    `landed` hears of every change that the database has taken; `lost` of rows that belong to another run by now.
    """

    def __init__(
        self, tracker: DownloadTracker, run: int, landed: Callable[[Change], None], lost: Callable[[set[int]], None]
    ) -> None:
        self._tracker = tracker
        self._run = run
        self._landed = landed
        self._lost = lost
        self._changes: list[Change] = []
        self._timer: asyncio.TimerHandle | None = None
        self._error: MarketDataError | None = None

    def add(self, change: Change) -> None:
        """Have a change written soon. Raises what an earlier write raised."""
        if self._error is not None:
            raise self._error
        self._changes.append(change)
        if len(self._changes) >= ROWS:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self._flush_later)

    def flush(self) -> None:
        """Write what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._error is not None:
            raise self._error
        changes, self._changes = self._changes, []
        if not changes:
            return
        lost = self._tracker.advance(self._run, changes)
        if lost:
            self._lost(lost)
        for change in changes:
            if change.download.id not in lost:
                self._landed(change)

    def _flush_later(self) -> None:
        self._timer = None
        try:
            self.flush()
        except MarketDataError as error:
            self._error = error  # nobody waits here: whoever adds or flushes next is told
