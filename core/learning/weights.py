"""How much each label counts: labels whose spans overlap are told the same returns (AFML, chapter 4)."""

import numpy as np
import numpy.typing as npt

from core.errors import ConfigError
from core.learning.arrays import Floats, Integers, floats, prices, spans
from core.learning.kernels import shares


def concurrency(rows: npt.ArrayLike, ends: npt.ArrayLike, count: int | None = None) -> Integers:
    """Of each of `count` rows, how many labels depend on its return: those with `row < t <= end`.

    Without `count` as far as the last end. (The book's snippet 4.1 counts the row itself, too; its definition and its
    example of 4.5.3 do not.)
    """
    first, last = spans(rows, ends)
    reach = int(last.max(initial=-1)) + 1
    if count is not None and count < reach:
        raise ConfigError(f"count: a label ends at row {reach - 1}, and there are {count} rows")
    size = reach if count is None else count
    steps = np.bincount(first + 1, minlength=size + 1) - np.bincount(last + 1, minlength=size + 1)
    return np.cumsum(steps)[:size].astype(np.int64)


def average_uniqueness(rows: npt.ArrayLike, ends: npt.ArrayLike) -> Floats:
    """Of each label the mean of 1 / concurrency over its span: 1 if it shares no return with any other."""
    first, last = spans(rows, ends)
    counts = concurrency(first, last)
    sums = np.empty(len(first))
    shares(np.ones(len(counts)), counts, first, last, sums)
    found: Floats = sums / (last - first)
    return found


def return_attribution(close: npt.ArrayLike, rows: npt.ArrayLike, ends: npt.ArrayLike) -> Floats:
    """Of each label the absolute log return that is its own, each row's return being shared by the labels on it.

    Scaled so that they sum to their number; all 1 if no price ever moved.
    """
    first, last = spans(rows, ends)
    path = np.log(prices(close, "close"))
    counts = concurrency(first, last, len(path))
    sums = np.empty(len(first))
    shares(np.diff(path, prepend=path[:1]), counts, first, last, sums)
    own = np.abs(sums)
    total = own.sum()
    return own * (len(own) / total) if total > 0 else np.ones(len(own))


def time_decay(uniqueness: npt.ArrayLike, oldest: float = 1.0) -> Floats:
    """Factors that fall in a line from 1 for the newest label, over uniqueness, not over the calendar (AFML 4.7).

    Labels come in order of time. `oldest` from 0 to 1 is what the line comes to before the oldest one, 1 no decay;
    below 0, down to but not at -1, the oldest labels of that share of all uniqueness count nothing.
    """
    unique = floats(uniqueness, "uniqueness")
    if not -1 < oldest <= 1:
        raise ConfigError(f"oldest: {oldest} is not above -1 and up to 1")
    if not np.all(unique > 0):
        raise ConfigError("uniqueness: every label has some, above 0")
    ages = np.cumsum(unique)
    total = float(ages[-1]) if len(ages) else 1.0
    slope = (1 - oldest) / total if oldest >= 0 else 1 / ((oldest + 1) * total)
    return np.maximum(0.0, 1 + slope * (ages - total))
