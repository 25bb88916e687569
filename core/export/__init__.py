"""Formats of the tools that users already have. To add one: a module here with a `write`, and its line in `EXPORTS`."""

from collections.abc import Hashable

from core.datasets import DATASETS
from core.export import csv, freqtrade, hftbacktest, nautilus, vectorbt
from core.export.format import Format
from core.types import Series

__all__ = ["EXPORTS"]


def _itself(series: Series) -> Hashable:
    return series


def _symbol(series: Series) -> Hashable:
    return (series.market, series.symbol)


def _kind(series: Series) -> Hashable:
    return (series.market, series.dataset, series.interval)


_CANDLES = ("klines", "mark_price", "index_price", "premium_index", "funding_rate")
_REST = tuple(name for name in DATASETS if name not in _CANDLES)

EXPORTS: dict[str, Format] = {
    "csv": Format(csv.write, _CANDLES, _itself, "plain CSV, one file a series", _REST, ("gzip",)),
    "freqtrade": Format(freqtrade.write, _CANDLES, _itself, "freqtrade's data folder of feather files"),
    "hftbacktest": Format(hftbacktest.write, ("trades",), _itself, "event arrays, one .npz a day", ("agg_trades",)),
    "nautilus": Format(
        nautilus.write,
        ("klines",),
        _symbol,
        "a NautilusTrader catalog: bars, trade ticks, instruments",
        ("trades",),
        ("price_precision", "size_precision"),
    ),
    "vectorbt": Format(vectorbt.write, _CANDLES, _kind, "wide Parquet frames, one a field"),
}
