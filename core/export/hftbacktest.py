"""Event arrays of hftbacktest 2, one file a UTC day: `<market>/<symbol>/<symbol>-<data type>-2024-01-31.npz`.

Under the key `data` lies an array of `EVENT`, one row a trade, as the tool's own converters leave it. `ev` is a trade
with the taker's side, valid at the exchange and locally. Nobody knows when a trade of the archive would have arrived,
so `local_ts` equals `exch_ts`, both in nanoseconds. `qty` is as stored (contracts in `cm`); `order_id`, `ival` and
`fval` are 0. Rows are in order of time, those of one time in order of their ids, which the tool's validation demands.
"""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.dates import DAY_US, HOUR_US, day_of
from core.errors import ContentError
from core.export.draft import draft
from core.export.format import Options, Rows, Written
from core.types import Series, Span

EVENT: Final = np.dtype(
    [
        ("ev", "u8"),
        ("exch_ts", "i8"),
        ("local_ts", "i8"),
        ("px", "f8"),
        ("qty", "f8"),
        ("order_id", "u8"),
        ("ival", "i8"),
        ("fval", "f8"),
    ],
    align=True,
)
"""One event of 64 bytes; `fval` of the tool's type is its last field."""
TRADE: Final = 2
AT_EXCHANGE, LOCALLY, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28

_QUANTITY: Final = {"trades": "qty", "agg_trades": "quantity"}
_LATE_US: Final = HOUR_US
"""Ids are in order, and a few old trades go back in time: a day is complete when one has come that much after it."""
_CHUNK: Final = 131_072


def write(rows: Rows, series: Sequence[Series], span: Span, folder: Path, options: Options) -> Iterator[Written]:
    """One file for each day of each series that has rows in `span`; about 25 bytes a trade of one day are in memory.

    Raises ContentError if a trade is older than the one before it by more than a day.
    """
    for one in series:
        names = ["timestamp", "price", _QUANTITY[one.dataset], "is_buyer_maker"]
        for day, batches in _days(rows.scan(one, span, names), one):
            label = f"{one.symbol}-{one.dataset}-{day_of(day * DAY_US)}.npz"
            yield _file(folder / one.market / one.symbol / label, one, batches)


def _days(batches: Iterator[pa.RecordBatch], one: Series) -> Iterator[tuple[int, list[pa.RecordBatch]]]:
    """The rows of each day (counted from 1970), though a few come late."""
    waiting: dict[int, list[pa.RecordBatch]] = {}
    closed = -1
    for batch in batches:
        times_us = _times_us(batch)
        days = times_us // DAY_US
        for day in np.unique(days).tolist():
            if day <= closed:
                raise ContentError(f"{one}: a trade of {day_of(day * DAY_US)} comes after trades of a later day")
            waiting.setdefault(day, []).append(batch.filter(pa.array(days == day)))
        latest_us = int(times_us.max())
        for day in sorted(day for day in waiting if (day + 1) * DAY_US + _LATE_US <= latest_us):
            closed = day
            yield day, waiting.pop(day)
    yield from sorted(waiting.items())


def _file(path: Path, one: Series, batches: Sequence[pa.RecordBatch]) -> Written:
    table = pa.Table.from_batches(batches).combine_chunks()
    times_us = _times_us(table)
    early = int((np.diff(times_us, prepend=times_us[:1]) < 0).sum())
    order = np.argsort(times_us, kind="stable") if early else np.arange(len(times_us))
    with draft(path.parent, path.name) as made:
        with zipfile.ZipFile(made.temporary, "w") as archive:
            member = zipfile.ZipInfo("data.npy")  # its date is 1980, so that the same rows give the same bytes
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as stream:
                header = {"descr": EVENT.descr, "fortran_order": False, "shape": (len(order),)}
                np.lib.format.write_array_header_1_0(stream, header)
                for start in range(0, len(order), _CHUNK):
                    stream.write(_events(table, order[start : start + _CHUNK]).tobytes())
        made.publish(path)
    notes = (f"trades older than the one before them, put where their time says: {early}",) if early else ()
    return Written(path, len(order), (one,), notes)


def _events(table: pa.Table, order: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    rows = table.take(pa.array(order))
    events = np.zeros(len(order), EVENT)
    taker_sold = rows.column("is_buyer_maker").to_numpy()
    events["ev"] = AT_EXCHANGE | LOCALLY | TRADE | np.where(taker_sold, SELL, BUY)
    events["exch_ts"] = events["local_ts"] = _times_us(rows) * 1000
    events["px"] = rows.column("price").to_numpy()
    events["qty"] = rows.column(2).to_numpy()
    return events


def _times_us(rows: pa.RecordBatch | pa.Table) -> npt.NDArray[np.int64]:
    return np.asarray(rows.column("timestamp").cast(pa.int64()).to_numpy())
