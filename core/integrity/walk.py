"""One pass over the rows of a series: checks, gaps and runs, in tables of one size whatever way the rows come."""

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

from core.datasets import DATASETS
from core.datasets.clock import Beat
from core.datasets.grid import Grid
from core.integrity.causes import Causes, Hole
from core.integrity.checks import faults_in, grid_of
from core.integrity.gaps import GapFinder, Jump, distinct
from core.integrity.rows import Findings, Rows, chunks
from core.integrity.runs import FlatRuns, FrozenBands
from core.settings import QualitySettings
from core.types import Finding, Series

ROWS: Final = 65_536


def tables(series: Series, batches: Iterator[pa.RecordBatch], rows: int = ROWS) -> Iterator[pa.Table]:
    """The rows as they are looked at: what belongs to one snapshot together."""
    together = "timestamp" if DATASETS[series.dataset].clock.beat is Beat.SNAPSHOTS else None
    return chunks(batches, rows, together)


def jumps_in(series: Series, parts: Iterable[pa.Table], quality: QualitySettings) -> list[Jump]:
    """Where rows are expected and none are, in order of time; the columns of `gap_columns` are enough."""
    finder = GapFinder(DATASETS[series.dataset].clock)
    jumps = [jump for rows in with_row_before(series, parts, quality) for jump in finder.update(rows)]
    return distinct([*jumps, *finder.finish()])


def gap_columns(series: Series) -> list[str]:
    """The columns that gaps are found by."""
    clock = DATASETS[series.dataset].clock
    beats = {Beat.TRADE_IDS: [*clock.ids], Beat.FUNDING: ["funding_interval_hours"]}
    return list(dict.fromkeys(["timestamp", *beats.get(clock.beat, [])]))


def with_row_before(series: Series, parts: Iterable[pa.Table], quality: QualitySettings) -> Iterator[Rows]:
    """Each table with the last row of the one before."""
    last: pa.Table | None = None
    grid: Grid | None = None
    for table in parts:
        if last is None:
            grid = grid_of(series, table)
            yield Rows(series, table, quality, grid=grid)
        else:
            yield Rows(series, pa.concat_tables([last, table]).combine_chunks(), quality, 1, grid)
        last = table.slice(table.num_rows - 1)


class Walk:
    """What is found in the rows of one series. `rows`, `first_us` and `last_us` say what was there."""

    def __init__(self, series: Series, quality: QualitySettings, causes: Causes) -> None:
        self._series, self._quality, self._causes = series, quality, causes
        self._found = Findings()
        self._jumps: list[Jump] = []
        self.rows = 0
        self.first_us = 2**62
        self.last_us = 0

    def over(self, parts: Iterable[pa.Table]) -> None:
        """Look at the rows, in the order of the series' key."""
        series = self._series
        finder = GapFinder(DATASETS[series.dataset].clock)
        flat = FlatRuns() if series.dataset == "klines" else None
        frozen = FrozenBands() if series.dataset == "book_depth" else None
        for rows in with_row_before(series, parts, self._quality):
            time = rows.time[rows.before :]
            self.rows += len(time)
            self.first_us = min(self.first_us, int(time.min()))
            self.last_us = max(self.last_us, int(time.max()))
            is_whole = True
            for faults in faults_in(rows):
                is_whole &= faults.kind != "schema"
                for finding in faults.findings(series):
                    self._found.add(finding)
            if not is_whole:
                return
            self._jumps += finder.update(rows)
            for run in flat.update(rows) if flat else ():
                self._found.add(self._causes.flat(series, run))
            for run in frozen.update(rows) if frozen else ():
                self._found.add(Finding(series, run.span, "frozen-band", run.detail, run.count))
        self._jumps += finder.finish()
        for run in flat.finish() if flat else ():
            self._found.add(self._causes.flat(series, run))
        for run in frozen.finish() if frozen else ():
            self._found.add(Finding(series, run.span, "frozen-band", run.detail, run.count))

    def holes(self) -> list[Hole]:
        """The gaps, in order of time."""
        return [self._causes.hole(self._series, jump) for jump in distinct(self._jumps)]

    def findings(self) -> list[Finding]:
        """Of rows; those of gaps are `holes`."""
        return self._found.all()
