"""Where a dataset's rows come from: features of stored trades, up to the quarantine, and a lock of what they are of."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, Self

import pandas as pd

from core.bars.spec import BarSpec
from core.dates import DAY_US, format_us
from core.errors import ConfigError, FilesChanged, NoData
from core.features import SUBJECTS, features_named
from core.snapshot.lock import Lock
from core.snapshot.take import take
from core.types import Series, Span
from loader.backtest_loader import BacktestDataLoader
from loader.context import kinds_of
from loader.features import FeatureRequest, parse_features
from loader.lookup import stored_spans
from loader.recipe import QUARANTINE_DAYS, Recipe
from loader.samples import PRICES

PLAIN: Final = ("prices", "amounts", "flow", "returns")
"""Subjects of the features that are not advanced: what candles with both sides' volume tell."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asks for, in his words."""

    symbol: str
    start_date: str | date
    end_date: str | date
    interval: str | BarSpec
    features: Iterable[str] | None
    include_advanced: bool
    market: str
    data_type: str

    def request(self, side: str | None) -> tuple[FeatureRequest, tuple[str, ...]]:
        """The request in exact terms, the side of labels included; and the features' names. Raises ConfigError."""
        names = names_of(self.features, self.include_advanced)
        known = (self.interval, names, self.market, self.data_type)
        request = parse_features(self.symbol, self.start_date, self.end_date, *known)
        own = tuple(one.name for one in request.features)
        if side is None or side in own:
            return request, own
        return replace(request, features=features_named([*own, side])), own


class Source:
    """One request for features. Rows and lock are of one state of the data, or FilesChanged says that they are not."""

    def __init__(
        self,
        loader: BacktestDataLoader,
        request: FeatureRequest,
        names: tuple[str, ...],
        asked: Mapping[str, str],
        on_missing: str,
    ) -> None:
        self._loader, self._request, self._on_missing = loader, request, on_missing
        self.names = names
        self._kinds = kinds_of(loader._storage, request.trades, request.needs, request.read_from_us)
        self._series = self._sources()
        self._stamps = [loader._storage.stamps(one) for one in self._series]
        span = request.trades.span
        self.gaps = self._without_file()
        self.said: dict[str, Any] = {
            "source": {
                "symbol": request.trades.symbols[0],
                "market": request.trades.market.value,
                "data_type": request.dataset.name,
                "interval": str(request.spec),
                "start": format_us(span.start_us),
                "end": format_us(span.end_us),
                "features": list(self.names),
                "series": [str(one) for one in self._series],
                "no_file": [f"{format_us(gap.start_us)} to {format_us(gap.end_us)}" for gap in self.gaps],
                **asked,
            }
        }

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls,
        asked: Asked,
        recipe: Recipe,
        loader: BacktestDataLoader | None,
        data_dir: str | Path | None,
        on_missing: str,
    ) -> Iterator[Self]:
        """The source that is asked for; closes what it has opened. Raises ConfigError, NoData."""
        if loader is not None and data_dir is not None:
            raise ConfigError("data_dir: the loader that is given has one; leave one of them out")
        request, names = asked.request(recipe.side)
        with contextlib.nullcontext(loader) if loader is not None else BacktestDataLoader(data_dir=data_dir) as opened:
            if recipe.quarantine:
                request = _before_quarantine(opened, request)
            words = {name: str(getattr(asked, f"{name}_date")) for name in ("start", "end")} | {
                "interval": str(asked.interval)
            }
            yield cls(opened, request, names, {f"asked_{name}": word for name, word in words.items()}, on_missing)

    def frames(self) -> Iterator[pd.DataFrame]:
        """The rows in order of time, with the prices that labels are made of among the features."""
        trades = self._request.trades
        start, end = (pd.Timestamp(us, unit="us", tz="UTC") for us in (trades.span.start_us, trades.span.end_us))
        return self._loader.iter_features(
            trades.symbols[0],
            start,
            end,
            interval=self._request.spec,
            features=list(dict.fromkeys([*(one.name for one in self._request.features), *PRICES])),
            market=trades.market.value,
            data_type=self._request.dataset.name,
            on_missing=self._on_missing,
        )

    def lock(self) -> Lock:
        """The rows that the features were made of: a snapshot's own, or whole days around what was read. Raises
        FilesChanged if a file is another one than before."""
        if self._loader._pins is not None:
            return self._loader._pins.lock
        trades = self._request.trades
        end_us = -(-trades.span.end_us // DAY_US) * DAY_US + DAY_US  # trades that come late close the last row
        lock = take(self._loader._storage, trades.market, Span(self._locked_from_us(), end_us), self._series)
        if [self._loader._storage.stamps(one) for one in self._series] != self._stamps:
            raise FilesChanged("an update replaced files of the dataset while it was built; build it again")
        return lock

    def _without_file(self) -> list[Span]:
        """Days of the request, between stored ones, of which no file of trades is stored."""
        asked = self._request.trades.span
        (parts,) = self._loader._storage.facts(self._series[:1])
        spans = [period.span for part in parts for period in (*part.plain, *part.beside)]
        held = sorted(spans or (Span(part.first_us // DAY_US * DAY_US, part.last_us + 1) for part in parts))
        gaps, until_us = [], held[0].start_us if held else 0
        for span in held:
            if span.start_us > until_us:
                gaps.append(Span(until_us, span.start_us))
            until_us = max(until_us, -(-span.end_us // DAY_US) * DAY_US)
        cut = ((max(gap.start_us, asked.start_us), min(gap.end_us, asked.end_us)) for gap in gaps)
        return [Span(start_us, end_us) for start_us, end_us in cut if start_us < end_us]

    def _sources(self) -> Sequence[Series]:
        """The series that these features are made of; those that are not stored are locked as having no rows."""
        trades = self._request.trades
        others = (
            one.series(kind.dataset, one.symbols[0])
            for kind in self._kinds
            for one in sorted(kind.requests, key=lambda one: str(one.interval))
        )
        return [trades.series(self._request.dataset, trades.symbols[0]), *others]

    def _locked_from_us(self) -> int:
        """The beginning of a day, from which on all that was read is locked: a day and more before the rows, or that
        of the last trade before them, which quiet days carry on."""
        from_us = self._request.read_from_us
        starts = [from_us - DAY_US, *(one.span.start_us for kind in self._kinds for one in kind.requests)]
        (parts,) = self._loader._storage.facts(self._series[:1])
        earlier = [part.first_us for part in parts if part.first_us < from_us]
        return max(0, min([*starts, *([max(earlier)] if earlier else [])]) // DAY_US * DAY_US)


def names_of(features: Iterable[str] | None, include_advanced: bool) -> list[str] | None:
    """The features that are asked for; None: all. Raises ConfigError."""
    if features is not None:
        names = [features] if isinstance(features, str) else list(features)
        if not names:
            raise ConfigError("features: nothing is asked for; name some, or leave them out for all")
        return names
    return None if include_advanced else [one.name for subject in PLAIN for one in SUBJECTS[subject]]


def _before_quarantine(loader: BacktestDataLoader, request: FeatureRequest) -> FeatureRequest:
    """What lies before the last 30 days of what is stored, by its last stored day. Raises NoData if nothing does."""
    trades = request.trades
    (stored,) = stored_spans(loader._storage, [trades.series(request.dataset, trades.symbols[0])])
    if stored is None:
        return request
    cut_us = ((stored.end_us - 1) // DAY_US - QUARANTINE_DAYS + 1) * DAY_US
    if cut_us <= trades.span.start_us:
        raise NoData(
            f"the quarantine keeps out everything from {format_us(max(0, cut_us))} on, and what is asked for begins at "
            f"{format_us(trades.span.start_us)}; ask for earlier days, or leave out quarantine"
        )
    return replace(request, trades=replace(trades, span=Span(trades.span.start_us, min(cut_us, trades.span.end_us))))
