"""`StoredRows`: what is stored, for those who only read. Importing it loads nothing that only writers need."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from core.datasets import DATASETS, Dataset
from core.dates import DAY_US, HOUR_US
from core.errors import FilesChanged, storage_error
from core.layout import SYMBOL, Layout
from core.settings import QualitySettings, StorageSettings
from core.storage.files import files_of, stamps_of
from core.storage.partitions import LOOKS, keeps_changing, partitions_of
from core.storage.reading import Catalog, facts_of_each, nothing_known
from core.storage.remembered import Remembered
from core.types import Market, Partition, PartitionFacts, Period, Series, Span, Stamp


class StoredRows:
    """Reads partitions under one data root. `catalog` spares `facts` the footers that it knows."""

    def __init__(
        self, layout: Layout, settings: StorageSettings, quality: QualitySettings, catalog: Catalog = nothing_known
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._quality = quality
        self._catalog = catalog
        self._remembered = Remembered(layout)

    def partitions(self, series: Series, span: Span | None = None) -> tuple[Partition, ...]:
        """The partitions that overlap `span`, in order of time. Raises StorageError."""
        return partitions_of(self._layout, series, span)

    def facts(self, wanted: Sequence[Series], span: Span | None = None) -> list[tuple[PartitionFacts, ...]]:
        """For each of these series what a reader has to know of its partitions that overlap `span`.

        Raises StorageError if one of them cannot be read.
        """
        return facts_of_each(self._layout, wanted, span, self._catalog, self._remembered)

    def series(self, market: Market | None = None, dataset: str | None = None) -> tuple[Series, ...]:
        """Every series that has a partition, sorted."""
        markets = (market,) if market else tuple(Market)
        kinds = (DATASETS[dataset],) if dataset else tuple(DATASETS.values())
        found = (one for m in markets for kind in kinds if m in kind.markets for one in self._stored(m, kind))
        return tuple(sorted(found, key=str))

    def _stored(self, market: Market, kind: Dataset) -> Iterator[Series]:
        for symbol in _folders(self._layout.root / "processed" / market / kind.name):
            for folder in _folders(symbol) if kind.has_interval else [symbol]:
                series = Series(market, kind.name, symbol.name, folder.name if kind.has_interval else None)
                if files_of(self._layout, series):
                    yield series

    def scan(self, series: Series, span: Span, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of `span` in key order and each once (`core.storage.joined`), at most a row group at a time.

        They are those of one moment, whatever an update does meanwhile: if a file has changed before the first row was
        given, all begins again. Raises StorageError if a partition cannot be read or two archives contradict each
        other, FilesChanged if one of very many files has changed behind the first row.
        """
        from core.storage.joined import joined  # which loads what readers of single files do without

        wanted = None if columns is None else [*dict.fromkeys([*columns, "timestamp", *DATASETS[series.dataset].key])]
        for _ in range(LOOKS):
            is_begun = False
            try:
                partitions = self.partitions(series, self.around(span))
                for batch in joined(partitions, span, wanted, self._settings.row_group_rows):
                    is_begun = True
                    yield batch if columns is None else batch.select(list(columns))
                return
            except FilesChanged:
                if is_begun:
                    raise
        raise keeps_changing(series)

    def around(self, span: Span) -> Span:
        """The time whose partitions may have rows of `span`: rows may lie a little outside the period of their file."""
        return Span(max(0, span.start_us - self.slack_us), span.end_us + self.slack_us)

    @property
    def slack_us(self) -> int:
        """How far rows may lie outside the period of their file."""
        return max(DAY_US, self._quality.period_slack_hours * HOUR_US)

    def stamps(self, series: Series) -> dict[Period, Stamp]:
        """The partition files that lie there, by their names."""
        return stamps_of(self._layout, series)


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and SYMBOL.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise storage_error(error, folder) from error
