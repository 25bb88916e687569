"""An archive's rows for whoever writes them: in the order of their key, each once, what is at fault left out."""

import contextlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.datasets import Dataset
from core.errors import FaultyLine
from core.storage.archive_csv import ArchiveCsv
from core.storage.order import KeyConflict, OutOfOrder, Repairs, in_order, repeats
from core.storage.runs import ROW, Runs

T = TypeVar("T")


def read_by_key(
    archive: ArchiveCsv,
    dataset: Dataset,
    beside: Path,
    use: Callable[[ArchiveCsv, Iterator[pa.RecordBatch], Repairs], T],
) -> T:
    """What `use` makes of the rows of an archive in the order of their key; `Repairs` are known when it has read all.

    They are streamed as long as they come in order, else put right by way of a temporary file in the folder of
    `beside`; where lines are at fault and there is a quarantine, those are left out. Each time all begins again, with
    the archive that `use` is given. Raises MalformedArchive, StorageError, DiskFull.
    """
    with archive.quarantine or contextlib.nullcontext():
        try:
            return _by_key(archive, dataset, beside, use)
        except FaultyLine as fault:
            if archive.quarantine is None:
                raise
            archive = archive.without_faults(_rows_of(fault))
        try:
            return _by_key(archive, dataset, beside, use)
        except KeyConflict as conflict:  # between rows that were found only when the other faults were left out
            return _by_key(archive.without_faults(conflict.rows), dataset, beside, use)


def _by_key(
    archive: ArchiveCsv,
    dataset: Dataset,
    beside: Path,
    use: Callable[[ArchiveCsv, Iterator[pa.RecordBatch], Repairs], T],
) -> T:
    try:
        return use(archive, in_order(archive, dataset), Repairs())
    except OutOfOrder:
        pass  # and the rows of the first attempt go with it
    again, repairs = archive.again(), Repairs()
    with Runs(beside, dataset) as runs, contextlib.closing(again.batches()) as batches:
        runs.fill(batches)
        with contextlib.closing(put_right(runs, dataset, archive.path.name, repairs)) as rows:
            return use(again, rows, repairs)


def _rows_of(fault: FaultyLine) -> npt.NDArray[np.int64]:
    return fault.rows if isinstance(fault, KeyConflict) else np.zeros(0, dtype=np.int64)


def put_right(runs: Runs, dataset: Dataset, name: str, repairs: Repairs) -> Generator[pa.RecordBatch, None, None]:
    """The rows in key order without exact duplicates, counting in `repairs` what that took. Raises KeyConflict."""
    place = 0
    for batch, table in _with_neighbour(runs):
        rows = batch.column(ROW).to_numpy()
        repairs.reordered += int(np.count_nonzero(rows != np.arange(place, place + len(rows))))
        place += len(rows)
        kept = table.drop_columns(ROW)
        same = repeats(kept, kept.column_names)
        conflicts = np.flatnonzero(repeats(kept, dataset.key) & ~same)
        if len(conflicts):
            one, other = (kept.slice(int(conflicts[0]) + step, 1).to_pylist()[0] for step in (0, 1))
            said = f"{name}: two different rows with one key: {one} and {other}"
            raise KeyConflict(said, _rows_in_conflict(runs, dataset))
        repairs.duplicates += int(np.count_nonzero(same))
        keep = np.concatenate([np.ones(len(rows) - len(same), dtype=np.bool_), ~same])
        fresh = batch.drop_columns([ROW])
        fresh = fresh if keep.all() else fresh.filter(pa.array(keep))
        if fresh.num_rows:
            yield fresh


def _with_neighbour(runs: Runs) -> Iterator[tuple[pa.RecordBatch, pa.Table]]:
    """Each merged batch, and the same behind the last row of the one before it."""
    before: list[pa.RecordBatch] = []
    for batch in runs.merged():
        yield batch, pa.Table.from_batches([*before, batch])
        before = [batch.slice(batch.num_rows - 1)]


def _rows_in_conflict(runs: Runs, dataset: Dataset) -> npt.NDArray[np.int64]:
    """The rows of the file that have the key of a row with different content.

    By another look at the runs, which keeps of rows that share their key only what their numbers are.
    """
    members: list[npt.NDArray[np.int64]] = []
    keys: list[npt.NDArray[np.int64]] = []
    at_odds: list[npt.NDArray[np.int64]] = []
    first = 0
    for _, table in _with_neighbour(runs):
        kept = table.drop_columns(ROW)
        shared = repeats(kept, dataset.key)
        # The row before a batch has the number of its key already: it is that of the last key there was.
        key = first + np.cumsum(np.concatenate([[False], ~shared]))
        is_member = np.concatenate([[False], shared]) | np.concatenate([shared, [False]])
        members.append(table.column(ROW).to_numpy()[is_member])
        keys.append(key[is_member])
        at_odds.append(key[1:][shared & ~repeats(kept, kept.column_names)])
        first = int(key[-1])
    return np.unique(np.concatenate(members)[np.isin(np.concatenate(keys), np.concatenate(at_odds))])
