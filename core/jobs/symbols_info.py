"""`metadata/symbols_info.json`: what the listing said about each symbol, kept for people and later runs.

{"version": 1, "listing": "https://...", "updated": "2025-02-18T09:00:00Z",
 "symbols": {"um": {"BTCUSDT": {"status": "trading",
                                "data_types": {"klines/1h": {"first": "2023-12-10", "last": "2025-02-17"}}}}}}
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from core.datasets import FUNDING_RATE
from core.errors import StorageError, storage_error
from core.types import ArchiveFile, Series

VERSION: Final = 1
STILL_TRADING: Final = timedelta(days=3)
"""A symbol whose newest archive is older than that of its market by more than this has ended."""


Coverage = dict[Series, tuple[date, date]]
"""The first and the last day of each series that archives cover."""


def cover(covered: Coverage, files: Sequence[ArchiveFile]) -> Coverage:
    """Widen a coverage by listed files."""
    for file in files:
        first, last = covered.get(file.series, (file.period.first, file.period.last))
        covered[file.series] = (min(first, file.period.first), max(last, file.period.last))
    return covered


def record_symbols(path: Path, covered: Coverage, listing: str) -> None:
    """Widen what is known by what a listing showed. `first` and `last` are days covered by archives.

    `status` of the symbols among `covered` is `trading`, or `ended` if their newest archive is days older than the
    newest known of their market; `unknown` while the market has no other symbol to compare with. Funding does not
    count: it is published by the month.
    Raises StorageError if the file cannot be read or written.
    """
    known = _read(path)
    symbols = known.get("symbols", {}) if known.get("listing") == listing else {}
    try:
        _widen(symbols, covered)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path} is not of our making ({error}); delete it, the next run writes it anew") from error
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    _write(path, {"version": VERSION, "listing": listing, "updated": now, "symbols": symbols})


def _widen(symbols: dict[str, Any], covered: Coverage) -> None:
    for series, (first, last) in covered.items():
        entry = symbols.setdefault(series.market.value, {}).setdefault(series.symbol, {"status": "unknown"})
        kind = f"{series.dataset}/{series.interval}" if series.interval else series.dataset
        before = entry.setdefault("data_types", {}).get(kind, {})
        entry["data_types"][kind] = {
            "first": min(before.get("first", first.isoformat()), first.isoformat()),
            "last": max(before.get("last", last.isoformat()), last.isoformat()),
        }
    for name in {series.market.value for series in covered}:
        newest = {symbol: _newest(entry) for symbol, entry in symbols[name].items()}
        for symbol in {series.symbol for series in covered if series.market.value == name}:
            symbols[name][symbol]["status"] = _status(newest, symbol)


def _status(newest: dict[str, date], symbol: str) -> str:
    if len(newest) < 2 or newest[symbol] == date.min:
        return "unknown"
    return "trading" if newest[symbol] >= max(newest.values()) - STILL_TRADING else "ended"


def _newest(entry: dict[str, Any]) -> date:
    """The last day of any archive but funding's."""
    lasts = [kind["last"] for name, kind in entry.get("data_types", {}).items() if name != FUNDING_RATE.name]
    return date.fromisoformat(max(lasts)) if lasts else date.min


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise storage_error(error, path) from error
    except ValueError as error:
        raise StorageError(f"{path} is not JSON ({error}); delete it, the next run writes it anew") from error
    return known if isinstance(known, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(content, stream, ensure_ascii=False, indent=1, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error(error, path) from error
