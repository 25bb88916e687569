"""Until when an archive that is not there may still come.

A day's archive appears on the next day; until the day after that it may still come, then it is missing. A month's
may come until the 15th of the next month.
"""

from datetime import date, timedelta
from typing import Final

from core.datasets import DATASETS
from core.dates import day_of
from core.types import Cadence, Period, Series

LATE_DAYS: Final = 2
LATE_UNTIL: Final = 15
"""A month may come until this day of the next one."""


def late_until(period: Period) -> date:
    """The last day on which an archive may still come."""
    return period.last + timedelta(days=LATE_DAYS if period.cadence is Cadence.DAILY else LATE_UNTIL)


def may_come(series: Series, at_us: int, today: date) -> bool:
    """Whether the archive of an instant may still come: that of its day, of its month where there are no days."""
    day = Period.day(day_of(at_us))
    has_days = Cadence.DAILY in DATASETS[series.dataset].cadences_of(series.interval)
    return today <= late_until(day if has_days else day.within(Cadence.MONTHLY))
