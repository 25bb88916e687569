"""From what a user asks for to the archives that hold it."""

import asyncio
import functools
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final, TypeVar

from core.datasets import Dataset
from core.errors import ConfigError, NoData
from core.exchanges.archive import Archive
from core.layout import SYMBOL, Layout
from core.nearest import did_you_mean
from core.settings import SymbolSettings
from core.types import ArchiveFile, Market, Period, Series, Span

ASKED_AHEAD: Final = 64
"""Series whose listing is asked for before the first of them is worked on."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """A market's `datasets` at `interval` within `span`; `symbols` None means every symbol that is listed, and
    `are_listed` that the symbols were taken from a listing."""

    market: Market
    datasets: tuple[Dataset, ...]
    interval: str
    span: Span
    symbols: tuple[str, ...] | None = None
    are_listed: bool = False

    def series(self, dataset: Dataset, symbol: str) -> Series:
        """The series under which the exchange files this data."""
        interval = self.interval if dataset.has_interval else None
        return Series(self.market, dataset.name, dataset.directory(symbol), interval)

    def wants(self, file: ArchiveFile) -> bool:
        """Whether an archive that is known already belongs to this request."""
        dataset = next((d for d in self.datasets if d.name == file.series.dataset), None)
        if dataset is None or file.series.market is not self.market or not self.span.overlaps(file.period.span):
            return False
        if dataset.has_interval and file.series.interval != self.interval:
            return False
        return self.symbols is None or file.series.symbol in {dataset.directory(symbol) for symbol in self.symbols}


async def find_files(request: Request, archive: Archive) -> AsyncIterator[tuple[ArchiveFile, ...]]:
    """The archives of a request, a series at a time, in order of series and period; at most a few are held at once.

    Raises ConfigError, before the first of them, if the source does not have a named symbol (with a near match);
    NoData if nothing is published for the request.
    """
    symbols = request.symbols if request.symbols is not None else await listed_symbols(request, archive)
    named = [symbol for symbol in symbols if SYMBOL.fullmatch(symbol)]  # the others are refused below
    series = sorted({request.series(dataset, symbol) for dataset in request.datasets for symbol in named})
    listed = in_order([functools.partial(archive.list_files, one, request.span) for one in series])
    is_empty = True
    if request.symbols is not None and not request.are_listed:
        groups = [files async for files in listed if files]  # somebody named these symbols: they are few
        await _refuse_unknown(request, {files[0].series.symbol for files in groups}, archive)
        for files in groups:
            is_empty = False
            yield files
    else:
        async for files in listed:
            if files:
                is_empty = False
                yield files
    if is_empty:
        raise NoData(_nothing(request))


async def in_order(questions: Sequence[Callable[[], Coroutine[None, None, T]]]) -> AsyncIterator[T]:
    """The answers in the order of the questions, of which a few are asked ahead."""
    ahead: deque[asyncio.Task[T]] = deque()
    try:
        for question in questions:
            ahead.append(asyncio.create_task(question()))
            if len(ahead) >= ASKED_AHEAD:
                yield await ahead.popleft()
        while ahead:
            yield await ahead.popleft()
    finally:
        for task in ahead:
            task.cancel()
        await asyncio.gather(*ahead, return_exceptions=True)


async def find_on_disk(
    layout: Layout, archive: Archive, stored: Mapping[Series, Set[Period]]
) -> AsyncIterator[tuple[ArchiveFile, ...]]:
    """What the exchange lists of the archives that lie in `raw/` or of which rows are `stored`, a series at a time."""
    here: dict[Series, set[Period]] = {series: set(periods) for series, periods in stored.items()}
    for one, period in layout.archives():
        here.setdefault(one, set()).add(period)
    series = sorted(here)
    async for files in in_order([functools.partial(archive.list_all, one) for one in series]):
        present = tuple(file for file in files if file.period in here[file.series])
        if present:
            yield present


async def listed_symbols(request: Request, archive: Archive) -> tuple[str, ...]:
    """Every symbol that the source lists for any of the datasets, delisted ones included."""
    found = await asyncio.gather(
        *(archive.list_symbols(request.market, dataset, request.interval) for dataset in request.datasets)
    )
    return tuple(sorted({symbol for symbols in found for symbol in symbols}))


async def with_priority(request: Request, archive: Archive, symbols: SymbolSettings) -> tuple[Request, tuple[str, ...]]:
    """The request for the priority symbols that the source has, and those that it has not."""
    wanted = symbols.priority.get(request.market, ())
    listed = set(await listed_symbols(request, archive))
    present = tuple(symbol for symbol in wanted if _is_filed(symbol, request, listed))
    return replace(request, symbols=present, are_listed=True), tuple(
        symbol for symbol in wanted if symbol not in present
    )


def _is_filed(symbol: str, request: Request, folders: Collection[str]) -> bool:
    """Whether any of the datasets has the symbol, under its own name or its pair's, among these folders."""
    return any(dataset.directory(symbol) in folders for dataset in request.datasets)


async def with_all(request: Request, archive: Archive, symbols: SymbolSettings) -> Request:
    """The request for every listed symbol that passes the filters."""
    listed = await listed_symbols(request, archive)
    chosen = tuple(symbol for symbol in listed if passes(symbol, symbols))
    return replace(request, symbols=chosen, are_listed=True)


def passes(symbol: str, symbols: SymbolSettings) -> bool:
    """Whether a symbol that nobody named is wanted."""
    quoted = not symbols.quotes or symbol.partition("_")[0].endswith(symbols.quotes)
    return quoted and not any(fnmatchcase(symbol, pattern) for pattern in symbols.exclude)


async def _refuse_unknown(request: Request, present: set[str], archive: Archive) -> None:
    """A symbol with no file in the span is fine if it is listed at all."""
    absent = [symbol for symbol in request.symbols or () if not _is_filed(symbol, request, present)]
    if not absent:
        return
    listed = await listed_symbols(request, archive)
    for symbol in absent:
        if not _is_filed(symbol, request, listed):
            raise ConfigError(f"{request.market} has no symbol {symbol!r}{_near(symbol, listed)}")


def _near(symbol: str, listed: Sequence[str]) -> str:
    hint = did_you_mean(symbol, listed)
    return hint or "; symbols are written as the exchange writes them, for example BTCUSDT"


def _nothing(request: Request) -> str:
    kinds = ", ".join(dataset.name for dataset in request.datasets)
    symbols = ", ".join(request.symbols[:5]) if request.symbols else "any symbol"
    return f"nothing is published for {symbols} ({request.market} {kinds}, {request.interval}) in that time"
