"""What scripts over stored data share: which stored series are asked for, and looking at all of them."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime

from core.commands.command import is_of, symbols_from, words_from
from core.datasets import DATASETS, dataset_named, interval_named, market_named
from core.dates import INTERVAL_US, parse_day
from core.errors import ConfigError, NoData
from core.integrity.checker import ALWAYS, Examined
from core.integrity.feed import with_feeds
from core.integrity.many import Task, examine_all
from core.nearest import did_you_mean, one_of
from core.settings import Settings, load_known_gaps
from core.storage.manager import StorageManager
from core.types import Market, Period, Series, Span


def add_stored_options(what: "argparse._ArgumentGroup") -> None:
    """Which stored series; all of them by default."""
    what.add_argument("--market", help="um, cm or spot")
    what.add_argument("--symbols", metavar="A,B", help="symbols, or @majors for a category")
    what.add_argument("--data-types", metavar="a,b", help=f"of {', '.join(DATASETS)}")
    what.add_argument("--interval", help="of candles")


def wanted_from(options: argparse.Namespace, storage: StorageManager) -> tuple[list[Series], list[str]]:
    """The stored series that are asked for, and the named symbols that none of them has; every word is checked.

    Raises ConfigError, NoData.
    """
    markets = (market_named(options.market),) if options.market else tuple(Market)
    kinds = words_from(options.data_types, "--data-types")
    for name in kinds:
        if name not in DATASETS:
            raise ConfigError(f"unknown data type {name!r}{one_of(name, DATASETS)}")
        if options.market:
            dataset_named(name, markets[0])
    if options.interval:
        check_interval(options.interval, markets[0] if options.market else None)
    stored = [one for market in markets for one in storage.series(market) if not kinds or one.dataset in kinds]
    stored = [one for one in stored if not options.interval or one.interval in (None, options.interval)]
    symbols = symbols_from(options.symbols)
    if symbols is None:
        wanted, missing = stored, []
    else:
        wanted = [one for one in stored if any(is_of(one, symbol) for symbol in symbols)]
        missing = [symbol for symbol in symbols if not any(is_of(one, symbol) for one in stored)]
    if not wanted:
        near = did_you_mean(missing[0], sorted({one.symbol for one in stored})) if missing else ""
        raise NoData(f"nothing of that is stored{near or '; get it with download_all.py'}")
    return wanted, missing


def check_interval(name: str, market: Market | None) -> None:
    """Raises ConfigError for an interval that candles of the market do not have; None: those of any."""
    if market is not None or name == "1M":
        interval_named(name, DATASETS["klines"], market or Market.SPOT)
    elif name not in INTERVAL_US:
        raise ConfigError(f"candles have no interval {name!r}{one_of(name, INTERVAL_US)}")


def span_since(text: str | None) -> Span:
    """From a day on. Raises ConfigError."""
    if text is None:
        return ALWAYS
    day = parse_day(text, "--since")
    if day > datetime.now(UTC).date():
        raise ConfigError(f"--since: {day} lies in the future")
    return Span(max(0, Period.day(day).span.start_us), ALWAYS.end_us)


def examined(
    settings: Settings, wanted: list[Series], span: Span, deep: bool, says: Callable[[str], None]
) -> list[Examined]:
    """What the checker says of each series, and of whole feeds."""
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    task = Task(settings, load_known_gaps(), span, deep, now_us)
    found: list[Examined] = []
    for each in examine_all(task, wanted):
        found.append(each)
        says(f"{len(found)} of {len(wanted)} series, {sum(one.rows for one in found):,} rows; now {each.series}")
    return with_feeds(found)
