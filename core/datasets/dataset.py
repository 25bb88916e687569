"""What a `Dataset` is: the description of one kind of data. Nothing here moves or reads anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Final

from core.datasets.clock import UNPREDICTABLE, Clock
from core.dates import INTERVAL_US
from core.types import Cadence, Market, Span

SCHEMA_VERSION = 2
"""Written into every Parquet footer; raised when a stored column changes name, type or meaning."""

_MONTHLY_ONLY: Final = frozenset({"3d", "1w", "1mo"})
"""Intervals that are published by the month only."""
BY_DAY_ONLY: Final = (Cadence.DAILY,)

REPAIR_OF_FILE: Final = (
    "Exact duplicate rows are dropped and counted; rows out of order are sorted by key and counted; two rows with one "
    "key and different content refuse the file."
)
REPAIR: Final = (
    f"{REPAIR_OF_FILE} A row that two files both have, the same in every column, is stored with both and given once to "
    "whoever reads; two rows with one key and different content in two files are an error that names both, but a day's "
    "own file is right where it differs from its month's."
)


class Kind(Enum):
    """What the text of a CSV cell means; `core.storage.schema` says what it is stored as."""

    TIME = "time, to the microsecond, UTC"
    TEXT_TIME = "time written out as 2024-01-31 08:00:00, UTC, to the second"
    DECIMAL = "decimal number, as the nearest double"
    INTEGER = "whole number of 64 bits"
    BOOLEAN = "true or false"
    TEXT = "word of capital letters, digits and underscores"
    SYMBOL = "the symbol, which the file's name says too"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the published CSV, in its place.

    `source` is the exchange's header word (`aliases`: other words seen for it), `name` ours, None for a column
    that is read past. `doc` says what it means, `unit` in what it is counted. `optional` columns may be absent at the
    end of a row; cells of `nullable` ones may be empty, which is stored as null and never as 0.
    """

    source: str
    name: str | None
    kind: Kind
    doc: str = ""
    unit: str = ""
    aliases: tuple[str, ...] = ()
    optional: bool = False
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Dataset:
    """One kind of data: `name` is ours, `remote` the exchange's.

    `columns` holds the CSV columns by market, and so the markets that have it. `key` names the stored columns that
    identify a row and give the order of rows. `per_pair` says that the exchange files it by pair (`BTCUSD`), not by
    contract (`BTCUSD_PERP`). `timestamp` is always the row's own time: an open time where `has_interval`.
    `shares_midnight`: two neighbouring files may both have a row of the midnight between them. Rows of monthly archives
    lie in one partition for each `closed` cadence, those of daily ones in one for each `open` cadence; a month
    of a kind that is `closed` by day is split. Times of the same `grain_us`, to the nearest one, are the same where
    rows of the exchange's API are held against archives; it is more than 1 only where the time alone is the key.

    `ended` says of which day the exchange has published the last archive, where it publishes the kind no longer.

    `doc` is a phrase; `notes` are what a user has to know beside the columns, `history` from when to when each market
    has it, where that is known, and `repair` what is done about a file that is not in order. Of `usual_repairs`, kinds
    of findings, there is some in so many files that they are no news: they are counted and not reported. `clock` says
    when rows are expected.
    """

    name: str
    remote: str
    doc: str
    columns: Mapping[Market, tuple[Column, ...]]
    key: tuple[str, ...]
    has_interval: bool = False
    cadences: tuple[Cadence, ...] = (Cadence.MONTHLY, Cadence.DAILY)
    per_pair: bool = False
    closed: Cadence = Cadence.YEARLY
    open: Cadence = Cadence.MONTHLY
    shares_midnight: bool = False
    grain_us: int = 1
    notes: tuple[str, ...] = ()
    history: Mapping[Market, str] = field(default_factory=dict)
    ended: Mapping[Market, date] = field(default_factory=dict)
    repair: str = REPAIR
    usual_repairs: tuple[str, ...] = ()
    clock: Clock = UNPREDICTABLE

    @property
    def markets(self) -> tuple[Market, ...]:
        return tuple(self.columns)

    def intervals(self, market: Market) -> tuple[str, ...]:
        """The intervals that exist in a market, () where there are none: seconds are for spot candles only."""
        if not self.has_interval:
            return ()
        return tuple(interval for interval in INTERVAL_US if interval != "1s" or market is Market.SPOT)

    def cadences_of(self, interval: str | None) -> tuple[Cadence, ...]:
        """The cadences in which the archives of an interval come; None where the dataset has no intervals."""
        return (Cadence.MONTHLY,) if interval in _MONTHLY_ONLY else self.cadences

    def stored_columns(self, market: Market) -> tuple[Column, ...]:
        """The columns that are kept, `timestamp` first, else in the exchange's order."""
        kept = [column for column in self.columns[market] if column.name is not None]
        return tuple(sorted(kept, key=lambda column: column.name != "timestamp"))

    def stored_names(self, market: Market) -> list[str]:
        """The names of the columns that are kept."""
        return [str(column.name) for column in self.stored_columns(market)]

    def last_us(self, span: Span) -> int:
        """The latest time that a row of a file of that span has."""
        # Where files share their midnights, the last one is a row of this file like any other.
        return span.end_us if self.shares_midnight else span.end_us - 1

    def directory(self, symbol: str) -> str:
        """The symbol under which the exchange files this data: the pair of a contract where `per_pair`."""
        base, _, suffix = symbol.partition("_")
        is_contract = suffix == "PERP" or (len(suffix) == 6 and suffix.isdigit())
        return base if self.per_pair and is_contract else symbol
