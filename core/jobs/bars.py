"""Stored bars: made once, extended by the trades of a new day, made again from where trades have changed.

Trades of a series are one stream in the order of their ids, from the first that is stored. It is cut into months where
the first trade of a later month comes, and the bars of each month, with the builder's state behind them, are a file
(`core.storage.bar_files`). What is right stays; the first month that is not is made again from the state before it, or
extended, if its archives only became more; and so are those behind it, until one is right again.
"""

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, Final

import numpy as np
import pyarrow as pa

from core.bars.builder import BarBuilder, columns_of, schema_of
from core.bars.spec import BarSpec
from core.datasets.contracts import contract_usd
from core.dates import DAY_US, day_of
from core.errors import MarketDataError, StorageError, WorkersLost
from core.layout import Layout
from core.settings import Settings
from core.storage.ahead import ahead
from core.storage.bar_files import BarFiles, Origin, digest_of, origins_of
from core.storage.manager import StorageManager
from core.types import Cadence, Period, Series, Span

TRADES: Final = ("trades", "agg_trades")
NOTHING_YET: Final = -1
"""Stands for the id of the last trade where none was taken; ids are not below 0."""
_END_US: Final = 2**62


@dataclass(frozen=True, slots=True)
class Built:
    """What became of the bars of one spec and series: `months` were written, `bars` are in all of them now, of
    `trades` that were read this time; `drift` says what is odd about an adaptive size, and `error` why nothing was."""

    spec: str
    series: Series
    months: int = 0
    bars: int = 0
    trades: int = 0
    seconds: float = 0.0
    drift: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class BarTask:
    """The bars of one series, for many specs, which share the reading. `is_overlapped`: trades are decoded in a thread
    of their own while bars are built."""

    settings: Settings
    series: Series
    specs: tuple[BarSpec, ...]
    is_overlapped: bool = True

    def run(self) -> list[Built]:
        """Bring all files up to date. What fails is said in the result."""
        return self.by(_in_this_process)

    def by(self, steps: "Steps") -> list[Built]:
        """The same, the work being done in another way."""
        began = time.monotonic()
        try:
            return _brought_up(self, steps, began)
        except MarketDataError as error:
            seconds = time.monotonic() - began
            return [Built(str(spec), self.series, seconds=seconds, error=str(error)) for spec in self.specs]


@dataclass(slots=True)
class Work:
    """The bars of one spec as they are made. `rest` are the months to make, `before` what stands before the first;
    `old` are bars that it has already."""

    spec: BarSpec
    files: BarFiles
    builder: BarBuilder
    rest: list[Period]
    before: str
    since_us: int
    old: list[pa.Table] = field(default_factory=list)
    written: int = 0
    closed: list[pa.Table] = field(default_factory=list)
    is_done: bool = False

    @property
    def last_id(self) -> int:
        last: int | None = self.builder.last_id
        return NOTHING_YET if last is None else last


def build_all(tasks: Sequence[BarTask], processes: int | None = None) -> Iterator[Built]:
    """Every task in its turn, or as many at once as there are processors. Raises WorkersLost."""
    count = min(processes or os.cpu_count() or 1, len(tasks))
    if count <= 1:
        for task in tasks:
            yield from task.run()
        return
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        try:
            for built in pool.map(BarTask.run, tasks):
                yield from built
        except BrokenProcessPool as error:
            raise WorkersLost("a process that makes bars was ended; run the same command again") from error


Advance = Callable[["Work"], pa.Table]
"""Takes the builder of a work over some trades, and gives the bars that these close."""
Steps = Callable[[BarTask, StorageManager, Sequence["Work"]], Iterator[tuple[Period, int, Advance]]]
"""The trades of works that stand at the same one, in the order of their ids, a few at a time: the month to which they
count, how many they are, and the way over them."""


def _brought_up(task: BarTask, steps: Steps, began: float) -> list[Built]:
    layout = Layout(task.settings.data_root)
    storage = StorageManager(layout, task.settings.storage, task.settings.quality)
    origins = origins_of(storage, task.series)
    works = [_work_of(task, layout, spec, origins) for spec in task.specs]
    trades = 0
    for since_us, last_id in sorted({(work.since_us, work.last_id) for work in works if work.rest}):
        group = [work for work in works if work.rest and (work.since_us, work.last_id) == (since_us, last_id)]
        trades += _run(steps(task, storage, group), group, origins)
    seconds = time.monotonic() - began
    built = []
    for work in works:
        bars = sum(month.bars for month in work.files.months().values())
        drift = work.builder.drift()
        odd = str(drift) if drift is not None and drift.is_much else ""
        built.append(Built(str(work.spec), task.series, work.written, bars, trades, seconds, odd))
    return built


def _work_of(task: BarTask, layout: Layout, spec: BarSpec, origins: Mapping[Period, tuple[Origin, ...]]) -> Work:
    """What there is to do: from the first month on that is not right."""
    files = BarFiles(layout, str(spec), task.series)
    recorded = files.months()
    for month in recorded.keys() - origins.keys():
        files.remove(month)
    builder = BarBuilder(spec, contract_value=contract_usd(task.series.market, task.series.symbol))
    before = digest_of(builder.state())
    months = list(origins)
    for place, month in enumerate(months):
        known = recorded.get(month)
        if known is None or known.before != before:
            break
        if known.origins != origins[month]:
            return _extended(task, files, spec, builder, before, known.origins, known.state, months[place:], origins)
        builder, before = BarBuilder.resume(spec, dict(known.state)), known.after
    else:
        return Work(spec, files, builder, [], before, 0)
    return Work(spec, files, builder, months[place:], before, months[place].span.start_us)


def _extended(
    task: BarTask,
    files: BarFiles,
    spec: BarSpec,
    builder: BarBuilder,
    before: str,
    had: tuple[Origin, ...],
    state: Mapping[str, Any],
    months: list[Period],
    origins: Mapping[Period, tuple[Origin, ...]],
) -> Work:
    """A month whose archives are others: extended if they only became more, and later, else made again."""
    now = origins[months[0]]
    new = now[len(had) :]
    is_more = now[: len(had)] == had and all(one[3] > had[-1][4] for one in new)
    if not is_more:
        return Work(spec, files, builder, months, before, months[0].span.start_us)
    grown = BarBuilder.resume(spec, dict(state))
    return Work(spec, files, grown, months, before, new[0][3], [files.read(months[0])])


def _run(
    steps: Iterator[tuple[Period, int, Advance]], works: Sequence[Work], origins: Mapping[Period, tuple[Origin, ...]]
) -> int:
    """One pass over the trades for specs that stand at the same one; how many they were."""
    trades = 0
    for month, count, advance in steps:
        for work in works:
            if not work.is_done and month != work.rest[0]:
                _finish(work, origins, month)
        if all(work.is_done for work in works):
            return trades
        trades += count
        for work in works:
            closed = None if work.is_done else advance(work)
            if closed is not None and closed.num_rows:
                work.closed.append(closed)
    for work in works:
        if not work.is_done:
            _finish(work, origins, None)
    return trades


def _in_this_process(
    task: BarTask, storage: StorageManager, works: Sequence[Work]
) -> Iterator[tuple[Period, int, Advance]]:
    names = list(columns_of(task.series.dataset))
    # A few trades are older than those before them, also across the end of a month: what counts is the id.
    span = Span(max(0, works[0].since_us - DAY_US), _END_US)
    batches = behind(storage.scan(task.series, span, names), names[0], works[0].last_id)
    with ahead(batches) if task.is_overlapped else nullcontext(iter(batches)) as decoded:
        for month, batch in by_month(decoded, works[0].rest[0]):
            yield month, batch.num_rows, functools.partial(_over, batch)


def _over(batch: pa.RecordBatch, work: Work) -> pa.Table:
    return work.builder.update(batch)


def _finish(work: Work, origins: Mapping[Period, tuple[Origin, ...]], until: Period | None) -> None:
    """The months before `until` (None: all) have their trades. What is right behind them is left as it is."""
    while work.rest and work.rest[0] != until:
        month = work.rest.pop(0)
        state = work.builder.state()
        table = pa.concat_tables([schema_of(work.spec).empty_table(), *work.old, *work.closed])
        work.files.write(month, table, origins[month], work.before, state)
        work.written += 1
        work.before, work.old, work.closed = digest_of(state), [], []
        known = work.files.months()
        behind = [known.get(one) for one in work.rest]
        if work.rest and _goes_on(behind, [origins[one] for one in work.rest], work.before):
            work.rest, work.is_done = [], True
            return
    if until is not None and not work.rest:
        raise StorageError(f"trades of {until.label} came that no archive has; run the same command again")


def _goes_on(behind: Sequence[Any], origins: Sequence[tuple[Origin, ...]], before: str) -> bool:
    """Whether all later months are right as they are."""
    for known, own in zip(behind, origins, strict=True):
        if known is None or known.before != before or known.origins != own:
            return False
        before = known.after
    return True


def behind(batches: Iterable[pa.RecordBatch], ids: str, last_id: int) -> Iterator[pa.RecordBatch]:
    """The trades with later ids than the last one; `ids`, which rise, is their column."""
    for batch in batches:
        if last_id != NOTHING_YET:
            batch = batch.slice(int(np.searchsorted(batch.column(ids).to_numpy(), last_id, side="right")))
        if batch.num_rows:
            yield batch


def by_month(batches: Iterable[pa.RecordBatch], first: Period) -> Iterator[tuple[Period, pa.RecordBatch]]:
    """Trades with the month to which they count: that of the first trade of a later month ends the one before."""
    month = first
    for batch in batches:
        times = batch.column("timestamp").cast(pa.int64()).to_numpy()
        start = 0
        while start < len(times):
            later = np.flatnonzero(times[start:] >= month.span.end_us)
            end = start + int(later[0]) if len(later) else len(times)
            if end > start:
                yield month, batch.slice(start, end - start)
            if end < len(times):
                month = Period.day(day_of(int(times[end]))).within(Cadence.MONTHLY)
            start = end
