"""New rows of a series among all that is there: what is written, what counts beside it, and what goes.

Whenever this is cut short, readers see every row, and each once: a day that counts beside its month says so in its own
partition before the month is there, and others go only behind it; until then readers leave out what an archive has of
the API's rows (`core.storage.joined`), and whoever writes next takes away what was left.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pyarrow as pa

from core.datasets import DATASETS, Dataset
from core.layout import Layout
from core.storage.beside import around, is_near, of_rows, settled
from core.storage.merging import opened, remove
from core.storage.order import in_key_order
from core.storage.partitions import longer_first
from core.storage.pieces import Piece, kept_rows
from core.storage.survey import is_merged, time_of
from core.storage.writing import write_pieces
from core.types import Cadence, Partition, Period, Proof, Series, Source


@dataclass(frozen=True, slots=True)
class Made:
    """The partitions as they are now, and by key what became of the new pieces."""

    partitions: tuple[Partition, ...]
    sources: Mapping[str, Source]


def write_among(
    layout: Layout, series: Series, home: Period, fresh: Sequence[Piece], here: Sequence[Partition], group_rows: int
) -> Made:
    """Write pieces of one home, held against everything `here` that has rows of their time.

    Raises StorageError, DiskFull.
    """
    return _Writing(layout, series, group_rows, list(here)).write(home, fresh)


def cleaned(layout: Layout, series: Series, here: Sequence[Partition], group_rows: int) -> tuple[Partition, ...]:
    """The same partitions, in order of time, without what somebody was killed before taking away: days whose rows a
    longer archive has, and rows of the API that any archive has.

    What was merged and has such rows becomes again what it was made of. Raises StorageError, DiskFull.
    """
    while True:
        writing = _Writing(layout, series, group_rows, list(here))
        left = writing.left()
        stale = [one for one in here if _differs(one, left[one.period])]
        simple = [one for one in stale if not is_merged(one)]
        for one in simple:
            writing.put(one.period, one, left[one.period])
        if simple or not stale:
            here = sorted(writing.here, key=lambda one: longer_first(one.period))
        else:
            within = [one for one in here if any(other.period.contains(one.period) for other in stale)]
            here = [*(one for one in here if one not in within), *opened(layout, within, group_rows)]
        if len(simple) == len(stale):
            return tuple(here)


def write_without(layout: Layout, partition: Partition, key: str, group_rows: int) -> Partition | None:
    """A partition without the rows of one archive; None if nothing is left of it."""
    rest = [Piece(source) for source in partition.sources if source.key != key]
    if rest:
        return write_pieces(layout, partition.series, partition.period, rest, partition, group_rows)
    remove([partition])
    return None


def answer_of(series: Series, day: Period, rows: pa.Table, here: Iterable[Partition]) -> Piece:
    """What the exchange's API answered about a day, with what it has answered before beside that."""
    key, dataset = f"rest/{series}/{day.label}", DATASETS[series.dataset]
    table = in_key_order(rows, dataset.key).combine_chunks()
    before = [(one, source) for one in here for source in one.sources if source.key == key]
    for partition, source in before:
        found = settled(dataset, source, kept_rows(partition, [source], source.rows), table.to_batches())
        if found is not None and found[1]:
            table = in_key_order(pa.concat_tables([table, pa.Table.from_batches(found[1])]), dataset.key)
            table = table.combine_chunks()
    batches = table.to_batches()
    return Piece(of_rows(Source(key, day, "", Proof.REST, "", 0, 0, 0), batches), batches)


def nothing_of(source: Source) -> Source:
    """What became of an archive of which no row is stored, for longer ones have them."""
    start_us = source.period.span.start_us
    return replace(source, rows=0, first_us=start_us, last_us=start_us, added=0, changed=0)


@dataclass(slots=True)
class _Writing:
    layout: Layout
    series: Series
    group_rows: int
    here: list[Partition]
    sources: dict[str, Source] = field(default_factory=dict)

    def write(self, home: Period, fresh: Sequence[Piece]) -> Made:
        counting = [piece for piece in map(self._beside_longer, fresh) if piece is not None]
        self.sources |= {piece.source.key: piece.source for piece in counting}
        left = {one.period: self._left_of(one, counting) for one in self.here}
        self._mark(home, left)
        own = next((one for one in self.here if one.period == home), None)
        pieces = [*left.get(home, []), *counting]
        if counting or (own is not None and _differs(own, pieces)):
            self.put(home, own, pieces)
        for one in [one for one in self.here if one.period != home]:
            if _differs(one, left[one.period]):
                self.put(one.period, one, left[one.period])
        return Made(tuple(sorted(self.here, key=lambda one: one.period.span)), self.sources)

    def left(self) -> dict[Period, list[Piece]]:
        """The pieces of each partition that are not in archives of another one, or of the same, anyway."""
        archives = [(one, source) for one in self.here for source in one.sources if not source.is_rest]
        times = {time_of(self.series, source) for _, source in archives if source.period.cadence is not Cadence.DAILY}
        found: dict[Period, list[Piece]] = {}
        for partition in self.here:
            pieces = [self._left(partition, source, archives, times) for source in partition.sources]
            found[partition.period] = [piece for piece in pieces if piece is not None]
        return found

    def _left(
        self,
        partition: Partition,
        source: Source,
        archives: Iterable[tuple[Partition, Source]],
        longer: Container[Period],
    ) -> Piece | None:
        """`longer`: the times of archives that are longer than a day."""
        if source.is_rest:
            return self._held_against(Piece(source, None), partition, archives)
        is_day = source.period.cadence is Cadence.DAILY and not source.is_beside
        if is_day and any(source.period.within(cadence) in longer for cadence in Cadence):
            return None
        return Piece(source)

    def _held_against(
        self, piece: Piece, partition: Partition | None, archives: Iterable[tuple[Partition, Source]]
    ) -> Piece | None:
        """What counts of a piece beside these archives; `partition` has its rows, where it has none itself."""
        for other, archive in archives:
            if not self._stands_over(archive, piece.source):
                continue
            rows: Iterable[pa.RecordBatch] = piece.batches or ()
            if piece.batches is None and partition is not None:
                rows = kept_rows(partition, [piece.source], self.group_rows)
            others = around(piece.source, kept_rows(other, [archive], self.group_rows), self._dataset)
            found = settled(self._dataset, piece.source, rows, others)
            if found is None:
                return None
            piece = _with(piece, found)
        return piece

    def _beside_longer(self, piece: Piece) -> Piece | None:
        """What of a new piece counts beside the longer archives, or any for the API; None, and noted, if nothing."""
        archives = [(one, source) for one in self.here for source in one.sources]
        found = self._held_against(piece, None, archives)
        if found is None:
            self.sources[piece.source.key] = nothing_of(piece.source)
        return found

    def _left_of(self, partition: Partition, counting: Iterable[Piece]) -> list[Piece]:
        """The pieces of a partition that stay, when the new ones are there."""
        gone = self._within_one(partition, counting)
        left = [self._beside(partition, source, counting) for source in partition.sources if source.key not in gone]
        return [piece for piece in left if piece is not None]

    def _within_one(self, partition: Partition, counting: Iterable[Piece]) -> frozenset[str]:
        """The days of a partition that a new archive has, each with the same rows: held against it all at once."""
        for new in counting:
            days = [one for one in partition.sources if not one.is_rest and self._stands_over(new.source, one)]
            is_apart = all(one.last_us < other.first_us for one, other in pairwise(days))
            if len(days) > 1 and is_apart and not any(one.key in self.sources for one in days):
                rows = kept_rows(partition, days, self.group_rows)
                others = around(_spanning(days), new.batches or (), self._dataset)
                if settled(self._dataset, days[0], rows, others) is None:
                    return frozenset(one.key for one in days)
        return frozenset()

    def _beside(self, partition: Partition, source: Source, counting: Iterable[Piece]) -> Piece | None:
        if source.key in self.sources:
            return None  # a newer version of the same archive has come
        piece = Piece(source)
        for new in counting:
            if self._stands_over(new.source, source):
                rows = piece.batches or kept_rows(partition, [source], self.group_rows)
                found = settled(
                    self._dataset, piece.source, rows, around(piece.source, new.batches or (), self._dataset)
                )
                if found is None:
                    return None
                piece = _with(piece, found)
        return piece

    def _mark(self, home: Period, left: Mapping[Period, Sequence[Piece]]) -> None:
        """Days that will count beside a month say so before the month is there."""
        for one in [one for one in self.here if one.period != home]:
            marked = {piece.source.key: piece.source for piece in left[one.period] if not piece.source.is_rest}
            sources = [marked.get(source.key, source) for source in one.sources]
            if any(new.is_beside and not old.is_beside for new, old in zip(sources, one.sources, strict=True)):
                self.put(one.period, one, [Piece(source) for source in sources])

    def put(self, period: Period, old: Partition | None, pieces: Sequence[Piece]) -> None:
        """Write the pieces of a partition in the place of the `old` one; without pieces, that goes."""
        if old is not None:
            old = next(one for one in self.here if one.period == period)  # it may have been marked
            self.here.remove(old)
        if pieces:
            self.here.append(write_pieces(self.layout, self.series, period, pieces, old, self.group_rows))
        elif old is not None:
            remove([old])

    @property
    def _dataset(self) -> Dataset:
        return DATASETS[self.series.dataset]

    def _stands_over(self, one: Source, other: Source) -> bool:
        """Whether an archive is held against another source: a longer one against a day, any against the API."""
        if one.is_rest or one.key == other.key:
            return False
        if other.is_rest:
            return is_near(one, other, self._dataset)
        return one.period != other.period and time_of(self.series, one).contains(other.period)


def _with(piece: Piece, found: tuple[Source, Sequence[pa.RecordBatch] | None]) -> Piece:
    """A piece as it was found to count; where the partition has its rows and all of them do, it has them still."""
    source, batches = found
    if source.rows == piece.source.rows:
        return piece if source.is_rest else Piece(source, piece.batches)
    return Piece(source, batches)


def _spanning(sources: Sequence[Source]) -> Source:
    """One source that has the time of several."""
    return replace(sources[0], first_us=sources[0].first_us, last_us=sources[-1].last_us)


def _differs(partition: Partition, pieces: Sequence[Piece]) -> bool:
    return [piece.source for piece in pieces] != list(partition.sources)
