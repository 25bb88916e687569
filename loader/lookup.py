"""Which files answer a request, and what is missing. Only `StorageManager` is asked; no folder is searched here."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from core.datasets import Dataset
from core.dates import DAY_US, HOUR_US
from core.nearest import did_you_mean
from core.storage.manager import StorageManager
from core.types import Partition, Series, Span
from loader.arguments import Request
from loader.missing import Missing, stored_range

_MARGIN_US: Final = DAY_US
"""Rows may lie a little outside the period of their file, so the neighbours are looked at too."""
_LOOKBACK_US: Final = 62 * DAY_US
"""How far back an earlier row is looked for before all that is stored is looked at."""
_DISORDER_US: Final = HOUR_US
"""Trades are in order of their ids, and a few old ones go back in time: a file's first row may not be its earliest."""
_SHOWN: Final = 5

Files = tuple[tuple[Path, ...], ...]
Choose = Callable[[StorageManager, Series, Span], Sequence[Partition]]


def find(storage: StorageManager, request: Request, dataset: Dataset, span: Span, choose: Choose) -> Files:
    """The files of each symbol of the request, in order of time, that `choose` picks for the span."""
    chosen = [choose(storage, request.series(dataset, symbol), span) for symbol in request.symbols]
    return tuple(tuple(part.path for part in partitions) for partitions in chosen)


def gone(files: Files) -> bool:
    """Has a file gone since it was found? An update removes days once their month is in place."""
    return not all(path.exists() for of_symbol in files for path in of_symbol)


def inside(storage: StorageManager, series: Series, span: Span) -> Sequence[Partition]:
    """Choose the partitions that may have rows in the span."""
    near = storage.partitions(series, Span(max(0, span.start_us - _MARGIN_US), span.end_us + _MARGIN_US))
    start_us, end_us = span.start_us - _DISORDER_US, span.end_us + _DISORDER_US
    return [part for part in near if _starts_before(part, end_us) and not _ends_before(part, start_us)]


def known(storage: StorageManager, series: Series, span: Span) -> Sequence[Partition]:
    """Choose the partitions that may have rows in the span, and the one with the last row at or before its start."""
    end_us = span.end_us + _MARGIN_US
    near = storage.partitions(series, Span(max(0, span.start_us - _LOOKBACK_US), end_us))
    if not _earlier(near, span.start_us):
        near = storage.partitions(series, Span(0, end_us))
    first = max(_earlier(near, span.start_us), default=0)
    return [part for part in near[first:] if _starts_before(part, span.end_us)]


def absent(storage: StorageManager, request: Request, dataset: Dataset, present: Iterable[bool]) -> Iterator[Missing]:
    """The symbols of the request that are not present, and why: never stored, or only of another time."""
    lacking = [symbol for symbol, is_present in zip(request.symbols, present, strict=True) if not is_present]
    stored = storage.series(request.market, dataset.name) if lacking else ()
    for symbol in lacking:
        series = request.series(dataset, symbol)
        yield Missing(series, symbol, *_reason(stored_span(storage, series), series, stored))


def stored_span(storage: StorageManager, series: Series) -> Span | None:
    """From the first to just behind the last stored row; None if nothing is stored."""
    partitions = storage.partitions(series)
    firsts = [part.first_us for part in partitions if part.first_us is not None]
    lasts = [part.last_us for part in partitions if part.last_us is not None]
    return Span(min(firsts), max(lasts) + 1) if firsts else None


def _reason(span: Span | None, series: Series, stored: Iterable[Series]) -> tuple[Span | None, str]:
    if span is None:
        return None, f"{series} is not stored{_instead(series, stored)}"
    return span, f"{series} has no rows there; stored is {stored_range(span)}"


def _starts_before(part: Partition, moment_us: int) -> bool:
    return part.first_us is not None and part.first_us < moment_us


def _ends_before(part: Partition, moment_us: int) -> bool:
    return part.last_us is None or part.last_us < moment_us


def _earlier(partitions: Sequence[Partition], start_us: int) -> list[int]:
    """Which partitions have a row at or before the start."""
    return [place for place, part in enumerate(partitions) if _starts_before(part, start_us + 1)]


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
