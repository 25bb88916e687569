"""How much prices moved."""

import math
from functools import partial

import numpy as np

from core.features.exact import less
from core.features.feature import LONG, MEDIUM, SHORT, WINDOW, Feature
from core.features.tape import Floats, Tape
from core.features.windows import returns_around, sums

_INPUTS = ("price",)
_BNS = (
    "Barndorff-Nielsen & Shephard (2004), Power and bipower variation with stochastic volatility and jumps: μ1^-2 = π/2"
)
_PARKINSON = "Parkinson (1980), The extreme value method for estimating the variance of the rate of return"
_GARMAN = (
    "Garman & Klass (1980), On the estimation of security price volatilities from historical data: the practical "
    "estimator"
)
_ROGERS = "Rogers & Satchell (1991), Estimating variance from high, low and closing prices"


def volatility(tape: Tape, window: int) -> Floats:
    two, _, _ = returns_around(tape, window)
    return np.sqrt(two / (window - 1))


def realized_variance(tape: Tape, window: int) -> Floats:
    return sums(tape.log_return**2, window, tape.first)


def bipower_variation(tape: Tape, window: int) -> Floats:
    size = np.abs(tape.log_return)
    pairs = np.append(np.full(min(1, len(size)), np.nan), size[1:] * size[:-1])
    return math.pi / 2 * sums(pairs, window - 1, tape.first)


def jump_share(tape: Tape, window: int) -> Floats:
    whole = realized_variance(tape, window)
    return np.maximum(0.0, 1.0 - bipower_variation(tape, window) / np.where(whole > 0, whole, np.nan))


def parkinson(tape: Tape) -> Floats:
    return tape.log_range**2 / (4 * math.log(2))


def garman_klass(tape: Tape) -> Floats:
    return 0.5 * tape.log_range**2 - (2 * math.log(2) - 1) * _ln(tape.close, tape.open) ** 2


def rogers_satchell(tape: Tape) -> Floats:
    up = _ln(tape.high, tape.close) * _ln(tape.high, tape.open)
    return up + _ln(tape.low, tape.close) * _ln(tape.low, tape.open)


def parkinson_over(tape: Tape, window: int) -> Floats:
    return np.sqrt(sums(parkinson(tape), window, tape.first) / window)


def garman_klass_over(tape: Tape, window: int) -> Floats:
    return np.sqrt(np.maximum(0.0, sums(garman_klass(tape), window, tape.first) / window))


def rogers_satchell_over(tape: Tape, window: int) -> Floats:
    return np.sqrt(sums(rogers_satchell(tape), window, tape.first) / window)


def _ln(one: Floats, other: Floats) -> Floats:
    """ln(one / other), of prices."""
    return np.log1p(less(one, other) / other)


VOLATILITY = (
    *(
        Feature(
            f"volatility_{window}",
            partial(volatility, window=window),
            "sqrt(Σ (r - mean r)² / (w - 1))",
            "1 per root row",
            "definition",
            _INPUTS,
            window=window,
            warm_up=window,
        )
        for window in (SHORT, MEDIUM, LONG, WINDOW)
    ),
    Feature(
        f"realized_variance_{WINDOW}",
        partial(realized_variance, window=WINDOW),
        "Σ r²",
        "1",
        "Andersen, Bollerslev, Diebold & Labys (2003), Modeling and forecasting realized volatility",
        _INPUTS,
        window=WINDOW,
        warm_up=WINDOW,
    ),
    Feature(
        f"bipower_variation_{WINDOW}",
        partial(bipower_variation, window=WINDOW),
        "(π / 2) Σ |r| · |r-1| over the w - 1 pairs of the window",
        "1",
        _BNS,
        _INPUTS,
        window=WINDOW,
        warm_up=WINDOW,
    ),
    Feature(
        f"jump_share_{WINDOW}",
        partial(jump_share, window=WINDOW),
        "max(0, 1 - bipower_variation / realized_variance)",
        "0 to 1",
        _BNS,
        _INPUTS,
        window=WINDOW,
        warm_up=WINDOW,
    ),
    Feature("parkinson", parkinson, "ln(H / L)² / (4 ln 2)", "variance per row", _PARKINSON, _INPUTS),
    Feature(
        "garman_klass",
        garman_klass,
        "0.5 ln(H / L)² - (2 ln 2 - 1) ln(C / O)²",
        "variance per row",
        _GARMAN,
        _INPUTS,
    ),
    Feature(
        "rogers_satchell",
        rogers_satchell,
        "ln(H / C) ln(H / O) + ln(L / C) ln(L / O)",
        "variance per row",
        _ROGERS,
        _INPUTS,
    ),
    *(
        Feature(
            f"{name}_volatility_{WINDOW}",
            partial(function, window=WINDOW),
            f"sqrt(mean {name})",
            "1 per root row",
            source,
            _INPUTS,
            window=WINDOW,
            warm_up=WINDOW - 1,
        )
        for name, function, source in (
            ("parkinson", parkinson_over, _PARKINSON),
            ("garman_klass", garman_klass_over, _GARMAN),
            ("rogers_satchell", rogers_satchell_over, _ROGERS),
        )
    ),
)
