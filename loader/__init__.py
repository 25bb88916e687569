"""Frames for research and backtests out of what is stored: `from loader import BacktestDataLoader`.

Importing this loads neither pandas, pyarrow nor DuckDB; they come with the first loader and the first read.
"""

from loader.backtest_loader import BacktestDataLoader
from loader.missing import Missing, MissingDataWarning

__all__ = ["BacktestDataLoader", "Missing", "MissingDataWarning"]
