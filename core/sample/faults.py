"""How the sample server misbehaves on request.

A `Rule` looks at each request and answers with a `Fault` or None. `on` makes one, the functions below make faults:

    faults = first_of(
        on("2024-01.zip", cut(1000), times=2),
        on(".CHECKSUM", not_found(), times=1),
        on("?", status(503, retry_after=1), times=1),       # listings: their name is "?" and the prefix
    )
    with running_server(folder, faults=faults) as server: ...
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """One request. `name` is the object's key, `?` and the prefix for a listing, else the path; `number` counts
    the requests of that name from 1; header names are in lower case."""

    method: str
    name: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    number: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one answer. Offsets count bytes of the body that is sent, `flip_at` bytes of the object."""

    status: int | None = None
    retry_after: str | None = None
    reset_after: int | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    stall_seconds: float | None = None
    flip_at: int | None = None
    shift: int = 0
    ignores_range: bool = False
    ignores_end: bool = False
    etag: str | None = None
    content: bytes | None = None
    truncated_to: int | None = None


NO_FAULT = Fault()

Rule = Callable[[RequestInfo], Fault | None]


def on(part: str, fault: Fault, times: int | None = None, after: int = 0) -> Rule:
    """`fault` for requests whose name contains `part`: those after the first `after`, `times` of them (None: all).

    They are counted by name: a rule with `times=1` fails the first request of every name that it fits.
    """

    def rule(request: RequestInfo) -> Fault | None:
        is_due = request.number > after and (times is None or request.number <= after + times)
        return fault if part in request.name and is_due else None

    return rule


def first_of(*rules: Rule) -> Rule:
    """The first fault that any of the rules has for a request."""
    return lambda request: next((fault for rule in rules if (fault := rule(request)) is not None), None)


def status(code: int, retry_after: float | str | None = None) -> Fault:
    """An error answer, with `Retry-After` in seconds or as a date if given."""
    return Fault(status=code, retry_after=None if retry_after is None else str(retry_after))


def not_found() -> Fault:
    """404 for something that is there."""
    return Fault(status=404)


def reset(after: int) -> Fault:
    """The connection is reset (RST) after so many bytes of the body."""
    return Fault(reset_after=after)


def cut(after: int) -> Fault:
    """The connection is closed after so many bytes, though Content-Length promised all."""
    return Fault(cut_after=after)


def stall(after: int, seconds: float | None = None) -> Fault:
    """Nothing comes for so long after so many bytes; None: until the client goes away."""
    return Fault(stall_after=after, stall_seconds=seconds)


def flip(offset: int) -> Fault:
    """One byte of the object is wrong, wherever a range begins."""
    return Fault(flip_at=offset)


def ignore_range() -> Fault:
    """200 and the whole object to a request for a range."""
    return Fault(ignores_range=True)


def ignore_end() -> Fault:
    """206 with a range that goes on to the object's last byte, and says so in Content-Range."""
    return Fault(ignores_end=True)


def shifted(by: int) -> Fault:
    """206 with a range that starts `by` bytes from where it was asked, and says so in Content-Range."""
    return Fault(shift=by)


def wrong_etag(etag: str = "0" * 32) -> Fault:
    """Another ETag than that of the bytes."""
    return Fault(etag=etag)


def replaced(content: bytes) -> Fault:
    """Other content under the same name, with its own ETag: what a republished file looks like."""
    return Fault(content=content)


def garbage(content: bytes = b"<html>502</html>") -> Fault:
    """200 with something that is not what was asked for."""
    return Fault(content=content)


def truncated(to: int) -> Fault:
    """Only the beginning of the body, with a Content-Length that fits: a listing that breaks off."""
    return Fault(truncated_to=to)
