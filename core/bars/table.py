"""Closed bars as columns, and as a table."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.bars.rules import Amount, Family
from core.bars.slots import (
    BIN,
    BUY_DOLLARS,
    BUY_VOLUME,
    BUYS,
    CLOSE,
    DOLLARS,
    FIRST_ID,
    FIRST_TIME,
    HIGH,
    LAST_ID,
    LAST_TIME,
    LIMB,
    LOW,
    MEAN,
    MEAN_BUY,
    MEAN_SELL,
    OPEN,
    SIZE,
    THRESHOLD,
    TRADES,
    VOLUME,
)
from core.bars.spec import BarSpec

Columns: TypeAlias = dict[str, npt.NDArray[Any]]

_TIME: Final = pa.timestamp("us", tz="UTC")
_PLAIN: Final = {
    "time_open": _TIME,
    "time_close": _TIME,
    **dict.fromkeys(("price_open", "price_high", "price_low", "price_close", "volume", "dollar_volume"), pa.float64()),
    "num_trades": pa.int64(),
    "side": pa.int8(),
    "num_buys": pa.int64(),
    "buy_volume": pa.float64(),
    "buy_dollar": pa.float64(),
    "first_trade_id": pa.int64(),
    "last_trade_id": pa.int64(),
}
_ADAPTIVE: Final = {"theta": pa.float64(), "threshold": pa.float64(), "exp_T": pa.float64()}
EXPECTED: Final = {
    Family.CLOCK: {},
    Family.THRESHOLD: {},
    Family.DOLLAR_IMBALANCE: {"exp_imbalance": MEAN},
    Family.IMBALANCE: {"exp_imbalance": MEAN},
    Family.RUN: {"exp_buy_share": MEAN, "exp_buy": MEAN_BUY, "exp_sell": MEAN_SELL},
}
"""What each family expects besides the size, and where it lies."""
_EXACT: Final = float(2**53)


def schema_of(spec: BarSpec) -> pa.Schema:
    """The columns of bars of a spec.

    `time_open` and `time_close` are the times of the first and the last trade; of time bars, the first and the last
    microsecond of the step, for before its end nobody knows that it is closed. `side` is 1 where more dollars were
    bought than sold, -1 where fewer, 0 where as many. Sums are the doubles nearest to the exact ones. Adaptive bars
    say `theta`, which reached `threshold`, and the expectations from which that came, null in a warm-up. Bars of steps
    without trades have no ids.
    """
    expected = dict.fromkeys(EXPECTED[spec.rule.family], pa.float64())
    columns = {**_PLAIN, **(_ADAPTIVE if spec.rule.family.is_adaptive else {}), **expected}
    return pa.schema(list(columns.items()))


def closed_columns(whole: npt.NDArray[Any], real: npt.NDArray[Any], spec: BarSpec, places: tuple[int, int]) -> Columns:
    """Closed bars, a line for each slot, as columns; `places` are those of quantities and of dollars.

    The numbers of `whole` may be Python's; then the low part of a sum is all of it. Nothing of the lines is kept.
    """
    quantity, dollar = places
    plain = {slot: whole[slot].astype(np.int64) for slot in (TRADES, BUYS, FIRST_TIME, LAST_TIME, FIRST_ID, LAST_ID)}
    sums = {slot: plain[slot] for slot in (TRADES, BUYS)}
    sums |= {slot: _exact(whole, slot) for slot in (VOLUME, BUY_VOLUME, DOLLARS, BUY_DOLLARS)}
    columns = {
        "first_time": plain[FIRST_TIME],
        "last_time": plain[LAST_TIME],
        "bin": whole[BIN].astype(np.int64),
        "price_open": real[OPEN].copy(),
        "price_high": real[HIGH].copy(),
        "price_low": real[LOW].copy(),
        "price_close": real[CLOSE].copy(),
        "volume": doubles(sums[VOLUME], quantity),
        "dollar_volume": doubles(sums[DOLLARS], dollar),
        "num_trades": sums[TRADES],
        "side": np.sign(_more(sums[BUY_DOLLARS], sums[DOLLARS])).astype(np.int8),
        "num_buys": sums[BUYS],
        "buy_volume": doubles(sums[BUY_VOLUME], quantity),
        "buy_dollar": doubles(sums[BUY_DOLLARS], dollar),
        "first_trade_id": plain[FIRST_ID],
        "last_trade_id": plain[LAST_ID],
    }
    family = spec.rule.family
    if family.is_adaptive:
        total, bought, here = {
            Amount.TRADES: (TRADES, BUYS, 0),
            Amount.QUANTITY: (VOLUME, BUY_VOLUME, quantity),
            Amount.DOLLARS: (DOLLARS, BUY_DOLLARS, dollar),
        }[spec.rule.amount]
        theta = _more(sums[bought], sums[total])
        if family is Family.RUN:
            theta = np.maximum(sums[bought], sums[total] - sums[bought])
        is_known = ~np.isnan(real[THRESHOLD])
        columns |= {"theta": doubles(theta, here), "threshold": real[THRESHOLD].copy()}
        columns |= {"exp_T": np.where(is_known, real[SIZE], np.nan)}
        columns |= {name: np.where(is_known, real[slot], np.nan) for name, slot in EXPECTED[family].items()}
    return columns


def doubles(sums: npt.NDArray[Any], places: int) -> npt.NDArray[np.float64]:
    """The doubles nearest to exact sums in units of 10^-places."""
    if sums.dtype != object and places <= 22 and not (np.abs(sums) >= _EXACT).any():
        return sums.astype(np.float64) / 10.0**places
    divided = [int(each) / 10**places for each in sums]  # Python rounds this division correctly
    return np.array(divided, dtype=np.float64)


def table_of(columns: Sequence[Columns], spec: BarSpec, before: tuple[int, float] | None) -> pa.Table:
    """The closed bars as a table; `before` are step and close of the last bar before them, None if there was none."""
    schema = schema_of(spec)
    parts = []
    for part in columns:
        parts.append(_part(part, spec, schema, before))
        before = int(part["bin"][-1]), float(part["price_close"][-1])
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _part(columns: Columns, spec: BarSpec, schema: pa.Schema, before: tuple[int, float] | None) -> pa.Table:
    family = spec.rule.family
    if family is Family.CLOCK:
        columns = _with_empty(columns, before) if spec.empty else columns
        step = int(spec.size)
        times = {"time_open": columns["bin"] * step, "time_close": columns["bin"] * step + (step - 1)}
    else:
        times = {"time_open": columns["first_time"], "time_close": columns["last_time"]}
    columns = {**columns, **times}
    masks = {}
    if spec.empty:
        masks = dict.fromkeys(("first_trade_id", "last_trade_id"), columns["num_trades"] == 0)
    if family.is_adaptive:
        masks = dict.fromkeys(("threshold", "exp_T", *EXPECTED[family]), np.isnan(columns["threshold"]))
    if family is Family.RUN:  # a side that was never seen is not known either
        masks |= {name: np.isnan(columns[name]) for name in ("exp_buy", "exp_sell")}
    some = {name: mask for name, mask in masks.items() if mask.any()}
    arrays = [pa.array(np.ascontiguousarray(columns[one.name]), mask=some.get(one.name)) for one in schema]
    typed = [array.view(field.type) for array, field in zip(arrays, schema, strict=True)]  # whole numbers as times
    return pa.table(typed, schema=schema)


def _exact(whole: npt.NDArray[Any], slot: int) -> npt.NDArray[Any]:
    """A sum of two parts; of Python's numbers where the high one is not 0."""
    high: npt.NDArray[Any] = whole[slot + 1]
    low: npt.NDArray[Any] = whole[slot]
    if not high.any():
        return low
    both: npt.NDArray[Any] = (high.astype(object) << LIMB) + low.astype(object)
    return both


def _more(bought: npt.NDArray[Any], total: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bought less sold."""
    more: npt.NDArray[Any] = bought - (total - bought)
    return more


def _with_empty(columns: Columns, before: tuple[int, float] | None) -> Columns:
    """The bars, and before each those of the steps in which nobody traded: all prices are the last close."""
    bins = columns["bin"]
    first_bin, first_close = before if before is not None else (int(bins[0]) - 1, 0.0)
    gaps = np.diff(bins, prepend=first_bin) - 1
    place = np.cumsum(gaps) + np.arange(len(bins))
    is_bar = np.zeros(int(gaps.sum()) + len(bins), dtype=np.bool_)
    is_bar[place] = True
    out: Columns = {}
    for name, values in columns.items():
        out[name] = np.zeros(len(is_bar), dtype=values.dtype)
        out[name][is_bar] = values
    ends = np.repeat(place, gaps)
    out["bin"][~is_bar] = (np.repeat(bins, gaps) - (ends - np.flatnonzero(~is_bar))).astype(np.int64)
    closes = np.concatenate(([first_close], columns["price_close"][:-1]))
    for name in ("price_open", "price_high", "price_low", "price_close"):
        out[name][~is_bar] = np.repeat(closes, gaps)
    return out
