"""The nouns that travel between rooms. All are immutable; state lives in the tracker and on disk.

Times are UTC. A time that is an `int` is microseconds since 1970-01-01 and its name ends in `_us`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final

_DAY: Final = re.compile(r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}")
_MONTH: Final = re.compile(r"[1-9][0-9]{3}-[0-9]{2}")
_YEAR: Final = re.compile(r"[1-9][0-9]{3}")


class Market(StrEnum):
    """A market of the exchange; `archive_path` is its spelling in the public archive."""

    SPOT = "spot"
    UM = "um"
    CM = "cm"

    @property
    def archive_path(self) -> str:
        return "spot" if self is Market.SPOT else f"futures/{self.value}"


class Cadence(StrEnum):
    """How much time one file covers. Archives are daily and monthly; partitions may be yearly."""

    DAILY = "daily"
    MONTHLY = "monthly"
    YEARLY = "yearly"


class State(StrEnum):
    """Where one archive file stands. `active` rows belong to a run; every other state is at rest.

    The last three are faults of the source: the bytes are here, and the exchange publishes no `.CHECKSUM` for them
    (`unverified`), the archive is broken though its checksum agrees (`corrupt-upstream`), or the checksum contradicts
    what the exchange itself serves (`mismatch-upstream`). They are asked for again, ever more rarely, and used only
    where settings or options accept them.
    """

    PLANNED = "planned"
    ACTIVE = "active"
    FETCHED = "fetched"
    STORED = "stored"
    MISSING = "missing"
    FAILED = "failed"
    UNVERIFIED = "unverified"
    CORRUPT = "corrupt-upstream"
    MISMATCH = "mismatch-upstream"


FAULTS: Final = (State.MISSING, State.UNVERIFIED, State.CORRUPT, State.MISMATCH)
"""States in which it is the source's turn: it is asked again, ever more rarely."""
ACCEPTABLE: Final = (State.UNVERIFIED, State.MISMATCH, State.CORRUPT)
"""Faults that a user can accept; of a corrupt archive, the rows that can be read."""


class Ending(StrEnum):
    """How a run ended; `running` ones have not.

    `finished`: it came to its end, whatever failed in it. `stopped`: an error ended it (a full disk, a source that is
    down). `interrupted`: somebody asked it to end. `killed`: its process was gone. `over`: before that was noted.
    """

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    KILLED = "killed"
    OVER = "over"


class Proof(StrEnum):
    """What vouches for the bytes of an archive.

    `sha256-by-etag`: the published SHA-256, proved through the MD5s (ETags) of the archive and of its
    `.CHECKSUM` in the listing. `sha256-by-checksum`: the `.CHECKSUM` itself was fetched and agrees.
    `unverified`: the exchange publishes no `.CHECKSUM`; only size, ETag and the zip's CRC-32 agree.
    `disputed`: the bytes are what the exchange lists, and its own `.CHECKSUM` says otherwise; kept apart, and used only
    where that is accepted by name. `rest`: no archive at all, but answers of the exchange's API.
    """

    SHA256_BY_ETAG = "sha256-by-etag"
    SHA256_BY_CHECKSUM = "sha256-by-checksum"
    UNVERIFIED = "unverified"
    DISPUTED = "disputed"
    REST = "rest"


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A half-open time range `[start_us, end_us)` in UTC microseconds."""

    start_us: int
    end_us: int

    def __post_init__(self) -> None:
        if self.end_us < self.start_us:
            raise ValueError(f"a span cannot end before it starts: {self.start_us} > {self.end_us}")

    @classmethod
    def of_days(cls, first: date, last: date) -> "Span":
        """The span of whole UTC days, `last` included."""
        return cls(_midnight_us(first), _midnight_us(last + timedelta(days=1)))

    def contains(self, other: "Span") -> bool:
        return self.start_us <= other.start_us and other.end_us <= self.end_us

    def overlaps(self, other: "Span") -> bool:
        return self.start_us < other.end_us and other.start_us < self.end_us


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The UTC day, calendar month or year that one file covers; `first` is its first day."""

    first: date
    cadence: Cadence

    def __post_init__(self) -> None:
        if self.cadence is Cadence.MONTHLY and self.first.day != 1:
            raise ValueError(f"a month starts on its first day, not on {self.first}")
        if self.cadence is Cadence.YEARLY and (self.first.month, self.first.day) != (1, 1):
            raise ValueError(f"a year starts on its first day, not on {self.first}")
        if self.first.year == MAXYEAR:
            raise ValueError(f"{self.first} lies where the calendar ends, so its span cannot be said")

    @classmethod
    def day(cls, day: date) -> "Period":
        return cls(day, Cadence.DAILY)

    @classmethod
    def month(cls, year: int, month: int) -> "Period":
        return cls(date(year, month, 1), Cadence.MONTHLY)

    @classmethod
    def parse(cls, label: str) -> "Period":
        """`2024-01-31`, `2024-01` or `2024`, exactly so. Raises ValueError otherwise."""
        return _parsed(label)

    def within(self, cadence: Cadence) -> "Period":
        """The period of that cadence in which this one begins."""
        if cadence is Cadence.DAILY:
            return Period.day(self.first)
        month = 1 if cadence is Cadence.YEARLY else self.first.month
        return Period(date(self.first.year, month, 1), cadence)

    def contains(self, other: "Period") -> bool:
        """Whether the other lies within this one; a period contains itself."""
        return self.span.contains(other.span)

    @property
    def label(self) -> str:
        return self.first.isoformat()[: _LABEL[self.cadence]]

    @property
    def last(self) -> date:
        """The last day, included."""
        if self.cadence is Cadence.DAILY:
            return self.first
        if self.cadence is Cadence.YEARLY:
            return date(self.first.year, 12, 31)
        return (self.first + timedelta(days=31)).replace(day=1) - timedelta(days=1)

    @property
    def span(self) -> Span:
        return _span_of(self)


_LABEL: Final = {Cadence.DAILY: 10, Cadence.MONTHLY: 7, Cadence.YEARLY: 4}


@lru_cache(maxsize=8192)
def _parsed(label: str) -> Period:
    if _DAY.fullmatch(label):
        return Period.day(date.fromisoformat(label))
    if _MONTH.fullmatch(label):
        return Period(date.fromisoformat(f"{label}-01"), Cadence.MONTHLY)
    if _YEAR.fullmatch(label):
        return Period(date(int(label), 1, 1), Cadence.YEARLY)
    raise ValueError(f"not a day, month or year: {label!r}")


@lru_cache(maxsize=8192)
def _span_of(period: Period) -> Span:
    """The same few thousand days and months come up for every symbol."""
    return Span.of_days(period.first, period.last)


def _midnight_us(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp()) * 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """One time series: what one symbol's data of one kind is. `interval` is None where the kind has none."""

    market: Market
    dataset: str
    symbol: str
    interval: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.market, self.dataset, self.symbol, self.interval) if part)


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One archive as the exchange lists it.

    `etag` and `checksum_etag` are the unquoted ETags of the zip and of its `.CHECKSUM`
    (None: the listing has no such object); `modified` is the listing's LastModified text.
    """

    series: Series
    period: Period
    key: str
    size: int
    etag: str
    checksum_etag: str | None
    modified: str

    @property
    def name(self) -> str:
        return self.key.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Download:
    """The tracker's view of one archive file; `id` is its row, `owner` the run that holds it.

    `fault` is what was wrong with it at the source when that was asked last (None: nothing), and `asks` how often in a
    row it was asked and had a fault.
    """

    id: int
    file: ArchiveFile
    state: State
    attempts: int = 0
    bytes_done: int = 0
    owner: int | None = None
    sha256: str | None = None
    proof: Proof | None = None
    error: str | None = None
    fault: State | None = None
    asks: int = 0


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """Verified bytes on disk. `transferred` counts the body bytes that this fetch moved over the network."""

    file: ArchiveFile
    path: Path
    size: int
    sha256: str
    proof: Proof
    transferred: int = 0


@dataclass(frozen=True, slots=True)
class Revision:
    """The exchange replaced an archive that was here. `new_sha256` is None until the new one is."""

    key: str
    old_etag: str
    old_sha256: str
    new_etag: str
    new_sha256: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """What became of one archive: where rows of a partition come from.

    `sha256` and `proof` vouch for its bytes, and where it is an answer of the exchange's API for the values of the rows
    that are kept. `unit` is its time unit ("ms", "us" or "s"), that of the finest time in an answer. `rows` of it are
    in the partition that names it, from `first_us` to `last_us`, the earliest and the latest timestamp.

    The other counts are those of the whole archive: `duplicates` exact duplicate rows were dropped, `reordered` rows
    were moved, `outside` rows lie outside its period, within the allowed slack, and were kept, and `quarantined` lines
    are not stored but kept apart. An archive that is split into days says the same in each of them, so whoever adds
    them up takes them once for each `key`; only `rows` may be added up over days.

    Where a day has rows besides a longer archive of its time, `added` of them that one lacks and `changed` it has with
    other content; rows of the exchange's API are all `added`.
    """

    key: str
    period: Period
    sha256: str
    proof: Proof
    unit: str
    rows: int
    first_us: int
    last_us: int
    duplicates: int = 0
    reordered: int = 0
    outside: int = 0
    quarantined: int = 0
    added: int = 0
    changed: int = 0

    @property
    def is_beside(self) -> bool:
        """Whether its rows count though a longer archive has its time."""
        return bool(self.added or self.changed)

    @property
    def is_rest(self) -> bool:
        """Whether its rows come from the exchange's API."""
        return self.proof is Proof.REST


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a file is known again. Each file that takes a partition's place is stamped later than the one before."""

    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Partition:
    """One Parquet file of a series: the rows of its sources, one source behind the other in the order of periods.

    An archive that is split into days is a source once for each of its days, also where days are merged. `writer` wrote
    the file; `stamp` is that of the file of which all this is true, None where nobody looked.
    """

    series: Series
    period: Period
    path: Path
    sources: tuple[Source, ...]
    writer: str = field(default="", compare=False)
    stamp: Stamp | None = field(default=None, compare=False)

    @property
    def rows(self) -> int:
        return sum(source.rows for source in self.sources)

    @property
    def first_us(self) -> int:
        """The earliest timestamp."""
        return min(source.first_us for source in self.sources)

    @property
    def last_us(self) -> int:
        """The latest timestamp."""
        return max(source.last_us for source in self.sources)

    @property
    def overlaps(self) -> bool:
        """Whether two of the sources share any time, so that a row of one may be the other one's too."""
        spans = sorted((source.first_us, source.last_us) for source in self.sources)
        return any(behind[0] <= before[1] for before, behind in pairwise(spans))

    @property
    def plain(self) -> tuple[Period, ...]:
        """The periods of the sources whose rows a longer archive has too, if there is one."""
        return tuple(source.period for source in self.sources if not source.is_beside)

    @property
    def beside(self) -> tuple[Period, ...]:
        """The periods of the sources that no longer archive stands for."""
        return tuple(source.period for source in self.sources if source.is_beside)


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """A partition as far as a reader has to know it: where its rows go from and to, and the periods of its sources,
    apart as `Partition` has them. `overlaps` is said where it is not known, too."""

    period: Period
    path: Path
    rows: int
    first_us: int
    last_us: int
    plain: tuple[Period, ...]
    beside: tuple[Period, ...] = ()
    stamp: Stamp | None = None
    overlaps: bool = True


@dataclass(frozen=True, slots=True)
class Stored:
    """What storing archives came to.

    `partitions`: those that hold their rows now. `removed`: partitions that gave way. `sources`: by key, what became of
    each archive, its rows counted over all partitions; 0 rows where a longer archive has them. `refused`: by key, why.
    `findings`: what is odd with the rows that were stored.
    """

    partitions: tuple[Partition, ...]
    removed: tuple[tuple[Series, Period], ...]
    sources: Mapping[str, Source]
    refused: Mapping[str, str]
    findings: tuple["Finding", ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong or odd with a series in a span; `kind` is a stable word, `detail` a sentence.

    `count` says how many rows, files or times are concerned. `cause` is why that is as it should be (a halt, a hole
    that every source has, a known outage); None: unexplained.
    """

    series: Series
    span: Span
    kind: str
    detail: str
    count: int = 1
    cause: str | None = None


class GapStatus(StrEnum):
    """How a gap ended.

    `open`: nothing was tried yet, or not everything. `late`: what should hold it may still be published. `filled`.
    `halt`: nothing was traded, as trade ids run on. `confirmed-hole`: absent at every source that could have it.
    `type-ended`: the exchange publishes this kind of data no longer.
    """

    OPEN = "open"
    LATE = "late"
    FILLED = "filled"
    HALT = "halt"
    CONFIRMED = "confirmed-hole"
    ENDED = "type-ended"


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of a series in which rows are expected and none are stored, or were none.

    `span` begins with the first expected time that is missing and ends behind the last; `rows` are so many, 0 where the
    number cannot be known. `checked_us` is when the sources were asked last, None: never. `detail` says what they said.
    """

    series: Series
    span: Span
    rows: int
    status: GapStatus = GapStatus.OPEN
    detail: str = ""
    checked_us: int | None = None
