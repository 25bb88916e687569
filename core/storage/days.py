"""The partition of a day on its way, and what counts in it beside the archive that is being split into days."""

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from core.datasets import DATASETS
from core.storage.beside import Comparison, Difference, of_rows, place_of, strength
from core.storage.footer import WRITER, facts_of
from core.storage.order import row_groups
from core.storage.output import Output
from core.storage.pieces import Extent, kept_rows
from core.types import ArchiveFile, Cadence, Partition, Period, Source


class Day:
    """Rows of one archive of one day, streamed into `output` behind those of a longer archive that is there already.

    Everything that `old` has from other sources is held against them on the way.
    """

    def __init__(
        self, period: Period, output: Output, file: ArchiveFile, old: Partition | None, group_rows: int
    ) -> None:
        self.period = period
        self.output = output
        self.extent = Extent()
        self.is_needed = True
        self._file = file
        self._old = old
        self._group_rows = group_rows
        self._dataset = DATASETS[file.series.dataset]
        others = [source for source in old.sources if source.key != file.key] if old is not None else []
        longer = [source for source in others if strength(source) == 1]
        self._others = [source for source in others if source not in longer]
        # An archive that is longer than the day itself takes the place of any other such one.
        self._longer = longer if file.period.cadence is Cadence.DAILY else []
        self._comparisons = [
            Comparison(self._dataset, self._kept(s), keeps=s.is_rest, by_grain=s.is_rest)
            for s in (*self._longer, *self._others)
        ]
        self._found: list[Difference] = []
        for batch in (batch for source in self._longer for batch in self._kept(source)):
            output.write(batch)

    def add(self, part: pa.RecordBatch) -> None:
        self.output.write(part)
        self.extent.add(part)
        for comparison in self._comparisons:
            comparison.add(part)

    def end(self) -> None:
        """No more rows come: what was needed to compare them goes."""
        self._found += [comparison.finish() for comparison in self._comparisons]
        self._comparisons = []

    def finish(self, source: Source) -> tuple[Source, Partition | None]:
        """What of the archive is in the partition, and that; without rows and None where a longer one has them all."""
        self.end()
        longer, others = self._found[: len(self._longer)], self._found[len(self._longer) :]
        if longer:
            source = replace(source, added=min(one.more for one in longer), changed=max(one.changed for one in longer))
            if not source.is_beside:
                self.is_needed = False
                return replace(
                    source, rows=0, first_us=self.period.span.start_us, last_us=self.period.span.start_us
                ), None
        kept = [self._beside(one, difference) for one, difference in zip(self._others, others, strict=True)]
        sources = sorted([*self._longer, source, *(one for one in kept if one is not None)], key=place_of)
        series, path = self._file.series, self.output.path
        self.output.finish(facts_of(series, self.period, sources))
        return source, Partition(series, self.period, path, tuple(sources), WRITER, self.output.stamp)

    def _beside(self, source: Source, found: Difference) -> Source | None:
        """What counts of another source beside the archive, written behind it; None if nothing does."""
        if source.is_rest:
            for batch in row_groups(iter(found.rows), self._group_rows):
                self.output.write(batch)
            return of_rows(source, found.rows) if found.rows else None
        marked = replace(source, added=found.lacking, changed=found.changed)
        if marked.is_beside:
            for batch in self._kept(source):
                self.output.write(batch)
        return marked if marked.is_beside else None

    def _kept(self, source: Source) -> Iterator[pa.RecordBatch]:
        assert self._old is not None
        return kept_rows(self._old, [source], self._group_rows)
