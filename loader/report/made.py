"""The whole report: what is asked of the loader, in what order, and what is written."""

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pandas as pd

from core.errors import ConfigError, NoData
from core.layout import Layout
from core.settings import Settings
from loader.backtest_loader import BacktestDataLoader
from loader.bars import BarsDrift
from loader.missing import MissingDataWarning
from loader.report import folder as folders
from loader.report.bars import bars
from loader.report.candles import candles, daily, days_of
from loader.report.flow import flow
from loader.report.html import assets, page
from loader.report.learning import learning
from loader.report.parts import Asked, Section, Source, Stretch, Table
from loader.report.stock import stock

VERSION: Final = 1
_TRADES: Final = ("trades", "agg_trades")
_TOLD: Final = (MissingDataWarning, BarsDrift)
_STEPS: Final[Sequence[tuple[str, Callable[[Source], Section | list[Section]]]]] = (
    ("candles", candles),
    ("days", daily),
    ("order flow", flow),
    ("bars", bars),
    ("labels and models", learning),
    ("coverage", stock),
)


@dataclass(frozen=True, slots=True)
class Made:
    """What was written: `empty` are the titles of sections that have nothing to show."""

    folder: Path
    size_bytes: int
    sections: int
    empty: tuple[str, ...]


def make(
    asked: Asked, settings: Settings, folder: Path, force: bool = False, says: Callable[[str], None] = lambda text: None
) -> Made:
    """Read, draw and write the report. Raises ConfigError, NoData where nothing of the symbol or its days is stored,
    StorageError, DiskFull."""
    target = folder.expanduser().absolute()
    folders.refuse_taken(target, force)
    with BacktestDataLoader(settings) as loader:
        source = _source(loader, Layout(settings.data_root), asked)
        sections: list[Section] = []
        for name, section in _STEPS:
            says(name)
            sections += _noticed(source, section)
    title = f"{asked.symbol}, {asked.market}"
    at = datetime.now(UTC)
    lead = (_lead(source), f"Made on {at:%Y-%m-%d %H:%M} UTC. All times are UTC.")
    frames = {name: frame for one in sections for name, frame in one.frames.items()}
    files = {
        "index.html": page(title, lead, sections).encode(),
        **assets(),
        **{f"data/{name}.parquet": _parquet(frame) for name, frame in frames.items()},
    }
    size = folders.write(target, files, _about(source, at, sections), force)
    return Made(target, size, len(sections), tuple(one.title for one in sections if not one.parts))


def _noticed(source: Source, make_of: Callable[[Source], Section | list[Section]]) -> list[Section]:
    """The sections, with what the loader warned of; other warnings are given on."""
    with warnings.catch_warnings(record=True) as caught:
        for kind in _TOLD:
            warnings.simplefilter("always", kind)
        found = make_of(source)
    for one in caught:
        if not issubclass(one.category, _TOLD):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    notes = tuple(dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, _TOLD)))
    sections = found if isinstance(found, list) else [found]
    return [replace(one, notes=(*one.notes, *notes)) if one.parts else one for one in sections]


def _source(loader: BacktestDataLoader, layout: Layout, asked: Asked) -> Source:
    """What of the request is stored."""
    stored = _stored(loader, layout, asked)
    candles = _stretch(asked, stored, "klines", asked.interval)
    trades = next((found for name in _TRADES if (found := _stretch(asked, stored, name)) is not None), None)
    if candles is None and trades is None:
        days = f" from {asked.start or 'the first'} to {asked.end or 'the last'} day"
        raise NoData(
            f"neither candles of {asked.interval} nor trades of {asked.market} {asked.symbol} are stored{days}; "
            "see what is "
            "there: python scripts/monitor.py"
        )
    if trades is not None:
        trades = replace(trades, first=max(trades.first, trades.last - timedelta(days=asked.trade_days - 1)))
    return Source(loader, layout, asked, stored, candles, trades, days_of(loader, asked, stored))


def _stored(loader: BacktestDataLoader, layout: Layout, asked: Asked) -> pd.DataFrame:
    try:
        found: pd.DataFrame = loader.coverage(asked.symbol, market=asked.market.value, gaps=False)
    except ConfigError as error:
        said = str(error).removeprefix("symbols: ")
        raise NoData(
            f"{asked.market} in {layout.root}: {said}{'' if said.endswith('?') else '.'} To get it: "
            f"python scripts/download_all.py --market {asked.market} --symbols {asked.symbol}"
        ) from error
    return found


def _stretch(asked: Asked, stored: pd.DataFrame, data_type: str, interval: str | None = None) -> Stretch | None:
    """The days of the request between the first and the last stored row."""
    every = stored[(stored["symbol"] == asked.symbol) & (stored["data_type"] == data_type)]
    if interval is not None:
        every = every[every["interval"] == interval]
    if every.empty:
        return None
    first: date = max(every["first"].iloc[0].date(), asked.start or date.min)
    last: date = min(every["last"].iloc[0].date(), asked.end or date.max)
    return Stretch(data_type, first, last) if first <= last else None


def _lead(source: Source) -> str:
    asked, parts = source.asked, []
    if source.candles is not None:
        parts.append(f"candles of {asked.interval} from {source.candles.first} to {source.candles.last}")
    if source.trades is not None:
        last = f" (the last {asked.trade_days} days at most)"
        parts.append(f"{source.trades.data_type} from {source.trades.first} to {source.trades.last}{last}")
    return f"What is stored of {asked.market} {asked.symbol}: {'; '.join(parts)}."


def _about(source: Source, at: datetime, sections: Sequence[Section]) -> dict[str, Any]:
    asked = source.asked
    request = {
        "symbol": asked.symbol,
        "market": asked.market.value,
        "start": None if asked.start is None else str(asked.start),
        "end": None if asked.end is None else str(asked.end),
        "interval": asked.interval,
        "rows": str(asked.rows),
        "trade_days": asked.trade_days,
        "models": list(asked.models),
    }
    return {
        "version": VERSION,
        "made": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "request": request,
        "sections": list(map(_told, sections)),
    }


def _told(one: Section) -> dict[str, Any]:
    tables = {
        part.name: [dict(zip((column.name for column in part.columns), row, strict=True)) for row in part.rows]
        for part in one.parts
        if isinstance(part, Table)
    }
    return {"name": one.name, "title": one.title, "message": one.message, "notes": list(one.notes), "tables": tables}


def _parquet(frame: pd.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False, compression="zstd")
    return stream.getvalue()
