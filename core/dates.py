"""Days, spans, intervals and the archive's two timestamp units.

Everything is UTC. The archive writes milliseconds, or microseconds (spot from 2025-01-01); we keep microseconds.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

from core.errors import ConfigError
from core.types import Cadence, Period, Span

MICROSECONDS_FROM: Final = 100_000_000_000_000
"""A raw archive time of at least 1e14 is in microseconds, a smaller one in milliseconds
(1e14 ms is the year 5138, 1e14 us is 1973): the two cannot be mistaken for each other."""

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
MONDAY_US: Final = 4 * DAY_US
"""1970-01-05, from which weeks are counted."""

LATE_DAYS: Final = 2
LATE_UNTIL: Final = 15

INTERVAL_US: Final[dict[str, int | None]] = {
    "1s": 1_000_000,
    "1m": MINUTE_US,
    "3m": 3 * MINUTE_US,
    "5m": 5 * MINUTE_US,
    "15m": 15 * MINUTE_US,
    "30m": 30 * MINUTE_US,
    "1h": HOUR_US,
    "2h": 2 * HOUR_US,
    "4h": 4 * HOUR_US,
    "6h": 6 * HOUR_US,
    "8h": 8 * HOUR_US,
    "12h": 12 * HOUR_US,
    "1d": DAY_US,
    "3d": 3 * DAY_US,
    "1w": 7 * DAY_US,
    "1mo": None,
}
"""Length of each kline interval; None for the calendar month."""


def parse_day(text: str, what: str = "date") -> date:
    """A day from `YYYY-MM-DD`. Raises ConfigError that names `what`."""
    try:
        if len(text) == 10:
            return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        pass
    raise ConfigError(f"{what}: {text!r} is not a day; write YYYY-MM-DD, for example 2024-01-31")


def day_of(us: int) -> date:
    """The UTC day in which an instant lies."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).date()


def late_until(period: Period) -> date:
    """The last day on which the archive of a day or month may still come; behind it, it is missing.

    A day's appears on the next day or the one after, a month's until the 15th of the next month.
    """
    return period.last + timedelta(days=LATE_DAYS if period.cadence is Cadence.DAILY else LATE_UNTIL)


def format_us(us: int) -> str:
    """An instant as `2024-01-31 08:00:00.003`, as short as it is exact."""
    moment = datetime.fromtimestamp(us // 1_000_000, UTC)
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    fraction = f"{us % 1_000_000:06d}".rstrip("0")
    return f"{text}.{fraction.ljust(3, '0')}" if fraction else text


def span_of(start: str | None, end: str | None, today: date) -> Span:
    """The span from two option texts: UTC days, both included; None means "as far as there is".

    Nothing is older than 1970, so an earlier day means that one. Raises ConfigError for a malformed day, an end before
    the start, or a day in the future.
    """
    first = parse_day(start, "--start") if start is not None else date(1970, 1, 1)
    last = parse_day(end, "--end") if end is not None else today
    for option, day in (("--start", first), ("--end", last)):
        if day > today:
            raise ConfigError(f"{option}: {day} lies in the future (today is {today} UTC)")
    if last < first:
        raise ConfigError(f"--end {last} lies before --start {first}")
    span = Span.of_days(first, last)
    return Span(max(0, span.start_us), max(0, span.end_us))
