"""Samples of labels that share fewer returns than drawing blindly would give."""

import numpy as np
import numpy.typing as npt

from core.errors import ConfigError
from core.learning.arrays import Integers, spans
from core.learning.kernels import draw


def sequential_bootstrap(rows: npt.ArrayLike, ends: npt.ArrayLike, size: int | None = None, seed: int = 0) -> Integers:
    """Numbers of labels, drawn with replacement, each with a chance in proportion to how unique it would be beside
    those drawn before it (AFML 4.5); `size` of them, without it as many as there are.

    The same seed gives the same draws. `average_uniqueness(rows[drawn], ends[drawn])` tells how unique a sample is. The
    time grows with the square of the number of labels: ten thousand take about a quarter of a second.
    """
    first, last = spans(rows, ends)
    count = len(first) if size is None else size
    if len(first) == 0 or count < 0:
        raise ConfigError(f"size: {count} labels cannot be drawn of {len(first)}")
    drawn = np.empty(count, np.int64)
    uniforms = np.random.default_rng(seed).random(count)
    draw(first, last, uniforms, np.zeros(int(last.max()) + 1), np.ones(len(first)), drawn)
    return drawn
