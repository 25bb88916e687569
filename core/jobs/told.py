"""What is said out loud of archives that were stored."""

from collections.abc import Iterable, Sequence

from core.datasets import DATASETS
from core.layout import Layout
from core.types import ArchiveFile, Finding, Proof, Series, Source, Stored


def repairs(layout: Layout, series: Series, source: Source) -> list[Finding]:
    """What storing had to repair or to let pass, unless it is usual."""
    quarantine = layout.quarantine(series, source.period)
    found = [
        ("duplicate-rows", source.duplicates, "exact duplicate rows were dropped"),
        ("unsorted-rows", source.reordered, "rows were out of order and have been sorted"),
        ("outside-period", source.outside, "rows lie outside the period of their file and were kept"),
        ("quarantined-lines", source.quarantined, f"lines cannot be stored and lie in {quarantine}"),
    ]
    return [
        Finding(series, source.period.span, kind, f"{source.period.label}: {count} {what}", count)
        for kind, count, what in found
        if count and kind not in DATASETS[series.dataset].usual_repairs
    ]


def beside(stored: Stored, files: Sequence[ArchiveFile]) -> Iterable[Finding]:
    """Days that differ from their months, where one of them has just been stored."""
    keys = {file.key for file in files}
    periods = [file.period for file in files]
    for partition in stored.partitions:
        for source in partition.sources:
            is_new = source.key in keys or any(period.contains(source.period) for period in periods)
            if source.is_beside and source.proof is not Proof.REST and is_new:
                detail = (
                    f"{source.period.label}: the month's archive lacks {source.added} rows of the day's own and has "
                    f"{source.changed} otherwise; the day's are given"
                )
                count, cause = source.added + source.changed, "the day's own archive is given"
                yield Finding(partition.series, source.period.span, "month-differs", detail, count, cause)
