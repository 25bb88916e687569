"""The door: what a caller may write, turned into one exact `Request`, so that nothing behind it asks again.

Times. Text, `date`, `datetime` and pandas `Timestamp` are taken; a naive time is UTC, an aware one is converted. The
start is included. An end that is a pure date (`2024-01-31`) includes that whole day; an end with a time of day, or
given as a `datetime` or `Timestamp`, is excluded: `2024-01-31T00:00` ends with the last row of the 30th.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from core.datasets import DATASETS, Dataset, dataset_named, interval_named, market_named
from core.errors import ConfigError
from core.layout import SYMBOL
from core.nearest import did_you_mean, one_of
from core.types import Market, Series, Span

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LAST_US: Final = (datetime(2200, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""No row lies outside 1970 to 2200, so wider bounds mean these; arithmetic around them cannot leave the calendar."""
ALWAYS: Final = Span(0, _LAST_US)
"""All that can be stored."""
_IN_EVERY_FRAME: Final = ("timestamp", "symbol")
_ORDER: Final = {"funding_rate": ("funding_rate", "funding_interval_hours")}
"""Where a frame's columns read better in another order than the exchange's."""


@dataclass(frozen=True, slots=True)
class Request:
    """A question that makes sense: symbols sorted, each once; `interval` None if no dataset has one."""

    market: Market
    symbols: tuple[str, ...]
    span: Span
    datasets: tuple[Dataset, ...]
    interval: str | None
    columns: tuple[str, ...] | None = None

    def series(self, dataset: Dataset, symbol: str) -> Series:
        """Where the exchange files that symbol's data of that kind."""
        interval = self.interval if dataset.has_interval else None
        return Series(self.market, dataset.name, dataset.directory(symbol), interval)

    def columns_of(self, dataset: Dataset) -> tuple[str, ...]:
        """The frame's columns behind timestamp and symbol."""
        if self.columns is None:
            return default_columns(dataset, self.market)
        stored = dataset.stored_names(self.market)
        return tuple(name for name in self.columns if name in stored)


def parse_request(
    symbols: str | Iterable[str],
    start: str | date,
    end: str | date,
    data_types: str | Iterable[str],
    interval: str,
    market: str,
    columns: Iterable[str] | None = None,
) -> Request:
    """The request in exact terms. Raises ConfigError that names the argument, with a near match where there is one."""
    where = market_named(market)
    kinds = tuple(dataset_named(name, where) for name in _names(data_types, "data_types"))
    for kind in kinds:
        if kind.has_interval:
            interval_named(str(interval), kind, where)
    return Request(
        market=where,
        symbols=_symbols(symbols),
        span=parse_span(start, end),
        datasets=kinds,
        interval=interval if any(kind.has_interval for kind in kinds) else None,
        columns=None if columns is None else _columns(columns, kinds, where),
    )


def default_columns(dataset: Dataset, market: Market) -> tuple[str, ...]:
    """All stored columns but timestamp and `close_time`, which follows from timestamp and interval."""
    stored = [name for name in dataset.stored_names(market) if name not in ("timestamp", "close_time")]
    return _ORDER.get(dataset.name, tuple(stored))


def parse_span(start: str | date, end: str | date) -> Span:
    """`[start, end)` in microseconds. Raises ConfigError for what is no date, or an end not behind the start."""
    start_us, _ = _instant(start, "start")
    end_us, is_day = _instant(end, "end")
    if is_day:
        end_us += timedelta(days=1) // _MICROSECOND
    if end_us <= start_us:
        rule = "" if is_day else "; an end with a time of day is excluded"
        raise ConfigError(f"end {end} is not after start {start}{rule}")
    return Span(*(min(max(0, us), _LAST_US) for us in (start_us, end_us)))


def _instant(value: str | date, what: str) -> tuple[int, bool]:
    """Microseconds, and whether a whole day is meant."""
    try:
        parsed = _parsed(value) if isinstance(value, str) else value
        if isinstance(parsed, datetime):
            return _microseconds(parsed), False
        if isinstance(parsed, date) and parsed < date.max:
            return _microseconds(datetime(parsed.year, parsed.month, parsed.day, tzinfo=UTC)), True
    except (ValueError, TypeError, OverflowError):
        pass
    raise ConfigError(f"{what}: {value!r} is no date or time; write 2024-01-31 or 2024-01-31T08:00, or pass a datetime")


def _parsed(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return datetime.fromisoformat(text.strip())


def _microseconds(moment: datetime) -> int:
    """Since 1970 UTC. A Timestamp's nanoseconds round up: no stored row lies between, so the bounds mean the same."""
    zone = moment.tzinfo or UTC
    plain = datetime.combine(moment.date(), moment.time(), zone).replace(fold=moment.fold)
    return (plain.astimezone(UTC) - _EPOCH) // _MICROSECOND + bool(getattr(moment, "nanosecond", 0))


def _names(value: str | Iterable[str], what: str) -> tuple[str, ...]:
    """One name or many, each once, in the order given."""
    try:
        names = (value,) if isinstance(value, str) else tuple(value)
    except TypeError:
        raise ConfigError(f"{what}: {value!r} is neither a text nor a list of texts") from None
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"{what}: {name!r} is not a text")
    if not names:
        raise ConfigError(f"{what}: nothing is asked for; give at least one")
    return tuple(dict.fromkeys(names))


def _symbols(value: str | Iterable[str]) -> tuple[str, ...]:
    symbols = _names(value, "symbols")
    for symbol in symbols:
        if not SYMBOL.fullmatch(symbol):
            raise ConfigError(f"symbols: {symbol!r} is not a symbol; write for example BTCUSDT")
    return tuple(sorted(symbols))


def _columns(value: Iterable[str], kinds: Iterable[Dataset], market: Market) -> tuple[str, ...]:
    """The names asked for, each known to at least one of the kinds; timestamp and symbol are there anyway."""
    known = {name for kind in kinds for name in kind.stored_names(market)}
    names = _names(value, "columns")
    for name in names:
        if name not in known and name != "symbol":
            kinds_text = ", ".join(kind.name for kind in kinds)
            raise ConfigError(f"unknown column {name!r} of {kinds_text}{one_of(name, sorted(known))}")
    return tuple(name for name in names if name not in _IN_EVERY_FRAME)


def stored_kind(data_type: str, market: str) -> tuple[Market, Dataset]:
    """Market and dataset of a question about what is stored. Raises ConfigError for an unknown one."""
    where = market_named(market)
    if not isinstance(data_type, str):
        raise ConfigError(f"data_type: {data_type!r} is not a text; there are {', '.join(DATASETS)}")
    return where, dataset_named(data_type, where)


def wanted_of(
    stored: Sequence[Series],
    symbols: str | Iterable[str] | None,
    data_types: str | Iterable[str] | None,
    market: str | None,
) -> list[Series]:
    """Those of the stored series that are asked for; None means all. Raises ConfigError for a name that none has."""
    where = None if market is None else market_named(market)
    kinds = None if data_types is None else _names(data_types, "data_types")
    for name in kinds or ():
        if name not in DATASETS:
            raise ConfigError(f"unknown data type {name!r}{one_of(name, DATASETS)}")
    chosen = None if symbols is None else _symbols(symbols)
    found = [one for one in stored if where in (None, one.market) and (kinds is None or one.dataset in kinds)]
    if chosen is None:
        return found
    for symbol in chosen:
        if not any(_is_of(one, symbol) for one in found):
            near = did_you_mean(symbol, sorted({one.symbol for one in found}))
            raise ConfigError(f"symbols: nothing of {symbol} is stored{near}")
    return [one for one in found if any(_is_of(one, symbol) for symbol in chosen)]


def _is_of(one: Series, symbol: str) -> bool:
    return one.symbol in (symbol, DATASETS[one.dataset].directory(symbol))
