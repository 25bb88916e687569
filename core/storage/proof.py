"""Whether the rows of something are stored: of an archive, of another partition, or of a file with rows as text.

An archive whose own rows are stored has them all, in their order and bit by bit (`core.storage.digest`); of a day that
only a longer archive stands for, that has every row (`core.storage.beside`). What is read is what lies on disk now, to
its last row. Callers hold the lock of the series, so that nothing changes meanwhile.
"""

import filecmp
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import DATASETS
from core.errors import FaultyLine, MalformedArchive
from core.layout import Layout
from core.settings import QualitySettings
from core.storage.archive_csv import ArchiveCsv
from core.storage.beside import around, settled
from core.storage.digest import Digest
from core.storage.formats import FORMATS
from core.storage.holding import Holding
from core.storage.order import Repairs
from core.storage.output import Output
from core.storage.parser import Parser
from core.storage.pieces import Extent, source_of
from core.storage.repair import read_by_key
from core.storage.survey import is_by_day, time_of
from core.types import Cadence, FetchedFile, Partition, Period, Proof, Series, Source, Span

BY_CHECKSUM = (Proof.SHA256_BY_ETAG, Proof.SHA256_BY_CHECKSUM)
OTHERS = "its rows are not those that are stored"


@dataclass(frozen=True, slots=True)
class Place:
    """Rows of one source: those of its partition from `first` to before `end`."""

    partition: Partition
    source: Source
    first: int
    end: int

    @property
    def time(self) -> Period:
        return time_of(self.partition.series, self.source)

    def rows(self, rows_at_once: int) -> Iterator[pa.RecordBatch]:
        return Holding().rows(self.partition, self.first, self.end, rows_at_once)


@dataclass(frozen=True, slots=True)
class StoredProof:
    """What the partitions of a series, those that count, have of other files."""

    layout: Layout
    quality: QualitySettings
    parser: Parser
    group_rows: int
    partitions: Sequence[Partition]

    def of(self, key: str, sha256: str | None = None) -> list[Place]:
        """Where rows of an archive are, in their order; with a digest, only if they were stored from those bytes."""
        found = [
            place
            for place in self._places()
            if place.source.key == key and (sha256 is None or place.source.sha256 == sha256)
        ]
        return sorted(found, key=lambda place: place.time.span)

    def longer(self, series: Series, period: Period) -> list[Place]:
        """Longer archives, vouched for by the exchange, that have the time of a day."""
        return [
            place
            for place in self._places()
            if period.cadence is Cadence.DAILY
            and place.source.period != period
            and place.source.proof in BY_CHECKSUM
            and place.source.period.contains(period)
            and place.time.contains(period)
        ]

    def why_not_archive(self, fetched: FetchedFile) -> str:
        """Why the rows of an archive cannot be said to be stored; "" if all are. Raises StorageError, DiskFull."""
        file = fetched.file
        own = self.of(file.key, fetched.sha256)
        longer = [] if own else self.longer(file.series, file.period)
        if not own and not longer:
            return "no partition has its rows"
        dataset = DATASETS[file.series.dataset]
        archive = ArchiveCsv(fetched.path, dataset, file.series.market, file.period, self.quality, parser=self.parser)

        def use(read: ArchiveCsv, batches: Iterator[pa.RecordBatch], repairs: Repairs) -> str:
            if own:
                return self._why_not_same(batches, own)
            held, extent = list(batches), Extent()
            for batch in held:
                extent.add(batch)
            return self._why_not_within(source_of(fetched, read, repairs, extent), held, longer)

        try:
            return read_by_key(archive, dataset, self.layout.processed(file.series, file.period), use)
        except FaultyLine:
            return "some of its lines are no rows, and only it has them"
        except MalformedArchive as error:
            return f"it cannot be read: {error}"

    def why_not_partition(self, partition: Partition) -> str:
        """Why the rows of another partition of the series are not all in these; "" if they are. Raises StorageError."""
        for place in places_of(partition):
            source, time = place.source, place.time
            if source.is_rest:
                return "it has rows of the exchange's API, which the next run settles"
            own = [other for other in self.of(source.key, source.sha256) if other.time == time]
            longer = [] if own or source.is_beside else self.longer(partition.series, time)
            if own:
                why = self._why_not_same(place.rows(self.group_rows), own)
            elif longer:
                why = self._why_not_within(source, place.rows(self.group_rows), longer)
            else:
                why = f"no other partition has the rows of {source.key}"
            if why:
                return why
        return ""

    def why_not_text(self, name: str, path: Path, series: Series, period: Period, key: str) -> str:
        """Why the rows of a file under `extracted/`, in the format `name`, are not those stored of its archive, or of
        its day; "" if they are. Raises StorageError, DiskFull."""
        if places := self.of(key):
            rows = self._rows_of(places)
        elif places := self.longer(series, period):
            rows = _inside(self._rows_of(places), period.span)
        else:
            return "no partition has its rows"
        if name in ("csv", "csv.gz"):  # text has no types to read back: the same rows are written once more
            return "" if self._gives(name, path, series, rows) else OTHERS
        try:
            table = FORMATS[name].read(path)
        except (OSError, pa.ArrowException) as error:
            return f"it cannot be read: {error}"
        return OTHERS if _digest(table.to_batches()).difference(_digest(rows)) else ""

    def _places(self) -> Iterator[Place]:
        return (place for one in self.partitions for place in places_of(one))

    def _rows_of(self, places: Iterable[Place]) -> Iterator[pa.RecordBatch]:
        return (batch for place in places for batch in place.rows(self.group_rows))

    def _why_not_same(self, rows: Iterable[pa.RecordBatch], places: Sequence[Place]) -> str:
        difference = _digest(rows).difference(_digest(self._rows_of(places)))
        return f"its partition has something else: {difference}" if difference else ""

    def _why_not_within(self, source: Source, rows: Iterable[pa.RecordBatch], longer: Sequence[Place]) -> str:
        dataset = DATASETS[longer[0].partition.series.dataset]
        if settled(dataset, source, rows, around(source, self._rows_of(longer), dataset)) is None:
            return ""
        return f"{longer[0].source.key} has not all of its rows"

    def _gives(self, name: str, path: Path, series: Series, rows: Iterable[pa.RecordBatch]) -> bool:
        """Whether these rows, written as that file was, come to its bytes."""
        with Output(name, path, series, self.group_rows) as output:
            for batch in rows:
                output.write(batch)
            output.finish({})
            return filecmp.cmp(output.temporary, path, shallow=False)


def places_of(partition: Partition) -> Iterator[Place]:
    """The rows of each of its sources."""
    first = 0
    for source in partition.sources:
        yield Place(partition, source, first, first + source.rows)
        first += source.rows


def is_whole(series: Series, period: Period, places: Sequence[Place]) -> bool:
    """Whether the rows of an archive that are there can be all of them: of one that is split by day, of every day."""
    if not is_by_day(series) or period.cadence is Cadence.DAILY:
        return bool(places)
    return len({place.time for place in places}) == (period.last - period.first).days + 1


def _digest(rows: Iterable[pa.RecordBatch]) -> Digest:
    digest = Digest()
    for batch in rows:
        digest.add(batch)
    return digest


def _inside(rows: Iterable[pa.RecordBatch], span: Span) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        times = batch.column("timestamp").cast(pa.int64())
        some = batch.filter(pc.and_(pc.greater_equal(times, span.start_us), pc.less(times, span.end_us)))
        if some.num_rows:
            yield some
