"""Prices: candles with their volume, and every day that is stored."""

from datetime import date
from typing import Any, Final

import pandas as pd

from core.dates import DAY_US, INTERVAL_US
from loader.backtest_loader import BacktestDataLoader
from loader.report.parts import Asked, Column, Picture, Section, Source, Table, millis, plain

MOST: Final = 2000
"""Candles of a picture."""
SHOWN: Final = 200
"""Of these, how many the window shows first."""
STEPS: Final = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
_BUTTONS: Final = (("1 day", 1, "day"), ("1 week", 7, "day"), ("1 month", 1, "month"), ("1 year", 1, "year"))
_PRICES: Final = ("open", "high", "low", "close")
_SLOT: Final = 86_400_000


def candles(source: Source) -> Section:
    """The request's candles, of a longer step where they are too many."""
    asked, stretch = source.asked, source.candles
    title = "Candles and volume"
    if stretch is None:
        return Section("candles", title, message=_absent(source))
    step = _step(asked.interval, (stretch.last - stretch.first).days + 1)
    frame = _merged(source.loader, asked, step, stretch.first, stretch.last)
    if step == asked.interval:
        how = f"Every stored candle of {step} is drawn."
    else:
        how = (
            f"Stored are candles of {asked.interval}; drawn are candles of {step} made of them (first open, highest "
            f"high, lowest low, last close, sum of volume), at most {MOST:,}."
        )
    if frame.empty:
        return Section("candles", title, message=_absent(source))
    frame = frame.drop(columns="symbol")
    unit, column = _volume(frame)
    lines = (
        f"{how} The window opens on the last {SHOWN}; drag or take a button for another time, double-click for all. "
        f"Prices in quote per base, volume in {unit}. Times are UTC and those at which a candle opens."
    )
    said = (
        f"{len(frame):,} candles of {step} from {frame['timestamp'].iloc[0]:%Y-%m-%d %H:%M} to "
        f"{frame['timestamp'].iloc[-1]:%Y-%m-%d %H:%M}, lows from {frame['low'].min():,.10g}, highs to "
        f"{frame['high'].max():,.10g}"
    )
    picture = Picture(
        "candles",
        f"{asked.symbol}, candles of {step}",
        lines,
        said,
        _traces(frame, column),
        _layout(unit, _range(frame)),
        height=520,
        fit=True,
    )
    return Section("candles", title, parts=(_facts(frame, step, column, unit), picture), frames={"candles": frame})


def daily(source: Source) -> Section:
    """Every stored day, whatever the request's days."""
    asked, title = source.asked, "Full daily history"
    frame = source.days
    if frame is None:
        long = f"Candles of {asked.interval} are longer than a day; take --interval 1d, or a shorter one."
        return Section("daily", title, message=long if _is_long(asked.interval) else _absent(source))
    unit, column = _volume(frame)
    x = millis(frame["timestamp"])
    partly = int((frame["candles"] < frame["candles"].max()).sum())
    says = (
        f"{len(frame):,} UTC days made of all stored candles of {asked.interval}, whatever --start and --end say: "
        "close as "
        f"a line, from low to high as a band, volume in {unit} below. "
        + (
            f"{partly:,} of them have fewer candles than a whole day; they are drawn from what there is."
            if partly
            else ""
        )
    )
    band = {"x": x + x[::-1], "y": plain(frame["high"]) + plain(frame["low"])[::-1], "fill": "toself"}
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "name": "low to high", "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        | band
        | {"fillcolor": "--band"},
        {"type": "scatter", "name": "close", "mode": "lines", "x": x, "y": plain(frame["close"])}
        | {"line": {"color": "--a", "width": 1.3}},
        {"type": "bar", "name": "volume", "x": x, "y": plain(frame[column]), "yaxis": "y2"}
        | {"marker": {"color": "--quiet-bar"}, "showlegend": False},
    ]
    label = (
        f"close of {len(frame):,} days from {frame['timestamp'].iloc[0]:%Y-%m-%d} to "
        f"{frame['timestamp'].iloc[-1]:%Y-%m-%d}: first {frame['close'].iloc[0]:,.10g}, last "
        f"{frame['close'].iloc[-1]:,.10g}"
    )
    picture = Picture("daily", f"{asked.symbol}, day by day", says, label, traces, _layout(unit, None), 420)
    return Section("daily", title, parts=(picture,), frames={"daily": frame})


def days_of(loader: BacktestDataLoader, asked: Asked, stored: pd.DataFrame) -> pd.DataFrame | None:
    """The candles of all stored days; None where there are none, or they are longer than a day."""
    every = stored[(stored["data_type"] == "klines") & (stored["interval"] == asked.interval)]
    if _is_long(asked.interval) or every.empty:
        return None
    first, last = (every[name].iloc[0].date() for name in ("first", "last"))
    return _merged(loader, asked, "1d", first, last).drop(columns="symbol")


def _is_long(interval: str) -> bool:
    """Whether it is longer than a day."""
    length = INTERVAL_US[interval]
    return length is None or length > DAY_US


def _merged(loader: BacktestDataLoader, asked: Asked, step: str, first: date, last: date) -> pd.DataFrame:
    """Candles of a step, made of those that are stored where it is another."""
    if step == asked.interval:
        frame: pd.DataFrame = loader.load_data(
            asked.symbol, first, last, interval=step, market=asked.market.value, on_missing="ignore"
        )["klines"]
        return frame.assign(candles=1)
    found: pd.DataFrame = loader.resample(
        *(asked.symbol, first, last, step, asked.interval),
        market=asked.market.value,
        partial="keep",
        on_missing="ignore",
    )
    return found


def _step(interval: str, days: int) -> str:
    """The shortest of which the picture takes all."""
    if _is_long(interval):
        return interval
    longer = [one for one in STEPS if (INTERVAL_US[one] or 0) % (INTERVAL_US[interval] or 1) == 0]
    return next((one for one in longer if days * DAY_US <= MOST * (INTERVAL_US[one] or 0)), "1d")


def _volume(frame: pd.DataFrame) -> tuple[str, str]:
    return ("quote", "quote_volume") if "quote_volume" in frame else ("contracts", "volume")


def _absent(source: Source) -> str:
    asked = source.asked
    return (
        f"No candles of {asked.interval} of {asked.market} {asked.symbol} are stored for these days. To get them: "
        f"python scripts/download_all.py --market {asked.market} --symbols {asked.symbol} --data-types klines "
        f"--interval {asked.interval}"
    )


def _facts(frame: pd.DataFrame, step: str, column: str, unit: str) -> Table:
    stored = int(frame["candles"].sum())
    row = (
        f"{frame['timestamp'].iloc[0]:%Y-%m-%d %H:%M}",
        f"{frame['timestamp'].iloc[-1]:%Y-%m-%d %H:%M}",
        stored,
        len(frame),
        float(frame["close"].iloc[-1]),
        float(frame["low"].min()),
        float(frame["high"].max()),
        float(frame[column].sum()),
    )
    columns = (
        Column("first", "time"),
        Column("last", "time"),
        Column("stored candles", "count"),
        Column(f"drawn ({step})", "count"),
        *(Column(name) for name in ("last close", "lowest", "highest", f"volume, {unit}")),
    )
    return Table("candles", "What is drawn", columns, [row])


def _traces(frame: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    x = millis(frame["timestamp"])
    is_up = (frame["close"] >= frame["open"]).tolist()
    return [
        {"type": "candlestick", "name": "price", "x": x, **{name: plain(frame[name]) for name in _PRICES}}
        | {"increasing": {"line": {"color": "--up", "width": 1.2}, "fillcolor": "--up"}}
        | {"decreasing": {"line": {"color": "--down", "width": 1.2}, "fillcolor": "--down"}},
        {"type": "bar", "name": "volume", "x": x, "y": plain(frame[column]), "yaxis": "y2"}
        | {"marker": {"color": ["--up" if one else "--down" for one in is_up], "opacity": 0.55}},
    ]


def _range(frame: pd.DataFrame) -> list[int | float]:
    x = millis(frame["timestamp"].iloc[-SHOWN:])
    step = x[1] - x[0] if len(x) > 1 else _SLOT
    return [x[0] - step, x[-1] + step]


def _layout(unit: str, window: list[int | float] | None) -> dict[str, Any]:
    axis: dict[str, Any] = {"type": "date", "anchor": "y2", "rangeslider": {"visible": False}}
    if window is not None:
        steps = [
            {"label": label, "count": count, "step": step, "stepmode": "backward"} for label, count, step in _BUTTONS
        ]
        axis |= {"range": window, "rangeselector": {"buttons": [*steps, {"label": "all", "step": "all"}]}}
    return {
        "xaxis": axis,
        "yaxis": {"title": {"text": "quote per base"}, "domain": [0.28, 1]},
        "yaxis2": {"title": {"text": f"volume, {unit}"}, "domain": [0, 0.2], "rangemode": "tozero"},
        "bargap": 0.1,
        "showlegend": window is None,
        "hovermode": "x unified",
    }
