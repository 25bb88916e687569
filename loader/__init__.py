"""Frames for research and backtests out of what is stored: `from loader import BacktestDataLoader`.

Importing this loads neither pandas, pyarrow nor DuckDB; they come with the first loader and the first read.
"""

from core.errors import ConfigError, NoData, StorageError
from loader.backtest_loader import BacktestDataLoader
from loader.missing import Lack, Missing, MissingDataWarning

__all__ = [
    "BacktestDataLoader",
    "ConfigError",
    "Lack",
    "Missing",
    "MissingDataWarning",
    "NoData",
    "StorageError",
]
