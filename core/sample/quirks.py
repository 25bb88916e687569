"""What the exchange does to rows on their way into a file: leaves them unsorted, publishes them twice."""

import numpy as np

from core.sample.market import times_of
from core.sample.values import Columns, Ints, random_stream
from core.types import Period, Series

_TWICE = 4
"""One file of metrics in so many has a row twice."""


def as_published(seed: int, series: Series, period: Period, rows: Columns) -> Columns:
    """The rows of a file in the order, and as often, as they stand in it."""
    count = len(times_of(series, rows))
    if series.dataset == "liquidation_snapshot":
        return _taken(rows, np.repeat(np.arange(count), 2))
    if series.dataset == "metrics":
        stream = random_stream(seed, str(series), period.label, "disorder")
        order = stream.permutation(count)
        return _taken(rows, np.append(order, order[:1]) if stream.integers(0, _TWICE) == 0 else order)
    return rows


def _taken(rows: Columns, order: Ints) -> Columns:
    return {name: values[order] for name, values in rows.items()}
