"""Rows as the bytes of a published CSV, in the form that the exchange used at the time."""

from datetime import date
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from core.datasets import DATASETS, Column, Kind
from core.sample.book import NARROW_BANDS_FROM
from core.sample.values import Columns, Decimals, Values, integers
from core.types import Market, Period, Series

_SPOT_PLACES = 8
_ALWAYS_WITH_HEADER = ("funding_rate", "metrics", "book_depth", "book_ticker", "liquidation_snapshot")
_TRADED = ("klines", "trades", "agg_trades")
_TRADES_HEADER_FROM = date(2022, 8, 11)
_KLINES_HEADER_FROM = date(2022, 6, 1)
_MICROSECONDS_FROM = date(2025, 1, 1)
_ZEROS_DROPPED_FROM = date(2025, 1, 1)
"""The archive is known to have stopped padding the numbers of futures trades; this day is the sample's choice."""
_INTEREST_PLACES = 16
_LONG_INTEREST_FROM = date(2025, 1, 1)
"""The archive has open interest with 8 decimals and with 16; this day is the sample's choice."""
_NOTHING = "\0"
"""Stands for the `""` by which cm files say that a cell is empty: Arrow writes no quotes unless it quotes all."""


def has_header(series: Series, period: Period) -> bool:
    """Spot never has one; futures trades got theirs on 2022-08-11, candles in June 2022, all else always had it."""
    if series.market is Market.SPOT:
        return False
    if series.dataset in _ALWAYS_WITH_HEADER:
        return True
    since = _TRADES_HEADER_FROM if series.dataset in ("trades", "agg_trades") else _KLINES_HEADER_FROM
    return period.last >= since


def unit_us(series: Series, period: Period) -> int:
    """Microseconds in one unit of time: spot writes microseconds from 2025 on, all else milliseconds."""
    return 1 if series.market is Market.SPOT and period.first >= _MICROSECONDS_FROM else 1000


def drops_zeros(series: Series, period: Period) -> bool:
    """Whether `39415.80` is written `39415.8`."""
    is_traded = series.market is not Market.SPOT and series.dataset in _TRADED
    return is_traded and period.first >= _ZEROS_DROPPED_FROM


def csv_bytes(series: Series, period: Period, rows: Columns) -> bytes:
    """The published CSV of `rows`, which belong to `period`. Lines end with LF."""
    columns = [column for column in DATASETS[series.dataset].columns[series.market] if column.source in rows]
    names = [column.source for column in columns]
    texts = [_text(rows[column.source], column, series, period) for column in columns]
    head = ",".join(names).encode() + b"\n" if has_header(series, period) else b""
    body = BytesIO()
    csv.write_csv(pa.table(texts, names=names), body, csv.WriteOptions(include_header=False, quoting_style="none"))
    return head + body.getvalue().replace(_NOTHING.encode(), b'""')


def _text(values: Values, column: Column, series: Series, period: Period) -> pa.Array:
    if isinstance(values, Decimals):
        return _number_text(values, column, series, period)
    if column.kind is Kind.TIME:
        return pa.array(integers(values) // unit_us(series, period)).cast(pa.string())
    if column.kind is Kind.TEXT_TIME:
        return pa.array(integers(values) // 1_000_000).cast(pa.timestamp("s")).cast(pa.string())
    text = pa.array(values).cast(pa.string())
    return pc.utf8_title(text) if column.kind is Kind.BOOLEAN and series.market is Market.SPOT else text


def _number_text(values: Decimals, column: Column, series: Series, period: Period) -> pa.Array:
    text = decimal_text(values, _places(values, column, series, period))
    if values.places and (drops_zeros(series, period) or _is_whole_percent(column, period)):
        text = _without_zeros(text)
    if values.known is None:
        return text
    return pc.if_else(pa.array(values.known), text, _NOTHING if series.market is Market.CM else "")


def _places(values: Decimals, column: Column, series: Series, period: Period) -> int:
    """How many decimals are written."""
    if series.market is Market.SPOT or column.source in ("depth", "notional"):
        return _SPOT_PLACES
    if column.source.startswith("sum_open_interest"):
        return _INTEREST_PLACES if period.first >= _LONG_INTEREST_FROM else _SPOT_PLACES
    return values.places


def _is_whole_percent(column: Column, period: Period) -> bool:
    """Whether the bands of the book are written `-5`, not `-5.00`."""
    return column.source == "percentage" and period.span.start_us < NARROW_BANDS_FROM


def decimal_text(values: Decimals, places: int) -> pa.Array:
    """Plain decimal texts, padded to `places`: Arrow's own text of a small decimal would be `2.41E-6`."""
    whole, rest = np.divmod(np.abs(values.units), 10**values.places)
    digits = pa.array(whole).cast(pa.string())
    if places:
        tail = pc.utf8_lpad(pa.array(rest).cast(pa.string()), values.places, "0")
        digits = pc.binary_join_element_wise(digits, pc.utf8_rpad(tail, places, "0"), ".")
    return pc.if_else(pa.array(values.units < 0), pc.binary_join_element_wise("-", digits, ""), digits)


def _without_zeros(text: pa.Array) -> pa.Array:
    return pc.utf8_rtrim(pc.utf8_rtrim(text, characters="0"), characters=".")
