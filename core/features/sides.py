"""How much order there is in the sequence of buys and sales."""

import numpy as np

from core.features.feature import WINDOW, Feature, over
from core.features.tape import Floats, Tape, positive
from core.features.windows import amounts

_SHANNON = "Shannon (1948), A mathematical theory of communication; López de Prado (2018), 18.2"
_ZIV = (
    "Ziv & Lempel (1978), Compression of individual sequences via variable-rate coding; López de Prado (2018), "
    "snippet 18.2"
)


def side_entropy(tape: Tape) -> Floats:
    return _entropy(tape.buys, tape.trades)


def side_entropy_over(tape: Tape, window: int) -> Floats:
    return _entropy(amounts(tape.buys, window), amounts(tape.trades, window))


def side_phrases(tape: Tape) -> Floats:
    return tape.phrases / positive(tape.trades)


def side_complexity(tape: Tape) -> Floats:
    some = np.where(tape.trades > 1, tape.trades, np.nan)
    return tape.phrases * np.log2(some) / some


def _entropy(part: Floats, whole: Floats) -> Floats:
    """Of a share and the rest, in bits; a share of 0 adds nothing."""
    share = part / positive(whole)
    rest = (whole - part) / positive(whole)
    return _bits(share) + _bits(rest)


def _bits(share: Floats) -> Floats:
    return np.where(share == 0, 0.0, -share * np.log2(np.where(share == 0, 1.0, share)))


SIDES = (
    Feature(
        "side_entropy", side_entropy, "-Σ s log2 s of the shares of buys and sales", "bits, 0 to 1", _SHANNON, ("side",)
    ),
    *over(
        "side_entropy",
        side_entropy_over,
        (WINDOW,),
        "the same of all trades of the window",
        "bits, 0 to 1",
        _SHANNON,
        ("side",),
    ),
    Feature(
        "side_phrases",
        side_phrases,
        "Lempel-Ziv phrases c of the row's sides / n; a phrase is the shortest part that was not a phrase before, what "
        "is left at the end is none",
        "0 to 1",
        _ZIV,
        ("side",),
    ),
    Feature("side_complexity", side_complexity, "c · log2(n) / n; NaN for n < 2", "1", _ZIV, ("side",)),
)
