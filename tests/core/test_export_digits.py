"""Doubles back to the published decimals, exactly: against Python's own decimals over many texts."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import ContentError
from core.export.digits import decimals_of, fixed_point

published = st.builds(
    lambda digits, decimals: Decimal(digits).scaleb(-decimals), st.integers(0, 10**15 - 1), st.integers(0, 8)
)
"""What the exchange writes: up to 15 significant digits, up to 8 of them behind the point."""


@given(st.lists(published, min_size=1, max_size=20))
@example([Decimal("46116860184.7387"), Decimal("0.00000001")])
def test_every_published_decimal_comes_back(texts: list[Decimal]) -> None:
    values = np.array([float(text) for text in texts])
    decimals = decimals_of(values, 0, 16)
    exponents = [text.normalize().as_tuple().exponent for text in texts]
    assert decimals == max(0, *(-int(exponent) for exponent in exponents))
    fixed = fixed_point(values, decimals, 16)
    assert fixed.type == pa.decimal128(38, 0)
    assert [int(value) for value in fixed.to_pylist()] == [int(text * 10**16) for text in texts]


def test_large_values_with_many_decimals_go_by_their_text() -> None:
    values = np.array([123456789012.12345678, 9007199254740993.0])
    assert decimals_of(values, 0, 16) == 5
    assert fixed_point(values, 5, 16).to_pylist() == [
        Decimal("1234567890121234600000000000"),  # the double is nearest to ….12346
        Decimal("90071992547409920000000000000000"),
    ]


@pytest.mark.parametrize("value", [0.1 + 0.2, float("nan"), float("inf")])
def test_what_is_no_short_decimal_is_refused(value: float) -> None:
    with pytest.raises(ContentError):
        decimals_of(np.array([1.5, value]), 0, 16)


def test_a_value_with_more_decimals_than_allowed_is_refused() -> None:
    with pytest.raises(ContentError, match=r"0\.25 has more than 1 decimals"):
        fixed_point(np.array([0.5, 0.25]), 1, 16)


def test_nothing_needs_no_decimals() -> None:
    assert decimals_of(np.array([]), 3, 16) == 3
    assert fixed_point(np.array([]), 3, 16).to_pylist() == []
