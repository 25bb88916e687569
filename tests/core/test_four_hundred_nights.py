"""Four hundred nights of updates: on every morning what is loaded is what the exchange has published by then.

Thirteen months turn, a symbol is listed and one delisted; archives come late, short, wrong, not at all, or are published
anew; three nights are without network and two are killed; then nobody is at home for sixteen nights. Every night costs
a page of the listing for each series, and what is new.
"""

import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from nights_world import (
    BAD,
    FIRST,
    FOLDER_PAGES,
    MARKET,
    OLD,
    SERIES,
    Deviation,
    Exchange,
    Nights,
    Truth,
    candles,
    days_from,
    funding,
)

from core.datasets import DATASETS
from core.errors import MarketDataError
from core.jobs.update import RECHECK_DAYS, UpdateSummary
from core.settings import PathSettings, Settings
from core.types import Cadence, Market, Period, Series, Span, Stamp
from loader import BacktestDataLoader

FILLS_GAPS = False
"""Whether the nights also fill gaps, from the exchange's API: then more is here, see `Truth`."""
HISTORY_UNTIL = date(2024, 1, 19)
NIGHTS = 400
BEGIN = date(2024, 1, 21)
END = BEGIN + timedelta(days=NIGHTS - 1)
DARK = frozenset(days_from(date(2024, 5, 30), date(2024, 6, 1)))  # the month turns meanwhile
AWAY = frozenset(days_from(date(2024, 12, 24), date(2025, 1, 8)))  # longer than the days that a night looks back
KILLED_IN_TRANSFER, KILLED_IN_STORING = date(2024, 4, 1), date(2024, 10, 1)
MEMORY = Path("/dev/shm")
ROOM_BYTES = 200_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Every night syncs what it writes to disk, some ten thousand times in all: in memory, where there is some."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM_BYTES:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


@dataclass
class Mornings:
    """Holds what is loaded against the truth: every morning all of it, but no file twice that has not changed since."""

    nights: Nights
    truth: Truth
    noticed: set[Deviation] = field(default_factory=set)
    _checked: dict[tuple[Series, Period], tuple[object, ...]] = field(default_factory=dict)

    def check(self, today: date) -> None:
        """Everything that is stored is the truth of this morning."""
        storage = self.nights.storage
        assert set(storage.series()) == {one for one in SERIES if self._end(one, today) is not None}
        for series in SERIES:
            self._notice(series, today)
            stamps = storage.stamps(series)
            states = {month: self._state(series, month, stamps, today) for month in months(today)}
            changed = [month for month, state in states.items() if self._checked.get((series, month)) != state]
            for span in joined(changed):
                assert self._loaded(series, span).equals(self._right(series, span, today)), (series, span, today)
            self._checked |= {(series, month): states[month] for month in changed}

    def check_between(self, before: date, today: date) -> None:
        """What was here is here still, and what is new is right."""
        for series in SERIES:
            span = Span.of_days(FIRST, today)
            loaded, old, new = (
                self._loaded(series, span),
                self._right(series, span, before),
                self._right(series, span, today),
            )
            assert at(loaded, old).equals(old), (series, today)
            assert at(new, loaded).equals(loaded), (series, today)

    def check_loader(self, today: date) -> None:
        """Frames of all kinds, from the first day on."""
        settings = Settings(paths=PathSettings(data=self.nights.layout.root))
        with BacktestDataLoader(settings) as loader, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # symbols that are not listed yet
            for market in Market:
                here = [one for one in SERIES if one.market is market and self._end(one, today) is not None]
                kinds = sorted({one.dataset for one in here})
                symbols = sorted({each.symbol for each in MARKET.instruments if each.market is market})
                frames = loader.load_data(symbols, FIRST, today, kinds, "1h", market.value)
                for kind in kinds:
                    frame = frames[kind]
                    for one in [one for one in here if one.dataset == kind]:
                        rows = frame[frame["symbol"].map(DATASETS[kind].directory) == one.symbol]
                        right = self._right(one, Span.of_days(FIRST, today), today)
                        assert len(rows) == right.num_rows, (one, today)
                        for name in [name for name in frame.columns if name != "symbol"]:
                            values = right[name].to_numpy()
                            assert np.array_equal(rows[name].to_numpy().astype(values.dtype), values), (one, name)

    def _loaded(self, series: Series, span: Span) -> pa.Table:
        batches = list(self.nights.storage.scan(series, span))
        schema = MARKET.truth(series, Span(0, 0)).schema
        return pa.Table.from_batches(batches).cast(schema).combine_chunks() if batches else schema.empty_table()

    def _right(self, series: Series, span: Span, today: date) -> pa.Table:
        return self.truth.of(series, span, today, frozenset(self.noticed))

    def _end(self, series: Series, today: date) -> date | None:
        """Until when there are rows of a series this morning; None if it has none yet."""
        life, end = MARKET.life(series), self.truth.end(series, today)
        return end if life is not None and life.start_us < Span.of_days(end, end).start_us else None

    def _notice(self, series: Series, today: date) -> None:
        """Archives of long ago are looked at once in some nights: they may be the old ones or the new ones until then."""
        for one in self.truth.deviations:
            if one.series == series and one.within and one.last < today and one not in self.noticed:
                span = Period.day(one.day).span
                loaded = self._loaded(series, span)
                if not loaded.equals(one.rows):
                    self.noticed.add(one)
                assert one in self.noticed or today < one.last + timedelta(days=one.within), "noticed in time"

    def _state(self, series: Series, month: Period, stamps: dict[Period, Stamp], today: date) -> tuple[object, ...]:
        """What the rows of a month, loaded and right ones, follow from."""
        files = frozenset(item for item in stamps.items() if item[0].span.overlaps(month.span))
        ends = min(self.truth.end(series, today), month.last + timedelta(days=1))
        lacking = [one for one in self.truth.deviations if one.series == series and month.contains(Period.day(one.day))]
        wrong = frozenset(
            one for one in lacking if one.first <= today <= one.last or (one.within and one not in self.noticed)
        )
        return files, ends, wrong


def months(today: date) -> list[Period]:
    """Those from the market's first to this one."""
    numbers = range(FIRST.year * 12 + FIRST.month - 1, today.year * 12 + today.month)
    return [Period.month(number // 12, number % 12 + 1) for number in numbers]


def joined(some: list[Period]) -> list[Span]:
    """The time of these months, neighbours together."""
    spans: list[Span] = []
    for month in some:
        if spans and spans[-1].end_us == month.span.start_us:
            spans[-1] = Span(spans[-1].start_us, month.span.end_us)
        else:
            spans.append(month.span)
    return spans


def at(table: pa.Table, others: pa.Table) -> pa.Table:
    """The rows at the times of others."""
    return table.filter(pc.is_in(table["timestamp"], others["timestamp"])).combine_chunks()


def test_four_hundred_nights(folder: Path) -> None:
    exchange = Exchange(folder / "served")
    truth = Truth(FILLS_GAPS)
    import time

    t0 = time.time()
    tn = tc = tl = 0.0
    with Nights(folder / "served", folder / "data", FILLS_GAPS) as nights:
        begun = nights.begin(HISTORY_UNTIL)
        assert begun.failed == begun.missing == 0
        mornings = Mornings(nights, truth)
        last = HISTORY_UNTIL + timedelta(days=1)
        mornings.check(last)
        for today in days_from(BEGIN, END):
            if today in AWAY:
                continue
            if today in DARK:
                nights.disconnect()
                with pytest.raises(MarketDataError, match="127.0.0.1") as caught:
                    nights.night(today)
                print(repr(caught.value))
                mornings.check(last)
                nights.connect()
                continue
            if today == KILLED_IN_TRANSFER:
                nights.killed_in_transfer(today, archives=7)
                mornings.check_between(last, today)
                continue
            if today == KILLED_IN_STORING:
                nights.killed_in_storing(today, renames=9)
                mornings.check_between(last, today)
                continue
            t = time.time()
            done = nights.night(today)
            tn += time.time() - t
            assert done.sync.failed == 0
            t = time.time()
            mornings.check(today)
            tc += time.time() - t
            if today.day == 1 or (today - last).days > 1:
                t = time.time()
                mornings.check_loader(today)
                tl += time.time() - t
            if (
                nights.probes
                or done.missing_new
                or done.late
                or nights.pages != done.asked
                or (today - last).days > 1
                or today.day < 3
                or done.behind
            ):
                print(
                    today,
                    done.series,
                    nights.pages,
                    done.asked,
                    nights.probes,
                    done.probed,
                    nights.archives.total(),
                    "late",
                    done.late,
                    done.missing_new,
                    done.behind,
                    done.over,
                    done.waiting,
                )
            last = today
        print("total", time.time() - t0, tn, tc, tl)
