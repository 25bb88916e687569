"""The time of day, and what else was known: funding, premium, basis, open interest.

Each is the last value whose own time of availability is not after the row's end.
"""

import math
from typing import Final

import numpy as np

from core.dates import DAY_US
from core.features.feature import Feature
from core.features.tape import Floats, Tape

_SOURCE = "definition"
_THURSDAY: Final = 3
"""1970 began on one; Mondays are 0."""


def hour_sin(tape: Tape) -> Floats:
    return np.asarray(np.sin(_turn(tape)))


def hour_cos(tape: Tape) -> Floats:
    return np.cos(_turn(tape))


def weekday(tape: Tape) -> Floats:
    return ((tape.timestamp_us // DAY_US + _THURSDAY) % 7).astype(np.float64)


def basis(tape: Tape) -> Floats:
    return (tape.close - tape.index_price) / tape.index_price


def _turn(tape: Tape) -> Floats:
    """The part of the day that has gone when the row begins, as an angle."""
    return np.asarray((tape.timestamp_us % DAY_US) * (2 * math.pi / DAY_US), dtype=np.float64)


CONTEXT = (
    Feature(
        "hour_sin", hour_sin, "sin(2π · part of the UTC day at the row's beginning)", "-1 to 1", _SOURCE, ("time",)
    ),
    Feature(
        "hour_cos", hour_cos, "cos(2π · part of the UTC day at the row's beginning)", "-1 to 1", _SOURCE, ("time",)
    ),
    Feature("weekday", weekday, "0 on Mondays to 6 on Sundays, UTC, at the row's beginning", "day", _SOURCE, ("time",)),
    Feature(
        "funding_rate",
        lambda tape: tape.funding_rate,
        "rate of the last settlement",
        "share of the position per funding interval",
        _SOURCE,
        ("funding_rate",),
        needs="funding_rate",
    ),
    Feature(
        "premium",
        lambda tape: tape.premium,
        "close of the last whole candle of the premium index",
        "1",
        _SOURCE,
        ("premium_index",),
        needs="premium_index",
    ),
    Feature(
        "basis",
        basis,
        "(C - I) / I, I: close of the last whole candle of the index price",
        "1",
        _SOURCE,
        ("price", "index_price"),
        needs="index_price",
    ),
    Feature(
        "open_interest",
        lambda tape: tape.open_interest,
        "open interest of the last five minutes that were over",
        "base (cm: contracts)",
        _SOURCE,
        ("metrics",),
        needs="metrics",
    ),
)
