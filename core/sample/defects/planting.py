"""Planting defects into a folder that `core.sample.archive.write_archive` has written, and choosing where."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.datasets import DATASETS
from core.dates import DAY_US
from core.errors import ConfigError
from core.nearest import one_of
from core.sample.defects import DEFECTS
from core.sample.defects.plan import Defect, Plan, Planted
from core.sample.defects.site import Site, present
from core.sample.market import SampleMarket
from core.sample.values import random_stream
from core.types import Cadence, Period, Series, Span

_TRADED = ("klines", "trades", "agg_trades")
_PRICED = ("mark_price", "index_price", "premium_index")


def plant(market: SampleMarket, folder: Path, plans: Iterable[Plan]) -> tuple[Planted, ...]:
    """Plant each plan into the archives of `folder`; what a checker must find, in the order of the plans.

    Equal markets, folders and plans give equal bytes. Raises ConfigError for a plan that has no place.
    """
    return tuple(_plant(market, folder, plan) for plan in plans)


def _plant(market: SampleMarket, folder: Path, plan: Plan) -> Planted:
    defect, site = defect_named(plan.defect), Site(market, folder, plan)
    if not site.path(plan.period).exists():
        raise ConfigError(f"{plan.defect}: the folder has no archive {plan.series} {plan.period.label}")
    planted = defect.plant(site) if defect.may_be_in(plan.series, plan.period) else None
    if planted is None:
        raise ConfigError(f"{plan.defect} ({defect.what}) has no place in {plan.series} {plan.period.label}")
    site.commit()
    return planted


def defect_named(name: str) -> Defect:
    """The defect of that number. Raises ConfigError if there is none."""
    found = DEFECTS.get(name)
    if found is None:
        raise ConfigError(f"unknown defect {name!r}{one_of(name, DEFECTS)}; they are D1 to D40")
    return found


def default_kinds() -> tuple[str, ...]:
    """The defects that are planted into files, and seen without a clock or the API."""
    return tuple(name for name, each in DEFECTS.items() if not (each.is_shown or each.needs_clock or each.needs_rest))


def random_plans(
    market: SampleMarket, folder: Path, seed: int, count: int, kinds: Sequence[str] = ()
) -> tuple[Plan, ...]:
    """`count` plans for the archives of a folder without defects, the kinds in turn; by default `default_kinds()`.

    No two plans touch one file, nor data of one instrument that can be compared within a day of each other, and what is
    planted in a day is not hidden by the month. A kind that concerns many files is planted once. Raises ConfigError if
    there is no room.
    """
    chosen = _in_turn(kinds or default_kinds())
    queues = _queues(chosen, market, folder, seed)
    taken, plans = _Taken(), list[Plan]()
    while queues and len(plans) < count:
        for defect in chosen:
            if defect.name in queues and len(plans) < count:
                plan = _next_free(market, folder, queues[defect.name], taken)
                plans += [plan] if plan else []
                if plan is None or defect.is_wide:
                    del queues[defect.name]
    if len(plans) < count:
        raise ConfigError(f"{folder} has room for {len(plans)} of {count} defects; plant fewer or make a larger sample")
    return tuple(plans)


def one_of_each(market: SampleMarket, folder: Path, seed: int, kinds: Sequence[str]) -> dict[str, Plan | None]:
    """A plan for each of these defects, as `random_plans` chooses; None where a defect has no place in the folder."""
    chosen = _in_turn(kinds)
    queues, taken = _queues(chosen, market, folder, seed), _Taken()
    found = {each.name: _next_free(market, folder, queues[each.name], taken) for each in chosen}
    return {name: found[name] for name in kinds}


def _in_turn(kinds: Iterable[str]) -> list[Defect]:
    """Those that need much room come first."""
    return sorted((defect_named(name) for name in kinds), key=lambda each: not each.is_wide)


def _queues(chosen: Sequence[Defect], market: SampleMarket, folder: Path, seed: int) -> dict[str, Iterator[Plan]]:
    archives = list(archives_in(market, folder))
    return {each.name: _candidates(each, archives, seed) for each in chosen}


def archives_in(market: SampleMarket, folder: Path) -> Iterator[tuple[Series, Period]]:
    """The archives of a market that lie in a folder, in a fixed order."""
    for name, kind in DATASETS.items():
        for listed in market.series(name, "1h" if kind.has_interval else None):
            for series in present(folder, listed):
                site = Site(market, folder, Plan("", series, Period.day(market.first)))
                yield from ((series, period) for period in site.periods())


def _candidates(defect: Defect, archives: Sequence[tuple[Series, Period]], seed: int) -> Iterator[Plan]:
    fitting = [pair for pair in archives if defect.may_be_in(*pair)]
    stream = random_stream(seed, "plans", defect.name)
    for place in stream.permutation(len(fitting)):
        series, period = fitting[int(place)]
        yield Plan(defect.name, series, period, seed)


@dataclass(slots=True)
class _Taken:
    """What plans have touched."""

    files: set[str] = field(default_factory=set)
    spans: dict[tuple[str, ...], list[Span]] = field(default_factory=dict)

    def is_free(self, claims: list[tuple[tuple[str, ...], Span]], files: Iterable[str]) -> bool:
        return self.files.isdisjoint(files) and not any(
            span.overlaps(other) for story, span in claims for other in self.spans.get(story, [])
        )

    def add(self, claims: list[tuple[tuple[str, ...], Span]], files: Iterable[str]) -> None:
        self.files.update(files)
        for story, span in claims:
            self.spans.setdefault(story, []).append(span)


def _next_free(market: SampleMarket, folder: Path, queue: Iterator[Plan], taken: _Taken) -> Plan | None:
    """The next plan that has a place which no other one has touched; None: there is none left."""
    for plan in queue:
        site = Site(market, folder, plan)
        if str(site.path(plan.period)) in taken.files:
            continue
        planted = DEFECTS[plan.defect].plant(site)
        if planted is None or _is_hidden(site, planted):
            continue
        files = {str(path) for path in site.pending} or {str(site.path(plan.period))}
        claims = list(_claims(market, planted))
        if taken.is_free(claims, files):
            taken.add(claims, files)
            return plan
    return None


def _is_hidden(site: Site, planted: Planted) -> bool:
    """Whether only a day was changed, and there is the month that will stand for it."""
    month = site.period.within(Cadence.MONTHLY)
    return (
        site.period.cadence is Cadence.DAILY
        and not DEFECTS[planted.defect].is_shown
        and site.path(month).exists()
        and site.path(month) not in site.pending
    )


def _claims(market: SampleMarket, planted: Planted) -> Iterator[tuple[tuple[str, ...], Span]]:
    """Whose data of which time a plan may change what can be said of: a day more on either side."""
    span = Span(planted.span.start_us // DAY_US * DAY_US - DAY_US, planted.span.end_us + 2 * DAY_US)
    for series in (planted.series, *(planted.echoes if DEFECTS[planted.defect].is_wide else ())):
        for instrument in market.instruments_of(series):
            yield (instrument.market, instrument.symbol, story_of(series.dataset)), span


def story_of(dataset: str) -> str:
    """Datasets that tell one story can be compared row by row."""
    return "traded" if dataset in _TRADED else "priced" if dataset in _PRICED else dataset
