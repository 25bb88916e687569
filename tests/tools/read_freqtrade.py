"""Run by freqtrade's Python: what its own data handler finds in a folder. Dates are milliseconds."""

import json
import sys
from pathlib import Path

from freqtrade.data.history.datahandlers import get_datahandler
from freqtrade.enums import TradingMode
from freqtrade.exchange.exchange import Exchange

folder = Path(sys.argv[1])
handler = get_datahandler(folder, "feather")


def milliseconds(frame):
    return frame["date"].dt.as_unit("ms").astype("int64").tolist()


found = []
for mode in (TradingMode.SPOT, TradingMode.FUTURES):
    for pair, timeframe, candle_type in sorted(handler.ohlcv_get_available_data(folder, mode)):
        options = {"fill_missing": False, "drop_incomplete": False, "startup_candles": 0}
        loaded = handler.ohlcv_load(pair, timeframe, candle_type, **options)
        stored = handler._ohlcv_load(pair, timeframe, None, candle_type)
        values = [loaded[name].tolist() for name in stored.columns if name != "date"]
        rows = [list(row) for row in zip(milliseconds(loaded), *values, strict=True)]
        entry = {"pair": pair, "timeframe": timeframe, "type": str(candle_type), "rows": rows}
        filled = handler.ohlcv_load(pair, timeframe, candle_type, **options | {"fill_missing": True})
        found.append(entry | {"dates_on_disk": milliseconds(stored), "filled": len(filled)})

funding = handler.ohlcv_load("BTC/USDT:USDT", "1h", "funding_rate", fill_missing=False, drop_incomplete=False)
mark = handler.ohlcv_load("BTC/USDT:USDT", "1h", "mark", fill_missing=False, drop_incomplete=False)
both = [] if funding.empty or mark.empty else Exchange.combine_funding_and_mark(funding, mark)
fees = (
    [list(row) for row in zip(milliseconds(both), both["open_mark"], both["open_fund"], strict=True)]
    if len(both)
    else []
)
print(json.dumps({"found": found, "fees": fees}))
