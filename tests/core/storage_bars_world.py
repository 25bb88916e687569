"""Trades of days in a data folder, their bars by one builder, and their stored bars."""

import hashlib
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from factories import zip_bytes

from core.bars.builder import BarBuilder, columns_of
from core.bars.spec import BarSpec
from core.jobs.bars import BarTask, Built
from core.layout import Layout
from core.settings import QualitySettings, Settings, StorageSettings
from core.storage.bar_files import BarFiles
from core.storage.manager import StorageManager
from core.storage.merging import merged
from core.storage.survey import survey
from core.types import ArchiveFile, FetchedFile, Market, Period, Proof, Series, Span
from loader import BacktestDataLoader

FIRST = datetime(2024, 1, 25, tzinfo=UTC)
ALWAYS = Span(0, 2**61)


class BarWorld:
    """Each day has some forty trades, whose ids follow from the day."""

    def __init__(self, root: Path, dataset: str = "trades") -> None:
        self.root = root
        self.layout = Layout(root)
        self.settings = Settings().replace(paths={"data": root}, storage={"csv_datasets": ()})
        self.storage = StorageManager(self.layout, StorageSettings(csv_datasets=()), QualitySettings())
        self.dataset = dataset
        self.count = 0

    @property
    def folder(self) -> Path:
        return self.root / "processed" / "bars"

    def series(self, symbol: str = "BTCUSDT") -> Series:
        return Series(Market.UM, self.dataset, symbol)

    def put_number(self, day: int, seed: int = 0) -> int:
        return self.put((FIRST + timedelta(days=day)).strftime("%Y-%m-%d"), seed=seed)

    def put(self, *labels: str, seed: int = 0, symbol: str = "BTCUSDT", late_hours: int = 0) -> int:
        """Store the archives of these days; how many trades they have. The first trades of a day may be so much older
        than the day."""
        count = sum(self._put(label, seed, symbol, late_hours) for label in labels)
        self.count += count
        return count

    def put_trades(self, label: str, trades: Iterable[tuple[int, int, float]]) -> None:
        """Store the archive of a day: of each trade its id (of aggregated ones with that of the first trade in it) and
        the hours from the day's midnight."""
        start_ms = Period.parse(label).span.start_us // 1000
        lines = []
        for id_, first, hours in trades:
            at, made = start_ms + round(hours * 3_600_000), random.Random(f"{id_}/{first}")
            price, side = 100 + made.randrange(-300, 300) / 100, made.choice(["true", "false"])
            whole, part = f"{id_},{price},1", f"{at},{side}\n"
            lines.append(f"{whole},{price},{part}" if self.dataset == "trades" else f"{whole},{first},{first},{part}")
        self._store(label, lines, "BTCUSDT")

    def _put(self, label: str, seed: int, symbol: str, late_hours: int) -> int:
        return self._store(label, self._lines(Period.parse(label), seed, late_hours), symbol)

    def _store(self, label: str, lines: list[str], symbol: str) -> int:
        period, series = Period.parse(label), self.series(symbol)
        path = self.layout.raw(series, period)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zip_bytes({f"{path.stem}.csv": "".join(lines).encode()}))
        file = ArchiveFile(series, period, f"data/{path.name}", path.stat().st_size, "", None, "")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        stored = self.storage.store([FetchedFile(file, path, file.size, digest, Proof.UNVERIFIED)])
        assert not stored.refused
        return len(lines)

    def _lines(self, period: Period, seed: int, late_hours: int) -> list[str]:
        made = random.Random(f"{period.label}/{seed}")
        start_ms = period.span.start_us // 1000
        first = int((period.span.start_us - Period.parse("2023-12-01").span.start_us) // 86_400_000_000) * 1000
        times = sorted(made.randrange(86_400_000) for _ in range(made.randrange(30, 50)))
        if late_hours:
            times[4] = -late_hours * 3_600_000  # behind trades of the day itself
        lines = []
        for number, time_ms in enumerate(times):
            price, qty = f"{100 + made.randrange(-300, 300) / 100:.2f}", f"{made.randrange(0, 5000) / 1000:.3f}"
            side, id_, at = made.choice(["true", "false"]), first + number, start_ms + time_ms
            if self.dataset == "trades":
                lines.append(f"{id_},{price},{qty},{float(price) * float(qty):.6f},{at},{side}\n")
            else:
                lines.append(f"{id_},{price},{qty},{id_},{id_},{at},{side}\n")
        return lines

    def remove(self, label: str) -> None:
        """As if a day had never come."""
        self.layout.processed(self.series(), Period.parse(label)).unlink()

    def merge(self, label: str) -> None:
        """The days of a month in one file."""
        here = survey(self.layout, self.series()).partitions
        partitions = [one for one in here if one.period.label.startswith(label)]
        assert len(partitions) > 1
        assert merged(self.layout, Period.parse(label), partitions, 131_072) is not None

    def build(self, specs: tuple[str, ...], is_overlapped: bool = True) -> list[Built]:
        task = BarTask(self.settings, self.series(), tuple(map(BarSpec.parse, specs)), is_overlapped)
        built = task.run()
        assert [one.error for one in built] == [""] * len(specs)
        return built

    def stored(self, spec: str, symbol: str = "BTCUSDT") -> pa.Table:
        files = BarFiles(self.layout, spec, self.series(symbol))
        return pa.concat_tables([files.read(month) for month in files.months()]).combine_chunks()

    def truth(self, spec: str, symbol: str = "BTCUSDT") -> pa.Table:
        """What one builder makes of all trades at once."""
        names = list(columns_of(self.dataset))
        table = pa.Table.from_batches(list(self.storage.scan(self.series(symbol), ALWAYS, names)))
        return BarBuilder(BarSpec.parse(spec)).update(table).combine_chunks()

    def files(self) -> dict[str, bytes]:
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in self.folder.rglob("*.parquet")}

    def loader(self) -> BacktestDataLoader:
        return BacktestDataLoader(self.settings)
