"""Which symbols the exchange has ended: where their rows end, nothing is missing."""

import json
from pathlib import Path

from core.dates import day_of
from core.storage.remembered import stamp_at
from core.types import Series, Stamp


class Ended:
    """What `metadata/symbols_info.json` says, which every download brings up to date; read when it is asked first, and
    again after it has changed. Nobody has ended where it is absent or cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: Stamp | None = None
        self._last: dict[tuple[str, str, str], str] = {}

    def __call__(self, series: Series, last_us: int) -> bool:
        """Whether a series whose last row is that one has all that the exchange ever listed of it."""
        stamp = stamp_at(self._path)
        if stamp is None:
            return False
        if stamp != self._stamp:
            self._last, self._stamp = _last_days(self._path), stamp
        kind = f"{series.dataset}/{series.interval}" if series.interval else series.dataset
        last = self._last.get((series.market.value, series.symbol, kind))
        return last is not None and day_of(last_us).isoformat() >= last


def _last_days(path: Path) -> dict[tuple[str, str, str], str]:
    """The last listed day of each kind of data of the symbols that have ended."""
    try:
        symbols = json.loads(path.read_bytes())["symbols"]
        return {
            (market, symbol, kind): days["last"]
            for market, of_market in symbols.items()
            for symbol, entry in of_market.items()
            if entry["status"] == "ended"
            for kind, days in entry["data_types"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
