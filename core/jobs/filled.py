"""What filling gaps came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.types import Gap


@dataclass(frozen=True, slots=True)
class Filled:
    """What filling came to.

    `looked_at` gaps there were at the beginning; `status` counts how they ended. `rows` came from the API by `requests`
    calls, `archives` were asked for besides. `confirmed` are holes of which that is news, and `failures` say what could
    not be asked.
    """

    looked_at: int = 0
    status: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    requests: int = 0
    archives: int = 0
    confirmed: tuple[Gap, ...] = ()
    failures: tuple[str, ...] = ()
