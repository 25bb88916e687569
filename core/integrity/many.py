"""Many series, on all processors: each process has a checker of its own."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from core.download.tracker import DownloadTracker
from core.errors import WorkersLost
from core.integrity.checker import ALWAYS, Examined, IntegrityChecker
from core.layout import Layout
from core.settings import KnownGap, Settings
from core.storage.manager import StorageManager
from core.storage.pool import free_cores
from core.storage.workers import workers
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
    """Each series in its turn. `processes`: None, as many as there are processors and as the work is worth.

    Raises WorkersLost where one of them is ended from outside.
    """
    count = processes or min(free_cores(), max(1, len(wanted) // WORTH_IT))
    if count == 1:
        yield from map(task.examiner(), wanted)
        return
    waiting: deque[tuple[Series, Future[Examined]]] = deque()
    with workers(count, _begin, (task,)) as pool:
        try:
            for each in wanted:
                waiting.append((each, pool.submit(_examine, each)))
                if len(waiting) >= count * _AHEAD:
                    yield waiting[0][1].result()
                    waiting.popleft()
            while waiting:
                yield waiting[0][1].result()
                waiting.popleft()
        except BrokenProcessPool as error:
            raise _lost([series for series, future in waiting if not _is_done(future)][:count]) from error


def _is_done(future: Future[Examined]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _lost(near: Sequence[Series]) -> WorkersLost:
    """`near`: the series whose turn it was."""
    return WorkersLost(
        "a process was ended from outside, most likely because memory ran out, while these were looked at: "
        f"{', '.join(map(str, near))}; close other programs, or look at fewer series at a time with --market, "
        "--symbols or --data-types"
    )


_task: list[Task] = []
"""Of this process, where it is one of the pool's; its examiner is made with the first series, so that an error of its
travels."""
_examiner: list[Callable[[Series], Examined]] = []


def _begin(task: Task) -> None:
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    _task[:] = [task]


def _examine(series: Series) -> Examined:
    if not _examiner:
        _examiner[:] = [_task[0].examiner()]
    return _examiner[0](series)
