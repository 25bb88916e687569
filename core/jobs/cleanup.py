"""What lies under a data root and is not needed any more: found, proved, removed.

Nothing goes unless what stands for it has been proved just before: the rows of an archive are read from the archive and
from the partitions and compared (`core.storage.proof`), bytes by their digest. What is done to a series is done in its
turn, so that nobody stores or merges meanwhile. A download waits for no turn: an archive goes only if its file and its
row are those that were looked at, and nobody can take that row just then. Each file is proved and removed by itself, so
whenever this is cut short, what has gone was not needed, and the rest is as it was.
"""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from core.dates import DAY_US
from core.download.former import why_needed
from core.download.part import digest_of
from core.download.tracker import DownloadTracker
from core.errors import AlreadyRunning, DiskFull, StorageError, storage_error
from core.jobs.alone import alone
from core.jobs.holdings import Foreign, Held, What, held_of, holdings, series_held
from core.layout import Layout
from core.settings import Settings
from core.storage.bar_files import BarFiles, origins_of
from core.storage.cross_sections import CrossSections, groups_of, is_current
from core.storage.draft import is_left, unlink
from core.storage.manager import StorageManager
from core.storage.partitions import outdated_in
from core.storage.proof import BY_CHECKSUM, Place
from core.storage.survey import Survey, survey
from core.types import Download, FetchedFile, Partition, Period, Proof, Series, State

KINDS: Final[Mapping[str, str]] = {
    "parts": "beginnings of archives that nobody goes on with",
    "days": "archives of days of which the month is here too, and has all their rows",
    "raw": "archives whose rows are stored, where they are not kept",
    "partitions": "partitions whose rows a longer one has, or that an earlier version wrote",
    "csv": "rows as text that are not wanted any more, or are those of an archive that was replaced",
    "revisions": "bytes kept apart as disputed, of archives that are right by now",
    "bars": "bars of trades that were replaced",
    "cross-sections": "cross-sections that are out of date",
    "temporary": "temporary files of processes that are gone",
    "databases": "former status databases of which the present one knows everything",
}
"""What is looked for, in the order in which it goes."""
FORGOTTEN_US: Final = 7 * DAY_US
"""For so long the beginning of an archive that the status database does not know is taken for somebody's progress."""
AT_REST_US: Final = DAY_US
"""A database in the making that nobody wrote to for so long was left by a rebuild that was killed."""
_ROWS: Final = "rows of both read and compared"
_READ: Final = ("days", "raw")
_FETCHED: Final = (What.RAW, What.PART, What.DISPUTED)
"""What runs write to without the turn of the series: whoever has the archive's row may."""
_WHOLE: Final = (State.FETCHED, State.STORED, State.UNVERIFIED, State.CORRUPT)
"""The archive has come whole, whatever became of its rows."""


LINK: Final = "link"
"""The kind of what stays because it is a link."""


@dataclass(frozen=True, slots=True)
class Redundant:
    """A file of `size` bytes that is not needed: why not, and how that is proved before it goes."""

    path: Path
    kind: str
    size: int
    reason: str
    proof: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that was looked at for a kind and stays, and why."""

    path: Path
    kind: str
    size: int
    reason: str


@dataclass(slots=True)
class Outcome:
    """What came of it. `kept` turned out to be needed when it was to be proved, or had changed by then; `stays` was
    never to go; `failures` say what could not be looked at or removed, the rest being done."""

    removed: list[Redundant] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    stays: list[Kept] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """`held` as it was looked at. `why_not` is the whole proof: "", or what is wrong. `row`: of the archive that it
    belongs to, None where none is known. `partition` goes from the catalog, too."""

    held: Held
    found: Redundant
    why_not: Callable[[], str]
    row: Download | None = None
    partition: Partition | None = None


_Found = _Candidate | Kept


@contextlib.contextmanager
def _noting(what: str, outcome: Outcome) -> Iterator[None]:
    """What cannot be read or removed of one thing leaves the others alone; a disk that is full stops all."""
    try:
        yield
    except DiskFull:
        raise
    except StorageError as error:
        outcome.failures.append(f"{what}: {error}")


@dataclass(frozen=True, slots=True)
class Cleaner:
    """Looks for files of some `kinds`. `keep_raw`: archives stay, but for days of months; `now_us`: the time."""

    layout: Layout
    settings: Settings
    storage: StorageManager
    tracker: DownloadTracker
    kinds: Collection[str]
    keep_raw: bool
    now_us: int

    def look(self) -> Outcome:
        """What is not needed by what names, footers and database say, as `removed`, and what stays. Nothing is changed;
        proving it is left to `remove`. What cannot be looked at leaves the rest alone; TrackerError is raised."""
        outcome = Outcome()

        for series in series_held(self.layout):
            with _noting(str(series), outcome):
                self._note(self._of_series(series), outcome)
        with _noting("the data folder", outcome):
            self._note(self._of_all(), outcome)
        return outcome

    def _note(self, found: Iterable[_Found], outcome: Outcome) -> None:
        for one in found:
            if isinstance(one, Kept):
                outcome.stays.append(one)
            else:
                outcome.removed.append(one.found)

    def remove(self, says: Callable[[str], None] = lambda _: None) -> Outcome:
        """Prove what `look` finds, and remove it. What fails leaves the rest alone; DiskFull and TrackerError are
        raised."""
        outcome = Outcome()
        self.tracker.release()
        with contextlib.ExitStack() as stack:
            if "bars" in self.kinds:
                try:
                    stack.enter_context(alone(self.layout, "features"))
                except AlreadyRunning as error:
                    outcome.failures.append(f"bars: {error}")
            for series in series_held(self.layout):
                says(f"{len(outcome.removed):,} files removed; now {series}")
                with _noting(str(series), outcome), self.storage.turn(series):
                    self._take(self._of_series(series), outcome)
            with _noting("the data folder", outcome):
                self._take(self._of_all(), outcome)
        return outcome

    def _take(self, found: Iterable[_Found], outcome: Outcome) -> None:
        are_bars_ours = not any(failure.startswith("bars: ") for failure in outcome.failures)
        candidates = list(found)
        archives = [one.found.size for one in candidates if isinstance(one, _Candidate) and one.found.kind in _READ]
        self.storage.expect(sum(archives))
        for one in candidates:
            if isinstance(one, Kept):
                outcome.stays.append(one)
                continue
            if one.found.kind == "bars" and not are_bars_ours:
                continue
            try:
                why_not = one.why_not() or self._unlink(one)
                if why_not:
                    outcome.kept.append(Kept(one.found.path, one.found.kind, one.found.size, why_not))
                    continue
            except DiskFull:
                raise
            except StorageError as error:
                outcome.failures.append(str(error))
                continue
            if one.partition is not None:
                self.tracker.enter([], [(one.partition.series, one.partition.period)])
            outcome.removed.append(one.found)

    def _unlink(self, one: _Candidate) -> str:
        """Remove what has been proved; or why not, if it is not what it was when it was looked at."""
        held = one.held
        if held.what not in _FETCHED:
            return _unlinked(held)
        assert held.series is not None
        assert held.period is not None
        with self.tracker.steady(held.series, held.period, one.row) as is_as_read:
            return _unlinked(held) if is_as_read else "a run has taken it up meanwhile"

    def _of_series(self, series: Series) -> Iterator[_Found]:
        looked = _Series(self, series)
        finds = {
            "parts": looked.parts,
            "days": looked.archives,
            "raw": looked.archives,
            "partitions": looked.partitions,
            "csv": looked.texts,
            "revisions": looked.disputed,
            "bars": looked.bars,
        }
        for find in dict.fromkeys(finds[kind] for kind in KINDS if kind in self.kinds and kind in finds):
            for found in find():
                if (found.found.kind if isinstance(found, _Candidate) else found.kind) in self.kinds:
                    yield found

    def _of_all(self) -> Iterator[_Found]:
        """What is of no series, and, whatever the kinds, links: behind them nobody has looked."""
        stored = self.storage.series() if "cross-sections" in self.kinds else []
        groups = {(g[0].market, g[0].dataset, g[0].interval): g for g in groups_of(stored)}
        sections = CrossSections(self.layout)
        for held in holdings(self.layout):
            if isinstance(held, Foreign):
                if held.path.is_symlink():
                    yield Kept(held.path, LINK, 0, held.why)
                continue
            if held.what is What.TEMPORARY and "temporary" in self.kinds:
                yield self._temporary(held)
            elif held.what is What.FORMER_DATABASE and "databases" in self.kinds:
                yield self._database(held)
            elif held.what is What.CROSS_SECTION and "cross-sections" in self.kinds:
                like, period = held.series, held.period
                assert like is not None
                assert period is not None
                group = groups.get((like.market, like.dataset, like.interval))
                if group is None or not is_current(sections, self.storage, group, period):
                    reason = "made of partitions that are others now; the loader does not use it"
                    yield _Candidate(held, _redundant(held, "cross-sections", reason, "by what it was made of"), _sure)

    def _temporary(self, held: Held) -> _Found:
        if not is_left(held.path.name):
            return _kept(held, "temporary", "its process is at work")
        return _Candidate(held, _redundant(held, "temporary", "its process is gone", "never finished"), _sure)

    def _database(self, held: Held) -> _Found:
        """A database that was put aside, or was being made, with what SQLite keeps beside it."""
        main = held.path.with_name(held.path.name.removesuffix("-wal").removesuffix("-shm").removesuffix("-journal"))
        if main.name == self.layout.rebuilt_database.name:
            stamps = [path.stat().st_mtime_ns for path in main.parent.glob(f"{main.name}*")]
            if self.now_us - max(stamps, default=0) // 1000 < AT_REST_US:
                return _kept(held, "databases", "a rebuild may be at work with it")
            reason = "left by a rebuild that was killed"
            return _Candidate(held, _redundant(held, "databases", reason, "the next rebuild begins anew"), _sure)
        reason = "put aside when it was rebuilt"
        found = _redundant(held, "databases", reason, "the present one knows all that it knows")

        def why_not() -> str:
            return why_needed(main, self.layout.database) if main.exists() else ""

        why = why_not()
        return _kept(held, "databases", why) if why else _Candidate(held, found, why_not)


class _Series:
    """One series as it is now: its files, what the database knows of its archives, and its partitions."""

    def __init__(self, cleaner: Cleaner, series: Series) -> None:
        self._cleaner = cleaner
        self._series = series
        self._layout = cleaner.layout
        self._held = held_of(cleaner.layout, series)
        self._rows = cleaner.tracker.ownerless(series)
        self._survey: Survey = survey(cleaner.layout, series)
        self._proof = cleaner.storage.proof(self._survey.partitions)
        self._digests: dict[Path, str] = {}

    # archives

    def archives(self) -> Iterator[_Found]:
        """Archives in `raw/` whose rows are stored: days of months, and by policy all."""
        for held in self._of(What.RAW):
            row = self._row(held)
            longer = self._longer(held, row)
            kind = "days" if longer else "raw"
            why = self._why_wanted(held, row, longer)
            if why or row is None:
                yield _kept(held, kind, why)
            elif longer:
                month = longer[0].source
                reason = f"{month.period.label} is here and has its rows"
                yield _Candidate(
                    held, _redundant(held, kind, reason, _ROWS), self._why_not_stored(held, row, longer), row
                )
            else:
                reason = "its rows are stored, and archives are not kept"
                yield _Candidate(held, _redundant(held, kind, reason, _ROWS), self._why_not_stored(held, row, ()), row)

    def _longer(self, held: Held, row: Download | None) -> list[Place]:
        """Where the rows of a day are, if only a longer archive has them."""
        assert held.period is not None
        if row is None or row.sha256 is None or self._proof.of(row.file.key):
            return []
        return self._proof.longer(self._series, held.period)

    def _why_wanted(self, held: Held, row: Download | None, longer: list[Place]) -> str:
        """Why an archive stays whatever its rows are; "" if nothing is against removing it."""
        if row is None:
            return "the status database does not know it; the next download takes it up"
        if row.owner is not None:
            return "a run is at work with it"
        if row.state is not State.STORED or row.sha256 is None:
            return f"it is not stored ({row.state.value})"
        if not longer and self._cleaner.keep_raw:
            return "archives are kept (storage.keep_raw)"
        if row.proof not in BY_CHECKSUM:
            return "no checksum of the exchange vouches for it, so it could not be had again"
        places = longer or self._proof.of(row.file.key, row.sha256)
        if not places:
            return "no partition has its rows"
        if any(place.source.quarantined for place in places):
            return "some of its lines are no rows, and only it has them"
        if longer and self._cleaner.keep_raw and not self._layout.raw(self._series, longer[0].source.period).exists():
            return f"the archive of {longer[0].source.period.label} is not here"
        return ""

    def _why_not_stored(self, held: Held, row: Download, longer: Iterable[Place]) -> Callable[[], str]:
        def why_not() -> str:
            if digest_of(held.path) != row.sha256:
                return "its bytes are no longer those that were verified"
            for source in {place.source.key: place.source for place in longer}.values():
                month = self._layout.raw(self._series, source.period)
                if self._cleaner.keep_raw and self._digest(month) != source.sha256:
                    return f"{month.name} has no longer the bytes that its rows were stored from"
            assert row.sha256 is not None
            proof = row.proof or Proof.UNVERIFIED
            return self._proof.why_not_archive(FetchedFile(row.file, held.path, held.size, row.sha256, proof))

        return why_not

    def parts(self) -> Iterator[_Found]:
        """Beginnings of archives, and pieces of large ones."""
        for held in self._of(What.PART):
            row = self._row(held)
            if row is None:
                is_old = self._cleaner.now_us - held.modified_ns // 1000 >= FORGOTTEN_US
                why = "" if is_old else "a download may go on from here, though the status database does not know it"
                reason, proof = "the status database does not know it, for a week at least", "never finished"
            elif row.owner is not None:
                why, reason, proof = "a run is at work with it", "", ""
            elif row.state in _WHOLE and row.sha256 is not None:
                why, reason, proof = "", "the whole archive has come since", "SHA-256 of the archive, or its rows"
            else:
                why, reason, proof = f"the next run goes on from here ({row.state.value})", "", ""
            if why:
                yield _kept(held, "parts", why)
            else:
                yield _Candidate(held, _redundant(held, "parts", reason, proof), self._why_not_whole(row), row)

    def disputed(self) -> Iterator[_Found]:
        """Bytes that the exchange's own checksum contradicted."""
        for held in self._of(What.DISPUTED):
            row = self._row(held)
            is_right = row is not None and row.owner is None and row.state is State.STORED and row.proof in BY_CHECKSUM
            if is_right:
                reason, proof = "the exchange has put it right since", "SHA-256 of the archive, or its rows"
                yield _Candidate(held, _redundant(held, "revisions", reason, proof), self._why_not_whole(row), row)
            else:
                yield _kept(held, "revisions", "nothing that the exchange vouches for has taken its place")

    def _why_not_whole(self, row: Download | None) -> Callable[[], str]:
        """Whether the whole archive is here, as itself or as rows that were stored from it."""

        def why_not() -> str:
            if row is None:
                return ""
            path = self._layout.raw(row.file.series, row.file.period)
            if path.exists() and self._digest(path) == row.sha256:
                return ""
            is_stored = row.state is State.STORED and bool(self._proof.of(row.file.key, row.sha256))
            return "" if is_stored else "the archive is not here as it was verified"

        return why_not

    # what was made of them

    def partitions(self) -> Iterator[_Found]:
        """Partitions whose rows others have."""
        by_path = {held.path: held for held in self._of(What.PROCESSED)}
        for one in self._survey.covered:
            held = by_path.get(one.path)
            if held is not None:
                found = _redundant(held, "partitions", "a longer partition has its rows", _ROWS)
                yield _Candidate(held, found, functools.partial(self._proof.why_not_partition, one), partition=one)
        for period, error in self._survey.damaged.items():
            held = by_path.get(self._layout.processed(self._series, period))
            if held is not None:
                yield _kept(held, "partitions", str(error))
        for path in outdated_in(self._layout, self._series, self._survey.partitions):
            if path in by_path:
                reason = "an earlier version wrote it, and its archives were stored anew"
                found = _redundant(by_path[path], "partitions", reason, "the partitions name its archives")
                yield _Candidate(by_path[path], found, _sure)

    def texts(self) -> Iterator[_Found]:
        """Rows as text, under `extracted/`."""
        wanted = self._cleaner.settings.storage
        replaced = self._cleaner.tracker.replaced(self._series)
        held_all = self._of(What.EXTRACTED)
        months = {(held.period, held.detail) for held in held_all}
        for held in held_all:
            assert held.period is not None
            key = self._key(held.period)
            is_former = held.modified_ns // 1000 < replaced.get(key, 0)
            longer = [] if self._proof.of(key) else self._proof.longer(self._series, held.period)
            if self._series.dataset not in wanted.csv_datasets:
                reason = f"{self._series.dataset} is not wanted as text (storage.csv_datasets)"
            elif held.detail != wanted.extracted_format:
                reason = f"text is wanted as {wanted.extracted_format} (storage.extracted_format)"
            elif longer and (longer[0].source.period, held.detail) in months:
                reason = f"the file of {longer[0].source.period.label} has its rows"
            elif is_former and self._why_not_text(held):
                reason = "its archive was replaced by the exchange"
            else:
                yield _kept(held, "csv", "wanted (storage.csv_datasets)")
                continue
            proof = (
                "the archive that was replaced is stored anew"
                if is_former
                else "made again of stored rows, and compared"
            )
            found = _redundant(held, "csv", reason, proof)
            yield _Candidate(held, found, functools.partial(self._why_not_former, held, is_former))

    def _why_not_former(self, held: Held, is_former: bool) -> str:
        """Whether the rows of a text are stored; of a former archive, whether the new one's are."""
        assert held.period is not None
        row = self._rows.get(held.period)
        if is_former and row is not None and row.state is State.STORED and self._proof.of(row.file.key, row.sha256):
            return ""
        return self._why_not_text(held)

    def _why_not_text(self, held: Held) -> str:
        assert held.period is not None
        return self._proof.why_not_text(held.detail, held.path, self._series, held.period, self._key(held.period))

    def bars(self) -> Iterator[_Found]:
        """Bars that have to be made again."""
        of_bars = self._of(What.BARS)
        current = origins_of(self._cleaner.storage, self._series) if of_bars else {}
        for spec in dict.fromkeys(held.detail for held in of_bars):
            recorded = BarFiles(self._layout, spec, self._series).months()
            for held in (one for one in of_bars if one.detail == spec):
                assert held.period is not None
                now, had = current.get(held.period), recorded.get(held.period)
                if now is None:
                    yield _kept(held, "bars", "its trades are not stored any more, so nothing could make it again")
                elif had is None or now[: len(had.origins)] != had.origins:
                    reason = "made of trades that were replaced; features makes it again"
                    yield _Candidate(held, _redundant(held, "bars", reason, "its trades are stored"), _sure)

    # looking

    def _of(self, what: What) -> list[Held]:
        return [held for held in self._held if held.what is what]

    def _row(self, held: Held) -> Download | None:
        return None if held.period is None else self._rows.get(held.period)

    def _key(self, period: Period) -> str:
        row = self._rows.get(period)
        return row.file.key if row is not None else ""

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = digest_of(path) if path.exists() else ""
        return self._digests[path]


def _redundant(held: Held, kind: str, reason: str, proof: str) -> Redundant:
    return Redundant(held.path, kind, held.size, reason, proof)


def _kept(held: Held, kind: str, reason: str) -> Kept:
    return Kept(held.path, kind, held.size, reason)


def _unlinked(held: Held) -> str:
    """Remove a file if it is still the one that was looked at; else what became of it. Raises StorageError."""
    try:
        now = held.path.lstat()
    except FileNotFoundError:
        return ""  # somebody else has removed it
    except OSError as error:
        raise storage_error(error, held.path) from error
    is_other = (now.st_ino, now.st_size, now.st_mtime_ns) != (held.inode, held.size, held.modified_ns)
    if is_other and held.what is not What.FORMER_DATABASE:  # reading one changes what SQLite keeps beside it
        return "it has changed meanwhile"
    unlink(held.path)
    return ""


def _sure() -> str:
    return ""
