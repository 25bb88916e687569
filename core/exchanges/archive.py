"""What every exchange's public archive can do for us."""

from typing import Protocol

from core.datasets import Dataset
from core.types import ArchiveFile, Download, FetchedFile, Market, Series, Span


class Archive(Protocol):
    """Lists what is published and brings it here, verified."""

    async def list_symbols(self, market: Market, dataset: Dataset, interval: str | None) -> tuple[str, ...]:
        """Every symbol that has a folder for this data, delisted ones included, sorted."""
        ...

    async def list_files(self, series: Series, span: Span) -> tuple[ArchiveFile, ...]:
        """The archives that hold `span` of a series, no day twice, in order of time; () if nothing is published."""
        ...

    async def list_all(self, series: Series) -> tuple[ArchiveFile, ...]:
        """Every archive of a series, months and days alike, in order of time."""
        ...

    async def adopt(self, download: Download) -> FetchedFile | None:
        """The archive that lies on this disk already, if it verifies; no byte of it is fetched."""
        ...

    async def download(self, download: Download) -> FetchedFile:
        """The verified archive on disk: the one that is there, or fetched. Raises NotPublished, ContentError,
        RemoteError, StorageError."""
        ...
