"""What kernels stand on: rounding, exact sums, room, and that none of them is taken from an outdated cache."""

import hashlib
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from core import compiled
from core.bars.rounding import least_reaching, nearest
from core.bars.slots import NEVER
from core.bars.sums import Sums, exact

BARS = Path(__file__).resolve().parents[2] / "core" / "bars"
PARTS = (
    *("compiled", "slots", "rules", "vectors", "rounding", "blocks"),
    *("threshold", "clock", "imbalance", "runs", "shared"),
)


@settings(deadline=None)  # the first call compiles
@given(number=st.integers(0, NEVER - 1) | st.integers(0, 62).map(lambda n: max(0, 2**n - 1)), places=st.integers(0, 18))
@example(2**53 + 1, 0)
@example(2**62 - 1, 18)
@example(9007199254740993, 3)
def test_the_nearest_double_is_that_of_a_true_division(number: int, places: int) -> None:
    assert nearest(number, places) == number / 10**places


@settings(deadline=None)
@given(value=st.floats(0, 1e20) | st.floats(0, 1e-5) | st.integers(0, 2**62).map(float), places=st.integers(0, 18))
@example(0.0, 3)
@example(5e-324, 18)
@example(4.6e18, 0)
@example(4611686018427387904.0, 0)
@example(0.1, 18)
@example(math.inf, 2)
def test_the_least_sum_that_reaches_a_double_is_exact(value: float, places: int) -> None:
    least = math.ceil(Fraction(value) * 10**places) if math.isfinite(value) else NEVER
    assert least_reaching(value, places) == (least if least < NEVER and value < 4.6e18 else NEVER)


@given(st.integers(0, 10**20), st.integers(0, 25))
def test_sums_say_themselves_as_decimals(number: int, places: int) -> None:
    sums = Sums(number, number // 3, number * 7, number // 5, places, places + 4)
    assert [Fraction(text) for text in sums.texts()] == [
        *(Fraction(n, 10**places) for n in (sums.volume, sums.buy_volume)),
        *(Fraction(n, 10 ** (places + 4)) for n in (sums.dollars, sums.buy_dollars)),
    ]
    assert Sums.parse(sums.texts()) == sums.shortest()


def test_a_double_is_the_decimal_that_it_is_printed_as() -> None:
    assert exact(0.1) == (1, 1)
    assert exact(1e-8) == (1, 8)
    assert exact(1.5e22) == (15 * 10**21, 0)
    assert exact(0.30000000000000004) == (30000000000000004, 17)
    assert exact(0.0) == (0, 0)


def test_without_a_folder_for_its_cache_a_kernel_is_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def without_cache(**options: Any) -> Any:
        if "cache" in options:
            raise RuntimeError("cannot cache function 'run': no locator available")
        return njit(**options)

    monkeypatch.setattr(compiled, "njit", without_cache)
    double = compiled.kept("bars", nogil=True)(lambda number: number * 2)
    assert double(21) == 42
    assert "of bars cannot be kept, each process compiles it anew: cannot cache function 'run'" in caplog.text


def test_the_kernel_says_of_which_parts_it_is_made() -> None:
    """numba compiles a kernel anew when its own file changes, and does not look at the files of what it calls."""
    files = [*(BARS / f"{name}.py" for name in PARTS), BARS.parent / "division.py"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    assert f'PARTS: Final = "{digest}"' in (BARS / "kernel.py").read_text(encoding="utf-8"), (
        f"a part of the kernel has changed: write PARTS = {digest!r} into kernel.py"
    )
