"""Frames for research and backtests out of what is stored: `from loader import BacktestDataLoader`.

Importing this loads neither pandas, pyarrow, DuckDB nor scikit-learn; they come with the first loader and the first
read, and datasets and baselines (docs/learning.md) when they are named.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError, NoData, StorageError
from loader.backtest_loader import BacktestDataLoader
from loader.missing import Lack, Missing, MissingDataWarning

if TYPE_CHECKING:
    from core.features.lookahead import Peek, check_lookahead
    from loader.baseline import Baseline, run_baseline
    from loader.dataset import (
        MLDataset,
        StoredDataset,
        build_ml_dataset,
        dataset_of,
        open_ml_dataset,
        write_ml_dataset,
    )

__all__ = [
    "BacktestDataLoader",
    "Baseline",
    "ConfigError",
    "Lack",
    "MLDataset",
    "Missing",
    "MissingDataWarning",
    "NoData",
    "Peek",
    "StorageError",
    "StoredDataset",
    "build_ml_dataset",
    "check_lookahead",
    "dataset_of",
    "open_ml_dataset",
    "run_baseline",
    "write_ml_dataset",
]

_NAMED: Final = {
    **dict.fromkeys(("Baseline", "run_baseline"), "loader.baseline"),
    **dict.fromkeys(
        ("MLDataset", "StoredDataset", "build_ml_dataset", "dataset_of", "open_ml_dataset", "write_ml_dataset"),
        "loader.dataset",
    ),
    **dict.fromkeys(("Peek", "check_lookahead"), "core.features.lookahead"),
}
"""Where those names are that bring NumPy, pandas or numba with them."""


def __getattr__(name: str) -> Any:
    if name in _NAMED:
        return getattr(import_module(_NAMED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
