"""What trades tell of who bought and sold: imbalance, toxicity, and how far prices move for it."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.features import FEATURES
from core.features.feature import Feature
from loader.report.parts import Column, Picture, Section, Source, Table, drawn_of, millis, plain

IMBALANCE: Final = ("volume_imbalance_60", "imbalance_ewma", "cvd")
TOXICITY: Final = ("vpin", "vpin_cdf", "toxicity_ewma")
IMPACT: Final = ("kyle_lambda_60", "kyle_t_60")
MOST_ROWS: Final = 20_000
"""Of a file; with more, it has those that are drawn."""
_COLOURS: Final = ("--a", "--b", "--c")
_SHARES: Final = (("5 %", 0.05), ("median", 0.5), ("95 %", 0.95))


def flow(source: Source) -> list[Section]:
    """Three sections of one reading of the trades."""
    frame = None if source.trades is None else _features(source)
    titles = (
        ("imbalance", "Order-flow imbalance", IMBALANCE),
        ("toxicity", "Order-flow toxicity (VPIN)", TOXICITY),
        ("impact", "Kyle's lambda", IMPACT),
    )
    if frame is None or frame.empty:
        none = f"The trades of these days make no row of {rows_named(source)}; take smaller --bars."
        message = without_trades(source) if frame is None else none
        return [Section(name, title, message=message) for name, title, _ in titles]
    return [_section(source, frame, name, title, names) for name, title, names in titles]


def without_trades(source: Source) -> str:
    """Why a section that is made of trades is empty, and what to do."""
    asked = source.asked
    days = "".join(f" --{name} {day}" for name, day in (("start", asked.start), ("end", asked.end)) if day is not None)
    return (
        f"This is made of single trades, and none of {asked.market} {asked.symbol} are stored for these days. To get "
        f"them: python scripts/download_all.py --market {asked.market} --symbols {asked.symbol} --data-types trades"
        f"{days or ' --start YYYY-MM-DD'}"
    )


def _features(source: Source) -> pd.DataFrame:
    asked, stretch = source.asked, source.trades
    assert stretch is not None
    frame: pd.DataFrame = source.loader.load_features(
        *(asked.symbol, stretch.first, stretch.last, asked.rows, [*IMBALANCE, *TOXICITY, *IMPACT]),
        market=asked.market.value,
        data_type=stretch.data_type,
    )
    return frame


def _section(source: Source, frame: pd.DataFrame, name: str, title: str, names: Sequence[str]) -> Section:
    stretch = source.trades
    assert stretch is not None
    chosen = {one: _chosen(frame, one) for one in names}
    is_whole = len(frame) <= MOST_ROWS
    rows = np.arange(len(frame)) if is_whole else np.unique(np.concatenate(list(chosen.values())))
    kept = frame[["timestamp", "available_at", *names]].iloc[rows]
    text = [
        f"{len(frame):,} rows of {rows_named(source)} from {stretch.data_type} of {stretch.first} to "
        f"{stretch.last}. A value "
        "is drawn at the time at which it was known, the row's end. In formulas v is the quantity of a row's "
        "trades, b what "
        "takers bought of it less what they sold, ΔC the change of its last price; docs/features.md has all "
        "symbols, sources "
        "and warm-ups." + ("" if is_whole else " The file has the rows that are drawn; load_features gives all."),
    ]
    pictures = [_line(frame, one, chosen[one], colour) for one, colour in zip(names, _COLOURS, strict=False)]
    return Section(name, title, text, parts=(_table(frame, name, names), *pictures), frames={name: kept})


def rows_named(source: Source) -> str:
    """What a row is, in words."""
    rows = source.asked.rows
    return f"bars {rows}" if not isinstance(rows, str) else {"1m": "one minute", "1h": "one hour"}.get(rows, rows)


def _table(frame: pd.DataFrame, name: str, names: Sequence[str]) -> Table:
    rows = []
    for one in names:
        known = frame[one].dropna()
        spread = [float(known.quantile(share)) if len(known) else None for _, share in _SHARES]
        ends = (float(known.min()), *spread, float(known.max())) if len(known) else (None,) * 5
        rows.append((one, FEATURES[one].unit, len(known), *ends))
    columns = (
        *(Column(head, "text") for head in ("feature", "unit")),
        Column("rows with a value", "count"),
        *(Column(head) for head in ("least", *(share for share, _ in _SHARES), "greatest")),
    )
    return Table(name, "How the values lie", columns, rows)


def _chosen(frame: pd.DataFrame, name: str) -> npt.NDArray[np.int64]:
    """The rows that its line is drawn of."""
    times = frame["available_at"].astype("datetime64[us, UTC]").to_numpy("datetime64[us]").astype(np.int64)
    return drawn_of(times, frame[name].to_numpy(np.float64))


def _line(frame: pd.DataFrame, name: str, chosen: npt.NDArray[np.int64], colour: str) -> Picture:
    feature = FEATURES[name]
    drawn = frame.iloc[chosen]
    how = (
        "Every row is drawn."
        if len(drawn) == len(frame)
        else f"{len(drawn):,} of {len(frame):,} rows are drawn: of each stretch of time the first, least, greatest "
        "and last."
    )
    proxy = " A proxy: it stands for something that trades alone cannot tell." if feature.is_proxy else ""
    window = f"; windows of {feature.window} rows" if feature.window > 1 else ""
    known = frame[name].dropna()
    label = (
        f"{name} from {known.min():.6g} to {known.max():.6g}, last {known.iloc[-1]:.6g}"
        if len(known)
        else f"{name}: no row has a value"
    )
    trace: dict[str, Any] = {"type": "scatter", "mode": "lines", "name": name, "line": {"color": colour, "width": 1.2}}
    layout = {
        "xaxis": {"type": "date"},
        "yaxis": {"title": {"text": feature.unit.partition(",")[0]}},
        "showlegend": False,
    }
    return Picture(
        name,
        name,
        f"{feature.formula}{window}. Unit: {feature.unit}. {how}{proxy}" + ("" if len(known) else _unknown(feature)),
        label,
        [trace | {"x": millis(drawn["available_at"]), "y": plain(drawn[name])}],
        layout,
        height=270,
        fit=True,
    )


def _unknown(feature: Feature) -> str:
    return f" No row has a value. Before the first one there have to be {feature.needed}, and quantities that differ."
