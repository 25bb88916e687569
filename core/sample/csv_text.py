"""Rows as the bytes of a published CSV, in the form that the exchange used at the time."""

from datetime import date
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from core.datasets import DATASETS, Kind
from core.sample.values import Columns, Decimals, Values
from core.types import Market, Period, Series

_SPOT_PLACES = 8
_TRADED = ("klines", "trades", "agg_trades")
_TRADES_HEADER_FROM = date(2022, 8, 11)
_KLINES_HEADER_FROM = date(2022, 6, 1)
_MICROSECONDS_FROM = date(2025, 1, 1)
_ZEROS_DROPPED_FROM = date(2025, 1, 1)
"""The archive is known to have stopped padding the numbers of futures trades; this day is the sample's choice."""


def has_header(series: Series, period: Period) -> bool:
    """Spot never has one; futures trades got theirs on 2022-08-11, candles in June 2022, funding always had it."""
    if series.market is Market.SPOT:
        return False
    if series.dataset == "funding_rate":
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
    names = [column.source for column in DATASETS[series.dataset].columns[series.market] if column.source in rows]
    kinds = {column.source: column.kind for column in DATASETS[series.dataset].columns[series.market]}
    texts = [_text(rows[name], kinds[name], series, period) for name in names]
    head = ",".join(names).encode() + b"\n" if has_header(series, period) else b""
    body = BytesIO()
    csv.write_csv(pa.table(texts, names=names), body, csv.WriteOptions(include_header=False, quoting_style="none"))
    return head + body.getvalue()


def _text(values: Values, kind: Kind, series: Series, period: Period) -> pa.Array:
    if isinstance(values, Decimals):
        places = _SPOT_PLACES if series.market is Market.SPOT else values.places
        text = decimal_text(values, places)
        return _without_zeros(text) if drops_zeros(series, period) and values.places else text
    if kind is Kind.TIME:
        return pa.array(values // unit_us(series, period)).cast(pa.string())
    text = pa.array(values).cast(pa.string())
    return pc.utf8_title(text) if kind is Kind.BOOLEAN and series.market is Market.SPOT else text


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
