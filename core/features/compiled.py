"""How functions of this room are compiled that are not compiled as those of bars."""

from typing import Any, Final

from numba import njit

from core.events import LOGGER

_OPTIONS: Final = {"nogil": True, "error_model": "numpy", "_nrt": False, "fastmath": {"reassoc", "contract"}}


def reordered(function: Any) -> Any:
    """As `core.bars.compiled.kernel`; sums are added up in the order that is fastest, the same for as many values."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError as error:
        LOGGER.warning("the compiled code of features cannot be kept, each process compiles it anew: %s", error)
        return njit(**_OPTIONS)(function)
