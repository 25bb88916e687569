"""What a lock says: of each series the rows that a study may have used, and the partitions in which they lay.

Two kinds of facts stand side by side. `Content` is what a reader sees: rows by calendar month (trades: by day), with a
digest that does not depend on files. `LockedPartition` is where the rows came from, which explains a difference and
proves nothing: equal rows may lie in other files tomorrow.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from core.dates import DAY_US
from core.types import Market, Period, Proof, Series, Span

_CARRIED_US: Final = {"funding_rate": DAY_US}
"""Kinds of data of which the last row stays in force: the first rows of a span need one from before it, and a row that
is known when the span ends belongs to its last candle. Contracts settle every 8 hours or more often."""


@dataclass(frozen=True, slots=True)
class Content:
    """The rows of a series whose time lies in `period`: how many, from when to when, a digest of all cells."""

    period: Period
    rows: int
    first_us: int
    last_us: int
    digest: str


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where rows of a partition came from: an archive by key and revision (`sha256`), or the exchange's API."""

    key: str
    sha256: str
    proof: Proof
    rows: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class LockedPartition:
    """A partition as it lay there: `sha256` is that of the file."""

    period: Period
    sha256: str
    rows: int
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class LockedSeries:
    """A series within the span of a lock; without contents it had no rows there. Both tuples are in order of time."""

    series: Series
    contents: tuple[Content, ...] = ()
    partitions: tuple[LockedPartition, ...] = ()

    @property
    def rows(self) -> int:
        return sum(content.rows for content in self.contents)

    @property
    def last_us(self) -> int:
        """The latest time of a row; -1 if there is none."""
        return max((content.last_us for content in self.contents), default=-1)

    @property
    def by_period(self) -> dict[Period, Content]:
        return {content.period: content for content in self.contents}


@dataclass(frozen=True, slots=True)
class Lock:
    """`series` of one market within `span`, sorted. `created` (ISO, UTC) and `tool` say when and by what."""

    market: Market
    span: Span
    series: tuple[LockedSeries, ...]
    created: str = field(compare=False)
    tool: str = field(compare=False)

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.series)

    @property
    def by_series(self) -> Mapping[Series, LockedSeries]:
        return {one.series: one for one in self.series}

    @property
    def content(self) -> str:
        """One digest of all rows: equal for two locks exactly if their series have equal rows."""
        digest = hashlib.blake2b(digest_size=16)
        for one in self.series:
            digest.update(f"{one.series}\n".encode())
            for content in one.contents:
                digest.update(f"{content.period.label} {content.rows} {content.digest}\n".encode())
        return digest.hexdigest()


def locked_span(series: Series, span: Span) -> Span:
    """The time whose rows of a series a lock of `span` holds: of what stays in force a day more, and its very end."""
    carried_us = _CARRIED_US.get(series.dataset)
    return span if carried_us is None else Span(max(0, span.start_us - carried_us), span.end_us + 1)
