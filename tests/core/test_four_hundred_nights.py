"""Four hundred nights of updates: on every morning what is loaded is what the exchange has published by then.

Thirteen months turn, a symbol is listed and one delisted; archives come late, short, wrong, not at all, or are
published anew; three nights are without network and two are killed; later nobody is at home for sixteen nights. Every
night costs a page of the listing for each series, and what is new.
"""

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
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
    SERIES,
    Deviation,
    Exchange,
    Nights,
    Published,
    Truth,
    days_from,
)

from core.datasets import DATASETS
from core.dates import DAY_US
from core.errors import SourceDown
from core.jobs.filled import Filled
from core.jobs.update import RECHECK_DAYS, UpdateSummary
from core.sample.archive import key_of
from core.settings import PathSettings, Settings
from core.types import Cadence, Market, Period, Series, Span, Stamp
from loader import BacktestDataLoader

HISTORY_UNTIL = date(2024, 1, 19)
NIGHTS = 400
BEGIN = date(2024, 1, 21)
END = BEGIN + timedelta(days=NIGHTS - 1)
DARK = frozenset(days_from(date(2024, 5, 30), date(2024, 6, 1)))  # the month turns meanwhile
AWAY = frozenset(days_from(date(2024, 12, 24), date(2025, 1, 8)))  # longer than the days that a night looks back
KILLED: dict[date, Callable[[Nights, date], None]] = {  # when months turn and much is to be done
    date(2024, 4, 1): lambda nights, today: nights.killed_in_transfer(today, archives=7),
    date(2024, 10, 1): lambda nights, today: nights.killed_in_storing(today, renames=9),
}
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
        schema = self.truth.schema(series)
        return pa.Table.from_batches(batches).cast(schema).combine_chunks() if batches else schema.empty_table()

    def _right(self, series: Series, span: Span, today: date) -> pa.Table:
        return self.truth.of(series, span, today, frozenset(self.noticed))

    def _end(self, series: Series, today: date) -> date | None:
        """Until when there are rows of a series this morning; None if it has none yet."""
        life, end = MARKET.life(series), self.truth.end(series, today)
        return end if life is not None and life.start_us < Span.of_days(end, end).start_us else None

    def _notice(self, series: Series, today: date) -> None:
        """Archives of long ago are looked at once in some nights, so until then they may be the old ones still."""
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


@dataclass
class Costs:
    """Counts what the nights ask for, and holds it against what was new."""

    exchange: Exchange
    ahead: set[Published]
    """What was not fetched yet."""
    uncertain: set[str] = field(default_factory=set)
    """What a killed night asked for: nobody knows whether it came."""
    requests: int = 0
    most: int = 0

    def note_killed(self, nights: Nights) -> None:
        self.uncertain = set(nights.archives)

    def note(self, nights: Nights, done: UpdateSummary, today: date) -> None:
        """Every archive is fetched once, on the first night on which it is there; all else is a few small questions."""
        new = {one for one in self.ahead if one.morning <= today}
        keys = {key_of(one.series, one.period) for one in new}
        asked = nights.archives
        assert len(set(asked) - keys) == done.sync.missing, "only what is missing is asked for once more"
        assert set(asked.values()) <= {1}
        left = {one for one in new if key_of(one.series, one.period) not in self.uncertain.union(asked)}
        assert {(one.series, one.period) for one in left} <= REVISED
        assert all(today < one.morning + timedelta(days=RECHECK_DAYS) for one in left)
        self.ahead = self.ahead - new | left
        self.uncertain.clear()
        self._hold(nights, done, [one.period for one in new], today)

    def _hold(self, nights: Nights, done: UpdateSummary, new: list[Period], today: date) -> None:
        """A page for each series and for the folders of symbols, each new archive once, and two small questions for
        what should be there and is not, or one, ever more rarely, where that is known; a second page for each series
        where a month is new or late. In the sum over all nights the second pages of one night in seven, by which old
        archives are looked at, find room in it too: funding has no page of its own on other nights."""
        lacking = self._lacking(today)
        turns = any(period.cadence is Cadence.MONTHLY for period in [*new, *lacking])
        pages = (1 + turns) * done.series + FOLDER_PAGES + 2 * done.new_series
        requests = nights.hits.total()
        assert nights.pages == done.asked <= pages + done.series
        assert nights.probes <= 2 * len(lacking)
        assert len(nights.archives) - done.sync.missing <= len(new)
        assert requests == nights.pages + nights.probes + len(nights.archives)
        self.requests += requests
        self.most += pages + len(new) + 2 * len(lacking) + done.sync.missing

    def _lacking(self, today: date) -> list[Period]:
        """The archives that should be there, as far as anybody knows, and were not there some days ago."""
        lacking = []
        for series in SERIES:
            life = MARKET.life(series)
            assert life is not None
            months = [Period.day(today.replace(day=1) - timedelta(days=1)).within(Cadence.MONTHLY)]
            days = [Period.day(today - timedelta(days=back)) for back in range(1, 2 * RECHECK_DAYS)]
            has_days = Cadence.DAILY in DATASETS[series.dataset].cadences
            for period in [*(days if has_days else []), *months]:
                after = RECHECK_DAYS if has_days else 31  # days behind its end a series is not known to be over
                is_followed = life.start_us < period.span.start_us < life.end_us + after * DAY_US
                is_last = period in months and life.end_us < period.span.end_us and today.day == 1  # of a delisted one
                if is_followed and (is_last or not self.exchange.is_there(series, period, today)):
                    lacking.append(period)
        return lacking


REVISED = frozenset((bad.series, bad.period) for bad in BAD if bad.revised is not None)


@dataclass
class Lived:
    """What became of many nights. `mornings` are those on which all that is stored was held against the truth."""

    costs: Costs
    mornings: list[date] = field(default_factory=list)
    noticed: set[Deviation] = field(default_factory=set)
    late: set[Deviation] = field(default_factory=set)
    """What had to be noticed, some nights after it was published."""
    pages: list[int] = field(default_factory=list)
    """Of ordinary nights: in the second half of a month, behind another one."""
    series: int = 0
    filled: Filled = field(default_factory=Filled)


def test_four_hundred_nights(folder: Path) -> None:
    lived = live_through(folder, END, fills_gaps=False)
    nights = list(days_from(BEGIN, END))
    assert len(nights) == NIGHTS
    assert lived.mornings == [each for each in nights if each not in DARK | AWAY | KILLED.keys()]
    assert lived.noticed == lived.late != set()
    assert lived.costs.requests <= lived.costs.most
    assert len(lived.pages) > NIGHTS // 3
    assert max(lived.pages) <= lived.series + FOLDER_PAGES
    assert lived.filled == Filled()


def test_nights_that_fill_gaps(folder: Path) -> None:
    """The first eighty of them, two turns of the month among them: with the API's rows on top."""
    lived = live_through(folder, date(2024, 4, 10), fills_gaps=True)
    assert lived.mornings == [each for each in days_from(BEGIN, date(2024, 4, 10)) if each not in KILLED]
    assert lived.filled.status == {"filled": lived.filled.looked_at}
    assert lived.filled.rows > 0
    assert (lived.filled.news, lived.filled.failures) == ((), ())


def live_through(folder: Path, end: date, fills_gaps: bool) -> Lived:
    """Every night until `end`, and each morning what must be here. Gap filling asks the API, and then more is here."""
    exchange, truth = Exchange(folder / "served"), Truth(fills_gaps)
    with Nights(folder / "served", folder / "data", fills_gaps) as nights:
        begun = nights.begin(HISTORY_UNTIL)
        last = HISTORY_UNTIL + timedelta(days=1)
        costs = Costs(exchange, {one for one in exchange.versions if one.morning > last})
        assert (begun.failed, begun.missing, begun.stored) == (0, 0, len(exchange.versions) - len(costs.ahead))
        mornings = Mornings(nights, truth)
        lived = Lived(costs, noticed=mornings.noticed, late={one for one in truth.deviations if one.within})
        if not fills_gaps:
            mornings.check(last)
        for today in days_from(BEGIN, end):
            if today in AWAY:
                continue
            if today in DARK:
                nights.disconnect()
                with pytest.raises(SourceDown, match=r"127\.0\.0\.1.*; all that is here is kept") as caught:
                    nights.night(today)
                assert caught.value.exit_code == 1
                mornings.check(last)
                nights.connect()
                continue
            if today in KILLED:
                KILLED[today](nights, today)
                mornings.check_between(last, today)
                costs.note_killed(nights)
                continue
            done = nights.night(today)
            assert (done.sync.failed, done.behind) == (0, ())
            mornings.check(today)
            lived.mornings.append(today)
            if not fills_gaps:
                costs.note(nights, done, today)
            if today.day == 1 or (today - last).days > 1:
                mornings.check_loader(today)
            elif today.day > 15:
                lived.pages.append(nights.pages)
            lived.series, lived.filled = done.series, lived.filled + done.gaps
            last = today
        mornings.check_loader(last)
    return lived
