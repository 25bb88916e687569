"""Returns, and how those of a window are distributed."""

from functools import partial

import numpy as np

from core.features.exact import less
from core.features.feature import LONG, MEDIUM, SHORT, WINDOW, Feature, over
from core.features.tape import Floats, Tape, positive
from core.features.windows import Line, returns_around

_SOURCE = "definition"
_INPUTS = ("price",)


def open_return(tape: Tape) -> Floats:
    return less(tape.close, tape.open) / tape.open


def relative_range(tape: Tape) -> Floats:
    return less(tape.high, tape.low) / tape.close


def close_position(tape: Tape) -> Floats:
    reach = less(tape.high, tape.low)
    return less(tape.close, tape.low) / positive(reach)


def momentum(tape: Tape, window: int) -> Floats:
    return tape.log_return_over(window)


def mean_return(tape: Tape, window: int) -> Floats:
    return tape.log_return_over(window) / window


def autocorrelation(tape: Tape, window: int) -> Floats:
    return Line(lag(tape, 1), tape.log_return, window).correlation


def skewness(tape: Tape, window: int) -> Floats:
    two, three, _ = returns_around(tape, window)
    return three / window / (positive(two) / window) ** 1.5


def kurtosis(tape: Tape, window: int) -> Floats:
    two, _, four = returns_around(tape, window)
    return four / window / (positive(two) / window) ** 2 - 3.0


def lag(tape: Tape, rows: int) -> Floats:
    return np.append(np.full(min(rows, len(tape)), np.nan), tape.log_return[:-rows])


RETURNS = (
    Feature("log_return", lambda tape: tape.log_return, "r = ln(C / C-1)", "1", _SOURCE, _INPUTS, window=2, warm_up=1),
    Feature("open_return", open_return, "C / O - 1", "1", _SOURCE, _INPUTS),
    Feature("range", relative_range, "(H - L) / C", "1", _SOURCE, _INPUTS),
    Feature("close_position", close_position, "(C - L) / (H - L)", "0 to 1", _SOURCE, _INPUTS),
    *over("momentum", momentum, (SHORT, MEDIUM, LONG, WINDOW), "Σ r = ln(C / C-w)", "1", _SOURCE, _INPUTS, before=1),
    *over(
        "return_autocorrelation",
        autocorrelation,
        (LONG, WINDOW),
        "correlation of r and r-1 over w pairs",
        "-1 to 1",
        _SOURCE,
        _INPUTS,
        before=2,
    ),
    *over("return_mean", mean_return, (WINDOW,), "mean r", "1", _SOURCE, _INPUTS, before=1),
    *over(
        "return_skewness", skewness, (WINDOW,), "m3 / m2^1.5, mk = mean (r - mean r)^k", "1", _SOURCE, _INPUTS, before=1
    ),
    *over("return_kurtosis", kurtosis, (WINDOW,), "m4 / m2² - 3", "1", _SOURCE, _INPUTS, before=1),
    *(
        Feature(
            f"return_lag_{rows}",
            partial(lag, rows=rows),
            f"r of {rows} rows before",
            "1",
            _SOURCE,
            _INPUTS,
            window=rows + 2,
            warm_up=rows + 1,
        )
        for rows in (1, SHORT, MEDIUM)
    ),
)
