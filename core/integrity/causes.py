"""Why rows are missing, where that can be told: a known outage, a halt that trade ids prove, a kind that has ended."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import pyarrow as pa

from core.datasets import DATASETS
from core.datasets.clock import Beat
from core.dates import DAY_US, HOUR_US, INTERVAL_US, day_of, late_until
from core.errors import FilesChanged, StorageError
from core.integrity.candles import CUT
from core.integrity.gaps import RUN_ON, Jump
from core.integrity.runs import Run
from core.settings import KnownGap
from core.storage.manager import StorageManager
from core.storage.partitions import looked_again
from core.types import Cadence, Finding, Gap, GapStatus, Market, Period, Series, Span

RELISTED_US: Final = 30 * DAY_US
"""A hole in a spot symbol that is longer than this may be the time between two lives of one name (D40)."""
_REACHES_US: Final = (HOUR_US, 2 * DAY_US)
HALTED: Final = f"halt: nothing was traded, as trade {RUN_ON}"


@dataclass(frozen=True, slots=True)
class Hole:
    """A gap, the kind of finding it is, and why it is there; None: unexplained."""

    kind: str
    gap: Gap
    cause: str | None
    detail: str

    @property
    def finding(self) -> Finding:
        gap = self.gap
        return Finding(gap.series, gap.span, self.kind, self.detail, max(gap.rows, 1), self.cause)


@dataclass(frozen=True, slots=True)
class Causes:
    """Explains jumps of series by what is known and by the trades that are stored. `now_us`: the time, where late is to
    be told from missing. `recorded`: gaps of the series that sources were asked about before."""

    storage: StorageManager
    known: Sequence[KnownGap] = ()
    now_us: int | None = None
    recorded: Sequence[Gap] = ()

    def hole(self, series: Series, jump: Jump) -> Hole:
        """The gap that a jump is."""
        status, cause, detail = self._why(series, jump)
        kind = jump.kind
        is_long = jump.span.end_us - jump.span.start_us > RELISTED_US
        if is_long and series.market is Market.SPOT and status is GapStatus.OPEN and kind != "halt":
            kind, detail = "relisting", f"{detail}; possibly two lives of one name, listed anew"
        why = f"{detail}; {cause}" if cause else detail
        asked = self._confirmed(jump.span)
        checked_us = asked.checked_us if asked and status is asked.status else None
        return Hole(kind, Gap(series, jump.span, jump.rows, status, why, checked_us), cause, detail)

    def _confirmed(self, span: Span) -> Gap | None:
        """The hole around a span that no source could fill when it was asked."""
        holes = (gap for gap in self.recorded if gap.status is GapStatus.CONFIRMED)
        return next((gap for gap in holes if gap.span.contains(span)), None)

    def _why(self, series: Series, jump: Jump) -> tuple[GapStatus, str | None, str]:
        known = self._known_of(series, jump)
        if known is not None:
            return known.status, _told(known), jump.detail
        if jump.status is GapStatus.HALT:
            return GapStatus.HALT, HALTED, jump.detail
        detail = jump.detail
        trades = self.trades_in(series, jump.span) if series.dataset == "klines" else None
        if trades is not None and trades.is_halt:
            return GapStatus.HALT, HALTED, detail
        if trades is not None and trades.count:
            detail = f"{detail}; {trades.count} trades of that time are stored"
        ended = DATASETS[series.dataset].ended.get(series.market)
        if ended is not None and jump.span.start_us >= Period.day(ended).span.end_us:
            return GapStatus.ENDED, f"the exchange ended this kind of data on {ended}", detail
        if (asked := self._confirmed(jump.span)) is not None:
            when = "" if asked.checked_us is None else f", asked {day_of(asked.checked_us)}"
            return GapStatus.CONFIRMED, f"absent at every source{when}", detail
        if self.now_us is not None and day_of(self.now_us) <= late_until(_archive_of(series, jump.span.end_us - 1)):
            return GapStatus.LATE, "late: it may still be published", detail
        return GapStatus.OPEN, None, detail

    def again(self, gap: Gap) -> Gap:
        """A remembered gap by what is known and stored now, or as it is where that says nothing new. Only trades of
        its time are read, no row of its series; what sources said of it counts as `recorded`."""
        if gap.status is GapStatus.FILLED:
            return gap
        is_proved = RUN_ON in gap.detail  # and what is stored does not become less
        jump = Jump("gap", gap.span, gap.rows, _plain(gap), GapStatus.HALT if is_proved else GapStatus.OPEN)
        hole = replace(self, recorded=(gap,)).hole(gap.series, jump)
        known = self._known_of(gap.series, jump)
        is_told = known is None or _told(known) in gap.detail
        if hole.gap.status is gap.status and is_told:
            return gap
        return replace(hole.gap, checked_us=gap.checked_us)

    def flat(self, series: Series, run: Run) -> Finding:
        """What flat candles are: those of a halt, those behind the end of a symbol, or wrong."""
        kind, cause, detail = "flat-tail" if run.is_last else "flat-run", None, run.detail
        known = self.known_for(series, run.span)
        trades = None if known else self.trades_in(series, run.span)
        if known is not None:
            cause = _told(known)
        elif trades is not None and trades.is_halt:
            cause = HALTED
        elif run.is_cut and series.market is Market.SPOT:
            cause = CUT
        elif trades is not None and trades.count:
            detail = f"{detail}; {trades.count} trades of that time are stored"
        elif run.is_last:
            detail = f"{detail}, to the last row: the symbol may have been delisted before"
        return Finding(series, run.span, kind, detail, run.count, cause)

    def _known_of(self, series: Series, jump: Jump) -> KnownGap | None:
        """The known time around a jump; where trades are missing by their ids, no halt is the cause."""
        known = self.known_for(series, jump.span)
        is_lost = DATASETS[series.dataset].clock.beat is Beat.TRADE_IDS and jump.rows > 0
        return None if known is not None and known.status is GapStatus.HALT and is_lost else known

    def known_for(self, series: Series, span: Span) -> KnownGap | None:
        """The known time around a span that is no longer than is known; half-lost candles at its ends belong to it."""
        margin = min(INTERVAL_US.get(series.interval or "") or 0, DAY_US)
        for each in self.known:
            around = Span(max(0, each.span.start_us - margin), each.span.end_us + margin)
            is_longer = each.most_us is not None and span.end_us - span.start_us > each.most_us + 2 * margin
            if around.contains(span) and not is_longer and each.concerns(series):
                return each
        return None

    def trades_in(self, series: Series, span: Span) -> "Trades | None":
        """The stored trades of the same symbol in a span; None where they do not reach from before it to behind it.

        Raises FilesChanged.
        """
        for name in ("trades", "agg_trades"):
            one = Series(series.market, name, series.symbol)
            for reach in _REACHES_US:
                near = Span(max(0, span.start_us - reach), span.end_us + reach)
                try:
                    found = looked_again(partial(self._trades, one, span, near))
                except FilesChanged:
                    raise
                except StorageError:
                    break  # the check of that series says so
                if found is not None:
                    return found
        return None

    def _trades(self, one: Series, span: Span, near: Span) -> "Trades | None":
        first_name, last_name = DATASETS[one.dataset].clock.ids
        before: int | None = None
        count = 0
        for batch in self.storage.scan(one, near, list(dict.fromkeys([first_name, last_name, "timestamp"]))):
            times = batch.column("timestamp").cast(pa.int64()).to_numpy()
            first, last = batch.column(first_name).to_numpy(), batch.column(last_name).to_numpy()
            early, late = times < span.start_us, times >= span.end_us
            if early.any():
                before = int(last[early].max())
            inside = ~early & ~late
            count += int((last[inside] - first[inside] + 1).sum())
            if late.any():
                return None if before is None else Trades(count, int(first[late].min()) - before - 1)
        return None


def _archive_of(series: Series, at_us: int) -> Period:
    """The archive that is the first to have the row of an instant: of its day, or month where there are no days."""
    day = Period.day(day_of(at_us))
    has_days = Cadence.DAILY in DATASETS[series.dataset].cadences_of(series.interval)
    return day if has_days else day.within(Cadence.MONTHLY)


def _told(known: KnownGap) -> str:
    return f"{known.cause} [{known.source}]"


def _plain(gap: Gap) -> str:
    """What is missing, without what was said of it later."""
    before, sign, _ = gap.detail.partition(f"; {RUN_ON}")
    return f"{before}{sign}" if sign else before.split("; ")[0]


@dataclass(frozen=True, slots=True)
class Trades:
    """`count` trades are stored of a time, and by their ids there were `ids`."""

    count: int
    ids: int

    @property
    def is_halt(self) -> bool:
        return self.count == 0 and self.ids == 0
