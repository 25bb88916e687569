"""Prices of the row, and how the close stands to means of them."""

from functools import partial

import numpy as np

from core.features.exact import less, times
from core.features.feature import LONG, MEDIUM, SHORT, WINDOW, Feature
from core.features.tape import Floats, Tape
from core.features.windows import amounts, sums

_PRICE = "quote per base"
_PLAIN = "definition"
_STOIKOV = (
    "after Stoikov (2018), The micro-price, which weighs the quotes of a book by their sizes; here are trades alone"
)


def vwap(tape: Tape) -> Floats:
    return tape.dollars / _some(tape.volume)


def buy_vwap(tape: Tape) -> Floats:
    return tape.buy_dollars / _some(tape.buy_volume)


def sell_vwap(tape: Tape) -> Floats:
    return tape.sell_dollars / _some(tape.sell_volume)


def microprice(tape: Tape) -> Floats:
    weighed = buy_vwap(tape) * tape.sell_volume + sell_vwap(tape) * tape.buy_volume
    return weighed / _some(tape.volume)


def vwap_deviation(tape: Tape) -> Floats:
    return _apart(tape.close, tape.dollars, tape.volume)


def vwap_deviation_over(tape: Tape, window: int) -> Floats:
    return _apart(tape.close, amounts(tape.dollars, window), amounts(tape.volume, window))


def mean_ratio(tape: Tape, window: int) -> Floats:
    return tape.close * window / sums(tape.close, window, tape.first)


def _apart(price: Floats, dollars: Floats, volume: Floats) -> Floats:
    """(price - mean) / mean, with the mean dollars / volume; exact where price and mean are the same."""
    return less(times(price, volume), dollars) / _some(dollars)


def _some(values: Floats) -> Floats:
    """NaN for what is not above 0."""
    return np.where(values > 0, values, np.nan)


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
    Feature(
        f"vwap_deviation_{WINDOW}",
        partial(vwap_deviation_over, window=WINDOW),
        "(C - V) / V with V = Σ d / Σ v",
        "1",
        _PLAIN,
        ("price", "quantity"),
        window=WINDOW,
        warm_up=WINDOW - 1,
    ),
    *(
        Feature(
            f"mean_ratio_{window}",
            partial(mean_ratio, window=window),
            "C / mean C",
            "1",
            _PLAIN,
            ("price",),
            window=window,
            warm_up=window - 1,
        )
        for window in (SHORT, MEDIUM, LONG)
    ),
)
