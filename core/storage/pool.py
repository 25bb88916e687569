"""Storing in processes of its own, so that a run's downloads do not share their interpreter with it. Needs no Arrow.

A run that stores in threads pays for every hand-over of the interpreter's lock between its event loop and them; and it
loads Arrow and numba before it asks for its first archive. `StoragePool` has the methods of `StorageManager` that a run
uses; who stores is its concern alone.
"""

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from core.errors import StorageError, WorkersLost
from core.events import LOGGER
from core.layout import Layout
from core.settings import QualitySettings, StorageSettings
from core.storage.draft import sweep_all
from core.storage.files import stamps_of
from core.storage.messages import Order, Terms
from core.storage.parser import WORTH_ARCHIVE_BYTES
from core.storage.process import NotBegun, StoringProcess
from core.storage.turns import taking_turns
from core.types import ArchiveFile, FetchedFile, Partition, Period, Series, Stamp, Stored

if TYPE_CHECKING:
    from core.storage.manager import StorageManager
    from core.storage.survey import Survey

EACH_WORTH_BYTES: Final = 1 << 24
"""Another process is started for each so many bytes of archives: they take it about as long as its start."""
_ORDERS_EACH: Final = 2
"""One that a process is at and one that waits in its pipe, so that it does not wait for the run."""
_MOST_BARREN: Final = 3
"""So many processes in a row that ended without one answer are no accident."""


def free_cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class StoragePool:
    """Stores in up to `processes` others; the first one starts at once. Close it, or use it in a `with`.

    A process that is ended by force fails the archives that it was at (StorageError), and another takes its place. If
    they end again and again before they have stored anything, WorkersLost is raised.
    """

    def __init__(
        self,
        layout: Layout,
        settings: StorageSettings,
        quality: QualitySettings,
        processes: int | None = None,
        check: str = "",
    ) -> None:
        self._layout = layout
        self._terms = Terms(layout, settings, quality, LOGGER.getEffectiveLevel(), check)
        self._most = processes or free_cores()
        self._changing = threading.Lock()
        self._expected = 0
        self._barren = 0
        self._is_closed = False
        self._processes = [StoringProcess(self._terms)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let all processes end after what they are at, and wait for them."""
        with self._changing:
            self._is_closed = True
        for process in self._processes:
            process.close()
        for process in self._processes:
            process.join()

    @property
    def at_once(self) -> int:
        """As many calls of `store` at once keep everybody busy."""
        return self._most * _ORDERS_EACH

    def expect(self, archive_bytes: int) -> None:
        """Archives of so many bytes are about to come: as many processes as they are worth get ready."""
        with self._changing:
            self._expected += archive_bytes
            for process in self._living():
                if self._expected >= WORTH_ARCHIVE_BYTES:
                    process.warn(self._expected)

    def store(self, files: Sequence[FetchedFile], fresh: bool = False) -> Stored:
        """As `StorageManager.store`. Call it from a thread that may wait."""
        return self._answer(Order(files, fresh))

    def held(self, files: Sequence[FetchedFile]) -> Stored:
        """As `StorageManager.held`."""
        return self._answer(Order(files, only_look=True))

    def stamps(self, series: Series) -> dict[Period, Stamp]:
        """As `StorageManager.stamps`."""
        return stamps_of(self._layout, series)

    def turn(self, series: Series) -> AbstractContextManager[None]:
        """As `StorageManager.turn`."""
        return taking_turns(self._layout, series)

    def sweep(self) -> int:
        """As `StorageManager.sweep`."""
        return sweep_all(self._layout)

    def readable(self, series: Series, periods: Iterable[Period]) -> list[Partition]:
        """As `StorageManager.readable`."""
        return self._here.readable(series, periods)

    def archives(self) -> dict[Series, set[Period]]:
        """As `StorageManager.archives`."""
        return self._here.archives()

    def whole(self, file: ArchiveFile) -> Stored | None:
        """As `StorageManager.whole`; where no partition has that time, nothing is loaded to say so."""
        is_near = any(period.span.overlaps(file.period.span) for period in self.stamps(file.series))
        return self._here.whole(file) if is_near else None

    def tidied(self, series: Series) -> "Survey":
        """As `StorageManager.tidied`."""
        return self._here.tidied(series)

    @cached_property
    def _here(self) -> "StorageManager":
        """For what is seldom asked, and in a turn of the series, for which the processes may wait."""
        from core.storage.manager import StorageManager

        return StorageManager(self._layout, self._terms.settings, self._terms.quality)

    def _answer(self, order: Order) -> Stored:
        while True:
            try:
                return self._freest().ask(order).result()
            except NotBegun:
                continue

    def _freest(self) -> StoringProcess:
        with self._changing:
            return min(self._living(), key=lambda process: process.waiting)

    def _living(self) -> list[StoringProcess]:
        """The processes that have not ended, as many as what is expected is worth. Raises StorageError."""
        if self._is_closed:
            raise StorageError("nothing is stored any more: the run is over")
        for process in [one for one in self._processes if one.has_ended]:
            self._processes.remove(process)
            LOGGER.warning("a process that stores %s", process.end)
            self._barren = 0 if process.has_answered else self._barren + 1
            if self._barren >= _MOST_BARREN:
                raise WorkersLost(f"{self._barren} processes in a row have stored nothing, the last one {process.end}")
        while len(self._processes) < min(self._most, 1 + self._expected // EACH_WORTH_BYTES):
            self._processes.append(StoringProcess(self._terms))
        return self._processes
