"""Features by their formulas, of one row at a time and in decimals of 50 digits: slow, and written without a look at
how they are computed. None is what is not known.

And trades to make features of: whole numbers of cents and milli-coins, so that sums and ties are exact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import cache, cached_property
from typing import Any

import numpy as np
import pyarrow as pa

HOUR = 3_600_000_000
DAY = 24 * HOUR
Value = Decimal | float | int | None
PI = Decimal("3.14159265358979323846264338327950288419716939937511")
LN2 = Decimal("0.69314718055994530941723212145817656807550013436026")


@dataclass(frozen=True)
class Trades:
    """Times in microseconds, prices in tenths, quantities in thousandths, sides."""

    time: Any
    price: Any
    quantity: Any
    is_sale: Any
    first_id: int = 1

    def batch(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict(
            {
                "timestamp": pa.array(self.time, pa.timestamp("us", tz="UTC")),
                "id": pa.array(np.arange(len(self.time), dtype=np.int64) + self.first_id),
                "price": self.price / 10.0,
                "qty": self.quantity / 1000.0,
                "is_buyer_maker": self.is_sale,
            }
        )

    def part(self, start: int, end: int) -> "Trades":
        columns = (each[start:end] for each in (self.time, self.price, self.quantity, self.is_sale))
        return Trades(*columns, first_id=self.first_id + start)


def random_trades(count: int, seconds: int, seed: int = 1, start: int = 1_704_067_200_000_000) -> Trades:
    """Trades of some hours: in bursts, many at one microsecond, a few stamped before others that came earlier, sizes
    that are round now and then, quiet minutes, and, of more than three hours, one in which nobody trades."""
    random = np.random.default_rng(seed)
    bursts = random.integers(0, seconds * 1000, max(1, count // 40))
    time = random.choice(bursts, count) * 1000 + (random.exponential(400_000, count)).astype(np.int64)
    time = np.where(random.random(count) < 0.3, time // 250_000 * 250_000, time)
    quiet = (time // 60_000_000 % 17 == 3) | (time // HOUR == (seconds // 7200 if seconds > 3 * 3600 else -1))
    time = np.sort(time[~quiet])
    late = random.random(len(time)) < 0.001
    time = np.where(late, np.maximum(0, time - 1_500_000), time) + start
    steps = random.choice([-2, -1, 0, 0, 0, 0, 1, 2], len(time))
    size = np.ceil(random.lognormal(3.0, 1.6, len(time))).astype(np.int64)
    size = np.where(random.random(len(time)) < 0.2, (size // 100 + 1) * 100, size)
    leaning = 0.5 + 0.25 * np.sin(np.arange(len(time)) / 20_000)
    return Trades(time, 420_000 + np.cumsum(steps), size, random.random(len(time)) < leaning)


class Oracle:
    """Rows of trades. `bounds` are begin, end, first trade and behind the last trade of each row. `contract`: the
    dollars of one, where quantities are contracts, else 0. `are_bars`: rows are not of the clock."""

    def __init__(
        self, trades: Trades, bounds: list[tuple[int, int, int, int]], contract: int = 0, are_bars: bool = False
    ) -> None:
        self.trades = trades
        self.bounds = bounds
        self.contract = contract
        self.are_bars = are_bars
        self.clock = np.maximum.accumulate(trades.time)
        dollars = trades.quantity * (10 * contract if contract else trades.price)
        total = {
            "v": trades.quantity,
            "vb": np.where(trades.is_sale, 0, trades.quantity),
            "d": dollars,
            "db": np.where(trades.is_sale, 0, dollars),
            "n": np.ones(len(trades.time), dtype=np.int64),
            "nb": (~trades.is_sale).astype(np.int64),
        }
        self._running = {name: np.append(0, np.cumsum(values)) for name, values in total.items()}

    @classmethod
    def of_clock(cls, trades: Trades, step: int, contract: int = 0) -> "Oracle":
        slots = np.maximum.accumulate(trades.time) // step
        bounds = []
        for slot in range(int(slots[0]), int(slots[-1]) + 1):
            first, stop = np.searchsorted(slots, slot), np.searchsorted(slots, slot, side="right")
            bounds.append((slot * step, (slot + 1) * step, int(first), int(stop)))
        return cls(trades, bounds, contract)

    def total(self, name: str, t: int) -> Decimal:
        """v, vs, vb, d, ds, db, n, ns, nb of a row, exactly."""
        return self.sum(name, t, 1) or Decimal(0)

    def sum(self, name: str, t: int, window: int) -> Decimal | None:
        """Over the rows of a window, whose trades stand one behind the other."""
        if t < window - 1:
            return None
        if name in ("vs", "ds", "ns"):
            return (self.sum(name[0], t, window) or Decimal(0)) - (self.sum(f"{name[0]}b", t, window) or Decimal(0))
        first, stop = self.bounds[t - window + 1][2], self.bounds[t][3]
        units = int(self._running[name][stop] - self._running[name][first])
        return Decimal(units).scaleb({"v": -3, "d": -4, "n": 0}[name[0]])

    def base(self, side: str, t: int, window: int = 1) -> Decimal | None:
        """u, ub or us: the base asset traded, of contracts dollar by dollar at the price of each trade."""
        if not self.contract:
            return self.sum(f"v{side}", t, window)
        if t < window - 1:
            return None
        rows = range(self.bounds[t - window + 1][2], self.bounds[t][3])
        own = [each for each in rows if not side or bool(self.trades.is_sale[each]) == (side == "s")]
        pairs = ((int(self.trades.quantity[each]), int(self.trades.price[each])) for each in own)
        return sum((Decimal(n * self.contract) / (100 * price) for n, price in pairs), Decimal(0))

    def b(self, t: int) -> Decimal:
        return self.total("vb", t) - self.total("vs", t)

    def price(self, what: str, t: int) -> Decimal:
        """O, H, L or C; without trades all are the last close."""
        _, _, first, stop = self.bounds[t]
        if first == stop:
            return Decimal(int(self.trades.price[first - 1])).scaleb(-1)
        own = self.trades.price[first:stop]
        return Decimal(int({"O": own[0], "H": own.max(), "L": own.min(), "C": own[-1]}[what])).scaleb(-1)

    @cached_property
    def r(self) -> Callable[[int], Decimal | None]:
        """The log return of a row."""

        @cache
        def found(t: int) -> Decimal | None:
            return None if t < 1 else (self.price("C", t) / self.price("C", t - 1)).ln()

        return found

    def returns(self, t: int, window: int) -> list[Decimal] | None:
        if t < window:
            return None
        return [value for each in range(t - window + 1, t + 1) if (value := self.r(each)) is not None]

    def change(self, t: int) -> Decimal | None:
        return None if t < 1 else self.price("C", t) - self.price("C", t - 1)

    def quantities(self, t: int) -> list[Decimal]:
        _, _, first, stop = self.bounds[t]
        return [Decimal(int(each)).scaleb(-3) for each in self.trades.quantity[first:stop]]

    def sides(self, t: int) -> list[int]:
        _, _, first, stop = self.bounds[t]
        return [-1 if each else 1 for each in self.trades.is_sale[first:stop].tolist()]

    def gaps(self, t: int) -> list[Decimal]:
        """Seconds from the trade before to each trade of a row; the first of all has none before it."""
        _, _, first, stop = self.bounds[t]
        pairs = range(max(first, 1), stop)
        return [Decimal(int(self.clock[each] - self.clock[each - 1])) / 1_000_000 for each in pairs]

    def roots(self, t: int) -> float:
        _, _, first, stop = self.bounds[t]
        worth = 10 * self.contract if self.contract else self.trades.price[first:stop]
        dollars = (self.trades.quantity[first:stop] * worth) / 1e4
        return math.fsum(side * math.sqrt(each) for side, each in zip(self.sides(t), dollars.tolist(), strict=True))

    # what looks back to hours

    @cached_property
    def hours(self) -> Any:
        return self.clock // HOUR

    @cached_property
    def first_hour(self) -> int:
        """Of which it is not known whether all trades are there."""
        return int(self.hours[0])

    @cache  # noqa: B019
    def large(self, hour: int) -> int | None:
        """The least quantity that 99 % of the trades of a whole hour do not exceed."""
        if hour == self.first_hour:
            return None
        own = sorted(self.trades.quantity[self.hours == hour].tolist())
        return own[math.ceil(0.99 * len(own)) - 1] if own else None

    @cached_property
    def vpins(self) -> list[tuple[float | None, float | None]]:
        """VPIN and its CDF behind each trade, in fiftieths of thousandths."""
        volumes: dict[int, int] = {}
        for hour, size in zip(self.hours.tolist(), self.trades.quantity.tolist(), strict=True):
            volumes[hour] = volumes.get(hour, 0) + size * (hour > self.first_hour)
        buckets: list[tuple[int, float, float | None]] = []  # hour, |bought - sold| / V, VPIN then
        found: list[tuple[float | None, float | None]] = []
        now, filled, signed = -1, 0, 0
        values: tuple[float | None, float | None] = None, None
        sides = np.where(self.trades.is_sale, -1, 1).tolist()
        for hour, size, side in zip(self.hours.tolist(), self.trades.quantity.tolist(), sides, strict=True):
            bucket = volumes.get(hour - 1, 0)
            left = 50 * size
            is_changed = hour != now or (bucket > 0 and filled + left >= bucket)
            if hour != now:
                now, filled, signed = hour, 0, 0
            while bucket and filled + left >= bucket:
                signed += side * (bucket - filled)
                left -= bucket - filled
                share = abs(signed) / bucket
                last = [*[each[1] for each in buckets if each[0] >= hour - 2][-49:], share]
                vpin = math.fsum(last) / 50 if len(last) == 50 else None
                buckets = [*[each for each in buckets if each[0] >= hour - 3], (hour, share, vpin)]
                filled = signed = 0
            filled += left
            signed += side * left
            values = _vpin_now(buckets, hour) if is_changed else values
            found.append(values)
        return found

    def vpin(self, t: int) -> tuple[float | None, float | None]:
        begin, _, first, stop = self.bounds[t]
        if stop == 0 or (first == stop and self.hours[stop - 1] != begin // HOUR):
            return None, None
        hours = int(self.hours[stop - 1]) - self.first_hour
        vpin, cdf = self.vpins[stop - 1]
        return vpin if hours >= 4 else None, cdf if hours >= 5 else None


def _vpin_now(buckets: list[tuple[int, float, float | None]], hour: int) -> tuple[float | None, float | None]:
    recent = sum(each[0] >= hour - 2 for each in buckets[-50:])
    vpin = buckets[-1][2] if recent == 50 else None
    if vpin is None:
        return None, None
    values = [each[2] for each in buckets if each[0] >= hour - 1 and each[2] is not None]
    return vpin, sum(each <= vpin for each in values) / len(values) if len(values) >= 10 else None


# parts of formulas


def over(one: Value, other: Value) -> Value:
    if one is None or other is None or other == 0:
        return None
    return Decimal(one) / Decimal(other)


def mean(values: list[Decimal]) -> Decimal:
    return sum(values, Decimal(0)) / len(values)


def moment(values: list[Decimal], power: int) -> Decimal:
    middle = mean(values)
    return mean([(each - middle) ** power for each in values])


def covered(x: list[Decimal], y: list[Decimal]) -> Decimal:
    """The sum of the products of the differences from the means."""
    a, b = mean(x), mean(y)
    return sum(((i - a) * (j - b) for i, j in zip(x, y, strict=True)), Decimal(0))


def slope(x: list[Decimal], y: list[Decimal]) -> tuple[Value, Value]:
    """Slope and t-value."""
    xx = covered(x, x)
    if xx == 0:
        return None, None
    beta = covered(x, y) / xx
    alpha = mean(y) - beta * mean(x)
    rest = sum(((j - alpha - beta * i) ** 2 for i, j in zip(x, y, strict=True)), Decimal(0))
    is_exact = rest <= covered(y, y) * Decimal("1e-40")
    return beta, None if is_exact else beta / (rest / (len(x) - 2) / xx).sqrt()


def imbalance(o: Oracle, t: int, kind: str, window: int = 1) -> Value:
    bought, sold, whole = (o.sum(name, t, window) for name in (f"{kind}b", f"{kind}s", kind))
    return None if bought is None or sold is None else over(bought - sold, whole)


def faded(o: Oracle, t: int, what: Callable[[int], Decimal]) -> Decimal | None:
    if t < 599:
        return None
    return sum((fade * what(t - back) for back, fade in enumerate(fades())), Decimal(0))


@cache
def fades() -> list[Decimal]:
    """Weights that halve every 30 rows."""
    return [(Decimal("0.5") ** (Decimal(1) / 30)) ** back for back in range(600)]


def entropy(bought: Decimal | None, whole: Decimal | None) -> Value:
    if bought is None or not whole:
        return None
    return sum((-(s * s.ln() / LN2) for s in (bought / whole, 1 - bought / whole) if s > 0), Decimal(0))


def phrases(sides: list[int]) -> int:
    """López de Prado (2018), snippet 18.2."""
    library: set[tuple[int, ...]] = set()
    start = 0
    while start < len(sides):
        for end in range(start + 1, len(sides) + 1):
            if tuple(sides[start:end]) not in library:
                library.add(tuple(sides[start:end]))
                break
        start = end
    return len(library)


def runs(sides: list[int]) -> list[int]:
    found: list[int] = []
    for side in sides:
        if found and (found[-1] > 0) == (side > 0):
            found[-1] += side
        else:
            found.append(side)
    return found


def ln(o: Oracle, one: str, other: str, t: int) -> Decimal:
    return (o.price(one, t) / o.price(other, t)).ln()


def parkinson(o: Oracle, t: int) -> Decimal:
    return ln(o, "H", "L", t) ** 2 / (4 * LN2)


def garman_klass(o: Oracle, t: int) -> Decimal:
    return ln(o, "H", "L", t) ** 2 / 2 - (2 * LN2 - 1) * ln(o, "C", "O", t) ** 2


def rogers_satchell(o: Oracle, t: int) -> Decimal:
    return ln(o, "H", "C", t) * ln(o, "H", "O", t) + ln(o, "L", "C", t) * ln(o, "L", "O", t)


def root_mean(o: Oracle, t: int, variance: Callable[[Oracle, int], Decimal]) -> Value:
    if t < 59:
        return None
    return max(Decimal(0), mean([variance(o, each) for each in range(t - 59, t + 1)])).sqrt()


def pair(o: Oracle, t: int) -> tuple[Decimal, Decimal]:
    """β and γ of Corwin and Schultz."""
    beta = ln(o, "H", "L", t) ** 2 + ln(o, "H", "L", t - 1) ** 2
    high, low = max(o.price("H", t), o.price("H", t - 1)), min(o.price("L", t), o.price("L", t - 1))
    return beta, (high / low).ln() ** 2


def corwin_schultz(o: Oracle, t: int) -> Decimal:
    beta, gamma = pair(o, t)
    root = 3 - 2 * Decimal(2).sqrt()
    alpha = ((2 * beta).sqrt() - beta.sqrt()) / root - (gamma / root).sqrt()
    return max(Decimal(0), 2 * (alpha.exp() - 1) / (1 + alpha.exp()))


def becker_parkinson(o: Oracle, t: int) -> Decimal:
    beta, gamma = pair(o, t)
    root, k2 = 3 - 2 * Decimal(2).sqrt(), (8 / PI).sqrt()
    sigma = (1 / Decimal(2).sqrt() - 1) * beta.sqrt() / (k2 * root) + (gamma / (k2 * k2 * root)).sqrt()
    return max(Decimal(0), sigma)


def over_pairs(o: Oracle, t: int, each: Callable[[Oracle, int], Decimal]) -> Value:
    return None if t < 59 else mean([each(o, row) for row in range(t - 58, t + 1)])


def kyle(o: Oracle, t: int) -> tuple[Value, Value]:
    if t < 60:
        return None, None
    rows = range(t - 59, t + 1)
    return slope([o.b(each) for each in rows], [o.price("C", each) - o.price("C", each - 1) for each in rows])


def hasbrouck(o: Oracle, t: int) -> tuple[Value, Value]:
    found = o.returns(t, 60)
    if found is None:
        return None, None
    return slope([Decimal(o.roots(each)) for each in range(t - 59, t + 1)], found)


def roll(o: Oracle, t: int) -> Decimal | None:
    if t < 61:
        return None
    changes = [o.price("C", each) - o.price("C", each - 1) for each in range(t - 60, t + 1)]
    return 2 * max(Decimal(0), -covered(changes[:-1], changes[1:]) / 59).sqrt()


def amihud(o: Oracle, t: int) -> Value:
    if t < 60:
        return None
    each = [abs(o.r(row) or Decimal(0)) / o.total("d", row) for row in range(t - 59, t + 1) if o.total("d", row)]
    return mean(each) if each else None


def autocorrelation(o: Oracle, t: int, window: int) -> Value:
    found = o.returns(t, window + 1)
    if found is None:
        return None
    before, after = found[:-1], found[1:]
    scale = covered(before, before) * covered(after, after)
    return None if scale == 0 else covered(before, after) / scale.sqrt()


def volatility(o: Oracle, t: int, window: int) -> Value:
    found = o.returns(t, window)
    return None if found is None else (moment(found, 2) * window / (window - 1)).sqrt()


def standardised(o: Oracle, t: int, power: int) -> Value:
    found = o.returns(t, 60)
    if found is None or moment(found, 2) == 0:
        return None
    return moment(found, power) / moment(found, 2) ** (Decimal(power) / 2)


def variation(o: Oracle, t: int) -> tuple[Value, Value, Value]:
    """Realized variance, bipower variation and the share of jumps."""
    found = o.returns(t, 60)
    if found is None:
        return None, None, None
    whole = sum((each**2 for each in found), Decimal(0))
    smooth = PI / 2 * sum((abs(a) * abs(b) for a, b in zip(found[1:], found[:-1], strict=True)), Decimal(0))
    return whole, smooth, max(Decimal(0), 1 - smooth / whole) if whole else None


def vwap(o: Oracle, t: int, which: str = "") -> Value:
    return over(o.total(f"d{which}", t), o.base(which, t))


def apart(price: Decimal, middle: Value) -> Value:
    return None if middle is None else (price - Decimal(middle)) / Decimal(middle)


def microprice(o: Oracle, t: int) -> Value:
    bought, sold = vwap(o, t, "b"), vwap(o, t, "s")
    if bought is None or sold is None:
        return None
    return over(Decimal(bought) * (o.base("s", t) or 0) + Decimal(sold) * (o.base("b", t) or 0), o.base("", t))


def std_trade(o: Oracle, t: int) -> Value:
    sizes = o.quantities(t)
    return moment(sizes, 2).sqrt() if sizes else None


def large_share(o: Oracle, t: int) -> Value:
    _, _, first, stop = o.bounds[t]
    whole = Decimal(0)
    for each in range(first, stop):
        least = o.large(int(o.hours[each]) - 1)
        if least is None:
            return None
        if o.trades.quantity[each] > least:
            whole += Decimal(int(o.trades.quantity[each])).scaleb(-3)
    return over(whole, o.total("v", t))


def rate_momentum(o: Oracle, t: int, name: str) -> Value:
    whole = o.sum(name, t, 60)
    if not whole:
        return None
    mean_rate = over(whole, sum((seconds(o, each) for each in range(t - 59, t + 1)), Decimal(0)))
    ratio = over(over(o.total(name, t), seconds(o, t)), mean_rate)
    return None if ratio is None else Decimal(ratio) - 1


def cvd(o: Oracle, t: int) -> Value:
    rows = sum(begin // DAY == o.bounds[t][0] // DAY for begin, _, _, _ in o.bounds[: t + 1])
    return (o.sum("vb", t, rows) or Decimal(0)) - (o.sum("vs", t, rows) or Decimal(0))


def seconds(o: Oracle, t: int) -> Decimal:
    begin, end, first, stop = o.bounds[t]
    if o.are_bars:
        before = int(o.clock[first - 1]) if t else begin
        return Decimal(int(o.clock[stop - 1]) - before) / 1_000_000
    return Decimal(end - begin) / 1_000_000


def angle(o: Oracle, t: int) -> float:
    return 2 * math.pi * (o.bounds[t][0] % DAY) / DAY


def lag(o: Oracle, t: int, rows: int) -> Value:
    return o.r(t - rows) if t > rows else None


def momentum(o: Oracle, t: int, window: int) -> Value:
    found = o.returns(t, window)
    return None if found is None else sum(found, Decimal(0))


def mean_ratio(o: Oracle, t: int, window: int) -> Value:
    return None if t < window - 1 else o.price("C", t) / mean([o.price("C", t - k) for k in range(window)])


TWINS: dict[str, Callable[[Oracle, int], Value]] = {
    "open": lambda o, t: o.price("O", t),
    "high": lambda o, t: o.price("H", t),
    "low": lambda o, t: o.price("L", t),
    "close": lambda o, t: o.price("C", t),
    "vwap": vwap,
    "buy_vwap": lambda o, t: vwap(o, t, "b"),
    "sell_vwap": lambda o, t: vwap(o, t, "s"),
    "microprice": microprice,
    "vwap_deviation": lambda o, t: apart(o.price("C", t), vwap(o, t)),
    "vwap_deviation_60": lambda o, t: apart(o.price("C", t), over(o.sum("d", t, 60), o.base("", t, 60))),
    "mean_ratio_5": lambda o, t: mean_ratio(o, t, 5),
    "mean_ratio_10": lambda o, t: mean_ratio(o, t, 10),
    "mean_ratio_30": lambda o, t: mean_ratio(o, t, 30),
    "volume": lambda o, t: o.total("v", t),
    "dollar_volume": lambda o, t: o.total("d", t),
    "num_trades": lambda o, t: o.total("n", t),
    "duration": seconds,
    "buy_volume": lambda o, t: o.total("vb", t),
    "sell_volume": lambda o, t: o.total("vs", t),
    "buy_dollar": lambda o, t: o.total("db", t),
    "sell_dollar": lambda o, t: o.total("ds", t),
    "num_buys": lambda o, t: o.total("nb", t),
    "num_sells": lambda o, t: o.total("ns", t),
    "mean_trade": lambda o, t: over(o.total("v", t), o.total("n", t)),
    "max_trade": lambda o, t: max(o.quantities(t), default=None),
    "std_trade": std_trade,
    "volume_imbalance": lambda o, t: imbalance(o, t, "v"),
    "trade_imbalance": lambda o, t: imbalance(o, t, "n"),
    "dollar_imbalance": lambda o, t: imbalance(o, t, "d"),
    "volume_imbalance_10": lambda o, t: imbalance(o, t, "v", 10),
    "volume_imbalance_30": lambda o, t: imbalance(o, t, "v", 30),
    "volume_imbalance_60": lambda o, t: imbalance(o, t, "v", 60),
    "trade_imbalance_60": lambda o, t: imbalance(o, t, "n", 60),
    "imbalance_ewma": lambda o, t: over(faded(o, t, o.b), faded(o, t, lambda k: o.total("v", k))),
    "buy_ratio": lambda o, t: over(o.total("vb", t), o.total("v", t)),
    "cvd": cvd,
    "cvd_change_10": lambda o, t: None if t < 9 else sum((o.b(t - k) for k in range(10)), Decimal(0)),
    "cvd_change_60": lambda o, t: None if t < 59 else sum((o.b(t - k) for k in range(60)), Decimal(0)),
    "signed_run": lambda o, t: (runs(o.sides(t)) or [0])[-1],
    "max_run_share": lambda o, t: over(max(map(abs, runs(o.sides(t))), default=0), o.total("n", t)),
    "log_return": lambda o, t: o.r(t),
    "open_return": lambda o, t: o.price("C", t) / o.price("O", t) - 1,
    "range": lambda o, t: (o.price("H", t) - o.price("L", t)) / o.price("C", t),
    "close_position": lambda o, t: over(o.price("C", t) - o.price("L", t), o.price("H", t) - o.price("L", t)),
    "momentum_5": lambda o, t: momentum(o, t, 5),
    "momentum_10": lambda o, t: momentum(o, t, 10),
    "momentum_30": lambda o, t: momentum(o, t, 30),
    "momentum_60": lambda o, t: momentum(o, t, 60),
    "return_autocorrelation_30": lambda o, t: autocorrelation(o, t, 30),
    "return_autocorrelation_60": lambda o, t: autocorrelation(o, t, 60),
    "return_mean_60": lambda o, t: over(momentum(o, t, 60), 60),
    "return_skewness_60": lambda o, t: standardised(o, t, 3),
    "return_kurtosis_60": lambda o, t: None if (found := standardised(o, t, 4)) is None else Decimal(found) - 3,
    "return_lag_1": lambda o, t: lag(o, t, 1),
    "return_lag_5": lambda o, t: lag(o, t, 5),
    "return_lag_10": lambda o, t: lag(o, t, 10),
    "volatility_5": lambda o, t: volatility(o, t, 5),
    "volatility_10": lambda o, t: volatility(o, t, 10),
    "volatility_30": lambda o, t: volatility(o, t, 30),
    "volatility_60": lambda o, t: volatility(o, t, 60),
    "realized_variance_60": lambda o, t: variation(o, t)[0],
    "bipower_variation_60": lambda o, t: variation(o, t)[1],
    "jump_share_60": lambda o, t: variation(o, t)[2],
    "parkinson": parkinson,
    "garman_klass": garman_klass,
    "rogers_satchell": rogers_satchell,
    "parkinson_volatility_60": lambda o, t: root_mean(o, t, parkinson),
    "garman_klass_volatility_60": lambda o, t: root_mean(o, t, garman_klass),
    "rogers_satchell_volatility_60": lambda o, t: root_mean(o, t, rogers_satchell),
    "roll_spread_60": roll,
    "roll_impact_60": lambda o, t: over(roll(o, t), o.sum("d", t, 60)),
    "corwin_schultz_60": lambda o, t: over_pairs(o, t, corwin_schultz),
    "becker_parkinson_60": lambda o, t: over_pairs(o, t, becker_parkinson),
    "kyle_lambda_60": lambda o, t: kyle(o, t)[0],
    "kyle_t_60": lambda o, t: kyle(o, t)[1],
    "amihud_60": amihud,
    "hasbrouck_lambda_60": lambda o, t: hasbrouck(o, t)[0],
    "hasbrouck_t_60": lambda o, t: hasbrouck(o, t)[1],
    "price_impact": lambda o, t: None if (found := o.r(t)) is None else over(abs(found), abs(o.b(t))),
    "vpin": lambda o, t: o.vpin(t)[0],
    "vpin_cdf": lambda o, t: o.vpin(t)[1],
    "toxicity": lambda o, t: over(abs(o.b(t)), o.total("v", t)),
    "toxicity_ewma": lambda o, t: over(faded(o, t, lambda k: abs(o.b(k))), faded(o, t, lambda k: o.total("v", k))),
    "trade_intensity": lambda o, t: over(o.total("n", t), seconds(o, t)),
    "volume_intensity": lambda o, t: over(o.total("v", t), seconds(o, t)),
    "intensity_momentum_60": lambda o, t: rate_momentum(o, t, "n"),
    "volume_momentum_60": lambda o, t: rate_momentum(o, t, "v"),
    "inter_trade_mean": lambda o, t: mean(gaps) if (gaps := o.gaps(t)) else None,
    "inter_trade_variation": lambda o, t: over(moment(gaps, 2).sqrt(), mean(gaps)) if (gaps := o.gaps(t)) else None,
    "since_trade": lambda o, t: Decimal(o.bounds[t][1] - int(o.clock[o.bounds[t][3] - 1])) / 1_000_000,
    "large_trade_share": large_share,
    "side_entropy": lambda o, t: entropy(o.total("nb", t), o.total("n", t)),
    "side_entropy_60": lambda o, t: entropy(o.sum("nb", t, 60), o.sum("n", t, 60)),
    "side_phrases": lambda o, t: over(phrases(o.sides(t)), o.total("n", t)),
    "side_complexity": lambda o, t: (
        None if (n := o.total("n", t)) < 2 else Decimal(phrases(o.sides(t))) * (n.ln() / LN2) / n
    ),
    "hour_sin": lambda o, t: math.sin(angle(o, t)),
    "hour_cos": lambda o, t: math.cos(angle(o, t)),
    "weekday": lambda o, t: (o.bounds[t][0] // DAY + 3) % 7,
    "funding_rate": lambda o, t: None,
    "premium": lambda o, t: None,
    "basis": lambda o, t: None,
    "open_interest": lambda o, t: None,
}
"""Every feature that trades alone give; what else was known has tests of its own, and is not known here."""


def exactly(twin: Callable[[Oracle, int], Value], oracle: Oracle, t: int) -> float:
    """The value as a double, NaN for None."""
    with localcontext(Context(prec=50)):
        value = twin(oracle, t)
    return math.nan if value is None else float(value)
