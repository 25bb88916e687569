"""Stored bars on a Dask cluster: the days of each symbol are decoded wherever there is room, and the state of its bars
passes from day to day in their order. Files are written here, as ever; every worker has to see the data folder under
the same path.

A day is a stretch of the trades in the order of their ids: from the first trade at or after its midnight to before the
first one at or after the next. A few trades that are older stay with it, so days together are all trades, each once.
"""

import itertools
import re
import socket
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pyarrow as pa
from distributed import Client, Future

from core.bars.builder import BarBuilder, columns_of
from core.bars.spec import BarSpec
from core.bars.together import Builders
from core.dates import DAY_US, HOUR_US, day_of
from core.errors import ConfigError, MarketDataError, StorageError
from core.jobs.bars import Advance, BarTask, Built, Work, behind, by_month
from core.layout import Layout
from core.settings import Settings
from core.storage.manager import StorageManager
from core.types import Cadence, Period, Series, Span

DISORDER_US: Final = HOUR_US
"""Trades are so much older than those before them at most; those of each month are counted before its bars are
written, so none can be lost."""
_ADDRESS: Final = re.compile(r"(tcp|tls|wss?)://[^/]+")
_AT_ONCE: Final = 4
"""So many series."""
_AHEAD: Final = 4
"""So many days for each thread of the cluster are decoded before they are needed."""


@contextmanager
def cluster(address: str) -> Iterator[Client]:
    """A Dask scheduler (`tcp://host:8786`). Raises ConfigError if nobody answers there."""
    if not _ADDRESS.match(address):
        raise ConfigError(f"--scheduler {address}: no Dask scheduler answers there; write it as tcp://host:8786")
    try:
        client = Client(address, timeout="10s", set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigError(f"--scheduler {address}: no Dask scheduler answers there ({error})") from error
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise ConfigError(f"--scheduler {address}: it has no workers; start some with: dask worker {address}")
        yield client


def build_on(client: Client, tasks: Sequence[BarTask]) -> Iterator[Built]:
    """A few tasks at once: their days share the cluster. Raises DiskFull."""
    is_over = threading.Event()

    def steps(task: BarTask, storage: StorageManager, works: Sequence[Work]) -> Iterator[tuple[Period, int, Advance]]:
        first = works[0]
        ids = _ids(storage, task.series, first.near_us, first.since_us, first.last_id)
        for step in _proved(task.series, _steps(client, task, storage, works), by_month(ids, first.rest[0])):
            if is_over.is_set():
                raise StorageError(f"{task.series}: given up")
            yield step

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        try:
            for built in threads.map(lambda task: task.by(steps), tasks):
                yield from built
        except BaseException:
            is_over.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _steps(
    client: Client, task: BarTask, storage: StorageManager, works: Sequence[Work]
) -> Iterator[tuple[Period, int, Advance]]:
    near_us, since_us, last_id = works[0].near_us, works[0].since_us, works[0].last_id
    next(_ids(storage, task.series, near_us, since_us, last_id), None)  # which raises OutOfStep
    days = _days(storage, task.series, since_us)
    room = _AHEAD * sum(client.nthreads().values())  # type: ignore[no-untyped-call]
    specs = [work.spec for work in works]
    states: Any = [work.builder.state() for work in works]
    waiting: deque[tuple[Period, Future[Any]]] = deque()
    for day in [*days, *[None] * room]:
        if day is not None:
            span = Span(max(day.span.start_us, since_us), day.span.end_us)
            decoded = client.submit(decode, task.settings, task.series, span, pure=False)
            states = client.submit(advance, specs, states, decoded, pure=False)
            waiting.append((day, states))
        if waiting and (day is None or len(waiting) > room):
            period, done = waiting.popleft()
            count, own, closed = _result(done)
            if count:
                yield period.within(Cadence.MONTHLY), count, _over(specs, own, closed)


def _proved(
    series: Series, steps: Iterable[tuple[Period, int, Advance]], together: Iterable[tuple[Period, pa.RecordBatch]]
) -> Iterator[tuple[Period, int, Advance]]:
    """The steps as they are; before the first of a later month, and behind the last, it is proved that the days of a
    month have all trades that are its own in one scan. Raises StorageError."""
    months = itertools.groupby(together, key=lambda each: each[0])
    expected = ((month, sum(batch.num_rows for _, batch in parts)) for month, parts in months)
    for month, of_month in itertools.groupby(steps, key=lambda step: step[0]):
        count = 0
        for step in of_month:
            count += step[1]
            yield step
        _compare(series, (month, count), next(expected, None))
    _compare(series, None, next(expected, None))


def _compare(series: Series, had: tuple[Period, int] | None, expected: tuple[Period, int] | None) -> None:
    if had != expected:
        had_text, expected_text = (f"{one[1]} trades of {one[0].label}" if one else "none" for one in (had, expected))
        reason = ": some are older by more than an hour than those before them" if had and expected else ""
        told = f"the days have {had_text}, and together they are {expected_text}{reason}"
        raise StorageError(f"{series}: {told}; try without --scheduler")


def decode(settings: Settings, series: Series, span: Span) -> pa.Table:
    """On a worker: the trades of one day, or of its rest. Raises StorageError where it does not see the data folder."""
    layout = Layout(settings.data_root)
    folder = layout.processed_folder(series)
    if not folder.is_dir():
        host = socket.gethostname()
        raise StorageError(f"the worker on {host} sees no {folder}: give all workers the data folder there")
    storage = StorageManager(layout, settings.storage, settings.quality)
    names = list(columns_of(series.dataset))
    wide = Span(max(0, span.start_us - DISORDER_US), span.end_us + DISORDER_US)
    batches = list(storage.scan(series, wide, names))
    if not batches:
        return pa.table({})
    table = pa.Table.from_batches(batches)
    times = table.column("timestamp").cast(pa.int64()).to_numpy()
    start, end = (_first_at(times, bound) for bound in (span.start_us, span.end_us))
    return table.slice(start, end - start)


def advance(
    specs: Sequence[BarSpec], before: Any, trades: pa.Table
) -> tuple[int, list[dict[str, Any]], list[pa.Table]]:
    """On a worker: from the states before a day to those behind it, and the bars that it closes. `before` is what this
    function gave for the day before, or the states of the beginning."""
    states = before[1] if isinstance(before, tuple) else before
    if trades.num_rows == 0:
        return 0, states, []
    builders = [BarBuilder.resume(spec, state) for spec, state in zip(specs, states, strict=True)]
    closed = Builders(builders).update(trades)
    return trades.num_rows, [builder.state() for builder in builders], closed


def _over(specs: Sequence[BarSpec], states: list[dict[str, Any]], closed: list[pa.Table]) -> Advance:
    def over(work: Work) -> pa.Table:
        place = specs.index(work.spec)
        work.builder = BarBuilder.resume(work.spec, states[place])
        return closed[place]

    return over


def _result(done: "Future[Any]") -> Any:
    try:
        return done.result()
    except MarketDataError as error:
        raise StorageError(f"{error}; try without --scheduler") from error
    except Exception as error:  # whatever befalls a worker
        raise StorageError(
            f"the cluster failed: {type(error).__name__}: {error}; run the same command again"
        ) from error


def _days(storage: StorageManager, series: Series, since_us: int) -> list[Period]:
    """The days on which there may be trades."""
    found: set[Period] = set()
    for part in storage.facts([series])[0]:
        first, last = max(part.first_us, since_us), part.last_us
        found.update(Period.day(day_of(us)) for us in range(first - first % DAY_US, last + 1, DAY_US))
    return sorted(found)


def _ids(
    storage: StorageManager, series: Series, near_us: int, since_us: int, last_id: int
) -> Iterator[pa.RecordBatch]:
    """Ids and times of the trades from a time on."""
    names = [columns_of(series.dataset)[0], "timestamp"]
    yield from behind(storage.scan(series, Span(near_us, 2**62), names), names[0], since_us, last_id)


def _first_at(times: np.ndarray[Any, np.dtype[np.int64]], bound: int) -> int:
    """The place of the first trade at or after a time."""
    later = times >= bound
    return int(later.argmax()) if later.any() else len(times)
