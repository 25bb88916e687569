"""Which archives should be there by now: pure functions of what is known and of the day it is.

Until when one may still come, `core.dates.late_until` says. Kinds of data that ended, and symbols that the exchange
has delisted, are not expected for ever.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from typing import Final

from core.datasets import DATASETS
from core.dates import LATE_DAYS, late_until
from core.types import FAULTS, Cadence, Period, Series, State

BEHIND_DAYS: Final = 7
"""A symbol whose newest archive is older than that of others of its kind by more has been delisted."""
BEHIND_DAYS_OF_MONTHS: Final = 45
"""The same where there are only monthly archives: one may be published two weeks before the other."""
SILENT_DAYS: Final = 30
"""A kind of data of which nothing came for longer is not expected day by day, though it is still asked for."""
_ABSENT: Final = (State.PLANNED, State.FAILED)


class Standing(Enum):
    """How an archive stands that is not there."""

    AHEAD = "its time is not over"
    LATE = "it may still come"
    MISSING = "it should be there"


@dataclass(frozen=True, slots=True)
class Window:
    """The days that an update is about, both included, seen on the day after `last` or later."""

    first: date
    last: date

    def __contains__(self, period: Period) -> bool:
        return period.first <= self.last and period.last >= self.first

    def days(self) -> Iterator[date]:
        for number in range((self.last - self.first).days + 1):
            yield self.first + timedelta(days=number)


def standing(period: Period, today: date) -> Standing:
    """How the archive of a day or month that is not there stands on a day."""
    if today <= period.last:
        return Standing.AHEAD
    return Standing.LATE if today <= late_until(period) else Standing.MISSING


def late_from(series: Series, today: date) -> int:
    """From when on (microseconds) rows of a series may still be published, as the archives of earlier ones are missing.

    Where there are no daily archives, the month's that may still come.
    """
    day = today - timedelta(days=LATE_DAYS)
    if not has_days(series):
        months = [Period.day(today).within(Cadence.MONTHLY)]
        months.append(Period.day(months[0].first - timedelta(days=1)).within(Cadence.MONTHLY))
        day = min(month.first for month in months if standing(month, today) is not Standing.MISSING)
    return Period.day(day).span.start_us


def ended(series: Series) -> date | None:
    """The last day of which the exchange has published this kind of data; None: it goes on."""
    return DATASETS[series.dataset].ended.get(series.market)


def has_days(series: Series) -> bool:
    """Whether there are daily archives of a series."""
    return Cadence.DAILY in DATASETS[series.dataset].cadences_of(series.interval)


def has_months(series: Series) -> bool:
    """Whether there are monthly archives of a series."""
    return Cadence.MONTHLY in DATASETS[series.dataset].cadences_of(series.interval)


def is_over(series: Series, newest: date, newest_of_kind: date) -> bool:
    """Whether a symbol is taken as delisted: others of its kind have had archives for days, and it has none."""
    last = ended(series)
    if last is not None and newest >= last:
        return True
    most = BEHIND_DAYS if has_days(series) else BEHIND_DAYS_OF_MONTHS
    return (newest_of_kind - newest).days > most


def is_silent(newest_of_kind: date, today: date) -> bool:
    """Whether nothing of a kind has come for so long that its days are not missed one by one any more."""
    return (today - newest_of_kind).days > SILENT_DAYS


def wanted_months(
    series: Series, known: Mapping[Period, State], window: Window, newest: date, today: date
) -> tuple[Period, ...]:
    """The months whose archives should be had, had or not: those that are over and of which days are wanted or here.

    Of a kind without daily archives, the recent ones from the newest on.
    """
    if not has_months(series):
        return ()
    if has_days(series):
        firsts = {period.first.replace(day=1) for period in known if period.cadence is Cadence.DAILY}
        firsts.update(_firsts_of_months(window.first, min(newest, window.last)))
    else:
        since = min(window.first, today - timedelta(days=BEHIND_DAYS_OF_MONTHS))
        firsts = set(_firsts_of_months(max(newest, since), window.last))
    last = min(window.last, ended(series) or date.max)
    months = [Period(first, Cadence.MONTHLY) for first in sorted(firsts)]
    return tuple(month for month in months if month.last <= last)


def _firsts_of_months(first: date, last: date) -> Iterator[date]:
    """The first day of each month that has days of this time."""
    if first <= last:
        for number in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
            yield date(number // 12, number % 12 + 1, 1)


def is_had(state: State | None) -> bool:
    """Whether an archive is here, or is known to be at the source and taken care of."""
    return state is not None and state not in _ABSENT


def absent(
    series: Series, known: Mapping[Period, State], listed: Collection[Period], window: Window, first: date
) -> list[Period]:
    """The days of the window that should have an archive, and of which none is had, listed or noted as missing."""
    if not has_days(series):
        return []
    last = min(window.last, ended(series) or date.max)
    days = [Period.day(day) for day in window.days() if first <= day <= last]
    here = {*listed, *(period for period, state in known.items() if is_had(state))}
    return [day for day in days if day not in here and not _is_covered(day.within(Cadence.MONTHLY), known, listed)]


def _is_covered(month: Period, known: Mapping[Period, State], listed: Collection[Period]) -> bool:
    """Whether a month's archive stands for its days: it is here, or comes tonight. One with a fault does not."""
    state = known.get(month)
    return state in (State.STORED, State.FETCHED, State.ACTIVE) or (month in listed and state not in FAULTS)
