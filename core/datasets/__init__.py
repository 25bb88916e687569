"""The kinds of data. To add one: a file with one `Dataset(...)` here, and its line in `DATASETS`."""

from core.datasets.agg_trades import AGG_TRADES
from core.datasets.book_depth import BOOK_DEPTH
from core.datasets.book_ticker import BOOK_TICKER
from core.datasets.clock import Beat, Clock
from core.datasets.dataset import SCHEMA_VERSION, Column, Dataset, Kind
from core.datasets.funding_rate import FUNDING_RATE
from core.datasets.index_price import INDEX_PRICE
from core.datasets.klines import KLINES
from core.datasets.liquidation_snapshot import LIQUIDATION_SNAPSHOT
from core.datasets.mark_price import MARK_PRICE
from core.datasets.metrics import METRICS
from core.datasets.premium_index import PREMIUM_INDEX
from core.datasets.trades import TRADES
from core.errors import ConfigError
from core.nearest import one_of
from core.types import Market

__all__ = [
    "DATASETS",
    "FUNDING_RATE",
    "SCHEMA_VERSION",
    "Beat",
    "Clock",
    "Column",
    "Dataset",
    "Kind",
    "dataset_named",
    "interval_named",
    "market_named",
]

DATASETS: dict[str, Dataset] = {
    "klines": KLINES,
    "mark_price": MARK_PRICE,
    "index_price": INDEX_PRICE,
    "premium_index": PREMIUM_INDEX,
    "funding_rate": FUNDING_RATE,
    "trades": TRADES,
    "agg_trades": AGG_TRADES,
    "metrics": METRICS,
    "book_depth": BOOK_DEPTH,
    "book_ticker": BOOK_TICKER,
    "liquidation_snapshot": LIQUIDATION_SNAPSHOT,
}


def market_named(name: str) -> Market:
    """The market of that name. Raises ConfigError, with a near match, if there is none."""
    try:
        return Market(name)
    except ValueError:
        known = one_of(str(name), [market.value for market in Market])
        raise ConfigError(f"unknown market {name!r}{known}") from None


def dataset_named(name: str, market: Market) -> Dataset:
    """The dataset of that name. Raises ConfigError, with a near match, if there is none in `market`."""
    dataset = DATASETS.get(name)
    if dataset is None:
        raise ConfigError(f"unknown data type {name!r}{one_of(name, DATASETS)}")
    if market not in dataset.markets:
        raise ConfigError(f"{market} has no {name}; it exists for {', '.join(dataset.markets)}")
    return dataset


def interval_named(name: str, dataset: Dataset, market: Market) -> str:
    """`name` if the exchange has `dataset` at that interval. Raises ConfigError, with a near match, otherwise."""
    known = dataset.intervals(market)
    if name == "1M":
        raise ConfigError("the archive writes the month as 1mo, not 1M (1m is one minute)")
    if name not in known:
        raise ConfigError(f"{market} {dataset.name} has no interval {name!r}{one_of(name, known)}")
    return name
