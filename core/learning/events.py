"""Rows at which something has happened, for those who do not want to ask at every row."""

import numpy as np
import numpy.typing as npt

from core.errors import ConfigError
from core.learning.arrays import Integers, of_rows, prices
from core.learning.kernels import cusum


def cusum_events(close: npt.ArrayLike, threshold: npt.ArrayLike) -> Integers:
    """The rows at which the price has moved by `threshold` since the last one: the symmetric CUSUM filter.

    With y the change of the log price: up = max(0, up + y), down = min(0, down + y). A row is an event if up is at
    least the threshold, or down at most minus the threshold, and that sum begins again at 0. `threshold` is in log
    price, about a fraction, above 0, for all or for each row; where it is NaN nothing is gathered. A row is an event by
    what stands up to it. Raises ConfigError.
    """
    path = prices(close, "close")
    limits = of_rows(threshold, np.arange(len(path)), len(path), "threshold")
    if np.any(limits <= 0):
        raise ConfigError(f"threshold: {limits[limits <= 0][0]} is not above 0; it is a change of the log price")
    fired = np.zeros(len(path), np.bool_)
    cusum(np.diff(np.log(path), prepend=np.log(path[:1])), limits, fired)
    return np.flatnonzero(fired).astype(np.int64)
