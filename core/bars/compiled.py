"""How functions of this room are compiled.

Division by zero gives what IEEE says, without a test at each. References to arrays are not counted (`_nrt`): kernels
make no arrays, and whoever calls them holds those that they are given; counting took a third of the time.
"""

from typing import Final

from numba import njit

plain: Final = njit(nogil=True, error_model="numpy", _nrt=False)
"""For what kernels call; it is compiled into them."""
inner: Final = njit(nogil=True, error_model="numpy", _nrt=False, inline="always")
"""As `plain`, without a call: many arrays are dear to hand over, for each bar."""
kernel: Final = njit(nogil=True, error_model="numpy", _nrt=False, cache=True)
"""For what Python calls; its code is kept on disk."""
