"""Write docs/data-dictionary.md from core/datasets, or check that it says what they say."""

import argparse
from collections.abc import Iterator, Sequence

from core.commands.generated import parser_of, settle
from core.datasets import DATASETS, Column, Dataset
from core.dates import INTERVAL_US
from core.settings import CHECKOUT
from core.storage.schema import schema_of
from core.types import Cadence, Market

DICTIONARY = CHECKOUT / "docs" / "data-dictionary.md"

EXAMPLES = """examples:
  python scripts/data_dictionary.py --check
  python scripts/data_dictionary.py --write
"""
OPENING = """# Data dictionary

Written by `python scripts/data_dictionary.py --write` from `core/datasets`; change it there.

One row is one line of the published CSV. Rows are stored in the order of their key. All times are UTC and stored as
microseconds, whatever the source unit was: `timestamp` is the row's own time, of a candle its OPEN time. A `double` is
the one nearest to the published decimal. A column is never null unless its table says so. "Quote asset per base asset"
is the price of one unit of the symbol's base: of `1000SHIBUSDT`, of 1000 coins.

Frames of the loader have `symbol` after `timestamp`, leave `close_time` out unless `columns=` asks for it, and hold
strings as categoricals and nulls as NaN.

A letter in a number, an empty cell where none may be empty, a wrong number of columns, times in two units, or rows more
than a day outside the period in the file's name refuse the file, with the line; so do two rows with one key and
different content. With `--salvage` the other rows are stored, and those lines kept in `data/quarantine` with number,
reason and text. What is repaired is counted in the partition's footer and reported as a finding.

Files with or without a header, in milliseconds or microseconds, with `True` or `true`, with padded or stripped decimals
are all read, each by its own bytes.
"""
MARKETS = {Market.SPOT: "spot", Market.UM: "um (USD-M futures)", Market.CM: "cm (COIN-M futures)"}
CADENCES = {Cadence.MONTHLY: "by month", Cadence.DAILY: "by day"}


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    return settle(DICTIONARY, dictionary(), options.write, "core/datasets")


def dictionary() -> str:
    """The whole document."""
    contents = "\n".join(f"- [`{name}`](#{name}): {dataset.doc}" for name, dataset in DATASETS.items())
    return "\n".join([OPENING, contents, *(line for dataset in DATASETS.values() for line in _section(dataset))]) + "\n"


def _section(dataset: Dataset) -> Iterator[str]:
    yield f"\n## `{dataset.name}`\n"
    yield f"{dataset.doc[0].upper()}{dataset.doc[1:]}.\n"
    yield from _facts(dataset)
    for note in dataset.notes:
        yield f"\n{note}"
    for columns, markets in _groups(dataset).items():
        names = " and ".join(MARKETS[market] for market in markets)
        yield f"\nIn {names}:\n"
        yield from _table(dataset, markets[0])
        yield from _read_past(columns)


def _facts(dataset: Dataset) -> Iterator[str]:
    cadences = " and ".join(CADENCES[cadence] for cadence in dataset.cadences)
    yield f"- Published as `{dataset.remote}`, {cadences}{' only' if len(dataset.cadences) == 1 else ''}."
    yield f"- Markets: {'; '.join(_market(dataset, market) for market in dataset.markets)}."
    if dataset.has_interval:
        yield f"- Intervals: {_intervals(dataset)}."
    if dataset.per_pair:
        yield "- Filed by pair (`BTCUSD` for `BTCUSD_PERP`)."
    yield f"- Key and order of rows: {', '.join(f'`{name}`' for name in dataset.key)}."
    yield f"- Repairs: {dataset.repair}"


def _market(dataset: Dataset, market: Market) -> str:
    history = dataset.history.get(market)
    return f"{market} ({history})" if history else market.value


def _intervals(dataset: Dataset) -> str:
    """All intervals, with a word on those that not every market or cadence has."""
    by_month = [name for name in INTERVAL_US if dataset.cadences_of(name) == (Cadence.MONTHLY,)]
    spot_only = set(dataset.intervals(Market.SPOT)) - set(dataset.intervals(Market.UM))
    known = [name for name in INTERVAL_US if any(name in dataset.intervals(market) for market in dataset.markets)]
    words = [f"`{name}` (spot only)" if name in spot_only else f"`{name}`" for name in known]
    return f"{' '.join(words)}; {', '.join(f'`{name}`' for name in by_month)} by month only"


def _groups(dataset: Dataset) -> dict[tuple[Column, ...], list[Market]]:
    """The markets whose stored columns are the same, together."""
    groups: dict[tuple[Column, ...], list[Market]] = {}
    for market in dataset.markets:
        stored = dataset.stored_columns(market)
        same = next((columns for columns in groups if dataset.stored_columns(groups[columns][0]) == stored), None)
        groups.setdefault(same or dataset.columns[market], []).append(market)
    return groups


def _table(dataset: Dataset, market: Market) -> Iterator[str]:
    schema = schema_of(dataset, market)
    yield "| Column | Published as | Type | Null | Unit | Meaning |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for column in dataset.stored_columns(market):
        words = " or ".join(f"`{word}`" for word in (column.source, *column.aliases))
        nullable = "yes" if schema.field(column.name).nullable else "no"
        kind = schema.field(column.name).type
        yield f"| `{column.name}` | {words} | {kind} | {nullable} | {column.unit} | {column.doc} |"


def _read_past(columns: Sequence[Column]) -> Iterator[str]:
    past = [f"`{column.source}` ({column.doc})" for column in columns if column.name is None]
    if past:
        yield f"\nRead past: {', '.join(past)}."


def parser() -> argparse.ArgumentParser:
    return parser_of(__doc__, EXAMPLES)
