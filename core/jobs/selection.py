"""Which of the series that are known here a user means."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core.datasets import DATASETS
from core.nearest import did_you_mean
from core.types import Market, Series


@dataclass(frozen=True, slots=True)
class Selection:
    """Series by market, data type, interval and symbol; None means all. Symbols are as the user names them.

    An interval is one of candles: series that have none belong to every selection of intervals.
    """

    markets: tuple[Market, ...] | None = None
    datasets: tuple[str, ...] | None = None
    intervals: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None

    def __contains__(self, series: Series) -> bool:
        return (
            (self.markets is None or series.market in self.markets)
            and (self.datasets is None or series.dataset in self.datasets)
            and (self.intervals is None or series.interval is None or series.interval in self.intervals)
            and (self.symbols is None or any(is_of(series, symbol) for symbol in self.symbols))
        )

    def missing(self, known: Iterable[Series]) -> list[str]:
        """The named symbols of which nothing that is selected is known, in their order."""
        others = self._others(known) if self.symbols else []
        return [symbol for symbol in self.symbols or () if not any(is_of(one, symbol) for one in others)]

    def near(self, symbol: str, known: Iterable[Series]) -> str:
        """ "; did you mean ...?", or nothing: a symbol of what is known and selected otherwise."""
        return did_you_mean(symbol, sorted({one.symbol for one in self._others(known)}))

    def _others(self, known: Iterable[Series]) -> Sequence[Series]:
        """What is selected, of all symbols."""
        of_any = replace(self, symbols=None)
        return [one for one in known if one in of_any]


def is_of(series: Series, symbol: str) -> bool:
    """Whether a series is of what a user calls by this symbol: the index of a contract is filed by its pair."""
    return series.symbol == DATASETS[series.dataset].directory(symbol)
