"""Which symbols one could have chosen on a day, by what was known before that day.

A symbol is in the table from the day after its first stored candle, for nobody knew of it before; it stays there when
it is traded no longer. On each day it is a member if it was traded on the day before, on enough days of the window
before that day, and for enough: the mean of its daily quote volume, over the days of the window on which it has
candles, reached the minimum. Sums are exact (decimals of eight places), so neither the order of rows nor the number of
threads changes anything.
"""

import operator
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets.contracts import contract_usd
from core.datasets.klines import KLINES
from core.dates import DAY_US, INTERVAL_US, day_of
from core.errors import ConfigError, NoData
from core.storage.stored import StoredRows
from core.types import Market, Span
from loader.arguments import Request
from loader.rows import Rows
from loader.views import Views

WINDOW_DAYS: Final = 30
_MOST: Final = Decimal(10) ** 19

_OF_QUOTES: Final = "sum(quote_volume::DECIMAL(28, 8)) AS volume FROM candles"
_OF_CONTRACTS: Final = "sum((volume * usd)::DECIMAL(28, 8)) AS volume FROM candles JOIN listed USING (symbol)"
_DAYS: Final = """
SELECT symbol, date_trunc('day', "timestamp")::DATE AS date, {volume} GROUP BY ALL
"""
_TABLE: Final = """
WITH days AS ({days}), grid AS (
    SELECT listed.symbol, listed.first, each.date::DATE AS date
    FROM listed, generate_series($since::TIMESTAMP, $last::TIMESTAMP, INTERVAL 1 DAY) AS each(date)
    WHERE each.date::DATE >= listed.first
), known AS (
    SELECT grid.*, lag(days.volume) OVER all_days IS NOT NULL AS was_traded,
           count(days.volume) OVER behind AS days, sum(days.volume) OVER behind AS volume
    FROM grid LEFT JOIN days USING (symbol, date)
    WINDOW all_days AS (PARTITION BY grid.symbol ORDER BY grid.date),
           behind AS (PARTITION BY grid.symbol ORDER BY grid.date ROWS BETWEEN {window} PRECEDING AND 1 PRECEDING)
), judged AS (
    SELECT *, CASE WHEN NOT was_traded THEN 'not-traded-the-day-before' WHEN days < $history THEN 'too-few-days'
                   WHEN volume < $minimum::DECIMAL(28, 8) * days::DECIMAL(5, 0) THEN 'below-min-volume'
                   ELSE 'member' END AS reason
    FROM known WHERE date >= $from AND date > first
)
SELECT date::TIMESTAMPTZ AS date, symbol, reason = 'member' AS member, reason,
       volume::DOUBLE / nullif(days, 0) AS mean_quote_volume, days::INTEGER AS days
FROM judged ORDER BY date, symbol
"""
_WHOLE: Final = """
WITH days AS ({days})
SELECT symbol FROM days GROUP BY symbol HAVING sum(volume) >= $minimum::DECIMAL(28, 8) * count(*)::DECIMAL(5, 0)
ORDER BY symbol
"""


class Universe:
    """Asks the candles of one market and interval.

    Raises ConfigError for an interval that does not make whole days, NoData if no such candles are stored.
    """

    def __init__(self, storage: StoredRows, views: Views, market: Market, interval: str) -> None:
        step_us = INTERVAL_US[interval]
        if step_us is None or DAY_US % step_us:
            raise ConfigError(f"interval: candles of {interval} do not make days; take 1d or shorter ones")
        self._storage = storage
        self._views = views
        self._days = _DAYS.format(volume=_OF_CONTRACTS if market is Market.CM else _OF_QUOTES)
        self.series = tuple(one for one in storage.series(market, KLINES.name) if one.interval == interval)
        if not self.series:
            raise NoData(f"no {market} klines of {interval} are stored; get them with download_all.py")

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols of which such candles are stored, sorted."""
        return tuple(one.symbol for one in self.series)

    def request(self, span: Span) -> Request:
        """For all symbols' candles in a span."""
        return Request(self.series[0].market, self.symbols, span, (KLINES,), self.series[0].interval)

    def table(self, span: Span, min_volume: Decimal, min_history: int, window: int) -> pa.Table:
        """The membership of each day that the span touches, by date, then symbol: `date` (midnight UTC), `symbol`,
        `member` (bool), `reason`, `mean_quote_volume` (double; null where `days` is 0) and `days` (int32), those of the
        window on which there are candles."""
        first, last = day_of(span.start_us), day_of(span.end_us - 1)
        since = max(first - timedelta(days=window), date(1970, 1, 1))
        params = {
            "since": datetime.combine(since, time()),
            "last": datetime.combine(last, time()),
            "from": first,
            "history": min_history,
            "minimum": min_volume,
        }
        query = _TABLE.format(days=self._days, window=window)
        found = self._views.ask(query, params, (self.series, KLINES, Span.of_days(since, last)), self._listed())
        return found.set_column(1, "symbol", found.column("symbol").dictionary_encode())

    def in_hindsight(self, span: Span, min_volume: Decimal) -> list[str]:
        """The symbols whose mean daily quote volume over the days of the span with candles reached the minimum."""
        days = Span.of_days(day_of(span.start_us), day_of(span.end_us - 1))
        query = _WHOLE.format(days=self._days)
        answer = self._views.ask(query, {"minimum": min_volume}, (self.series, KLINES, days), self._listed())
        symbols: list[str] = answer.column("symbol").to_pylist()
        return symbols

    def _listed(self) -> pa.Table:
        """Of each symbol the day of its first stored candle, and the dollars of a contract where it has contracts."""
        facts = self._storage.facts(self.series)
        days = [day_of(min(part.first_us for part in parts)) if parts else None for parts in facts]
        worths = [contract_usd(one.market, one.symbol) for one in self.series]
        return pa.table(
            {
                "symbol": pa.array(self.symbols, pa.string()),
                "first": pa.array(days, pa.date32()),
                "usd": pa.array(worths, pa.int64()),
            }
        )


def members_only(request: Request, rows: Rows, table: pa.Table) -> Rows:
    """Those rows whose symbol is a member on the day of their timestamp, by the table of the request's span."""
    first, last = (us // DAY_US for us in (request.span.start_us, request.span.end_us - 1))
    members = table.filter(table.column("member"))
    days = members.column("date").cast(pa.int64()).to_numpy() // DAY_US - first
    places = {symbol: place for place, symbol in enumerate(request.symbols)}
    of_symbol = np.array([places[symbol] for symbol in members.column("symbol").to_pylist()], dtype=np.int64)
    is_member = np.zeros((len(places), last + 1 - first), dtype=np.bool_)
    is_member[of_symbol, days] = True
    symbols = np.repeat(np.arange(len(places)), rows.counts)
    inside: npt.NDArray[np.bool_] = is_member[symbols, rows.times_us // DAY_US - first]
    offsets = np.append(0, np.cumsum(inside))[rows.offsets].astype(np.int64)
    return Rows(rows.table.filter(pa.array(inside)), offsets)


def parse_volume(value: object) -> Decimal:
    """A volume as an exact decimal. Raises ConfigError for what is none."""
    try:
        volume = Decimal(str(value))
    except InvalidOperation:
        volume = Decimal("NaN")
    if not volume.is_finite() or not 0 <= volume < _MOST or isinstance(value, bool):
        raise ConfigError(
            f"min_volume: {value!r} is no volume; write a number like 1_000_000, in the quote asset a day"
        )
    return volume


def parse_days(value: object, what: str) -> int:
    """A number of days from 1 to 9999. Raises ConfigError."""
    try:
        days = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        days = -1
    if not 1 <= days <= 9999:
        raise ConfigError(f"{what}: {value!r} is no number of days; write 1 or more")
    return days
