"""Where a defect is planted: an archive of the sample and its neighbours, read, and changes that wait to be written."""

import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from core.datasets import DATASETS
from core.dates import INTERVAL_US, day_of
from core.errors import ConfigError
from core.layout import period_in, stem
from core.sample.archive import checksum_line, key_of, put_file, sidecar_of, zipped
from core.sample.defects.plan import Plan, Planted, Truth, Verdict
from core.sample.defects.text import Text
from core.sample.instruments import Instrument
from core.sample.market import SampleMarket
from core.sample.positions import WINDOW_US
from core.sample.values import random_stream
from core.types import Cadence, GapStatus, Market, Period, Series, Span

_IN_REST = ("klines", "mark_price", "index_price", "premium_index", "funding_rate")
_SAME_STORY = {
    "klines": ("klines", "trades", "agg_trades"),
    "trades": ("klines", "agg_trades"),
    "agg_trades": ("klines", "trades"),
    "mark_price": ("mark_price", "premium_index", "index_price"),
    "index_price": ("index_price", "premium_index", "mark_price"),
    "premium_index": ("premium_index", "mark_price", "index_price"),
}
"""Datasets that can be compared with one another."""

ORIGINALS = ".originals"
"""Files that were changed, as they were before: below the folder, where no key reaches."""
_NONE = ".none"

Change = Callable[[], tuple[bytes, datetime]]
"""What a file becomes and how it is dated."""


@dataclass
class Site:
    """One plan, the folder it is for and what is changed there; nothing is written before `commit`."""

    market: SampleMarket
    folder: Path
    plan: Plan
    pending: dict[Path, Change | None] = field(default_factory=dict)

    @property
    def series(self) -> Series:
        return self.plan.series

    @property
    def period(self) -> Period:
        return self.plan.period

    @property
    def instrument(self) -> Instrument:
        return self.market.instruments_of(self.series)[0]

    @cached_property
    def random(self) -> np.random.Generator:
        """Choices of this plan alone."""
        plan = self.plan
        return random_stream(plan.seed, plan.defect, str(plan.series), plan.period.label)

    def at(self, series: Series) -> "Site":
        """The same work at another series; changes wait together."""
        return Site(self.market, self.folder, replace(self.plan, series=series), self.pending)

    # What lies there

    def path(self, period: Period) -> Path:
        return self.folder / key_of(self.series, period)

    def periods(self) -> list[Period]:
        """The archives of the series that are there."""
        found = []
        for cadence in (Cadence.DAILY, Cadence.MONTHLY):
            folder = self.path(Period(self.period.first.replace(day=1), cadence)).parent
            periods = (period_in(path.stem, self.series) for path in sorted(folder.glob("*.zip")))
            found += [period for period in periods if period is not None and period.cadence is cadence]
        return found

    def covering(self, span: Span) -> list[Period]:
        """The archives in which rows of a span may be."""
        return [period for period in self.periods() if period.span.overlaps(span)]

    def has_day(self, days_later: int) -> bool:
        return self.path(Period.day(self.period.first + timedelta(days=days_later))).exists()

    def text(self, period: Period | None = None) -> Text:
        """The rows of an archive, by default that of the plan. Raises ConfigError where they cannot be read."""
        path = self.path(period or self.period)
        try:
            with zipfile.ZipFile(path) as archive:
                return Text.of(self.series, archive.read(archive.namelist()[0]))
        except (zipfile.BadZipFile, zlib.error) as error:
            raise ConfigError(
                f"{self.plan.defect}: {path} is broken already; plant elsewhere, or restore it"
            ) from error

    @property
    def step_us(self) -> int:
        """How long one row speaks of; 1 for what happens at a moment."""
        if self.series.dataset == "metrics":
            return WINDOW_US
        return (INTERVAL_US[self.series.interval] or 1) if self.series.interval else 1

    def extent(self, text: Text) -> Span:
        """From the first row to behind the last."""
        times = text.times_us()
        return Span(int(times.min()), int(times.max()) + self.step_us)

    # Changes

    def rewrite(self, period: Period, text: Text) -> None:
        """The archive with other rows, dated as before, its checksum to match; without rows it is removed."""
        if not text.lines:
            self.remove(period)
            return
        self.replace_zip(period, lambda written: zipped(f"{stem(self.series, period)}.csv", text.content(), written))

    def replace_zip(self, period: Period, make: Callable[[datetime], bytes], modified: datetime | None = None) -> None:
        """Other bytes under the same name, with a checksum that agrees with them."""
        path, when = self.path(period), modified or self.modified(period)
        made: list[bytes] = []

        def content() -> bytes:
            made[:] = made or [make(when)]
            return made[0]

        self.pending[path] = lambda: (content(), when)
        self.pending[sidecar_of(path)] = lambda: (checksum_line(self.series, path.name, content()), when)

    def put(self, path: Path, content: bytes, modified: datetime) -> None:
        self.pending[path] = lambda: (content, modified)

    def remove(self, period: Period) -> None:
        self.pending[self.path(period)] = None
        self.pending[sidecar_of(self.path(period))] = None

    def modified(self, period: Period) -> datetime:
        return datetime.fromtimestamp(self.path(period).stat().st_mtime, UTC)

    def strike(self, span: Span, change: Callable[[Text, Period], Text]) -> None:
        """Change every archive in which rows of the span are."""
        for period in self.covering(span):
            before = self.text(period)
            after = change(before, period)
            if after != before:
                self.rewrite(period, after)

    def cut_out(self, span: Span, periods: list[Period] | None = None) -> None:
        """Take the rows of a span out of the archives of some periods, by default of all."""
        for period in self.covering(span) if periods is None else periods:
            text = self.text(period)
            times = text.times_us()
            outside = (times < span.start_us) | (times >= span.end_us)
            if not outside.all():
                self.rewrite(period, text.only(outside))

    def commit(self) -> None:
        """Write everything that waits; `restore` undoes it."""
        for path, change in self.pending.items():
            _keep_original(self.folder, path)
            if change is None:
                path.unlink(missing_ok=True)
            else:
                put_file(path, *change())

    # What came of it

    def files(self) -> tuple[str, ...]:
        """The keys that are concerned, those of earlier versions left out."""
        keys = (str(path.relative_to(self.folder)) for path in self.pending if not path.name.startswith("."))
        return tuple(sorted(keys))

    def is_elsewhere(self, span: Span) -> bool:
        """Whether archives that are not changed, nor their checksums, cover every day of a span."""
        changed = self.pending.keys()
        paths = {period: self.path(period) for period in self.periods()}
        whole = [period for period, path in paths.items() if changed.isdisjoint((path, sidecar_of(path)))]
        first, last = day_of(span.start_us), day_of(max(span.end_us - 1, span.start_us))
        days = [Period.day(first + timedelta(days=number)) for number in range((last - first).days + 1)]
        return all(any(period.contains(day) for period in whole) for day in days)

    @property
    def is_in_rest(self) -> bool:
        """Whether the API still has rows of long ago."""
        return self.series.dataset in _IN_REST or (
            self.series.dataset == "agg_trades" and self.series.market is Market.SPOT
        )

    def echoes(self) -> tuple[Series, ...]:
        """The other series of the same instrument, or pair, that are there and tell the same story."""
        return tuple(each for each in self.siblings() if each.dataset in _SAME_STORY.get(self.series.dataset, ()))

    def siblings(self) -> Iterator[Series]:
        """Every other series in the folder that speaks of one of the instruments of this one."""
        for name, kind in DATASETS.items():
            symbols = {kind.directory(each.symbol) for each in self.market.instruments_of(self.series)}
            if self.series.market not in kind.markets:
                continue
            for symbol in sorted(symbols):
                series = Series(self.series.market, name, symbol, None)
                yield from (each for each in present(self.folder, series) if each != self.series)

    def planted(self, kind: str, span: Span, rows: int, detail: str, **facts: Any) -> Planted:
        """What is said of this plan; facts that are not given follow from the changes: the market's rows where a source
        has them, else those as published."""
        in_archive, in_rest = self.is_elsewhere(span), self.is_in_rest
        truth = Truth.MARKET if in_archive or in_rest else Truth.AS_PUBLISHED
        said: dict[str, Any] = {"in_archive": in_archive, "in_rest": in_rest, "truth": truth, "verdict": Verdict.FAULT}
        return Planted(
            defect=self.plan.defect,
            series=self.series,
            period=self.period,
            span=span,
            kind=kind,
            rows=rows,
            detail=detail,
            files=self.files(),
            **(said | facts),
        )

    def missing(self, kind: str, span: Span, rows: int, detail: str, in_rest: bool = True, **facts: Any) -> Planted:
        """Of rows that are absent: they come back if any source has them, else it is a hole."""
        in_archive, in_rest = self.is_elsewhere(span), in_rest and self.is_in_rest
        found = in_archive or in_rest
        said = {
            "in_archive": in_archive,
            "in_rest": in_rest,
            "truth": Truth.MARKET if found else Truth.HOLE,
            "gap": GapStatus.FILLED if found else GapStatus.CONFIRMED,
        }
        return self.planted(kind, span, rows, detail, **(said | facts))

    def harmless(self, kind: str, span: Span, rows: int, detail: str, **facts: Any) -> Planted:
        """Of what is no fault: the rows are the market's."""
        said = {"truth": Truth.MARKET, "verdict": Verdict.NOTHING, "in_archive": True}
        return self.planted(kind, span, rows, detail, **(said | facts))


def _keep_original(folder: Path, path: Path) -> None:
    """Set a file aside before it is changed for the first time, or note that there was none."""
    kept = folder / ORIGINALS / path.relative_to(folder)
    noted = kept.with_name(kept.name + _NONE)
    if kept.exists() or noted.exists():
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        temporary = kept.with_name(kept.name + ".tmp")
        shutil.copy2(path, temporary)
        temporary.replace(kept)
    else:
        noted.touch()


def restore(folder: Path) -> int:
    """Undo what was planted in a folder, also where planting broke off; how many files that were."""
    kept = sorted(path for path in (folder / ORIGINALS).rglob("*") if path.is_file())
    for path in kept:
        target = folder / path.relative_to(folder / ORIGINALS)
        if path.name.endswith(_NONE):
            target.with_name(target.name.removesuffix(_NONE)).unlink(missing_ok=True)
            path.unlink()
        elif path.name.endswith(".tmp"):
            path.unlink()
        else:
            path.replace(target)
    return len(kept)


def present(folder: Path, series: Series) -> Iterator[Series]:
    """The series of that market, dataset and symbol of which the folder has archives, at whichever intervals."""
    kind = DATASETS[series.dataset]
    symbol = replace(series, interval=None)
    homes = [(folder / key_of(symbol, Period.parse(label))).parent for label in ("2020-01", "2020-01-01")]
    there = {path.name for home in homes if home.is_dir() for path in home.iterdir()}
    if not kind.has_interval:
        yield from [symbol] if there else []
    yield from (replace(series, interval=each) for each in kind.intervals(series.market) if each in there)
