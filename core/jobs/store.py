"""What a run asks of whoever keeps the rows."""

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, Protocol

from core.types import ArchiveFile, FetchedFile, Partition, Period, Series, Stamp, Stored

if TYPE_CHECKING:  # a download alone needs no Arrow, which takes longer to load than everything else together
    from core.storage.survey import Survey


CHECK_ROWS: Final = "core.integrity.checks:check_rows"
"""What looks at rows while they are stored, by name: it needs Arrow, and whoever stores may be another process."""


class Store(Protocol):
    """`StorageManager` is one, in this process; `StoragePool` another, with processes of its own."""

    @property
    def at_once(self) -> int: ...

    def sweep(self) -> int: ...

    def expect(self, archive_bytes: int) -> None: ...

    def store(self, files: Sequence[FetchedFile], fresh: bool = False) -> Stored: ...

    def held(self, files: Sequence[FetchedFile]) -> Stored: ...

    def stamps(self, series: Series) -> dict[Period, Stamp]: ...

    def readable(self, series: Series, periods: Iterable[Period]) -> list[Partition]: ...

    def archives(self) -> Mapping[Series, Set[Period]]: ...

    def whole(self, file: ArchiveFile) -> Stored | None: ...

    def turn(self, series: Series) -> AbstractContextManager[None]: ...

    def tidied(self, series: Series) -> "Survey": ...
