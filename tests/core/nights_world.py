"""A sample exchange that publishes over more than a year of nights, its bad days, and a data folder kept up to date.

What is published lies in one folder from the beginning, each file dated: the served bucket has a clock. What must be
here on a morning follows from the market's own rows alone, and from the list of what was published late, not at all,
or wrong at first.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import DATASETS
from core.dates import DAY_US
from core.download.asking import Asking
from core.download.smart import SmartDownloader
from core.download.tracker import DownloadTracker
from core.download.transport import open_transport
from core.events import Event
from core.exchanges.binance.rest import RestApi
from core.exchanges.binance.vision import DataVisionDownloader
from core.exchanges.binance.weights import Clock as RestClock
from core.integrity.checker import IntegrityChecker
from core.jobs.gaps import GapFiller
from core.jobs.request import Request, find_files
from core.jobs.selection import Selection
from core.jobs.sync import Sync, SyncSummary
from core.jobs.update import UpdateSummary, update
from core.layout import Layout, stem
from core.sample.archive import checksum_line, key_of, published_at, put_file, sidecar_of, zipped
from core.sample.csv_text import csv_bytes, has_header
from core.sample.faults import Fault, RequestInfo
from core.sample.instruments import Instrument, moment
from core.sample.market import SampleMarket, times_of
from core.sample.rest import SampleApi
from core.sample.server import ArchiveServer, running_server
from core.sample.values import Columns, Decimals
from core.settings import DownloadSettings, QualitySettings, StorageSettings, SymbolSettings
from core.storage.manager import StorageManager
from core.types import ArchiveFile, Cadence, Market, Period, Series, Span

FIRST, LAST = date(2023, 12, 10), date(2025, 2, 28)
DAYS_FROM = date(2024, 1, 1)
"""The exchange keeps every day; here the months stand for older ones."""
_OPENED, _NOON = moment("2023-12-10"), moment("2023-12-10 12:31")
_UM, _CM, _SPOT = Market.UM, Market.CM, Market.SPOT
MARKET = SampleMarket(
    23,
    (
        Instrument(_UM, "BTCUSDT", "BTC", 43800.0, 1, 3, 60, 3, _OPENED),
        Instrument(_UM, "ICPUSDT", "ICP", 9.4, 3, 0, 120, 2, _NOON, funding_hours=4),
        Instrument(_UM, "NEWUSDT", "NEW", 1.7, 4, 0, 900, 2, moment("2024-05-17 09:30")),
        Instrument(_UM, "OLDUSDT", "OLD", 0.85, 4, 0, 900, 2, _OPENED, moment("2024-08-14 09:00")),
        Instrument(_SPOT, "ETHUSDT", "ETH", 2350.0, 2, 4, 6000, 3, _OPENED),
        Instrument(_CM, "ETHUSD_PERP", "ETH", 2350.0, 2, 0, 150, 2, _NOON, contract_usd=10),
    ),
    FIRST,
    LAST,
)
BTC, ICP, NEW, OLD, SPOT, CM = MARKET.instruments


def candles(instrument: Instrument, dataset: str = "klines") -> Series:
    return Series(instrument.market, dataset, DATASETS[dataset].directory(instrument.symbol), "1h")


def funding(instrument: Instrument) -> Series:
    return Series(instrument.market, "funding_rate", instrument.symbol)


SERIES = (
    *(candles(each) for each in MARKET.instruments),
    candles(BTC, "mark_price"),
    candles(ICP, "premium_index"),
    candles(CM, "index_price"),
    *(funding(each) for each in (BTC, ICP, NEW, OLD, CM)),
)
KINDS = sorted({(one.market, one.dataset) for one in SERIES})
FOLDER_PAGES = sum(len(DATASETS[name].cadences) for _, name in KINDS)
"""Pages of the listing that show whether there are new symbols."""


@dataclass(frozen=True, slots=True)
class Bad:
    """What is wrong with the archive of a period.

    It comes `days_late`; None: never. What comes at first is not what is right where `is_wrong`, in the rows of
    `day`, or where `lacks` has no such rows, until it is published anew on the morning of `revised`.
    """

    series: Series
    period: Period
    days_late: int | None = 0
    day: date | None = None
    is_wrong: bool = False
    lacks: bool = False
    revised: date | None = None


def _bad(series: Series, label: str, day: str | None = None, revised: str | None = None, **what: Any) -> Bad:
    period = Period.parse(label)
    on = date.fromisoformat(day) if day else period.first
    return Bad(series, period, day=on, revised=date.fromisoformat(revised) if revised else None, **what)


BAD = (
    _bad(candles(BTC), "2024-03-05", days_late=2),
    _bad(candles(BTC, "mark_price"), "2024-04-09", days_late=5),
    # For good: neither the day nor the month has it.
    _bad(candles(ICP, "premium_index"), "2024-06-12", days_late=None),
    _bad(candles(ICP, "premium_index"), "2024-06", "2024-06-12", lacks=True),
    # Months that are short or wrong where the days are right: the days win.
    _bad(candles(ICP), "2024-07", "2024-07-18", lacks=True),
    _bad(candles(SPOT), "2024-11", "2024-11-07", is_wrong=True),
    # A month that comes late, and its days meanwhile.
    _bad(candles(CM), "2024-04", days_late=9),
    # Published anew: a day soon after, months long after.
    _bad(candles(CM), "2024-09-10", is_wrong=True, revised="2024-09-14"),
    _bad(candles(BTC, "mark_price"), "2024-02-10", is_wrong=True),
    _bad(candles(BTC, "mark_price"), "2024-02", "2024-02-10", is_wrong=True, revised="2024-11-05"),
    _bad(funding(ICP), "2024-04", "2024-04-20", is_wrong=True, revised="2024-12-03"),
)
PUBLISHED_ANEW = time(8, 50)
MOST_GAP_US = 30 * DAY_US


def morning_us(today: date) -> int:
    """09:15, when the update runs."""
    return int(datetime.combine(today, time(9, 15), UTC).timestamp()) * 1_000_000


def days_from(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


# what is right


def wrong(rows: Columns) -> Columns:
    """The same times with another value in each row."""
    name = "last_funding_rate" if "last_funding_rate" in rows else "high"
    values = rows[name]
    assert isinstance(values, Decimals)
    return rows | {name: Decimals(values.units + 3, values.places)}


@dataclass(frozen=True, slots=True, eq=False)
class Deviation:
    """On the mornings from `first` to `last` the rows of a day are these (None: there are none), not the market's.

    `within`: the new rows may also come some nights later.
    """

    series: Series
    day: date
    first: date
    last: date
    rows: pa.Table | None
    within: int = 0


@dataclass
class Truth:
    """What must be here on a morning, by the market's own rows. With `fills_gaps` what the archive has not, or not yet,
    is here too, for the exchange's API answered it: all rows up to the midnight before, funding's open month among
    them."""

    fills_gaps: bool = False
    _tables: dict[Series, tuple[pa.Table, np.ndarray]] = field(default_factory=dict)
    deviations: list[Deviation] = field(default_factory=list)

    def __post_init__(self) -> None:
        for one in SERIES:
            table = MARKET.truth(one, MARKET.span).combine_chunks()
            self._tables[one] = table, table["timestamp"].cast(pa.int64()).to_numpy()
        self.deviations = [each for bad in BAD for each in self._deviations(bad)]

    def _deviations(self, bad: Bad) -> Iterator[Deviation]:
        day, next_day = bad.day or bad.period.first, bad.period.last + timedelta(days=1)
        is_day = bad.period.cadence is Cadence.DAILY
        if is_day and bad.days_late != 0 and not self.fills_gaps:
            last = date.max if bad.days_late is None else next_day + timedelta(days=bad.days_late - 1)
            yield Deviation(bad.series, day, next_day, last, None)
        elif bad.is_wrong and bad.revised is not None:
            rows = MARKET.stored(bad.series, wrong(MARKET.rows(bad.series, Period.day(day).span))).combine_chunks()
            first = FIRST if Cadence.DAILY in DATASETS[bad.series.dataset].cadences else next_day  # the API was right
            yield Deviation(bad.series, day, first, bad.revised - timedelta(days=1), rows, 0 if is_day else 7)

    def schema(self, series: Series) -> pa.Schema:
        return self._tables[series][0].schema

    def end(self, series: Series, today: date) -> date:
        """Behind the last day that is published by this morning."""
        if series.dataset != "funding_rate":
            return today
        life = MARKET.life(series)
        assert life is not None
        open_month = today.replace(day=1)
        is_followed = life.start_us < Span.of_days(open_month, open_month).start_us  # from its first archive on
        return today if self.fills_gaps and is_followed else open_month

    def of(self, series: Series, span: Span, today: date, noticed: frozenset[Deviation] = frozenset()) -> pa.Table:
        """The rows of a span as they are on a morning; those of late revisions that are `noticed` are the new ones."""
        end = Span.of_days(self.end(series, today), self.end(series, today)).start_us
        table = self._between(series, Span(span.start_us, max(span.start_us, min(span.end_us, end))))
        for one in self.deviations:
            inside = Period.day(one.day).span
            is_here = one.series == series and span.contains(inside) and inside.end_us <= end
            if is_here and self.is_on(one, today, noticed):
                times = table["timestamp"].cast(pa.int64())
                before = table.filter(pc.less(times, inside.start_us))
                behind = table.filter(pc.greater_equal(times, inside.end_us))
                table = pa.concat_tables([before, *([] if one.rows is None else [one.rows]), behind])
        return table.combine_chunks()

    def is_on(self, one: Deviation, today: date, noticed: frozenset[Deviation]) -> bool:
        return one.first <= today and (today <= one.last or (one.within > 0 and one not in noticed))

    def _between(self, series: Series, span: Span) -> pa.Table:
        table, times = self._tables[series]
        first, last = np.searchsorted(times, [span.start_us, span.end_us])
        return table.slice(int(first), int(last - first))


# what is published


@dataclass(frozen=True, slots=True)
class Published:
    """One version of an archive, and the first morning on which it is there."""

    series: Series
    period: Period
    morning: date


class Exchange:
    """Publishes the market in a folder, as a list says which goes wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.versions: list[Published] = []
        self._first: dict[tuple[Series, Period], date] = {}
        self._bad = {(bad.series, bad.period): bad for bad in BAD}
        for series in sorted(SERIES, key=lambda one: (one.market, one.symbol)):
            self._publish_series(series)

    def is_there(self, series: Series, period: Period, today: date) -> bool:
        """Whether an archive is published by this morning."""
        return self._first.get((series, period), date.max) <= today

    def _publish_series(self, series: Series) -> None:
        life = MARKET.life(series)
        assert life is not None
        begun = datetime.fromtimestamp(life.start_us // 1_000_000, UTC).date()
        last = datetime.fromtimestamp((life.end_us - 1) // 1_000_000, UTC).date()
        month = Period.day(begun).within(Cadence.MONTHLY)
        while month.first <= last:
            self._publish_month(series, month, begun, last)
            month = Period.day(month.last + timedelta(days=1)).within(Cadence.MONTHLY)

    def _publish_month(self, series: Series, month: Period, begun: date, last: date) -> None:
        rows = MARKET.file_rows(series, month)
        text = _Text(series, month, rows)
        if month.last <= LAST:
            self._publish(series, month, text)
        if Cadence.DAILY in DATASETS[series.dataset].cadences and month.first >= DAYS_FROM:
            for day in days_from(max(begun, month.first), min(last, month.last)):
                self._publish(series, Period.day(day), text)

    def _publish(self, series: Series, period: Period, text: "_Text") -> None:
        bad = self._bad.get((series, period), Bad(series, period))
        if bad.days_late is None:
            return
        moment = published_at(period) + timedelta(days=bad.days_late)
        day = bad.day or period.first
        if bad.lacks:
            self._put(series, period, text.of(period, without=day), moment)
        elif bad.is_wrong:
            instead = csv_bytes(series, period, wrong(MARKET.rows(series, Period.day(day).span)))
            self._put(series, period, text.of(period, without=day, instead=instead), moment)
            if bad.revised is not None:
                moment = datetime.combine(bad.revised, PUBLISHED_ANEW, UTC)
                self._put(series, period, text.of(period), moment, is_anew=True)
        else:
            self._put(series, period, text.of(period), moment)

    def _put(self, series: Series, period: Period, text: bytes, moment: datetime, is_anew: bool = False) -> None:
        content = zipped(f"{stem(series, period)}.csv", text, moment)
        target = self.folder / key_of(series, period)
        for path, body in ((target, content), (sidecar_of(target), checksum_line(series, target.name, content))):
            if is_anew:
                path.rename(path.with_name(f".{path.name}@1"))
            put_file(path, body, moment)
        self.versions.append(Published(series, period, moment.date()))
        self._first.setdefault((series, period), moment.date())


class _Text:
    """A month's CSV, made once, of which days are cut out: the form of a file never changes within a month."""

    def __init__(self, series: Series, month: Period, rows: Columns) -> None:
        lines = csv_bytes(series, month, rows).splitlines(keepends=True)
        heads = int(has_header(series, month))
        self._head, self._lines = b"".join(lines[:heads]), lines[heads:]
        self._times = times_of(series, rows)

    def of(self, period: Period, without: date | None = None, instead: bytes = b"") -> bytes:
        """The lines of a period, those of one day left out or replaced by the rows of another file."""
        if without is None:
            return self._head + self._cut(period.span)
        gone = Period.day(without).span
        before = self._cut(Span(period.span.start_us, gone.start_us))
        behind = self._cut(Span(gone.end_us, period.span.end_us))
        return self._head + before + instead.removeprefix(self._head) + behind

    def _cut(self, span: Span) -> bytes:
        first, last = np.searchsorted(self._times, [span.start_us, span.end_us])
        return b"".join(self._lines[first:last])


# the data folder


@dataclass
class Clock:
    """What time it is for the exchange."""

    us: int = 0

    def __call__(self) -> int:
        return self.us


class Nights:
    """A data folder that is updated every night from a server with a clock."""

    def __init__(self, served: Path, data: Path, fills_gaps: bool) -> None:
        self.served, self.layout, self.fills_gaps = served, Layout(data), fills_gaps
        self.clock = Clock()
        self.events: list[Event] = []
        self._stack = contextlib.ExitStack()
        self._tracker: DownloadTracker | None = None
        self._server: ArchiveServer | None = None
        self._port = 0

    def __enter__(self) -> "Nights":
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def connect(self) -> None:
        """The exchange can be reached, always under the same address."""
        api = SampleApi(MARKET, now_us=self.clock)
        server = running_server(self.served, port=self._port, clock=self.clock, api=api)
        self._server = self._stack.enter_context(server)
        self._port = self._server.port

    def disconnect(self) -> None:
        """Nobody answers."""
        self.let_go()
        self._stack.close()
        self._server = None

    @property
    def tracker(self) -> DownloadTracker:
        """The status database: opened anew in each month, and after a night that went wrong."""
        if self._tracker is None:
            self._tracker = DownloadTracker(self.layout.database)
        return self._tracker

    def let_go(self) -> None:
        """Close the status database."""
        if self._tracker is not None:
            self._tracker.close()
        self._tracker = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def storage(self) -> StorageManager:
        return storage_of(self.layout)

    def begin(self, last: date) -> SyncSummary:
        """The history up to a day, as download_all.py brings it."""
        self.clock.us = morning_us(last + timedelta(days=1))
        life = Span.of_days(FIRST, last)
        here = [one for one in SERIES if (MARKET.life(one) or life).overlaps(life)]

        async def wanted(vision: DataVisionDownloader) -> AsyncIterator[Sequence[ArchiveFile]]:
            for one in here:
                request = Request(one.market, (DATASETS[one.dataset],), "1h", life, (one.symbol,), True)
                async for files in find_files(request, vision):
                    yield files

        async def work(vision: DataVisionDownloader, _: SmartDownloader) -> SyncSummary:
            sync = Sync(vision, self.tracker, self.storage, self.layout, self.events.append)
            return await sync.run(wanted(vision), "begin")

        return asyncio.run(connected(self.url, self.layout, self.events, work))

    def night(self, today: date) -> UpdateSummary:
        """One update at 09:15, as daily_update.py runs it."""
        self._turn_to(today)
        return update_at(self.url, self.layout, self.tracker, today, self.events, self.fills_gaps)

    def killed_in_transfer(self, today: date, archives: int) -> None:
        """A night whose process is killed while it receives the archive after so many others."""
        self._turn_to(today)
        assert self._server is not None
        dying = _Dying(archives)
        self._server.faults = dying
        with self._child(today) as child:
            dying.pid = child.pid
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
            _, said = child.communicate(timeout=120)
        self._server.faults = None
        assert child.returncode == -signal.SIGKILL, said

    def killed_in_storing(self, today: date, renames: int) -> None:
        """A night whose process dies before it gives a partition its name, after so many others."""
        self._turn_to(today)
        with self._child(today, renames) as child:
            _, said = child.communicate("go\n", timeout=120)
        assert child.returncode == -signal.SIGKILL, said

    def _turn_to(self, today: date) -> None:
        self.clock.us = morning_us(today)
        self.events.clear()
        if today.day == 1:
            self.let_go()
        if self._server is not None:
            self._server.hits.clear()
            self._server.requests.clear()

    def _child(self, today: date, renames: int = -1) -> "subprocess.Popen[str]":
        self.let_go()
        tests = Path(__file__).resolve().parents[1]
        paths = [str(tests.parent), str(tests), str(tests / "core")]
        words = [self.url, str(self.layout.root), today.isoformat(), str(int(self.fills_gaps)), str(renames)]
        return subprocess.Popen(
            [sys.executable, "-c", _CHILD, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )

    # what a night cost

    @property
    def hits(self) -> Counter[str]:
        assert self._server is not None
        return self._server.hits

    @property
    def pages(self) -> int:
        return sum(count for name, count in self.hits.items() if name.startswith("?"))

    @property
    def archives(self) -> dict[str, int]:
        """How often each was asked for, by key."""
        return {name: count for name, count in self.hits.items() if name.endswith(".zip")}

    @property
    def probes(self) -> int:
        return sum(count for name, count in self.hits.items() if name.endswith(".CHECKSUM"))

    @property
    def questions(self) -> int:
        """To the exchange's API."""
        return sum(count for name, count in self.hits.items() if name.startswith(("api/", "fapi/", "dapi/")))


@dataclass
class _Dying:
    """A rule by which the process at the other end is killed in the middle of an answer."""

    left: int
    pid: int = 0
    is_done: bool = False

    def __call__(self, request: RequestInfo) -> Fault | None:
        if not request.name.endswith(".zip"):
            return None
        self.left -= 1
        if self.left >= 0:
            return None
        if not self.is_done:
            self.is_done = True
            os.kill(self.pid, signal.SIGKILL)
        return Fault(stall_after=100)


_CHILD = textwrap.dedent("""
    import os, signal, sys
    from datetime import date
    from pathlib import Path
    from core.download.tracker import DownloadTracker
    from core.layout import Layout
    from nights_world import update_at

    url, data, today, fills_gaps, renames = sys.argv[1:]
    left, replace = [int(renames)], os.replace

    def replace_or_die(source, target, **rest):
        if str(target).endswith(".parquet"):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
        return replace(source, target, **rest)

    os.replace = replace_or_die
    sys.stdin.readline()
    layout = Layout(Path(data))
    with DownloadTracker(layout.database) as tracker:
        update_at(url, layout, tracker, date.fromisoformat(today), [], bool(int(fills_gaps)))
""")


def storage_of(layout: Layout) -> StorageManager:
    return StorageManager(layout, StorageSettings(parser="arrow"), QualitySettings())


def update_at(
    url: str, layout: Layout, tracker: DownloadTracker, today: date, events: list[Event], fills_gaps: bool
) -> UpdateSummary:
    """One update at 09:15 of a day, put together as daily_update.py does."""
    now_us = morning_us(today)
    asking = Asking(now_us)

    async def work(vision: DataVisionDownloader, smart: SmartDownloader) -> UpdateSummary:
        storage = storage_of(layout)
        quality = QualitySettings()

        async def bring(batches: AsyncIterator[Sequence[ArchiveFile]]) -> object:
            return await Sync(vision, tracker, storage, layout, events.append, asking=asking).run(batches, "gaps")

        api = RestApi(DownloadSettings(rest=url), smart, RestClock(lambda: now_us, asyncio.sleep))
        checker = IntegrityChecker(layout, storage, tracker, quality, ())
        filler = GapFiller(vision, api, tracker, storage, checker, bring, now_us, MOST_GAP_US, events.append)
        return await update(
            Selection(),
            Sync(vision, tracker, storage, layout, events.append, asking=Asking(now_us)),
            symbols=SymbolSettings({}, {}),
            listing=url,
            fill_gaps=filler.fill if fills_gaps else None,
        )

    return asyncio.run(connected(url, layout, events, work))


async def connected(url: str, layout: Layout, events: list[Event], work: Any) -> Any:
    """What asks the exchange."""
    settings = DownloadSettings(source=url, listing=url, backoff_seconds=0.001, backoff_cap_seconds=0.002, workers=8)
    async with open_transport(settings.workers) as transport:
        smart = SmartDownloader(transport, settings, events.append)
        return await work(DataVisionDownloader(settings, layout, smart, events.append), smart)
