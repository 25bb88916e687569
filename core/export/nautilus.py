"""A NautilusTrader Parquet catalog (1.221, high precision: the build for Linux and macOS).

data/bar/BTCUSDT-PERP.BINANCE-1-HOUR-LAST-EXTERNAL/2024-01-01T01-00-00-000000000Z_2024-12-31T23-00-00-000000000Z.parquet
data/trade_tick/BTCUSDT-PERP.BINANCE/<first>_<last>.parquet
data/crypto_perpetual/BTCUSDT-PERP.BINANCE/...           the instrument; see core/export/nautilus_instrument.py

A bar is stamped with the END of its candle, when it was known: `ts_event` = `ts_init` = open + interval. A trade has
its own time; where an older one follows a newer, `ts_init` stays at the newer, since the catalog may not go back.
Prices and sizes are 128-bit integers of 1e-16, and the footer names the decimals, which are as few as hold every value.
Bars lie in one file a year, trades in one a month. Names carry the first and last `ts_init`, as the catalog demands, so
an export of more replaces what it covers, of ours, and refuses to overlap anything else.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.dates import INTERVAL_US
from core.errors import ContentError
from core.export.digits import decimals_of, fixed_point
from core.export.draft import draft
from core.export.format import Options, Rows, Written
from core.export.nautilus_catalog import OURS, covered, file_name
from core.export.nautilus_instrument import Precision, instrument_id, settled, why_none, write_instrument
from core.types import Series, Span

SCALE: Final = 16
"""Decimals of the catalog's integers."""
_LARGEST: Final = {"price": 17_014_118_346_046, "size": 34_028_236_692_093}
_PRICES: Final = {"klines": ["open", "high", "low", "close"], "trades": ["price"]}
_SIZE: Final = {"klines": "volume", "trades": "qty"}
_FILE: Final = {"klines": "datetime64[Y]", "trades": "datetime64[M]"}
_UNITS: Final = {"s": "SECOND", "m": "MINUTE", "h": "HOUR", "d": "DAY", "w": "WEEK", "mo": "MONTH"}
_BUYER, _SELLER = 1, 2
_RAW: Final = pa.binary(SCALE)


def write(rows: Rows, series: Sequence[Series], span: Span, folder: Path, options: Options) -> Iterator[Written]:
    """Bars and ticks of one symbol, and its instrument. Unless `options` give both precisions, rows are read twice.

    Raises ContentError for a value that needs more decimals than there are or is too large, StorageError where the
    folder holds what would overlap or an instrument of less precision.
    """
    derived = _derived(rows, series, span, options)
    if derived is None:
        return
    precision = settled(folder, series[0], derived, options)
    counts: Counter[str] = Counter()
    if reason := why_none(folder, series[0]):
        counts[reason] = 0
    else:
        yield write_instrument(folder, series[0], precision)
    for one in series:
        yield from _files(rows, one, span, folder, precision, counts)


def _derived(rows: Rows, series: Sequence[Series], span: Span, options: Options) -> Precision | None:
    """The decimals that hold every value, at least those of the options; None if there are no rows."""
    price, size, is_empty = 0, 0, True
    for one in series:
        try:
            for batch in rows.scan(one, span, [*_PRICES[one.dataset], _SIZE[one.dataset]]):
                is_empty = False
                for name in _PRICES[one.dataset]:
                    price = decimals_of(batch.column(name).to_numpy(), price, SCALE)
                size = decimals_of(batch.column(_SIZE[one.dataset]).to_numpy(), size, SCALE)
                if options.price_precision is not None and options.size_precision is not None:
                    break
        except ContentError as error:
            raise ContentError(f"{one}: {error}") from error
    return None if is_empty else Precision(price, size)


def _files(
    rows: Rows, one: Series, span: Span, root: Path, precision: Precision, counts: Counter[str]
) -> Iterator[Written]:
    kind, name = ("bar", bar_type(one)) if one.interval else ("trade_tick", instrument_id(one))
    batches = (_bars if one.interval else _ticks)(rows, one, span, precision, counts)
    for _, of_file in groupby(_split(batches, _FILE[one.dataset]), key=lambda piece: piece[0]):
        yield _file(root / "data" / kind / name, one, (piece for _, piece in of_file), counts)
    if counts.total():  # no file was left to say it
        raise ContentError(f"{one}: nothing left to write; {'; '.join(_notes(counts))}")


def _split(batches: Iterator[pa.RecordBatch], unit: str) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Pieces that lie in one year or month each, with its number; `ts_init` never goes back, so neither does that."""
    for batch in batches:
        periods = batch.column("ts_init").to_numpy().astype("datetime64[ns]").astype(unit).astype(np.int64)
        starts = [0, *(np.flatnonzero(np.diff(periods)) + 1).tolist(), batch.num_rows]
        for start, end in pairwise(starts):
            yield int(periods[start]), batch.slice(start, end - start)


def _file(folder: Path, one: Series, batches: Iterator[pa.RecordBatch], counts: Counter[str]) -> Written:
    first = next(batches)
    count, start, end = 0, first.column("ts_init")[0].as_py(), 0
    with draft(folder, "rows.parquet") as made:
        with pq.ParquetWriter(made.temporary, first.schema) as writer:
            batch: pa.RecordBatch | None = first
            while batch is not None:
                writer.write_batch(batch)
                count, end = count + batch.num_rows, batch.column("ts_init")[-1].as_py()
                batch = next(batches, None)
        path = folder / file_name(start, end)
        old = covered(folder, start, end)
        made.publish(path)
        for each in old:
            if each != path:
                each.unlink()
    notes = _notes(counts)
    counts.clear()
    return Written(path, count, (one,), notes)


def _notes(counts: Counter[str]) -> tuple[str, ...]:
    return tuple(f"{what}: {number}" if number else what for what, number in counts.items())


def bar_type(one: Series) -> str:
    """`BTCUSDT-PERP.BINANCE-1-HOUR-LAST-EXTERNAL`."""
    interval = str(one.interval)
    unit = interval.lstrip("0123456789")
    return f"{instrument_id(one)}-{interval.removesuffix(unit)}-{_UNITS[unit]}-LAST-EXTERNAL"


def _bars(rows: Rows, one: Series, span: Span, precision: Precision, counts: Counter[str]) -> Iterator[pa.RecordBatch]:
    names = [*_PRICES["klines"], "volume"]
    for batch in rows.scan(one, span, ["timestamp", *names]):
        closed = _nanoseconds(_ends(batch.column("timestamp"), str(one.interval)))
        prices = {name: _raw(one, batch, name, precision.price, "price") for name in names[:-1]}
        columns = {**prices, "volume": _raw(one, batch, "volume", precision.size, "size")}
        facts = {"bar_type": bar_type(one), "instrument_id": instrument_id(one)}
        yield _batch({**columns, "ts_event": closed, "ts_init": closed}, facts, precision)


def _ticks(rows: Rows, one: Series, span: Span, precision: Precision, counts: Counter[str]) -> Iterator[pa.RecordBatch]:
    latest = 0
    for stored in rows.scan(one, span, ["timestamp", "id", "price", "qty", "is_buyer_maker"]):
        batch = stored.filter(pc.greater(stored.column("qty"), 0.0))
        _count(
            counts, "trades without a quantity, which no TradeTick can hold, left out", stored.num_rows - batch.num_rows
        )
        if not batch.num_rows:
            continue
        times = _nanoseconds(batch.column("timestamp"))
        init = np.maximum.accumulate(np.append(np.uint64(latest), times.to_numpy()))[1:]
        latest = int(init[-1])
        late = int((init != times.to_numpy()).sum())
        _count(counts, "trades older than one before them, with its time as ts_init", late)
        columns = {
            "price": _raw(one, batch, "price", precision.price, "price"),
            "size": _raw(one, batch, "qty", precision.size, "size"),
            "aggressor_side": pc.if_else(batch.column("is_buyer_maker"), _SELLER, _BUYER).cast(pa.uint8()),
            "trade_id": batch.column("id").cast(pa.string()),
            "ts_event": times,
            "ts_init": pa.array(init),
        }
        yield _batch(columns, {"instrument_id": instrument_id(one)}, precision)


def _count(counts: Counter[str], what: str, number: int) -> None:
    if number:
        counts[what] += number


def _batch(columns: dict[str, pa.Array], facts: dict[str, str], precision: Precision) -> pa.RecordBatch:
    facts = {**facts, "price_precision": str(precision.price), "size_precision": str(precision.size), **OURS}
    fields = [pa.field(name, column.type, nullable=False) for name, column in columns.items()]
    return pa.record_batch(list(columns.values()), schema=pa.schema(fields, metadata=facts))


def _raw(one: Series, batch: pa.RecordBatch, name: str, decimals: int, kind: str) -> pa.Array:
    """16 bytes a value: Arrow's decimal128 holds the very integer, lowest byte first, that the catalog wants."""
    values: Any = batch.column(name).to_numpy()
    try:
        if (np.abs(values) > _LARGEST[kind]).any():
            raise ContentError(f"{values.max()!r} is more than the largest {kind} of a catalog, {_LARGEST[kind]}")
        fixed = fixed_point(values, decimals, SCALE)
    except ContentError as error:
        raise ContentError(f"{one}: {name}: {error}") from error
    return pa.Array.from_buffers(_RAW, len(fixed), [None, fixed.buffers()[1]], offset=fixed.offset)


def _ends(opens: pa.Array, interval: str) -> pa.Array:
    length_us = INTERVAL_US[interval]
    if length_us is None:
        return pc.ceil_temporal(opens, unit="month", ceil_is_strictly_greater=True)
    return pc.add(opens, pa.scalar(length_us, pa.duration("us")))


def _nanoseconds(times: pa.Array) -> pa.Array:
    return times.cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()).cast(pa.uint64())
