"""Of which days a series has its archives: a calendar of months and days, from what the status database knows.

Days are bits of a month's number, so that a month is compared in one step and millions of days in a second or two.
Only reads; see `core.download.looking`.
"""

from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import lru_cache, reduce
from operator import or_
from typing import Any, Final

from sqlalchemy import Connection, func, select

from core.dates import day_of
from core.download.overview import HOLES
from core.download.rows import series_named
from core.download.tables import FILES, GAPS, PARTITIONS, SOURCES
from core.types import Cadence, Gap, GapStatus, Period, Proof, Series, Span, State

_NAMES: Final = ("market", "dataset", "symbol", "interval")
_OF_FILES: Final = tuple(FILES.c[name] for name in _NAMES)
_ARCHIVES: Final = select(*_OF_FILES, FILES.c.state, func.group_concat(FILES.c.period).label("periods")).group_by(
    *_OF_FILES, FILES.c.state
)
_OF_PARTITIONS: Final = tuple(PARTITIONS.c[name] for name in _NAMES)
_ANSWERS: Final = (
    select(*_OF_PARTITIONS, func.group_concat(SOURCES.c.period).label("periods"))
    .join(SOURCES, SOURCES.c.partition_id == PARTITIONS.c.id)
    .where(SOURCES.c.proof == Proof.REST.value)
    .group_by(*_OF_PARTITIONS)
)
_WAITING: Final = (State.PLANNED, State.ACTIVE, State.FETCHED)
MONTHS_A_YEAR: Final = 12


class Cover(StrEnum):
    """What a day or a month of a series is; the value stands for it in the text of a calendar.

    `gap`: stored, and rows are missing in it. `partly`: some of its days are stored. `missing`: the source lacks its
    archive, or it failed. `waiting`: it is to be fetched or stored, or may still be published. `unasked`: it lies
    between others and nobody asked for it, or the exchange does not list it. `outside`: before the first or behind the
    last.
    """

    STORED = "s"
    GAP = "g"
    PARTLY = "p"
    MISSING = "m"
    WAITING = "w"
    UNASKED = "-"
    OUTSIDE = " "


Days = dict[int, int]
"""By month (year * 12 + month - 1) its days, bit 0 the first."""


@dataclass(slots=True)
class Coverage:
    """The days of one series: stored, waiting, lacking at the source, and those with rows missing that there should be.
    A day may be several of these; between the first and the last, others were never asked for."""

    stored: Days = field(default_factory=dict)
    waiting: Days = field(default_factory=dict)
    lacking: Days = field(default_factory=dict)
    holes: Days = field(default_factory=dict)

    @property
    def extent(self) -> tuple[date, date] | None:
        """The first and the last day of which anything is known."""
        every = [days for days in (self.stored, self.waiting, self.lacking, self.holes) if days]
        if not every:
            return None
        first, last = min(map(min, every)), max(map(max, every))
        lowest = _together(every, first)
        return (
            date(first // 12, first % 12 + 1, (lowest & -lowest).bit_length()),
            date(last // 12, last % 12 + 1, _together(every, last).bit_length()),
        )

    def months(self) -> tuple[int, str]:
        """The first month (year * 12 + month - 1), and a letter of `Cover` for each month from it on."""
        extent = self.extent
        if extent is None:
            return 0, ""
        first, last = (day.year * 12 + day.month - 1 for day in extent)
        return first, "".join(self._month(month, self._expected(month, extent)) for month in range(first, last + 1))

    def days(self) -> tuple[int, list[str]]:
        """The first month, and for each month from it on a letter of `Cover` for each of its days."""
        extent = self.extent
        if extent is None:
            return 0, []
        first, last = (day.year * 12 + day.month - 1 for day in extent)
        return first, [self._days(month, self._expected(month, extent)) for month in range(first, last + 1)]

    def _expected(self, month: int, extent: tuple[date, date]) -> int:
        days = _full(month)
        first, last = extent
        if month == first.year * 12 + first.month - 1:
            days &= -1 << (first.day - 1)
        if month == last.year * 12 + last.month - 1:
            days &= (1 << last.day) - 1
        return days

    def _month(self, month: int, expected: int) -> Cover:
        stored, holes = self.stored.get(month, 0) & expected, self.holes.get(month, 0) & expected
        if stored & holes:
            return Cover.GAP
        if stored == expected:
            return Cover.STORED
        if stored:
            return Cover.PARTLY
        waiting = self.waiting.get(month, 0)
        if (self.lacking.get(month, 0) | holes) & ~waiting:
            return Cover.MISSING
        return Cover.WAITING if waiting else Cover.UNASKED

    def _days(self, month: int, expected: int) -> str:
        stored, holes = self.stored.get(month, 0), self.holes.get(month, 0)
        lacking, waiting = self.lacking.get(month, 0) | holes, self.waiting.get(month, 0)

        def letter(bit: int) -> Cover:
            if not expected & bit:
                return Cover.OUTSIDE
            if stored & bit:
                return Cover.GAP if holes & bit else Cover.STORED
            if waiting & bit:
                return Cover.WAITING
            return Cover.MISSING if lacking & bit else Cover.UNASKED

        return "".join(letter(1 << number) for number in range(_full(month).bit_length()))


def coverage(connection: Connection, one: Series | None = None) -> dict[Series, Coverage]:
    """The calendar of every series that has archives, rows of the API or gaps, or of `one`, in order."""
    found: dict[Series, Coverage] = {}

    def entry(row: Any) -> Coverage:
        return found.setdefault(series_named(row.market, row.dataset, row.symbol, row.interval or None), Coverage())

    archives, answers, gaps = _ARCHIVES, _ANSWERS, select(GAPS)
    if one is not None:
        archives = archives.where(*_of(FILES, one, one.interval))
        answers, gaps = (
            answers.where(*_of(PARTITIONS, one, one.interval or "")),
            gaps.where(*_of(GAPS, one, one.interval or "")),
        )
    for row in connection.execute(archives):
        state, cover = State(row.state), entry(row)
        into = cover.stored if state is State.STORED else cover.waiting if state in _WAITING else cover.lacking
        _add(into, row.periods)
    for row in connection.execute(answers):
        _add(entry(row).stored, row.periods)
    for row in connection.execute(gaps.where(GAPS.c.status.in_([status.value for status in HOLES]))):
        cover, span = entry(row), Span(row.start_us, row.end_us)
        _add_span(cover.holes, span)
        if row.status == GapStatus.LATE.value:
            _add_span(cover.waiting, span)
    return dict(sorted(found.items(), key=lambda item: str(item[0])))


def gaps_of(connection: Connection, one: Series | None = None, most: int | None = None) -> list[Gap]:
    """Gaps, those in which rows are missing that there should be first, then in order of series and time."""
    chosen = select(GAPS).order_by(GAPS.c.status.not_in([status.value for status in HOLES]))
    chosen = chosen.order_by(*(GAPS.c[name] for name in _NAMES), GAPS.c.start_us).limit(most)
    if one is not None:
        chosen = chosen.where(*_of(GAPS, one, one.interval or ""))
    return [
        Gap(
            series_named(row.market, row.dataset, row.symbol, row.interval or None),
            Span(row.start_us, row.end_us),
            row.rows,
            GapStatus(row.status),
            row.detail,
            row.checked_us,
        )
        for row in connection.execute(chosen)
    ]


def _of(table: Any, one: Series, interval: str | None) -> list[Any]:
    wanted: Mapping[str, str | None] = {
        "market": one.market.value,
        "dataset": one.dataset,
        "symbol": one.symbol,
        "interval": interval,
    }
    return [table.c[name] == value if value is not None else table.c[name].is_(None) for name, value in wanted.items()]


def _add(days: Days, labels: str) -> None:
    for label in labels.split(","):
        for month, bits in _bits(label):
            days[month] = days.get(month, 0) | bits


def _add_span(days: Days, span: Span) -> None:
    """Every day that has any of the span."""
    first, last = day_of(span.start_us), day_of(max(span.start_us, span.end_us - 1))
    for month in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        bits = _full(month)
        if month == first.year * 12 + first.month - 1:
            bits &= -1 << (first.day - 1)
        if month == last.year * 12 + last.month - 1:
            bits &= (1 << last.day) - 1
        days[month] = days.get(month, 0) | bits


@lru_cache(maxsize=16384)
def _bits(label: str) -> tuple[tuple[int, int], ...]:
    """By month the days of a period."""
    period = Period.parse(label)
    month = period.first.year * 12 + period.first.month - 1
    if period.cadence is Cadence.DAILY:
        return ((month, 1 << (period.first.day - 1)),)
    number = MONTHS_A_YEAR if period.cadence is Cadence.YEARLY else 1
    return tuple((each, _full(each)) for each in range(month, month + number))


@lru_cache(maxsize=4096)
def _full(month: int) -> int:
    """All days of a month."""
    return (1 << monthrange(month // 12, month % 12 + 1)[1]) - 1


def _together(every: Iterable[Days], month: int) -> int:
    """The days of a month that any of these has."""
    return reduce(or_, (days.get(month, 0) for days in every))
