"""What a `Dataset` is: the description of one kind of data. Nothing here moves or reads anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from core.types import Cadence, Market

SCHEMA_VERSION = 2
"""Written into every Parquet footer; raised when a stored column changes name, type or meaning."""


class Kind(Enum):
    """What the text of a CSV cell means; `core.storage.schema` says what it is stored as."""

    TIME = "time, to the microsecond, UTC"
    DECIMAL = "decimal number, as the nearest double"
    INTEGER = "whole number of 64 bits"
    BOOLEAN = "true or false"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the published CSV, in its place.

    `source` is the exchange's header word (`aliases`: other words seen for it), `name` ours, None for a column
    that is read past. `optional` columns may be absent at the end of a row. `doc` says the unit.
    """

    source: str
    name: str | None
    kind: Kind
    doc: str = ""
    aliases: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Dataset:
    """One kind of data: `name` is ours, `remote` the exchange's.

    `columns` holds the CSV columns by market, and so the markets that have it. `key` names the stored columns that
    identify a row and give the order of rows. `per_pair` says that the exchange files it by pair (`BTCUSD`), not by
    contract (`BTCUSD_PERP`). `timestamp` is always the row's own time: an open time where `has_interval`. Rows of
    monthly archives lie in one partition for each `closed` cadence, those of daily ones in one for each `open` cadence;
    a monthly archive of a kind that is `closed` by day is split.
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

    @property
    def markets(self) -> tuple[Market, ...]:
        return tuple(self.columns)

    def stored_columns(self, market: Market) -> tuple[Column, ...]:
        """The columns that are kept, `timestamp` first, else in the exchange's order."""
        kept = [column for column in self.columns[market] if column.name is not None]
        return tuple(sorted(kept, key=lambda column: column.name != "timestamp"))

    def stored_names(self, market: Market) -> list[str]:
        """The names of the columns that are kept."""
        return [str(column.name) for column in self.stored_columns(market)]

    def directory(self, symbol: str) -> str:
        """The symbol under which the exchange files this data: the pair of a contract where `per_pair`."""
        base, _, suffix = symbol.partition("_")
        is_contract = suffix == "PERP" or (len(suffix) == 6 and suffix.isdigit())
        return base if self.per_pair and is_contract else symbol
