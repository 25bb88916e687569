"""Stored bars, summed up by spec and series. A footer is read once for each file as it lies there."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.layout import Layout, period_in_bars
from core.types import Market, Series, Stamp


@dataclass(frozen=True, slots=True)
class StoredBars:
    """The bars of one spec and series: `files` of a month each, `last_us` is when the last bar closed (None: none)."""

    spec: str
    series: Series
    files: int
    bars: int
    size_bytes: int
    last_us: int | None


class BarsOverview:
    """Looks at the bars of a data folder, again and again. Used from one thread at a time."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._seen: dict[Path, tuple[Stamp, int, int | None]] = {}

    def look(self) -> list[StoredBars]:
        """All that is there, by spec, then series. What cannot be read is left out: bars can be made again."""
        seen: dict[Path, tuple[Stamp, int, int | None]] = {}
        found: list[StoredBars] = []
        for spec, series in self._folders():
            files = list(self._files(spec, series))
            seen.update(files)
            if files:
                closes = [last_us for _, (_, _, last_us) in files if last_us is not None]
                bars, size_bytes = sum(n for _, (_, n, _) in files), sum(stamp.size for _, (stamp, _, _) in files)
                found.append(StoredBars(spec, series, len(files), bars, size_bytes, max(closes, default=None)))
        self._seen = seen
        return found

    def _folders(self) -> Iterator[tuple[str, Series]]:
        home = self._layout.root / "processed" / "bars"
        for path in sorted(home.glob("*/*/*/*")):
            spec, market, dataset, symbol = path.relative_to(home).parts
            with contextlib.suppress(ValueError):
                yield spec, Series(Market(market), dataset, symbol)

    def _files(self, spec: str, series: Series) -> Iterator[tuple[Path, tuple[Stamp, int, int | None]]]:
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._layout.bars_folder(spec, series)):
                path = Path(entry.path)
                if period_in_bars(entry.name, series) is None:
                    continue
                with contextlib.suppress(OSError, pa.ArrowException):
                    stamp = Stamp.of(entry.stat())
                    known = self._seen.get(path)
                    yield path, known if known is not None and known[0] == stamp else (stamp, *_facts(path))


def _facts(path: Path) -> tuple[int, int | None]:
    """How many bars a file has, and when the last one closed."""
    metadata = pq.read_metadata(path)
    place = metadata.schema.names.index("time_close")
    groups = [metadata.row_group(number).column(place).statistics for number in range(metadata.num_row_groups)]
    closes = [_us(each.max) for each in groups if each is not None and each.has_min_max]
    return metadata.num_rows, max(closes, default=None)


def _us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
