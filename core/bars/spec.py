"""Which bars: a kind and its numbers, as a value and as a text that is safe as the name of a folder.

time-1h   tick-1000   volume-100.5   dollar-40000000                        the kind and its size
dollar_imbalance-5000000-alpha_volume-0.4-signed   tick_run-500-unclamped   then options that differ from the default
"""

import re
from dataclasses import dataclass, fields
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from core.bars import BARS
from core.bars.rules import Amount, Family, Rule
from core.dates import DAY_US, HOUR_US, MINUTE_US
from core.errors import ConfigError
from core.nearest import one_of

DEFAULT_DOLLARS: Final = Decimal(40_000_000)
CLAMP: Final = 4
"""The expected size stays between a quarter and four times its start: without bounds it explodes or vanishes."""
ALPHA: Final = 0.1
MIN_IMBALANCE: Final = 0.05
"""Of expectations between -1 and 1; those in quantities and dollars have no natural least value, and 0 for it."""
LONGEST_US: Final = 10_000 * DAY_US
_UNITS: Final = {"d": DAY_US, "h": HOUR_US, "m": MINUTE_US, "s": 1_000_000, "ms": 1000}
_STEP: Final = re.compile(r"([1-9][0-9]{0,9})(d|h|m|s|ms)")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_FLAGS: Final = ("signed", "unclamped", "tick_rule", "empty")
_DIGITS: Final = 30
"""Of a size, before and behind the point: more is a mistake."""


@dataclass(frozen=True, slots=True)
class BarSpec:
    """A bar rule and its numbers; `parse` and `str` are inverse, and the same bars are the same spec: options that say
    what the default is are None.

    `size` is what the kind calls `step` (microseconds), `threshold`, `init_t` (dollars) or `init_ticks` (trades).
    `least` and `most` bound the expected size, None for a quarter and four times `size`, and do not with
    `unclamped`. `min_imbalance` is the least the expected imbalance is taken for, None for the kind's default.
    `signed`: the imbalance that is averaged keeps its sign. `tick_rule`: a trade above the last price is a buy, one
    below it a sale, one at it what the last one was, the first a buy; without it the side of the taker. `empty`: bars
    also of steps without trades.

    Raises ConfigError, naming the option, for what a kind does not know and for numbers that make no bars.
    """

    kind: str
    size: Decimal = Decimal(0)
    alpha_volume: float = ALPHA
    alpha_ticks: float = ALPHA
    alpha_imbalance: float = ALPHA
    alpha_run: float = ALPHA
    min_imbalance: float | None = None
    least: float | None = None
    most: float | None = None
    signed: bool = False
    unclamped: bool = False
    tick_rule: bool = False
    empty: bool = False

    def __post_init__(self) -> None:
        if self.kind not in BARS:
            raise ConfigError(f"unknown kind of bars {self.kind!r}{one_of(str(self.kind), BARS)}")
        object.__setattr__(self, "size", self._checked_size())
        for field in fields(self)[2:]:
            value = getattr(self, field.name)
            if value == field.default and isinstance(value, type(field.default)):
                continue
            if field.name not in self.rule.options:
                raise self._unknown(field.name)
            object.__setattr__(self, field.name, self._checked(field.name, value))
        if self.unclamped and (self.least is not None or self.most is not None):
            raise ConfigError(f"{self.kind} is given bounds and 'unclamped'; leave one of them out")
        for name, usual in self._usual().items():
            if getattr(self, name) == usual:
                object.__setattr__(self, name, None)
        if self.rule.family.is_adaptive and self.bounds[0] > self.bounds[1]:
            raise ConfigError(f"{self.kind}: least {self.bounds[0]:g} is above most {self.bounds[1]:g}")

    @classmethod
    def of(cls, kind: str, size: Decimal | float | str | timedelta | None = None, **options: Any) -> "BarSpec":
        """A spec from numbers or text; the `size` of time bars is `1h` or a timedelta. Raises ConfigError."""
        rule = BARS.get(kind) if isinstance(kind, str) else None
        if rule is None:
            raise ConfigError(f"unknown kind of bars {kind!r}{one_of(str(kind), BARS)}")
        for name in options:
            if name not in rule.options:
                raise ConfigError(f"{kind} has no option {name!r}{one_of(name, rule.options)}")
        if size is None and kind != "dollar":
            return cls(kind, **options)
        if rule.family is Family.CLOCK:
            return cls(kind, Decimal(_step_us(size)), **options)
        return cls(kind, DEFAULT_DOLLARS if size is None else _decimal(size, rule.size, kind), **options)

    @classmethod
    def parse(cls, text: str) -> "BarSpec":
        """The spec that a text says. Raises ConfigError, with a near match."""
        kind, *words = text.split("-")
        if kind not in BARS:
            raise ConfigError(f"unknown kind of bars {kind!r} in {text!r}{one_of(kind, BARS)}")
        size = words.pop(0) if words and words[0][:1].isdigit() else None
        options: dict[str, Any] = {}
        while words:
            name = words.pop(0)
            if name not in BARS[kind].options:
                raise ConfigError(f"{kind} has no option {name!r} in {text!r}{one_of(name, BARS[kind].options)}")
            if name in options:
                raise ConfigError(f"{name!r} stands twice in {text!r}")
            if name in _FLAGS:
                options[name] = True
            elif words:
                options[name] = _decimal(words.pop(0), name, kind)
            else:
                raise ConfigError(f"{name!r} in {text!r} wants a number, as in {kind}-…-{name}-0.1")
        return cls.of(kind, size, **options)

    def __str__(self) -> str:
        words = [self.kind, _step(int(self.size)) if self.rule.family is Family.CLOCK else _plain(self.size)]
        for field in fields(self)[2:]:
            value = getattr(self, field.name)
            if value != field.default:
                words += [field.name] if value is True else [field.name, _plain(Decimal(repr(value)))]
        return "-".join(words)

    @property
    def rule(self) -> Rule:
        return BARS[self.kind]

    @property
    def bounds(self) -> tuple[float, float]:
        """Between what the expected size is kept, in dollars or trades."""
        if self.unclamped:
            return 0.0, float("inf")
        usual = self._usual()
        least, most = self.least, self.most
        return usual["least"] if least is None else least, usual["most"] if most is None else most

    @property
    def floor(self) -> float:
        """The least the expected imbalance is taken for."""
        if self.min_imbalance is not None:
            return self.min_imbalance
        return self._usual_floor

    @property
    def _usual_floor(self) -> float:
        is_share = self.rule.family is Family.DOLLAR_IMBALANCE or self.rule.amount is Amount.TRADES
        return MIN_IMBALANCE if is_share else 0.0

    def _usual(self) -> dict[str, float]:
        """What stands for None."""
        start = float(self.size)
        return {"min_imbalance": self._usual_floor, "least": start / CLAMP, "most": start * CLAMP}

    def _checked_size(self) -> Decimal:
        name = self.rule.size
        if self.size == 0 and self.kind == "time":
            raise ConfigError("time wants a step, as in time-1h")
        size = _decimal(self.size, name, self.kind)
        if not size > 0:
            raise ConfigError(f"{self.kind} wants a {name} above 0, as in {self.kind}-1000; it is {_plain(size)}")
        is_whole = self.rule.family is Family.CLOCK or self.rule.size == "init_ticks" or self.kind == "tick"
        if is_whole and size != size.to_integral_value():
            raise ConfigError(f"{self.kind} wants a whole number as {name}, not {_plain(size)}")
        if self.rule.family is Family.CLOCK and (size % 1000 or size > LONGEST_US):
            raise ConfigError(f"time wants a {name} of whole milliseconds and at most 10000d, not {_plain(size)} us")
        return size

    def _checked(self, name: str, value: Any) -> Any:
        if name in _FLAGS:
            if not isinstance(value, bool):
                raise ConfigError(f"{name} of {self.kind} is yes or no, not {value!r}")
            return value
        number = float(_decimal(value, name, self.kind))
        if name.startswith("alpha") and not 0 < number <= 1:
            raise ConfigError(f"{name} of {self.kind} is a weight above 0 and up to 1, not {value}")
        if not number >= 0:
            raise ConfigError(f"{name} of {self.kind} cannot be below 0, as {value} is")
        return number + 0.0  # of -0.0, 0.0

    def _unknown(self, name: str) -> ConfigError:
        return ConfigError(f"{self.kind} has no option {name!r}{one_of(name, self.rule.options)}")


def _decimal(value: Any, name: str, kind: str) -> Decimal:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ConfigError(f"{name} of {kind} is a number, not {value!r}")
    number = Decimal(repr(float(value))) if isinstance(value, float) else Decimal(value)
    if not number.is_finite() or (number and not -_DIGITS <= number.adjusted() < _DIGITS):
        raise ConfigError(f"{name} of {kind} cannot be {value}")
    if isinstance(number.as_tuple().exponent, int) and -int(number.as_tuple().exponent) > _DIGITS:
        raise ConfigError(f"{name} of {kind} has more than {_DIGITS} decimals")
    return number


def _step_us(step: Any) -> int:
    if isinstance(step, timedelta):
        return step // timedelta(microseconds=1)
    match = _STEP.fullmatch(step) if isinstance(step, str) else None
    if match is None:
        other = "" if isinstance(step, str) else " as text, or a timedelta"
        raise ConfigError(f"time wants a step such as 500ms, 10s, 1m, 4h or 1d{other}, not {step!r}")
    return int(match[1]) * _UNITS[match[2]]


def _step(step_us: int) -> str:
    """The step in the largest unit that divides it."""
    unit = next(unit for unit, length in _UNITS.items() if step_us % length == 0)
    return f"{step_us // _UNITS[unit]}{unit}"


def _plain(number: Decimal) -> str:
    """Without an exponent and without zeros at the end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
