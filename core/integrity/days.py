"""The days that gaps lie in: missing as a whole, or in part."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from core.dates import DAY_US, day_of
from core.types import Gap, GapStatus, Series


@dataclass(frozen=True, slots=True)
class DayGap:
    """What a day lacks. `rows` are missing, of a gap over several days the
    share of the day's time, so that of trades it is an estimate; 0 where that
    cannot be known; `is_whole`: it has no row at all."""

    series: Series
    day: date
    is_whole: bool
    rows: int
    status: GapStatus
    detail: str


def days_of(gaps: Iterable[Gap]) -> list[DayGap]:
    """A day for each status of its gaps, in order."""
    found: dict[tuple[Series, date, GapStatus], DayGap] = {}
    for gap in gaps:
        for number in range(gap.span.start_us // DAY_US, -(-gap.span.end_us // DAY_US)):
            start, end = max(gap.span.start_us, number * DAY_US), min(gap.span.end_us, (number + 1) * DAY_US)
            share = (end - start) / max(gap.span.end_us - gap.span.start_us, 1)
            one = DayGap(
                gap.series,
                day_of(number * DAY_US),
                end - start >= DAY_US - 1,
                round(gap.rows * share),
                gap.status,
                gap.detail,
            )
            held = found.get((one.series, one.day, one.status))
            found[one.series, one.day, one.status] = one if held is None else replace(held, rows=held.rows + one.rows)
    return sorted(found.values(), key=lambda one: (str(one.series), one.day, one.status))
