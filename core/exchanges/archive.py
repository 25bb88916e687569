"""What every exchange's public archive can do for us."""

from datetime import date
from typing import Protocol

from core.datasets import Dataset
from core.types import ArchiveFile, Cadence, Download, FetchedFile, Market, Period, Proof, Series, Span


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

    async def list_since(self, series: Series, cadence: Cadence, first: date) -> tuple[ArchiveFile, ...]:
        """The archives of one cadence that end on `first` or later, in order of time."""
        ...

    async def first_day(self, series: Series, cadence: Cadence) -> date | None:
        """The first day that archives of a cadence cover; None if there are none."""
        ...

    async def probe(self, series: Series, period: Period) -> ArchiveFile | None:
        """An archive that is not listed, if it is there all the same; what is not known of it is 0 or empty."""
        ...

    def unlisted(self, series: Series, period: Period) -> ArchiveFile:
        """How an archive is called that is not listed; nobody is asked."""
        ...

    def proves(self, file: ArchiveFile, sha256: str) -> Proof | None:
        """What the listing says for a digest of an archive; None if nothing. Nobody is asked."""
        ...

    async def adopt(self, download: Download) -> FetchedFile | None:
        """The archive that lies on this disk already, if it verifies; no byte of it is fetched."""
        ...

    async def download(self, download: Download) -> FetchedFile:
        """The verified archive on disk: the one that is there, or fetched. Raises NotPublished, ContentError,
        RemoteError, StorageError."""
        ...
