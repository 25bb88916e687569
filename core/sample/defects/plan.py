"""The nouns of planting: what shall be planted where, and what a checker must then find."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from core.sample.values import Columns
from core.types import Cadence, GapStatus, Market, Period, Series, Span

if TYPE_CHECKING:
    from core.sample.defects.site import Site

BOTH = (Cadence.DAILY, Cadence.MONTHLY)
FUTURES = (Market.UM, Market.CM)


class Truth(StrEnum):
    """What the data of a planted span must be once everything that can be repaired is.

    `market`: the rows of `SampleMarket.truth`. `hole`: none of them, for no source has them. `as-published`: the rows
    that the archive has, as nothing better exists or nothing is wrong with them.
    """

    MARKET = "market"
    HOLE = "hole"
    AS_PUBLISHED = "as-published"


class Verdict(StrEnum):
    """What a checker has to say of it.

    `fault`: a finding without an excuse. `explained`: it may be counted or named together with its cause, and is no
    fault. `nothing`: whoever reports it reports a false finding.
    """

    FAULT = "fault"
    EXPLAINED = "explained"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Plan:
    """Plant `defect` into the archive of `series` and `period`. Which rows, and in which of its ways where a defect has
    several, follows from the seed."""

    defect: str
    series: Series
    period: Period
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Planted:
    """What was planted, and what follows from it.

    `span` goes from the first time concerned to behind the last, and `rows` of `series` are concerned there (files
    where `kind` speaks of files). `in_archive`: an archive that can be read has the true rows. `in_rest`: the API has
    them, also long after the day; `rest_rows` are what it answers there instead, where it disagrees. `gap` is how
    a gap ends when everything was tried, None: there is no gap. `files` are the keys that changed. `echoes` are other
    series that no longer agree with this one there, so that a comparison may name them instead. `changes_us`: when what
    the server serves changes, for whoever has a clock.
    """

    defect: str
    series: Series
    period: Period
    span: Span
    kind: str
    rows: int
    in_archive: bool
    in_rest: bool
    truth: Truth
    verdict: Verdict
    detail: str
    gap: GapStatus | None = None
    files: tuple[str, ...] = ()
    echoes: tuple[Series, ...] = ()
    changes_us: tuple[int, ...] = ()
    rest_rows: Columns | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.defect} {self.series} {self.period.label}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Defect:
    """One row of the reference's table.

    `plant` looks at a site and gives back what it would plant there, its changes left pending in the site; None if
    there is no place for it. `is_shown`: the sample exchange is so by itself, and `plant` only says where.
    `needs_clock`: it is seen only by a server with a clock. `needs_rest`: only in what the API answers. `is_wide`: it
    concerns many files.
    """

    name: str
    what: str
    datasets: tuple[str, ...]
    plant: "Callable[[Site], Planted | None]"
    markets: tuple[Market, ...] = tuple(Market)
    cadences: tuple[Cadence, ...] = BOTH
    is_shown: bool = False
    needs_clock: bool = False
    needs_rest: bool = False
    is_wide: bool = False

    def may_be_in(self, series: Series, period: Period) -> bool:
        return series.dataset in self.datasets and series.market in self.markets and period.cadence in self.cadences


def rest_overrides(planted: tuple[Planted, ...]) -> Mapping[Series, tuple[tuple[Span, Columns], ...]]:
    """What an API that disagrees would answer in place of the market's rows, by the exchange's column names."""
    found: dict[Series, tuple[tuple[Span, Columns], ...]] = {}
    for each in planted:
        if each.rest_rows is not None:
            found[each.series] = (*found.get(each.series, ()), (each.span, each.rest_rows))
    return found


def rest_holes(planted: tuple[Planted, ...]) -> Mapping[Series, tuple[Span, ...]]:
    """Where the API has nothing either: what no source can fill."""
    holes: dict[Series, tuple[Span, ...]] = {}
    for each in planted:
        if each.truth is Truth.HOLE:
            for series in (each.series, *(each.echoes if each.defect == "D40" else ())):
                holes[series] = (*holes.get(series, ()), each.span)
    return holes
