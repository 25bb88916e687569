"""Tapes from trades, batch by batch: however the trades are cut, the rows are the same."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.bars.builder import BarBuilder
from core.bars.decode import Trades, arrays, dataset_of
from core.bars.rules import Family
from core.bars.spec import BarSpec
from core.dates import HOUR_US
from core.errors import ConfigError
from core.features.buckets import Hours, hour_of
from core.features.exact import less
from core.features.tape import Floats, Integers, Tape
from core.features.trades import BEFORE, LINES, SLOTS, details
from core.storage.arrays import numpy_of

Rows = dict[str, npt.NDArray[Any]]
"""Rows that have trades, by column; `number` of an interval of the clock is that since 1970."""

_SUMS: Final = {
    "open": "price_open",
    "high": "price_high",
    "low": "price_low",
    "close": "price_close",
    "volume": "volume",
    "buy_volume": "buy_volume",
    "dollars": "dollar_volume",
    "buy_dollars": "buy_dollar",
    "trades": "num_trades",
    "buys": "num_buys",
}
"""What bars have, and under which names."""
_OF_TRADES: Final = (*LINES, "vpin", "vpin_cdf")
_CONTEXT: Final = ("funding_rate", "premium", "index_price", "open_interest")
_PRICES: Final = ("open", "high", "low", "close")
_OF_ZERO: Final = ("signed_run", "max_run", "phrases", "root_dollars", "buy_base", "sell_base")
_ZERO: Final = (*[name for name in _SUMS if name not in _PRICES], *_OF_ZERO)
"""What is 0 in an interval without trades."""
FEW: Final = 1 << 10


class TapeBuilder:
    """Makes rows of one symbol's trades, in the order of their ids: of intervals of the clock, or of other bars.

    Sums are those of `BarBuilder`, exact. A trade that is stamped before the open interval counts for that, so rows
    never change behind their end. `contract_value` as there. `before` is the time of the last trade before the first
    one, None if there was none. `whole_from_us`: from when on all trades are given, however long nobody traded; None:
    from the first one on, so that its clock hour is not whole and nothing that looks back to hours is made of it.
    """

    def __init__(
        self,
        spec: BarSpec,
        contract_value: int | None = None,
        before: int | None = None,
        whole_from_us: int | None = None,
    ) -> None:
        if spec.tick_rule:
            raise ConfigError(f"features take sides from is_buyer_maker; {spec} guesses them")
        self.spec = spec
        self.clock_us = before if before is not None else 0
        """The latest time of a trade so far."""
        self._bars = BarBuilder(spec, contract_value=contract_value)
        self._contract = float(contract_value or 0)
        self._state = np.zeros(SLOTS)
        self._state[BEFORE] = np.nan if before is None else before
        self._tree = np.zeros((FEW, 2), dtype=np.int64)
        self._hours = Hours(None if whole_from_us is None else -(-whole_from_us // HOUR_US))
        self._ended_us: float | None = None
        """When the last trade of the row before was."""
        self._open = 0
        """Trades of the open row."""
        self._closed: list[Rows] = []

    def update(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Take the next trades, with the columns that `BarBuilder.update` wants. Raises as that does."""
        dataset = dataset_of(rows.schema.names)
        for batch in rows.to_batches() if isinstance(rows, pa.Table) else [rows]:
            bars = self._bars.update(batch)
            for trades in arrays(batch, dataset):
                ends = np.cumsum(numpy_of(bars.column("num_trades"))) - self._open
                found = self._take(trades, ends)
                self._open += len(trades[0]) - int(numpy_of(bars.column("num_trades")).sum())
                if len(ends):
                    self._closed.append(self._rows_of(bars, found))

    def closed(self) -> Rows:
        """The rows that were closed since this was asked last."""
        found, self._closed = self._closed, []
        return _together(found)

    def finish(self) -> Rows:
        """The open row as it stands, none if it has no trade; the builder cannot go on behind it."""
        bars = self._bars.finish()
        if bars.num_rows == 0:
            return _together([])
        nothing = np.zeros(0)
        trades = (np.zeros(0, np.int64), nothing, nothing, np.zeros(1, np.uint8), 0, np.zeros(0, np.int64))
        return self._rows_of(bars, self._take(trades, np.zeros(1, dtype=np.int64)))

    def _take(self, trades: Trades, ends: Integers) -> Floats:
        """What single trades tell of the rows that end at `ends`: a line for each of _OF_TRADES."""
        _, price, quantity, bits, bit, time = trades
        clock = np.maximum.accumulate(np.maximum(time, self.clock_us))
        self._make_room(len(clock))
        parts: list[Floats] = []
        at = done = 0
        for end, hour in [(0, self._hours.hour), *_hours_of(clock)]:
            if hour is not None:
                self._hours.turn(hour)
            behind = int(np.searchsorted(ends, end, side="right"))
            own = ends[done:behind]
            found = np.empty((len(LINES), len(own)))
            hours = self._hours.take(trades, at, end, own)
            details(
                clock,
                price,
                quantity,
                bits,
                bit,
                at,
                end,
                own,
                self._contract,
                self._hours.large,
                self._tree,
                self._state,
                found,
            )
            parts.append(np.concatenate((found, hours)))
            at, done = end, behind
        if len(clock):
            self.clock_us = int(clock[-1])
        return np.concatenate(parts, axis=1)

    def _rows_of(self, bars: pa.Table, found: Floats) -> Rows:
        begins = numpy_of(bars.column("time_open")).copy()
        rows: Rows = {"begins": begins}
        if self.spec.rule.family is Family.CLOCK:
            rows["number"] = begins // int(self.spec.size)
        rows |= {name: numpy_of(bars.column(theirs)).astype(np.float64) for name, theirs in _SUMS.items()}
        rows |= dict(zip(_OF_TRADES, found, strict=True))
        if not self._contract:
            rows["buy_base"], rows["sell_base"] = rows["buy_volume"], less(rows["volume"], rows["buy_volume"])
        last = rows["last_time"]
        rows["ends"] = last.astype(np.int64) + 1  # a trade before the last one may be stamped later
        rows["seconds"] = np.diff(last, prepend=float(begins[0]) if self._ended_us is None else self._ended_us) / 1e6
        self._ended_us = float(last[-1])
        return rows

    def _make_room(self, trades: int) -> None:
        """For a node of the tree of phrases for each trade of the open row."""
        wanted = self._open + trades + 2
        if len(self._tree) < wanted:
            more = np.zeros((max(wanted, 2 * len(self._tree)), 2), dtype=np.int64)
            more[: len(self._tree)] = self._tree
            self._tree = more


def on_the_clock(
    rows: Rows, step_us: int, first: int, end: int, last: tuple[float, float] | None, in_contracts: bool = False
) -> Tape:
    """The intervals from number `first` to before `end`, with and without trades; `rows` are those that have some.

    `last` are close and time of the last trade before them, None if there was none; `in_contracts` as in `Tape`.
    """
    count = end - first
    place = rows["number"] - first
    known: dict[str, Floats] = {}
    which = np.full(count, -1, dtype=np.int64)
    which[place] = np.arange(len(place))
    is_empty = which < 0
    before = np.maximum.accumulate(which)
    number = np.arange(first, end, dtype=np.int64)
    close = _carried(rows["close"], before, np.nan if last is None else last[0])
    last_time = _carried(rows["last_time"], before, np.nan if last is None else last[1])
    for name in (*_SUMS, *_OF_TRADES):
        empty = 0.0 if name in _ZERO else np.nan
        known[name] = np.where(is_empty, empty, _carried(rows[name], which, np.nan))
    for name in _PRICES:
        known[name] = np.where(is_empty, close, known[name])
    begins, ends = number * step_us, (number + 1) * step_us
    same_hour = is_empty & (last_time // HOUR_US == begins // HOUR_US)
    for name in ("vpin", "vpin_cdf"):
        known[name] = np.where(same_hour, _carried(rows[name], before, np.nan), known[name])
    known["seconds"] = np.full(count, step_us / 1e6)
    return _tape(first, in_contracts, begins, ends, known, last_time)


def of_bars(rows: Rows, first: int, in_contracts: bool = False) -> Tape:
    """The rows as they are, `first` the number of the first one; `in_contracts` as in `Tape`."""
    known = {name: rows[name].astype(np.float64) for name in (*_SUMS, *_OF_TRADES, "seconds")}
    return _tape(first, in_contracts, rows["begins"], rows["ends"], known, known["last_time"])


def _tape(
    first: int, in_contracts: bool, begins: Integers, ends: Integers, known: dict[str, Floats], last_time: Floats
) -> Tape:
    del known["last_time"]
    known |= {name: np.full(len(begins), np.nan) for name in _CONTEXT}
    since = (ends - last_time) / 1e6
    return Tape(
        first=first, in_contracts=in_contracts, timestamp_us=begins, available_us=ends, since_trade=since, **known
    )


def _carried(values: Floats, which: Integers, before: float) -> Floats:
    """The value of each row's place, `before` where there is none."""
    return np.append(values.astype(np.float64), before)[which]


def _together(parts: list[Rows]) -> Rows:
    if not parts:
        whole = dict.fromkeys(("begins", "ends", "number"), np.zeros(0, dtype=np.int64))
        return {**whole, **dict.fromkeys((*_SUMS, *_OF_TRADES, "seconds"), np.zeros(0))}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _hours_of(clock: Integers) -> list[tuple[int, int]]:
    """Where the trades of each clock hour end, and which hour it is."""
    if len(clock) == 0:
        return []
    first, last = hour_of(int(clock[0])), hour_of(int(clock[-1]))
    are_few = last - first > len(clock)
    hours = np.unique(clock // HOUR_US) if are_few else np.arange(first, last + 1, dtype=np.int64)
    ends = np.searchsorted(clock, (hours + 1) * HOUR_US, side="left")
    pairs = zip(ends.tolist(), hours.tolist(), strict=True)
    begun, found = 0, []
    for end, hour in pairs:
        if end > begun:
            found.append((end, hour))
            begun = end
    return found
