"""How much was traded in the row."""

from core.features.feature import Feature
from core.features.tape import Floats, Tape, positive

_SOURCE = "definition"
_BASE = "base (cm: contracts)"
_QUOTE = "quote (cm: USD)"


def mean_trade(tape: Tape) -> Floats:
    return tape.volume / positive(tape.trades)


AMOUNTS = (
    Feature("volume", lambda tape: tape.volume, "v = Σ q", _BASE, _SOURCE, ("quantity",)),
    Feature("dollar_volume", lambda tape: tape.dollars, "d = Σ p · q", _QUOTE, _SOURCE, ("price", "quantity")),
    Feature("num_trades", lambda tape: tape.trades, "n", "trades", _SOURCE, ()),
    Feature("duration", lambda tape: tape.seconds, "dt", "s", _SOURCE, ("time",)),
    Feature("buy_volume", lambda tape: tape.buy_volume, "vb", _BASE, _SOURCE, ("quantity", "side")),
    Feature("sell_volume", lambda tape: tape.sell_volume, "vs = v - vb", _BASE, _SOURCE, ("quantity", "side")),
    Feature("buy_dollar", lambda tape: tape.buy_dollars, "db", _QUOTE, _SOURCE, ("price", "quantity", "side")),
    Feature(
        "sell_dollar", lambda tape: tape.sell_dollars, "ds = d - db", _QUOTE, _SOURCE, ("price", "quantity", "side")
    ),
    Feature("num_buys", lambda tape: tape.buys, "nb", "trades", _SOURCE, ("side",)),
    Feature("num_sells", lambda tape: tape.sells, "ns = n - nb", "trades", _SOURCE, ("side",)),
    Feature("mean_trade", mean_trade, "v / n", _BASE, _SOURCE, ("quantity",)),
    Feature("max_trade", lambda tape: tape.max_trade, "max q", _BASE, _SOURCE, ("quantity",)),
    Feature("std_trade", lambda tape: tape.std_trade, "sqrt(Σ (q - v/n)² / n)", _BASE, _SOURCE, ("quantity",)),
)
