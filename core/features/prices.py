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
    return tape.dollars / positive(tape.base)


def buy_vwap(tape: Tape) -> Floats:
    return tape.buy_dollars / positive(tape.buy_base)


def sell_vwap(tape: Tape) -> Floats:
    return tape.sell_dollars / positive(tape.sell_base)


def microprice(tape: Tape) -> Floats:
    weighed = buy_vwap(tape) * tape.sell_base + sell_vwap(tape) * tape.buy_base
    return weighed / positive(tape.base)


def vwap_deviation(tape: Tape) -> Floats:
    return _apart(tape.close, tape.dollars, tape.base)


def vwap_deviation_over(tape: Tape, window: int) -> Floats:
    base = sums(tape.base, window, tape.first) if tape.in_contracts else amounts(tape.base, window)
    return _apart(tape.close, amounts(tape.dollars, window), base)


def mean_ratio(tape: Tape, window: int) -> Floats:
    return tape.close * window / sums(tape.close, window, tape.first)


def _apart(price: Floats, dollars: Floats, base: Floats) -> Floats:
    """(price - mean) / mean, with the mean dollars / base; exact where price and mean are the same, but for contracts,
    whose base is no decimal."""
    return less(times(price, base), dollars) / positive(dollars)


PRICES = (
    Feature("open", lambda tape: tape.open, "O", _PRICE, _PLAIN, ("price",)),
    Feature("high", lambda tape: tape.high, "H", _PRICE, _PLAIN, ("price",)),
    Feature("low", lambda tape: tape.low, "L", _PRICE, _PLAIN, ("price",)),
    Feature("close", lambda tape: tape.close, "C", _PRICE, _PLAIN, ("price",)),
    Feature("vwap", vwap, "d / u", _PRICE, _PLAIN, ("price", "quantity")),
    Feature("buy_vwap", buy_vwap, "db / ub", _PRICE, _PLAIN, ("price", "quantity", "side")),
    Feature("sell_vwap", sell_vwap, "ds / us", _PRICE, _PLAIN, ("price", "quantity", "side")),
    Feature(
        "microprice",
        microprice,
        "(buy_vwap · us + sell_vwap · ub) / u",
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
        "(C - V) / V with V = Σ d / Σ u",
        "1",
        _PLAIN,
        ("price", "quantity"),
    ),
    *over("mean_ratio", mean_ratio, (SHORT, MEDIUM, LONG), "C / mean C", "1", _PLAIN, ("price",)),
)
