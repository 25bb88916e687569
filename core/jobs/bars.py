"""Stored bars: made once, extended by the trades of a new day, made again from where trades have changed.

Trades of a series are one stream in the order of their ids, from the first that is stored. It is cut into months where
the first trade of a later month comes, and the bars of each month, with the builder's state behind them, are a file
(`core.storage.bar_files`). What is right stays; the first month that is not is made again from the state before it, or
extended, if its archives only became more; and so are those behind it, until one is right again. Where the trades that
follow are not just those behind that state, it is begun a month earlier.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from core.bars.builder import BarBuilder, columns_of, schema_of
from core.bars.spec import BarSpec
from core.bars.together import FEWEST, Builders
from core.datasets.contracts import contract_usd
from core.dates import HOUR_US, day_of
from core.errors import ConfigError, DiskFull, MarketDataError, StorageError, WorkersLost
from core.layout import Layout
from core.settings import Settings
from core.storage.ahead import ahead
from core.storage.bar_files import BarFiles, BarMonth, Origin, digest_of, origins_of
from core.storage.manager import StorageManager
from core.storage.pool import free_cores
from core.storage.workers import workers
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
    """The bars of one series, for many specs, which share the reading, and those of one kind the pass. `is_overlapped`:
    trades are decoded in a thread of their own while bars are built."""

    settings: Settings
    series: Series
    specs: tuple[BarSpec, ...]
    is_overlapped: bool = True

    def run(self) -> list[Built]:
        """Bring all files up to date. What fails is said in the result. Raises DiskFull."""
        return self.by(_in_this_process)

    def by(self, steps: "Steps") -> list[Built]:
        """The same, the work being done in another way."""
        began = time.monotonic()
        try:
            return _brought_up(self, steps, began)
        except DiskFull:
            raise
        except MarketDataError as error:
            seconds = time.monotonic() - began
            return [Built(str(spec), self.series, seconds=seconds, error=str(error)) for spec in self.specs]


class OutOfStep(Exception):
    """Trades do not go on where a saved state stands."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where bars can go on: behind a builder's saved `state`, with the first trade at or after `since_us`. All that it
    has taken is at or before `last_us`. `place` is that of the month, `before` what stands before it; `is_begun`: the
    month has bars already."""

    place: int
    since_us: int
    last_us: int
    before: str
    state: Mapping[str, Any] = field(repr=False)
    is_begun: bool = False


@dataclass(slots=True)
class Work:
    """The bars of one spec as they are made. `recorded` are the whole files that were there, `starts` where it could
    begin, in order of time. `rest` are the months to make, `before` what stands before the first; `old` are bars that
    it has already."""

    spec: BarSpec
    files: BarFiles
    recorded: Mapping[Period, BarMonth]
    months: tuple[Period, ...]
    starts: list[Start]
    builder: BarBuilder
    rest: list[Period] = field(default_factory=list)
    before: str = ""
    since_us: int = 0
    near_us: int = 0
    """From when on trades are read, somewhat before the last that was taken: it is to be seen that they follow it."""
    slack_us: int = 0
    """How much earlier than its month a trade may be."""
    old: list[pa.Table] = field(default_factory=list)
    written: int = 0
    closed: list[pa.Table] = field(default_factory=list)
    is_done: bool = False

    def begin(self) -> None:
        """Go to the last start; the next time to the one before."""
        start = self.starts.pop()
        self.builder = BarBuilder.resume(self.spec, dict(start.state))
        self.rest, self.before = list(self.months[start.place :]), start.before
        # What becomes more has nothing older than its beginning; only the last trade has to be found before that.
        back_us = HOUR_US if start.is_begun else self.slack_us
        self.since_us, self.near_us = start.since_us, max(0, min(start.since_us, start.last_us) - back_us)
        self.old = [self.files.read(self.rest[0])] if start.is_begun else []
        self.closed, self.is_done = [], False

    @property
    def last_id(self) -> int:
        last: int | None = self.builder.last_id
        return NOTHING_YET if last is None else last


def build_all(tasks: Sequence[BarTask], processes: int | None = None) -> Iterator[Built]:
    """Every task in its turn, or as many at once as there are processors. Raises WorkersLost, DiskFull."""
    parts = _shared_out(tasks, processes or free_cores())
    count = min(processes or free_cores(), len(parts))
    if count <= 1:
        for task in tasks:
            yield from task.run()
        return
    with workers(count) as pool:
        try:
            for built in pool.map(BarTask.run, parts):
                yield from built
        except BrokenProcessPool as error:
            raise WorkersLost("a process that makes bars was ended; run the same command again") from error


def _shared_out(tasks: Sequence[BarTask], processes: int) -> list[BarTask]:
    """The tasks; where they are fewer than processes, with the specs of each shared out. All read the same trades, so
    no part has so few that reading is most of its work."""
    parts = []
    for task in tasks:
        count = max(1, min(processes // len(tasks), len(task.specs) // FEWEST))
        bounds = [len(task.specs) * place // count for place in range(count + 1)]
        specs = sorted(task.specs, key=lambda spec: spec.kind) if count > 1 else task.specs
        parts += [replace(task, specs=tuple(specs[a:b])) for a, b in itertools.pairwise(bounds)]
    return parts


Advance = Callable[["Work"], pa.Table]
"""Takes the builder of a work over some trades, and gives the bars that these close."""
Steps = Callable[[BarTask, StorageManager, Sequence["Work"]], Iterator[tuple[Period, int, Advance]]]
"""The trades of works that stand at the same one, in the order of their ids, a few at a time: the month to which they
count, how many they are, and the way over them."""


def _brought_up(task: BarTask, steps: Steps, began: float) -> list[Built]:
    layout = Layout(task.settings.data_root)
    storage = StorageManager(layout, task.settings.storage, task.settings.quality)
    origins = origins_of(storage, task.series)
    works = [_work_of(task, layout, spec, origins, storage.slack_us) for spec in task.specs]
    trades = 0
    waiting = [work for work in works if work.rest]
    while waiting:
        first = min((work.since_us, work.last_id) for work in waiting)
        group = [work for work in waiting if (work.since_us, work.last_id) == first]
        waiting = [work for work in waiting if (work.since_us, work.last_id) != first]
        try:
            trades += _run(steps(task, storage, group), group, origins)
        except OutOfStep:
            for work in group:
                work.begin()
            waiting += group
    seconds = time.monotonic() - began
    built = []
    for work in works:
        months = work.files.months()
        bars = sum(month.bars for month in months.values())
        if months:
            work.builder = BarBuilder.resume(work.spec, dict(months[max(months)].state))
        drift = work.builder.drift()
        odd = str(drift) if drift is not None and drift.is_much else ""
        built.append(Built(str(work.spec), task.series, work.written, bars, trades, seconds, odd))
    return built


def _work_of(
    task: BarTask, layout: Layout, spec: BarSpec, origins: Mapping[Period, tuple[Origin, ...]], slack_us: int
) -> Work:
    """What there is to do: from the first month on that is not right, which is extended if its archives only became
    more, and later."""
    files = BarFiles(layout, str(spec), task.series)
    recorded = files.months(are_read=True)
    for month in recorded.keys() - origins.keys():
        files.remove(month)
    builder = BarBuilder(spec, contract_value=contract_usd(task.series.market, task.series.symbol))
    state: Mapping[str, Any] = builder.state()
    before, last_us = digest_of(state), 0
    starts: list[Start] = []
    for place, month in enumerate(origins):
        starts.append(Start(place, month.span.start_us, last_us, before, state))
        known = recorded.get(month)
        if known is None or known.before != before or not _can_go_on(spec, known.state):
            break
        last_us = max([last_us, *(one[4] for one in known.origins)])
        if known.origins != origins[month]:
            had, now = known.origins, origins[month]
            if now[: len(had)] == had and now[len(had)][3] > last_us:
                starts.append(Start(place, now[len(had)][3], last_us, before, known.state, is_begun=True))
            break
        before, state = known.after, known.state
    else:
        return Work(spec, files, recorded, (), [], BarBuilder.resume(spec, dict(state)))
    work = Work(spec, files, recorded, tuple(origins), starts, builder, slack_us=slack_us)
    work.begin()
    return work


def _can_go_on(spec: BarSpec, state: Mapping[str, Any]) -> bool:
    """Whether a builder takes the state; that of another version of the program it may not."""
    try:
        BarBuilder.resume(spec, dict(state))
    except (ConfigError, TypeError, ValueError):
        return False
    return True


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
    batches = storage.scan(task.series, Span(works[0].near_us, _END_US), names)
    batches = behind(batches, names[0], works[0].since_us, works[0].last_id)
    with ahead(batches) if task.is_overlapped else nullcontext(iter(batches)) as decoded:
        together = Together(works)
        for month, batch in by_month(decoded, works[0].rest[0]):
            yield month, batch.num_rows, together.over(batch)


class Together:
    """The way of works over the same trades: those that are not done yet go over each batch at once."""

    def __init__(self, works: Sequence[Work]) -> None:
        self._works = works
        self._builders = Builders(())

    def over(self, batch: pa.RecordBatch) -> Advance:
        """The way over a batch. All go with the first that asks, for only then is it known which are done."""
        closed: dict[int, pa.Table] = {}

        def advance(work: Work) -> pa.Table:
            if not closed:
                going = [one for one in self._works if not one.is_done]
                builders = tuple(one.builder for one in going)
                if builders != self._builders.builders:
                    self._builders = Builders(builders)
                closed.update(zip(map(id, going), self._builders.update(batch), strict=True))
            return closed[id(work)]

        return advance


def _finish(work: Work, origins: Mapping[Period, tuple[Origin, ...]], until: Period | None) -> None:
    """The months before `until` (None: all) have their trades. What is right behind them is left as it is."""
    if until is not None and until not in work.rest:
        raise StorageError(f"trades of {until.label} came that no archive has; run the same command again")
    while work.rest and work.rest[0] != until:
        month = work.rest.pop(0)
        state = work.builder.state()
        table = pa.concat_tables([schema_of(work.spec).empty_table(), *work.old, *work.closed])
        work.files.write(month, table, origins[month], work.before, state)
        work.written += 1
        work.before, work.old, work.closed = digest_of(state), [], []
        behind = [work.recorded.get(one) for one in work.rest]
        if work.rest and _goes_on(behind, [origins[one] for one in work.rest], work.before):
            work.rest, work.is_done = [], True
            return


def _goes_on(behind: Sequence[Any], origins: Sequence[tuple[Origin, ...]], before: str) -> bool:
    """Whether all later months are right as they are."""
    for known, own in zip(behind, origins, strict=True):
        if known is None or known.before != before or known.origins != own:
            return False
        before = known.after
    return True


def behind(batches: Iterable[pa.RecordBatch], ids: str, since_us: int, last_id: int) -> Iterator[pa.RecordBatch]:
    """The trades from the first one at or after a time on; `ids`, which rise, is their column.

    Raises OutOfStep unless the trade before it, and no other, has the id of the last one that was taken: ids may lie
    among those of an earlier archive, and those of aggregates repeat, and no trade is to be left out or taken twice.
    """
    if last_id == NOTHING_YET:
        yield from batches
        return
    latest, alike, is_begun = NOTHING_YET, 0, False
    for batch in batches:
        own = batch.column(ids).to_numpy()
        alike += int(np.count_nonzero(own == last_id))
        if not is_begun:
            later = np.flatnonzero(batch.column("timestamp").cast(pa.int64()).to_numpy() >= since_us)
            cut = int(later[0]) if len(later) else len(own)
            latest = int(own[cut - 1]) if cut else latest
            is_begun, batch = cut < len(own), batch.slice(cut)
        if is_begun and (latest, alike) != (last_id, 1):
            raise OutOfStep
        if batch.num_rows:
            yield batch
    if not is_begun:
        raise OutOfStep


def by_month(batches: Iterable[pa.RecordBatch], first: Period) -> Iterator[tuple[Period, pa.RecordBatch]]:
    """Trades with the month to which they count: that of the first trade of a later month ends the one before."""
    month = first
    for batch in batches:
        times = batch.column("timestamp").cast(pa.int64()).to_numpy()
        if times.max() < month.span.end_us:  # nearly always, and quickly known
            yield month, batch
            continue
        start = 0
        while start < len(times):
            later = np.flatnonzero(times[start:] >= month.span.end_us)
            end = start + int(later[0]) if len(later) else len(times)
            if end > start:
                yield month, batch.slice(start, end - start)
            if end < len(times):
                month = Period.day(day_of(int(times[end]))).within(Cadence.MONTHLY)
            start = end
