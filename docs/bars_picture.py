"""Every kind of bars of one day of the demo's market, drawn: `python docs/bars_picture.py` writes pictures/bars.png.

The day is invented, as all of the demo's market is; what differs between the kinds is when they close.
"""

from pathlib import Path
from typing import Any, Final

import pandas as pd
from matplotlib import dates as matplotlib_dates
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.bars.builder import BarBuilder
from core.bars.spec import BarSpec
from core.sample.market import demo_market
from core.types import Market, Period, Series

TARGET: Final = Path(__file__).resolve().with_name("pictures") / "bars.png"
TRADES: Final = Series(Market.UM, "trades", "BTCUSDT")
DAY: Final = Period.parse("2024-08-14")
SPECS: Final = (
    "time-1h",
    "tick-100",
    "volume-6",
    "dollar-100000",
    "dollar_imbalance-50000",
    "tick_imbalance-100-min_imbalance-0.2",
    "volume_imbalance-100-min_imbalance-0.012",
    "afml_dollar_imbalance-100-min_imbalance-200",
    "tick_run-150",
    "volume_run-150",
    "dollar_run-150",
)

dates: Any = matplotlib_dates  # which has no types


def bars_of_the_day() -> dict[str, pd.DataFrame]:
    """The bars of each spec, the unfinished one of the day's end left out."""
    trades = demo_market().truth(TRADES, DAY.span)
    return {text: BarBuilder(BarSpec.parse(text)).update(trades).to_pandas() for text in SPECS}


def draw(bars: dict[str, pd.DataFrame]) -> Figure:
    """A panel for each kind: each bar from its first to its last trade, from its lowest to its highest price."""
    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 13), dpi=110, layout="constrained")
        panels: Any = figure.subplots(len(bars), 1, sharex=True, sharey=True)
        for panel, (text, frame) in zip(panels, bars.items(), strict=True):
            _panel(panel, text, frame)
        panels[len(bars) // 2].set_ylabel("price, USDT")
        panels[-1].set_xlabel(f"{DAY.label}, UTC")
        panels[-1].xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    return figure


def _panel(panel: Axes, text: str, frame: pd.DataFrame) -> None:
    rows: Any = frame.itertuples()
    for bar in rows:
        colour = "#2a9d8f" if bar.side > 0 else "#e76f51" if bar.side < 0 else "#888888"
        width = max(bar.time_close - bar.time_open, pd.Timedelta(minutes=1))
        height = bar.price_high - bar.price_low
        panel.bar(bar.time_open, height, width, bar.price_low, align="edge", color=colour, alpha=0.75, linewidth=0.4)
        panel.plot([bar.time_open, bar.time_open + width], [bar.price_close] * 2, color="black", linewidth=0.8)
    panel.set_title(f"{text}: {len(frame)} bars", loc="left", fontsize=9)
    panel.use_sticky_edges = False
    panel.margins(x=0.01, y=0.08)


def main() -> None:
    TARGET.parent.mkdir(exist_ok=True)
    draw(bars_of_the_day()).savefig(TARGET, metadata={"Software": None})
    print(TARGET)


if __name__ == "__main__":
    main()
