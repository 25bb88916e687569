"""Prices of the row, and how the close stands to means of them."""

from core.features.exact import less, times
from core.features.feature import LONG, MEDIUM, SHORT, WINDOW, Feature, over
from core.features.tape import Floats, Tape, positive
from core.features.windows import amounts, sums

_PRICE = "quote per base"
_PLAIN = "definition"
_STOIKOV = (
    "after Stoikov (2018), The micro-price, which weighs the quotes of a book by their sizes; here are trades alone"
)


def vwap(tape: Tape) -> Floats:
    return tape.dollars / positive(tape.volume)


def buy_vwap(tape: Tape) -> Floats:
    return tape.buy_dollars / positive(tape.buy_volume)


def sell_vwap(tape: Tape) -> Floats:
    return tape.sell_dollars / positive(tape.sell_volume)


def microprice(tape: Tape) -> Floats:
    weighed = buy_vwap(tape) * tape.sell_volume + sell_vwap(tape) * tape.buy_volume
    return weighed / positive(tape.volume)


def vwap_deviation(tape: Tape) -> Floats:
    return _apart(tape.close, tape.dollars, tape.volume)


def vwap_deviation_over(tape: Tape, window: int) -> Floats:
    return _apart(tape.close, amounts(tape.dollars, window), amounts(tape.volume, window))


def mean_ratio(tape: Tape, window: int) -> Floats:
    return tape.close * window / sums(tape.close, window, tape.first)


def _apart(price: Floats, dollars: Floats, volume: Floats) -> Floats:
    """(price - mean) / mean, with the mean dollars / volume; exact where price and mean are the same."""
    return less(times(price, volume), dollars) / positive(dollars)


PRICES = (
    Feature("open", lambda tape: tape.open, "O", _PRICE, _PLAIN, ("price",)),
    Feature("high", lambda tape: tape.high, "H", _PRICE, _PLAIN, ("price",)),
    Feature("low", lambda tape: tape.low, "L", _PRICE, _PLAIN, ("price",)),
    Feature("close", lambda tape: tape.close, "C", _PRICE, _PLAIN, ("price",)),
    Feature("vwap", vwap, "d / v", _PRICE, _PLAIN, ("price", "quantity")),
    Feature("buy_vwap", buy_vwap, "db / vb", _PRICE, _PLAIN, ("price", "quantity", "side")),
    Feature("sell_vwap", sell_vwap, "ds / vs", _PRICE, _PLAIN, ("price", "quantity", "side")),
    Feature(
        "microprice",
        microprice,
        "(buy_vwap · vs + sell_vwap · vb) / v",
        _PRICE,
        _STOIKOV,
        ("price", "quantity", "side"),
        is_proxy=True,
    ),
    Feature("vwap_deviation", vwap_deviation, "(C - vwap) / vwap", "1", _PLAIN, ("price", "quantity")),
    *over(
        "vwap_deviation",
        vwap_deviation_over,
        (WINDOW,),
        "(C - V) / V with V = Σ d / Σ v",
        "1",
        _PLAIN,
        ("price", "quantity"),
    ),
    *over("mean_ratio", mean_ratio, (SHORT, MEDIUM, LONG), "C / mean C", "1", _PLAIN, ("price",)),
)
