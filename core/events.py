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

from core.types import Finding, Proof, State


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins to bring archives to the state `goal`."""

    run: int
    goal: State


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """By now a run has `files` archives to work on, with `size_bytes` to fetch, and `skipped` that need nothing;
    `is_whole` when the listing has come to its end."""

    files: int
    size_bytes: int
    skipped: int
    is_whole: bool


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


@dataclass(frozen=True, slots=True)
class FileStored:
    """An archive has become a partition."""

    key: str
    rows: int


@dataclass(frozen=True, slots=True)
class FileMissing:
    """The exchange lists an archive but does not have it."""

    key: str


@dataclass(frozen=True, slots=True)
class FileAtFault:
    """An archive has a fault at the source and is not stored: `state` says which, `detail` more."""

    key: str
    state: State
    detail: str


@dataclass(frozen=True, slots=True)
class FileFailed:
    """An archive could not be had; the run goes on with the next."""

    key: str
    error: str


@dataclass(frozen=True, slots=True)
class FindingRaised:
    """Something is odd with data that was kept."""

    finding: Finding


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
class RunFinished:
    """A run is over."""

    run: int
    seconds: float


Event = (
    RunStarted
    | RunPlanned
    | FileStarted
    | FileProgressed
    | FileRetrying
    | FileFetched
    | FileStored
    | FileMissing
    | FileAtFault
    | FileFailed
    | FindingRaised
    | RunWaiting
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
        case RunFinished(run, seconds):
            return logging.INFO, f"run {run} finished after {seconds:.1f} s"
        case _:
            return None


RATE_WINDOW_SECONDS: Final = 5.0


@dataclass(slots=True)
class ActiveFile:
    """An archive that is being fetched now."""

    size_bytes: int
    offset: int
    bytes_done: int
    attempt: int = 1


@dataclass(slots=True)
class Snapshot:
    """A run folded into counts, bytes, rates and active files; the one thing that a display needs."""

    clock: Callable[[], float] = time.monotonic
    files: int = 0
    size_bytes: int = 0
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
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        match event:
            case RunStarted(_, goal):
                self.goal, self.started_at = goal, self.clock()
            case RunPlanned(files, size_bytes, skipped, is_whole):
                self.files, self.size_bytes, self.skipped, self.is_planned = files, size_bytes, skipped, is_whole
            case FileStarted(key, size_bytes, offset):
                attempt = self.active[key].attempt if key in self.active else 1
                self.active[key] = ActiveFile(size_bytes, offset, offset, attempt)
            case FileProgressed(key, bytes_done):
                self._progress(key, bytes_done)
            case FileRetrying(key, _, attempt, _):
                self.counts["retries"] += 1
                if key in self.active:
                    self.active[key].attempt = attempt + 1
            case FileFetched(key, size_bytes, _, proof):
                self._progress(key, size_bytes)
                self.active.pop(key, None)
                self.bytes_done += size_bytes
                self.counts["fetched"] += 1
                self.proofs[proof] += 1
            case FileStored(_, rows):
                self.counts["stored"] += 1
                self.rows += rows
            case FileMissing(key):
                self.active.pop(key, None)
                self.counts["missing"] += 1
            case FileAtFault(key):
                self.active.pop(key, None)
                self.counts["at fault"] += 1
            case FileFailed(key):
                self.active.pop(key, None)
                self.counts["failed"] += 1
                self.failures.append(event)
            case FindingRaised(finding):
                self.findings.append(finding)
            case RunWaiting(files, holder):
                self.waiting = f"{files} files belong to {holder}" if files else None
            case RunFinished():
                self.finished = True

    def _progress(self, key: str, bytes_done: int) -> None:
        active = self.active.get(key)
        if active is None:
            return
        gained = max(0, bytes_done - active.bytes_done)
        active.bytes_done = bytes_done
        self.transferred += gained
        now = self.clock()
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
    def rate_bytes(self) -> float:
        """Bytes a second over the last few seconds."""
        now = self.clock()
        window = min(RATE_WINDOW_SECONDS, self.seconds)
        recent = sum(gained for at, gained in self._recent if now - at <= RATE_WINDOW_SECONDS)
        return recent / window if window > 0 else 0.0

    @property
    def average_bytes(self) -> float:
        """Bytes a second since the start."""
        return self.transferred / self.seconds if self.seconds > 0 else 0.0

    @property
    def partial_bytes(self) -> int:
        """Bytes of active files that are here but not yet verified."""
        return sum(active.bytes_done for active in self.active.values())
