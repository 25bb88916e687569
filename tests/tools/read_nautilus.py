"""Run by NautilusTrader's Python: what its catalog finds in a folder, and what a backtest over it receives."""

import json
import sys

from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import BacktestEngineConfig, LoggingConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.trading.strategy import Strategy


class Listener(Strategy):
    """Counts what arrives, and when."""

    def __init__(self, bars, ticks):
        super().__init__()
        self.wanted, self.heard = (bars, ticks), []

    def on_start(self):
        for bar_type in self.wanted[0]:
            self.subscribe_bars(bar_type)
        for instrument_id in self.wanted[1]:
            self.subscribe_trade_ticks(instrument_id)

    def on_bar(self, bar):
        self.heard.append(["bar", self.clock.timestamp_ns(), str(bar.close)])

    def on_trade_tick(self, tick):
        self.heard.append(["tick", self.clock.timestamp_ns(), str(tick.price)])


def backtest(instruments, bars, ticks):
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    money = [Money(1_000_000, USDT), Money(100, BTC)]
    engine.add_venue(Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, money)
    known = {instrument.id for instrument in instruments}
    for instrument in instruments:
        engine.add_instrument(instrument)
    bars = [bar for bar in bars if bar.bar_type.instrument_id in known]
    ticks = [tick for tick in ticks if tick.instrument_id in known]
    for data in (bars, ticks):
        for identifier in dict.fromkeys(getattr(d, "bar_type", None) or d.instrument_id for d in data):
            engine.add_data([d for d in data if (getattr(d, "bar_type", None) or d.instrument_id) == identifier])
    types = list(dict.fromkeys(bar.bar_type for bar in bars))
    strategy = Listener(types, list(dict.fromkeys(tick.instrument_id for tick in ticks)))
    engine.add_strategy(strategy)
    engine.run()
    return strategy.heard


catalog = ParquetDataCatalog(sys.argv[1])
bars, ticks, instruments = catalog.bars(), catalog.trade_ticks(), catalog.instruments()
print(
    json.dumps(
        {
            "bars": [
                [str(b.bar_type), *map(str, (b.open, b.high, b.low, b.close, b.volume)), b.ts_event, b.ts_init]
                for b in bars
            ],
            "ticks": [
                [
                    *map(str, (t.instrument_id, t.price, t.size, t.aggressor_side.name, t.trade_id)),
                    t.ts_event,
                    t.ts_init,
                ]
                for t in ticks
            ],
            "instruments": [type(i).to_dict(i) for i in instruments],
            "heard": backtest(instruments, bars, ticks) if "--run" in sys.argv else [],
        }
    )
)
