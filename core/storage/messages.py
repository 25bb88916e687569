"""What a run and a process that stores for it say to each other: pickles through two pipes. Needs no Arrow.

The run sends `Terms` first, then `Order`s and `Expect`s. The process sends `Ready` once it has loaded what it needs,
then for each order, in their order, `Begun` and `Done` or `Failed`, and `Line`s of its log at any time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import MarketDataError
from core.layout import Layout
from core.settings import QualitySettings, StorageSettings
from core.types import FetchedFile, Stored


@dataclass(frozen=True, slots=True)
class Terms:
    """Where and how to store, and from which level on log lines are wanted."""

    layout: Layout
    settings: StorageSettings
    quality: QualitySettings
    log_level: int
    check: str = ""


@dataclass(frozen=True, slots=True)
class Expect:
    """Archives of so many bytes are about to come."""

    archive_bytes: int


@dataclass(frozen=True, slots=True)
class Order:
    """Store archives of one home, or only say what of them is stored."""

    files: Sequence[FetchedFile]
    fresh: bool = False
    only_look: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """The process takes orders."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The process is at the next order."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an order."""

    stored: Stored


@dataclass(frozen=True, slots=True)
class Failed:
    """What an order raised."""

    error: MarketDataError


@dataclass(frozen=True, slots=True)
class Line:
    """A line for the log. `created` is the time in seconds since 1970."""

    level: int
    text: str
    created: float


Request = Terms | Expect | Order
Answer = Ready | Begun | Done | Failed | Line
