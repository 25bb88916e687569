"""Checks of candles, each row by itself or against the one before."""

from collections.abc import Callable, Iterator

import numpy as np

from core.datasets.contracts import contract_usd
from core.datasets.grid import Bools
from core.dates import HOUR_US, INTERVAL_US, format_us
from core.decimals import text
from core.integrity.rows import Faults, Floats, Rows
from core.types import Market

CUT = "a halt cut the candle: its times are stored as published"
RELATIVE = 1e-9
TOLERANCE_US = 1_000_000
"""How much too late a candle of spot may close: one of 2017 closes at the very hour."""
PLACE = 1e-8
"""The last decimal of sums that the exchange publishes; each trade's share of one is rounded to it."""


def _names(rows: Rows) -> tuple[str, str, str, str]:
    """Volume, value, and takers' part of each, as the market calls them."""
    if rows.series.market is Market.CM:
        return "volume", "base_volume", "taker_buy_volume", "taker_buy_base"
    return "volume", "quote_volume", "taker_buy_base", "taker_buy_quote"


def _cause(rows: Rows) -> str | None:
    is_traded = rows.series.dataset == "klines"
    return CUT if is_traded and rows.series.market is Market.SPOT else None


def off_grid(rows: Rows) -> Iterator[Faults]:
    """Candles open on the grid of their interval."""
    assert rows.grid is not None
    starts = rows.grid.starts(rows.grid.slots(rows.time))
    wrong = rows.time != starts
    if wrong.any():
        yield from rows.faults(
            "off-grid", wrong, lambda n: f"the candle of {format_us(int(starts[n]))} opens", _cause(rows)
        )


def close_time(rows: Rows) -> Iterator[Faults]:
    """Candles close right before the next one opens; elsewhere where a halt cut one of spot."""
    closes, ends, odd = rows.ints("close_time"), rows.ends(), closes_oddly(rows)
    if odd.any():
        inside = (closes > rows.time) & (closes <= ends + TOLERANCE_US)
        if rows.series.dataset == "klines":
            inside |= rows.floats("volume") == 0  # those of a halt may close before they open

        def say(n: int) -> str:
            return f"it closes at {format_us(int(closes[n]))} instead of {format_us(int(ends[n]) - 1000)}, the candle"

        yield from rows.faults("close-time", odd & inside, say, _cause(rows))
        yield from rows.faults("close-time", odd & ~inside, say)


def closes_oddly(rows: Rows) -> Bools:
    """Whether each candle closes elsewhere than a millisecond or a microsecond before the next one opens."""
    closes, ends = rows.ints("close_time"), rows.ends()
    odd: Bools = (closes != ends - 1000) & (closes != ends - 1)
    return odd


def ohlc(rows: Rows) -> Iterator[Faults]:
    """low <= open, close <= high."""
    low, high, opens, closes = (rows.floats(name) for name in ("low", "high", "open", "close"))
    wrong = ~((low <= np.minimum(opens, closes)) & (np.maximum(opens, closes) <= high))
    if wrong.any():
        yield from rows.faults(
            "ohlc",
            wrong,
            lambda n: f"open {text(opens[n])}, high {text(high[n])}, low {text(low[n])}, close {text(closes[n])}",
        )


def positive_prices(rows: Rows) -> Iterator[Faults]:
    """Prices are above 0; a premium need not be."""
    low = np.minimum.reduce([rows.floats(name) for name in ("low", "open", "high", "close")])
    if not (low > 0).all():
        yield from rows.faults("price-not-positive", ~(low > 0), lambda n: f"a price of {text(low[n])}")


def price_jump(rows: Rows) -> Iterator[Faults]:
    """A candle opens near the close before it, and within an hour or less its high is near its low."""
    assert rows.grid is not None
    most = rows.quality.max_price_jump
    opens, closes, high, low = (rows.floats(name) for name in ("open", "close", "high", "low"))
    before, after = closes[:-1], opens[1:]
    follows = np.diff(rows.grid.slots(rows.time)) == 1
    jumps = follows & (np.maximum(before, after) > most * np.minimum(before, after)) & (np.minimum(before, after) > 0)
    if jumps.any():
        yield from rows.pairs("price-jump", jumps, lambda n: f"from {text(closes[n - 1])} to {text(opens[n])}")
    step = INTERVAL_US[rows.series.interval or ""]
    if step is not None and step <= HOUR_US:
        wide = (high > most * low) & (low > 0)
        if wide.any():
            yield from rows.faults("price-jump", wide, lambda n: f"low {text(low[n])} and high {text(high[n])}")


def flat_without_volume(rows: Rows) -> Iterator[Faults]:
    """A candle without volume has no trades and no range; one with volume has trades."""
    volume, value = (rows.floats(name) for name in _names(rows)[:2])
    count = rows.ints("trades")
    is_flat = (rows.floats("high") == rows.floats("low")) & (value == 0) & (count == 0)
    wrong = np.where(volume == 0, ~is_flat, count <= 0)
    if wrong.any():
        yield from rows.faults(
            "zero-volume", wrong, lambda n: f"volume {text(volume[n])}, value {text(value[n])}, {count[n]} trades"
        )


def taker_parts(rows: Rows) -> Iterator[Faults]:
    """What takers bought is part of what was traded; nothing is below 0."""
    volume, value, taken, taken_value = _names(rows)
    for whole_name, part_name in ((volume, taken), (value, taken_value)):
        whole, part = rows.floats(whole_name), rows.floats(part_name)
        wrong = ~((part >= 0) & (part <= whole))
        if wrong.any():
            yield from rows.faults(
                "taker-part",
                wrong,
                _told(f"{part_name} {{}} of {whole_name} {{}}", part, whole),
            )


def value_in_range(rows: Rows) -> Iterator[Faults]:
    """Value over volume is a price between low and high, to the published decimals."""
    volume_name, value_name, taken_name, taken_value_name = _names(rows)
    count = rows.ints("trades").astype(np.float64)
    for quantity_name, worth_name in ((volume_name, value_name), (taken_name, taken_value_name)):
        quantity, worth = rows.floats(quantity_name), rows.floats(worth_name)
        wrong = ~_fits(rows, quantity, worth, count)
        if wrong.any():
            yield from rows.faults(
                "value-range",
                wrong,
                _told(
                    f"{worth_name} {{}} for {quantity_name} {{}} between {{}} and {{}}",
                    worth,
                    quantity,
                    rows.floats("low"),
                    rows.floats("high"),
                ),
            )


def _told(form: str, *columns: Floats) -> Callable[[int], str]:
    return lambda row: form.format(*(text(column[row]) for column in columns))


def _fits(rows: Rows, quantity: Floats, worth: Floats, count: Floats) -> Bools:
    low, high = rows.floats("low"), rows.floats("high")
    slack = RELATIVE * np.abs(worth) + PLACE * (count + 1)
    contract = contract_usd(rows.series.market, rows.series.symbol)
    if contract is None:
        return (worth >= quantity * low - slack) & (worth <= quantity * high + slack)
    with np.errstate(divide="ignore", invalid="ignore"):
        least, most = quantity * contract / high, quantity * contract / low
    return (worth >= least - slack) & (worth <= most + slack)
