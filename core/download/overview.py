"""What the status database says of all that is here, summed up: a line for each series, past runs, what failed.

Only reads, for people who look: `monitor.py` and whatever else shows it. Each function is part of one transaction of
the tracker, and looks through whole tables; nobody asks for these several times a second.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, case, func, select

from core.download.process import ProcessIdentity
from core.download.rows import series_named, to_download
from core.download.tables import FILES, GAP_LOOKS, GAPS, PARTITIONS, REVISIONS, RUNS, SOURCES
from core.types import ACCEPTABLE, Download, Ending, GapStatus, Series, State

_NAMES: Final = ("market", "dataset", "symbol", "interval")
_ARCHIVES: Final = select(
    *(FILES.c[name] for name in _NAMES),
    FILES.c.state,
    func.count().label("files"),
    func.sum(FILES.c.size).label("size"),
    func.max(FILES.c.changed_us).label("changed_us"),
).group_by(*(FILES.c[name] for name in _NAMES), FILES.c.state)
_PARTITIONS: Final = select(
    *(PARTITIONS.c[name] for name in _NAMES),
    func.count().label("partitions"),
    func.min(PARTITIONS.c.first_us).label("first_us"),
    func.max(PARTITIONS.c.last_us).label("last_us"),
    func.coalesce(func.sum(PARTITIONS.c.size), 0).label("size"),
).group_by(*(PARTITIONS.c[name] for name in _NAMES))
# A day that counts beside a longer archive has rows of that archive too: only what the longer one lacks is counted.
_ROWS: Final = (
    select(
        *(PARTITIONS.c[name] for name in _NAMES),
        func.sum(
            case((SOURCES.c.added + SOURCES.c.changed > 0, SOURCES.c.added), else_=SOURCES.c.rows),
        ).label("rows"),
    )
    .join(SOURCES, SOURCES.c.partition_id == PARTITIONS.c.id)
    .group_by(*(PARTITIONS.c[name] for name in _NAMES))
)
_GAPS: Final = select(
    *(GAPS.c[name] for name in _NAMES), GAPS.c.status, func.count().label("gaps"), func.sum(GAPS.c.rows).label("rows")
).group_by(*(GAPS.c[name] for name in _NAMES), GAPS.c.status)
_LOOKED: Final = select(*(GAP_LOOKS.c[name] for name in _NAMES)).distinct()
_REVISED: Final = (
    select(*(FILES.c[name] for name in _NAMES), func.count().label("revisions"))
    .join(REVISIONS, REVISIONS.c.file_id == FILES.c.id)
    .group_by(*(FILES.c[name] for name in _NAMES))
)
HOLES: Final = (GapStatus.OPEN, GapStatus.LATE, GapStatus.CONFIRMED)
"""Gaps in which rows are missing that there should be."""


@dataclass(frozen=True, slots=True)
class SeriesOverview:
    """One series as the database knows it.

    `archives` counts those that the exchange lists, by state; `archive_bytes` is their listed size together. `rows` are
    stored in `partitions` files of `stored_bytes`, each row counted once, from `first_us` to `last_us` (None: nothing
    is stored). `gaps` counts gaps by how they ended, `gap_rows` the expected rows that are missing in them; `gaps` is
    None where nobody has looked for any. `revisions`: archives that the exchange has replaced. `changed_us`: when any
    of its archives changed its state last, None for a series without archives.
    """

    series: Series
    archives: Mapping[State, int] = field(default_factory=dict)
    archive_bytes: int = 0
    partitions: int = 0
    rows: int = 0
    first_us: int | None = None
    last_us: int | None = None
    stored_bytes: int = 0
    gaps: Mapping[GapStatus, int] | None = None
    gap_rows: int = 0
    revisions: int = 0
    changed_us: int | None = None

    @property
    def files(self) -> int:
        """Archives, in whatever state."""
        return sum(self.archives.values())

    @property
    def holes(self) -> int | None:
        """Gaps in which rows are missing that there should be; None where nobody has looked."""
        return None if self.gaps is None else sum(self.gaps.get(status, 0) for status in HOLES)


def overview(connection: Connection) -> list[SeriesOverview]:
    """Every series that has archives or partitions, in order."""
    found: dict[Series, dict[str, Any]] = {}

    def entry(row: Any) -> dict[str, Any]:
        return found.setdefault(series_named(row.market, row.dataset, row.symbol, row.interval or None), {})

    for row in connection.execute(_ARCHIVES):
        one = entry(row)
        one.setdefault("archives", {})[State(row.state)] = row.files
        one["archive_bytes"] = one.get("archive_bytes", 0) + row.size
        one["changed_us"] = max(one.get("changed_us", 0), row.changed_us)
    for row in connection.execute(_PARTITIONS):
        names = ("partitions", "first_us", "last_us")
        entry(row).update({name: getattr(row, name) for name in names} | {"stored_bytes": row.size})
    for row in connection.execute(_ROWS):
        entry(row)["rows"] = row.rows
    looked: Iterable[Any] = connection.execute(_LOOKED)
    for row in looked:
        entry(row).setdefault("gaps", {})
    for row in connection.execute(_GAPS):
        one = entry(row)
        one.setdefault("gaps", {})[GapStatus(row.status)] = row.gaps
        one["gap_rows"] = one.get("gap_rows", 0) + (row.rows if GapStatus(row.status) in HOLES else 0)
    for row in connection.execute(_REVISED):
        entry(row)["revisions"] = row.revisions
    return [SeriesOverview(series, **values) for series, values in sorted(found.items(), key=lambda one: str(one[0]))]


def known_series(connection: Connection) -> list[Series]:
    """Every series that has archives or partitions, in order."""
    names = (select(*(table.c[name] for name in _NAMES)).distinct() for table in (FILES, PARTITIONS))
    rows = (row for each in names for row in connection.execute(each))
    found = {series_named(row.market, row.dataset, row.symbol, row.interval or None) for row in rows}
    return sorted(found, key=str)


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run: what was typed (`line`; empty in runs of older versions), when, how it ended, and what it came to.

    `finished_us` is None while it goes on; of a killed run it is its last sign of life. `files` and `bytes` came over
    the network and were verified, `rows` were stored, `failures` could not be had; None where that was not kept.
    """

    run: int
    process: ProcessIdentity
    command: str
    line: str
    started_us: int
    finished_us: int | None
    ended: Ending
    files: int | None
    bytes: int | None
    rows: int | None
    failures: int | None

    @property
    def seconds(self) -> float | None:
        return None if self.finished_us is None else (self.finished_us - self.started_us) / 1_000_000


@dataclass(frozen=True, slots=True)
class Failed:
    """An archive that is not here for a reason: it failed, or has a fault at the source. `at_us`: since when."""

    download: Download
    at_us: int


def history(connection: Connection, most: int, is_alive: Callable[[Row[Any]], bool]) -> list[PastRun]:
    """The newest runs, newest first."""
    found = connection.execute(select(RUNS).order_by(RUNS.c.id.desc()).limit(most))
    return [_past(row, is_alive) for row in found]


def one_run(connection: Connection, run: int, is_alive: Callable[[Row[Any]], bool]) -> PastRun | None:
    """One run; None if there is none of that number."""
    row = connection.execute(select(RUNS).where(RUNS.c.id == run)).first()
    return None if row is None else _past(row, is_alive)


def _past(row: Row[Any], is_alive: Callable[[Row[Any]], bool]) -> PastRun:
    if row.finished_us is None:
        ended = Ending.RUNNING if is_alive(row) else Ending.KILLED
    else:  # what killed runs held was released, and they were closed as of their last sign of life, in every version
        ended = Ending(row.ended or (Ending.KILLED if row.finished_us == row.heartbeat_us else Ending.OVER))
    finished_us = row.heartbeat_us if ended is Ending.KILLED else row.finished_us
    process = ProcessIdentity(row.host, row.pid, row.process_start)
    came = (row.files, row.bytes, row.rows, row.failures)
    return PastRun(row.id, process, row.command, row.line or "", row.started_us, finished_us, ended, *came)


def failures(connection: Connection, most: int | None) -> list[Failed]:
    """Archives that failed, and those that have a fault at the source; what changed last comes first."""
    states = [state.value for state in (State.FAILED, *ACCEPTABLE)]
    chosen = select(FILES).where(FILES.c.state.in_(states)).order_by(FILES.c.changed_us.desc(), FILES.c.id).limit(most)
    return [Failed(to_download(row), row.changed_us) for row in connection.execute(chosen)]
