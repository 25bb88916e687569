"""Small archives of one series read as one text: what each of them costs beside its bytes is paid once for all.

Only what is regular in every way is read so. Whatever is not, a fault or a repair, is left to the reading one by one,
which finds and tells it.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import Dataset
from core.errors import MalformedArchive
from core.storage.archive_csv import ArchiveCsv
from core.storage.order import rises
from core.storage.pieces import Piece
from core.types import FetchedFile, Period, Source

SMALL_BYTES: Final = 1 << 20
"""Archives up to this size are read together."""
AT_ONCE_BYTES: Final = 1 << 22
_LINE_END: Final = ord("\n")

_Pair = tuple[FetchedFile, ArchiveCsv]
_Longs = npt.NDArray[np.int64]


def read_together(pairs: Sequence[_Pair], home: Period, dataset: Dataset) -> dict[str, Piece]:
    """By key, the pieces of those archives of one home that are small and regular."""
    pieces: dict[str, Piece] = {}
    for run in _runs(pairs):
        try:
            pieces |= _pieces(run, home, dataset)
        except MalformedArchive:
            continue
    return pieces


def _runs(pairs: Sequence[_Pair]) -> Iterator[list[_Pair]]:
    """Small archives by the handful; one alone is none."""
    run: list[_Pair] = []
    size = 0
    for pair in pairs:
        if pair[0].size > SMALL_BYTES:
            continue
        if size + pair[0].size > AT_ONCE_BYTES and run:
            yield run
            run, size = [], 0
        run.append(pair)
        size += pair[0].size
    if len(run) > 1:
        yield run


def _pieces(run: Sequence[_Pair], home: Period, dataset: Dataset) -> dict[str, Piece]:
    """Their pieces; none if anything is not as it should be. Raises MalformedArchive."""
    texts = [archive.text() for _, archive in run]
    whole = run[0][1].joined([archive for _, archive in run[1:]], home)
    batches = list(whole.batches_of(texts)) if whole is not None else []
    if whole is None or not batches:
        return {}
    rows = pa.concat_batches(batches)
    counts = np.array([np.count_nonzero(np.frombuffer(text, np.uint8) == _LINE_END) for text in texts])
    starts = np.cumsum(counts) - counts
    first, last = _extents(rows, starts)
    if not (counts.sum() == rows.num_rows and _is_inside(run, dataset, first, last) and _rises(rows, dataset, starts)):
        return {}
    return {
        fetched.file.key: Piece(
            Source(
                *(fetched.file.key, fetched.file.period, fetched.sha256, fetched.proof, whole.source_unit),
                *(int(count), int(first_us), int(last_us)),
            ),
            [rows.slice(start, count)],
        )
        for (fetched, _), start, count, first_us, last_us in zip(run, starts, counts, first, last, strict=True)
    }


def _extents(rows: pa.RecordBatch, starts: _Longs) -> tuple[_Longs, _Longs]:
    """The earliest and the latest time of each archive."""
    times = rows.column("timestamp").cast(pa.int64()).to_numpy()
    return np.minimum.reduceat(times, starts), np.maximum.reduceat(times, starts)


def _is_inside(run: Sequence[_Pair], dataset: Dataset, first: _Longs, last: _Longs) -> bool:
    """Whether no row lies outside the period of its archive."""
    spans = [fetched.file.period.span for fetched, _ in run]
    ends = [dataset.last_us(span) for span in spans]
    return bool((first >= [span.start_us for span in spans]).all() and (last <= ends).all())


def _rises(rows: pa.RecordBatch, dataset: Dataset, starts: _Longs) -> bool:
    """Whether the key rises strictly within each archive."""
    rising = rises(rows, dataset)
    rising[starts[1:] - 1] = True
    return bool(rising.all())
