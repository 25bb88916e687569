"""Bars from trades. `BarSpec` (spec) says which, `BarBuilder` (builder) makes them, `BarGrid` (grid) many at once.

To add a kind of a family that is there: its line in `BARS`. To add a family: its line in `rules.Family`, a module with
its kernel, and its branch wherever families part: `kernel`, `shared` (the grid), `wide` (without kernels), `standing`
(what it starts with), `table.EXPECTED`; its twin in tests/core/bars_twin.py tells what was forgotten.
"""

from core.bars.rules import IN_DOLLARS, SIDES, Amount, Family, Rule, imbalance, run, threshold

BARS: dict[str, Rule] = {
    "time": Rule(Family.CLOCK, Amount.TRADES, "step", "all trades of a step of the clock", ("empty", *SIDES)),
    "tick": threshold(Amount.TRADES, "a number of trades"),
    "volume": threshold(Amount.QUANTITY, "a quantity"),
    "dollar": threshold(Amount.DOLLARS, "a quote quantity"),
    "dollar_imbalance": Rule(
        Family.DOLLAR_IMBALANCE, Amount.DOLLARS, "init_t", "bought less sold dollars; expects dollars", IN_DOLLARS
    ),
    "tick_imbalance": imbalance(Amount.TRADES, "buys less sells; expects a number of trades (AFML)"),
    "volume_imbalance": imbalance(Amount.QUANTITY, "bought less sold quantity; expects a number of trades (AFML)"),
    "afml_dollar_imbalance": imbalance(Amount.DOLLARS, "bought less sold dollars; expects a number of trades (AFML)"),
    "tick_run": run(Amount.TRADES, "the larger of buys and sells (AFML)"),
    "volume_run": run(Amount.QUANTITY, "the larger of bought and sold quantity (AFML)"),
    "dollar_run": run(Amount.DOLLARS, "the larger of bought and sold dollars (AFML)"),
}
"""The kinds of bars, by the name with which the text of a `BarSpec` begins."""
