"""Run by hftbacktest's Python: its validation of a file, the rows, and the trades that a backtest over it sees."""

import json
import sys

import numpy as np
from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.data.validation import validate_event_order
from hftbacktest.types import event_dtype

path, tick_size = sys.argv[1], float(sys.argv[2])
data = np.load(path)["data"]
assert data.dtype == event_dtype, data.dtype
validate_event_order(data)

asset = (
    BacktestAsset()
    .data([path])
    .linear_asset(1.0)
    .constant_order_latency(0, 0)
    .risk_adverse_queue_model()
    .no_partial_fill_exchange()
    .trading_value_fee_model(0.0, 0.0)
    .tick_size(tick_size)
    .lot_size(0.001)
    .last_trades_capacity(1000)
)
backtest = HashMapMarketDepthBacktest([asset])
seen, done = [], 0
while done == 0:
    done = backtest.elapse(1_000_000_000_000)
    seen += [list(trade.tolist()) for trade in backtest.last_trades(0)]
    backtest.clear_last_trades(0)
print(json.dumps({"rows": [list(row) for row in data.tolist()], "seen": seen}))
