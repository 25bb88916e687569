"""Bars by the definitions, one trade after the other, with fractions: slow, and written without a look at the kernels.

And trades to make bars of: rows of texts, the decimals as they are published.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pyarrow as pa

from core.bars.spec import BarSpec


@dataclass(frozen=True)
class Trade:
    """`price` and `quantity` are decimals as text, `time` is in microseconds."""

    number: int
    price: str
    quantity: str
    is_sale: bool
    time: int


def batch(trades: Sequence[Trade], dataset: str = "trades") -> pa.RecordBatch:
    """The trades as they are stored."""
    number, quantity = {"trades": ("id", "qty"), "agg_trades": ("agg_trade_id", "quantity")}[dataset]
    return pa.RecordBatch.from_pydict(
        {
            "timestamp": pa.array([trade.time for trade in trades], pa.timestamp("us", tz="UTC")),
            number: pa.array([trade.number for trade in trades], pa.int64()),
            "price": pa.array([float(trade.price) for trade in trades], pa.float64()),
            quantity: pa.array([float(trade.quantity) for trade in trades], pa.float64()),
            "is_buyer_maker": pa.array([trade.is_sale for trade in trades], pa.bool_()),
        }
    )


def twin_bars(spec: BarSpec, trades: Sequence[Trade], contract: int | None = None) -> list[dict[str, Any]]:
    """The closed bars, and behind them the open one, marked with `is_open`."""
    if spec.kind == "time":
        return list(_clock(spec, _sided(spec, trades), contract))
    return list(_by_amount(spec, _sided(spec, trades), contract))


def _sided(spec: BarSpec, trades: Sequence[Trade]) -> Iterator[tuple[Trade, int]]:
    side, before = 1, None
    for trade in trades:
        price = Fraction(trade.price)
        if not spec.tick_rule:
            side = -1 if trade.is_sale else 1
        elif before is not None and price != before:
            side = 1 if price > before else -1
        before = price
        yield trade, side


def _row(part: list[tuple[Trade, int]], contract: int | None, is_open: bool) -> dict[str, Any]:
    def dollars(trade: Trade) -> Fraction:
        return Fraction(trade.quantity) * (Fraction(trade.price) if contract is None else contract)

    prices = [Fraction(trade.price) for trade, _ in part]
    net = sum(side * dollars(trade) for trade, side in part)
    return {
        "time_open": part[0][0].time,
        "time_close": part[-1][0].time,
        "price_open": float(prices[0]),
        "price_high": float(max(prices)),
        "price_low": float(min(prices)),
        "price_close": float(prices[-1]),
        "volume": float(sum(Fraction(trade.quantity) for trade, _ in part)),
        "dollar_volume": float(sum(dollars(trade) for trade, _ in part)),
        "num_trades": len(part),
        "side": (net > 0) - (net < 0),
        "num_buys": sum(side == 1 for _, side in part),
        "buy_volume": float(sum(Fraction(trade.quantity) for trade, side in part if side == 1)),
        "buy_dollar": float(sum(dollars(trade) for trade, side in part if side == 1)),
        "first_trade_id": part[0][0].number,
        "last_trade_id": part[-1][0].number,
        "is_open": is_open,
    }


def _clock(spec: BarSpec, trades: Iterator[tuple[Trade, int]], contract: int | None) -> Iterator[dict[str, Any]]:
    step = int(spec.size)
    steps: dict[int, list[tuple[Trade, int]]] = {}
    here = None
    for trade, side in trades:
        here = trade.time // step if here is None else max(here, trade.time // step)
        steps.setdefault(here, []).append((trade, side))
    if here is None:
        return
    close = 0.0
    for number in range(min(steps), here + 1):
        if number in steps:
            row = _row(steps[number], contract, number == here)
            close = row["price_close"]
        elif spec.empty:
            row = dict.fromkeys(("volume", "dollar_volume", "buy_volume", "buy_dollar"), 0.0)
            row |= dict.fromkeys(("price_open", "price_high", "price_low", "price_close"), close)
            row |= {"num_trades": 0, "side": 0, "num_buys": 0, "first_trade_id": None, "last_trade_id": None}
            row["is_open"] = False
        else:
            continue
        yield row | {"time_open": number * step, "time_close": (number + 1) * step - 1}


def _by_amount(spec: BarSpec, trades: Iterator[tuple[Trade, int]], contract: int | None) -> Iterator[dict[str, Any]]:
    def amount(trade: Trade) -> Fraction:
        if spec.kind.startswith("tick"):
            return Fraction(1)
        if spec.kind.startswith("volume"):
            return Fraction(trade.quantity)
        return Fraction(trade.quantity) * (Fraction(trade.price) if contract is None else contract)

    expected = _Expected(spec)
    part: list[tuple[Trade, int]] = []
    bought = sold = Fraction(0)
    for trade, side in trades:
        part.append((trade, side))
        bought, sold = (bought + amount(trade), sold) if side == 1 else (bought, sold + amount(trade))
        if expected.closes(len(part), bought, sold):
            yield _row(part, contract, False) | expected.columns(bought, sold)
            expected.learn(part, bought, sold)
            part, bought, sold = [], Fraction(0), Fraction(0)
    if part:
        yield _row(part, contract, True) | expected.columns(bought, sold)


class _Expected:
    """What the next bar has to reach, by the text of the definitions."""

    def __init__(self, spec: BarSpec) -> None:
        self.spec = spec
        self.form = {"imbalance": "ticks", "run": "run"}.get(spec.kind.rpartition("_")[2], "plain")
        if spec.kind == "dollar_imbalance":
            self.form = "dollars"
        self.size, self.imbalance = float(spec.size), 1.0
        self.share = 0.0
        self.buy: float | None = None
        self.sell: float | None = None
        self.is_warm = self.form == "dollars"

    def threshold(self) -> float | None:
        if self.form == "plain" or not self.is_warm:
            return None
        if self.form == "dollars":
            return self.size * abs(self.imbalance)
        if self.form == "ticks":
            return self.size * max(abs(self.imbalance), self.spec.floor)
        return self.size * max(self.share * (self.buy or 0.0), (1.0 - self.share) * (self.sell or 0.0))

    def theta(self, bought: Fraction, sold: Fraction) -> Fraction:
        return max(bought, sold) if self.form == "run" else bought - sold

    def closes(self, count: int, bought: Fraction, sold: Fraction) -> bool:
        if self.form == "plain":
            return (count if self.spec.kind == "tick" else bought + sold) >= Fraction(self.spec.size)
        threshold = self.threshold()
        if threshold is None:
            return count >= self.spec.size
        return abs(self.theta(bought, sold)) >= Fraction(threshold)

    def columns(self, bought: Fraction, sold: Fraction) -> dict[str, Any]:
        if self.form == "plain":
            return {}
        threshold = self.threshold()
        expected: dict[str, float | None] = {"exp_T": self.size, "exp_imbalance": self.imbalance}
        if self.form == "run":
            expected = {"exp_T": self.size, "exp_buy_share": self.share, "exp_buy": self.buy, "exp_sell": self.sell}
        if threshold is None:
            expected = dict.fromkeys(expected)
        return {"theta": float(self.theta(bought, sold)), "threshold": threshold, **expected}

    def learn(self, part: list[tuple[Trade, int]], bought: Fraction, sold: Fraction) -> None:
        spec, count, buys = self.spec, float(len(part)), float(sum(side == 1 for _, side in part))
        theta, total, first = float(bought - sold), float(bought + sold), self.threshold() is None
        if self.form == "dollars":
            x = theta / total if total else 0.0
            x = x if spec.signed else abs(x)
            first = not hasattr(self, "has_bar")
            self.has_bar = True
            self.size = total if first else self.size + spec.alpha_volume * (total - self.size)
            self.imbalance = x if first else self.imbalance + spec.alpha_imbalance * (x - self.imbalance)
        elif self.form == "ticks":
            x = theta / count
            self.size = count if first else self.size + spec.alpha_ticks * (count - self.size)
            self.imbalance = x if first else self.imbalance + spec.alpha_imbalance * (x - self.imbalance)
        elif self.form == "run":
            self.size = count if first else self.size + spec.alpha_ticks * (count - self.size)
            self.share = buys / count if first else self.share + spec.alpha_run * (buys / count - self.share)
            if buys:
                x = float(bought) / buys
                self.buy = x if self.buy is None else self.buy + spec.alpha_run * (x - self.buy)
            if buys < count:
                x = float(sold) / (count - buys)
                self.sell = x if self.sell is None else self.sell + spec.alpha_run * (x - self.sell)
        self.is_warm = True
        least, most = spec.bounds
        self.size = min(max(self.size, least), most)
        if self.form == "dollars" and abs(self.imbalance) < spec.floor:
            self.imbalance = spec.floor if self.imbalance >= 0 else -spec.floor


def rows(table: pa.Table, is_open: bool = False) -> list[dict[str, Any]]:
    """A table of bars as the twin says them."""
    plain = table.set_column(0, "time_open", table["time_open"].cast(pa.int64()))
    plain = plain.set_column(1, "time_close", plain["time_close"].cast(pa.int64()))
    return [row | {"is_open": is_open} for row in plain.to_pylist()]
