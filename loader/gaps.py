"""What rows that were read lack of those that are expected: between them, before the first and behind the last."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from core.datasets import Beat, Dataset
from core.datasets.grid import Grid
from core.dates import DAY_US, LATE_DAYS, LATE_UNTIL, day_of, format_us
from core.storage.stored import StoredRows
from core.types import Cadence, PartitionFacts, Period, Series, Span
from loader.align import Integers
from loader.arguments import Request
from loader.lookup import inside
from loader.missing import Lack, Missing
from loader.rows import Rows

_SHOWN: Final = 3
_EDGE_US: Final = DAY_US
"""Where rows come as they may, a request's first and last day may be without any."""


def lacking(
    request: Request, dataset: Dataset, rows: Rows, ended: Callable[[Series, int], bool], now_us: int | None = None
) -> Iterator[Missing]:
    """What the symbols that have rows lack within the span of the request; `stored` is where their own rows lie.

    Gaps are told of candles and of what comes at a fixed step, the ends of all kinds. What the exchange may not have
    published yet is not missing, nor what is behind the last row of a series of which `ended` says that it is all.
    """
    times = rows.times_us
    if len(times) == 0:
        return
    grid = _grid(request, dataset, int(times[0]))
    gaps = {} if grid is None else _gaps(grid, rows, times)
    late_us = _published_until(dataset, request, time.time_ns() // 1000 if now_us is None else now_us)
    asked = Span(request.span.start_us, max(request.span.start_us, min(request.span.end_us, late_us)))
    first, last = _expected(grid, asked)
    offsets = rows.offsets
    with_rows = np.flatnonzero(rows.counts)
    firsts, lasts = times[offsets[with_rows]], times[offsets[with_rows + 1] - 1]
    is_late, is_early = _place(grid, firsts) > first, _place(grid, lasts) < last
    for place, number in enumerate(with_rows.tolist()):
        symbol = request.symbols[number]
        one = request.series(dataset, symbol)
        own = Span(int(firsts[place]), max(int(firsts[place]), int(lasts[place])) + 1)
        if is_late[place]:
            detail = f"{one} begins at {format_us(own.start_us)}"
            yield Missing(one, symbol, own, detail, Lack.STARTS_LATE)
        if number in gaps:
            count, spans = sum(rows for rows, _ in gaps[number]), tuple(span for _, span in gaps[number])
            yield Missing(one, symbol, own, f"{one}: {_said(gaps[number])}", Lack.GAP, count, spans)
        if is_early[place] and not ended(one, own.end_us - 1):
            yield Missing(one, symbol, own, f"{one} ends at {format_us(own.end_us - 1)}", Lack.ENDS_EARLY)


def lacking_trades(
    storage: StoredRows, request: Request, dataset: Dataset, ended: Callable[[Series, int], bool]
) -> Iterator[Missing]:
    """What the files of trades lack that the span of the request would have: at its ends, and whole days between. No
    row is read."""
    near = inside(storage, [request.series(dataset, symbol) for symbol in request.symbols], request.span)
    found = [[part for part in parts if part.last_us >= request.span.start_us] for parts in near]
    found = [[part for part in parts if part.first_us < request.span.end_us] for parts in found]
    ends = [
        [max(request.span.start_us, min(part.first_us for part in parts)), max(part.last_us for part in parts)]
        if parts
        else []
        for parts in found
    ]
    times = pa.array([us for each in ends for us in each], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    offsets = np.cumsum([0, *map(len, ends)])
    yield from lacking(request, dataset, Rows(pa.table({"timestamp": times}), offsets), ended)
    for symbol, parts in zip(request.symbols, near, strict=True):
        yield from days_without(request.series(dataset, symbol), symbol, parts)


def days_without(one: Series, symbol: str, parts: Sequence[PartitionFacts]) -> Iterator[Missing]:
    """Days between stored ones of which no file has rows."""
    days = {day for part in parts for day in range(part.first_us // DAY_US, part.last_us // DAY_US + 1)}
    gaps = [
        Span((before + 1) * DAY_US, after * DAY_US)
        for before, after in zip(sorted(days), sorted(days)[1:], strict=False)
        if after > before + 1
    ]
    if gaps:
        own = Span(parts[0].first_us, parts[-1].last_us + 1)
        where = ", ".join(f"{format_us(gap.start_us)} to {format_us(gap.end_us)}" for gap in gaps[:_SHOWN])
        yield Missing(one, symbol, own, f"{one} has no trades from {where}", Lack.GAP, 0, tuple(gaps))


def _published_until(dataset: Dataset, request: Request, now_us: int) -> int:
    """Until when all of a kind should be published by now: days after two days, months after fifteen."""
    cadences = dataset.cadences_of(request.interval if dataset.has_interval else None)
    if Cadence.DAILY in cadences:
        return now_us - LATE_DAYS * DAY_US
    return Period.day(day_of(max(0, now_us - LATE_UNTIL * DAY_US))).within(Cadence.MONTHLY).span.start_us


def _grid(request: Request, dataset: Dataset, first_us: int) -> Grid | None:
    if dataset.clock.beat not in (Beat.CANDLES, Beat.STEPS):
        return None
    return Grid.of(dataset.clock, request.interval if dataset.has_interval else None, first_us)


def _place(grid: Grid | None, times: Integers) -> Integers:
    """By what times are compared with what is expected: their slots, else themselves."""
    return times if grid is None else grid.slots(times)


def _expected(grid: Grid | None, asked: Span) -> tuple[int, int]:
    """The first and the last place in the span where a row is expected."""
    if grid is None:
        return asked.start_us + _EDGE_US, asked.end_us - _EDGE_US
    before, last = grid.slots(np.array([asked.start_us - 1, asked.end_us - 1], dtype=np.int64)).tolist()
    return before + 1, last


def _gaps(grid: Grid, rows: Rows, times: Integers) -> dict[int, list[tuple[int, Span]]]:
    """By symbol its gaps: how many rows are missing, and from the first of them to the row behind them."""
    step_us = grid.step_us or 28 * DAY_US
    apart = np.flatnonzero(np.diff(times) > step_us)
    ends = rows.offsets[1:-1] - 1
    apart = apart[~np.isin(apart, ends)]
    if len(apart) == 0:
        return {}
    slots, behind = grid.slots(times[apart]), grid.slots(times[apart + 1])
    missing = behind - slots - 1
    symbols = np.searchsorted(rows.offsets, apart, side="right") - 1
    starts = grid.starts(slots + 1)
    found: dict[int, list[tuple[int, Span]]] = {}
    for symbol, count, start, end in zip(symbols, missing, starts, times[apart + 1], strict=True):
        if count > 0:
            found.setdefault(int(symbol), []).append((int(count), Span(min(int(start), int(end)), int(end))))
    return found


def _said(gaps: list[tuple[int, Span]]) -> str:
    rows = sum(count for count, _ in gaps)
    count, longest = max(gaps, key=lambda gap: gap[0])
    where = f"from {format_us(longest.start_us)} to {format_us(longest.end_us)}"
    if len(gaps) == 1:
        return f"{rows} rows missing {where}"
    return f"{rows} rows missing in {len(gaps)} gaps, {count} of them {where}"
