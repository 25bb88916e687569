"""From a data folder to what a lock says of it. Updates may go on: each series is looked at while it rests."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from core import VERSION
from core.dates import day_of
from core.errors import NoData, StorageError, storage_error
from core.snapshot.content import contents_of
from core.snapshot.lock import Content, Lock, LockedPartition, LockedSeries, Origin, locked_span
from core.storage.partitions import LOOKS, keeps_changing
from core.storage.stored import StoredRows
from core.types import Cadence, Market, Partition, Period, Series, Source, Span

T = TypeVar("T")
A = TypeVar("A")


def take(
    storage: StoredRows,
    market: Market,
    span: Span,
    wanted: Sequence[Series],
    done: Callable[[Series], None] = lambda series: None,
) -> Lock:
    """The lock of these series of one market as they are now; `done` is called for each. Raises StorageError."""
    series = tuple(each_in_threads(lambda one: locked(storage, one, span), sorted(wanted, key=str), done))
    created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Lock(market, span, series, created, f"tapevault {VERSION}")


def each_in_threads(
    work: Callable[[Series], T], wanted: Iterable[Series], done: Callable[[Series], None] = lambda series: None
) -> Iterator[T]:
    """What `work` gives for each series, in their order; reading and hashing let other threads run."""
    series = list(wanted)
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for one, result in zip(series, pool.map(work, series), strict=True):
            done(one)
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def locked(storage: StoredRows, series: Series, span: Span) -> LockedSeries:
    """A series as it is within the span of a lock. Raises StorageError."""
    own = locked_span(series, span)

    def read() -> LockedSeries:
        contents = contents_of(series, storage.scan(series, own))
        near = storage.partitions(series, storage.around(own)) if contents else ()
        inside = [one for one in near if one.first_us < own.end_us and one.last_us >= own.start_us]
        return LockedSeries(series, contents, tuple(_locked_partition(one) for one in inside))

    return at_rest(storage, series, read)


def contents_in(storage: StoredRows, series: Series, span: Span) -> tuple[Content, ...]:
    """The digests of the rows in exactly that span. Raises StorageError."""
    return at_rest(storage, series, lambda: contents_of(series, storage.scan(series, span)))


def at_rest(storage: StoredRows, series: Series, read: Callable[[], T]) -> T:
    """What `read` gives while no partition of the series comes, goes or changes; until then it is called again.

    Raises what `read` raises at rest, or FilesChanged if the series never is.
    """
    for _ in range(LOOKS):
        before = storage.stamps(series)
        try:
            result = read()
        except StorageError:
            if storage.stamps(series) == before:
                raise
            continue
        if storage.stamps(series) == before:
            return result
    raise keeps_changing(series)


def stored_span(storage: StoredRows, wanted: Sequence[Series]) -> Span:
    """From the month of the first stored row to the end of that of the last. Raises NoData, StorageError."""
    parts = [part for partitions in storage.facts(wanted) for part in partitions]
    if not parts:
        raise NoData("nothing of that is stored; get it with download_all.py")
    first, last = min(part.first_us for part in parts), max(part.last_us for part in parts)
    return Span(_month_of(first).span.start_us, _month_of(last).span.end_us)


def _month_of(us: int) -> Period:
    return Period.day(day_of(us)).within(Cadence.MONTHLY)


def _locked_partition(partition: Partition) -> LockedPartition:
    origins = tuple(_origin(source) for source in partition.sources)
    return LockedPartition(partition.period, _sha256(partition.path), partition.rows, origins)


def _origin(source: Source) -> Origin:
    return Origin(source.key, source.sha256, source.proof, source.rows, source.first_us, source.last_us)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise storage_error(error, path) from error
