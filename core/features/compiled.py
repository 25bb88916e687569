"""How functions of this room are compiled that are not compiled as those of bars."""

from typing import Final

from core.compiled import kept

reordered: Final = kept("features", nogil=True, error_model="numpy", _nrt=False, fastmath={"reassoc", "contract"})
"""As `core.bars.compiled.kernel`; sums are added up in the order that is fastest, the same for as many values."""
