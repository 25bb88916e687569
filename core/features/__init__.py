"""Features from trades: what was known at the end of each interval or bar, as columns of a matrix.

`TapeBuilder` (builder) makes rows of trades, `Tape` (tape) holds them, `features_of` makes columns of a tape. To add a
feature: a function of a tape and its `Feature` in the module of its subject, and its literal twin in
`tests/features_oracle.py`; then `python scripts/feature_dictionary.py --write`. To add a subject: its line in
`SUBJECTS`.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from core.errors import ConfigError
from core.features.amounts import AMOUNTS
from core.features.context import CONTEXT
from core.features.feature import Feature
from core.features.flow import FLOW
from core.features.intensity import INTENSITY
from core.features.liquidity import LIQUIDITY
from core.features.prices import PRICES
from core.features.returns import RETURNS
from core.features.sides import SIDES
from core.features.tape import Floats, Tape
from core.features.toxicity import TOXICITY
from core.features.volatility import VOLATILITY
from core.nearest import one_of

SUBJECTS: dict[str, tuple[Feature, ...]] = {
    "prices": PRICES,
    "amounts": AMOUNTS,
    "flow": FLOW,
    "returns": RETURNS,
    "volatility": VOLATILITY,
    "liquidity": LIQUIDITY,
    "toxicity": TOXICITY,
    "intensity": INTENSITY,
    "sides": SIDES,
    "context": CONTEXT,
}
"""All features, by the module that they stand in."""

FEATURES: dict[str, Feature] = {feature.name: feature for subject in SUBJECTS.values() for feature in subject}
"""All features by name, in the order of the columns."""


def features_named(names: Iterable[str]) -> tuple[Feature, ...]:
    """These features, each once, in the order of the registry. Raises ConfigError, with a near match, for others."""
    wanted = list(names)
    for name in wanted:
        if name not in FEATURES:
            raise ConfigError(f"features: unknown {name!r}{one_of(str(name), FEATURES)}")
    return tuple(feature for name, feature in FEATURES.items() if name in wanted)


def features_of(tape: Tape, features: Iterable[Feature]) -> Mapping[str, Floats]:
    """Their columns for each row of a tape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return {feature.name: np.asarray(feature.function(tape), dtype=np.float64) for feature in features}
