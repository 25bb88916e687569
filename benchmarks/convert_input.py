"""Archives for `convert.py`: text exactly as the exchange writes it, from numbers that are known beforehand.

    python benchmarks/convert_input.py FOLDER [--rows N] [--market um|spot]    trades, to be used again and again

Beside the archives lies `reference/`: the same rows as Parquet, made from the numbers and not from their text.
"""

import argparse
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.datasets import DATASETS
from core.exchanges.binance.urls import key_of
from core.layout import stem
from core.sample.csv_text import csv_bytes, has_header
from core.sample.values import Columns, Decimals, Ints, Values, random_stream
from core.storage.schema import schema_of
from core.types import Market, Period, Series

CHUNK_ROWS: Final = 200_000
A_DAY_HAS: Final = 20_000_000
"""Trades; where more are asked for, they are those of a month."""
MONTHS: Final = [Period.month(2019 + number // 12, number % 12 + 1) for number in range(72)]
_HOUR_US: Final = 3_600_000_000
_SIZES: Final = np.array([2, 2, 2, 2, 3, 3, 4, 5, 6, 8, 10, 16, 20, 25, 33, 50, 100, 150, 200, 500, 1000])
"""Of trades, in thousandths of a coin."""


@dataclass(frozen=True)
class Made:
    """One archive: where it lies, the rows that it must give, and how long its text is."""

    path: Path
    series: Series
    period: Period
    reference: Path
    csv_bytes: int


def trades(folder: Path, rows: int, market: Market = Market.UM) -> Made:
    """A day of trades, or a month from 20 million on; the same ones whenever as many are asked for."""
    period = Period.parse("2025-08-08" if rows <= A_DAY_HAS else "2025-08")
    return _publish(folder, Series(market, "trades", "BTCUSDT"), period, _tape(rows, market, period))


def candles(folder: Path, files: int) -> list[Made]:
    """Months of hourly candles, 72 of each symbol; the early ones have no header, as the exchange's."""
    made = []
    for number in range(files):
        series = Series(Market.UM, "klines", f"S{number // len(MONTHS):04d}USDT", "1h")
        period = MONTHS[number % len(MONTHS)]
        made.append(_publish(folder, series, period, iter([_hours(series, period)])))
    return made


def _tape(rows: int, market: Market, period: Period) -> Iterator[Columns]:
    """Orders that take one or more others each: one time and one side, a price that moves away while they last.

    How many, how often each moves the price and how large they are follows six minutes of BTCUSDT of 2024-08-08, whose
    text compresses 6.0 : 1, to 9.1 bytes a trade.
    """
    draw = random_stream(0, "benchmark", "trades")
    start, end = period.span.start_us, period.span.end_us
    unit = 1 if market is Market.SPOT else 1000
    next_id, level = 5_300_000_000, 600_000
    for first in range(0, rows, CHUNK_ROWS):
        count = min(CHUNK_ROWS, rows - first)
        order = np.repeat(np.arange(count), np.minimum(draw.zipf(2.0, count), 300))[:count]
        orders = int(order[-1]) + 1
        opens, closes = ((start + (end - start) * place // rows) // unit for place in (first, first + count))
        times = np.sort(draw.integers(opens, max(opens + 1, closes), orders)) * unit
        is_sell = np.cumsum(draw.random(orders) < 0.3) % 2 == 0
        levels = level + np.cumsum(draw.choice([-1, 0, 1], orders, p=[0.15, 0.7, 0.15]))
        moves: Ints = np.cumsum(draw.random(count) < 0.3, dtype=np.int64)
        away = moves - moves[np.searchsorted(order, np.arange(orders))][order]
        price = levels[order] + np.where(is_sell[order], -away, 1 + away)
        qty = _quantities(draw, count)
        skipped = np.where(draw.random(count) < 0.0002, draw.integers(1, 40, count), 0)
        ids = next_id + np.cumsum(1 + skipped)
        next_id, level = int(ids[-1]), int(levels[-1])
        columns: Columns = {
            "id": ids,
            "price": Decimals(price, 1),
            "qty": Decimals(qty, 3),
            "quote_qty": Decimals(price * qty, 4),
            "time": times[order],
            "is_buyer_maker": is_sell[order],
        }
        yield columns | ({"is_best_match": np.ones(count, np.bool_)} if market is Market.SPOT else {})


def _quantities(draw: np.random.Generator, count: int) -> Ints:
    """In thousandths of a coin: sizes that people and programs like, and a heavy tail."""
    tail = np.minimum(np.exp(draw.normal(3.2, 1.8, count)), 500_000).astype(np.int64) + 1
    return np.where(draw.random(count) < 0.4, draw.choice(_SIZES, count), tail)


def _hours(series: Series, period: Period) -> Columns:
    draw = random_stream(0, "benchmark", str(series), period.label)
    opens = np.arange(period.span.start_us, period.span.end_us, _HOUR_US)
    count = len(opens)
    walk = draw.integers(50_000, 5_000_000) + np.cumsum(draw.integers(-100, 101, count + 1))
    walk = np.maximum(walk, 10_000)
    above, below = draw.integers(0, 200, (2, count))
    volume, taken = draw.integers(1, 10**7, count), draw.integers(0, 100, count)
    turnover = volume * walk[:-1]
    return {
        "open_time": opens,
        "open": Decimals(walk[:-1], 2),
        "high": Decimals(np.maximum(walk[:-1], walk[1:]) + above, 2),
        "low": Decimals(np.minimum(walk[:-1], walk[1:]) - below, 2),
        "close": Decimals(walk[1:], 2),
        "volume": Decimals(volume, 3),
        "close_time": opens + _HOUR_US - 1000,
        "quote_volume": Decimals(turnover, 5),
        "count": draw.integers(1, 50_000, count),
        "taker_buy_volume": Decimals(volume * taken // 100, 3),
        "taker_buy_quote_volume": Decimals(turnover * taken // 100, 5),
        "ignore": Decimals(np.zeros(count, np.int64), 0),
    }


def _publish(folder: Path, series: Series, period: Period, chunks: Iterator[Columns]) -> Made:
    """Write the archive where its key says, and its reference, a chunk at a time."""
    path, reference = folder / key_of(series, period), folder / "reference" / f"{stem(series, period)}.parquet"
    for each in (path, reference):
        each.parent.mkdir(parents=True, exist_ok=True)
    schema = schema_of(DATASETS[series.dataset], series.market)
    size = 0
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
        archive.open(f"{path.stem}.csv", "w", force_zip64=series.dataset == "trades") as member,
        pq.ParquetWriter(reference, schema) as rows,
        ThreadPoolExecutor(1) as ahead,
    ):
        texts = (_written(series, period, columns, rows, is_first=n == 0) for n, columns in enumerate(chunks))
        waiting = ahead.submit(next, texts, b"")
        while text := waiting.result():
            waiting = ahead.submit(next, texts, b"")
            member.write(text)
            size += len(text)
    return Made(path, series, period, reference, size)


def _written(series: Series, period: Period, columns: Columns, rows: pq.ParquetWriter, *, is_first: bool) -> bytes:
    """The text of a chunk; its rows go to the reference."""
    kinds = {column.source: column.name for column in DATASETS[series.dataset].columns[series.market]}
    named = {name: _array(columns[source]) for source, name in kinds.items() if name}
    rows.write_table(pa.table({field.name: named[field.name].cast(field.type) for field in rows.schema}, rows.schema))
    text = csv_bytes(series, period, columns)
    return text.split(b"\n", 1)[1] if has_header(series, period) and not is_first else text


def _array(values: Values) -> Any:
    return pa.array(values.floats() if isinstance(values, Decimals) else values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000_000, help="trades (default 20,000,000)")
    parser.add_argument("--market", type=Market, choices=(Market.UM, Market.SPOT), default=Market.UM)
    options = parser.parse_args()
    made = trades(options.folder, options.rows, options.market)
    print(f"{made.path}: {made.csv_bytes:,} bytes of CSV in {made.path.stat().st_size:,}")


if __name__ == "__main__":
    main()
