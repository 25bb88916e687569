"""How fast trading goes."""

from core.features.buckets import LARGE
from core.features.feature import WINDOW, Feature, over
from core.features.tape import Floats, Tape, positive
from core.features.windows import amounts

_SOURCE = "definition"


def trade_intensity(tape: Tape) -> Floats:
    return tape.trades / positive(tape.seconds)


def volume_intensity(tape: Tape) -> Floats:
    return tape.volume / positive(tape.seconds)


def intensity_momentum(tape: Tape, window: int) -> Floats:
    return _over_mean(tape.trades, tape, window)


def volume_momentum(tape: Tape, window: int) -> Floats:
    return _over_mean(tape.volume, tape, window)


def gap_variation(tape: Tape) -> Floats:
    return tape.gap_std / positive(tape.gap_mean)


def large_trade_share(tape: Tape) -> Floats:
    return tape.large_volume / positive(tape.volume)


def _over_mean(values: Floats, tape: Tape, window: int) -> Floats:
    """The row's rate over that of the window, less 1."""
    whole = amounts(values, window)
    seconds = amounts(tape.seconds, window)
    return values / positive(tape.seconds) * positive(seconds) / positive(whole) - 1.0


INTENSITY = (
    Feature("trade_intensity", trade_intensity, "n / dt", "trades per s", _SOURCE, ("time",)),
    Feature(
        "volume_intensity", volume_intensity, "v / dt", "base (cm: contracts) per s", _SOURCE, ("time", "quantity")
    ),
    *over("intensity_momentum", intensity_momentum, (WINDOW,), "(n / dt) / (Σ n / Σ dt) - 1", "1", _SOURCE, ("time",)),
    *over(
        "volume_momentum", volume_momentum, (WINDOW,), "(v / dt) / (Σ v / Σ dt) - 1", "1", _SOURCE, ("time", "quantity")
    ),
    Feature(
        "inter_trade_mean",
        lambda tape: tape.gap_mean,
        "mean seconds from the trade before to each trade of the row",
        "s",
        _SOURCE,
        ("time",),
    ),
    Feature(
        "inter_trade_variation",
        gap_variation,
        "population standard deviation of these seconds over their mean",
        "1",
        _SOURCE,
        ("time",),
    ),
    Feature(
        "since_trade",
        lambda tape: tape.since_trade,
        "seconds from the last trade to the row's end",
        "s",
        _SOURCE,
        ("time",),
    ),
    Feature(
        "large_trade_share",
        large_trade_share,
        f"Σ q of trades above the {LARGE}th percentile of the clock hour before, over v; NaN if nobody traded in that",
        "0 to 1",
        _SOURCE,
        ("quantity", "time"),
        hours=1,
    ),
)
