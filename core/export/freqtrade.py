"""A freqtrade data folder of feather files, as its `download-data` of 2026.9 leaves it.

BTC_USDT-1h.feather                              spot candles
futures/BTC_USDT_USDT-1h-futures.feather         klines of a perpetual; then -mark, -index, -premiumIndex
futures/BTC_USDT_USDT-1h-funding_rate.feather    settlements: date, funding_rate; always called 1h
futures/BTC_USD_BTC-1h-futures.feather           coin-margined; futures/BTC_USDT_USDT-240329-… a dated one

Candles: `date` (open time, timestamp[ms, UTC]), open, high, low, close, volume (base asset; 0 where nothing trades, in
mark, index and premium prices). Gaps stay gaps: freqtrade fills them when it loads.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from core.errors import ContentError
from core.export.draft import draft
from core.export.format import Options, Rows, Written
from core.export.pair import pair_of
from core.types import Market, Series, Span

_KINDS: Final = {
    "klines": "futures",
    "mark_price": "mark",
    "index_price": "index",
    "premium_index": "premiumIndex",
    "funding_rate": "funding_rate",
}
_PRICES: Final = ("open", "high", "low", "close")
_FUNDING_TIMEFRAME: Final = "1h"
"""Under which freqtrade looks for funding, however often it is settled."""
_TIME: Final = pa.timestamp("ms", tz="UTC")


def write(rows: Rows, series: Sequence[Series], span: Span, folder: Path, options: Options) -> Iterator[Written]:
    """One file for each series that has rows in `span`. Raises ContentError for a symbol that cannot be split into base
    and quote, or a time that is not a whole millisecond."""
    for one in series:
        path = folder / _name(one)
        batches = (_batch(one, batch) for batch in rows.scan(one, span, _columns(one)))
        first = next(batches, None)
        if first is not None:
            yield _file(one, chain([first], batches), first.schema, path)


def _name(one: Series) -> str:
    pair = pair_of(one.market, one.symbol)
    timeframe = (one.interval or _FUNDING_TIMEFRAME).replace("1mo", "1Mo")
    if one.market is Market.SPOT:
        return f"{pair.base}_{pair.quote}-{timeframe}.feather"
    delivery = f"-{pair.delivery}" if pair.delivery else ""
    return f"futures/{pair.base}_{pair.quote}_{pair.settle}{delivery}-{timeframe}-{_KINDS[one.dataset]}.feather"


def _columns(one: Series) -> list[str]:
    if one.dataset == "funding_rate":
        return ["timestamp", "funding_rate"]
    volume = [] if one.dataset != "klines" else ["base_volume" if one.market is Market.CM else "volume"]
    return ["timestamp", *_PRICES, *volume]


def _batch(one: Series, batch: pa.RecordBatch) -> pa.RecordBatch:
    names = {"timestamp": "date", "base_volume": "volume"}
    columns = {names.get(name, name): batch.column(name) for name in batch.schema.names}
    if one.dataset != "funding_rate":
        columns.setdefault("volume", pa.array(np.zeros(batch.num_rows)))
    try:
        return pa.record_batch(columns | {"date": columns["date"].cast(_TIME)})
    except pa.ArrowInvalid as error:
        raise ContentError(f"{one}: a time is not a whole millisecond, which is all that freqtrade keeps") from error


def _file(one: Series, batches: Iterator[pa.RecordBatch], schema: pa.Schema, path: Path) -> Written:
    count = 0
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with draft(path.parent, path.name) as made:
        with pa.OSFile(str(made.temporary), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)
                count += batch.num_rows
        made.publish(path)
    return Written(path, count, (one,))
