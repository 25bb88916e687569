"""`IntegrityChecker`: whether a stored series is whole and right."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from core.datasets import DATASETS
from core.dates import day_of
from core.download.tracker import DownloadTracker
from core.errors import FilesChanged, StorageError
from core.events import Emit, FindingRaised
from core.integrity import archives, part
from core.integrity.causes import Causes, Hole
from core.integrity.gaps import Jump
from core.integrity.months import months_and_days
from core.integrity.reconcile import RECONCILIATIONS, Reconciliation
from core.integrity.rows import Findings
from core.integrity.sides import Side
from core.integrity.walk import ROWS, Walk, gap_columns, jumps_in, tables
from core.layout import Layout
from core.settings import KnownGap, QualitySettings
from core.storage.joined import joined
from core.storage.manager import StorageManager
from core.storage.partitions import looked_again, uncovered
from core.types import ArchiveFile, Finding, Gap, Market, Partition, Period, Revision, Series, Span, State

ALWAYS = Span(0, 2**62)


@dataclass(frozen=True, slots=True)
class Examined:
    """What one series came to: its findings, its gaps among them, and the rows that were looked at."""

    series: Series
    findings: tuple[Finding, ...]
    gaps: tuple[Gap, ...]
    rows: int
    first_us: int
    last_us: int


def unheard(_: object) -> None:
    """Where nobody listens."""


@dataclass
class IntegrityChecker:
    """Checks what is stored and repairs nothing.

    `tracker`: the status database, where there is one. `now_us`: the time, where the age of data matters. Rows are
    streamed, so memory does not follow their number; what is found does not depend on how they come.
    """

    layout: Layout
    storage: StorageManager
    tracker: DownloadTracker | None = None
    quality: QualitySettings = field(default_factory=QualitySettings)
    known_gaps: Sequence[KnownGap] = ()
    emit: Emit = unheard
    now_us: int | None = None

    def check(self, series: Series, span: Span = ALWAYS, deep: bool = False) -> Iterator[Finding]:
        """What is wrong or odd with the rows of a span, gaps included, in order of time.

        `deep` also reads archives on disk again and holds the series against others of its symbol. What an update
        replaces meanwhile is looked at again; raises FilesChanged if it always does.
        """
        yield from self.examine(series, span, deep).findings

    def gaps(self, series: Series, span: Span = ALWAYS) -> list[Gap]:
        """The gaps between the first and the last row of a series that lie in a span or reach into it, in order of
        time: those of the whole, though little more than the span is read. Raises StorageError."""
        return [hole.gap for hole in self._holes(series, span)]

    def settled_again(self, gaps: Sequence[Gap]) -> list[Gap]:
        """Remembered gaps, of one series or many, as they stand by now: a cause that has become known, and trades that
        prove a halt, win over what was recorded, and what is known no longer counts no more. No row of the series is
        read, only trades around its gaps."""
        causes = Causes(self.storage, self.known_gaps, self.now_us)
        return [causes.again(gap) for gap in gaps]

    def _holes(self, series: Series, span: Span) -> list[Hole]:
        jumps = looked_again(lambda: self._jumps_in(series, span))
        causes = self._causes(series)
        return [causes.hole(series, jump) for jump in jumps if jump.span.overlaps(span)]

    def _jumps_in(self, series: Series, span: Span) -> list[Jump]:
        """Those of the span, and perhaps some around it."""
        if span == ALWAYS or part.is_by_row(series):
            jumps, (first_us, last_us) = self._jumps(series, span)
            if span in (ALWAYS, Span(first_us, last_us + 1)):
                return jumps
        return self._jumps(series, part.around(self.storage, series, span))[0]

    def _jumps(self, series: Series, span: Span) -> tuple[list[Jump], tuple[int, int]]:
        """Between the rows of a span, and the first and the last time that one of them has."""
        edges = part.Edges()
        batches = edges.noted(self.storage.scan(series, span, gap_columns(series)))
        jumps = jumps_in(series, tables(series, batches), self.quality)
        return jumps, (edges.first_us, edges.last_us)

    def examine(self, series: Series, span: Span = ALWAYS, deep: bool = False) -> Examined:
        """As `check` and `gaps`, in one pass."""
        found, partitions, walk = looked_again(lambda: self._look(series, span))
        is_readable = not found.all()
        months = self._months(series, span, partitions) if deep and walk.rows else []
        told = {Period.day(day_of(each.span.start_us)) for each in months}
        of_archives = self._of_archives(series, span, partitions, walk if is_readable else None, told)
        for finding in [*walk.findings(), *of_archives, *months]:
            found.add(finding, is_single=finding.kind in _SINGLE)
        holes = self._holes_of(series, span, walk, is_readable)
        for hole in holes:
            found.add(hole.finding, is_single=True)
        if deep and walk.rows:
            self._deep(series, span, partitions, found)
        findings = tuple(found.all())
        for finding in findings:
            self.emit(FindingRaised(finding))
        gaps = tuple(hole.gap for hole in holes)
        return Examined(series, findings, gaps, walk.rows, walk.first_us if walk.rows else 0, walk.last_us)

    def _look(self, series: Series, span: Span) -> tuple[Findings, tuple[Partition, ...], Walk]:
        """All rows and the partitions that have them; they are of one moment."""
        found = Findings()
        partitions = self._partitions(series, span, found)
        return found, partitions, self._walk(series, span, partitions, found)

    def _partitions(self, series: Series, span: Span, found: Findings) -> tuple[Partition, ...]:
        """The partitions that can be read; of the others a finding."""
        try:
            return self.storage.partitions(series, self.storage.around(span))
        except FilesChanged:
            raise
        except StorageError:
            stamps = self.storage.stamps(series)
            good = self.storage.readable(series, stamps)
            for period in sorted(set(stamps) - {partition.period for partition in good}):
                found.add(_unreadable(series, period, self.layout.processed(series, period)), is_single=True)
            return uncovered(good)

    def _walk(self, series: Series, span: Span, partitions: Sequence[Partition], found: Findings) -> Walk:
        """Over all rows; where they cannot be read as one, over those of each partition by itself."""
        causes = self._causes(series)
        walk = Walk(series, self.quality, causes)
        try:
            walk.over(tables(series, joined(partitions, span, None, ROWS)))
            return walk
        except FilesChanged:
            raise
        except StorageError as error:
            reason = str(error)
        walk = Walk(series, self.quality, causes)
        broken: list[Partition] = []
        walk.over(tables(series, _one_by_one(partitions, span, broken)))
        for partition in broken:
            found.add(_unreadable(partition.series, partition.period, partition.path), is_single=True)
        if not broken:
            whole = Span(partitions[0].first_us, partitions[-1].last_us + 1)
            found.add(Finding(series, whole, "contradiction", reason), is_single=True)
        return walk

    def _holes_of(self, series: Series, span: Span, walk: Walk, is_readable: bool) -> list[Hole]:
        """Those of the walk, where that has gone over all rows or what lies around the span cannot be read."""
        if span == ALWAYS or not is_readable:
            return walk.holes()
        try:
            return self._holes(series, span)
        except FilesChanged:
            raise
        except StorageError:
            return walk.holes()

    def _of_archives(
        self,
        series: Series,
        span: Span,
        partitions: Sequence[Partition],
        walk: Walk | None,
        told: Container[Period] = (),
    ) -> Iterator[Finding]:
        """`walk`: None where not all rows could be read; `told`: days that were held against their month."""
        sources = archives.sources_of(partitions)
        near = [source for source in sources.values() if source.period.span.overlaps(span)]
        yield from archives.repairs(self.layout, series, near)
        yield from archives.proofs(series, near)
        yield from archives.beside(series, near, told)
        yield from archives.labels(series, near)
        if walk and walk.rows and all(span.contains(Span(each.first_us, each.last_us + 1)) for each in partitions):
            yield from archives.counts(series, partitions, walk.rows, walk.first_us, walk.last_us)
        if walk and walk.rows and self.now_us is not None and span.end_us > self.now_us:
            yield from archives.age(series, walk.last_us, self.now_us)
        if self.tracker is not None:
            entries = [each for each in self.tracker.catalog(self.layout, series) if each.period.span.overlaps(span)]
            yield from archives.catalog(series, partitions, entries)
            files = [each for each in self._unstored.get(series, ()) if each[1].period.span.overlaps(span)]
            yield from archives.unstored(series, files, sources)
            yield from archives.revisions(series, self._revisions, {source.key: source for source in near})

    def _months(self, series: Series, span: Span, partitions: Sequence[Partition]) -> list[Finding]:
        sources = archives.sources_of(partitions).values()
        given = {source.period for source in sources if source.is_beside and not source.is_rest}
        return list(months_and_days(self.layout, self.quality, series, span, given))

    def _deep(self, series: Series, span: Span, partitions: Sequence[Partition], found: Findings) -> None:
        sources = [s for s in archives.sources_of(partitions).values() if s.period.span.overlaps(span)]
        for finding in archives.digests(self.layout, series, sources):
            found.add(finding, is_single=True)
        side = Side(self.storage, self.quality)
        try:
            for reconcile in RECONCILIATIONS.values():
                for finding in _compared(reconcile, side, series, span):
                    found.add(finding, is_single=True)
        except FilesChanged:
            raise
        except StorageError as error:
            whole = Span(partitions[0].first_us, partitions[-1].last_us + 1)
            detail = f"cannot be compared with other data: {error}"
            found.add(Finding(series, whole, "not-compared", detail, 1, "told of the other series"), is_single=True)

    def _causes(self, series: Series) -> Causes:
        recorded = self.tracker.gaps(series) if self.tracker else ()
        return Causes(self.storage, self.known_gaps, self.now_us, tuple(recorded))

    @cached_property
    def _revisions(self) -> list[Revision]:
        return self.tracker.revisions() if self.tracker else []

    @cached_property
    def _unstored(self) -> dict[Series, list[tuple[State, ArchiveFile]]]:
        """What the status database knows and could not store, by series."""
        by_series: dict[Series, list[tuple[State, ArchiveFile]]] = {}
        for market in Market:
            for state in archives.UNSTORED:
                for file in self.tracker.known(market, [state]) if self.tracker else ():
                    by_series.setdefault(file.series, []).append((state, file))
        return by_series


def _compared(reconcile: Reconciliation, side: Side, series: Series, span: Span) -> list[Finding]:
    return looked_again(lambda: list(reconcile(side, series, span)))


def _one_by_one(partitions: Sequence[Partition], span: Span, broken: list[Partition]) -> Iterator[pa.RecordBatch]:
    """The rows of each partition by itself, without those that do not come behind the partition before; those that
    cannot be read go to `broken`."""
    last = -1
    for partition in partitions:
        key = DATASETS[partition.series.dataset].key[0]
        before = last
        try:
            for batch in joined([partition], span, None, ROWS):
                keys = batch.column(key).cast(pa.int64()).to_numpy()
                fresh = batch.filter(pa.array(keys > before))
                if fresh.num_rows:
                    last = int(keys[-1])
                    yield fresh
        except FilesChanged:
            raise
        except StorageError:
            broken.append(partition)


def _unreadable(series: Series, period: Period, path: Path) -> Finding:
    detail = f"{path.name} cannot be read: delete it and run download_all.py, which stores it again"
    return Finding(series, period.span, "unreadable", detail)


_SINGLE = frozenset(
    {
        *("flat-run", "flat-tail", "frozen-band", "revised", "label", "disputed"),
        *("from-rest", archives.MONTH_DIFFERS, "archive-unreadable"),
    }
)
"""Kinds that are told one by one."""
