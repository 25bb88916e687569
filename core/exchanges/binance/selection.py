"""Which archives hold a span: whole months by the month, the rest by days, no day twice."""

from collections.abc import Iterable, Sequence

from core.types import ArchiveFile, Span


def whole_months(span: Span, months: Iterable[ArchiveFile]) -> tuple[ArchiveFile, ...]:
    """The published months that lie wholly inside the span."""
    return tuple(month for month in months if span.contains(month.period.span))


def uncovered(span: Span, files: Sequence[ArchiveFile]) -> tuple[Span, ...]:
    """What is left of a span beside these files, in order."""
    left: list[Span] = []
    start = span.start_us
    for file in sorted(files, key=lambda file: file.period.span):
        covered = file.period.span
        if covered.start_us > start:
            left.append(Span(start, min(covered.start_us, span.end_us)))
        start = max(start, covered.end_us)
    if start < span.end_us:
        left.append(Span(start, span.end_us))
    return tuple(left)


def choose(span: Span, months: Sequence[ArchiveFile], days: Sequence[ArchiveFile]) -> tuple[ArchiveFile, ...]:
    """Whole months, then days; a month that reaches over the span's edge only where some wanted day of it has no file.

    Such a month replaces the days of it that were chosen, so that no day is held twice.
    """
    chosen = list(whole_months(span, months))
    rest = uncovered(span, chosen)
    wanted_days = [day for day in days if any(part.contains(day.period.span) for part in rest)]
    for month in months:
        partial = (
            Span(max(month.period.span.start_us, span.start_us), min(month.period.span.end_us, span.end_us))
            if month.period.span.overlaps(span) and month not in chosen
            else None
        )
        if partial is not None and uncovered(partial, wanted_days):
            wanted_days = [day for day in wanted_days if not month.period.span.contains(day.period.span)]
            chosen.append(month)
    return tuple(sorted([*chosen, *wanted_days], key=lambda file: file.period.span))
