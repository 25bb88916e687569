"""Who was the more impatient: buyers or sellers."""

import numpy as np

from core.dates import DAY_US
from core.features.feature import HALF_LIFE, LONG, MEDIUM, MEMORY, WINDOW, Feature, over
from core.features.tape import Floats, Tape, positive
from core.features.windows import amounts, sums

_SOURCE = "definition"
_SIGNED = "base (cm: contracts), above 0: bought"
_INPUTS = ("quantity", "side")
_IMBALANCE = "Chordia, Roll & Subrahmanyam (2002), Order imbalance, liquidity, and market returns"


def volume_imbalance(tape: Tape) -> Floats:
    return tape.signed_volume / positive(tape.volume)


def trade_imbalance(tape: Tape) -> Floats:
    return (tape.buys - tape.sells) / positive(tape.trades)


def dollar_imbalance(tape: Tape) -> Floats:
    return tape.signed_dollars / positive(tape.dollars)


def volume_imbalance_over(tape: Tape, window: int) -> Floats:
    return amounts(tape.signed_volume, window) / positive(amounts(tape.volume, window))


def trade_imbalance_over(tape: Tape, window: int) -> Floats:
    return amounts(tape.buys - tape.sells, window) / positive(amounts(tape.trades, window))


def imbalance_ewma(tape: Tape) -> Floats:
    return faded(tape.signed_volume, tape) / positive(faded(tape.volume, tape))


def buy_ratio(tape: Tape) -> Floats:
    return tape.buy_volume / positive(tape.volume)


def cvd_change(tape: Tape, window: int) -> Floats:
    return amounts(tape.signed_volume, window)


def cvd(tape: Tape) -> Floats:
    day = tape.timestamp_us // DAY_US
    found = np.empty(len(tape))
    begins = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist()]
    for start, end in zip(begins, [*begins[1:], len(tape)], strict=True):
        found[start:end] = running(tape.signed_volume[start:end])
    return found


def running(values: Floats) -> Floats:
    """The sum of each value and all before it, of decimals."""
    padded = np.append(np.zeros(max(len(values) - 1, 0)), values)
    return amounts(padded, len(values))[len(values) - 1 :] if len(values) else values


def faded(values: Floats, tape: Tape) -> Floats:
    """The sum of values whose weights halve every HALF_LIFE rows."""
    return sums(values, MEMORY, tape.first, 0.5 ** (1.0 / HALF_LIFE))


def max_run_share(tape: Tape) -> Floats:
    return tape.max_run / positive(tape.trades)


FLOW = (
    Feature("volume_imbalance", volume_imbalance, "b / v", "-1 to 1", _IMBALANCE, _INPUTS),
    Feature("trade_imbalance", trade_imbalance, "(nb - ns) / n", "-1 to 1", _IMBALANCE, ("side",)),
    Feature("dollar_imbalance", dollar_imbalance, "(db - ds) / d", "-1 to 1", _IMBALANCE, ("price", *_INPUTS)),
    *over(
        "volume_imbalance", volume_imbalance_over, (MEDIUM, LONG, WINDOW), "Σ b / Σ v", "-1 to 1", _IMBALANCE, _INPUTS
    ),
    *over("trade_imbalance", trade_imbalance_over, (WINDOW,), "Σ (nb - ns) / Σ n", "-1 to 1", _IMBALANCE, ("side",)),
    Feature(
        "imbalance_ewma",
        imbalance_ewma,
        f"Σ a^k b / Σ a^k v, k rows back, a = 2^(-1/{HALF_LIFE})",
        "-1 to 1",
        _SOURCE,
        _INPUTS,
        window=MEMORY,
        warm_up=MEMORY - 1,
    ),
    Feature("buy_ratio", buy_ratio, "vb / v", "0 to 1", _SOURCE, _INPUTS),
    Feature(
        "cvd",
        cvd,
        "Σ b of the rows that began on the same UTC day, this one included",
        _SIGNED,
        _SOURCE,
        _INPUTS,
        since_midnight=True,
    ),
    *over("cvd_change", cvd_change, (MEDIUM, WINDOW), "Σ b", _SIGNED, _SOURCE, _INPUTS),
    Feature(
        "signed_run",
        lambda tape: tape.signed_run,
        "length of the run of one side that the row ends with, within the row; below 0: sales; 0 without trades",
        "trades",
        _SOURCE,
        ("side",),
    ),
    Feature("max_run_share", max_run_share, "longest run of one side / n", "0 to 1", _SOURCE, ("side",)),
)
