"""The text of a bar spec: there and back, its defaults, and what it says of mistakes."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.bars import BARS
from core.bars.rules import Family
from core.bars.spec import BarSpec
from core.errors import ConfigError

GOOD = [
    *("time-1h", "time-1d", "time-90s", "time-500ms-empty", "tick-1000", "volume-100.5", "dollar-40000000"),
    *("dollar-0.000001-tick_rule", "dollar_imbalance-5000000", "dollar_imbalance-1000000-alpha_volume-0.4-signed"),
    *("dollar_imbalance-1000000-min_imbalance-0.2-least-10-most-2000000.5", "tick_imbalance-100-unclamped"),
    *("volume_imbalance-500-alpha_ticks-0.05", "afml_dollar_imbalance-500-alpha_imbalance-1"),
    *("tick_run-500-unclamped", "volume_run-500-alpha_run-0.5", "dollar_run-500-alpha_ticks-0.25-most-900"),
]


@pytest.mark.parametrize("text", GOOD)
def test_a_text_is_its_spec_and_back(text: str) -> None:
    assert str(BarSpec.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("dollar", "dollar-40000000"),
        ("time-60m", "time-1h"),
        ("time-1000ms", "time-1s"),
        ("volume-100.50", "volume-100.5"),
        ("dollar_imbalance-5000000-min_imbalance-0.05", "dollar_imbalance-5000000"),
        ("dollar_imbalance-5000000-least-1250000-most-20000000", "dollar_imbalance-5000000"),
        ("tick_run-10-least-2.5-most-41", "tick_run-10-most-41"),
        ("volume_imbalance-10-min_imbalance-0", "volume_imbalance-10"),
        ("tick_imbalance-10-alpha_ticks-0.10", "tick_imbalance-10"),
        (
            "dollar_imbalance-10-signed-alpha_volume-0.10-alpha_imbalance-0.4",
            "dollar_imbalance-10-alpha_imbalance-0.4-signed",
        ),
    ],
)
def test_one_spec_has_one_text(text: str, plain: str) -> None:
    assert str(BarSpec.parse(text)) == plain
    assert BarSpec.parse(plain) == BarSpec.parse(text)
    assert hash(BarSpec.parse(plain)) == hash(BarSpec.parse(text))


NUMBERS = st.floats(1e-9, 1.0, exclude_min=True)
SIZES = st.one_of(st.integers(1, 10**12), st.floats(1e-9, 1e12), st.decimals("0.000001", "1e20", places=6))


@given(kind=st.sampled_from([kind for kind in BARS if kind != "time"]), data=st.data())
def test_every_spec_is_said_by_its_text(kind: str, data: st.DataObject) -> None:
    rule = BARS[kind]
    is_whole = kind == "tick" or rule.size == "init_ticks"
    size = data.draw(st.integers(1, 10**15) if is_whole else SIZES)
    names = data.draw(st.sets(st.sampled_from(rule.options)) if rule.options else st.just(set()))
    if "unclamped" in names:
        names -= {"least", "most"}
    flags = {"signed", "unclamped", "tick_rule", "empty"}
    options = {name: True if name in flags else data.draw(NUMBERS) for name in sorted(names - {"least", "most"})}
    options |= {name: float(size) * {"least": 0.5, "most": 3.0}[name] for name in sorted(names & {"least", "most"})}
    spec = BarSpec.of(kind, size, **options)
    assert BarSpec.parse(str(spec)) == spec
    assert re.fullmatch(r"[a-z_]+(-[a-z0-9_.]+)+", str(spec))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dolar-1", "unknown kind of bars 'dolar' in 'dolar-1'; did you mean 'dollar'?"),
        ("", "unknown kind of bars ''"),
        ("tick-1000-tickrule", "tick has no option 'tickrule' in 'tick-1000-tickrule'; did you mean 'tick_rule'?"),
        ("dollar_imbalance-5-alfa_volume-0.1", "did you mean 'alpha_volume'?"),
        ("dollar-5-alpha_volume-0.1", "dollar has no option 'alpha_volume'"),
        (
            "tick_run-5-alpha_run",
            "'alpha_run' in 'tick_run-5-alpha_run' wants a number, as in tick_run-…-alpha_run-0.1",
        ),
        ("tick_run-5-alpha_run-0", "alpha_run of tick_run is a weight above 0 and up to 1"),
        ("tick_run-5-alpha_run-x", "alpha_run of tick_run is a number, not 'x'"),
        ("tick_run-5-unclamped-most-9", "tick_run is given bounds and 'unclamped'"),
        ("tick_run-5-least-9-most-8", "tick_run: least 9 is above most 8"),
        ("tick_run-5-unclamped-unclamped", "'unclamped' stands twice"),
        ("tick-0", "tick wants a threshold above 0, as in tick-1000; it is 0"),
        ("tick-1.5", "tick wants a whole number as threshold, not 1.5"),
        ("tick", "tick wants a threshold above 0"),
        ("time", "time wants a step, as in time-1h"),
        ("time-1w", "time wants a step such as 500ms, 10s, 1m, 4h or 1d, not '1w'"),
        ("time-99999d", "at most 10000d"),
        ("dollar-nan", "dollar has no option 'nan'"),
        ("volume-9e99", "threshold of volume cannot be 9e99"),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        BarSpec.parse(text)


def test_options_that_are_not_of_a_kind_are_refused_in_code_too() -> None:
    with pytest.raises(ConfigError, match="dollar has no option 'alpha_volume'"):
        BarSpec.of("dollar", 5, alpha_volume=0.5)
    with pytest.raises(ConfigError, match="did you mean 'alpha_volume'"):
        BarSpec.of("dollar_imbalance", 5, alphavolume=0.5)
    with pytest.raises(ConfigError, match="signed of dollar_imbalance is yes or no, not 1"):
        BarSpec.of("dollar_imbalance", 5, signed=1)
    for options in ({"alpha_volume": 0.1}, {"signed": False}):
        with pytest.raises(ConfigError, match=f"tick has no option {next(iter(options))!r}"):
            BarSpec.of("tick", 10, **options)


def test_a_step_is_a_text_or_a_timedelta_and_no_plain_number() -> None:
    hour = BarSpec("time", Decimal(3_600_000_000))
    assert BarSpec.of("time", "1h") == BarSpec.of("time", timedelta(hours=1)) == hour
    for number in (60, 60_000, 3.6e9, Decimal(3_600_000_000)):
        with pytest.raises(ConfigError, match="4h or 1d as text, or a timedelta, not"):
            BarSpec.of("time", number)
    with pytest.raises(ConfigError, match="time wants a step of whole milliseconds"):
        BarSpec.of("time", timedelta(microseconds=1500))


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (True, "threshold of tick is a number, not True"),
        ("4_0", "threshold of tick is a number, not '4_0'"),
        ("\u0663", "threshold of tick is a number, not '\u0663'"),
        (" 4", "threshold of tick is a number, not ' 4'"),
        ("1,000", "threshold of tick is a number, not '1,000'"),
        ("inf", "threshold of tick is a number, not 'inf'"),
        (float("inf"), "threshold of tick cannot be inf"),
    ],
)
def test_a_size_is_a_plain_number(size: object, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        BarSpec.of("tick", size)  # type: ignore[arg-type]
    if isinstance(size, str) and size[0].isdigit():
        with pytest.raises(ConfigError, match=re.escape(said)):
            BarSpec.parse(f"tick-{size}")


def test_the_expected_size_is_kept_within_a_factor_of_four() -> None:
    assert BarSpec.parse("dollar_imbalance-1000").bounds == (250.0, 4000.0)
    assert BarSpec.parse("tick_run-1000-most-9000").bounds == (250.0, 9000.0)
    assert BarSpec.parse("tick_run-1000-unclamped").bounds == (0.0, float("inf"))


def test_the_least_imbalance_is_that_of_a_share_only_where_it_is_one() -> None:
    floors = {text: BarSpec.parse(f"{text}-10").floor for text, rule in BARS.items() if "min_imbalance" in rule.options}
    shares = {"dollar_imbalance": 0.05, "tick_imbalance": 0.05}
    assert floors == {"volume_imbalance": 0.0, "afml_dollar_imbalance": 0.0, **shares}


def test_adaptive_kinds_have_bounds_and_the_others_none() -> None:
    for rule in BARS.values():
        assert ("unclamped" in rule.options) == rule.family.is_adaptive == (rule.family >= Family.DOLLAR_IMBALANCE)
