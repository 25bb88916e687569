"""How loops are compiled: numba's code is kept on disk, where it finds a folder that it can write to."""

from collections.abc import Callable
from typing import Any

from numba import njit

from core.events import LOGGER


def kept(what: str, **options: Any) -> Callable[[Any], Any]:
    """A decorator for what Python calls, with these options of numba; `what` names the code where it cannot be kept."""

    def compiled(function: Any) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError as error:
            LOGGER.warning("the compiled code of %s cannot be kept, each process compiles it anew: %s", what, error)
            return njit(**options)(function)

    return compiled
