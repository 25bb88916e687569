"""How functions of this room are compiled.

Division by zero gives what IEEE says, without a test at each. References to arrays are not counted (`_nrt`): kernels
make no arrays, and whoever calls them holds those that they are given; counting took a third of the time.
"""

from typing import Final

from numba import njit

from core.compiled import kept

_OPTIONS: Final = {"nogil": True, "error_model": "numpy", "_nrt": False}
plain: Final = njit(**_OPTIONS)
"""For what kernels call; it is compiled into them."""
inner: Final = njit(inline="always", **_OPTIONS)
"""As `plain`, without a call: many arrays are dear to hand over, for each bar."""
kernel: Final = kept("bars", **_OPTIONS)
"""For what Python calls; its code is kept on disk."""
