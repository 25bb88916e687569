"""Bars of dollar imbalance as plain compiled loops make them: one set of numbers, trade by trade, nothing shared.

What a grid of sets is compared with. They give every column that we give, from whole numbers that were made beforehand
and are trusted: no id and no decimal is checked, sums may wrap around, and nothing can be saved and resumed. `in_one`
adds up all sums as it goes; `in_two` looks for the ends of bars alone, and sums up each bar behind its end, which the
compiler does several trades at once: better for long bars, worse for short ones.
"""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from core.bars.spec import BarSpec

PRICE_SCALE, QUANTITY_SCALE = 10, 1000
SCALE: Final = float(PRICE_SCALE * QUANTITY_SCALE)
WHOLE: Final = ("time_open", "time_close", "num_trades", "side", "num_buys", "first_trade_id", "last_trade_id")
REAL: Final = (
    *("price_open", "price_high", "price_low", "price_close", "volume", "dollar_volume", "buy_volume", "buy_dollar"),
    *("theta", "threshold", "exp_T", "exp_imbalance"),
)
Arrays = dict[str, npt.NDArray[Any]]


def whole_numbers(arrays: Arrays) -> Arrays:
    """The trades as the loop wants them."""
    price = np.rint(arrays["price"] * PRICE_SCALE).astype(np.int64)
    qty = np.rint(arrays["qty"] * QUANTITY_SCALE).astype(np.int64)
    ids = np.arange(len(price))
    return {
        "id": ids,
        "time": arrays["time"],
        "price": price,
        "qty": qty,
        "dollars": price * qty,
        "sale": arrays["sale"],
    }


def plain_bars(trades: Arrays, spec: BarSpec, loop: Any) -> Arrays:
    """The closed bars of one set of numbers by `in_one` or `in_two`."""
    count = len(trades["id"])
    whole = [np.empty(count, dtype=np.int64) for _ in WHOLE]
    real = [np.empty(count) for _ in REAL]
    numbers = float(spec.size), spec.alpha_volume, spec.alpha_imbalance, *spec.bounds, spec.floor
    bars = loop(*trades.values(), numbers, tuple(whole), tuple(real))
    return {name: values[:bars] for name, values in zip((*WHOLE, *REAL), (*whole, *real), strict=True)}


@njit(error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def in_one(
    ids: Any, times: Any, price: Any, qty: Any, dollars: Any, sales: Any, numbers: Any, whole: Any, real: Any
) -> Any:
    size, share, bars, first, theta, sums = numbers[0], 1.0, 0, 0, 0, _sum_up(price[:0], qty, dollars, sales)
    high, low, volume, value, sold, sold_value, sells = sums
    limit = math.ceil(size * share * SCALE)
    for k in range(len(ids)):
        high, low = max(high, price[k]), min(low, price[k])
        volume += qty[k]
        value += dollars[k]
        sale = -np.int64(sales[k])
        sold += qty[k] & sale
        sold_value += dollars[k] & sale
        sells -= sale
        theta += (dollars[k] ^ sale) - sale
        if abs(theta) >= limit:
            here = high, low, volume, value, sold, sold_value, sells
            _put(ids, times, price, first, k, here, theta, size, share, whole, real, bars)
            size, share = _expect(size, share, numbers, bars, theta, value)
            limit = math.ceil(size * share * SCALE)
            bars, first, theta = bars + 1, k + 1, 0
            high, low, volume, value, sold, sold_value, sells = sums
    return bars


@njit(error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def in_two(
    ids: Any, times: Any, price: Any, qty: Any, dollars: Any, sales: Any, numbers: Any, whole: Any, real: Any
) -> Any:
    size, share, bars, first, theta = numbers[0], 1.0, 0, 0, 0
    limit = math.ceil(size * share * SCALE)
    for k in range(len(ids)):
        sale = -np.int64(sales[k])
        theta += (dollars[k] ^ sale) - sale
        if abs(theta) >= limit:
            here = _sum_up(price[first : k + 1], qty[first : k + 1], dollars[first : k + 1], sales[first : k + 1])
            _put(ids, times, price, first, k, here, theta, size, share, whole, real, bars)
            size, share = _expect(size, share, numbers, bars, theta, here[3])
            limit = math.ceil(size * share * SCALE)
            bars, first, theta = bars + 1, k + 1, 0
    return bars


@njit(error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _sum_up(price: Any, qty: Any, dollars: Any, sales: Any) -> Any:
    sells: Any = 0
    high, low, volume, value, sold, sold_value = 0, 1 << 62, 0, 0, 0, 0
    for k in range(len(price)):
        high, low = max(high, price[k]), min(low, price[k])
        volume += qty[k]
        value += dollars[k]
        sale = -np.int64(sales[k])
        sold += qty[k] & sale
        sold_value += dollars[k] & sale
        sells -= sale
    return high, low, volume, value, sold, sold_value, sells


@njit(error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _expect(size: Any, share: Any, numbers: Any, bars: Any, theta: Any, value: Any) -> Any:
    _, alpha_volume, alpha_imbalance, least, most, floor = numbers
    dollars = value / SCALE
    x = abs(theta / SCALE) / dollars
    size = min(max(size + alpha_volume * (dollars - size) if bars else dollars, least), most)
    return size, max(share + alpha_imbalance * (x - share) if bars else x, floor)


@njit(error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _put(
    ids: Any,
    times: Any,
    price: Any,
    first: Any,
    last: Any,
    sums: Any,
    theta: Any,
    size: Any,
    share: Any,
    whole: Any,
    real: Any,
    bar: Any,
) -> Any:
    high, low, volume, value, sold, sold_value, sells = sums
    opened, closed, trades, sides, buys, first_id, last_id = whole
    opens, highs, lows, closes, volumes, dollars, buy_volumes, buy_dollars, thetas, thresholds, sizes, shares = real
    opened[bar], closed[bar], first_id[bar], last_id[bar] = times[first], times[last], ids[first], ids[last]
    trades[bar], buys[bar], sides[bar] = last + 1 - first, last + 1 - first - sells, (theta > 0) - (theta < 0)
    opens[bar], closes[bar] = price[first] / PRICE_SCALE, price[last] / PRICE_SCALE
    highs[bar], lows[bar] = high / PRICE_SCALE, low / PRICE_SCALE
    volumes[bar], buy_volumes[bar] = volume / QUANTITY_SCALE, (volume - sold) / QUANTITY_SCALE
    dollars[bar], buy_dollars[bar] = value / SCALE, (value - sold_value) / SCALE
    thetas[bar], thresholds[bar], sizes[bar], shares[bar] = theta / SCALE, size * share, size, share
