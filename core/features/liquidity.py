"""What it costs to trade, as far as trades tell."""

import math
from typing import Final

import numpy as np

from core.features.exact import ln
from core.features.feature import WINDOW, Feature, over
from core.features.tape import Floats, Tape, positive
from core.features.windows import Line, amounts, sums

_ONE_AND_ROOT: Final = 1 + math.sqrt(2)
"""Of two rows of which one has no range, β and γ are the same and α is 0. So α, (sqrt(2β) - sqrt(β)) / (3 - 2 sqrt 2) -
sqrt(γ / (3 - 2 sqrt 2)), is computed as (1 + sqrt 2) (sqrt(β) - sqrt(γ)), and σ likewise: 3 - 2 sqrt 2 is the square of
sqrt 2 - 1, and that is 1 / (1 + sqrt 2)."""
_K2: Final = math.sqrt(8 / math.pi)
_ROLL = "Roll (1984), A simple implicit measure of the effective bid-ask spread: 2 sqrt(-cov)"
_CORWIN = (
    "Corwin & Schultz (2012), A simple way to estimate bid-ask spreads from daily high and low prices: α, β, γ; pairs "
    "below 0 count as 0; nothing is adjusted for nights, as rows adjoin"
)
_BECKER = "Corwin & Schultz (2012), solved for σ with k2 = sqrt(8/π); López de Prado (2018), snippet 19.2"
_KYLE = "Kyle (1985), Continuous auctions and insider trading; by regression as in López de Prado (2018), 19.4.1"
_AMIHUD = "Amihud (2002), Illiquidity and stock returns"
_HASBROUCK = "Hasbrouck (2009), Trading costs and returns for U.S. equities; López de Prado (2018), 19.4.3"


def roll_spread(tape: Tape, window: int) -> Floats:
    before = np.append(np.full(min(1, len(tape)), np.nan), tape.change[:-1])
    line = tape.once(("roll", window), lambda: Line(before, tape.change, window))
    return 2 * np.sqrt(np.maximum(0.0, -line.covariance))


def roll_impact(tape: Tape, window: int) -> Floats:
    return roll_spread(tape, window) / positive(amounts(tape.dollars, window))


def corwin_schultz(tape: Tape, window: int) -> Floats:
    beta, gamma = _pairs(tape)
    alpha = _ONE_AND_ROOT * (np.sqrt(beta) - np.sqrt(gamma))
    spread = np.maximum(0.0, 2 * np.expm1(alpha) / (1 + np.exp(alpha)))
    return sums(spread, window - 1, tape.first) / (window - 1)


def becker_parkinson(tape: Tape, window: int) -> Floats:
    beta, gamma = _pairs(tape)
    sigma = _ONE_AND_ROOT / _K2 * (np.sqrt(gamma) - np.sqrt(beta / 2))
    return sums(np.maximum(0.0, sigma), window - 1, tape.first) / (window - 1)


def kyle_lambda(tape: Tape, window: int) -> Floats:
    return _kyle(tape, window).slope


def kyle_t(tape: Tape, window: int) -> Floats:
    return _kyle(tape, window).t_value


def amihud(tape: Tape, window: int) -> Floats:
    is_traded = tape.dollars > 0
    each = np.where(is_traded, np.abs(tape.log_return) / np.where(is_traded, tape.dollars, 1.0), 0 * tape.log_return)
    return sums(each, window, tape.first) / positive(sums(is_traded.astype(np.float64), window, tape.first))


def hasbrouck_lambda(tape: Tape, window: int) -> Floats:
    return _hasbrouck(tape, window).slope


def hasbrouck_t(tape: Tape, window: int) -> Floats:
    return _hasbrouck(tape, window).t_value


def price_impact(tape: Tape) -> Floats:
    return np.abs(tape.log_return) / positive(np.abs(tape.signed_volume))


def _kyle(tape: Tape, window: int) -> Line:
    return tape.once(("kyle", window), lambda: Line(tape.signed_volume, tape.change, window))


def _hasbrouck(tape: Tape, window: int) -> Line:
    return tape.once(("hasbrouck", window), lambda: Line(tape.root_dollars, tape.log_return, window))


def _pairs(tape: Tape) -> tuple[Floats, Floats]:
    """β and γ of each row and the one before."""
    square = tape.log_range**2
    nothing = np.full(min(1, len(tape)), np.nan)
    high = np.maximum(tape.high[1:], tape.high[:-1])
    low = np.minimum(tape.low[1:], tape.low[:-1])
    return np.append(nothing, square[1:] + square[:-1]), np.append(nothing, ln(high, low) ** 2)


LIQUIDITY = (
    *over(
        "roll_spread",
        roll_spread,
        (WINDOW,),
        "2 sqrt(max(0, -cov(ΔC, ΔC-1))) over w pairs",
        "quote per base",
        _ROLL,
        ("price",),
        before=2,
        is_proxy=True,
    ),
    *over(
        "roll_impact",
        roll_impact,
        (WINDOW,),
        "roll_spread / Σ d",
        "quote per base per quote (cm: USD)",
        f"{_ROLL}; over what was traded",
        (
            "price",
            "quantity",
        ),
        before=2,
        is_proxy=True,
    ),
    *over(
        "corwin_schultz",
        corwin_schultz,
        (WINDOW,),
        "mean over the w - 1 pairs of rows of max(0, 2 (e^α - 1) / (1 + e^α)), "
        "α = (sqrt(2β) - sqrt(β)) / (3 - 2 sqrt 2) - sqrt(γ / (3 - 2 sqrt 2)), "
        "β = ln(H/L)² + ln(H-1/L-1)², γ = ln(max H / min L)²",
        "share of the price",
        _CORWIN,
        ("price",),
        is_proxy=True,
    ),
    *over(
        "becker_parkinson",
        becker_parkinson,
        (WINDOW,),
        "mean over the w - 1 pairs of rows of max(0, (2^-½ - 1) sqrt(β) / (k2 (3 - 2 sqrt 2)) + "
        "sqrt(γ / (k2² (3 - 2 sqrt 2))))",
        "1 per root row",
        _BECKER,
        ("price",),
        is_proxy=True,
    ),
    *over(
        "kyle_lambda",
        kyle_lambda,
        (WINDOW,),
        "slope of ΔC on b, with an intercept",
        "quote per base per base (cm: per contract)",
        _KYLE,
        (
            "price",
            "quantity",
            "side",
        ),
        before=1,
    ),
    *over(
        "kyle_t",
        kyle_t,
        (WINDOW,),
        "kyle_lambda over its standard error (w - 2 degrees of freedom); NaN where that is 0",
        "1",
        _KYLE,
        (
            "price",
            "quantity",
            "side",
        ),
        before=1,
    ),
    *over(
        "amihud",
        amihud,
        (WINDOW,),
        "mean |r| / d over the rows with trades",
        "1 per quote (cm: USD)",
        _AMIHUD,
        (
            "price",
            "quantity",
        ),
        before=1,
    ),
    *over(
        "hasbrouck_lambda",
        hasbrouck_lambda,
        (WINDOW,),
        "slope of r on Σ side · sqrt(p · q; cm: contracts · contract value) of the row's trades, with an intercept",
        "1 per root quote (cm: USD)",
        _HASBROUCK,
        (
            "price",
            "quantity",
            "side",
        ),
        before=1,
    ),
    *over(
        "hasbrouck_t",
        hasbrouck_t,
        (WINDOW,),
        "hasbrouck_lambda over its standard error (w - 2 degrees of freedom); NaN where that is 0",
        "1",
        _HASBROUCK,
        (
            "price",
            "quantity",
            "side",
        ),
        before=1,
    ),
    Feature(
        "price_impact",
        price_impact,
        "|r| / |b|",
        "1 per base (cm: per contract)",
        "definition",
        ("price", "quantity", "side"),
        window=2,
        warm_up=1,
    ),
)
