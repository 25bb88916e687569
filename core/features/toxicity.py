"""How likely it is that the other side knows more."""

import numpy as np

from core.features.buckets import BUCKETS, HOURS, LEAST
from core.features.feature import HALF_LIFE, MEMORY, Feature
from core.features.flow import faded
from core.features.tape import Floats, Tape, positive

_VPIN = (
    "Easley, López de Prado & O'Hara (2012), Flow toxicity and liquidity in a high-frequency world; there "
    "buckets are a 50th of a day and sides are guessed, here a 50th of the hour before and the takers' own"
)
_INPUTS = ("quantity", "side")


def toxicity(tape: Tape) -> Floats:
    return np.abs(tape.signed_volume) / positive(tape.volume)


def toxicity_ewma(tape: Tape) -> Floats:
    volume = faded(tape.volume, tape)
    return faded(np.abs(tape.signed_volume), tape) / positive(volume)


TOXICITY = (
    Feature(
        "vpin",
        lambda tape: tape.vpin,
        f"mean |vb - vs| / V of the last {BUCKETS} full buckets of this clock hour and the {HOURS - 1} before it, "
        f"V = volume of the hour before the bucket's / {BUCKETS}; as of the last trade; NaN in an hour that is without "
        "trades so far",
        "0 to 1",
        _VPIN,
        (*_INPUTS, "time"),
        hours=HOURS,
        is_proxy=True,
    ),
    Feature(
        "vpin_cdf",
        lambda tape: tape.vpin_cdf,
        f"share of the values that vpin took when a bucket of this clock hour or the one before was full, at least "
        f"{LEAST}, that are not above it",
        "0 to 1",
        _VPIN,
        (*_INPUTS, "time"),
        hours=HOURS + 1,
        is_proxy=True,
    ),
    Feature("toxicity", toxicity, "|b| / v", "0 to 1", _VPIN, _INPUTS, is_proxy=True),
    Feature(
        "toxicity_ewma",
        toxicity_ewma,
        f"Σ a^k |b| / Σ a^k v, k rows back, a = 2^(-1/{HALF_LIFE})",
        "0 to 1",
        _VPIN,
        _INPUTS,
        window=MEMORY,
        warm_up=MEMORY - 1,
        is_proxy=True,
    ),
)
