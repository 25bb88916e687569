"""What a request asked for and the disk does not have: said aloud, and open to inspection."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from core.dates import day_of, format_us
from core.errors import ConfigError, NoData
from core.nearest import one_of
from core.types import Market, Series, Span

_SHOWN: Final = 8
ON_MISSING: Final = ("raise", "warn", "ignore")


class Lack(StrEnum):
    """In what way rows are missing: of the whole request, before the first row, between rows, behind the last one; or
    they are there and out of date."""

    ABSENT = "absent"
    STARTS_LATE = "starts-late"
    GAP = "gap"
    ENDS_EARLY = "ends-early"
    STALE = "stale"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class Missing:
    """What one series lacks for a request.

    `symbol` is the symbol asked for (`series.symbol` is the one under which the exchange files it). `stored` runs from
    the first to just behind the last row: of all that is stored where rows are absent or stale, else of what was read;
    None if there is none. `detail` is a sentence; `lack` says what kind of lack it is, `rows` how many expected rows it
    is, 0 where that cannot be known, and `gaps` where they are, from the first missing one to the next row.
    """

    series: Series
    symbol: str
    stored: Span | None
    detail: str
    lack: Lack = Lack.ABSENT
    rows: int = 0
    gaps: tuple[Span, ...] = ()

    @property
    def gap_times(self) -> list[tuple[datetime, datetime]]:
        """`gaps` as aware datetimes."""
        return [(_moment(gap.start_us), _moment(gap.end_us)) for gap in self.gaps]


class MissingDataWarning(UserWarning):
    """Part of what was asked for is not there; the frame holds the rest. `missing` lists the parts."""

    def __init__(self, message: str, missing: Sequence[Missing] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


def checked_on_missing(on_missing: str) -> str:
    """Raises ConfigError for a word that there is not."""
    if on_missing not in ON_MISSING:
        raise ConfigError(f"on_missing: unknown {on_missing!r}{one_of(str(on_missing), ON_MISSING)}")
    return on_missing


def report(
    missing: Sequence[Missing], asked: Span, found: bool, on_missing: str, advice: str | None, above: int = 4
) -> None:
    """Says what is missing as the caller wants it; the warning points `above` frames up, to the caller of the loader.

    Raises NoData if nothing was found, or anything is missing and that is to be an error.
    """
    if on_missing == "ignore":
        return
    if not found:
        raise NoData(f"no data: {describe(missing, asked, advice)}")
    if missing and on_missing == "raise":
        raise NoData(f"partly missing: {describe(missing, asked, advice)}")
    if missing:
        said = MissingDataWarning(f"partly missing: {describe(missing, asked, advice)}", missing)
        warnings.warn(said, stacklevel=above)


def describe(missing: Sequence[Missing], asked: Span, advice: str | None = None) -> str:
    """One message for all that is missing, ending in an advice: else the command that would fetch it."""
    if not missing:
        return f"{format_us(asked.start_us)} to {format_us(asked.end_us)} UTC: nothing is stored"
    details = [part.detail for part in missing[:_SHOWN]]
    if len(missing) > _SHOWN:
        details.append(f"and {len(missing) - _SHOWN} more")
    return (
        f"{format_us(asked.start_us)} to {format_us(asked.end_us)} UTC: {'; '.join(details)}. "
        f"{advice or _advice(missing, asked)}"
    )


def _moment(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def stored_range(stored: Span) -> str:
    """`2024-01-01 00:00:00 to 2024-01-31 23:00:00`: the first and the last stored row."""
    return f"{format_us(stored.start_us)} to {format_us(stored.end_us - 1)}"


def _advice(missing: Sequence[Missing], asked: Span) -> str:
    if all(part.lack is Lack.PARTIAL for part in missing):
        return "To see what is missing, and why: python scripts/monitor.py integrity"
    one = missing[0].series
    intervals = {part.series.interval for part in missing if part.series.interval}
    options = {
        "market": one.market.value if one.market is not Market.UM else "",
        "symbols": ",".join(sorted({part.symbol for part in missing})),
        "data-types": ",".join(dict.fromkeys(part.series.dataset for part in missing)),
        "interval": "".join(intervals - {"1h"}),
        "start": str(day_of(asked.start_us)),
        "end": str(day_of(asked.end_us - 1)),
    }
    words = " ".join(f"--{name} {value}" for name, value in options.items() if value)
    return f"To get it: python scripts/download_all.py {words}"
