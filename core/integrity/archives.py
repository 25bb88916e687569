"""Checks of where rows come from: archives as footers, catalog, status database and disk tell of them."""

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Final

from core.datasets import DATASETS
from core.dates import DAY_US, format_us
from core.errors import storage_error
from core.layout import Layout
from core.types import (
    ArchiveFile,
    Finding,
    Market,
    Partition,
    Period,
    Proof,
    Revision,
    Series,
    Source,
    Span,
    State,
)

LABELS_ARE_STARTS_FROM: Final = date(2026, 6, 25)
"""From this day on um metrics are labelled by the start of their five minutes, before by their end (D36)."""
REPAIRED: Final = "put right while storing"
MONTH_DIFFERS: Final = "month-differs"
DAY_GIVEN: Final = "the day's own archive is given"
FROM_REST: Final = "rows the archives lack"
_STALE_DAYS: Final = {"funding_rate": 45}
_BLOCK: Final = 1 << 20
_REPAIRS: Final = (
    ("duplicate-rows", "duplicates", "exact duplicate rows were dropped", REPAIRED),
    ("unsorted-rows", "reordered", "rows were out of order and have been sorted", REPAIRED),
    ("outside-period", "outside", "rows lie outside the period of their file and were kept", None),
    ("quarantined-lines", "quarantined", "lines cannot be stored and lie in {quarantine}", None),
)
_STATES: Final = {
    State.FAILED: "could not be fetched or stored",
    State.MISSING: "is not published",
    State.CORRUPT: "is broken at the source",
    State.MISMATCH: "contradicts its own checksum at the source",
}
UNSTORED: Final = tuple(_STATES)


def sources_of(partitions: Iterable[Partition]) -> dict[str, Source]:
    """The archives of partitions by key; each once, also where it is split into days."""
    return {source.key: source for partition in partitions for source in partition.sources}


def repairs(layout: Layout, series: Series, sources: Iterable[Source]) -> Iterator[Finding]:
    """What storing had to repair or to let pass (D25, D26, D28)."""
    for source in sources:
        for kind, name, what, cause in _REPAIRS:
            count = getattr(source, name)
            if count:
                where = what.format(quarantine=layout.quarantine(series, source.period))
                yield Finding(series, source.period.span, kind, f"{source.period.label}: {count} {where}", count, cause)


def beside(series: Series, sources: Iterable[Source], told: Container[Period] = ()) -> Iterator[Finding]:
    """Rows that are given besides a longer archive, or besides any; `told`: days of which it is known in more words."""
    for source in sources:
        if source.is_rest:
            span = Span(source.first_us, source.last_us + 1)
            detail = f"{source.period.label}: {source.rows} rows that no archive has are those of the exchange's API"
            yield Finding(series, span, "from-rest", detail, source.rows, FROM_REST)
        elif source.is_beside and source.period not in told:
            detail = (
                f"{source.period.label}: the month's archive lacks {source.added} rows of the day's own and has "
                f"{source.changed} otherwise"
            )
            count = source.added + source.changed
            yield Finding(series, source.period.span, MONTH_DIFFERS, detail, count, DAY_GIVEN)


def proofs(series: Series, sources: Iterable[Source]) -> Iterator[Finding]:
    """Archives for which no checksum of the exchange vouches (D21, D23)."""
    for source in sources:
        if source.proof is Proof.UNVERIFIED:
            detail = f"{source.period.label}: the exchange publishes no .CHECKSUM"
            yield Finding(series, source.period.span, "unverified", detail, 1, "size, ETag and the zip's CRC agree")
        elif source.proof is Proof.DISPUTED:
            detail = f"{source.period.label}: the exchange's .CHECKSUM contradicts the bytes it serves"
            yield Finding(series, source.period.span, "disputed", detail)


def labels(series: Series, sources: Iterable[Source]) -> Iterator[Finding]:
    """Rows of metrics are labelled as they are of their market and day (D36)."""
    if series.dataset != "metrics":
        return
    for source in sources:
        span = source.period.span
        by_end = series.market is Market.UM and source.period.first < LABELS_ARE_STARTS_FROM
        wrong = source.first_us == span.start_us if by_end else source.last_us >= span.end_us
        if wrong:
            first, last = format_us(source.first_us), format_us(source.last_us)
            wanted = "end" if by_end else "start"
            detail = f"{source.period.label}: rows from {first} to {last}, not labelled by the {wanted} of their window"
            yield Finding(series, span, "label", detail, source.rows)


def counts(
    series: Series, partitions: Sequence[Partition], rows: int, first_us: int, last_us: int
) -> Iterator[Finding]:
    """The rows that were read are those of which the footers tell; `rows` were, from `first_us` to `last_us`."""
    sources = [source for partition in partitions for source in partition.sources]
    said = sum(source.added if source.is_beside else source.rows for source in sources)
    times = (min(p.first_us for p in partitions), max(p.last_us for p in partitions))
    span = Span(times[0], times[1] + 1)
    if times != (first_us, last_us) and not any(source.changed for source in sources):
        first, last, said_first, said_last = map(format_us, (first_us, last_us, *times))
        detail = f"rows from {first} to {last}, footers say {said_first} to {said_last}"
        yield Finding(series, span, "footer", detail)
    if rows < said and _overlap(partitions):
        detail = f"{said - rows} rows are in two archives"
        yield Finding(series, span, "shared-rows", detail, said - rows, "given once to whoever reads")
    elif rows != said:
        yield Finding(series, span, "row-count", f"{rows} rows, footers say {said}", abs(rows - said))


def _overlap(partitions: Sequence[Partition]) -> bool:
    """Whether archives overlap in time, so that rows may be given once that two of them have."""
    spans = sorted((source.first_us, source.last_us) for partition in partitions for source in partition.sources)
    return any(second[0] <= first[1] for first, second in pairwise(spans))


def catalog(series: Series, partitions: Sequence[Partition], entries: Sequence[Partition]) -> Iterator[Finding]:
    """The catalog of the status database says what the footers say."""
    entered = {entry.period: entry for entry in entries}
    for partition in partitions:
        entry = entered.get(partition.period)
        if entry is None or entry.stamp != partition.stamp:
            detail = f"{partition.path.name} is not in the catalog as it is"
            cause = "written by hand or just now; the next run enters it"
            yield Finding(series, partition.period.span, "catalog", detail, 1, cause)
        elif entry != partition:
            detail = f"{partition.path.name}: the catalog says {entry.rows} rows, the footer {partition.rows}"
            yield Finding(series, partition.period.span, "catalog", detail)
    for entry in entries:
        if not entry.path.exists():
            detail = f"{entry.path.name} is in the catalog and not on disk: run download_all.py to store it again"
            yield Finding(series, entry.period.span, "partition-missing", detail, entry.rows)


def unstored(
    series: Series, files: Iterable[tuple[State, ArchiveFile]], sources: Mapping[str, Source]
) -> Iterator[Finding]:
    """Archives that the status database knows and that are not stored for a fault of theirs (D22, D23)."""
    longer = {source.period for source in sources.values() if not source.is_rest}
    answered = {source.period for source in sources.values() if source.is_rest}
    for state, file in files:
        if file.key not in sources:
            detail = f"{file.name} {_STATES[state]}"
            cause = "a longer archive has its rows" if any(each.contains(file.period) for each in longer) else None
            cause = cause or ("rows of the exchange's API stand for it" if file.period in answered else None)
            yield Finding(series, file.period.span, f"archive-{state.value}", detail, 1, cause)


def revisions(series: Series, found: Iterable[Revision], sources: Mapping[str, Source]) -> Iterator[Finding]:
    """Archives that the exchange has replaced since they were fetched (D34)."""
    for revision in found:
        source = sources.get(revision.key)
        if source is None:
            continue
        name = revision.key.rsplit("/", 1)[-1]
        detail = f"{name}: the exchange replaced {revision.old_sha256[:12]} by {(revision.new_sha256 or '?')[:12]}"
        is_stored = source.sha256 == revision.new_sha256
        cause = "the rows stored are those of the new archive" if is_stored else None
        yield Finding(series, source.period.span, "revised", detail, 1, cause)


def digests(layout: Layout, series: Series, sources: Iterable[Source]) -> Iterator[Finding]:
    """Archives in `raw/` have the SHA-256 that their rows were stored with."""
    names = layout.archived(series)
    for source in (each for each in sources if not each.is_rest):
        path = layout.raw(series, source.period)
        if path.name in names:
            actual = sha256_of(path)
            if actual != source.sha256:
                detail = f"{path.name} has the SHA-256 {actual[:12]}, its rows were stored from {source.sha256[:12]}"
                yield Finding(series, source.period.span, "digest", detail)


def sha256_of(path: Path) -> str:
    """Of a file. Raises StorageError."""
    try:
        with path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise storage_error(error, path) from error


def age(series: Series, last_us: int, now_us: int) -> Iterator[Finding]:
    """The newest row is as new as what is published by now."""
    days = (now_us - last_us) // DAY_US
    ended = DATASETS[series.dataset].ended.get(series.market)
    if days > _STALE_DAYS.get(series.dataset, 3) + _days_of(series) and ended is None:
        detail = f"the newest row is of {format_us(last_us)}, {days} days old"
        cause = "not updated since, or no longer traded: daily_update.py fetches what there is"
        yield Finding(series, Span(last_us, last_us + 1), "old", detail, int(days), cause)


def _days_of(series: Series) -> int:
    """How much older a row may be because its time is that of its open, or comes by the month."""
    return {"1mo": 62, "1w": 45, "3d": 45, "1d": 1}.get(series.interval or "", 0)
