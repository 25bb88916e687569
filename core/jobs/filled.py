"""What filling gaps came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.types import Gap


@dataclass(frozen=True, slots=True)
class Filled:
    """What filling came to.

    `looked_at` gaps there were at the beginning; `status` counts how they ended. `rows` came from the API by `requests`
    calls, `archives` were asked for besides. `news` are gaps that stay and were not known to: confirmed holes, and open
    ones. `failures` say what could not be read, had or stored.
    """

    looked_at: int = 0
    status: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    requests: int = 0
    archives: int = 0
    news: tuple[Gap, ...] = ()
    failures: tuple[str, ...] = ()

    def __add__(self, other: "Filled") -> "Filled":
        names = {*self.status, *other.status}
        return Filled(
            self.looked_at + other.looked_at,
            {name: self.status.get(name, 0) + other.status.get(name, 0) for name in sorted(names)},
            self.rows + other.rows,
            self.requests + other.requests,
            self.archives + other.archives,
            (*self.news, *other.news),
            (*self.failures, *other.failures),
        )
