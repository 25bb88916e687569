"""What trades must be before bars are made of them, said in full; kernels only notice that something is wrong."""

import numpy as np
import numpy.typing as npt

from core.bars.decode import Trades
from core.decimals import places_of
from core.errors import StorageError


def check_numbers(trades: Trades, at: int, end: int) -> None:
    """Raise StorageError for the first price or quantity that is below 0 or no number."""
    for values, name in ((trades[1], "price"), (trades[2], "quantity")):
        odd = ~(np.isfinite(values[at:end]) & (values[at:end] >= 0))
        if odd.any():
            place = at + int(np.argmax(odd))
            raise StorageError(f"trade {trades[0][place]} has the {name} {values[place]}; no bar can be made of that")


def places_in(trades: Trades, at: int, end: int) -> tuple[int, int]:
    """The fewest places of prices and of quantities in which these are whole numbers."""
    return places_of(trades[1][at:end]), places_of(trades[2][at:end])


def check_ids(ids: npt.NDArray[np.int64], last: int, may_repeat: bool) -> None:
    """Raise StorageError for the first id that does not rise; `last` is that of the trade before them."""
    before = np.concatenate((np.array([last], dtype=np.int64), ids[:-1]))
    odd = ids < before if may_repeat else ids <= before
    if odd.any():
        place = int(np.argmax(odd))
        raise StorageError(
            f"trade {ids[place]} comes behind trade {before[place]}; bars are made of trades in the order of their ids"
        )
