"""How much prices moved."""

import math

import numpy as np

from core.features.exact import ln
from core.features.feature import LONG, MEDIUM, SHORT, WINDOW, Feature, over
from core.features.tape import Floats, Tape, positive
from core.features.windows import returns_around, sums

_INPUTS = ("price",)
_ROOT = "1 per root row"
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
    return np.maximum(0.0, 1.0 - bipower_variation(tape, window) / positive(whole))


def parkinson(tape: Tape) -> Floats:
    return tape.log_range**2 / (4 * math.log(2))


def garman_klass(tape: Tape) -> Floats:
    return 0.5 * tape.log_range**2 - (2 * math.log(2) - 1) * ln(tape.close, tape.open) ** 2


def rogers_satchell(tape: Tape) -> Floats:
    up = ln(tape.high, tape.close) * ln(tape.high, tape.open)
    return up + ln(tape.low, tape.close) * ln(tape.low, tape.open)


def parkinson_over(tape: Tape, window: int) -> Floats:
    return np.sqrt(sums(parkinson(tape), window, tape.first) / window)


def garman_klass_over(tape: Tape, window: int) -> Floats:
    return np.sqrt(np.maximum(0.0, sums(garman_klass(tape), window, tape.first) / window))


def rogers_satchell_over(tape: Tape, window: int) -> Floats:
    return np.sqrt(sums(rogers_satchell(tape), window, tape.first) / window)


VOLATILITY = (
    *over(
        "volatility",
        volatility,
        (SHORT, MEDIUM, LONG, WINDOW),
        "sqrt(Σ (r - mean r)² / (w - 1))",
        _ROOT,
        "definition",
        _INPUTS,
        before=1,
    ),
    *over(
        "realized_variance",
        realized_variance,
        (WINDOW,),
        "Σ r²",
        "1",
        "Andersen, Bollerslev, Diebold & Labys (2003), Modeling and forecasting realized volatility",
        _INPUTS,
        before=1,
    ),
    *over(
        "bipower_variation",
        bipower_variation,
        (WINDOW,),
        "(π / 2) Σ |r| · |r-1| over the w - 1 pairs of the window",
        "1",
        _BNS,
        _INPUTS,
        before=1,
    ),
    *over(
        "jump_share",
        jump_share,
        (WINDOW,),
        "max(0, 1 - bipower_variation / realized_variance)",
        "0 to 1",
        _BNS,
        _INPUTS,
        before=1,
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
    *over("parkinson_volatility", parkinson_over, (WINDOW,), "sqrt(mean parkinson)", _ROOT, _PARKINSON, _INPUTS),
    *over("garman_klass_volatility", garman_klass_over, (WINDOW,), "sqrt(mean garman_klass)", _ROOT, _GARMAN, _INPUTS),
    *over(
        "rogers_satchell_volatility",
        rogers_satchell_over,
        (WINDOW,),
        "sqrt(mean rogers_satchell)",
        _ROOT,
        _ROGERS,
        _INPUTS,
    ),
)
