"""`StorageManager`: verified archives become partitions, and partitions are read back.

The rows of a series lie in few files (see `core.layout`): candles by year and, where only daily archives are there yet,
by month; trades by day; any of them merged into longer ones (`core.storage.merging`). Paths follow from series and
period. Everything is written beside its place under `.<name>.<pid>.tmp`, synced and renamed once, so that a reader
never sees a half-written file.
"""

import contextlib
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from core.datasets import DATASETS
from core.errors import MalformedArchive, StorageError
from core.layout import Layout, home_of
from core.settings import QualitySettings, StorageSettings
from core.storage.archive_csv import ArchiveCsv
from core.storage.draft import sweep_all, unlink
from core.storage.footer import partition_at
from core.storage.formats import FORMATS
from core.storage.looking import Looking
from core.storage.merging import opened, remove
from core.storage.output import Output
from core.storage.parser import Parser
from core.storage.partitions import outdated_in
from core.storage.pieces import Piece, read_whole
from core.storage.precedence import answer_of, cleaned, write_among, write_without
from core.storage.proof import StoredProof, is_whole
from core.storage.quarantine import Quarantine
from core.storage.reading import Catalog, nothing_known
from core.storage.stored import StoredRows
from core.storage.survey import Survey, divided, is_by_day, near, survey, time_of
from core.storage.together import read_together
from core.storage.turns import taking_turns
from core.storage.writing import write_days
from core.types import (
    ArchiveFile,
    Cadence,
    FetchedFile,
    Partition,
    Period,
    Proof,
    Series,
    Source,
    Span,
    Stored,
)


class StorageManager(StoredRows):
    """Writes and reads partitions under one data root. `catalog` spares `facts` the footers that it knows; `check`
    (`module:function`, a `core.storage.looking.Check`) looks at rows while they are stored."""

    def __init__(
        self,
        layout: Layout,
        settings: StorageSettings,
        quality: QualitySettings,
        catalog: Catalog = nothing_known,
        check: str = "",
    ) -> None:
        super().__init__(layout, settings, quality, catalog)
        self._check = check
        self._parser = Parser(settings.parser)

    @property
    def at_once(self) -> int:
        """As many calls of `store` at once, each in a thread, keep all processors busy."""
        return max(2, os.cpu_count() or 2)

    def expect(self, archive_bytes: int) -> None:
        """Archives of so many bytes are about to come; a hint, which changes nothing but the time."""
        self._parser.expect(archive_bytes)

    def prepare(self) -> None:
        """Load now what the first archive would load otherwise."""
        self._parser.prepare()

    def store(self, files: Sequence[FetchedFile], fresh: bool = False) -> Stored:
        """Put verified archives of one home (`core.layout.home_of`) into their partition, beside what it has already.

        Where a longer archive has the time of a day, that is stored only if it has other rows (`core.storage.beside`).
        Rows come out in the order of the dataset's key. Exact duplicate rows are dropped and counted, rows out of order
        are sorted and counted; two rows with one key and different content, and lines that are no rows, refuse their
        archive, and the others are stored; with `quality.salvage` they are left out and kept in quarantine, as they are
        of an archive that was stored so before. An archive whose bytes are in place is left alone, unless `fresh`. The
        same archives give the same bytes, in whatever order they come. What
        was merged around them becomes again what it was made of. Raises DiskFull, StorageError.
        """
        series, home = files[0].file.series, home_of(files[0].file.series, files[0].file.period)
        with taking_turns(self._layout, series):
            here, covered = near(self._layout, series, home)
            before = (*here, *covered)
            remove(covered)  # a run was killed before it did
            here = cleaned(self._layout, series, here, self._settings.row_group_rows)
            held = self._held(files, here, fresh)
            new = [fetched for fetched in files if fetched.file.key not in held]
            if new:
                here = tuple(opened(self._layout, here, self._settings.row_group_rows))
            looking = Looking(self._check if new else "", series, self._quality)
            store = self._store_days if is_by_day(series) else functools.partial(self._store_pieces, series, home)
            stored = replace(store(new, here, held, looking), findings=looking.findings)
            self._tidy_quarantine(files, before, stored)
            for path in outdated_in(self._layout, series, stored.partitions):
                unlink(path)
            gone = {one.period for one in (*before, *here)} - {one.period for one in stored.partitions}
            return replace(stored, removed=tuple((series, period) for period in sorted(gone)))

    def store_answer(self, series: Series, day: Period, rows: pa.Table) -> Stored:
        """Put the exchange's own answer to a question about one day, in the dataset's schema, beside the archives.

        Of its rows those are kept that no archive has, with those of an earlier answer that it lacks; an archive that
        comes later takes the place of those that it has. Times are those of the answer, to the dataset's grain. Raises
        StorageError, DiskFull.
        """
        home = home_of(series, day)
        with taking_turns(self._layout, series):
            here, covered = near(self._layout, series, home)
            before = (*here, *covered)
            remove(covered)
            here = cleaned(self._layout, series, here, self._settings.row_group_rows)
            here = tuple(opened(self._layout, here, self._settings.row_group_rows))
            pieces = [answer_of(series, day, rows, here)] if rows.num_rows else []
            made = write_among(self._layout, series, home, pieces, here, self._settings.row_group_rows)
            gone = {one.period for one in (*before, *here)} - {one.period for one in made.partitions}
            return Stored(made.partitions, tuple((series, period) for period in sorted(gone)), made.sources, {})

    def held(self, files: Sequence[FetchedFile]) -> Stored:
        """What `store` would find in place of archives of one home, without storing anything."""
        series, home = files[0].file.series, home_of(files[0].file.series, files[0].file.period)
        here, _ = near(self._layout, series, home)
        return Stored(here, (), self._held(files, here, fresh=False) | _in_longer(files, here), {})

    def archives(self) -> dict[Series, set[Period]]:
        """The archives of which all rows are stored, as far as footers can tell: of a month that is split by day, only
        where none of its days is without rows. What cannot be read is left out."""
        found: dict[Series, set[Period]] = {}
        for series in self.series():
            counting, _ = divided(self.readable(series, self.stamps(series)))
            proof = self.proof(counting)
            sources = {source.key: source.period for one in counting for source in one.sources if not source.is_rest}
            found[series] = {period for key, period in sources.items() if is_whole(series, period, proof.of(key))}
        return found

    def whole(self, file: ArchiveFile) -> Stored | None:
        """What storing an archive has come to, if all its rows are still here and of the same bytes; else None."""
        around = [period for period in self.stamps(file.series) if period.span.overlaps(file.period.span)]
        counting, _ = divided(self.readable(file.series, around))
        places = self.proof(counting).of(file.key)
        if not is_whole(file.series, file.period, places) or len({place.source.sha256 for place in places}) != 1:
            return None
        partitions = {place.partition.period: place.partition for place in places}
        source = _summed([place.source for place in places])
        return Stored(tuple(partitions.values()), (), {file.key: source}, {})

    def readable(self, series: Series, periods: Iterable[Period]) -> list[Partition]:
        """Those of a series' partitions that can be read, whether or not a longer one has their rows."""
        found = []
        for period in periods:
            with contextlib.suppress(StorageError):  # whoever wants its rows is told
                found.append(partition_at(self._layout.processed(series, period), series, period))
        return [partition for partition in found if partition is not None]

    def turn(self, series: Series) -> contextlib.AbstractContextManager[None]:
        """While nobody else writes partitions of the series."""
        return taking_turns(self._layout, series)

    def tidied(self, series: Series) -> Survey:
        """What a series has, without what archives have anyway; call it in a `turn`.

        A run that was killed leaves such things: partitions whose rows a longer one has too, and within those that stay
        days whose rows a longer archive has, and rows of the API that any archive has. Raises StorageError, DiskFull.
        """
        found = survey(self._layout, series)
        remove(found.covered)
        here = cleaned(self._layout, series, found.partitions, self._settings.row_group_rows)
        gone = {one.period for one in (*found.partitions, *found.covered)} - {one.period for one in here}
        return Survey(here, (), found.damaged, frozenset(gone))

    def proof(self, partitions: Sequence[Partition]) -> StoredProof:
        """What these partitions, those of a series that count, have of other files; use it in a `turn`."""
        return StoredProof(self._layout, self._quality, self._parser, self._settings.row_group_rows, partitions)

    def remove(self, partition: Partition) -> None:
        """Delete one partition."""
        remove([partition])

    def sweep(self) -> int:
        """Delete temporary files that dead processes left; returns how many."""
        return sweep_all(self._layout)

    # storing

    def _held(self, files: Sequence[FetchedFile], here: Sequence[Partition], fresh: bool) -> dict[str, Source]:
        """The archives that need no storing: the same bytes are in place."""
        found = {}
        for fetched in files:
            file = fetched.file
            sources = [source for partition in here for source in partition.sources]
            same = [s for s in sources if _is_in_place(s, fetched)]
            is_split = is_by_day(file.series) and file.period.cadence is not Cadence.DAILY
            if same and not fresh and not is_split:
                found[file.key] = same[0]
        return found

    def _store_pieces(
        self,
        series: Series,
        home: Period,
        new: Sequence[FetchedFile],
        here: Sequence[Partition],
        held: Mapping[str, Source],
        looking: Looking,
    ) -> Stored:
        """Read archives one by one, and write their partition with what it keeps."""
        fresh, refused = self._read(series, home, new, here)
        ordered = sorted(fresh, key=lambda piece: piece.source.period.span)
        looking.at(batch for piece in ordered for batch in piece.batches or ())
        made = write_among(self._layout, series, home, fresh, here, self._settings.row_group_rows)
        return Stored(made.partitions, (), {**held, **made.sources}, refused)

    def _read(
        self, series: Series, home: Period, new: Sequence[FetchedFile], here: Sequence[Partition]
    ) -> tuple[list[Piece], dict[str, str]]:
        """The pieces of those archives that can be read, each also extracted if settings say so; why not the others."""
        pieces, refused = [], {}
        dataset = DATASETS[series.dataset]
        beside = self._layout.processed(series, home)
        together = read_together([(fetched, self._archive(fetched, here)) for fetched in new], home, dataset)
        for fetched in new:
            try:
                piece = together.get(fetched.file.key)
                piece = piece or read_whole(fetched, self._archive(fetched, here), dataset, beside)
            except MalformedArchive as error:
                refused[fetched.file.key] = str(error)
                continue
            with contextlib.ExitStack() as stack:
                for copy in self._copies(fetched):
                    stack.enter_context(copy)
                    for batch in piece.batches or ():
                        copy.write(batch)
                    copy.finish({})
                    copy.publish()
            pieces.append(piece)
        return pieces, refused

    def _store_days(
        self, new: Sequence[FetchedFile], here: Sequence[Partition], held: Mapping[str, Source], looking: Looking
    ) -> Stored:
        """Stream archives, each into a partition for each of its days."""
        made: dict[Period, Partition] = {partition.period: partition for partition in here}
        sources, refused = dict(held), {}
        for fetched in new:
            try:
                days = write_days(
                    self._layout,
                    fetched,
                    self._archive(fetched, here),
                    made,
                    self._settings.row_group_rows,
                    functools.partial(self._copies, fetched),
                    looking,
                )
            except MalformedArchive as error:
                refused[fetched.file.key] = str(error)
                continue
            before = [one for one in made.values() if any(source.key == fetched.file.key for source in one.sources)]
            made.update({partition.period: partition for partition in days.partitions})
            for one in before:
                if one.period not in days.periods:
                    rest = write_without(self._layout, one, fetched.file.key, self._settings.row_group_rows)
                    made = {period: other for period, other in made.items() if period != one.period}
                    made |= {} if rest is None else {rest.period: rest}
            sources[fetched.file.key] = _summed(days.sources)
        return Stored(tuple(partition for _, partition in sorted(made.items(), key=_by_time)), (), sources, refused)

    def _tidy_quarantine(self, files: Sequence[FetchedFile], was: Sequence[Partition], stored: Stored) -> None:
        """Remove the quarantined lines of archives that are stored without any, or not any more.

        Behind the partitions, so that a kill leaves too much rather than too little; these archives come here again.
        """
        series = files[0].file.series
        before = {source.period for partition in was for source in partition.sources if source.quarantined}
        now = {source.period for partition in stored.partitions for source in partition.sources if source.quarantined}
        clean = sorted(before.union(fetched.file.period for fetched in files) - now)
        if clean and self._layout.quarantine(series, clean[0]).parent.is_dir():
            for period in clean:
                unlink(self._layout.quarantine(series, period))

    def _copies(self, fetched: FetchedFile) -> list[Output]:
        """Where the rows of an archive go besides its partition."""
        series, period = fetched.file.series, fetched.file.period
        if series.dataset not in self._settings.csv_datasets:
            return []
        name = self._settings.extracted_format
        path = self._layout.extracted(series, period, FORMATS[name].SUFFIX)
        return [Output(name, path, series, self._settings.row_group_rows)]

    def _archive(self, fetched: FetchedFile, here: Sequence[Partition]) -> ArchiveCsv:
        series = fetched.file.series
        sources = [source for partition in here for source in partition.sources if source.quarantined]
        was_salvaged = (fetched.file.key, fetched.sha256) in [(source.key, source.sha256) for source in sources]
        is_salvaged = self._quality.salvage or was_salvaged
        quarantine = Quarantine(self._layout.quarantine(series, fetched.file.period)) if is_salvaged else None
        return ArchiveCsv(
            fetched.path,
            DATASETS[series.dataset],
            series.market,
            fetched.file.period,
            self._quality,
            parser=self._parser,
            rows_at_once=self._settings.row_group_rows,
            quarantine=quarantine,
        )


def _in_longer(files: Sequence[FetchedFile], here: Sequence[Partition]) -> dict[str, Source]:
    """The archives whose time a longer one has: when that was stored, they were held against it."""
    found = {}
    for fetched in files:
        longer = [s for partition in here for s in partition.sources if _is_longer(s, fetched.file)]
        if longer:
            found[fetched.file.key] = _nothing_of(fetched, longer[0])
    return found


def _is_in_place(source: Source, fetched: FetchedFile) -> bool:
    """Whether a partition has just these bytes; what was accepted without proof is stored anew once it is proved."""
    is_proved = source.proof in (Proof.SHA256_BY_ETAG, Proof.SHA256_BY_CHECKSUM) or source.proof is fetched.proof
    return (source.key, source.sha256) == (fetched.file.key, fetched.sha256) and is_proved


def _is_longer(source: Source, file: ArchiveFile) -> bool:
    """Whether a longer archive has the rows of this one; where archives are split by day, those of that day."""
    if source.period == file.period or not source.period.contains(file.period):
        return False
    return time_of(file.series, source).contains(file.period)


def _by_time(item: tuple[Period, Partition]) -> Span:
    return item[0].span


def _nothing_of(fetched: FetchedFile, longer: Source) -> Source:
    """No row of an archive is stored, for a longer one has them."""
    span = fetched.file.period.span
    return Source(
        fetched.file.key,
        fetched.file.period,
        fetched.sha256,
        fetched.proof,
        longer.unit,
        0,
        span.start_us,
        span.start_us,
    )


def _summed(parts: Sequence[Source]) -> Source:
    """One archive that was split: its rows are those of all days, what was repaired in it each of them says."""
    return replace(
        parts[0],
        rows=sum(part.rows for part in parts),
        first_us=min(part.first_us for part in parts),
        last_us=max(part.last_us for part in parts),
    )
