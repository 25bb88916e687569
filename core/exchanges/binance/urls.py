"""The archive's key grammar, both ways. Only the full key is an identity: kline files do not say their type.

data/<market>/<cadence>/<type>/<SYMBOL>/<interval>/<SYMBOL>-<interval>-<period>.zip
data/<market>/<cadence>/<type>/<SYMBOL>/<SYMBOL>-<type>-<period>.zip
"""

from typing import Final
from urllib.parse import quote

from core.datasets import DATASETS, Dataset
from core.layout import SYMBOL, period_in, stem
from core.types import Cadence, Market, Period, Series

_BY_REMOTE: Final = {dataset.remote: dataset for dataset in DATASETS.values()}
_MARKETS: Final = {market.archive_path: market for market in Market}


def prefix_of(
    market: Market, dataset: Dataset, cadence: Cadence, symbol: str | None = None, interval: str | None = None
) -> str:
    """The folder of a kind of data, of a symbol in it, or of an interval of that; ends in a slash."""
    parts = ["data", market.archive_path, cadence.value, dataset.remote]
    if symbol is not None:
        parts.append(symbol)
        if interval is not None:
            parts.append(interval)
    return "/".join(parts) + "/"


def folder_of(series: Series, cadence: Cadence) -> str:
    """The folder of a series' archives."""
    return prefix_of(series.market, DATASETS[series.dataset], cadence, series.symbol, series.interval)


def key_of(series: Series, period: Period) -> str:
    """The key of one archive."""
    return f"{folder_of(series, period.cadence)}{stem(series, period)}.zip"


def parse_key(key: str) -> tuple[Series, Period] | None:
    """What a key names; None for anything that is not exactly what `key_of` would write, and for kinds, intervals and
    cadences that are never published together: daily funding, daily candles of weeks, seconds outside spot."""
    parts = key.split("/")
    market_parts = 1 if parts[1:2] == ["spot"] else 2
    market = _MARKETS.get("/".join(parts[1 : 1 + market_parts]))
    rest = parts[1 + market_parts :]
    if market is None or len(rest) not in (4, 5):
        return None
    dataset = _BY_REMOTE.get(rest[1])
    interval = rest[3] if len(rest) == 5 else None
    if dataset is None or market not in dataset.markets or not SYMBOL.fullmatch(rest[2]):
        return None
    if interval not in (dataset.intervals(market) or (None,)):
        return None
    series = Series(market, dataset.name, rest[2], interval)
    period = period_in(rest[-1].removesuffix(".zip"), series)
    if period is None or period.cadence not in dataset.cadences_of(interval) or key_of(series, period) != key:
        return None
    return series, period


def url_of(base: str, key: str) -> str:
    """The URL of a key; UTF-8 is percent-encoded, once."""
    return f"{base}/{quote(key)}"
