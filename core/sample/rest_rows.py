"""What the sample exchange's API has at a moment: rows up to then, the open candle among them, and their JSON."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from core.datasets import DATASETS
from core.dates import HOUR_US
from core.sample import prices, tape
from core.sample.clock import candle_edges, close_times
from core.sample.csv_text import decimal_text
from core.sample.instruments import Instrument
from core.sample.market import SampleMarket, times_of
from core.sample.values import Bools, Columns, Decimals, Ints, Values, integers
from core.types import Market, Series, Span

_SPOT_PLACES = 8
_TRADES_REACH_US = 48 * HOUR_US
_CANDLE = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
_PRICES = ("open", "high", "low", "close")


def rows_at(market: SampleMarket, series: Series, now_us: int, holes: tuple[Span, ...] = ()) -> Columns:
    """Every row that the API has of a series at `now_us`; none whose time lies in a hole. Raises NoData.

    The last candle is the one that is open just then, made of what has happened in it.
    """
    rows = market.rows(series, Span(_oldest_us(series, now_us), max(now_us, _oldest_us(series, now_us))))
    if DATASETS[series.dataset].has_interval:
        ended = _kept(rows, slice(int(np.searchsorted(integers(rows["close_time"]), now_us))))
        rows = _joined(ended, _open_candle(market, series, now_us, ended))
    if not holes:
        return rows
    times = times_of(series, rows)
    shown = np.ones(len(times), dtype=np.bool_)
    for hole in holes:
        shown &= (times < hole.start_us) | (times >= hole.end_us)
    return _kept(rows, shown)


def candles_json(series: Series, rows: Columns, in_microseconds: bool) -> list[list[Any]]:
    """Candles as arrays of twelve."""
    opens, closes = integers(rows["open_time"]), integers(rows["close_time"])
    closes = closes // 1000 * 1000 + 999  # the last unit of the interval, in whatever unit
    cells: dict[str, list[Any]] = {name: _texts(rows[name], series.market) for name in _CANDLE}
    cells |= {"open_time": _times(opens, in_microseconds), "close_time": _times(closes, in_microseconds)}
    cells["count"] = integers(rows["count"]).tolist()
    return [list(row) for row in zip(*(cells[name] for name in _CANDLE), strict=True)]


def trades_json(series: Series, rows: Columns, in_microseconds: bool) -> list[dict[str, Any]]:
    """Aggregated trades as objects."""
    columns: dict[str, list[Any]] = {
        "a": integers(rows["agg_trade_id"]).tolist(),
        "p": _texts(rows["price"], series.market),
        "q": _texts(rows["quantity"], series.market),
        "f": integers(rows["first_trade_id"]).tolist(),
        "l": integers(rows["last_trade_id"]).tolist(),
        "T": _times(integers(rows["transact_time"]), in_microseconds),
        "m": _flags(rows["is_buyer_maker"]),
    }
    if series.market is Market.SPOT:
        columns["M"] = _flags(rows["is_best_match"])
    return _objects(columns)


class Settlements:
    """Funding as objects; um says the mark price of the moment too. Each series is worked out once."""

    def __init__(self, market: SampleMarket) -> None:
        self._market = market
        self._all: dict[Series, list[dict[str, Any]]] = {}

    def until(self, series: Series, now_us: int, holes: Mapping[Series, tuple[Span, ...]]) -> Iterator[dict[str, Any]]:
        """Those before `now_us` and outside the holes, in order of time."""
        if series not in self._all:
            self._all[series] = self._worked_out(series)
        for row in self._all[series]:
            time_us = row["fundingTime"] * 1000
            is_in_hole = any(hole.start_us <= time_us < hole.end_us for hole in holes.get(series, ()))
            if time_us < now_us and not is_in_hole:
                yield row

    def _worked_out(self, series: Series) -> list[dict[str, Any]]:
        market = self._market
        rows = market.rows(series, market.span)
        times = integers(rows["calc_time"])
        columns: dict[str, list[Any]] = {
            "symbol": [series.symbol] * len(times),
            "fundingTime": (times // 1000).tolist(),
            "fundingRate": _texts(rows["last_funding_rate"], series.market),
        }
        if series.market is Market.UM:
            points = prices.points_of(market.seed, market.instruments_of(series)[0], market.span)
            places = np.minimum(points.rows(times), len(points.mark) - 1)
            columns["markPrice"] = _texts(Decimals(points.mark[places], prices.PLACES), series.market)
        return _objects(columns)


def _oldest_us(series: Series, now_us: int) -> int:
    is_kept_shortly = series.dataset == "agg_trades" and series.market is not Market.SPOT
    return max(0, now_us - _TRADES_REACH_US) if is_kept_shortly else 0


def _open_candle(market: SampleMarket, series: Series, now_us: int, ended: Columns) -> Columns:
    """The candle that is open, one row; none outside the life of a series, behind the market's history and, in spot, in
    a halt."""
    life, instrument, interval = market.life(series), market.instruments_of(series)[0], series.interval or ""
    none = _kept(ended, slice(0, 0))
    is_gone = life is None or (life.end_us <= now_us and life.end_us < market.span.end_us)
    if life is None or is_gone or not life.start_us <= now_us <= market.span.end_us:
        return none
    edges = candle_edges(interval, Span(now_us, now_us + 1), True)
    begun = Span(max(int(edges[0]), life.start_us), now_us)
    if begun.start_us == begun.end_us:
        return _flat(ended, edges, series.market) if len(times_of(series, ended)) else none
    if series.dataset == "klines":
        return _traded(market, instrument, interval, life, begun)
    points = prices.points_of(market.seed, instrument, market.span)
    values = {"index_price": points.index, "premium_index": points.premium, "mark_price": points.mark}[series.dataset]
    return prices.price_candles(points, values, interval, begun, True)


def _traded(market: SampleMarket, instrument: Instrument, interval: str, life: Span, begun: Span) -> Columns:
    whole = tape.tape_of(market.seed, instrument, market.span, life)
    first, last = np.searchsorted(whole.time_us, [begun.start_us, begun.end_us])
    some = slice(max(int(first) - 1, 0), int(last))  # the trade before gives a quiet candle its price
    known = tape.Tape(
        whole.id[some],
        whole.time_us[some],
        whole.price[some],
        whole.qty[some],
        whole.value[some],
        whole.is_buyer_maker[some],
    )
    return tape.klines(instrument, known, interval, begun, True)


def _flat(ended: Columns, edges: Ints, market: Market) -> Columns:
    """A candle in which nothing has happened yet."""
    last = _kept(ended, slice(-1, None))
    flat = {name: _nothing(values) for name, values in last.items()}
    flat |= dict.fromkeys(_PRICES, last["close"])
    return flat | {"open_time": edges[:1], "close_time": close_times(edges[1:2], edges[:1], market)}


def _nothing(values: Values) -> Values:
    if isinstance(values, Decimals):
        return Decimals(np.zeros_like(values.units), values.places)
    return np.zeros_like(values)


def _joined(one: Columns, other: Columns) -> Columns:
    return {name: _concatenated(values, other[name]) for name, values in one.items()}


def _concatenated(one: Values, other: Values) -> Values:
    if isinstance(one, Decimals) and isinstance(other, Decimals):
        return Decimals(np.concatenate([one.units, other.units]), one.places)
    assert not isinstance(one, Decimals)
    assert not isinstance(other, Decimals)
    joined: Ints = np.concatenate([one, other])
    return joined


def _kept(rows: Columns, some: slice | Bools) -> Columns:
    return {name: values[some] for name, values in rows.items()}


def _texts(values: Values, market: Market) -> list[str]:
    if not isinstance(values, Decimals):
        return [str(value) for value in integers(values).tolist()]
    texts: list[str] = decimal_text(values, _SPOT_PLACES if market is Market.SPOT else values.places).to_pylist()
    return texts


def _times(times_us: Ints, in_microseconds: bool) -> list[int]:
    return [int(time) for time in (times_us if in_microseconds else times_us // 1000)]


def _flags(values: Values) -> list[bool]:
    assert not isinstance(values, Decimals)
    return [bool(value) for value in values]


def _objects(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
