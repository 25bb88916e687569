"""What datasets say of each other: candles against trades and shorter candles, aggregates against trades, premium
against mark and index, depth against mark. Differences are told with both values; sums are exact.

What is missing on one side is a gap, and told there; here only what both have is compared.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from core.datasets import DATASETS
from core.datasets.contracts import contract_usd
from core.datasets.grid import Bools, Grid, Ints
from core.dates import DAY_US, INTERVAL_US
from core.decimals import places_of, sums, text
from core.integrity.aggregate import Candles, added_up, of_candles, of_trades
from core.integrity.rows import Floats, Rows
from core.integrity.sides import (
    CANDLE_WINDOW_US,
    Differences,
    Side,
    covered,
    finer_of,
    shortest,
    slot_windows,
    window_of,
    windows,
)
from core.integrity.trading import LEFT_OUT, LoneIds
from core.types import Finding, Market, Series, Span

_TRADE_WINDOW_US: Final = DAY_US
_DEPTH_SLACK: Final = 0.01
_AGGREGATE_US: Final = 1_000_000
_PRICES: Final = ("open", "high", "low", "close")


def candles_of_trades(side: Side, series: Series, span: Span) -> Iterator[Finding]:
    """Candles equal what the trades of their time add up to, in every column and to the last decimal."""
    step = INTERVAL_US.get(series.interval or "")
    trades = Series(series.market, "trades", series.symbol)
    if series.dataset != "klines" or step is None or step > DAY_US:
        return
    grid = Grid(step)
    found = Differences("candle-differs", series, "the trades")
    explained = Differences("candle-differs", series, "the trades", LEFT_OUT)
    for part in covered(side.facts(trades), span):
        lone = LoneIds(grid)
        start = -(-part.start_us // step) * step
        whole = Span(start, max(start, part.end_us // step * step))
        for window in windows(whole, _TRADE_WINDOW_US):
            candles = side.rows(series, window)
            if candles is None:
                continue
            parts = []
            lone.forget(window.start_us // step)
            for batch in side.storage.scan(trades, window):
                rows = Rows(trades, pa.Table.from_batches([batch]), side.quality)
                parts.append(of_trades(rows, grid))
                lone.update(rows)
            differing = _against(candles, grid, added_up(parts), _trade_totals(series.market))
            left_out = np.zeros(len(candles.time), dtype=np.bool_)
            if series.market is not Market.SPOT and differing.wrong.any():
                left_out = differing.wrong & lone.make_up(grid.slots(candles.time), differing.lacking)
            explained.add(candles.time, left_out, differing.say, differing.ends)
            found.add(candles.time, differing.wrong & ~left_out, differing.say, differing.ends)
    yield from found.findings()
    yield from explained.findings()


def candles_of_candles(side: Side, series: Series, span: Span) -> Iterator[Finding]:
    """Candles equal what the next shorter candles that are stored add up to: 1h is sixty 1m (D31)."""
    finer = finer_of(side, series)
    both = side.within(finer, span) if finer else None
    if finer is None or both is None:
        return
    candle_rows = side.within(series, both)
    if candle_rows is None:
        return
    names = {} if series.dataset != "klines" else _candle_totals(series.market)
    first = side.facts(series)[0].first_us
    grid = Grid.of(DATASETS[series.dataset].clock, series.interval, first)
    fine_grid = Grid.of(DATASETS[series.dataset].clock, finer.interval, first)
    found = Differences("interval-differs", series, f"the {finer.interval} candles")
    for window in slot_windows(grid, both):
        candles, shorter = side.rows(series, window), side.rows(finer, window)
        if candles is None or shorter is None:
            continue
        made = of_candles(shorter, grid, {name: name for name in names})
        ends = fine_grid.slots(grid.starts(made.slots + 1))
        whole = made.rows == ends - fine_grid.slots(grid.starts(made.slots))
        differing = _against(candles, grid, _chosen(made, whole), names, only_made=True)
        found.add(candles.time, differing.wrong, differing.say, differing.ends)
    yield from found.findings()


def aggregates_of_trades(side: Side, series: Series, span: Span) -> Iterator[Finding]:
    """An aggregate has the quantity, price and side of the trades of its ids (D33, D35)."""
    if series.dataset != "agg_trades":
        return
    trades = Series(series.market, "trades", series.symbol)
    found = Differences("aggregate-differs", series, "the trades")
    for part in covered(side.facts(trades), span):
        for window in windows(part, window_of(side.facts(trades), part)):
            aggregates = side.rows(series, window)
            near = Span(max(0, window.start_us - _AGGREGATE_US), window.end_us + _AGGREGATE_US)
            made_of = side.rows(trades, near, ["id", "price", "qty", "is_buyer_maker", "timestamp"])
            if aggregates is not None and made_of is not None:
                _compare_aggregates(found, aggregates, made_of)
    yield from found.findings()


def premium_of_prices(side: Side, series: Series, span: Span) -> Iterator[Finding]:
    """At open and close the premium is about mark / index - 1, within `quality.premium_tolerance`."""
    if series.dataset != "premium_index":
        return
    pair = DATASETS["index_price"].directory(series.symbol)
    mark_series = Series(series.market, "mark_price", series.symbol, series.interval)
    index_series = Series(series.market, "index_price", pair, series.interval)
    both = side.within(mark_series, span)
    both = both and side.within(index_series, both)
    if both is None:
        return
    found = Differences("premium-differs", series, "mark and index")
    columns = ["timestamp", "open", "close"]
    for window in windows(both, 12 * CANDLE_WINDOW_US):
        premium, mark, index = (side.rows(one, window, columns) for one in (series, mark_series, index_series))
        if premium is not None and mark is not None and index is not None:
            _compare_premium(found, premium, mark, index)
    yield from found.findings()


def depth_of_mark(side: Side, series: Series, span: Span) -> Iterator[Finding]:
    """The mean price of each band lies near the mark price of its time (D37)."""
    mark = shortest(side, Series(series.market, "mark_price", series.symbol))
    if series.dataset != "book_depth" or mark is None:
        return
    both = side.within(mark, span)
    step = INTERVAL_US[mark.interval or ""]
    if both is None or step is None:
        return
    found = Differences("depth-off-mark", series, "the mark price")
    for window in windows(both, _TRADE_WINDOW_US):
        depth = side.rows(series, window)
        prices = side.rows(mark, Span(max(0, window.start_us - step), window.end_us), ["timestamp", "high", "low"])
        if depth is not None and prices is not None:
            _compare_depth(found, depth, prices, step)
    yield from found.findings()


Reconciliation = Callable[[Side, Series, Span], Iterator[Finding]]
RECONCILIATIONS: Final[dict[str, Reconciliation]] = {
    "candles_of_trades": candles_of_trades,
    "candles_of_candles": candles_of_candles,
    "aggregates_of_trades": aggregates_of_trades,
    "premium_of_prices": premium_of_prices,
    "depth_of_mark": depth_of_mark,
}
"""Each compares one series with others of its symbol, where they are stored."""


def _trade_totals(market: Market) -> dict[str, tuple[str, ...]]:
    """By column of a candle, the totals of trades of which it has to equal one."""
    if market is Market.CM:
        volumes = {
            "volume": "volume",
            "base_volume": "value",
            "taker_buy_volume": "taken",
            "taker_buy_base": "taken_value",
        }
        return {"trades": ("count",), **{column: (total,) for column, total in volumes.items()}}
    return {
        "trades": ("count",),
        "volume": ("volume",),
        "quote_volume": ("value", "product"),
        "taker_buy_base": ("taken",),
        "taker_buy_quote": ("taken_value", "taken_product"),
    }


def _candle_totals(market: Market) -> dict[str, tuple[str, ...]]:
    return {column: (column,) for column in _trade_totals(market)}


@dataclass(frozen=True, slots=True, eq=False)
class _Differing:
    """Which candles are `wrong`, how many trades each has more than it is made of, where its time `ends`, and a way to
    tell one of them."""

    ends: Ints
    wrong: Bools
    lacking: Ints
    say: Callable[[int], str]


def _against(
    candles: Rows, grid: Grid, made: Candles | None, totals: Mapping[str, tuple[str, ...]], only_made: bool = False
) -> _Differing:
    """Candles against those that were made; where none was made, they have to be empty unless `only_made`."""
    slots = grid.slots(candles.time)
    made_slots = made.slots if made is not None else np.zeros(0, dtype=np.int64)
    place = np.searchsorted(made_slots, slots)
    has = np.zeros(len(slots), dtype=np.bool_)
    inside = place < len(made_slots)
    has[inside] = made_slots[place[inside]] == slots[inside]
    wrong = np.zeros(len(slots), dtype=np.bool_)
    lacking = np.zeros(len(slots), dtype=np.int64)
    if not only_made:
        lacking = candles.ints("trades").copy()
        wrong = ~has & (lacking != 0)
    pairs: list[tuple[str, Floats, Floats]] = []
    if made is not None and has.any():
        at = np.where(has, np.minimum(place, len(made_slots) - 1), 0)
        for name in _PRICES:
            pairs.append((name, candles.floats(name), getattr(made, name)[at]))
        for name, options in totals.items():
            ours = candles.ints(name).astype(np.float64) if name == "trades" else candles.floats(name)
            theirs = made.total(options[0])[at]
            for other in options[1:]:
                theirs = np.where(theirs == ours, theirs, made.total(other)[at])
            pairs.append((name, ours, theirs))
        for _, ours, theirs in pairs:
            wrong |= has & (ours != theirs)
        lacking[has] -= made.rows[at[has]]

    def say(n: int) -> str:
        if not has[n]:
            return f"{lacking[n]} trades, but none is stored"
        return ", ".join(f"{name} {text(a[n])} against {text(b[n])}" for name, a, b in pairs if a[n] != b[n])

    return _Differing(grid.starts(slots + 1), wrong, lacking, say)


def _chosen(made: Candles, which: Bools) -> Candles:
    kept = np.flatnonzero(which)
    totals = {name: [each[n] for n in kept.tolist()] for name, each in made.totals.items()}
    slots, opens, high, low, close, rows = (getattr(made, name)[kept] for name in ("slots", *_PRICES, "rows"))
    return Candles(slots, opens, high, low, close, rows, totals)


def _compare_aggregates(found: Differences, aggregates: Rows, trades: Rows) -> None:
    ids, price = trades.ints("id"), trades.floats("price")
    first, last = aggregates.ints("first_trade_id"), aggregates.ints("last_trade_id")
    start, stop = np.searchsorted(ids, first), np.searchsorted(ids, last, side="right")
    whole = (stop - start == last - first + 1) & (stop > start)
    rows = np.flatnonzero(whole)
    if not len(rows):
        return
    bounds = np.column_stack([start[rows], stop[rows]]).ravel()
    padded = np.append(trades.floats("qty"), 0.0)  # so that a run may end where the trades do
    places = max(places_of(padded), places_of(aggregates.floats("quantity")))
    quantity = aggregates.floats("quantity")[rows]
    theirs = np.array([each / 10**12 for each in sums(padded, bounds, places)[::2]])
    ours_price, their_price = aggregates.floats("price")[rows], price[start[rows]]
    side = aggregates.bools("is_buyer_maker")[rows] != trades.bools("is_buyer_maker")[start[rows]]
    wrong = (quantity != theirs) | (ours_price != their_price) | side

    def say(n: int) -> str:
        of = f"trades {first[rows[n]]} to {last[rows[n]]}"
        if quantity[n] != theirs[n]:
            return f"quantity {text(quantity[n])} against {text(theirs[n])} of {of}"
        if ours_price[n] != their_price[n]:
            return f"price {text(ours_price[n])} against {text(their_price[n])} of {of}"
        return f"another side than {of}"

    found.add(aggregates.time[rows], wrong, say)


def _compare_premium(found: Differences, premium: Rows, mark: Rows, index: Rows) -> None:
    times = np.intersect1d(np.intersect1d(premium.time, mark.time), index.time)
    at = [np.searchsorted(side.time, times) for side in (premium, mark, index)]
    wrong = np.zeros(len(times), dtype=np.bool_)
    apart = {}
    for name in ("open", "close"):
        of = [side.floats(name)[rows] for side, rows in zip((premium, mark, index), at, strict=True)]
        with np.errstate(divide="ignore", invalid="ignore"):
            apart[name] = (of[0], of[1] / of[2] - 1)
        wrong |= ~(np.abs(apart[name][0] - apart[name][1]) <= premium.quality.premium_tolerance)

    def say(n: int) -> str:
        return ", ".join(f"{name} {text(a[n])} against {b[n]:.8f}" for name, (a, b) in apart.items())

    found.add(times, wrong, say)


def _compare_depth(found: Differences, depth: Rows, prices: Rows, step: int) -> None:
    place = np.searchsorted(prices.time, depth.time, side="right") - 1
    here = (place >= 0) & (depth.time - prices.time[np.maximum(place, 0)] < step)
    band = depth.floats("percentage")
    low, high = prices.floats("low")[place], prices.floats("high")[place]
    least = low * (1 + np.minimum(band, 0) / 100) * (1 - _DEPTH_SLACK)
    most = high * (1 + np.maximum(band, 0) / 100) * (1 + _DEPTH_SLACK)
    means = list(_mean_prices(depth))
    fits = np.logical_or.reduce([~np.isfinite(mean) | ((mean >= least) & (mean <= most)) for mean in means])
    mean, wrong = means[0], here & ~fits
    found.add(
        depth.time,
        wrong,
        lambda n: f"band {text(band[n])} % at {mean[n]:.8g}, mark from {text(low[n])} to {text(high[n])}",
    )


def _mean_prices(depth: Rows) -> Iterator[Floats]:
    """What the mean price of each band may be: value over depth, in cm also where depth is in contracts."""
    quantity, value = depth.floats("depth"), depth.floats("notional")
    with np.errstate(divide="ignore", invalid="ignore"):
        yield value / quantity
        contract = contract_usd(depth.series.market, depth.series.symbol)
        if contract is not None:
            yield quantity * contract / value
