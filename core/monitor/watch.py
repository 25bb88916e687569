"""`Watch`: what a run does for those who look at it, and what it hears from them, about once a second.

It writes the run's view to a file and looks whether somebody wants the run to hold still. None of this can make the run
fail: what goes wrong here is dropped, and tried again at the next turn.
"""

import asyncio
import contextlib
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from core.download.pace import DEAD_AFTER
from core.download.smart import SmartDownloader
from core.download.tracker import DownloadTracker
from core.errors import MarketDataError
from core.events import Emit, RunPaused, RunResumed, Snapshot
from core.layout import Layout
from core.monitor.state import clear, view_file, write
from core.monitor.view import Frame, Source, View, view_of
from core.types import Ending

LOOK_SECONDS: Final = 0.5
WRITE_SECONDS: Final = 1.0
MOST_SHARE: Final = 0.005
"""Of the time at most, that is spent on making views: a run of very many symbols writes its view less often."""


class Watch:
    """Begin it in a run's event loop with `async with`; `latest` is what can be seen, as of half a second ago.

    The one that leaves says how the run ended by `exit_code`, unless an error goes through.
    """

    def __init__(
        self,
        layout: Layout,
        tracker: DownloadTracker,
        smart: SmartDownloader,
        snapshot: Snapshot,
        emit: Emit,
        frame: Frame,
    ) -> None:
        self.exit_code: int | None = None
        self._layout = layout
        self._tracker = tracker
        self._smart = smart
        self._snapshot = snapshot
        self._emit = emit
        self._frame = frame
        self._path = view_file(layout, frame.process)
        self._is_wanted = False
        self._written_at = self._made_at = float("-inf")
        self.latest = self.view()
        self._wait = WRITE_SECONDS
        self._loop = asyncio.get_running_loop()
        self._turns: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Watch":
        with contextlib.suppress(OSError):
            self._layout.live.mkdir(parents=True, exist_ok=True)
            clear(self._layout)
        await self._write(self.latest)
        self._turns = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if self._turns is not None:
            self._turns.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._turns
        with contextlib.suppress(MarketDataError):
            self._tracker.pause(self._frame.process, False)
        ended, code = Ending.FINISHED, self.exit_code
        if error is not None:
            is_asked = isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
            ended = Ending.INTERRUPTED if is_asked else Ending.STOPPED
            code = 130 if is_asked else getattr(error, "exit_code", 1)
        last = replace(self.view(), ended=ended.value, exit_code=code, active=(), is_paused=False)
        _put(self._path, last)  # no thread: a run that is being cancelled waits for nobody

    def view(self) -> View:
        """What can be seen of the run now."""
        sources = tuple(
            Source(name, int(pace.limit), int(pace.most), pace.busy, len(pace.failing), DEAD_AFTER, pace.pause_seconds)
            for name, pace in self._smart.paces().items()
        )
        try:
            free = shutil.disk_usage(self._layout.root).free
        except OSError:
            free = None
        return view_of(self._snapshot, self._frame, sources, free, self._is_wanted)

    def pause(self, view: View) -> None:
        """Pause the run, or have it go on, whichever it does not do in this view; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the run is over
            self._loop.call_soon_threadsafe(self._pause, not view.is_paused)

    def _pause(self, is_wanted: bool) -> None:
        with contextlib.suppress(MarketDataError):
            self._tracker.pause(self._frame.process, is_wanted)
            self._heed()
            self.latest = self.view()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(Exception):
                self._heed()
                now = time.monotonic()
                if now - self._made_at >= self._wait / 2:
                    began = time.thread_time()
                    self.latest, self._made_at = self.view(), now
                    self._wait = max(WRITE_SECONDS, (time.thread_time() - began) / MOST_SHARE)
                if now - self._written_at >= self._wait:
                    await self._write(self.latest)

    def _heed(self) -> None:
        """Hold still, or go on, as it is wanted."""
        self._is_wanted, hold = self._tracker.is_paused(self._frame.process), self._smart.hold
        if self._is_wanted and not hold.is_held:
            hold.hold()
            self._emit(RunPaused())
        elif hold.is_held and not self._is_wanted:
            hold.free()
            self._emit(RunResumed())
        else:
            return
        self._written_at = self._made_at = float("-inf")  # whoever asked for it sees it at once

    async def _write(self, view: View) -> None:
        self._written_at = time.monotonic()
        await asyncio.to_thread(_put, self._path, view)


def _put(path: Path, view: View) -> None:
    with contextlib.suppress(OSError):
        write(path, view.as_json())
