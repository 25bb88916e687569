"""The market that the sample exchange invents: one seed, one consistent history.

Trades happen around the mark price; candles, aggregates, funding, open interest, the book and liquidations follow from
trades and prices, so that what one dataset says about another can be checked to the last digit. A later last day adds
rows and changes none before it.
"""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import pyarrow as pa

from core.datasets import DATASETS, Kind
from core.errors import NoData
from core.sample import book, liquidations, positions, prices, tape
from core.sample.instruments import DEMO_FIRST, DEMO_INSTRUMENTS, DEMO_LAST, Instrument, moment
from core.sample.values import Columns, Decimals, Ints, Values, integers
from core.storage.schema import ARROW_TYPES, schema_of
from core.types import Market, Period, Series, Span

_UNTIL_THE_END = 2**62
_FROM_TRADES = ("klines", "trades", "agg_trades", "metrics", "book_ticker", "liquidation_snapshot")


@dataclass(frozen=True, slots=True)
class SampleMarket:
    """Everything that was ever traded, from `first` to `last`, "yesterday" by the exchange's clock."""

    seed: int
    instruments: tuple[Instrument, ...]
    first: date
    last: date

    @property
    def span(self) -> Span:
        return Span.of_days(self.first, self.last)

    def series(self, dataset: str, interval: str | None = None) -> tuple[Series, ...]:
        """The series of one kind that the exchange publishes; an index once per pair."""
        return _published(self, dataset, interval)

    def life(self, series: Series) -> Span | None:
        """From the listing to the delisting or the end of the history; None if it was never listed by then."""
        lives = [self._listed(each) for each in self.instruments_of(series)]
        start = min((life[0] for life in lives), default=_UNTIL_THE_END)
        end = max((life[1] for life in lives), default=0)
        return Span(start, end) if start < end else None

    def instruments_of(self, series: Series) -> tuple[Instrument, ...]:
        """The symbol of a series, or every contract of the pair where the exchange files by pair."""
        kind = DATASETS[series.dataset]
        return tuple(
            each
            for each in self.instruments
            if each.market is series.market and kind.directory(each.symbol) == series.symbol
        )

    def rows(self, series: Series, span: Span) -> Columns:
        """The rows whose time lies in `span`, by the exchange's column names. Raises NoData for an unknown series."""
        columns = _all_rows(self, series)
        return self._between(series, columns, times_of(series, columns), span)

    def file_rows(self, series: Series, period: Period) -> Columns:
        """The rows that the file of a period has: those of its time, but metrics by their windows, whose labels may
        lie outside."""
        columns = _all_rows(self, series)
        windows = columns.get(positions.WINDOW_START)
        times = times_of(series, columns) if windows is None else integers(windows)
        return self._between(series, columns, times, period.span)

    def _between(self, series: Series, columns: Columns, times: Ints, span: Span) -> Columns:
        first, last = np.searchsorted(times, [span.start_us, span.end_us])
        inside = {name: values[first:last] for name, values in columns.items()}
        # A snapshot of the book has many rows: they are made only for the span that is asked for.
        return book.banded(self.instruments_of(series)[0], inside) if series.dataset == "book_depth" else inside

    def truth(self, series: Series, span: Span) -> pa.Table:
        """The rows whose time lies in `span` as they must be stored and loaded: the dataset's schema."""
        return self.stored(series, self.rows(series, span))

    def stored(self, series: Series, rows: Columns) -> pa.Table:
        """Rows of a series in the dataset's schema."""
        kept = DATASETS[series.dataset].stored_columns(series.market)
        schema = schema_of(DATASETS[series.dataset], series.market)
        return pa.table([_arrow(rows[column.source], column.kind) for column in kept], schema=schema)

    def _listed(self, instrument: Instrument) -> tuple[int, int]:
        history = self.span
        gone = instrument.delisted_us
        return max(instrument.listed_us, history.start_us), history.end_us if gone is None else min(
            gone, history.end_us
        )


def times_of(series: Series, rows: Columns) -> Ints:
    """The column that says when each row is, in microseconds."""
    columns = DATASETS[series.dataset].columns[series.market]
    return integers(rows[next(column.source for column in columns if column.name == "timestamp")])


def _arrow(values: Values, kind: Kind) -> pa.Array:
    if isinstance(values, Decimals):
        return pa.array(values.floats(), mask=None if values.known is None else ~values.known)
    return pa.array(values).cast(ARROW_TYPES[kind])


@lru_cache(maxsize=64)
def _published(market: SampleMarket, dataset: str, interval: str | None) -> tuple[Series, ...]:
    kind = DATASETS[dataset]
    names = {
        Series(each.market, dataset, kind.directory(each.symbol), interval): None
        for each in market.instruments
        if each.market in kind.markets and (each.is_perpetual or dataset not in ("premium_index", "funding_rate"))
    }
    return tuple(each for each in names if market.life(each) is not None)


@lru_cache(maxsize=4)
def _all_rows(market: SampleMarket, series: Series) -> Columns:
    life, instruments = market.life(series), market.instruments_of(series)
    if life is None or series not in market.series(series.dataset, series.interval):
        raise NoData(f"the sample exchange has no {series}")
    is_over = life.end_us < market.span.end_us
    if series.dataset == "book_depth":
        return book.depth_snapshots(market.seed, instruments[0], market.span, life)
    if series.dataset in _FROM_TRADES:
        return _from_trades(market, series, instruments[0], life, is_over)
    points = prices.points_of(market.seed, instruments[0], market.span)
    if series.dataset == "funding_rate":
        return prices.funding(market.seed, instruments[0], points, life)
    values = {"index_price": points.index, "premium_index": points.premium, "mark_price": points.mark}[series.dataset]
    return prices.price_candles(points, values, series.interval or "", life, is_over)


def _from_trades(market: SampleMarket, series: Series, instrument: Instrument, life: Span, is_over: bool) -> Columns:
    history = tape.tape_of(market.seed, instrument, market.span, life)
    if series.dataset == "trades":
        return tape.trades(instrument, history)
    if series.dataset == "agg_trades":
        return tape.agg_trades(instrument, history)
    if series.dataset == "metrics":
        return positions.metrics(market.seed, instrument, market.span, life, history)
    if series.dataset == "book_ticker":
        return book.best_quotes(market.seed, instrument, history)
    if series.dataset == "liquidation_snapshot":
        return liquidations.liquidations(market.seed, instrument, history)
    return tape.klines(instrument, history, series.interval or "", life, is_over)


def demo_market(seed: int = 7, last: date = DEMO_LAST) -> SampleMarket:
    """Twelve symbols over 15 months: the demo's exchange."""
    return SampleMarket(seed, DEMO_INSTRUMENTS, DEMO_FIRST, last)


def small_market(seed: int = 7, first: date = date(2024, 12, 10), last: date = date(2025, 1, 25)) -> SampleMarket:
    """Three symbols over some weeks, made in a moment. By default spot passes from milliseconds to microseconds."""
    start = moment(first.isoformat())
    half_past_noon = moment(f"{first} 12:31")
    return SampleMarket(
        seed,
        (
            Instrument(Market.UM, "BTCUSDT", "BTC", 95000.0, 1, 3, 60, 20, start, depth_seconds=900),
            Instrument(Market.SPOT, "ETHUSDT", "ETH", 3400.0, 2, 4, 6000, 15, half_past_noon),
            Instrument(
                Market.CM,
                "ETHUSD_PERP",
                "ETH",
                3400.0,
                2,
                0,
                150,
                4,
                half_past_noon,
                contract_usd=10,
                depth_seconds=900,
            ),
        ),
        first,
        last,
    )
