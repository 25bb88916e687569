"""What is said out loud of archives that were stored: what the checker says of them later, in its words."""

from collections.abc import Iterator, Sequence

from core.datasets import DATASETS
from core.integrity import archives
from core.layout import Layout
from core.types import ArchiveFile, Finding, Series, Source, Stored


def repairs(layout: Layout, series: Series, source: Source) -> list[Finding]:
    """What storing had to repair or to let pass, unless it is usual."""
    usual = DATASETS[series.dataset].usual_repairs
    return [finding for finding in archives.repairs(layout, series, [source]) if finding.kind not in usual]


def beside(stored: Stored, files: Sequence[ArchiveFile]) -> Iterator[Finding]:
    """Days that differ from their months, where one of them has just been stored."""
    keys = {file.key for file in files}
    periods = [file.period for file in files]
    for partition in stored.partitions:
        for source in partition.sources:
            is_new = source.key in keys or any(period.contains(source.period) for period in periods)
            if is_new and not source.is_rest:
                yield from archives.beside(partition.series, [source])
