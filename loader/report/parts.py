"""What a report is made of: sections with tables and pictures, as plain values of which page and JSON are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.bars.spec import BarSpec
from core.layout import Layout
from core.types import Market
from loader.backtest_loader import BacktestDataLoader

POINTS: Final = 1000
"""Buckets of a long line: about the pixels that a wide window has for it."""

Row = Sequence[Any]
Form = Literal["text", "count", "number", "share", "time"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report is of. `start` and `end` are included; None: from the first, to the last stored day. `rows` are the
    intervals or bars that features and labels are made of, the last `trade_days` days of stored trades."""

    symbol: str
    market: Market
    start: date | None
    end: date | None
    interval: str
    rows: str | BarSpec
    trade_days: int
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """From the first to the last day of which something is stored, of `data_type`."""

    data_type: str
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Source:
    """What sections ask: the loader, where the status database lies, and what is `stored` of the symbol, a row per
    series. `candles` and `trades` are the days of which there are any within the request, `days` the candles of every
    stored day, whatever the request says; None where there are none."""

    loader: BacktestDataLoader
    layout: Layout
    asked: Asked
    stored: pd.DataFrame
    candles: Stretch | None
    trades: Stretch | None
    days: pd.DataFrame | None


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table: its heading, and how a cell is shown; the exact value goes with it."""

    name: str
    form: Form = "number"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are text, numbers, or None where nothing is known."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Picture:
    """Traces and layout of Plotly; colours are named as in page.css (`--a`). `says` is told in words below the title,
    `label` to those who do not see it. `fit`: the vertical axes follow when one zooms into a time."""

    name: str
    title: str
    says: str
    label: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    height: int = 380
    fit: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """One heading of the page. `message` says why there is nothing, or not all; `notes` what was noticed on the way.
    `frames` are the rows behind it, by the name of their file."""

    name: str
    title: str
    text: Sequence[str] = ()
    message: str | None = None
    notes: Sequence[str] = ()
    parts: Sequence[Picture | Table] = ()
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def millis(times: "pd.Series[Any]") -> list[int | float]:
    """Times as Plotly takes them, exact to the microsecond."""
    us = times.astype("datetime64[us, UTC]").astype(np.int64).tolist()
    return [one // 1000 if one % 1000 == 0 else one / 1000 for one in us]


def plain(values: Any) -> list[Any]:
    """A column for JSON: what is no number is null."""
    return [
        None if one is None or one != one or one in (np.inf, -np.inf) else one for one in np.asarray(values).tolist()
    ]


def drawn_of(
    times: npt.NDArray[np.int64], values: npt.NDArray[np.float64], buckets: int = POINTS
) -> npt.NDArray[np.int64]:
    """Which rows a line of so many points at most needs: of each of `buckets` equal stretches of time the first, least,
    greatest and last value. All rows where they are no more than four a bucket; rows without a value are left in where
    a whole stretch has none, so that the line breaks there. Times rise."""
    if len(times) <= 4 * buckets:
        return np.arange(len(times))
    step = max(1, -(-(int(times[-1]) - int(times[0]) + 1) // buckets))
    edges = np.flatnonzero(np.diff((times - times[0]) // step, prepend=-1))
    chosen: set[int] = set()
    for start, end in zip(edges.tolist(), [*edges[1:].tolist(), len(times)], strict=True):
        part = values[start:end]
        known = np.flatnonzero(~np.isnan(part))
        if len(known) == 0:
            chosen.add(start)
            continue
        places = (known[0], known[np.argmin(part[known])], known[np.argmax(part[known])], known[-1])
        chosen.update(start + int(place) for place in places)
    return np.array(sorted(chosen), dtype=np.int64)
