"""Checks of funding, open interest and the depth of the book."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from core.datasets.funding_rate import FUNDING_HOURS
from core.datasets.grid import is_on_schedule, to_the_minute
from core.dates import HOUR_US, format_us
from core.decimals import text
from core.integrity.rows import Faults, Rows, told_value
from core.types import Market

BAND_SLACK: Final = 0.002
"""Snapshots are not taken at one instant, and prices are rounded: a band's mean price may lie this far outside it."""


def schedule(rows: Rows) -> Iterator[Faults]:
    """Settlements come at whole intervals since midnight, never closer than the interval, and within a minute."""
    hours = rows.ints("funding_interval_hours")
    unknown = ~np.isin(hours, FUNDING_HOURS)
    if unknown.any():
        yield from rows.faults("funding-interval", unknown, lambda n: f"an interval of {hours[n]} hours")
    off = ~is_on_schedule(rows.time, hours) & ~unknown
    if off.any():
        yield from rows.faults("off-schedule", off, lambda n: f"a settlement every {hours[n]} hours, and one")
    apart = np.diff(to_the_minute(rows.time))
    close = (apart < np.minimum(hours[1:], hours[:-1]) * HOUR_US) & ~off[1:] & ~off[:-1] & ~unknown[1:]
    if close.any():
        time = rows.time
        yield from rows.pairs(
            "off-schedule", close, lambda n: f"settled again soon after {format_us(int(time[n - 1]))}"
        )


def off_steps(rows: Rows) -> Iterator[Faults]:
    """Rows are labelled by whole steps."""
    step = rows.dataset.clock.step_us
    wrong = rows.time % step != 0
    if wrong.any():
        yield from rows.faults("off-grid", wrong, lambda _: "not a whole five minutes, the label")


def not_negative(rows: Rows) -> Iterator[Faults]:
    """Open interest, depth and ratios are not below 0."""
    for name in rows.decimals():
        values = rows.floats(name)
        wrong = values < 0
        if name != "percentage" and wrong.any():
            yield from rows.faults("negative", wrong, told_value(name, values))


def band_prices(rows: Rows) -> Iterator[Faults]:
    """In um the mean price of each band lies in it: there is one mid price that fits all bands of a snapshot.

    Rows of one snapshot come together (`core.integrity.rows.chunks`).
    """
    if rows.series.market is not Market.UM:
        return
    band, depth, notional = (rows.floats(name) for name in ("percentage", "depth", "notional"))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = notional / depth
    edge = mean / (1 + band / 100)
    least, most = np.fmin(mean, edge) * (1 - BAND_SLACK), np.fmax(mean, edge) * (1 + BAND_SLACK)
    first = np.flatnonzero(np.append(True, np.diff(rows.time) != 0))
    low, high = np.fmax.reduceat(least, first), np.fmin.reduceat(most, first)
    wrong = np.zeros(len(band), dtype=np.bool_)
    wrong[first] = low > high
    if wrong.any():
        yield from rows.faults(
            "band-prices",
            wrong,
            lambda n: f"no mid price fits all bands; the first is of {text(mean[n])}, the snapshot",
        )
