"""How functions of this room are compiled.

Division by zero gives what IEEE says, without a test at each. References to arrays are not counted (`_nrt`): kernels
make no arrays, and whoever calls them holds those that they are given; counting took a third of the time.
"""

from typing import Final

from numba import njit

plain: Final = njit(nogil=True, error_model="numpy", _nrt=False)
"""For what kernels call; it is compiled into them."""
kernel: Final = njit(nogil=True, error_model="numpy", _nrt=False, cache=True)
"""For what Python calls; its code is kept on disk."""
