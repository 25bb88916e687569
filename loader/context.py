"""What else was known when a row of features ended: funding, premium, index price, open interest, none of it stale.

A value counts from when it was known for as long as its kind says (`docs/features.md`): a candle for its own length, a
row of metrics for ten minutes, a settlement for a day. Behind that nothing is known: what is stored has a hole there.

Candles of all stored intervals count together, those that closed last. So one file of minutes beside years of hours
makes that day finer and hides nothing, and no value depends on what else a request asks for.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from core.datasets import DATASETS, Dataset
from core.datasets.metrics import known_from
from core.dates import DAY_US, INTERVAL_US, MINUTE_US, format_us
from core.storage.stored import StoredRows
from core.types import Span
from loader.align import Integers, available_at, last_known
from loader.arguments import Request
from loader.lookup import absent, inside
from loader.missing import Lack, Missing
from loader.reader import RowReader
from loader.wide import STALE_US

FIELDS: Final = {
    "funding_rate": ("funding_rate", "funding_rate"),
    "premium_index": ("premium", "close"),
    "index_price": ("index_price", "close"),
    "metrics": ("open_interest", "open_interest"),
}
"""Other kinds of data, the column of the tape that they become, and the stored column it is."""
METRICS_US: Final = 10 * MINUTE_US
"""Two steps: where the labels of um change their meaning, two rows are so far apart."""
_STEP_US: Final = 5 * MINUTE_US
"""From the label of a row of metrics to when it was known, at most."""
_LONGEST_US: Final = DAY_US
"""Of candles that count: a price of a week is no price of now."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of data, and what is read of it: a request for each interval, or one. The shortest interval first."""

    dataset: Dataset
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Events:
    """Values of one kind of data, since when each was known, and until when the last one known may be carried."""

    known_us: Integers
    values: npt.NDArray[np.float64]
    until_us: Integers

    @classmethod
    def of(cls, parts: Iterable[tuple[Integers, npt.NDArray[np.float64], int]]) -> "Events":
        """Of parts with the age of each that its values may reach; of what was known at once the first part's."""
        each = list(parts)[::-1]
        known = np.concatenate([since for since, _, _ in each])
        until = np.concatenate([since + age_us for since, _, age_us in each])
        order = np.argsort(known, kind="stable")
        values = np.concatenate([values for _, values, _ in each])
        return cls(known[order], values[order], np.maximum.accumulate(until[order]))

    def at(self, times_us: Integers) -> npt.NDArray[np.float64]:
        """The last value that was known at each time, NaN where none was, or only one that is too old."""
        place = last_known(times_us, self.known_us)
        is_known = np.append(self.until_us, -1)[place] >= times_us
        return np.where(is_known, np.append(self.values, np.nan)[place], np.nan)

    def holes(self, first_us: int, last_us: int) -> list[Span]:
        """Where nothing is known of the times behind `first_us`, up to `last_us` (included): from the last one at which
        something is to the next one. What comes before the first value is a hole if it is longer than this is carried.
        """
        if len(self.known_us) == 0:
            return []
        nexts = np.append(self.known_us[1:], last_us + 1)
        apart = np.flatnonzero(nexts > self.until_us)
        found = [Span(int(self.until_us[place]), int(nexts[place])) for place in apart]
        if int(self.known_us[0]) > first_us + int(self.until_us[0] - self.known_us[0]):
            found.insert(0, Span(first_us, int(self.known_us[0])))
        cut = ((max(first_us, hole.start_us), min(last_us + 1, hole.end_us)) for hole in found)
        return [Span(start_us, end_us) for start_us, end_us in cut if end_us - start_us > 1]


def kinds_of(storage: StoredRows, trades: Request, needs: Iterable[str], from_us: int) -> list[Kind]:
    """What has to be read of these kinds for rows that end behind `from_us` and within the request of trades."""
    found = []
    for name in needs:
        dataset = DATASETS[name]
        one = replace(trades, datasets=(dataset,), columns=(FIELDS[name][1],))
        end_us = trades.span.end_us
        if dataset.has_interval:
            intervals = _intervals(storage, one, dataset, Span(max(0, from_us - 2 * _LONGEST_US), end_us))
            back_us = 2 * max(
                INTERVAL_US[interval] or 0 for interval in intervals
            )  # of each: the last one of all counts
            span = Span(max(0, from_us - back_us), end_us)
            each = [replace(one, interval=interval, span=span) for interval in intervals]
        else:
            span = Span(max(0, from_us - _age(one) - _STEP_US), end_us + 1)  # the last one may be known just then
            each = [replace(one, span=span)]
        found.append(Kind(dataset, tuple(each)))
    return found


def read_kind(reader: RowReader, storage: StoredRows, kind: Kind, asked: Span) -> tuple[Events, list[Missing]]:
    """What was known of a kind; and, if it has no rows, that it is missing from what is asked for."""
    dataset, parts = kind.dataset, []
    _, stored = FIELDS[dataset.name]
    for one in kind.requests:
        rows = reader.rows(one, dataset)
        parts.append((_since(one, dataset, rows.times_us), np.asarray(rows.values(stored), np.float64), _age(one)))
    events = Events.of(parts)
    if len(events.known_us):
        return events, []
    return events, list(absent(storage, replace(kind.requests[0], span=asked), dataset, [False]))


def without(kind: Kind, events: Events, over: Span, step_us: int | None) -> Iterator[Missing]:
    """That rows behind `over.start_us`, up to its end, know nothing of a kind, as what is stored has holes. `step_us`:
    of the clock, None for other bars."""
    holes, counts = [], []
    for hole in events.holes(over.start_us, over.end_us):
        count = 0 if step_us is None else (hole.end_us - 1) // step_us - hole.start_us // step_us
        if count or step_us is None:
            holes.append(hole)
            counts.append(count)
    if not holes:
        return
    one = kind.requests[0]
    series = one.series(kind.dataset, one.symbols[0])
    longest = max(holes, key=lambda hole: hole.end_us - hole.start_us)
    what = "bars that end there" if step_us is None else f"{sum(counts)} rows"
    where = f"from {format_us(longest.start_us)} to {format_us(longest.end_us)}"
    many = f"in {len(holes)} holes, the longest {where}" if len(holes) > 1 else where
    detail = f"{series}: {what} have no {FIELDS[kind.dataset.name][0]}, {many}: the last one known was too old"
    own = Span(int(events.known_us[0]), int(events.known_us[-1]) + 1)
    yield Missing(series, one.symbols[0], own, detail, Lack.GAP, sum(counts), tuple(holes))


def _intervals(storage: StoredRows, one: Request, dataset: Dataset, near: Span) -> Sequence[str]:
    """Of which files may have candles that count; if there are none, the shortest that is stored, else minutes."""
    each = [name for name in dataset.intervals(one.market) if (INTERVAL_US[name] or _LONGEST_US + 1) <= _LONGEST_US]
    series = {name: replace(one, interval=name).series(dataset, one.symbols[0]) for name in each}
    stored = [name for name in each if storage.stamps(series[name])]
    files = inside(storage, [series[name] for name in stored], near)
    found = [name for name, parts in zip(stored, files, strict=True) if parts]
    return found or stored[:1] or ["1m"]


def _age(one: Request) -> int:
    """How long a value counts."""
    (dataset,) = one.datasets
    if dataset.has_interval:
        return INTERVAL_US[str(one.interval)] or 0
    return METRICS_US if dataset.name == "metrics" else STALE_US


def _since(one: Request, dataset: Dataset, times_us: Integers) -> Integers:
    """When each row was known."""
    if dataset.has_interval:
        return available_at(times_us, str(one.interval))
    return known_from(one.market, times_us) if dataset.name == "metrics" else times_us
