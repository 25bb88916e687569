"""Which files answer a request, and what is missing. Only `StoredRows` is asked; no folder is searched here."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from core.datasets import Dataset
from core.dates import DAY_US, HOUR_US
from core.nearest import did_you_mean
from core.storage.remembered import stamp_at
from core.storage.stored import StoredRows
from core.types import PartitionFacts, Series, Span
from loader.arguments import Request
from loader.missing import Missing, stored_range

_LOOKBACK_US: Final = 62 * DAY_US
"""How far back an earlier row is looked for before all that is stored is looked at."""
_DISORDER_US: Final = HOUR_US
"""Trades are in order of their ids, and a few old ones go back in time: a file's first row may not be its earliest."""
_SHOWN: Final = 5

Found = tuple[tuple[PartitionFacts, ...], ...]
"""The partitions of each symbol."""
Choose = Callable[[StoredRows, Sequence[Series], Span], Sequence[Sequence[PartitionFacts]]]


def find(storage: StoredRows, wanted: Sequence[Series], span: Span, choose: Choose) -> Found:
    """The partitions of each of these series, in order of time, that `choose` picks for the span."""
    return tuple(map(tuple, choose(storage, wanted, span)))


def changed(found: Sequence[Sequence[PartitionFacts]]) -> bool:
    """Has a file gone, or another one taken its place, since it was found? Updates do so."""
    return not all(stamp_at(part.path) == part.stamp for of_symbol in found for part in of_symbol)


def inside(storage: StoredRows, wanted: Sequence[Series], span: Span) -> Sequence[Sequence[PartitionFacts]]:
    """Choose the partitions that may have rows in the span."""
    near = storage.facts(wanted, storage.around(span))
    start_us, end_us = span.start_us - _DISORDER_US, span.end_us + _DISORDER_US
    return [[part for part in parts if part.first_us < end_us and part.last_us >= start_us] for parts in near]


def known(storage: StoredRows, wanted: Sequence[Series], span: Span) -> Sequence[Sequence[PartitionFacts]]:
    """Choose the partitions that may have rows in the span, and the one with the last row at or before its start."""
    end_us = storage.around(span).end_us
    near = dict(zip(wanted, storage.facts(wanted, Span(max(0, span.start_us - _LOOKBACK_US), end_us)), strict=True))
    older = [series for series in wanted if not _earlier(near[series], span.start_us)]
    near.update(zip(older, storage.facts(older, Span(0, end_us)), strict=True))
    return [_from_the_last_earlier(near[series], span) for series in wanted]


def absent(storage: StoredRows, request: Request, dataset: Dataset, present: Iterable[bool]) -> Iterator[Missing]:
    """The symbols of the request that are not present, and why: never stored, or only of another time."""
    lacking = [symbol for symbol, is_present in zip(request.symbols, present, strict=True) if not is_present]
    wanted = [request.series(dataset, symbol) for symbol in lacking]
    spans = stored_spans(storage, wanted)
    stored = storage.series(request.market, dataset.name) if None in spans else ()
    for symbol, series, span in zip(lacking, wanted, spans, strict=True):
        yield Missing(series, symbol, *_reason(span, series, stored))


def stored_spans(storage: StoredRows, wanted: Sequence[Series]) -> list[Span | None]:
    """Of each series from the first to just behind the last stored row; None if nothing is stored."""
    return [
        Span(min(part.first_us for part in parts), max(part.last_us for part in parts) + 1) if parts else None
        for parts in storage.facts(wanted)
    ]


def _reason(span: Span | None, series: Series, stored: Iterable[Series]) -> tuple[Span | None, str]:
    if span is None:
        return None, f"{series} is not stored{_instead(series, stored)}"
    return span, f"{series} has no rows there; stored is {stored_range(span)}"


def _from_the_last_earlier(parts: Sequence[PartitionFacts], span: Span) -> Sequence[PartitionFacts]:
    """Without those that end before a time at or before the start of which another one surely has a row."""
    earlier = [parts[place] for place in _earlier(parts, span.start_us)]
    surely_us = max((p.last_us if p.last_us <= span.start_us else p.first_us for p in earlier), default=0)
    return [part for part in parts if part.first_us < span.end_us and part.last_us >= surely_us]


def _earlier(parts: Sequence[PartitionFacts], start_us: int) -> list[int]:
    """Which partitions have a row at or before the start."""
    return [place for place, part in enumerate(parts) if part.first_us <= start_us]


def _instead(series: Series, stored: Iterable[Series]) -> str:
    """What is stored: other intervals of the symbol, or the symbols that come nearest."""
    by_symbol = sorted((one.symbol, one.interval or "") for one in stored)
    intervals = [interval for symbol, interval in by_symbol if symbol == series.symbol]
    if intervals:
        return f" (its stored intervals: {', '.join(intervals)})"
    symbols = sorted({symbol for symbol, _ in by_symbol})
    if not symbols:
        return f" (nor is any other {series.market} {series.dataset})"
    more = f" and {len(symbols) - _SHOWN} more" if len(symbols) > _SHOWN else ""
    return f"{did_you_mean(series.symbol, symbols)} (stored: {', '.join(symbols[:_SHOWN])}{more})"
