"""What the status database says of series that are kept up to date: from when to when they are known, and what is here.

Only reads and small inserts; each function is part of one transaction of the tracker.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from core.download.asking import is_due
from core.download.planning import KNOWN
from core.download.rows import file_row, series_named, to_download
from core.download.tables import FILES, SYMBOLS_SEEN
from core.types import FAULTS, ArchiveFile, Download, Market, Period, Series, State

_SERIES: Final = (FILES.c.market, FILES.c.dataset, FILES.c.symbol, FILES.c.interval)
_DAY: Final = func.length(FILES.c.period) == 10
_EXTENT: Final = (
    select(
        *_SERIES,
        func.min(FILES.c.period).label("first"),
        func.max(FILES.c.period).filter(_DAY).label("day"),
        func.max(FILES.c.period).filter(~_DAY).label("month"),
    )
    .where(FILES.c.state != State.MISSING.value)
    .group_by(*_SERIES)
)
_RECENT: Final = select(*_SERIES, FILES.c.period, FILES.c.state).where(FILES.c.period >= bindparam("since"))
_AT_FAULT: Final = select(FILES).where(FILES.c.state.in_([state.value for state in FAULTS]), FILES.c.owner.is_(None))
_NOTE_MISSING: Final = upsert(FILES).on_conflict_do_nothing().returning(FILES.c.key)
_SEEN: Final = select(SYMBOLS_SEEN.c.market, SYMBOLS_SEEN.c.dataset, SYMBOLS_SEEN.c.symbol)
_SEE: Final = upsert(SYMBOLS_SEEN).on_conflict_do_nothing()


@dataclass(frozen=True, slots=True)
class Followed:
    """A series of which archives are known: `first` and `newest` are days that they cover, those that the source has
    turned out not to have left out."""

    series: Series
    first: date
    newest: date


def followed(connection: Connection) -> list[Followed]:
    """Every series that has archives, in order."""
    found = []
    for row in connection.execute(_EXTENT):
        first = Period.parse(row.first).first
        found.append(Followed(_series(row), first, _newest(row.day, row.month)))
    return sorted(found, key=lambda one: str(one.series))


def recent(
    connection: Connection, since: date, kind: tuple[Market, str] | None = None
) -> dict[Series, dict[Period, State]]:
    """The archives of months and days from the month of `since` on, of all or of one market and data type, and how each
    stands."""
    states: dict[Series, dict[Period, State]] = {}
    some = _RECENT if kind is None else _RECENT.where(FILES.c.market == kind[0].value, FILES.c.dataset == kind[1])
    for row in connection.execute(some, {"since": f"{since:%Y-%m}"}):
        states.setdefault(_series(row), {})[Period.parse(row.period)] = State(row.state)
    return states


def at_fault(connection: Connection, now_us: int) -> Iterator[tuple[Download, bool]]:
    """The archives that had a fault at the source, and whether it is to be asked again."""
    for row in connection.execute(_AT_FAULT):
        yield to_download(row), is_due(row.asks, row.asked_us, now_us)


def entered(connection: Connection, files: Sequence[ArchiveFile]) -> set[str]:
    """The keys among these that have a row."""
    return {row.key for row in connection.execute(KNOWN, {"keys": [file.key for file in files]})}


def note_missing(connection: Connection, files: Iterable[ArchiveFile], now_us: int) -> set[str]:
    """Enter archives that should be there and are not; the keys that had no row yet."""
    asked = {"state": State.MISSING.value, "fault": State.MISSING.value, "asks": 1, "asked_us": now_us}
    error = "expected, but the source does not have it"
    rows = [file_row(file, now_us) | asked | {"error": error} for file in files]
    return {row.key for row in connection.execute(_NOTE_MISSING, rows)} if rows else set()


def seen(connection: Connection) -> dict[tuple[Market, str], frozenset[str]]:
    """The folders of symbols that the source was known to have, by market and data type."""
    found: dict[tuple[Market, str], set[str]] = {}
    for row in connection.execute(_SEEN):
        found.setdefault((Market(row.market), row.dataset), set()).add(row.symbol)
    return {kind: frozenset(symbols) for kind, symbols in found.items()}


def see(connection: Connection, market: Market, dataset: str, symbols: Iterable[str]) -> None:
    """Enter folders of symbols."""
    rows = [{"market": market.value, "dataset": dataset, "symbol": symbol} for symbol in symbols]
    if rows:
        connection.execute(_SEE, rows)


def _newest(day: str | None, month: str | None) -> date:
    """The newest day, also where a month's archive is here: of a delisted symbol that goes on for longer."""
    if month is None or (day is not None and day >= month):
        assert day is not None, "every group has a row"
        return Period.parse(day).last
    return Period.parse(month).last


def _series(row: Any) -> Series:
    return series_named(row.market, row.dataset, row.symbol, row.interval)
