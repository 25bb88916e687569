"""How rows of features become samples: every choice, as one value that is kept with the dataset."""

from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Final

from core.errors import ConfigError
from core.learning.labels import TIES, VERTICAL
from core.learning.scaling import checked_scaler
from core.nearest import one_of

LABELS: Final = ("fixed_horizon", "triple_barrier")
WEIGHTS: Final = ("uniqueness", "return", "none")
MISSING: Final = ("fill", "drop", "keep")
QUARANTINE_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Recipe:
    """The choices of a dataset; docs/learning.md says more of each.

    label_horizon     rows until a label is decided at the latest
    label             `fixed_horizon` (up, neutral, down) or `triple_barrier`
    threshold         of fixed_horizon: a change up to this fraction is neutral
    width             of triple_barrier, as a fraction; None: the volatility of a row times the root of the horizon
    profit, loss      of triple_barrier: multiples of the width, 0 for no barrier
    side              of triple_barrier: the column (a feature, or one of your own) whose sign at a row is the side, so
                      that labels are meta-labels: 1 if following it gained, else 0; 0 or unknown: no sample
    ties              of triple_barrier, of rows that touch both barriers: `loss`, `profit` or `neutral`; None: `loss`
                      with a side, else `neutral`
    vertical          of triple_barrier, of the end: `zero`, or the `sign` of the return
    volatility_span   rows of the exponential window of that volatility
    cusum             samples only where the log price has moved by this; None: every row
    val_share, test_share   of the samples, at the end of time; the test part comes last, 0 for none
    embargo           rows that lie between the last label of a part and the next part; None: label_horizon,
                      which covers labels, not the rows that features look back to
    quarantine        keep out the last 30 days of what is stored, counted from the last stored day
    scaler            `standard`, `robust` or `none`, fitted on the train part
    missing           values that are not known: `fill` (the train part's center), `drop` their rows, or `keep` NaN
    weights           of samples: `uniqueness`, `return` (what was theirs of the price's way) or `none` (1)
    oldest_weight     to what weights fall with age, from 1 (not at all); below 0 the oldest count nothing
    """

    label_horizon: int = 30
    label: str = "fixed_horizon"
    threshold: float = 0.0
    width: float | None = None
    profit: float = 1.0
    loss: float = 1.0
    side: str | None = None
    ties: str | None = None
    vertical: str = "zero"
    volatility_span: int = 100
    cusum: float | None = None
    val_share: float = 0.2
    test_share: float = 0.0
    embargo: int | None = None
    quarantine: bool = False
    scaler: str = "standard"
    missing: str = "fill"
    weights: str = "uniqueness"
    oldest_weight: float = 1.0

    def __post_init__(self) -> None:
        checked_scaler(self.scaler)
        words_of = {"label": LABELS, "weights": WEIGHTS, "missing": MISSING, "vertical": VERTICAL, "ties": TIES}
        for name, words in words_of.items():
            value = getattr(self, name)
            if value not in words and not (name == "ties" and value is None):
                raise ConfigError(f"{name}: {value!r}{one_of(str(value), words)}")
        if self.side is not None and (not isinstance(self.side, str) or not self.side):
            raise ConfigError(f"side: {self.side!r} is no name of a column")
        if self.side is not None and self.label != "triple_barrier":
            raise ConfigError("side: meta-labels are made of barriers; give label='triple_barrier', too")
        for name in ("threshold", "width", "profit", "loss", "cusum", "val_share", "test_share", "oldest_weight"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ConfigError(f"{name}: {value!r} is not a number")
        self._check_ranges()
        if not isinstance(self.quarantine, bool):
            raise ConfigError(f"quarantine is yes or no, not {self.quarantine!r}; it keeps {QUARANTINE_DAYS} days out")
        if not (0 < self.val_share < 1 and 0 <= self.test_share < 1 and self.val_share + self.test_share < 1):
            raise ConfigError(
                f"val_share {self.val_share} and test_share {self.test_share}: parts of 1 that leave some to train on"
            )

    def _check_ranges(self) -> None:
        """Raises ConfigError by the option's own name, before anything is read."""
        ranges = (
            ("threshold", self.threshold >= 0, "a fraction of the price from 0 on"),
            ("width", self.width is None or self.width > 0, "a fraction of the price above 0"),
            ("profit", self.profit >= 0, "a multiple of the width from 0 on"),
            ("loss", self.loss >= 0, "a multiple of the width from 0 on"),
            ("cusum", self.cusum is None or self.cusum > 0, "a change of the log price above 0"),
            ("oldest_weight", -1 < self.oldest_weight <= 1, "above -1 and up to 1"),
        )
        for name, is_right, what in ranges:
            value = getattr(self, name)
            if not is_right or (value is not None and not isfinite(value)):
                raise ConfigError(f"{name}: {value} is not {what}")
        for name, least in (("label_horizon", 1), ("embargo", 0), ("volatility_span", 2)):
            value = getattr(self, name)
            if value is None and name == "embargo":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name}: {value!r} is not a whole number of rows from {least} on")

    @property
    def gap(self) -> int:
        """The embargo in rows."""
        return self.label_horizon if self.embargo is None else self.embargo

    @property
    def parts(self) -> dict[str, float]:
        """The parts in order of time, with their shares of the samples."""
        shares = {"train": 1 - self.val_share - self.test_share, "val": self.val_share, "test": self.test_share}
        return {name: share for name, share in shares.items() if share > 0}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def recipe_of(label_horizon: int, options: dict[str, Any]) -> Recipe:
    """The recipe of a caller's words. Raises ConfigError, with a near match for an option that there is not."""
    known = [field.name for field in fields(Recipe)]
    for name in options:
        if name not in known:
            raise ConfigError(f"a dataset has no option {name!r}{one_of(name, known)}")
    return Recipe(label_horizon=label_horizon, **options)
