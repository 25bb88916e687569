"""Features of stored trades, a stretch of rows at a time, each with what its windows need from before it.

Whatever the request, rows are made of the same trades in the same way: of intervals of the clock each value is, bit for
bit, the one that any other request would give, where the data reach back as far as the feature's warm-up. Where a row
is more than 2**53 units, or a tape sums to more than 2**62, it is so up to about 1e-15 of the value.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

import numpy as np
import pyarrow as pa

from core.bars.builder import columns_of
from core.bars.rules import Family
from core.bars.spec import BarSpec
from core.datasets import DATASETS, Dataset
from core.datasets.contracts import contract_usd
from core.dates import DAY_US, HOUR_US
from core.errors import ConfigError
from core.features import FEATURES, features_named, features_of
from core.features.builder import Rows, TapeBuilder, of_bars, on_the_clock
from core.features.feature import Feature
from core.features.tape import Tape
from core.storage.ahead import ahead
from core.storage.arrays import arrow_of, numpy_of
from core.storage.stored import StoredRows
from core.types import Market, PartitionFacts, Span
from loader.arguments import Request, parse_request
from loader.context import FIELDS, Events, kinds_of, read_kind, without
from loader.frames import Columns
from loader.gaps import days_without
from loader.lookup import absent, inside
from loader.missing import Missing
from loader.reader import RowReader
from loader.stream import has_files

_TIME: Final = pa.timestamp("us", tz="UTC")
_ROWS_AT_ONCE: Final = 86_400
"""Rows that are made at once, fewer where their time is a day: of all features some 70 MB."""
_SHORT_US: Final = 10_000_000
_LATE_US: Final = HOUR_US
"""How long after its time a trade may come behind others, which then close the last row."""


@dataclass(frozen=True, slots=True)
class FeatureRequest:
    """One symbol's trades, in rows of `spec`, as columns of `features`."""

    trades: Request
    dataset: Dataset
    spec: BarSpec
    features: tuple[Feature, ...]

    @property
    def step_us(self) -> int | None:
        """The interval of the clock; None for other bars."""
        return int(self.spec.size) if self.spec.rule.family is Family.CLOCK else None

    @property
    def behind(self) -> int:
        """Rows before the first one that its windows look back to, and one more for what looks at the trade before."""
        return max((one.warm_up for one in self.features), default=0) + 1

    @property
    def needs(self) -> list[str]:
        """The other kinds of data that its features are made of."""
        return sorted({one.needs for one in self.features if one.needs is not None})

    @property
    def read_from_us(self) -> int:
        """From when on trades have to be read, so that the first row has all its features. Whole clock hours."""
        start_us, step_us = self.trades.span.start_us, self.step_us
        if step_us is None:
            return start_us
        earliest = start_us - self.behind * step_us
        hours = max((one.hours for one in self.features), default=0)
        if hours:
            earliest = min(earliest, (start_us // HOUR_US - hours - 1) * HOUR_US)
        if any(one.since_midnight for one in self.features):
            earliest = min(earliest, start_us // DAY_US * DAY_US)
        return max(0, earliest // HOUR_US * HOUR_US)


def parse_features(
    symbol: str,
    start_date: str | date,
    end_date: str | date,
    interval: str | BarSpec,
    features: str | Iterable[str] | None,
    market: str,
    data_type: str,
) -> FeatureRequest:
    """The request in exact terms. Without `features` all that the market has data for. Raises ConfigError."""
    if not isinstance(symbol, str):
        raise ConfigError(f"symbol: features are of one symbol, a text, not of {symbol!r}")
    if data_type not in ("trades", "agg_trades"):
        raise ConfigError(f"data_type: features are made of trades or agg_trades, not of {data_type!r}")
    trades = parse_request(symbol, start_date, end_date, data_type, "1h", market)
    (dataset,) = trades.datasets
    spec = _spec(interval)
    if features is None:
        chosen = tuple(one for one in FEATURES.values() if one.needs is None or _has(one.needs, trades.market))
    else:
        chosen = features_named([features] if isinstance(features, str) else features)
    for one in chosen:
        if one.needs is not None and not _has(one.needs, trades.market):
            raise ConfigError(f"features: {one.name} is made of {one.needs}, which {trades.market} does not have")
    return FeatureRequest(replace(trades, columns=columns_of(data_type)), dataset, spec, chosen)


def read_features(
    reader: RowReader, storage: StoredRows, request: FeatureRequest
) -> tuple[Iterator[Columns], list[Missing], bool]:
    """The columns of the frame in stretches of time, at least one, read as they are asked for; what is missing, and
    whether any trades are there."""
    trades = request.trades
    missing = list(absent(storage, trades, request.dataset, has_files(storage, trades, request.dataset)))
    if missing:
        return iter([_no_rows(request)]), missing, False
    (near,) = inside(storage, [trades.series(request.dataset, trades.symbols[0])], trades.span)
    known, lacking = _context(reader, storage, request, near)
    tapes = (_on_the_clock if request.step_us is not None else _of_bars)(reader, request)

    def parts() -> Iterator[Columns]:
        is_empty = True
        for tape, start in tapes:
            yield _columns(request, tape, known, start)
            is_empty = False
        if is_empty:
            yield _no_rows(request)

    holes = days_without(trades.series(request.dataset, trades.symbols[0]), trades.symbols[0], near)
    return parts(), [*holes, *lacking], True


def together(parts: Iterable[Columns]) -> Columns:
    """The stretches, one behind the other."""
    each = list(parts)
    return {name: pa.chunked_array([part[name] for part in each]) for name in each[0]}


# rows of the clock


def _on_the_clock(reader: RowReader, request: FeatureRequest) -> Iterator[tuple[Tape, int]]:
    """Tapes, and the row of each from which on it is asked for; what is before that is for windows to look back to."""
    step_us = request.step_us or 1
    span, from_us = request.trades.span, request.read_from_us
    wanted, end = -(-span.start_us // step_us), span.end_us // step_us
    at = -(-from_us // step_us)
    lead: Tape | None = None
    with ahead(_batches(reader, request, Span(from_us, span.end_us + _LATE_US))) as batches:
        stretch = _Stretch(reader, request, from_us, batches)
        while at < end and not stretch.ends_before(at):
            until = min(end, _stretch_end(at, step_us))
            tape = stretch.until(at, until)
            at = until
            if tape is None:
                continue
            whole = tape if lead is None else tape.behind(lead)
            lead = _kept(request, whole, at * step_us)
            start = max(len(whole) - len(tape), wanted - whole.first)
            if start < len(whole):
                yield whole, start


def _kept(request: FeatureRequest, tape: Tape, next_us: int) -> Tape:
    """What the features of a row that begins at `next_us` look back to."""
    start = len(tape) - request.behind
    if any(one.since_midnight for one in request.features):
        start = min(start, int(np.searchsorted(tape.timestamp_us // DAY_US, next_us // DAY_US)))
    return tape.between(max(0, start), len(tape))


def _stretch_end(at: int, step_us: int) -> int:
    """Behind the last row of the stretch of `at`, which is no longer than a day where rows are short."""
    if step_us > _SHORT_US:
        return at + _ROWS_AT_ONCE
    midnight_us = (at * step_us // DAY_US + 1) * DAY_US
    return min(at + _ROWS_AT_ONCE, -(-midnight_us // step_us))


class _Stretch:
    """The rows of the clock, stretch by stretch; before the first trade and behind the last day with one there are
    none."""

    def __init__(
        self, reader: RowReader, request: FeatureRequest, from_us: int, batches: Iterator[pa.RecordBatch]
    ) -> None:
        self._step_us = request.step_us or 1
        self._batches = batches
        self._next = next(batches, None)
        self._last: tuple[float, float] | None = None
        begins_us = None if self._next is None else int(numpy_of(self._next.column("timestamp"))[0])
        if begins_us is None or begins_us >= from_us + self._step_us:
            self._last = _last_trade(reader, request, from_us)
        before_us = None if self._last is None else int(self._last[1])
        whole_from_us = None if self._last is None else from_us  # there are trades before, and none is left out
        self._contract = contract_usd(request.trades.market, request.trades.symbols[0])
        self._builder = TapeBuilder(request.spec, self._contract, before_us, whole_from_us)
        self._left: Rows | None = None
        self._end: int | None = None
        """Behind the last row of all, once it is known."""

    def ends_before(self, number: int) -> bool:
        """Whether there is no row from this one on."""
        return self._end is not None and number >= self._end

    def until(self, first: int, end: int) -> Tape | None:
        """The rows from `first` to before `end`, None if there is none."""
        rows = self._rows(end)
        begun = int(np.searchsorted(rows["number"], first))
        self._remember(rows, begun)
        rows = _those(rows, begun, None)
        if self._end is not None:
            end = min(end, self._end)
        if self._last is None:
            first = int(rows["number"][0]) if len(rows["number"]) else end
        is_cm = self._contract is not None
        tape = on_the_clock(rows, self._step_us, first, end, self._last, is_cm) if first < end else None
        self._remember(rows, len(rows["number"]))
        return tape

    def _rows(self, end: int) -> Rows:
        """The rows with trades whose number is below `end`."""
        parts = [] if self._left is None else [self._left]
        while self._builder.clock_us < end * self._step_us and self._end is None:
            if self._next is None:
                parts += [self._builder.closed(), self._builder.finish()]
                clock_us = self._builder.clock_us
                self._end = -(-((clock_us // DAY_US + 1) * DAY_US) // self._step_us)
            else:
                self._builder.update(self._next)
                self._next = next(self._batches, None)
        parts.append(self._builder.closed())
        rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        behind = int(np.searchsorted(rows["number"], end))
        self._left = _those(rows, behind, None)
        return _those(rows, 0, behind)

    def _remember(self, rows: Rows, count: int) -> None:
        """The last of so many rows is what later ones without trades carry."""
        if count:
            self._last = float(rows["close"][count - 1]), float(rows["last_time"][count - 1])


def _those(rows: Rows, start: int, end: int | None) -> Rows:
    return {name: values[start:end] for name, values in rows.items()}


def _last_trade(reader: RowReader, request: FeatureRequest, before_us: int) -> tuple[float, float] | None:
    """Price and time of the last trade before a time."""
    near = Span(max(0, before_us - HOUR_US), before_us)
    table: Any = next(iter(deque(_batches(reader, request, near), maxlen=1)), None)
    if table is None:
        ever = replace(request.trades, span=Span(before_us, before_us), columns=("price",))
        table = reader.rows_known_until(ever, request.dataset, before_us).table
    if table.num_rows == 0:
        return None
    return float(numpy_of(table.column("price"))[-1]), float(numpy_of(table.column("timestamp")).max())


# other bars


def _of_bars(reader: RowReader, request: FeatureRequest) -> Iterator[tuple[Tape, int]]:
    """As `_on_the_clock`; the first bar begins with the first trade of the request, and its features with it."""
    contract = contract_usd(request.trades.market, request.trades.symbols[0])
    builder = TapeBuilder(request.spec, contract)
    lead: Tape | None = None
    count = 0
    with ahead(_batches(reader, request, request.trades.span)) as batches:
        for rows in _many(builder, batches):
            tape = of_bars(rows, count, contract is not None)
            count += len(tape)
            whole = tape if lead is None else tape.behind(lead)
            lead = _kept(request, whole, int(whole.timestamp_us[-1]))
            yield whole, len(whole) - len(tape)


def _many(builder: TapeBuilder, batches: Iterator[pa.RecordBatch]) -> Iterator[Rows]:
    """Closed rows, many at a time."""
    parts: list[Rows] = []
    for batch in batches:
        builder.update(batch)
        parts.append(builder.closed())
        if sum(len(part["begins"]) for part in parts) >= _ROWS_AT_ONCE:
            yield _joined(parts)
            parts = []
    if any(len(part["begins"]) for part in parts):
        yield _joined(parts)


def _joined(parts: list[Rows]) -> Rows:
    some = [part for part in parts if len(part["begins"])]
    return {name: np.concatenate([part[name] for part in some]) for name in some[0]}


# parts of these

Known = Mapping[str, Events]


def _columns(request: FeatureRequest, tape: Tape, known: Known, start: int) -> Columns:
    """The columns of the frame, of the rows of a tape from `start` on."""
    tape = tape.knowing(**{name: events.at(tape.available_us) for name, events in known.items()})
    times: Columns = {
        name: arrow_of(values[start:], _TIME)
        for name, values in (("timestamp", tape.timestamp_us), ("available_at", tape.available_us))
    }
    found = features_of(tape, request.features)
    return times | {name: arrow_of(values[start:], pa.float64()) for name, values in found.items()}


def _no_rows(request: FeatureRequest) -> Columns:
    times: Columns = {name: pa.array([], _TIME) for name in ("timestamp", "available_at")}
    return times | {one.name: pa.array([], pa.float64()) for one in request.features}


def _batches(reader: RowReader, request: FeatureRequest, span: Span) -> Iterator[pa.RecordBatch]:
    batches = reader.batches(replace(request.trades, span=span), request.dataset)
    return (batch for batch in batches if len(batch))


def _context(
    reader: RowReader, storage: StoredRows, request: FeatureRequest, near: Sequence[PartitionFacts]
) -> tuple[Known, list[Missing]]:
    """By the column of the tape what was known of other kinds of data; and what of them is not stored, where there are
    rows. `near`: the files of trades."""
    trades, step_us = request.trades, request.step_us
    known: dict[str, Events] = {}
    missing: list[Missing] = []
    first_us = max(trades.span.start_us, min((part.first_us for part in near), default=0))
    last_us = max((part.last_us for part in near), default=first_us)
    if step_us is not None:
        first_us = first_us // step_us * step_us
        last_us = (last_us // DAY_US + 1) * DAY_US
    over = Span(first_us, max(first_us, min(trades.span.end_us, last_us)))
    for kind in kinds_of(storage, trades, request.needs, request.read_from_us):
        events, lacking = read_kind(reader, storage, kind, trades.span)
        known[FIELDS[kind.dataset.name][0]] = events
        missing += [*lacking, *without(kind, events, over, step_us)]
    return known, missing


def _spec(interval: str | BarSpec) -> BarSpec:
    if isinstance(interval, BarSpec):
        spec = interval
    elif isinstance(interval, str):
        spec = BarSpec.parse(interval if "-" in interval else f"time-{interval}")
    else:
        raise ConfigError(f"interval: {interval!r} is neither an interval like '1s' nor bars like 'dollar-1000000'")
    return replace(spec, empty=False) if spec.rule.family is Family.CLOCK else spec


def _has(kind: str, market: Market) -> bool:
    return market in DATASETS[kind].markets
