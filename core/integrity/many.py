"""Many series, on all processors: each process has a checker of its own."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

import pyarrow as pa

from core.download.tracker import DownloadTracker
from core.integrity.checker import ALWAYS, Examined, IntegrityChecker
from core.layout import Layout
from core.settings import KnownGap, Settings
from core.storage.manager import StorageManager
from core.types import Series, Span

WORTH_IT: Final = 64
"""So many series are examined before another process has begun to work."""
_AHEAD: Final = 8


@dataclass(frozen=True, slots=True)
class Task:
    """How each series is examined. The status database is asked where there is one."""

    settings: Settings
    known_gaps: tuple[KnownGap, ...] = ()
    span: Span = ALWAYS
    deep: bool = False
    now_us: int | None = None

    def examiner(self) -> Callable[[Series], Examined]:
        """A checker that has been made, and its status database opened."""
        layout = Layout(self.settings.data_root)
        quality = self.settings.quality
        storage = StorageManager(layout, self.settings.storage, quality)
        tracker = DownloadTracker(layout.database) if layout.database.exists() else None
        checker = IntegrityChecker(layout, storage, tracker, quality, self.known_gaps, now_us=self.now_us)
        return lambda series: checker.examine(series, self.span, self.deep)


def examine_all(task: Task, wanted: Sequence[Series], processes: int | None = None) -> Iterator[Examined]:
    """Each series in its turn. `processes`: None, as many as there are processors and as the work is worth."""
    count = processes or min(os.cpu_count() or 1, max(1, len(wanted) // WORTH_IT))
    if count == 1:
        yield from map(task.examiner(), wanted)
        return
    with ProcessPoolExecutor(count, get_context("spawn"), _begin, (task,)) as pool:
        waiting: list[Future[Examined]] = []
        series = iter(wanted)
        try:
            for each in series:
                waiting.append(pool.submit(_examine, each))
                if len(waiting) >= count * _AHEAD:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


_examiner: list[Callable[[Series], Examined]] = []
"""Of this process, where it is one of the pool's."""


def _begin(task: Task) -> None:
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    _examiner[:] = [task.examiner()]


def _examine(series: Series) -> Examined:
    return _examiner[0](series)
