"""Archives that are stored together: those of one partition, as soon as the last of them has come or has failed."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from core.layout import home_of
from core.types import ArchiveFile, Download, FetchedFile, Period, Series


@dataclass(slots=True)
class _Group:
    home: tuple[Series, Period]
    outstanding: int = 0
    arrived: list[tuple[Download, FetchedFile]] = field(default_factory=list)


class Groups:
    """Counts what is still to come of each group. A group is known by a number until it is complete."""

    def __init__(self) -> None:
        self._groups: dict[int, _Group] = {}
        self._numbers: dict[tuple[Series, Period], int] = {}
        self._next = 0

    def expect(self, files: Iterable[ArchiveFile]) -> list[int]:
        """The group of each of these archives, which will come or fail."""
        numbers = []
        for file in files:
            home = file.series, home_of(file.series, file.period)
            number = self._numbers.get(home)
            if number is None:
                number = self._numbers[home] = self._next
                self._groups[number] = _Group(home)
                self._next += 1
            self._groups[number].outstanding += 1
            numbers.append(number)
        return numbers

    def arrive(self, number: int, download: Download, fetched: FetchedFile) -> None:
        """An archive of the group is here."""
        self._groups[number].arrived.append((download, fetched))

    def settle(self, number: int) -> list[tuple[Download, FetchedFile]]:
        """One archive less is to come; all that have come, if it was the last."""
        group = self._groups[number]
        group.outstanding -= 1
        if group.outstanding:
            return []
        del self._groups[number], self._numbers[group.home]
        return group.arrived
