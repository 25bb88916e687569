"""The compiled loops of this room: arrays in, arrays filled. Importing loads numba.

None of them makes an array or calls another one, so each is compiled from this file alone.
"""

from typing import Any, Final

from core.compiled import kept

_kernel: Final = kept("labels", nogil=True, error_model="numpy", _nrt=False)
BOTH: Final = 2
"""What `first_touch` says of a row in which both barriers were touched."""


@_kernel
def first_touch(high: Any, low: Any, rows: Any, lasts: Any, above: Any, below: Any, ends: Any, touched: Any) -> None:
    """Fills `ends` with the first row behind each event in which a barrier is touched, or its last row, and `touched`
    with 1 (the upper one), -1 (the lower one), BOTH or 0 (none)."""
    for event in range(len(rows)):
        ends[event] = lasts[event]
        touched[event] = 0
        for row in range(rows[event] + 1, lasts[event] + 1):
            is_above = high[row] >= above[event]
            is_below = low[row] <= below[event]
            if is_above or is_below:
                ends[event] = row
                touched[event] = 2 if is_above and is_below else 1 if is_above else -1
                break


@_kernel
def cusum(changes: Any, thresholds: Any, fired: Any) -> None:
    """Fills `fired` with true where the sum of changes up, or down, has reached the row's threshold."""
    up = down = 0.0
    for row in range(len(changes)):
        limit = thresholds[row]
        if limit != limit:  # not known yet: nothing is gathered either
            continue
        up = max(0.0, up + changes[row])
        down = min(0.0, down + changes[row])
        if up >= limit:
            up = 0.0
            fired[row] = True
        if down <= -limit:
            down = 0.0
            fired[row] = True


@_kernel
def moving_deviation(changes: Any, alpha: Any, deviations: Any) -> None:
    """Fills `deviations` with the exponentially weighted deviation of the changes up to each row; NaN at the first one.

    Weights (1 - alpha)^age, and the factor that makes the variance unbiased (as pandas' `ewm(span).std()`).
    """
    mean = spread = 0.0
    weight = squares = 0.0
    for row in range(len(changes)):
        weight = (1.0 - alpha) * weight + 1.0
        squares = (1.0 - alpha) * (1.0 - alpha) * squares + 1.0
        off = changes[row] - mean
        mean += off / weight
        spread = (1.0 - alpha) * spread + off * (changes[row] - mean)
        rest = weight * weight - squares
        if row == 0 or rest <= 0.0:
            deviations[row] = float("nan")
        else:
            deviations[row] = (max(0.0, spread / weight) * weight * weight / rest) ** 0.5


@_kernel
def shares(values: Any, counts: Any, rows: Any, ends: Any, sums: Any) -> None:
    """Fills `sums` with the sum of `values / counts` over each span `(row, end]`."""
    for event in range(len(rows)):
        total = 0.0
        for row in range(rows[event] + 1, ends[event] + 1):
            total += values[row] / counts[row]
        sums[event] = total


@_kernel
def draw(rows: Any, ends: Any, uniforms: Any, counts: Any, unique: Any, drawn: Any) -> None:
    """Fills `drawn`: an event for each of the `uniforms` in [0, 1), with chances by its average uniqueness beside those
    drawn before. `counts` (of each row, zeros) and `unique` (of each event, ones) are changed."""
    for number in range(len(uniforms)):
        total = 0.0
        for event in range(len(rows)):
            total += unique[event]
        target = uniforms[number] * total
        chosen = len(rows) - 1
        reached = 0.0
        for event in range(len(rows)):
            reached += unique[event]
            if target < reached:
                chosen = event
                break
        drawn[number] = chosen
        for row in range(rows[chosen] + 1, ends[chosen] + 1):
            counts[row] += 1.0
        for event in range(len(rows)):
            if rows[event] < ends[chosen] and ends[event] > rows[chosen]:
                share = 0.0
                for row in range(rows[event] + 1, ends[event] + 1):
                    share += 1.0 / (counts[row] + 1.0)
                unique[event] = share / (ends[event] - rows[event])
