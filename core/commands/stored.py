"""What scripts over stored data share: which stored series are asked for, and looking at all of them."""

import argparse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from core.commands.command import add_data_options, add_run_options, symbols_from, words_from
from core.datasets import DATASETS, dataset_named, interval_named, market_named
from core.dates import INTERVAL_US, parse_day
from core.errors import ConfigError, NoData
from core.integrity.checker import ALWAYS, Examined
from core.integrity.feed import with_feeds
from core.integrity.many import Task, examine_all
from core.jobs.selection import Selection, is_of
from core.nearest import one_of
from core.settings import Settings, load_known_gaps, load_symbols
from core.storage.manager import StorageManager
from core.types import Market, Period, Series, Span


def add_stored_options(what: "argparse._ArgumentGroup") -> None:
    """Which stored series; all of them by default."""
    what.add_argument("--market", metavar="a,b", help="of um, cm and spot")
    what.add_argument("--symbols", metavar="A,B", help="symbols, or @majors for a category")
    what.add_argument("--data-types", metavar="a,b", help=f"of {', '.join(DATASETS)}")
    what.add_argument("--interval", metavar="a,b", help="of candles")


def add_local_options(command: argparse.ArgumentParser) -> None:
    """What a command is told that works on what is stored."""
    add_stored_options(command.add_argument_group("what; all that is stored by default"))
    add_data_options(command.add_argument_group("where"))
    add_run_options(command.add_argument_group("how"))


def add_priority_option(group: "argparse._ArgumentGroup") -> None:
    """The usual symbols, of those that are stored."""
    group.add_argument("--priority-only", action="store_true", help="the symbols that config/symbols.yaml puts first")


def selection_from(options: argparse.Namespace) -> Selection:
    """What is asked for by these options, every word checked. Raises ConfigError."""
    markets = tuple(market_named(name) for name in words_from(options.market, "--market"))
    kinds = words_from(options.data_types, "--data-types")
    for name in kinds:
        if name not in DATASETS:
            raise ConfigError(f"unknown data type {name!r}{one_of(name, DATASETS)}")
        if markets and not set(markets) & set(DATASETS[name].markets):
            dataset_named(name, markets[0])
    intervals = words_from(options.interval, "--interval")
    for name in intervals:
        _check_interval(name, markets)
    return Selection(markets or None, kinds or None, intervals or None, symbols_from(options.symbols))


def wanted_from(options: argparse.Namespace, storage: StorageManager) -> tuple[list[Series], list[str]]:
    """The stored series that are asked for, and the named symbols that none of them has; every word is checked.

    Raises ConfigError, NoData.
    """
    chosen = selection_from(options)
    stored = [one for market in chosen.markets or tuple(Market) for one in storage.series(market)]
    wanted, missing = [one for one in stored if one in chosen], chosen.missing(stored)
    if getattr(options, "priority_only", False):
        if options.symbols:
            raise ConfigError("--priority-only and --symbols exclude each other")
        first = load_symbols().priority
        wanted = [one for one in wanted if any(is_of(one, symbol) for symbol in first.get(one.market, ()))]
    if not wanted:
        near = chosen.near(missing[0], stored) if missing else ""
        raise NoData(f"nothing of that is stored{near or '; get it with download_all.py'}")
    return wanted, missing


def _check_interval(name: str, markets: Sequence[Market]) -> None:
    """Raises ConfigError for an interval that candles have in none of the markets; () stands for all."""
    candles = DATASETS["klines"]
    if any(name in candles.intervals(market) for market in markets or Market):
        return
    if markets or name == "1M":
        interval_named(name, candles, markets[0] if markets else Market.SPOT)
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
