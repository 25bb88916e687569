"""Bars of every family beside each other: how many a day, and how near to independent and normal their returns are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from core.bars import BARS
from core.bars.rules import Amount, Family
from core.bars.spec import BarSpec
from loader.report.flow import without_trades
from loader.report.parts import Column, Picture, Section, Source, Table, plain

PER_DAY: Final = 48
"""Bars that a day of average size has, of every kind: half an hour's worth."""
KINDS: Final = ("time", "tick", "volume", "dollar", "dollar_imbalance", "dollar_run")
LEAST: Final = 20
"""Returns without which nothing is said of their distribution."""
LAGS: Final = 20
_EDGES: Final = np.linspace(-6, 6, 25)
_COLOURS: Final = ("--a", "--b", "--c", "--d", "--e", "--f", "--g", "--h")
_FEW_DAYS: Final = 10
_DAYS: Final = "candles 1d"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the log returns from one close to the next. `jarque_bera` is n/6 (skew² + kurtosis²/4), `p` the chance of at
    least that much where returns are normal; kurtosis is what exceeds the normal 3; moments are of the population."""

    returns: int
    std: float
    skew: float
    kurtosis: float
    jarque_bera: float
    p: float
    lag_1: float


def shape_of(returns: Floats) -> Shape | None:
    """None of fewer than LEAST returns, and of those that are all the same."""
    if len(returns) < LEAST or np.ptp(returns) == 0:
        return None
    tested = stats.jarque_bera(returns)
    return Shape(
        len(returns),
        float(returns.std(ddof=1)),
        float(stats.skew(returns)),
        float(stats.kurtosis(returns)),
        float(tested.statistic),
        float(tested.pvalue),
        float(autocorrelation(returns, 1)[0]),
    )


def autocorrelation(values: Floats, lags: int) -> Floats:
    """Of lags 1 to `lags`: Σ (v - mean)(v-k - mean) / Σ (v - mean)², shape `(lags,)`."""
    around = values - values.mean()
    found: Floats = np.array([around[lag:] @ around[:-lag] for lag in range(1, lags + 1)]) / (around @ around)
    return found


def bars(source: Source) -> Section:
    """All families on the request's trades; of days alone where no trades are stored."""
    made = _bars(source, _specs(source))
    per_day = {name: each["time_close"].dt.floor("D").value_counts().sort_index() for name, each in made.items()}
    closes = {name: each["price_close"] for name, each in made.items()}
    if source.days is not None:
        closes[_DAYS] = source.days["close"]
    returns = {name: np.diff(np.log(close.to_numpy(np.float64))) for name, close in closes.items()}
    shapes = {name: shape for name, each in returns.items() if (shape := shape_of(each)) is not None}
    message = None if made else without_trades(source)
    if not closes:
        return Section("bars", "Bars and their returns", message=message)
    parts: list[Picture | Table] = [_table(closes, per_day, shapes)]
    if made:
        parts.append(_per_day(per_day))
    if shapes:
        parts += [_distribution(returns, shapes), _correlations(returns, shapes)]
    counts = pd.DataFrame(
        [(name, day, int(count)) for name, each in per_day.items() for day, count in each.items()],
        columns=["bars", "day", "count"],
    ).astype({"bars": "str", "day": "datetime64[us, UTC]", "count": "int64"})
    return Section("bars", "Bars and their returns", _text(source), message, (), parts, {"bars_per_day": counts})


def _text(source: Source) -> list[str]:
    if source.trades is None:
        return ["Of the days of the full history only."]
    return [
        f"Of {source.trades.data_type} of {source.trades.first} to {source.trades.last}. Sizes are such that all "
        "kinds have about "
        f"{PER_DAY} bars on a day of average size; kinds that adapt find their own pace from there. `{_DAYS}` are "
        "the days of "
        "the full history. A name is what load_bars takes; docs/bars.md says what each kind is."
    ]


def _specs(source: Source) -> list[BarSpec]:
    """A bar of each family, of sizes after the mean day's; then the one that was asked for."""
    asked = source.asked
    day = next(iter(_bars(source, [BarSpec.of("time", "1d")], unfinished=True).values()), None)
    if day is None or day.empty:
        return []
    sizes = {
        Amount.TRADES: float(day["num_trades"].mean()),
        Amount.QUANTITY: float(day["volume"].mean()),
        Amount.DOLLARS: float(day["dollar_volume"].mean()),
    }
    specs = [_spec(kind, sizes) for kind in KINDS]
    if isinstance(asked.rows, BarSpec) and asked.rows not in specs:
        specs.append(asked.rows)
    return specs


def _spec(kind: str, a_day: Mapping[Amount, float]) -> BarSpec:
    rule = BARS[kind]
    if rule.family is Family.CLOCK:
        return BarSpec.of(kind, "30m")
    is_trades = rule.size == "init_ticks" or rule.amount is Amount.TRADES
    size = Decimal(f"{a_day[Amount.TRADES if is_trades else rule.amount] / PER_DAY:.2g}")
    return BarSpec.of(kind, max(Decimal(1), size.to_integral_value()) if is_trades else size)


def _bars(source: Source, specs: Sequence[BarSpec], unfinished: bool = False) -> dict[str, pd.DataFrame]:
    """The bars of each spec by its text, of one reading of the trades."""
    asked, stretch = source.asked, source.trades
    if stretch is None or not specs:
        return {}
    found: Any = source.loader.load_bars(
        *(asked.symbol, stretch.first, stretch.last, specs),
        market=asked.market.value,
        data_type=stretch.data_type,
        unfinished=unfinished,
    )
    return dict(found)


def _table(
    closes: "Mapping[str, pd.Series[Any]]", per_day: "Mapping[str, pd.Series[Any]]", shapes: Mapping[str, Shape]
) -> Table:
    rows = []
    for name, close in closes.items():
        mean = 1.0 if name == _DAYS else float(per_day[name].mean()) if len(per_day[name]) else None
        shape = shapes.get(name)
        told = (
            (None,) * 6
            if shape is None
            else (shape.std, shape.skew, shape.kurtosis, shape.jarque_bera, shape.p, shape.lag_1)
        )
        rows.append((name, len(close), mean, *told))
    columns = (
        Column("bars", "text"),
        Column("count", "count"),
        *(Column(name) for name in ("a day with bars", "std of returns", "skew", "excess kurtosis", "Jarque-Bera")),
        *(Column(name) for name in ("p", "lag-1 autocorrelation")),
    )
    caption = (
        "Log returns from one close to the next. Jarque-Bera = n/6 (skew² + kurtosis²/4): 0 for a normal shape; p "
        "below 0.05 "
        f"says that returns are not normal. Empty with fewer than {LEAST} returns"
    )
    return Table("bars", caption, columns, rows)


def _per_day(per_day: "Mapping[str, pd.Series[Any]]") -> Picture:
    count = max(len(each) for each in per_day.values())
    traces: list[dict[str, Any]] = []
    for (name, each), colour in zip(per_day.items(), _COLOURS, strict=False):
        x = [f"{day:%Y-%m-%d}" for day in each.index]
        style = (
            {"type": "bar", "marker": {"color": colour}}
            if count <= _FEW_DAYS
            else {
                "type": "scatter",
                "mode": "lines+markers",
                "line": {"color": colour, "width": 1.3},
                "marker": {"size": 4},
            }
        )
        traces.append({"name": name, "x": x, "y": [int(one) for one in each]} | style)
    layout = {
        "xaxis": {"type": "category" if count <= _FEW_DAYS else "date"},
        "yaxis": {"title": {"text": "bars"}, "rangemode": "tozero"},
    }
    says = (
        "How many bars were closed on each UTC day; the one that the trades end in is not closed. Bars of the "
        "clock are "
        "as many on every day, the others follow the trading."
    )
    label = ", ".join(f"{name}: {int(each.sum()):,} bars" for name, each in per_day.items())
    return Picture("bars-per-day", "Bars a day, by kind", says, label, traces, layout, 360)


def _distribution(returns: Mapping[str, Floats], shapes: Mapping[str, Shape]) -> Picture:
    middle = (_EDGES[1:] + _EDGES[:-1]) / 2
    normal = stats.norm.pdf(middle)
    traces: list[dict[str, Any]] = []
    outside = []
    for name, colour in zip(shapes, _COLOURS, strict=False):
        each = (returns[name] - returns[name].mean()) / returns[name].std(ddof=1)
        counts, _ = np.histogram(each, _EDGES)
        share = counts / len(each) / (_EDGES[1] - _EDGES[0])
        outside.append(f"{name} {len(each) - int(counts.sum())}")
        line = {"color": colour, "width": 1.4, "shape": "hvh"}
        y = [one if one > 0 else None for one in share.tolist()]
        traces.append({"type": "scatter", "mode": "lines", "name": name, "x": middle.tolist(), "y": y, "line": line})
    dash = {"color": "--text", "width": 1.5, "dash": "dash"}
    traces.append(
        {"type": "scatter", "mode": "lines", "name": "normal", "x": middle.tolist(), "y": plain(normal), "line": dash}
    )
    lowest = min(1 / len(returns[name]) for name in shapes) / (_EDGES[1] - _EDGES[0])
    layout = {
        "xaxis": {"title": {"text": "return, in its own standard deviations"}, "range": [-6, 6]},
        "yaxis": {"title": {"text": "density"}, "type": "log", "dtick": 1, "range": [math.log10(lowest) - 0.3, 0.3]},
    }
    says = (
        "Returns less their mean, over their standard deviation, in steps of a half; dashed the normal "
        "density. A logarithmic "
        f"scale, for tails are what differs; steps without a return are gaps. Beyond ±6: {', '.join(outside)}."
    )
    return Picture("returns", "Are returns normal?", says, says, traces, layout, 400)


def _correlations(returns: Mapping[str, Floats], shapes: Mapping[str, Shape]) -> Picture:
    traces: list[dict[str, Any]] = []
    said = []
    for name, colour in zip(shapes, _COLOURS, strict=False):
        lags = min(LAGS, len(returns[name]) - 1)
        found = autocorrelation(returns[name], lags)
        style = {"line": {"color": colour, "width": 1.2}, "marker": {"color": colour, "size": 5}}
        x, y = list(range(1, lags + 1)), plain(found)
        traces.append({"type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": y} | style)
        said.append(f"{name} ±{1.96 / math.sqrt(len(returns[name])):.3f}")
    layout = {
        "xaxis": {"title": {"text": "lag, bars"}, "dtick": 2},
        "yaxis": {"title": {"text": "autocorrelation"}, "zeroline": True},
    }
    says = (
        "Σ (r - mean)(r-k - mean) / Σ (r - mean)² of lags k. Of independent returns 95 % lie within 1.96 / √n of 0: "
        f"{', '.join(said)}."
    )
    label = f"autocorrelation of returns at lags 1 to {LAGS}; bands {', '.join(said)}"
    return Picture("autocorrelation", "Do returns remember?", says, label, traces, layout, 380)
