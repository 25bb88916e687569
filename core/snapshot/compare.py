"""What has changed since a lock was made, period by period, and why as far as the partitions say it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final

from core.dates import format_us
from core.snapshot.lock import Content, Lock, LockedPartition, LockedSeries, Origin
from core.types import Period, Series, Span

_SHOWN: Final = 3
_REST: Final = "rest/"


class ChangeKind(StrEnum):
    """`added`: rows behind the last locked one, and all locked rows are there. `filled`: rows where there were none,
    before the last locked one. `removed`: all rows of a period have gone. `revised`: other rows, and an archive that
    has rows there was replaced by its publisher. `changed`: other rows for another reason. `repacked`: the same rows in
    other files or from other archives, which is no change of the data."""

    ADDED = "added"
    FILLED = "filled"
    REMOVED = "removed"
    REVISED = "revised"
    CHANGED = "changed"
    REPACKED = "repacked"


HARMLESS: Final = (ChangeKind.ADDED, ChangeKind.REPACKED)
"""With no other changes than these, all locked rows are there unchanged, and a load with the lock gives them."""


@dataclass(frozen=True, slots=True)
class Change:
    """What differs in one period of a series (`repacked`: in the whole series, then `period` is None).

    `rows_before` and `rows_after` are those of the period. `first_us` to `last_us` is where the difference lies as
    closely as it can be told, None where there is none. `causes` are sentences.
    """

    series: Series
    period: Period | None
    kind: ChangeKind
    rows_before: int
    rows_after: int
    first_us: int | None
    last_us: int | None
    causes: tuple[str, ...]

    def __str__(self) -> str:
        where = f"{self.series} {self.period.label}" if self.period else str(self.series)
        return f"{where}: {self._what()}" + (f" ({'; '.join(self.causes)})" if self.causes else "")

    def _what(self) -> str:
        more = self.rows_after - self.rows_before
        when = ""
        if self.first_us is not None and self.last_us is not None:
            when = f", {format_us(self.first_us)} to {format_us(self.last_us)}"
        if self.kind in (ChangeKind.ADDED, ChangeKind.FILLED):
            return f"{_rows(more)} {'added' if self.kind is ChangeKind.ADDED else 'more, a gap was filled'}{when}"
        if self.kind is ChangeKind.REMOVED:
            return f"{_rows(self.rows_before)} gone{when}"
        if self.kind is ChangeKind.REPACKED:
            return "the same rows, packed otherwise"
        count = "as many rows" if not more else f"{_rows(self.rows_after)} instead of {self.rows_before}"
        why = "an archive was revised" if self.kind is ChangeKind.REVISED else "not the locked rows"
        return f"{why}: {count}, with other content{when}"


@dataclass(frozen=True, slots=True)
class Tail:
    """The rows of a period up to a moment, and those behind it; None where there are none."""

    until: Content | None
    behind: Content | None


Cut = Callable[[Series, Period, int], Tail]
"""Of the newer side, the rows of a period cut behind a moment; only a data folder can tell."""


def scope_differences(old: Lock, new: Lock) -> tuple[str, ...]:
    """How two locks differ in what they cover."""
    found = []
    if old.market is not new.market:
        found.append(f"market {new.market}, not {old.market}")
    if old.span != new.span:
        found.append(f"{_span_text(new.span)}, not {_span_text(old.span)}")
    gone, come = ({one.series for one in lock.series} for lock in (old, new))
    found += [f"{one} is no longer covered" for one in sorted(gone - come, key=str)]
    return (*found, *(f"{one} is covered too" for one in sorted(come - gone, key=str)))


def changes(old: Lock, new: Lock, cut: Cut | None = None) -> Iterator[Change]:
    """What differs in the series that both locks cover, in order of series and period."""
    after = new.by_series
    for before in old.series:
        if before.series in after:
            yield from changes_of(before, after[before.series], cut)


def changes_of(old: LockedSeries, new: LockedSeries, cut: Cut | None = None) -> Iterator[Change]:
    """What differs in one series; one `repacked` if nothing does but files or archives."""
    before, after = old.by_period, new.by_period
    found = False
    for period in sorted({*before, *after}):
        one, other = before.get(period), after.get(period)
        if one is None or other is None or one.digest != other.digest:
            found = True
            yield from _changes_in(old, new, period, cut)
    if not found and old.partitions != new.partitions:
        causes = tuple(_repacking(old, new))
        yield Change(old.series, None, ChangeKind.REPACKED, old.rows, new.rows, None, None, causes)


def _changes_in(old: LockedSeries, new: LockedSeries, period: Period, cut: Cut | None) -> Iterator[Change]:
    """What differs in a period: among the locked rows, and behind the last of them."""
    one, other = old.by_period.get(period), new.by_period.get(period)
    origins = _Origins(old, new, period.span)
    if one is None:
        assert other is not None
        kind = ChangeKind.ADDED if other.first_us > old.last_us else ChangeKind.FILLED
        yield Change(old.series, period, kind, 0, other.rows, other.first_us, other.last_us, origins.causes())
    elif other is None:
        extent = (one.first_us, one.last_us)
        yield Change(old.series, period, ChangeKind.REMOVED, one.rows, 0, *extent, origins.causes())
    elif one.last_us < old.last_us or other.last_us <= one.last_us:
        yield _changed(old.series, one, other.rows, origins)
    else:
        yield from _changed_and_added(old, new, one, other, cut)


def _changed_and_added(
    old: LockedSeries, new: LockedSeries, one: Content, other: Content, cut: Cut | None
) -> Iterator[Change]:
    """What differs in the period of the last locked row, where rows lie behind it.

    The two are told apart by the rows. A lock has none: there, rows are said to be added only if all archives are still
    the same and the others lie behind.
    """
    period, series = one.period, old.series
    origins = _Origins(old, new, period.span)
    if cut is None:
        first_us = min((origin.first_us for origin in origins.come), default=-1)
        if origins.are_only_more and first_us > one.last_us:
            extent = (first_us, other.last_us)
            yield Change(series, period, ChangeKind.ADDED, one.rows, other.rows, *extent, origins.causes())
        else:
            yield _changed(series, one, other.rows, origins)
        return
    tail = cut(series, period, one.last_us)
    rows = tail.until.rows if tail.until else 0
    if tail.until is None or tail.until.digest != one.digest:
        locked_time = Span(period.span.start_us, one.last_us + 1)
        yield _changed(series, one, rows, _Origins(old, new, locked_time))
    if tail.behind is not None:
        extent = (tail.behind.first_us, tail.behind.last_us)
        causes = _Origins(old, new, Span(one.last_us + 1, period.span.end_us)).causes()
        yield Change(series, period, ChangeKind.ADDED, rows, rows + tail.behind.rows, *extent, causes)


def _changed(series: Series, one: Content, rows: int, origins: "_Origins") -> Change:
    """Other rows than the locked ones, and as many as `rows`."""
    if origins.revised:
        extent = _extent(origins.revised)
        return Change(series, one.period, ChangeKind.REVISED, one.rows, rows, *extent, origins.causes())
    if origins.are_only_more and rows > one.rows:
        extent = _extent(origins.come)
        return Change(series, one.period, ChangeKind.FILLED, one.rows, rows, *extent, origins.causes())
    causes = origins.causes() or ("the archives are the same, so the partition was edited or damaged",)
    return Change(series, one.period, ChangeKind.CHANGED, one.rows, rows, None, None, causes)


class _Origins:
    """How the archives that have rows in a span differ. One that is split by day counts once, over all its days."""

    def __init__(self, old: LockedSeries, new: LockedSeries, span: Span) -> None:
        before, after = (_near(one.partitions, span) for one in (old, new))
        self.come = [after[key] for key in after if key not in before]
        self.gone = [before[key] for key in before if key not in after]
        both = [(before[key], after[key]) for key in before if key in after]
        self.revised = [new for old, new in both if old.sha256 != new.sha256]
        self._was = {origin.key: origin for origin in before.values()}
        self.are_only_more = bool(self.come) and not self.gone and all(old == new for old, new in both)

    def causes(self) -> tuple[str, ...]:
        revised = [
            f"{o.key} was revised: sha256 {self._was[o.key].sha256[:12]} became {o.sha256[:12]}" for o in self.revised
        ]
        come = [f"{_kind_of(origin)} was added: {origin.key}, {_rows(origin.rows)}" for origin in self.come]
        gone = [f"{_kind_of(origin)} is no longer used: {origin.key}" for origin in self.gone]
        return (*_some(revised), *_some(come), *_some(gone))


def _near(partitions: Sequence[LockedPartition], span: Span) -> Mapping[str, Origin]:
    """By key, the archives with rows in a span, the rows of one that lies in several places together."""
    found: dict[str, Origin] = {}
    for origin in chain.from_iterable(part.origins for part in partitions):
        if origin.rows and origin.first_us < span.end_us and origin.last_us >= span.start_us:
            same = found.get(origin.key)
            found[origin.key] = origin if same is None else _together(same, origin)
    return found


def _together(one: Origin, other: Origin) -> Origin:
    first_us, last_us = min(one.first_us, other.first_us), max(one.last_us, other.last_us)
    return Origin(one.key, max(one.sha256, other.sha256), one.proof, one.rows + other.rows, first_us, last_us)


def _repacking(old: LockedSeries, new: LockedSeries) -> Iterator[str]:
    whole = Span(0, 2**62)
    before, after = _near(old.partitions, whole), _near(new.partitions, whole)
    files = [part.period.label for part in old.partitions], [part.period.label for part in new.partitions]
    if files[0] != files[1]:
        yield f"files {_listed(files[1])} instead of {_listed(files[0])}"
    yield from _some(
        [f"{key} was revised without a change of its rows" for key in before if _is_revised(key, before, after)]
    )
    yield from _some([f"{_kind_of(after[key])} was added: {key}" for key in after if key not in before])
    yield from _some([f"{_kind_of(before[key])} is no longer used: {key}" for key in before if key not in after])
    if files[0] == files[1] and before == after:
        yield "the same archives, written anew"


def _is_revised(key: str, before: Mapping[str, Origin], after: Mapping[str, Origin]) -> bool:
    return key in after and before[key].sha256 != after[key].sha256


def _kind_of(origin: Origin) -> str:
    return "an answer of the exchange's API" if origin.key.startswith(_REST) else "an archive"


def _extent(origins: Sequence[Origin]) -> tuple[int, int]:
    return min(origin.first_us for origin in origins), max(origin.last_us for origin in origins)


def _some(texts: Sequence[str]) -> Iterator[str]:
    yield from texts[:_SHOWN]
    if len(texts) > _SHOWN:
        yield f"and {len(texts) - _SHOWN} more like this"


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_SHOWN], *([f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])]) or "none"


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _span_text(span: Span) -> str:
    return f"{format_us(span.start_us)} to {format_us(span.end_us)}"
