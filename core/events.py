"""What happens in a run, as small frozen values, and who may watch.

A component is given `emit` and calls it; it knows nothing of listeners. Events only watch: removing every listener
changes nothing that a run does.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from core.types import Ending, Finding, Proof, Series, State


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins to bring archives to the state `goal`."""

    run: int
    goal: State


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """By now a run has `files` archives to work on, with `size_bytes` to fetch and `here_bytes` that are here already
    and only to be stored, and `skipped` that need nothing; `is_whole` when the listing has come to its end."""

    files: int
    size_bytes: int
    skipped: int
    is_whole: bool
    here_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SeriesPlanned:
    """Of a series, `files` more archives are to be worked on, and `skipped` more need nothing."""

    series: Series
    files: int
    skipped: int


@dataclass(frozen=True, slots=True)
class FileStarted:
    """An archive is being asked for; `offset` bytes of it are already here."""

    key: str
    size_bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class FileProgressed:
    """`bytes_done` of an archive are here now."""

    key: str
    bytes_done: int


@dataclass(frozen=True, slots=True)
class FileRetrying:
    """An attempt failed for `reason`; the next one begins in `wait_seconds`."""

    key: str
    reason: str
    attempt: int
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class FileFetched:
    """An archive is on disk and verified."""

    key: str
    size_bytes: int
    transferred: int
    proof: Proof
    series: Series | None = None


@dataclass(frozen=True, slots=True)
class FileStored:
    """An archive has become a partition."""

    key: str
    rows: int
    series: Series | None = None


@dataclass(frozen=True, slots=True)
class FileMissing:
    """The exchange lists an archive of so many bytes but does not have it."""

    key: str
    series: Series | None = None
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class FileAtFault:
    """An archive has a fault at the source and is not stored: `state` says which, `detail` more; `is_here`: its bytes
    have come all the same."""

    key: str
    state: State
    detail: str
    series: Series | None = None
    size_bytes: int = 0
    is_here: bool = False


@dataclass(frozen=True, slots=True)
class FileFailed:
    """An archive could not be had, or, where it `is_here`, not be stored; the run goes on with the next."""

    key: str
    error: str
    series: Series | None = None
    size_bytes: int = 0
    is_here: bool = False


@dataclass(frozen=True, slots=True)
class FindingRaised:
    """Something is odd with data that was kept."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class RoomTaken:
    """The rows of archives of `archive_bytes` together are stored, in `stored_bytes`."""

    archive_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class RunWaiting:
    """All that is left belongs to another live run."""

    files: int
    holder: str


@dataclass(frozen=True, slots=True)
class PaceChanged:
    """A host is asked for at most `limit` objects at once from now on."""

    host: str
    limit: int
    reason: str


@dataclass(frozen=True, slots=True)
class RunPaused:
    """Somebody wants the run to hold still: nothing is asked for until `RunResumed`."""


@dataclass(frozen=True, slots=True)
class RunResumed:
    """A run goes on after a pause."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run is over, and how it ended."""

    run: int
    seconds: float
    ending: Ending = Ending.FINISHED


Event = (
    RunStarted
    | RunPlanned
    | SeriesPlanned
    | FileStarted
    | FileProgressed
    | FileRetrying
    | FileFetched
    | FileStored
    | FileMissing
    | FileAtFault
    | FileFailed
    | FindingRaised
    | RoomTaken
    | RunWaiting
    | RunPaused
    | RunResumed
    | PaceChanged
    | RunFinished
)
Emit = Callable[[Event], None]


def fan_out(*listeners: Emit) -> Emit:
    """One `emit` that tells every listener, in order."""

    def emit(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return emit


LOGGER: Final = logging.getLogger("tapevault")


def log_event(event: Event) -> None:
    """One line a lasting event; progress is left out. Failures and findings are warnings; what went well is only for
    whoever asks for debug lines: the status database says the same of every file."""
    if (said := _said(event)) is not None:
        level, message = said
        LOGGER.log(level, "%s", message, extra={"event": event})


def _said(event: Event) -> tuple[int, str] | None:
    """The level and the line of an event; None: it is not logged."""
    match event:
        case FileFailed(key, error):
            return logging.WARNING, f"failed {key}: {error}"
        case FindingRaised(finding):
            return logging.WARNING, f"finding {finding.kind} {finding.series}: {finding.detail}"
        case FileRetrying(key, reason, attempt, wait):
            return logging.INFO, f"retry {key} in {wait:.1f} s after attempt {attempt}: {reason}"
        case FileFetched(key, size, transferred, proof):
            return logging.DEBUG, f"fetched {key}: {size} bytes, {transferred} over the network, {proof}"
        case FileStored(key, rows):
            return logging.DEBUG, f"stored {key}: {rows} rows"
        case FileMissing(key):
            return logging.INFO, f"missing {key}: listed, but not there"
        case FileAtFault(key, state, detail):
            return logging.INFO, f"{state} {key}: {detail}"
        case RunStarted(run, goal):
            return logging.INFO, f"run {run} begins: archives are to be {goal}"
        case RunPlanned(files, size, skipped, is_whole) if is_whole:
            return logging.INFO, f"{files} archives to work on, {size} bytes to fetch, {skipped} need nothing"
        case RunWaiting(files, holder):
            return logging.INFO, f"waiting for {files} archives that {holder} works on"
        case PaceChanged(host, limit, reason):
            return logging.INFO, f"asking {host} for at most {limit} at once: {reason}"
        case RunPaused():
            return logging.INFO, "paused: nothing is asked for until somebody resumes"
        case RunResumed():
            return logging.INFO, "resumed"
        case RunFinished(run, seconds, ending):
            return logging.INFO, f"run {run} {ending} after {seconds:.1f} s"
        case _:
            return None


RATE_WINDOW_SECONDS: Final = 5.0
SPEEDS_KEPT: Final = 300
"""Seconds for which it is kept how many bytes came."""
TROUBLES_KEPT: Final = 100


@dataclass(slots=True)
class ActiveFile:
    """An archive that is being fetched now. `rate_bytes`: a second, from `marked_at` with `marked_bytes` on."""

    size_bytes: int
    offset: int
    bytes_done: int
    attempt: int = 1
    marked_at: float = 0.0
    marked_bytes: int = 0
    rate_bytes: float = 0.0

    def note(self, now: float, bytes_done: int) -> None:
        """So many bytes are here now."""
        self.bytes_done = bytes_done
        if now - self.marked_at >= 1.0:
            self.rate_bytes = max(0, bytes_done - self.marked_bytes) / (now - self.marked_at)
            self.marked_at, self.marked_bytes = now, bytes_done


@dataclass(slots=True)
class Tally:
    """How far a group of archives is: `files` to work on, `done` of them need nothing more, `failed` among those could
    not be had; `skipped` needed nothing from the beginning."""

    files: int = 0
    skipped: int = 0
    done: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong with an archive, when (Unix seconds), and whether it is tried again."""

    at: float
    key: str
    reason: str
    is_final: bool


@dataclass(slots=True)
class Snapshot:
    """A run folded into counts, bytes, rates and active files; the one thing that a display needs.

    `size_bytes` are to be fetched, but for `lost_bytes`, which will not come; `here_bytes` were here before and are to
    be stored as well. Of all these `refused_bytes` are here and will not be stored, and `archive_bytes` are stored.
    """

    clock: Callable[[], float] = time.monotonic
    files: int = 0
    size_bytes: int = 0
    here_bytes: int = 0
    lost_bytes: int = 0
    refused_bytes: int = 0
    skipped: int = 0
    is_planned: bool = False
    goal: State = State.STORED
    bytes_done: int = 0
    transferred: int = 0
    started_at: float | None = None
    finished: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    proofs: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    active: dict[str, ActiveFile] = field(default_factory=dict)
    failures: list[FileFailed] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    waiting: str | None = None
    run: int = 0
    wall: Callable[[], float] = time.time
    kinds: dict[str, Tally] = field(default_factory=dict)
    symbols: dict[str, Tally] = field(default_factory=dict)
    troubles: deque[Trouble] = field(default_factory=lambda: deque(maxlen=TROUBLES_KEPT))
    retries: deque[Trouble] = field(default_factory=lambda: deque(maxlen=TROUBLES_KEPT))
    archive_bytes: int = 0
    stored_bytes: int = 0
    paused_at: float | None = None
    paused_before: float = 0.0
    _speeds: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=SPEEDS_KEPT))
    _before: tuple[int, int, int, int] = (0, 0, 0, 0)
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        match event:
            case RunStarted(run, goal):
                self.run, self.goal, self.started_at = run, goal, self.started_at or self.clock()
                self._before = (self.files, self.size_bytes, self.skipped, self.here_bytes)
            case RunPlanned(files, size_bytes, skipped, is_whole, here_bytes):
                before = self._before  # an update that fills gaps is several runs behind each other
                self.files, self.size_bytes = before[0] + files, before[1] + size_bytes
                self.skipped, self.here_bytes = before[2] + skipped, before[3] + here_bytes
                self.is_planned = is_whole
            case SeriesPlanned(series, files, skipped):
                for tally in self._tallies(series):
                    tally.files += files
                    tally.skipped += skipped
            case FileStarted(key, size_bytes, offset):
                attempt = self.active[key].attempt if key in self.active else 1
                self.active[key] = ActiveFile(size_bytes, offset, offset, attempt, self.clock(), offset)
            case FileProgressed(key, bytes_done):
                self._progress(key, bytes_done)
            case FileRetrying(key, reason, attempt, _):
                self.counts["retries"] += 1
                self.retries.append(Trouble(self.wall(), key, reason, is_final=False))
                if key in self.active:
                    self.active[key].attempt = attempt + 1
            case FileFetched(key, size_bytes, _, proof, series):
                self._count(series, is_done=self.goal is State.FETCHED)
                self._progress(key, size_bytes)
                self.active.pop(key, None)
                self.bytes_done += size_bytes
                self.counts["fetched"] += 1
                self.proofs[proof] += 1
            case FileStored(_, rows, series):
                self._count(series)
                self.counts["stored"] += 1
                self.rows += rows
            case FileMissing(key, series, size_bytes):
                self._count(series)
                self._give_up(key, size_bytes)
                self.counts["missing"] += 1
            case FileAtFault(key, state, detail, series, size_bytes, is_here):
                self._count(series, failed=1)
                self._give_up(key, size_bytes, is_here)
                self.counts["at fault"] += 1
                self.troubles.append(Trouble(self.wall(), key, f"{state}: {detail}", is_final=True))
            case FileFailed(key, error, series, size_bytes, is_here):
                self._count(series, failed=1)
                self._give_up(key, size_bytes, is_here)
                self.counts["failed"] += 1
                self.failures.append(event)
                self.troubles.append(Trouble(self.wall(), key, error, is_final=True))
            case FindingRaised(finding):
                self.findings.append(finding)
            case RunWaiting(files, holder):
                self.waiting = f"{files} files belong to {holder}" if files else None
            case RoomTaken(archive_bytes, stored_bytes):
                self.archive_bytes += archive_bytes
                self.stored_bytes += stored_bytes
            case RunPaused():
                self.paused_at = self.clock()
            case RunResumed():
                self.paused_before, self.paused_at = self.paused_seconds, None
            case RunFinished():
                self.finished = True

    def _tallies(self, series: Series) -> tuple[Tally, Tally]:
        kind = "/".join(part for part in (series.market, series.dataset, series.interval) if part)
        symbol = f"{series.market}/{series.symbol}"
        return self.kinds.setdefault(kind, Tally()), self.symbols.setdefault(symbol, Tally())

    def _count(self, series: Series | None, is_done: bool = True, failed: int = 0) -> None:
        if series is not None and is_done:
            for tally in self._tallies(series):
                tally.done += 1
                tally.failed += failed

    def _give_up(self, key: str, size_bytes: int, is_here: bool = False) -> None:
        """An archive that is waited for no longer: its bytes do not come, or their rows."""
        self.active.pop(key, None)
        if is_here:
            self.refused_bytes += size_bytes
        else:
            self.lost_bytes += size_bytes

    def _progress(self, key: str, bytes_done: int) -> None:
        active = self.active.get(key)
        if active is None:
            return
        gained = max(0, bytes_done - active.bytes_done)
        now = self.clock()
        active.note(now, bytes_done)
        self.transferred += gained
        second = int(now)
        if self._speeds and self._speeds[-1][0] == second:
            gained_before = self._speeds.pop()[1]
            self._speeds.append((second, gained_before + gained))
        else:
            self._speeds.append((second, gained))
        self._recent.append((now, gained))
        while self._recent and now - self._recent[0][0] > RATE_WINDOW_SECONDS:
            self._recent.popleft()

    @property
    def finished_files(self) -> int:
        """Archives that need nothing more in this run."""
        return sum(self.counts[name] for name in (self.goal, "missing", "at fault", "failed"))

    @property
    def seconds(self) -> float:
        return 0.0 if self.started_at is None else self.clock() - self.started_at

    @property
    def coming_bytes(self) -> int:
        """Bytes that are to be fetched in this run, those that are here by now among them."""
        return max(0, self.size_bytes - self.lost_bytes)

    @property
    def unstored_bytes(self) -> int:
        """Archives that are still to be stored, also those that are still to come."""
        if self.goal is not State.STORED:
            return 0
        return max(0, self.coming_bytes + self.here_bytes - self.refused_bytes - self.archive_bytes)

    @property
    def storing_bytes(self) -> float:
        """Bytes of archives stored a second since the start, without pauses."""
        seconds = self.seconds - self.paused_seconds
        return self.archive_bytes / seconds if seconds > 0 else 0.0

    @property
    def rate_bytes(self) -> float:
        """Bytes a second over the last few seconds."""
        now = self.clock()
        window = min(RATE_WINDOW_SECONDS, self.seconds)
        recent = sum(gained for at, gained in self._recent if now - at <= RATE_WINDOW_SECONDS)
        return recent / window if window > 0 else 0.0

    @property
    def paused_seconds(self) -> float:
        """How long the run has held still so far."""
        return self.paused_before + (self.clock() - self.paused_at if self.paused_at is not None else 0.0)

    @property
    def average_bytes(self) -> float:
        """Bytes a second since the start, without pauses."""
        seconds = self.seconds - self.paused_seconds
        return self.transferred / seconds if seconds > 0 else 0.0

    def speeds(self) -> list[int]:
        """The bytes that came in each of the last whole seconds since the start, oldest first."""
        now = int(self.clock())
        first = max(now - SPEEDS_KEPT, int(self.started_at) if self.started_at is not None else now)
        came = dict(self._speeds)
        return [came.get(second, 0) for second in range(first, now)]

    @property
    def partial_bytes(self) -> int:
        """Bytes of active files that are here but not yet verified."""
        return sum(active.bytes_done for active in self.active.values())
