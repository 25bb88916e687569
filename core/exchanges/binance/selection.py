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
    for covered in sorted(file.period.span for file in files if file.period.span.overlaps(span)):
        if covered.start_us > start:
            left.append(Span(start, covered.start_us))
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
    wanted = [day for day in days if any(part.contains(day.period.span) for part in rest)]
    for month in months:
        covers = month.period.span
        if not covers.overlaps(span) or span.contains(covers):
            continue
        part = Span(max(covers.start_us, span.start_us), min(covers.end_us, span.end_us))
        if uncovered(part, wanted):
            wanted = [day for day in wanted if not covers.contains(day.period.span)]
            chosen.append(month)
    return tuple(sorted([*chosen, *wanted], key=lambda file: file.period.span))
