"""Other makers of dollar bars, each in a Python that has it: trades are read once, bars made at each line of input.

    .venv-tools/bars/bin/python benchmarks/bars_peers.py tickbar FOLDER TRADES

It answers each line with one of JSON: seconds, and how many bars. What a peer wants its input to be is made before
the clock starts. `polars` and `duckdb` cut the running sum of all trades, so that their bars are others: a bar of
theirs begins with what was too much for the one before.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLD = 40_000_000
PRICE_SCALE, QUANTITY_SCALE = 10, 1000
Run = Callable[[], int]


def tickbar(arrays: dict[str, Any]) -> Run:
    """Whole numbers in, as it wants them: their making is not counted."""
    import tickbar as peer  # type: ignore[import-not-found, unused-ignore]

    times = arrays["time"]
    prices = np.rint(arrays["price"] * PRICE_SCALE).astype(np.int64)
    quantities = np.rint(arrays["qty"] * QUANTITY_SCALE).astype(np.int64)

    def run() -> int:
        bars = peer.TickAggregator.dollar_bar(THRESHOLD * PRICE_SCALE * QUANTITY_SCALE)
        bars.push_from_numpy(times, prices, quantities)
        return len(bars.finalize())

    return run


def polars(arrays: dict[str, Any]) -> Run:
    """The running sum divided by the threshold, grouped."""
    import polars as pl

    frame = pl.DataFrame({"price": arrays["price"], "qty": arrays["qty"], "sale": arrays["sale"].astype(bool)})
    dollars = pl.col("price") * pl.col("qty")
    price, bought = pl.col("price"), pl.when("sale").then(0.0).otherwise(pl.col("qty"))
    columns = [price.first(), price.max().alias("h"), price.min().alias("l"), price.last().alias("c"), pl.len()]
    columns += [pl.col("qty").sum(), dollars.sum().alias("d"), bought.sum().alias("b")]

    def run() -> int:
        number = (dollars.cum_sum() // THRESHOLD).alias("bar")
        return len(frame.with_columns(number).group_by("bar", maintain_order=True).agg(columns))

    return run


def duckdb(arrays: dict[str, Any]) -> Run:
    """The same by a window function."""
    import duckdb as peer
    import pyarrow as pa

    trades = pa.table({name: arrays[name] for name in ("time", "price", "qty", "sale")})
    connection = peer.connect()
    connection.register("trades", trades)
    query = f"""
        with numbered as (select *, floor(sum(price * qty) over (order by time rows unbounded preceding) / {THRESHOLD})
                          as bar from trades)
        select bar, first(price), max(price), min(price), last(price), count(*), sum(qty), sum(price * qty),
               sum(qty) filter (sale = 0) from numbered group by bar"""
    return lambda: len(connection.sql(query).fetchall())


def ml4t(arrays: dict[str, Any]) -> Run:
    """Its vectorised sampler, from a frame of polars."""
    import polars as pl
    from ml4t.engineer.bars import DollarBarSampler  # type: ignore[import-not-found, unused-ignore]

    times = pl.Series(arrays["time"]).cast(pl.Datetime("us"))
    side = np.where(arrays["sale"] == 1, -1.0, 1.0)
    frame = pl.DataFrame({"timestamp": times, "price": arrays["price"], "volume": arrays["qty"], "side": side})
    return lambda: len(DollarBarSampler(THRESHOLD).sample(frame, include_incomplete=True))


def mlfinpy(arrays: dict[str, Any]) -> Run:
    """Its dollar bars, from a frame of pandas."""
    import pandas as pd
    from mlfinpy.data_structure.standard_bars import get_dollar_bars  # type: ignore[import-not-found, unused-ignore]

    times = pd.to_datetime(arrays["time"], unit="us")
    frame = pd.DataFrame({"date_time": times, "price": arrays["price"], "volume": arrays["qty"]})
    return lambda: len(get_dollar_bars(frame, threshold=THRESHOLD, batch_size=len(frame), verbose=False))


PEERS: dict[str, Callable[[dict[str, Any]], Run]] = {
    "tickbar": tickbar,
    "polars": polars,
    "duckdb": duckdb,
    "ml4t": ml4t,
    "mlfinpy": mlfinpy,
}


def main(name: str, folder: Path, count: int) -> None:
    """Answer each line of input with a run."""
    arrays = {column: np.load(folder / f"{column}.npy")[:count] for column in ("time", "price", "qty", "sale")}
    run = PEERS[name](arrays)
    run()
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    print("{}", file=answers, flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        bars = run()
        print(json.dumps({"seconds": time.perf_counter() - begun, "bars": bars}), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
