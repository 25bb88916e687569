"""`View`: all that can be seen of a run at one moment, in its own process or, as JSON, in any other one."""

import json
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

from core.download.process import ProcessIdentity
from core.events import Snapshot, Trouble

FORM: Final = 1
"""Of the JSON; another version's is not read."""
TROUBLES_SHOWN: Final = 50


class Group(NamedTuple):
    """How far a data type or a symbol is: `files` to work on in this run, `done` of them over with, `failed` among
    those not well; `skipped` needed nothing."""

    name: str
    files: int
    skipped: int
    done: int
    failed: int

    @property
    def is_done(self) -> bool:
        return self.done >= self.files


class Active(NamedTuple):
    """An archive that is being fetched: bytes here of all, bytes a second lately, and which attempt this is."""

    key: str
    size_bytes: int
    bytes_done: int
    rate_bytes: float
    attempt: int

    @property
    def name(self) -> str:
        return self.key.rsplit("/", 1)[-1]


class Problem(NamedTuple):
    """What went wrong with an archive, at a time (Unix seconds); one that is not final is tried again."""

    at: float
    key: str
    reason: str
    is_final: bool


class Source(NamedTuple):
    """A host: at most `limit` of `most` requests at once just now, `busy` under way, `failing` objects since the last
    good answer, of which `dead_after` stop the run; nothing is asked for `pause_seconds` more."""

    host: str
    limit: int
    most: int
    busy: int
    failing: int
    dead_after: int
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class Frame:
    """What a run is, and what does not come from its events."""

    process: ProcessIdentity
    command: str
    line: str
    database: str
    workers: int
    limit_rate_bytes: int | None


@dataclass(frozen=True, slots=True)
class View:
    """A run at the moment `at` (Unix seconds).

    `files` are to be worked on, `done_files` of them are over with; `skipped` needed nothing. `size_bytes` are to be
    fetched, `here_bytes` of them are here, `transferred` came over the network. `speeds` are bytes a second of the last
    whole seconds, oldest first. `is_listed`: the listing has come to its end, so the totals are final. `room_bytes`:
    how much more disk this run needs, as far as can be told; `free_bytes`: what there is. `is_pause_wanted` is what
    somebody asked for, `is_paused` what the run has heard. `exit_code` and `ended` come with the end.
    """

    frame: Frame
    at: float
    run: int = 0
    seconds: float = 0.0
    is_listed: bool = False
    files: int = 0
    done_files: int = 0
    skipped: int = 0
    fetched: int = 0
    stored: int = 0
    missing: int = 0
    at_fault: int = 0
    failed: int = 0
    retries: int = 0
    rows: int = 0
    findings: int = 0
    size_bytes: int = 0
    unstored_bytes: int = 0
    storing_bytes: float = 0.0
    here_bytes: int = 0
    transferred: int = 0
    speed_bytes: float = 0.0
    average_bytes: float = 0.0
    speeds: tuple[int, ...] = ()
    kinds: tuple[Group, ...] = ()
    symbols: tuple[Group, ...] = ()
    active: tuple[Active, ...] = ()
    problems: tuple[Problem, ...] = ()
    sources: tuple[Source, ...] = ()
    waiting: str | None = None
    is_paused: bool = False
    is_pause_wanted: bool = False
    paused_seconds: float = 0.0
    free_bytes: int | None = None
    room_bytes: int | None = None
    ended: str | None = None
    exit_code: int | None = None

    @property
    def left_seconds(self) -> float | None:
        """How long the rest may take at the average speed, of what comes or of what is stored, whichever takes longer;
        None where nobody can say, also in a pause."""
        if self.is_paused or self.ended is not None:
            return None
        rests = ((self.size_bytes - self.here_bytes, self.average_bytes), (self.unstored_bytes, self.storing_bytes))
        left = [(rest, speed) for rest, speed in rests if rest > 0]
        if not left or any(speed <= 0 for _, speed in left):
            return None
        return max(rest / speed for rest, speed in left)

    @property
    def failures(self) -> tuple[Problem, ...]:
        """What could not be had, newest first."""
        return tuple(problem for problem in self.problems if problem.is_final)

    def as_json(self) -> str:
        """One object. Named tuples are lists in it."""
        values = {name: getattr(self, name) for name in _NAMES}
        frame = {name: getattr(self.frame, name) for name in _FRAME_NAMES}
        process = {"host": self.frame.process.host, "pid": self.frame.process.pid, "start": self.frame.process.start}
        return json.dumps({"form": FORM, "frame": frame | {"process": process}} | values, separators=(",", ":"))


_NAMES: Final = tuple(one.name for one in fields(View) if one.name != "frame")
_FRAME_NAMES: Final = tuple(one.name for one in fields(Frame) if one.name != "process")
_TUPLES: Final[dict[str, Any]] = {
    "kinds": Group,
    "symbols": Group,
    "active": Active,
    "problems": Problem,
    "sources": Source,
}


def from_json(text: str | bytes) -> View | None:
    """The view that was written; None if it is none, or one of another version."""
    try:
        values: dict[str, Any] = json.loads(text)
        if values.pop("form") != FORM:
            return None
        frame = values.pop("frame")
        values["frame"] = Frame(**frame | {"process": ProcessIdentity(**frame["process"])})
        for name, kind in _TUPLES.items():
            values[name] = tuple(kind(*each) for each in values[name])
        return View(**values | {"speeds": tuple(values["speeds"])})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def view_of(
    snapshot: Snapshot,
    frame: Frame,
    sources: tuple[Source, ...] = (),
    free_bytes: int | None = None,
    is_pause_wanted: bool = False,
) -> View:
    """What can be seen of a run now, in the process that runs it."""
    counts = snapshot.counts
    troubles = sorted([*snapshot.troubles, *snapshot.retries], key=lambda one: one.at, reverse=True)
    failures = [one for one in troubles if one.is_final][:TROUBLES_SHOWN]
    retries = [one for one in troubles if not one.is_final][: TROUBLES_SHOWN // 5]
    return View(
        frame,
        at=snapshot.wall(),
        run=snapshot.run,
        seconds=snapshot.seconds,
        is_listed=snapshot.is_planned,
        files=snapshot.files,
        done_files=snapshot.finished_files,
        skipped=snapshot.skipped,
        fetched=counts["fetched"],
        stored=counts["stored"],
        missing=counts["missing"],
        at_fault=counts["at fault"],
        failed=counts["failed"],
        retries=counts["retries"],
        rows=snapshot.rows,
        findings=len(snapshot.findings),
        size_bytes=snapshot.coming_bytes,
        unstored_bytes=snapshot.unstored_bytes if snapshot.here_bytes else 0,
        storing_bytes=snapshot.storing_bytes,
        here_bytes=snapshot.bytes_done + snapshot.partial_bytes,
        transferred=snapshot.transferred,
        speed_bytes=snapshot.rate_bytes,
        average_bytes=snapshot.average_bytes,
        speeds=tuple(snapshot.speeds()),
        kinds=_groups(snapshot.kinds),
        symbols=_groups(snapshot.symbols),
        active=tuple(
            Active(key, file.size_bytes, file.bytes_done, file.rate_bytes, file.attempt)
            for key, file in snapshot.active.items()
        ),
        problems=tuple(_problem(one) for one in [*failures, *retries]),
        sources=sources,
        waiting=snapshot.waiting,
        is_paused=snapshot.paused_at is not None,
        is_pause_wanted=is_pause_wanted,
        paused_seconds=snapshot.paused_seconds,
        free_bytes=free_bytes,
        room_bytes=room_needed(snapshot),
    )


def room_needed(snapshot: Snapshot) -> int:
    """How much more disk a run takes: archives that are still to come, and the rows of all that are to be stored. Rows
    take as much as their archives until some are stored, then what they took so far."""
    left = max(0, snapshot.coming_bytes - snapshot.bytes_done - snapshot.partial_bytes)
    share = snapshot.stored_bytes / snapshot.archive_bytes if snapshot.archive_bytes else 1.0
    return left + int(share * snapshot.unstored_bytes)


def _groups(tallies: dict[str, Any]) -> tuple[Group, ...]:
    return tuple(
        Group(name, tally.files, tally.skipped, tally.done, tally.failed) for name, tally in tallies.copy().items()
    )


def _problem(trouble: Trouble) -> Problem:
    return Problem(trouble.at, trouble.key, trouble.reason, trouble.is_final)
